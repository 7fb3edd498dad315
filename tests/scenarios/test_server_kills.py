"""The server's process is killed at every point: another goes on, all is there, and once."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mariadb import Mariadb
from network import Network, network
from processes import ServerProcess, until
from support import SECONDS, Device, Server, World, everyone_syncs, serving

from syncsession_client.protocol.errors import TryLater
from syncsession_client.transport import Transport
from syncsession_server.settings import Settings

ARTIST = "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT)"
ALBUM = "CREATE TABLE album (id TEXT PRIMARY KEY, artist_id INTEGER REFERENCES artist (id), v)"
KIN = (
    "CREATE TABLE kin (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
    "CREATE TABLE kid (id TEXT PRIMARY KEY, kin INTEGER REFERENCES kin ON DELETE CASCADE)",
)
ARTISTS = [(n, f"artist {n}") for n in range(1, 11)]
ALBUMS = [(f"album {n:02}", 1 + n % 10) for n in range(40)]

IN_A_SYNC = (
    "server.tables_described",
    "server.table_built",
    "server.session_opening",
    "server.session_begun",
    "server.batch_stored:2",
    "server.session_staging",
    "server.session_queued",
    "server.commit_claimed",
    "server.commit_table_written",
    "server.history_written:2",
    "server.commit_before_end",
    "server.committed",
    "server.staging_emptied",
    "server.batches_spooled",
    "server.pull_spooled",
    "server.pull_batch_read:2",
    "server.pull_ending",
)
OVER_MARIADB = (
    "server.table_built",
    "server.session_opening",
    "server.session_staging",
    "server.commit_table_written",
    "server.history_written",
    "server.committed",
)
IN_CLEANUP = (
    "server.session_expired",
    "server.leftovers_removed",
    "server.pull_expired",
    "server.horizon_set",
    "server.tombstones_removed",
    "server.sessions_removed",
    "server.history_pruning",
    "server.history_pruned",
)

FLAGS = (
    *("--pull-shared-table-threshold", "0"),
    *("--pull-batch-size", "10"),
    *("--claim-timeout-seconds", "1"),
    *("--queue-poll-interval-seconds", "0.2"),
)
CLEANS = (
    *("--cleanup-interval-seconds", "0.1"),
    *("--session-activity-timeout-minutes", "0.0001"),
    *("--session-retention-days", "0.0000001"),
    *("--history-days", "0.0000001"),
)


def settings(database: str, **others: float) -> Settings:
    return Settings(
        database=database,
        migrate=True,
        pull_shared_table_threshold=0,
        pull_batch_size=10,
        claim_timeout_seconds=1,
        queue_poll_interval_seconds=0.2,
        **others,  # type: ignore[arg-type]
    )


@pytest.fixture
def net() -> Iterator[Network]:
    with network("http://127.0.0.1:9") as made:
        yield made


@contextmanager
def served(net: Network, database: str, **others: float) -> Iterator[Server]:
    """A server that is not killed."""
    with serving(settings(database, **others)) as server:
        net.leads_to(server.url)
        yield server


@contextmanager
def doomed(net: Network, database: str, log: Path, point: str, *flags: str) -> Iterator[None]:
    """A server process that is killed at the point, by what the body does or by itself."""
    process = ServerProcess(database, log, *FLAGS, *flags, kill_at=point)
    try:
        with suppress(AssertionError):  # it may be over before it is ready
            net.leads_to(process.url)
        yield
        assert process.wait() == -signal.SIGKILL
    finally:
        process.kill()


def try_to(act: Callable[[], object]) -> None:
    with suppress(TryLater):
        act()


def begin(net: Network, database: str, directory: Path) -> tuple[Device, Device]:
    """A device with rows to push, and one with none, of a tenant of a new server."""
    with served(net, database) as server:
        world = World(server, directory)
    a, b = (world.bare(name, ARTIST, ALBUM) for name in ("a.db", "b.db"))
    for device in (a, b):
        device.server = net.url
        device.init()
    a.put("INSERT INTO artist VALUES (?, ?)", ARTISTS)
    a.put("INSERT INTO album (id, artist_id) VALUES (?, ?)", ALBUMS)
    return a, b


def check_killed_in_a_sync(net: Network, database: str, directory: Path, point: str) -> None:
    a, b = begin(net, database, directory)
    with doomed(net, database, directory / "log", point):
        try_to(lambda: a.sync(batch_rows=10))
        try_to(b.sync)
    with served(net, database, cleanup_interval_seconds=0.1) as server:
        a.execute("UPDATE album SET v = 'after the kill' WHERE id = 'album 01'")
        a.sync(batch_rows=10)
        everyone_syncs(b, a)
        names = "SELECT l.id, r.name, v FROM album AS l JOIN artist AS r ON r.id = artist_id"
        assert sorted(a.rows(names)) == sorted(b.rows(names))
        assert len(a.rows(names)) == len(ALBUMS)
        assert b.value("SELECT v FROM album WHERE id = 'album 01'") == "after the kill"
        assert a.dirty("album") == a.dirty("artist") == b.dirty("album") == b.orphans() == []
        sessions = server.rows("SELECT status, count_rows FROM sync_session ORDER BY number")
        rows = len(ALBUMS) + len(ARTISTS)
        assert sessions in (
            [("committed", rows), ("committed", 1)],  # the rows as they were, then the update
            [("committed", rows)],  # it had died before anything was sealed
        )
        versions = [(sum(changed for _, changed in sessions),)]
        assert server.rows("SELECT count(*) FROM sync_history") == versions
        assert server.rows("SELECT last_number FROM sync_tenant") == [(len(sessions),)]
        until(lambda: server.rows("SELECT count(*) FROM sync_staging") == [(0,)])


@pytest.mark.parametrize("point", IN_A_SYNC)
def test_a_server_that_is_killed_has_lost_nothing(net, tmp_path, point):
    check_killed_in_a_sync(net, f"sqlite:///{tmp_path / 'server.db'}", tmp_path, point)


@pytest.mark.parametrize("point", OVER_MARIADB)
def test_a_server_over_mariadb_that_is_killed_has_lost_nothing(
    net, mariadb: Mariadb, tmp_path, point
):
    check_killed_in_a_sync(net, mariadb.create_database(), tmp_path, point)


@pytest.mark.parametrize("point", IN_CLEANUP)
def test_a_clean_up_that_is_killed_is_done_by_the_next(net, tmp_path, point):
    database = f"sqlite:///{tmp_path / 'server.db'}"
    a, b = begin(net, database, tmp_path)
    with served(net, database):
        everyone_syncs(a, b)
        a.execute("DELETE FROM album WHERE id = 'album 05'")
        everyone_syncs(a, b)
        abandon_a_push_and_a_pull(a)
    leave_batches_behind(tmp_path / "server.db")
    with doomed(net, database, tmp_path / "log", point, *CLEANS):
        pass
    aggressive = {
        "cleanup_interval_seconds": 0.1,
        "session_activity_timeout_minutes": 0.0001,
        "session_retention_days": 1e-7,
        "history_days": 1e-7,
    }
    with served(net, database, **aggressive) as server:
        until(lambda: counts(server) == [0] * 6)
        assert server.rows("SELECT horizon = last_number, purged = last_number FROM sync_tenant")
    with served(net, database):
        a.execute("UPDATE album SET v = 'after' WHERE id = 'album 06'")
        a.push()
        albums = "SELECT id, v FROM album ORDER BY id"
        made = a.clone("c.db").rows(albums)
        assert made == a.rows(albums)
        assert (len(made), made[5]) == (len(ALBUMS) - 1, ("album 06", "after"))


@pytest.mark.parametrize("point", ["server.rows_made_one", "server.references_mended"])
def test_a_server_that_is_killed_while_it_mends_a_session_has_done_nothing(net, tmp_path, point):
    database = f"sqlite:///{tmp_path / 'server.db'}"
    with served(net, database) as server:
        world = World(server, tmp_path)
    a, b = (world.bare(name, *KIN) for name in ("a.db", "b.db"))
    for device in (a, b):
        device.server = net.url
        device.init()
    with served(net, database):
        a.execute("INSERT INTO kin VALUES (1, 'gone')")
        everyone_syncs(a, b)
        a.execute("DELETE FROM kin", "INSERT INTO kin VALUES (2, 'same')")
        a.sync()
    b.execute("INSERT INTO kin VALUES (7, 'same')")
    b.execute("INSERT INTO kid VALUES ('of gone', 1), ('of same', 7)")
    with doomed(net, database, tmp_path / "log", point):
        try_to(b.sync)
    with served(net, database) as server:
        everyone_syncs(b, a)
        assert server.rows("SELECT policy FROM sync_conflict ORDER BY step") == [
            ("last_in_wins",),
            ("cascade",),
        ]
    for device, key in ((a, 2), (b, 7)):
        assert device.rows("SELECT * FROM kin") == [(key, "same")]
        assert device.rows("SELECT * FROM kid") == [("of same", key)]


def test_a_revert_that_is_killed_has_done_nothing(net, tmp_path):
    database = f"sqlite:///{tmp_path / 'server.db'}"
    a, b = begin(net, database, tmp_path)
    with served(net, database) as server:
        everyone_syncs(a, b)
        a.execute("UPDATE album SET v = 'wrong'")
        everyone_syncs(a, b)
        ((tenant,),) = server.rows("SELECT tenant_id FROM sync_tenant")
    command = [sys.executable, "-m", "syncsession_server", "revert", "2", "--tenant", tenant]
    for point, code in (("server.session_reverted", -signal.SIGKILL), ("", 0)):
        environment = os.environ | {"SYNCSESSION_KILL_AT": point, "SYNCSESSION_DATABASE": database}
        done = subprocess.run(command, env=environment, timeout=SECONDS, check=False)
        assert done.returncode == code
    with served(net, database) as server:
        everyone_syncs(a, b)
        assert server.rows("SELECT last_number FROM sync_tenant") == [(3,)]
    assert a.value("SELECT count(v) FROM album") == b.value("SELECT count(v) FROM album") == 0


def abandon_a_push_and_a_pull(device: Device) -> None:
    with Transport(device.server, device.token, "00000000-0000-4000-8000-00000000000c") as sending:
        tables = [{"name": "artist", "rows": 1, "batches": 2}]
        sending.begin_push("00000000-0000-4000-8000-00000000000a", tables)
        processed = b'{"processed": [{"tables": ["artist", "album"], "sessions": []}]}'
        sending.begin_pull("00000000-0000-4000-8000-00000000000b", processed)


def leave_batches_behind(database: Path) -> None:
    """As a process does that is killed just after a commit."""
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(
            "INSERT INTO sync_staging (tenant_id, session_id, number, table_name, count_rows,"
            " encoding, payload) SELECT tenant_id, session_id, 1, 'artist', 1, 'identity', x'00'"
            " FROM sync_session WHERE status = 'committed' LIMIT 1"
        )


def counts(server: Server) -> list[int]:
    """How much there is of what the clean-up removes."""
    tables = ("sync_session", "sync_staging", "sync_pull", "sync_pull_batch")
    counted = [f"SELECT count(*) FROM {table}" for table in tables]
    counted.append("SELECT count(*) FROM album WHERE is_deleted")
    counted.append("SELECT count(*) FROM sync_history WHERE operation = 'delete'")
    return [server.rows(sql)[0][0] for sql in counted]


@pytest.mark.parametrize("point", ["server.sqlite_script_ran", "server.sqlite_script_ran:2"])
def test_a_migration_that_is_killed_is_done_again(tmp_path, point):
    database = f"sqlite:///{tmp_path / 'server.db'}"
    assert migrate(database, point) == -signal.SIGKILL
    assert migrate(database) == 0
    check_schema_is_whole(database, f"sqlite:///{tmp_path / 'other.db'}")


@pytest.mark.parametrize("point", ["server.mysql_statement_ran:3", "server.mysql_script_ran"])
def test_a_migration_of_mariadb_that_is_killed_is_finished(mariadb: Mariadb, point):
    database = mariadb.create_database()
    assert migrate(database, point) == -signal.SIGKILL
    name = urlsplit(database).path[1:]
    mariadb.execute(f"UPDATE {name}.sync_schema SET alive_at_utc = '2000'")  # it is long ago
    assert migrate(database) == 0
    check_schema_is_whole(database, mariadb.create_database())


def migrate(database: str, kill_at: str = "") -> int:
    command = [sys.executable, "-m", "syncsession_server", "migrate", "--database", database]
    environment = os.environ | {"SYNCSESSION_KILL_AT": kill_at}
    return subprocess.run(command, env=environment, timeout=SECONDS, check=False).returncode


def check_schema_is_whole(database: str, other: str) -> None:
    with serving(Settings(database=database)) as killed, serving(settings(other)) as whole:
        assert killed.schema() == whole.schema()
