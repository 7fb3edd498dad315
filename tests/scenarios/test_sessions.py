"""Sessions overlap in every way, and no device misses a row."""

import asyncio
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable

import pytest
from support import SECONDS, Device, World, everyone_syncs, serving

from syncsession_client import engine
from syncsession_client.engine import SyncEngine
from syncsession_client.progress import Cancellation, Cancelled, Progress
from syncsession_client.protocol import bodies
from syncsession_client.protocol.batches import Batch, encode
from syncsession_client.protocol.errors import (
    SchemaContradiction,
    ServerUnreachable,
    SessionState,
    StillCommitting,
)
from syncsession_client.protocol.session_set import SessionSet
from syncsession_client.protocol.tables import to_json
from syncsession_client.push import Pushed
from syncsession_client.store import DeviceStore
from syncsession_client.transport import Transport
from syncsession_server import commit, jobs
from syncsession_server.settings import Settings

NOTE = "CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)"


def put(device: Device, *ids: str) -> None:
    device.put("INSERT INTO note VALUES (?, ?)", [(i, f"body of {i}") for i in ids])


def ids(device: Device) -> list[str]:
    return [row[0] for row in device.rows("SELECT id FROM note ORDER BY id")]


def processed(device: Device) -> SessionSet:
    with DeviceStore(device.path) as store:
        return store.processed().get("note", SessionSet())


def statuses(world: World) -> list[str]:
    """The states of the tenant's sessions, by number."""
    sql = "SELECT status FROM sync_session WHERE tenant_id = :tenant ORDER BY number"
    return [status for (status,) in world.server.rows(sql, tenant=world.tenant)]


class Pause:
    """Commits stop in the state `processing`, until they are let go."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def wait(self) -> None:
        self.reached.set()
        assert self.go.wait(SECONDS)


@pytest.fixture
def pause(monkeypatch):
    pause, apply = Pause(), commit._apply

    async def paused(*args):
        await asyncio.to_thread(pause.wait)
        await apply(*args)

    monkeypatch.setattr(commit, "_apply", paused)
    yield pause
    pause.go.set()


def test_device_a_pushes_1000_rows_while_b_pulls_and_b_has_all_of_them_afterwards(world, pause):
    """The overlap: B pulls while A's session is processing, and again after it committed."""
    pause.go.set()
    a = world.device("a.db", NOTE)
    put(a, "first")
    a.sync()
    b = a.clone("b.db")
    put(a, *(f"row {i:04}" for i in range(1000)))
    pause.go.clear()
    pause.reached.clear()
    pushing = threading.Thread(target=a.push)
    pushing.start()
    assert pause.reached.wait(SECONDS)
    assert statuses(world) == ["committed", "processing"]
    assert b.pull().pulled.rows == 0
    assert processed(b) == SessionSet.of(1)
    pause.go.set()
    pushing.join(SECONDS)
    assert b.pull().pulled.rows == 1000
    assert ids(a) == ids(b)
    assert len(ids(b)) == 1001


@pytest.fixture
def raw(world):
    """A device's connection, for sessions that are driven step by step."""
    device = world.device("raw.db", NOTE)
    with Transport(world.server.url, world.token, str(uuid.uuid4())) as transport:
        with DeviceStore(device.path) as store:
            transport.put_tables(to_json([t.table for t in store.tables()]))
        yield transport


def note_batch(*ids: str, values: tuple = ()) -> bytes:
    rows = [[None, None, None, 0, i, *(values or (f"body of {i}",))] for i in ids]
    return bodies.compress(encode(Batch("note", ("id",), ("body",), rows)), "zstd")


def begin(transport: Transport, batches: int = 1) -> str:
    session_id = str(uuid.uuid4())
    transport.begin_push(session_id, [{"name": "note", "rows": batches, "batches": batches}])
    return session_id


def commit_one(transport: Transport, session_id: str, *ids: str) -> None:
    transport.send_batch(session_id, 1, note_batch(*ids), "zstd")
    assert transport.commit_push(session_id)["status"] == "committed"


def test_a_session_that_began_first_and_commits_last_is_not_missed(world, raw):
    first, second = begin(raw), begin(raw)
    commit_one(raw, second, "from the second")
    device = world.device("b.db", NOTE)
    device.pull()
    assert ids(device) == ["from the second"]
    assert processed(device) == SessionSet.of(2)
    commit_one(raw, first, "from the first")
    device.pull()
    assert ids(device) == ["from the first", "from the second"]
    assert processed(device) == SessionSet([(1, 2)])


