"""Others hold the locks that a session needs: it waits, or is done again, and the device knows
nothing of it.
"""

import logging
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mariadb import Mariadb
from processes import Servers, until
from support import SECONDS, World, serving

from syncsession_client.protocol import bodies
from syncsession_client.protocol.batches import Batch, encode
from syncsession_client.protocol.tables import to_json
from syncsession_client.store import DeviceStore
from syncsession_client.transport import Transport
from syncsession_server.settings import Settings
from syncsession_server.stores import mysql, mysql_pool

NOTE = "CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)"
WEIGHT = "INSERT INTO ballast (id) SELECT seq FROM seq_1_to_5000"


@pytest.fixture
def cluster(mariadb: Mariadb, tmp_path: Path) -> Servers:
    """A database, and connections to it; the server is one of this process."""
    return Servers(mariadb, mariadb.create_database(), tmp_path)


@pytest.fixture
def world(cluster: Servers, tmp_path: Path, monkeypatch, caplog) -> Iterator[World]:
    """Its server soon gives up waiting for a lock, and tells when it tries something again."""
    monkeypatch.setattr(mysql_pool, "_LOCK_SECONDS", 1)
    caplog.set_level(logging.DEBUG, mysql.__name__)
    with serving(Settings(database=cluster.database, migrate=True)) as server:
        yield World(server, tmp_path)


@pytest.fixture
def raw(world: World) -> Iterator[Transport]:
    """A device's connection; the table `note` has the rows a and b."""
    device = world.device("raw.db", NOTE)
    device.put("INSERT INTO note VALUES (?, 'old')", [("a",), ("b",)])
    device.sync()
    with (
        Transport(world.server.url, world.token, str(uuid.uuid4())) as transport,
        DeviceStore(device.path) as store,
    ):
        transport.put_tables(to_json([t.table for t in store.tables()]))
        yield transport


class Session:
    """One push of the rows a and b, in steps."""

    def __init__(self, raw: Transport) -> None:
        self.id, self._raw = str(uuid.uuid4()), raw

    def begin(self) -> None:
        self._raw.begin_push(self.id, [{"name": "note", "rows": 2, "batches": 1}])

    def send(self) -> None:
        rows = [[None, None, None, 0, key, "new"] for key in "ab"]
        payload = bodies.compress(encode(Batch("note", ("id",), ("body",), rows)), "zstd")
        self._raw.send_batch(self.id, 1, payload, "zstd")

    def commit(self) -> None:
        assert self._raw.commit_push(self.id)["status"] == "committed"


STEPS = (Session.begin, Session.send, Session.commit)

# (the step, what another holds meanwhile, what the step waits in, what the other wants then)
CONTENDED: dict[str, tuple[Callable[[Session], None], str, str, str]] = {
    "a session's number": (
        Session.begin,
        "INSERT INTO sync_session (tenant_id, session_id, number, device_id, user_id, status, "
        "count_batches, count_rows, created_at_utc, changed_at_utc) SELECT tenant_id, '{id}', 2, "
        "'', '', 'open', 1, 1, '', '' FROM sync_tenant",
        "INSERT INTO sync_session",
        "UPDATE sync_tenant SET horizon = 0, purged = 1",
    ),
    "the rows of a commit": (
        Session.commit,
        "UPDATE note SET body = 'held' WHERE id = 'b'",
        'INSERT INTO "note"',
        "UPDATE note SET body = 'held' WHERE id = 'a'",
    ),
}


@contextmanager
def up_to(session: Session, step: Callable[[Session], None]) -> Iterator[None]:
    """With all steps before this one done, and those after it afterwards."""
    for each in STEPS[: STEPS.index(step)]:
        each(session)
    yield
    for each in STEPS[STEPS.index(step) + 1 :]:
        each(session)


@pytest.mark.parametrize("what", CONTENDED)
def test_who_loses_a_deadlock_is_done_again(cluster, raw, caplog, what):
    step, holds, waits, wants = CONTENDED[what]
    session = Session(raw)
    cluster.rows("CREATE TABLE ballast (id INTEGER PRIMARY KEY) ENGINE = InnoDB")
    with up_to(session, step), ThreadPoolExecutor() as beside:
        with cluster.connection() as other, other.cursor() as cursor:
            cursor.execute(WEIGHT)  # who has changed less is rolled back
            cursor.execute(holds.format(id=session.id))
            under_way = beside.submit(step, session)
            cluster.wait_for_a_lock(waits)
            cursor.execute(wants)
        under_way.result(SECONDS)
    assert "(1213)" in caplog.text
    assert cluster.rows("SELECT id, body FROM note") == (("a", "new"), ("b", "new"))


@pytest.mark.parametrize("how", ["QUERY", "CONNECTION"])
def test_a_commit_that_is_killed_in_the_database_is_done_again(cluster, raw, how):
    session = Session(raw)
    with up_to(session, Session.commit), ThreadPoolExecutor() as beside:
        with cluster.held("UPDATE note SET body = 'held' WHERE id = 'b'"):
            under_way = beside.submit(session.commit)
            cluster.wait_for_a_lock('INSERT INTO "note"')
            sql = "SELECT id FROM information_schema.processlist WHERE info LIKE 'INSERT INTO %'"
            cluster.mariadb.execute(f"KILL {how} {cluster.value(sql)}")
        under_way.result(SECONDS)
    assert cluster.rows("SELECT id, body FROM note") == (("a", "new"), ("b", "new"))


LOCKED: dict[str, tuple[Callable[[Session], None], str]] = {
    "the tenant": (Session.begin, "UPDATE sync_tenant SET horizon = 0, purged = 1"),
    "a batch that another request is adding": (
        Session.send,
        "INSERT INTO sync_staging (tenant_id, session_id, number, table_name, count_rows, encoding,"
        " payload) SELECT tenant_id, '{id}', 1, '', 1, '', '' FROM sync_tenant",
    ),
    "the session that is queued": (
        Session.commit,
        "UPDATE sync_session SET created_at_utc = '' WHERE session_id = '{id}'",
    ),
    "the rows": (Session.commit, "UPDATE note SET body = 'held' WHERE id = 'b'"),
    "the table of rows": (Session.commit, "LOCK TABLES note WRITE"),
}


@pytest.mark.parametrize("what", LOCKED)
def test_who_waits_for_a_lock_too_long_is_done_again(cluster, raw, caplog, what):
    step, holds = LOCKED[what]
    session = Session(raw)
    with up_to(session, step), ThreadPoolExecutor() as beside:
        with cluster.connection() as other, other.cursor() as cursor:
            cursor.execute(holds.format(id=session.id))
            under_way = beside.submit(step, session)
            until(lambda: "(1205)" in caplog.text)
        under_way.result(SECONDS)
    assert cluster.rows("SELECT id, body FROM note") == (("a", "new"), ("b", "new"))
    statuses: Any = cluster.rows("SELECT number, status FROM sync_session ORDER BY number")
    assert statuses == ((1, "committed"), (2, "committed"))
