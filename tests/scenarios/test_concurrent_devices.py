"""Eight writers and four readers, each a process, sync at once while devices and servers are killed
and the network of some fails: what all of them wrote down has nothing in it that must not be.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from histories.checker import violations
from histories.device import Device
from histories.run import Lives
from histories.sessions import Session, written
from network import Network, network
from processes import Servers, until
from support import World

from syncsession_server.app import open_store
from syncsession_server.settings import Settings

FLAGS = (
    *("--claim-timeout-seconds", "2"),
    *("--queue-poll-interval-seconds", "0.2"),
    *("--push-shared-table-threshold", "20"),
    *("--pull-shared-table-threshold", "60"),
    *("--pull-batch-size", "20"),
)
"""Pushes and pulls are small ones and large ones."""

DEVICES = (
    *(Device(f"w{n}", "writer", seed=n) for n in range(4)),
    *(Device(f"w{n}", "syncer", seed=n) for n in (4, 5)),
    *(Device(f"a{n}", "application", seed=200 + n, database=f"w{n}") for n in (4, 5)),
    *(Device(f"w{n}", "writer", seed=n, servers="flaky") for n in (6, 7)),
    *(Device(f"r{n}", "reader", seed=100 + n) for n in range(3)),
    Device("r3", "reader", seed=103, servers="flaky"),
    Device("o0", "observer", seed=0, database="r0"),
    Device("o1", "observer", seed=0, database="w4"),
)
STEADY = [d.name for d in DEVICES if not d.is_beside and d.servers == "servers"]
SYNCS = 2
"""How often each device with a steady network syncs before a server is killed, and after."""

FAILING_SHARE = 0.05
SOAK_SECONDS = float(os.environ.get("SYNCSESSION_SOAK_SECONDS", "0"))
"""How long servers go on being killed; `make soak` has it last a minute."""


@pytest.fixture
def cluster(new_database: Callable[[], str], tmp_path: Path) -> Iterator[Servers]:
    """Two servers of one database, and one where that is an SQLite file."""
    made = Servers(cast(Any, None), new_database(), tmp_path, FLAGS)
    asyncio.run(made.migrate())
    try:
        made.start()
        if made.database.startswith("mysql:"):
            made.start()
        yield made
    finally:
        made.end()


@pytest.fixture
def flaky(cluster: Servers) -> Iterator[Network]:
    """A network that fails now and then."""
    with network(cluster.url) as made:
        made.fails_at_random(seed=1, share=FAILING_SHARE)
        yield made


def read_server(database: str, sql: str) -> list[tuple[Any, ...]]:
    async def read() -> list[tuple[Any, ...]]:
        async with open_store(Settings(database=database)) as store:
            return await store.read(lambda tx: tx.all(sql, {}))

    return asyncio.run(read())


def replace_a_server(cluster: Servers, lives: Lives, flaky: Network) -> None:
    """Kill the server that has been there longest, and start another."""
    next(server for server in cluster.all if server.is_running).kill()
    cluster.start()
    urls = [server.url for server in cluster.all if server.is_running]
    lives.reach("servers", *urls)
    flaky.leads_to(urls[-1])


def everyone_has_synced(lives: Lives) -> None:
    """Wait until each of them has synced so often again, or one has failed."""
    before = lives.synced()
    until(
        lambda: (
            lives.have_ended()
            or all(n >= before[name] + SYNCS for name, n in lives.synced().items())
        ),
        every=0.1,
    )


def overlapping(sessions: list[Session]) -> int:
    """How many sessions were under way when another was, in the order in which they began."""
    ordered = sorted(sessions, key=lambda session: session.begun)
    return sum(b.begun < a.known for a, b in pairwise(ordered))


def test_no_device_misses_a_session_or_sees_half_of_one_or_goes_back(cluster, flaky, tmp_path):
    lives = Lives(World(cast(Any, cluster), tmp_path), DEVICES, STEADY)
    lives.reach("servers", *(server.url for server in cluster.all))
    lives.reach("flaky", flaky.url)
    lives.seed()
    with lives.going_on():
        over_at = time.monotonic() + SOAK_SECONDS
        everyone_has_synced(lives)
        while True:
            lives.kill_one()
            replace_a_server(cluster, lives, flaky)
            everyone_has_synced(lives)
            if time.monotonic() > over_at or lives.have_ended():
                break
        flaky.is_well()
    histories = lives.histories()
    at_server = lives.at_server(lambda sql: read_server(cluster.database, sql))
    found = violations(histories, at_server)
    assert not found, "\n".join(f"{v.kind}: {v.text}" for v in found[:20])
    sessions = list(written(histories, at_server).sessions.values())
    looks = sum(len(history.records) for history in histories)
    syncs = sum(lives.synced().values())
    print(f"{len(sessions)} sessions, {syncs} syncs, {looks} records; all is in order")
    assert len({session.device for session in sessions}) == 1 + 8
    assert overlapping(sessions) > len(sessions) / 2
