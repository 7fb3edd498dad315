"""Several workers behind one socket: the dead are replaced, none is left, their numbers add up."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pymysql
import pytest
import several_workers as targets
from mariadb import Mariadb
from support import NO_CERTIFICATES, SECONDS, Device

from syncsession_client.protocol.errors import ServerBusy, ServerUnreachable, SyncError
from syncsession_server.app import current_store
from syncsession_server.databases import parse
from syncsession_server.settings import Settings
from syncsession_server.tenants import create_token
from syncsession_server.workers import Workers

COUNT = 3


def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The server


class Served:
    """A server of several workers, in processes of its own."""

    def __init__(self, directory: Path, database: str) -> None:
        self.directory, self.database = directory, database
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        options = ["--database", database, "--migrate", "--port", "0", "--workers", str(COUNT)]
        self.errors = directory / "errors"
        with self.errors.open("w") as errors:
            self.parent = subprocess.Popen(
                [sys.executable, "-m", "syncsession_server", "run", *options],
                stderr=errors,
                env={"PATH": os.environ["PATH"], "TMPDIR": str(self.temporary)},
            )
        until(lambda: "is ready on" in self.errors.read_text() or self.parent.poll() is not None)
        (self.url,) = re.findall(r"ready on (http://\S+)", self.errors.read_text())
        self.all = psutil.Process(self.parent.pid).children(recursive=True)

    def token(self) -> str:
        async def create() -> str:
            async with current_store(Settings(database=self.database)) as store:
                scopes = frozenset({"sync", "schema"})
                return await create_token(store, tenant="acme", user="alice", scopes=scopes)

        return asyncio.run(create())

    @property
    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self.parent.pid).children()
        return [p for p in children if "spawn_main" in " ".join(_command(p))]

    def get(self, path: str) -> httpx.Response:
        """The answer on a connection of its own, from whichever worker takes it."""
        return httpx.get(f"{self.url}{path}", verify=NO_CERTIFICATES, timeout=SECONDS)

    def number(self, name: str) -> float:
        """One of the numbers of /metrics."""
        found = re.findall(rf"^{re.escape(name)} (\S+)$", self.get("/metrics").text, re.M)
        assert len(found) == 1
        return float(found[0])

    @contextmanager
    def only(self, chosen: psutil.Process) -> Iterator[None]:
        """Let this worker alone take requests."""
        others = [w for w in self.workers if w.pid != chosen.pid]
        for worker in others:
            worker.suspend()
        yield
        for worker in others:
            worker.resume()

    def are_gone(self) -> bool:
        """Whether no process is left of all that there were."""
        return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in self.all)

    def end(self) -> None:
        self.all += self.workers if self.parent.poll() is None else []
        self.parent.kill()
        for process in self.all:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.parent.wait(SECONDS)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


@pytest.fixture
def served(tmp_path: Path, mariadb: Mariadb) -> Iterator[Served]:
    running = Served(tmp_path, mariadb.create_database())
    yield running
    running.end()


def test_a_worker_that_is_killed_is_replaced_and_requests_go_on(served):
    before = {w.pid for w in served.workers}
    assert len(before) == COUNT
    killed = served.workers[0]
    killed.kill()
    for _ in range(20):
        assert served.get("/health").status_code == 200
    until(lambda: len(served.workers) == COUNT)
    after = {w.pid for w in served.workers}
    assert after & before == before - {killed.pid}
    (new,) = (w for w in served.workers if w.pid not in before)
    with served.only(new):
        assert served.get("/ready").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_the_parent_stops_every_worker_and_ends_well(served, number):
    served.parent.send_signal(number)
    assert served.parent.wait(SECONDS) == 0
    assert "Traceback" not in served.errors.read_text()
    until(served.are_gone)
    assert list(served.temporary.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        served.get("/health")


def test_workers_whose_parent_was_killed_stop_by_themselves(served):
    served.parent.kill()
    served.parent.wait(SECONDS)
    until(served.are_gone)


def test_the_numbers_are_those_of_all_workers_also_of_one_that_died(served, tmp_path):
    for worker in served.workers:
        with served.only(worker):
            for _ in range(2):
                served.get("/v1/me")
    asked = 'syncsession_request_seconds_count{method="GET",route="/v1/me",status="426"}'
    for worker in served.workers:
        with served.only(worker):
            assert served.number(asked) == 2 * COUNT
    served.workers[0].kill()
    until(lambda: len(served.workers) == COUNT)
    assert served.number(asked) == 2 * COUNT


def test_devices_sync_by_whichever_worker_and_a_session_counts_once(served, tmp_path):
    device = Device(tmp_path / "a.db", served.url, served.token())
    device.execute("CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)")
    device.init()
    for number in range(3):
        device.put("INSERT INTO note VALUES (?, 'text')", [(f"{number}-{i}",) for i in range(10)])
        assert device.sync().pushed.rows == 10
    assert len(device.clone("b.db").rows("SELECT * FROM note")) == 30
    assert served.number("syncsession_rows_pushed_total") == 30
    assert served.number('syncsession_sessions{status="committed"}') == 3


def test_what_a_killed_worker_was_committing_is_committed_by_another_at_once(served, tmp_path):
    device = Device(tmp_path / "a.db", served.url, served.token())
    device.execute("CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)")
    device.init()
    device.put("INSERT INTO note VALUES (?, 'text')", [("x",)])
    device.sync()
    device.execute("UPDATE note SET body = 'changed'")
    with Holding(served.database, "note") as holding, ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(device.push)
        until(lambda: holding.claimed() is not None)
        claimed = holding.claimed()
        pid = int(claimed.partition(":")[2])
        os.kill(pid, signal.SIGKILL)
        until(lambda: holding.claimed() not in (None, claimed))
        with pytest.raises(ServerUnreachable):  # it had asked the one that was killed
            pushing.result(SECONDS)
        holding.release()
    assert device.push().pushed.rows == 1
    assert device.dirty("note") == []


class Holding:
    """Holds the rows of a table, so that who commits has to wait."""

    def __init__(self, database: str, table: str) -> None:
        url = parse(database)
        self._connections = [
            pymysql.connect(
                unix_socket=url.unix_socket, user=url.user, database=url.name, autocommit=is_reader
            )
            for is_reader in (False, True)
        ]
        self._holder, self._reader = (c.cursor() for c in self._connections)
        self._holder.execute(f"SELECT * FROM {table} FOR UPDATE")

    def claimed(self) -> str | None:
        """Which worker is committing."""
        self._reader.execute("SELECT worker_id FROM sync_session WHERE status = 'processing'")
        found = self._reader.fetchone()
        return found[0] if found else None

    def release(self) -> None:
        self._connections[0].rollback()

    def __enter__(self) -> "Holding":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()


# The parent, with workers that do nothing


def supervised(workers: Workers, act: Callable[[], None] = lambda: None) -> None:
    """Run the parent here, and tell it to stop when `act`, in a thread, has returned."""

    is_over = threading.Event()

    def then_stop() -> None:
        try:
            act()
        finally:
            if not is_over.is_set():  # afterwards the signal would be for pytest
                os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=then_stop)
    begun = workers.on_ready

    def on_ready() -> None:
        begun()
        thread.start()

    workers.on_ready = on_ready
    try:
        asyncio.run(workers.run())
    finally:
        is_over.set()
        if thread.ident is not None:
            thread.join(SECONDS)


def children() -> list[psutil.Process]:
    """The workers of this very process."""
    return [p for p in psutil.Process().children() if "spawn_main" in " ".join(_command(p))]


def test_the_parent_is_ready_once_when_all_workers_are(tmp_path):
    seen = []
    workers = Workers(targets.waits, (tmp_path,), 2, on_ready=lambda: seen.append(len(children())))
    supervised(workers)
    assert seen == [2]
    assert len(list(tmp_path.glob("stopped-*"))) == 2
    assert children() == []


def test_who_has_died_is_told_before_another_begins(tmp_path):
    told: list[tuple[int, int]] = []

    async def on_death(pid: int) -> None:
        told.append((pid, len(children())))
        raise ServerBusy("the database is away")

    killed: list[int] = []

    def is_replaced() -> bool:
        there = [p.pid for p in children()]
        return len(there) == 2 and killed[0] not in there

    def act() -> None:
        killed.append(children()[0].pid)
        os.kill(killed[0], signal.SIGKILL)
        until(is_replaced)

    workers = Workers(targets.waits, (tmp_path,), 2, on_ready=lambda: None, on_death=on_death)
    supervised(workers, act)
    assert told == [(killed[0], 1)]
    assert children() == []


def test_workers_that_die_early_are_started_again_ever_more_slowly(tmp_path, caplog):
    workers = Workers(targets.dies_early, (tmp_path,), 1, on_ready=lambda: None)
    supervised(workers, lambda: until(lambda: caplog.text.count("has died") == 3))
    pauses = re.findall(r"has died \(exit code 3\); another starts in (\S+) seconds", caplog.text)
    assert pauses == ["0.5", "1", "2"]


def test_a_worker_that_does_not_stop_is_killed(tmp_path, caplog):
    workers = Workers(targets.stays, (tmp_path,), 2, on_ready=lambda: None, stop_seconds=0.5)
    supervised(workers)
    assert caplog.text.count("did not stop in 0.5 seconds, and is killed") == 2
    assert children() == []


def test_why_a_worker_cannot_begin_is_raised_and_the_others_stop(tmp_path):
    workers = Workers(targets.cannot_begin, (tmp_path,), 2, on_ready=lambda: None)
    with pytest.raises(ServerBusy, match="the database is being moved"):
        supervised(workers)
    assert children() == []


def test_a_worker_that_crashes_at_the_start_ends_the_parent(tmp_path):
    workers = Workers(targets.crashes, (tmp_path,), 2, on_ready=lambda: None)
    with pytest.raises(SyncError, match="ended before it was ready"):
        supervised(workers)
    assert children() == []