def test_a_failed_session_does_not_block_the_ones_after_it(world, raw, monkeypatch):
    apply = commit._apply

    async def refused(*args):
        raise SchemaContradiction("refused for this test")

    failing, good = begin(raw), begin(raw)
    monkeypatch.setattr(commit, "_apply", refused)
    raw.send_batch(failing, 1, note_batch("never"), "zstd")
    outcome = raw.commit_push(failing)
    assert (outcome["status"], outcome["error"]["code"]) == ("failed", "schema_contradiction")
    monkeypatch.setattr(commit, "_apply", apply)
    commit_one(raw, good, "good")
    device = world.device("b.db", NOTE)
    device.pull()
    assert ids(device) == ["good"]
    assert processed(device).watermark == 2


def test_an_open_session_does_not_block_the_ones_after_it(world, raw):
    begin(raw)
    commit_one(raw, begin(raw), "later")
    device = world.device("b.db", NOTE)
    device.pull()
    assert ids(device) == ["later"]


def test_every_push_request_may_be_repeated(world, raw):
    session_id = begin(raw, batches=2)
    tables = [{"name": "note", "rows": 2, "batches": 2}]
    raw.send_batch(session_id, 1, note_batch("a"), "zstd")
    raw.send_batch(session_id, 1, note_batch("a"), "zstd")
    again = raw.begin_push(session_id, tables)
    assert (again["number"], again["status"], again["received"]) == (1, "open", [[1, 1]])
    raw.send_batch(session_id, 2, note_batch("b"), "zstd")
    first, second = raw.commit_push(session_id), raw.commit_push(session_id)
    assert first == second == raw.push_status(session_id)
    raw.send_batch(session_id, 2, note_batch("b"), "zstd")
    assert raw.begin_push(session_id, tables)["status"] == "committed"
    device = world.device("b.db", NOTE)
    assert device.pull().pulled.rows == 2


def test_a_session_with_missing_batches_is_not_committed(raw):
    session_id = begin(raw, batches=2)
    raw.send_batch(session_id, 2, note_batch("b"), "zstd")
    with pytest.raises(SessionState, match="1 of its 2 batches"):
        raw.commit_push(session_id)


def test_the_last_push_to_arrive_wins_the_row(world):
    a = world.device("a.db", NOTE)
    put(a, "x")
    a.sync()
    b = a.clone("b.db")
    a.execute("UPDATE note SET body = 'of a' WHERE id = 'x'")
    b.execute("UPDATE note SET body = 'of b' WHERE id = 'x'")
    everyone_syncs(a, b)
    assert a.rows("SELECT body FROM note") == b.rows("SELECT body FROM note") == [("of b",)]


def test_a_row_that_is_dirty_here_is_not_overwritten_by_a_pull(world):
    a = world.device("a.db", NOTE)
    put(a, "x")
    a.sync()
    b = a.clone("b.db")
    a.execute("UPDATE note SET body = 'of a'")
    a.sync()
    b.execute("UPDATE note SET body = 'of b'")
    pulled = b.pull().pulled
    assert (pulled.rows, pulled.kept_rows) == (0, 1)
    assert b.rows("SELECT body FROM note") == [("of b",)]


def test_a_row_saved_without_a_change_takes_the_version_that_a_pull_brings(world):
    a = world.device("a.db", NOTE)
    put(a, "x")
    a.sync()
    b = a.clone("b.db")
    a.execute("UPDATE note SET body = 'of a'")
    a.sync()
    b.execute("UPDATE note SET body = body")
    b.pull()
    assert b.rows("SELECT body FROM note") == [("of a",)]
    assert b.sync().pushed.rows == 0


def test_a_row_set_back_to_what_it_was_before_a_pull_kept_it_is_pushed(world):
    a = world.device("a.db", NOTE)
    put(a, "x")
    a.sync()
    b = a.clone("b.db")
    b.execute("UPDATE note SET body = 'of b'")
    b.sync()
    a.execute("UPDATE note SET body = 'of a'")
    assert a.pull().pulled.kept_rows == 1
    a.execute("UPDATE note SET body = 'body of x'")
    everyone_syncs(a, b)
    assert a.rows("SELECT body FROM note") == b.rows("SELECT body FROM note") == [("body of x",)]


def test_an_edit_made_while_its_row_is_being_pushed_stays_dirty(world, pause):
    a = world.device("a.db", NOTE)
    put(a, "x")
    pushing = threading.Thread(target=a.push)
    pushing.start()
    assert pause.reached.wait(SECONDS)
    a.execute("UPDATE note SET body = 'later' WHERE id = 'x'")
    pause.go.set()
    pushing.join(SECONDS)
    assert a.dirty("note") == [("x",)]
    assert a.push().pushed.rows == 1
    b = a.clone("b.db")
    assert b.rows("SELECT body FROM note") == [("later",)]


