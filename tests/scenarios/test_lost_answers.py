"""The connection to the database is cut at the worst moment: all is done once, and wholly."""

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from flaky import FlakySocket, flaky_socket
from mariadb import Mariadb
from support import SECONDS, World, serving

from syncsession_server.settings import Settings

SCHEMA = "CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)"
ROWS = [(f"row {n:05}", f"body {n} " * 20) for n in range(3000)]

LOST = {
    "the device's first visit": (b"INSERT INTO sync_device",),
    "a table in the registry": (b"INSERT INTO sync_table", b"COMMIT"),
    "a table that is made": (b'CREATE TABLE IF NOT EXISTS "note"',),
    "a number": (b"SET last_number",),
    "a session that begins": (b"INSERT INTO sync_session", b"COMMIT"),
    "a batch": (b"INSERT INTO sync_staging",),
    "a session that is queued": (b"SET status = 'queued'", b"COMMIT"),
    "the claim to a session": (b"SET status = 'processing'",),
    "a large session's rows": (b"LOAD DATA LOCAL",),
    "rows that are written": (b'INSERT INTO "note"',),
    "a commit": (b"SET status = 'committed'", b"COMMIT"),
    "the end of staging": (b"DELETE FROM sync_staging",),
    "rows that are spooled": (b"INSERT INTO sync_pull_batch", b"COMMIT"),
    "a pull that is kept": (b"INSERT INTO sync_pull ",),
    "a batch of a pull": (b"JOIN sync_pull_batch",),
    "the end of a pull": (b"DELETE FROM sync_pull\n",),
}


@pytest.fixture(scope="module")
def flaky(mariadb: Mariadb) -> Iterator[FlakySocket]:
    with flaky_socket(mariadb.socket) as made:
        yield made


@pytest.fixture
def world(mariadb: Mariadb, flaky: FlakySocket, tmp_path) -> Iterator[World]:
    settings = Settings(
        database=flaky.url(urlsplit(mariadb.create_database()).path[1:]),
        migrate=True,
        pull_shared_table_threshold=0,
        push_shared_table_threshold=100,
        pull_batch_size=500,
    )
    with serving(settings) as server:
        yield World(server, tmp_path)


def check_all_is_here_once(world: World, loss) -> None:
    started = time.monotonic()
    device = world.device("a.db", SCHEMA)
    device.put("INSERT INTO note VALUES (?, ?)", ROWS)
    assert device.sync().pushed.rows == len(ROWS)
    assert device.clone("b.db").rows("SELECT * FROM note ORDER BY id") == ROWS
    assert loss.happened.is_set()
    assert time.monotonic() - started < SECONDS / 2, "something waited for a claim to time out"
    assert world.server.rows("SELECT number, status FROM sync_session") == [(1, "committed")]
    assert world.server.rows("SELECT last_number FROM sync_tenant") == [(1,)]


@pytest.mark.parametrize("what", LOST)
def test_where_the_answer_is_lost_everything_is_done_once_all_the_same(world, flaky, what):
    check_all_is_here_once(world, flaky.lose(*LOST[what]))


@pytest.mark.parametrize("keep", [1000, 100_000, 400_000])
def test_a_result_that_is_cut_off_is_read_again_from_its_beginning(world, flaky, keep):
    check_all_is_here_once(world, flaky.lose(b"SELECT r.sync_session", keep=keep))
