"""How sessions, pulls and tombstones end: by silence, by age. What is alive is left alone.

Time passes by writing earlier times into the server's database.
"""

import time
import uuid

import pytest
from support import SECONDS, Device, Server, World, everyone_syncs, serving

from syncsession_client import engine
from syncsession_client.protocol import bodies
from syncsession_client.protocol.batches import Batch, encode
from syncsession_client.protocol.errors import (
    ReseedRequired,
    SessionExpired,
    UnknownPull,
    UnknownSession,
)
from syncsession_client.protocol.session_set import SessionSet
from syncsession_client.protocol.tables import to_json
from syncsession_client.statements import to_pyformat
from syncsession_client.store import DeviceStore
from syncsession_client.transport import Transport
from syncsession_server import cleanup
from syncsession_server.cleanup import Keeping
from syncsession_server.settings import Settings
from syncsession_server.stores.mysql import MysqlStore

LIFE = "CREATE TABLE life (id TEXT PRIMARY KEY, body TEXT)"
LONG_AGO = "2020-01-01T00:00:00.000Z"
KEEPING = Keeping(activity_seconds=1800, retention_days=30)


@pytest.fixture
def server(new_database):
    """A server of each test's own, that cleans up when the test does."""
    settings = Settings(
        database=new_database(),
        migrate=True,
        cleanup_interval_seconds=86_400,
        pull_shared_table_threshold=0,
    )
    with serving(settings) as running:
        yield running


@pytest.fixture
def world(server: Server, tmp_path) -> World:
    return World(server, tmp_path)


@pytest.fixture
def raw(world):
    """A device's connection, for sessions that are driven step by step."""
    device = world.device("raw.db", LIFE)
    with Transport(world.server.url, world.token, str(uuid.uuid4())) as transport:
        with DeviceStore(device.path) as store:
            transport.put_tables(to_json([t.table for t in store.tables()]))
        yield transport


def begin(raw: Transport, batches: int = 2) -> str:
    session_id = str(uuid.uuid4())
    raw.begin_push(session_id, [{"name": "life", "rows": batches, "batches": batches}])
    return session_id


def batch(*ids: str) -> bytes:
    rows = [[None, None, None, 0, i, f"body of {i}"] for i in ids]
    return bodies.compress(encode(Batch("life", ("id",), ("body",), rows)), "zstd")


def clean_up(server: Server, keeping: Keeping = KEEPING) -> None:
    for step in cleanup.STEPS:
        server.run(step(server.store, keeping))


def write(server: Server, sql: str, **params: object) -> int:
    text = to_pyformat(sql) if isinstance(server.store, MysqlStore) else sql
    return server.run(server.store.run(text, params))


def age(server: Server) -> None:
    """Everything that is here happened long ago."""
    write(server, "UPDATE sync_session SET alive_at_utc = :at, changed_at_utc = :at", at=LONG_AGO)
    write(server, "UPDATE sync_pull SET alive_at_utc = :at", at=LONG_AGO)
    write(server, "UPDATE sync_pull_batch SET created_at_utc = :at", at=LONG_AGO)


def count(server: Server, table: str, where: str = "1 = 1") -> int:
    return server.rows(f"SELECT count(*) FROM {table} WHERE {where}")[0][0]


def statuses(server: Server) -> list[str]:
    return [s for (s,) in server.rows("SELECT status FROM sync_session ORDER BY number")]


def put(device: Device, *ids: str) -> None:
    device.put("INSERT INTO life VALUES (?, ?)", [(i, f"body of {i}") for i in ids])


def ids(device: Device) -> list[str]:
    return [row[0] for row in device.rows("SELECT id FROM life ORDER BY id")]


def processed(device: Device) -> SessionSet:
    with DeviceStore(device.path) as store:
        return store.processed()["life"]


class Died(BaseException):
    """The process is gone: nothing after this runs."""


def died(*_: object) -> None:
    raise Died