def test_an_edit_that_is_folded_before_the_push_of_its_row_is_acknowledged_stays_dirty(
    world, pause
):
    a = world.device("a.db", NOTE)
    put(a, "x")
    pushing = threading.Thread(target=a.push)
    pushing.start()
    assert pause.reached.wait(SECONDS)
    a.execute("UPDATE note SET body = 'later' WHERE id = 'x'")
    folding = [sys.executable, "-m", "syncsession_client", "status", str(a.path)]
    subprocess.run(folding, check=True, capture_output=True, timeout=SECONDS)
    assert a.rows("SELECT * FROM _sync_note_log") == []
    pause.go.set()
    pushing.join(SECONDS)
    assert a.dirty("note") == [("x",)]
    assert a.push().pushed.rows == 1
    assert a.clone("b.db").rows("SELECT body FROM note") == [("later",)]


def after_folds(monkeypatch, work: Callable[[], None], *, times: int) -> None:
    """Have this done after each of the next folds of a push, before it seals."""
    left = [work] * times

    def point(name: str) -> None:
        if name == "fold.done" and left:
            left.pop()()

    monkeypatch.setattr(engine, "point", point)


ORDERS = ("CREATE TABLE sale (id TEXT PRIMARY KEY)", "CREATE TABLE sold (id TEXT PRIMARY KEY, n)")


def sell(device: Device) -> None:
    """A transaction of two tables: what was sold in all is the number of sales."""
    device.execute(
        "INSERT INTO sale VALUES (hex(randomblob(8)))",
        "INSERT INTO sold VALUES ('all', 1) ON CONFLICT (id) DO UPDATE SET n = n + 1",
    )


def test_a_transaction_between_the_fold_and_the_seal_splits_no_other(world, monkeypatch):
    a = world.device("a.db", *ORDERS)
    a.sync()
    b = a.clone("b.db")
    sell(a)
    with monkeypatch.context() as patch:
        after_folds(patch, lambda: sell(a), times=2)
        a.push()
    b.pull()
    assert b.rows("SELECT count(*) FROM sale") == b.rows("SELECT n FROM sold") == [(3,)]


def test_a_program_that_writes_after_every_fold_keeps_no_push_from_its_end(world, monkeypatch):
    a = world.device("a.db", *ORDERS)
    a.sync()
    sell(a)
    with monkeypatch.context() as patch:
        after_folds(patch, lambda: sell(a), times=1000)
        assert a.push().pushed.rows > 0
    a.sync()
    assert a.clone("b.db").rows("SELECT n FROM sold") == a.rows("SELECT count(*) FROM sale")


def test_a_push_whose_answer_was_lost_is_seen_through_by_the_next_sync(world, monkeypatch):
    a = world.device("a.db", NOTE)
    put(a, "x")

    def lost(self, session_id):
        commit_push(self, session_id)
        raise ServerUnreachable("the answer was lost")

    commit_push = Transport.commit_push
    monkeypatch.setattr(Transport, "commit_push", lost)
    with pytest.raises(ServerUnreachable):
        a.push()
    monkeypatch.setattr(Transport, "commit_push", commit_push)
    assert a.dirty("note") == [("x",)]
    assert a.sync().pushed == Pushed(1, 1)
    assert a.dirty("note") == []
    assert statuses(world) == ["committed"]


def test_a_push_waits_for_its_outcome_as_long_as_it_may_and_the_next_sync_waits_again(
    new_database, tmp_path, monkeypatch
):
    commit_session = jobs.commit_session
    may_commit = threading.Event()

    async def held(*args):
        await asyncio.to_thread(may_commit.wait, SECONDS)
        return await commit_session(*args)

    monkeypatch.setattr(jobs, "commit_session", held)
    settings = Settings(database=new_database(), migrate=True, status_wait_seconds=0.1)
    with serving(settings) as server:
        world = World(server, tmp_path)
        a = world.device("a.db", NOTE)
        put(a, "x")
        try:
            with pytest.raises(StillCommitting, match=r"not committed it in 0\.3 seconds"):
                a.push(push_status_timeout=0.3)
            assert statuses(world) == ["queued"]
            assert a.dirty("note") == [("x",)]
        finally:
            may_commit.set()
        assert a.push().pushed == Pushed(1, 1)
        assert statuses(world) == ["committed"]


