"""SyncCoordinator: what it tries again, when, and what it tells; how a sync is cancelled."""

import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from support import SECONDS, Device, World

from syncsession_client import (
    Cancellation,
    Cancelled,
    NetworkUnavailable,
    Progress,
    SyncCoordinator,
    TryLater,
    engine,
    push,
)
from syncsession_client import coordinator as coordinator_module
from syncsession_client.protocol.errors import (
    MassDelete,
    ServerBusy,
    ServerUnreachable,
    Unauthorized,
)
from syncsession_client.transport import Transport

ITEM = "CREATE TABLE item (id TEXT PRIMARY KEY, v)"


class Waits(Cancellation):
    """A clock that only notes how long it was to wait."""

    def __init__(self, *, most: int = 1000) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._most = most

    def wait(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) >= self._most:
            self.cancel()
        self.check()


class Gate:
    """A way to the server that answers the first requests itself, and passes on the others."""

    def __init__(self, server: str, *statuses: int) -> None:
        self.requests = 0
        lock, left = threading.Lock(), list(statuses)
        passed_on = {"authorization", "content-type", "content-encoding", "accept-encoding"}
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with lock:
                    gate.requests += 1
                    status = left.pop(0) if left else 0
                if status:
                    self.send_error(status)
                    return
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() in passed_on or name.lower().startswith("syncsession")
                }
                url = server + self.path
                with (
                    httpx.Client() as client,
                    client.stream(self.command, url, content=content, headers=headers) as answer,
                ):
                    body = b"".join(answer.iter_raw())
                    self.send_response(answer.status_code)
                    for name, value in answer.headers.items():
                        if name not in ("transfer-encoding", "content-length", "connection"):
                            self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(SECONDS)


@pytest.fixture
def device(world: World) -> Device:
    made = world.device("a.db", ITEM)
    made.execute("INSERT INTO item VALUES ('x', 1)")
    return made


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a port on which nobody listens."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def coordinator(device: Device, **options) -> SyncCoordinator:
    return SyncCoordinator(device.path, token=device.token, **options)


# Offline


def test_sync_says_offline_folds_the_log_and_raises_nothing(device, nowhere):
    waits = Waits()
    outcome = coordinator(device, server=nowhere, cancellation=waits).sync()
    assert outcome.is_offline
    assert waits.seconds == []
    assert device.value("SELECT count(*) FROM _sync_item_log") == 0
    assert device.dirty("item") == [("x",)]
    assert coordinator(device).sync().pushed.rows == 1


@pytest.mark.parametrize("act", [SyncCoordinator.push, SyncCoordinator.pull])
def test_push_and_pull_raise_that_there_is_no_network(device, nowhere, act):
    waits = Waits()
    with pytest.raises(NetworkUnavailable, match="no answer from"):
        act(coordinator(device, server=nowhere, cancellation=waits))
    assert waits.seconds == []


def test_an_engine_says_that_there_is_no_network(device, nowhere):
    with pytest.raises(NetworkUnavailable):
        device.sync(server=nowhere)


def test_a_sync_that_does_not_require_the_network_waits_for_it(device, nowhere):
    waits = Waits(most=3)
    with pytest.raises(Cancelled):
        coordinator(device, server=nowhere, cancellation=waits).sync(require_network=False)
    assert len(waits.seconds) == 3
    with pytest.raises(NetworkUnavailable):
        coordinator(device, server=nowhere, deadline=0).sync(require_network=False)


def test_a_name_that_nobody_knows_is_offline(device):
    assert coordinator(device, server="http://no-such-host.invalid").sync().is_offline