# Silence


def test_a_session_whose_device_is_silent_expires_and_its_batches_go(server, world, raw):
    session = begin(raw)
    raw.send_batch(session, 1, batch("a"), "zstd")
    age(server)
    clean_up(server)
    assert statuses(server) == ["expired"]
    assert count(server, "sync_staging") == 0
    with pytest.raises(SessionExpired):
        raw.send_batch(session, 2, batch("b"), "zstd")
    assert raw.commit_push(session)["status"] == "expired"
    device = world.device("b.db", LIFE)
    device.pull()
    assert processed(device) == SessionSet.of(1)


def test_a_session_that_waits_only_for_its_commit_request_expires_too(server, raw):
    session = begin(raw, batches=1)
    raw.send_batch(session, 1, batch("a"), "zstd")
    write(server, "UPDATE sync_session SET status = 'staged'")
    age(server)
    clean_up(server)
    assert raw.push_status(session)["status"] == "expired"


@pytest.mark.parametrize("sign", ["a batch", "the same batch again", "a question", "a beginning"])
def test_any_request_about_a_session_keeps_it_alive(server, raw, sign):
    session = begin(raw)
    raw.send_batch(session, 1, batch("a"), "zstd")
    age(server)
    match sign:
        case "a batch":
            raw.send_batch(session, 2, batch("b"), "zstd")
        case "the same batch again":
            raw.send_batch(session, 1, batch("a"), "zstd")
        case "a question":
            raw.push_status(session)
        case "a beginning":
            raw.begin_push(session, [{"name": "life", "rows": 2, "batches": 2}])
    clean_up(server)
    assert statuses(server) == ["open"]
    raw.send_batch(session, 2, batch("b"), "zstd")
    assert raw.commit_push(session)["status"] == "committed"
    assert count(server, "life") == 2


@pytest.mark.parametrize("status", ["queued", "processing", "committed", "failed"])
def test_silence_ends_no_session_that_is_further_on(server, raw, status):
    begin(raw)
    write(server, "UPDATE sync_session SET status = :status", status=status)
    age(server)
    before = count(server, "sync_session")
    server.run(cleanup.expire_sessions(server.store, KEEPING))
    assert (statuses(server), count(server, "sync_session")) == ([status], before)


def test_a_device_whose_session_expired_seals_it_anew(server, world, monkeypatch):
    device = world.device("a.db", LIFE)
    put(device, "a", "b")

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(engine.Transport, "commit_push", died)
        device.push()
    assert statuses(server) == ["open"]
    age(server)
    clean_up(server)
    device.sync()
    assert statuses(server) == ["expired", "committed"]
    assert count(server, "life") == 2
    assert device.dirty("life") == []


def test_what_is_written_and_not_changed_overwrites_nothing_after_a_session_expired(
    server, world, monkeypatch
):
    a = world.device("a.db", LIFE)
    put(a, "mine", "ours")
    a.sync()
    b = a.clone("b.db")
    a.execute("UPDATE life SET body = 'by a' WHERE id = 'mine'")
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(engine.Transport, "commit_push", died)
        a.sync()
    a.execute("UPDATE life SET body = body")
    b.execute("UPDATE life SET body = 'by b' WHERE id = 'ours'")
    b.sync()
    age(server)
    clean_up(server)
    assert a.sync().pushed.rows == 1
    b.sync()
    for device in (a, b):
        assert device.rows("SELECT body FROM life ORDER BY id") == [("by a",), ("by b",)]


def test_batches_that_a_killed_process_left_are_removed_and_those_of_live_sessions_stay(
    server, raw
):
    for status in ("committed", "failed", "expired", "gone", "open"):
        session = begin(raw)
        raw.send_batch(session, 1, batch("a"), "zstd")
        sql = "UPDATE sync_session SET status = :status WHERE session_id = :session"
        write(server, sql, status=status, session=session)
    write(server, "DELETE FROM sync_session WHERE status = 'gone'")
    assert count(server, "sync_staging") == 5
    clean_up(server)
    assert server.rows("SELECT session_id FROM sync_staging") == [(session,)]