def test_an_abandoned_session_is_taken_over_though_the_queue_is_never_empty(
    new_database, tmp_path, monkeypatch
):
    commit_session, endless = jobs.commit_session, []

    async def stays_queued(store, worker, tenant_id, session_id):
        return session_id in endless or await commit_session(store, worker, tenant_id, session_id)

    monkeypatch.setattr(jobs, "commit_session", stays_queued)
    settings = Settings(
        database=new_database(),
        migrate=True,
        queue_poll_interval_seconds=0.1,
        status_wait_seconds=0.1,
    )
    with serving(settings) as server:
        world = World(server, tmp_path)
        device = world.device("a.db", NOTE)
        device.sync()
        with Transport(server.url, world.token, str(uuid.uuid4())) as raw:
            abandoned, other = begin(raw), begin(raw)
            endless.append(other)
            for session in (abandoned, other):
                raw.send_batch(session, 1, note_batch(session), "zstd")
            assert raw.commit_push(other)["status"] == "queued"
            claimed = (
                "UPDATE sync_session SET status = 'processing', worker_id = 'gone', "
                "changed_at_utc = '2000', alive_at_utc = '2000' "
                f"WHERE session_id = '{abandoned}'"
            )
            assert server.run(server.store.run(claimed, {})) == 1
            deadline = time.monotonic() + SECONDS
            while raw.push_status(abandoned)["status"] != "committed":
                assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "wrong", [{"batch_rows": 0}, {"batch_rows": 10_001}, {"push_status_timeout": 0.0}]
)
def test_an_engine_refuses_sizes_and_times_of_no_use(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        SyncEngine(tmp_path / "a.db", token="t", **wrong)


def test_a_session_that_the_server_cannot_apply_fails_and_the_next_one_is_committed(
    world, raw, monkeypatch, caplog
):
    apply = commit._apply

    async def broken(*args):
        raise ZeroDivisionError("a fault of the server")

    failing, good = begin(raw), begin(raw)
    monkeypatch.setattr(commit, "_apply", broken)
    raw.send_batch(failing, 1, note_batch("never"), "zstd")
    outcome = raw.commit_push(failing)
    assert (outcome["status"], outcome["error"]["code"]) == ("failed", "internal")
    assert "a fault of the server" in caplog.text
    monkeypatch.setattr(commit, "_apply", apply)
    commit_one(raw, good, "good")


def test_a_cancelled_push_goes_on_where_it_stopped(world):
    a = world.device("a.db", NOTE)
    put(a, *(f"row {i:02}" for i in range(30)))
    seen = []
    cancellation = Cancellation()

    def report(progress: Progress) -> None:
        seen.append(progress)
        if progress.phase == "push_table":
            cancellation.cancel()

    with pytest.raises(Cancelled):
        a.push(batch_rows=5, report=report, cancellation=cancellation)
    assert seen[-1].phase == "cancelled"
    assert statuses(world) == ["open"]
    seen.clear()
    assert a.push(batch_rows=5, report=seen.append).pushed.rows == 30
    assert statuses(world) == ["committed"]
    assert [p.phase for p in seen if p.phase != "push_table"] == [
        "connecting",
        "push_begin",
        "push_waiting",
        "push_complete",
        "complete",
    ]
    counts = [(p.done_rows, p.total_rows) for p in seen if p.phase == "push_table"]
    assert counts == [(5 * n, 30) for n in range(1, 7)]


def test_losing_the_sidecar_loses_no_edit(world, monkeypatch):
    a = world.device("a.db", NOTE)
    put(a, "x")
    monkeypatch.setattr(Transport, "begin_push", unreachable)
    with pytest.raises(ServerUnreachable):
        a.push()
    sidecar = a.path.with_name("a.db-sync")
    assert sidecar.stat().st_size > 0
    sidecar.write_bytes(b"this is no database" * 100)
    monkeypatch.undo()
    assert a.push().pushed.rows == 1


def test_an_idle_sync_takes_one_request_and_reads_no_row_of_any_table(world):
    a = world.device("a.db", NOTE)
    put(a, "x")
    a.sync()
    requests, touched = [], []
    with a.engine() as engine:
        send = engine._transport._request
        engine._transport._request = lambda *args, **rest: (
            requests.append(args[:2]) or send(*args, **rest)
        )
        engine._store._db.authorizer = lambda _, table, *__: touched.append(table) or 0
        engine.synchronize()
    assert len(requests) == 1
    assert {t for t in touched if t in ("note", "_sync_note_rows")} <= {"_sync_note_rows"}
    assert "note" not in touched


def unreachable(*_):
    raise ServerUnreachable("no network in this test")