def test_a_connection_that_is_cut_is_not_offline(device):
    """Somebody is there, and hangs up: that is tried again, and raised."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(1)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        server = f"http://127.0.0.1:{listener.getsockname()[1]}"
        waits = Waits(most=2)
        with pytest.raises(Cancelled):
            coordinator(device, server=server, cancellation=waits).sync()
        with pytest.raises(ServerUnreachable) as raised:
            coordinator(device, server=server, deadline=0).sync()
        assert not isinstance(raised.value, NetworkUnavailable)
        listener.shutdown(socket.SHUT_RDWR)


# Trying again


def test_what_may_pass_is_tried_again_until_it_does(device, world):
    gate = Gate(world.server.url, 503, 502, 429)
    waits = Waits()
    try:
        outcome = coordinator(device, server=gate.url, cancellation=waits).sync()
    finally:
        gate.close()
    assert outcome.pushed.rows == 1
    assert len(waits.seconds) == 3
    assert all(seconds <= 0.5 * 2**n for n, seconds in enumerate(waits.seconds))


def test_it_gives_up_where_the_next_pause_would_end_after_the_deadline(device, world):
    gate = Gate(world.server.url, *[503] * 100)
    waits = Waits()
    try:
        with pytest.raises(ServerBusy, match="503"):
            coordinator(device, server=gate.url, cancellation=waits, deadline=4.0).sync()
    finally:
        gate.close()
    assert waits.seconds
    assert max(waits.seconds) <= 4.0


def test_an_attempt_waits_for_as_long_as_the_server_says(device, monkeypatch):
    put_tables, asked = Transport.put_tables, []

    def busy(self, tables):
        asked.append(tables)
        if len(asked) > 1:
            return put_tables(self, tables)
        error = ServerBusy("come back in half a minute")
        error.retry_after = 30.0
        raise error

    monkeypatch.setattr(Transport, "put_tables", busy)
    waits = Waits()
    assert coordinator(device, cancellation=waits).sync().pushed.rows == 1
    assert [30.0 <= seconds <= 30.5 for seconds in waits.seconds] == [True]
    asked.clear()
    device.execute("ALTER TABLE item ADD COLUMN c")
    with pytest.raises(ServerBusy, match="half a minute"):
        coordinator(device, cancellation=waits, deadline=20.0).sync()
    assert len(waits.seconds) == 1


def test_what_is_not_retryable_is_raised_at_once(device, world):
    gate, waits = Gate(world.server.url), Waits()
    try:
        with pytest.raises(Unauthorized):
            SyncCoordinator(
                device.path, token="sst_wrong", server=gate.url, cancellation=waits
            ).sync()
        assert gate.requests == 1
    finally:
        gate.close()
    assert waits.seconds == []


def test_a_mass_deletion_is_raised_at_once_though_there_is_no_network(device, nowhere):
    device.put("INSERT INTO item VALUES (?, 1)", [(f"{n}",) for n in range(200)])
    device.sync()
    device.execute("DROP TRIGGER _sync_item_delete", "DELETE FROM item")
    with pytest.raises(MassDelete):
        coordinator(device, server=nowhere).sync()


def test_a_locked_database_is_tried_again(device, monkeypatch):
    calls = []

    def locked(self):
        calls.append(self)
        raise TryLater("another program writes")

    monkeypatch.setattr(engine.SyncEngine, "synchronize", locked)
    with pytest.raises(Cancelled):
        coordinator(device, cancellation=Waits(most=4)).sync()
    assert len(calls) == 4


def test_rows_that_get_through_move_the_deadline(device, monkeypatch):
    """A line that drops after every batch: each attempt takes the push further."""
    device.put("INSERT INTO item VALUES (?, 1)", [(f"{n}",) for n in range(9)])
    send_batch, used, lock = Transport.send_batch, [], threading.Lock()

    def drops(self, *batch):
        with lock:
            if self in used:
                raise ServerUnreachable("the line is down")
            used.append(self)
        send_batch(self, *batch)

    monkeypatch.setattr(Transport, "send_batch", drops)
    ticks = iter(range(0, 100_000, 10))
    monkeypatch.setattr(coordinator_module, "monotonic", lambda: next(ticks))
    outcome = coordinator(device, batch_rows=1, cancellation=Waits(), deadline=60.0).sync()
    assert outcome.pushed.rows == len(used) == 10
    assert next(ticks) > 120


def test_a_wait_can_be_cancelled_from_another_thread(device, world):
    gate, cancellation, seen = Gate(world.server.url, *[503] * 1000), Cancellation(), []
    coordinated = coordinator(
        device, server=gate.url, cancellation=cancellation, deadline=1e6, report=seen.append
    )
    timer = threading.Timer(0.2, cancellation.cancel)
    timer.start()
    try:
        with pytest.raises(Cancelled):
            coordinated.sync()
    finally:
        timer.join()
        gate.close()
    assert seen[-1] == Progress("cancelled")
    with pytest.raises(Cancelled):
        coordinated.sync()


def test_a_deadline_of_no_use_is_refused():
    with pytest.raises(ValueError, match="deadline is -1"):
        SyncCoordinator(Path("a.db"), token="t", deadline=-1)


# Cancelling


class CancelAt:
    """Asks to stop at the n-th report of a phase."""

    def __init__(self, phase: str, number: int = 1) -> None:
        self.token, self.seen = Cancellation(), []
        self._phase, self._number = phase, number

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        if [p.phase for p in self.seen].count(self._phase) == self._number:
            self.token.cancel()

    @property
    def phases(self) -> list[str]:
        return [p.phase for p in self.seen]


def test_a_sync_that_is_cancelled_before_it_begins_asks_the_server_nothing(device, nowhere):
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        device.sync(server=nowhere, cancellation=cancellation)


def test_cancelled_while_it_seals_nothing_is_sealed_and_no_row_is_lost(device, monkeypatch):
    device.put("INSERT INTO item VALUES (?, 1)", [(f"{n}",) for n in range(99)])
    cancellation, add, added = Cancellation(), push._add, []

    def cancels(*args, **rest):
        added.append(args)
        cancellation.cancel()
        add(*args, **rest)

    monkeypatch.setattr(push, "_add", cancels)
    with pytest.raises(Cancelled):
        device.push(batch_rows=10, cancellation=cancellation)
    assert len(added) == 1
    with device.engine() as opened:
        assert opened._outbox.outgoing() is None
    monkeypatch.undo()
    assert device.push().pushed.rows == 100


def test_cancelled_after_the_server_has_it_all_the_commit_is_seen_through(device):
    report = CancelAt("push_waiting")
    with pytest.raises(Cancelled):
        device.sync(report=report, cancellation=report.token)
    assert report.phases[-2:] == ["push_complete", "cancelled"]
    assert device.dirty("item") == []
    with device.engine() as opened:
        assert opened._outbox.outgoing() is None
        assert opened.push().pushed.session is None


def test_a_cancelled_pull_changes_no_row_and_the_next_one_applies_all(device):
    device.put("INSERT INTO item VALUES (?, 1)", [(f"{n}",) for n in range(2500)])
    device.sync()
    other = Device(device.path.with_name("b.db"), device.server, device.token)
    with closing(sqlite3.connect(other.path)) as db:
        db.execute(ITEM)
    other.init()
    for number in (1, 2, 3):
        report = CancelAt("pull_table", number)
        with pytest.raises(Cancelled):
            other.pull(report=report, cancellation=report.token)
        assert report.phases.count("pull_table") == number
        assert other.value("SELECT count(*) FROM item") == 0
    seen = []
    assert other.pull(report=seen.append).pulled.rows == 2501
    assert [p.phase for p in seen] == [
        *("connecting", "pull_begin", "pull_table", "pull_table", "pull_table"),
        *("pull_complete", "complete"),
    ]
    tables = [(p.table, p.done_rows, p.total_rows) for p in seen if p.phase == "pull_table"]
    assert tables == [("item", 1000, 2501), ("item", 2000, 2501), ("item", 2501, 2501)]


def test_a_pull_of_nothing_reports_its_beginning_and_its_end(device):
    device.sync()
    seen = []
    device.sync(report=seen.append)
    assert [p.phase for p in seen] == ["connecting", "pull_begin", "pull_complete", "complete"]