def test_a_pull_that_nobody_reads_is_forgotten_and_one_that_is_read_is_kept(server, world, raw):
    session = begin(raw, batches=1)
    raw.send_batch(session, 1, batch("a"), "zstd")
    raw.commit_push(session)
    read, asked, unread = (str(uuid.uuid4()) for _ in range(3))
    text = b'{"processed": [{"tables": ["life"], "sessions": []}]}'
    for pull_id in (read, asked, unread):
        raw.begin_pull(pull_id, text)
    age(server)
    raw.get_batch(read, 1)
    raw.begin_pull(asked, text)
    clean_up(server)
    raw.get_batch(read, 1)
    raw.get_batch(asked, 1)
    with pytest.raises(UnknownPull):
        raw.get_batch(unread, 1)
    assert count(server, "sync_pull_batch") == 2


def test_a_spool_that_never_became_a_pull_is_removed_once_it_is_old(server, raw):
    sql = "INSERT INTO sync_pull_batch VALUES (:spool, 1, 'payload', :at)"
    write(server, sql, spool=str(uuid.uuid4()), at=LONG_AGO)
    write(server, sql, spool=str(uuid.uuid4()), at="2999-01-01T00:00:00.000Z")
    clean_up(server)
    assert count(server, "sync_pull_batch") == 1


# Age


def three_sessions_long_ago(server: Server, world: World) -> tuple[Device, Device]:
    """Two devices: `a` wrote three sessions, the last of which deletes; `b` has heard of two."""
    a, b = world.device("a.db", LIFE), world.device("b.db", LIFE)
    put(a, "a", "b")
    a.sync()
    put(a, "c")
    a.sync()
    b.sync()
    a.execute("DELETE FROM life WHERE id = 'a'")
    a.sync()
    age(server)
    return a, b


def test_what_is_older_than_it_is_kept_is_forgotten(server, world):
    a, _ = three_sessions_long_ago(server, world)
    put(a, "d")
    a.sync()
    clean_up(server)
    assert server.rows("SELECT number FROM sync_session") == [(4,)]
    assert server.rows("SELECT last_number, horizon, purged FROM sync_tenant") == [(4, 3, 3)]
    assert count(server, "life", "is_deleted = 1") == 0
    assert count(server, "life") == 3


def test_nothing_is_forgotten_when_all_is_kept_for_ever(server, world):
    three_sessions_long_ago(server, world)
    clean_up(server, Keeping(activity_seconds=1800, retention_days=0))
    assert count(server, "sync_session") == 3
    assert count(server, "life", "is_deleted = 1") == 1


def test_a_session_under_way_holds_back_all_that_come_after_it(server, world, raw):
    begin(raw)
    a, b = three_sessions_long_ago(server, world)
    write(server, "UPDATE sync_session SET alive_at_utc = :at", at="2999-01-01T00:00:00.000Z")
    clean_up(server)
    assert statuses(server) == ["open", *["committed"] * 3]
    b.sync()
    assert ids(b) == ids(a) == ["b", "c"]


def test_a_device_that_missed_a_forgotten_deletion_is_told_to_begin_anew(server, world):
    a, b = three_sessions_long_ago(server, world)
    clean_up(server)
    put(b, "of b")
    with pytest.raises(ReseedRequired, match="syncsession-client clone"):
        b.sync()
    assert ids(b) == ["a", "b", "c", "of b"]
    assert b.dirty("life") == []
    fresh = b.clone("fresh.db")
    a.sync()
    assert ids(fresh) == ids(a) == ["b", "c", "of b"]


