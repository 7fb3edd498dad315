"""Every point at which a process can be killed is one at which a test kills it."""

import re
import subprocess
import sys

from points import ROOT, points

KILLED_AT = re.compile(r'"((?:server\.)?[a-z]+[._][a-z_]+)(?::\d+)?"')
KILLERS = ("test_kills.py", "test_server_kills.py")


ALL = points("client") + points("server")


def test_every_point_has_a_name_of_its_own():
    assert len(set(ALL)) == len(ALL)


def test_a_test_kills_at_every_point():
    killers = "".join((ROOT / "tests/scenarios" / name).read_text() for name in KILLERS)
    assert set(ALL) - set(KILLED_AT.findall(killers)) == set()


def test_without_the_variable_a_point_does_nothing_and_with_it_kills_at_that_passing():
    code = (
        "from syncsession_client.protocol.kill_points import point\n"
        "for _ in range(3): point('other'); point('here'); print('passed', flush=True)"
    )
    for environment, passed, status in (({}, 3, 0), ({"SYNCSESSION_KILL_AT": "here:3"}, 2, -9)):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert (done.stdout.count("passed"), done.returncode) == (passed, status)
