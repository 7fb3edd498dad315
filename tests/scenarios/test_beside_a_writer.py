"""A program that writes all the time goes on, and never fails, while a sync of many rows runs."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from processes import until
from support import SECONDS, Device, World, everyone_syncs

ROWS = 100_000

# A row every 10 ms, with the timeout that is usual, until its input ends.
WRITER = """
import select, sqlite3, sys, uuid
db = sqlite3.connect(sys.argv[1], timeout=5.0)
written = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    with db:
        db.execute("INSERT INTO item VALUES (?, 'mine')", (str(uuid.uuid4()),))
    written += 1
print(written)
"""


@contextmanager
def program(device: Device) -> Iterator[None]:
    """The program writes to the file meanwhile, and all that it wrote is there afterwards."""
    count = "SELECT count(*) FROM item WHERE v = 'mine'"
    before = device.value(count)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(device.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            until(lambda: device.value(count) > before)
            yield
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    assert device.value(count) - before >= int(out) > 0


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_program_goes_on_through_a_push_and_a_pull_of_many_rows(embedded_server, tmp_path, mode):
    world = World(embedded_server, tmp_path)
    a = world.device("a.db", "CREATE TABLE item (id TEXT PRIMARY KEY, v)")
    b = world.device("b.db", "CREATE TABLE item (id TEXT PRIMARY KEY, v)")
    for device in (a, b):
        device.rows(f"PRAGMA journal_mode = {mode}")
    a.put("INSERT INTO item VALUES (?, 'theirs')", [(f"{n:06}",) for n in range(ROWS)])
    with program(a):
        assert a.push().pushed.rows >= ROWS
    with program(b):
        assert b.sync().pulled.rows >= ROWS
    everyone_syncs(a, b)
    rows = "SELECT * FROM item ORDER BY id"
    assert a.rows(rows) == b.rows(rows)
    assert a.value("PRAGMA integrity_check") == b.value("PRAGMA integrity_check") == "ok"