def test_a_device_that_has_heard_of_all_that_is_forgotten_goes_on(server, world):
    a, b = three_sessions_long_ago(server, world)
    b.sync()
    clean_up(server)
    put(a, "d")
    everyone_syncs(a, b)
    assert ids(a) == ids(b) == ["b", "c", "d"]


@pytest.mark.parametrize("pushes_first", [False, True])
def test_a_new_device_gets_what_is_left_after_the_forgetting(server, world, pushes_first):
    three_sessions_long_ago(server, world)
    clean_up(server)
    c = world.device("c.db", LIFE)
    put(c, "of c")
    if pushes_first:
        c.push()
    c.sync()
    assert ids(c) == ["b", "c", "of c"]


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_device_that_gains_a_column_is_not_taken_for_a_new_one(server, world, is_behind):
    _, b = three_sessions_long_ago(server, world)
    if not is_behind:
        b.sync()
    clean_up(server)
    b.execute("ALTER TABLE life ADD COLUMN more TEXT")
    if is_behind:
        with pytest.raises(ReseedRequired):
            b.sync()
        return
    b.sync()
    assert b.rows("SELECT id, more FROM life ORDER BY id") == [("b", None), ("c", None)]


def test_tables_that_a_tenant_has_not_got_and_other_tenants_are_left_alone(server, world, tmp_path):
    (tmp_path / "other").mkdir()
    other = World(server, tmp_path / "other")
    three_sessions_long_ago(server, world)
    theirs, _ = three_sessions_long_ago(server, other)
    put(theirs, "late")
    theirs.sync()
    write(
        server,
        "UPDATE sync_session SET changed_at_utc = :at WHERE tenant_id = :tenant",
        at="2999-01-01T00:00:00.000Z",
        tenant=other.tenant,
    )
    clean_up(server)
    found = server.rows("SELECT tenant_id, horizon FROM sync_tenant")
    assert dict(found) == {world.tenant: 3, other.tenant: 0}
    assert server.rows("SELECT tenant_id FROM life WHERE is_deleted = 1") == [(other.tenant,)]


def test_a_purge_that_was_interrupted_goes_on(server, world, monkeypatch):
    three_sessions_long_ago(server, world)

    async def interrupted(*_):
        raise ConnectionError

    with monkeypatch.context() as patch, pytest.raises(ConnectionError):
        patch.setattr(cleanup, "_purge", interrupted)
        clean_up(server)
    assert server.rows("SELECT horizon, purged FROM sync_tenant") == [(3, 0)]
    clean_up(server)
    assert server.rows("SELECT horizon, purged FROM sync_tenant") == [(3, 3)]
    assert count(server, "life", "is_deleted = 1") == 0


def test_a_push_whose_session_is_forgotten_is_unknown(server, raw):
    session = begin(raw, batches=1)
    raw.send_batch(session, 1, batch("a"), "zstd")
    raw.commit_push(session)
    age(server)
    clean_up(server)
    with pytest.raises(UnknownSession):
        raw.push_status(session)


# The job


def test_the_server_cleans_up_by_itself_and_a_fault_does_not_stop_it(
    new_database, tmp_path, monkeypatch, caplog
):
    failed: list[str] = []

    async def fails(*_):
        failed.append("once more")
        raise ConnectionError("out of order")

    monkeypatch.setattr(cleanup, "STEPS", (fails, *cleanup.STEPS))
    settings = Settings(database=new_database(), migrate=True, cleanup_interval_seconds=0.05)
    with serving(settings) as server:
        world = World(server, tmp_path)
        device = world.device("a.db", LIFE)
        with Transport(server.url, world.token, str(uuid.uuid4())) as raw:
            with DeviceStore(device.path) as store:
                raw.put_tables(to_json([t.table for t in store.tables()]))
            begin(raw)
            age(server)
            deadline = time.monotonic() + SECONDS
            while statuses(server) != ["expired"]:
                assert time.monotonic() < deadline
    assert len(failed) > 1
    assert "fails failed; trying again" in caplog.text
