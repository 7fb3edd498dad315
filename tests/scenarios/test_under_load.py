"""Many devices sync at once, through several servers, while the database fails now and then."""

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from click.testing import CliRunner
from mariadb import Mariadb, private_mariadb
from processes import Servers, servers, until
from support import SECONDS, Device, World, everyone_syncs

from syncsession_client.protocol.commands import TRY_LATER
from syncsession_client.protocol.errors import TryLater
from syncsession_server import cli
from syncsession_server.stores import mysql

SCHEMA = (
    "CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT, n INTEGER)",
    "CREATE TABLE item (id INTEGER PRIMARY KEY, note_id TEXT, v)",
)
DEVICES = 16
HOT_ROWS, SHARED_ROWS = 4, 60
SMALL = (
    *("--push-shared-table-threshold", "5"),
    *("--pull-shared-table-threshold", "20"),
    *("--pull-batch-size", "20"),
)
"""Most pushes count as large, and most pulls are spooled."""

SOON = 10.0
"""Seconds in which a process stops that is told to."""

SOAK_SECONDS = float(os.environ.get("SYNCSESSION_SOAK_SECONDS", "5"))
"""How long the load lasts, at least; `make soak` has it last a minute."""


class BusyDevice:
    """A device whose application edits rows of its own and rows that all share, and syncs."""

    def __init__(self, device: Device, server: str, seed: int) -> None:
        self.device, self.server, self.seed = device, server, seed
        self.own: dict[str, int] = {}
        self.syncs = 0
        self.retried: Counter[str] = Counter()
        self._chance = random.Random(seed)

    def run(self, stop: Event) -> None:
        """Edit and sync until told to stop; only what may pass is tried again."""
        while not stop.is_set():
            self.device.execute(*self._edits())
            try:
                self.device.sync(server=self.server)
            except TryLater as error:
                self.retried[f"{error.code}: {error}"] += 1
            else:
                self.syncs += 1

    def _edits(self) -> list[str]:
        chance = self._chance
        edits = [self._own_edit() for _ in range(chance.choice([1, 3, 10, 80]))]
        for _ in range(chance.randint(1, 4)):
            hot, shared, n = chance.randrange(HOT_ROWS), chance.randrange(SHARED_ROWS), self.syncs
            edits += [
                f"INSERT INTO note VALUES ('hot {hot}', 'by {self.seed}', {n}) "
                "ON CONFLICT (id) DO UPDATE SET body = excluded.body, n = excluded.n",
                f"DELETE FROM note WHERE id = 'shared {shared}'",
                f"INSERT OR REPLACE INTO note VALUES ('shared {(shared * 7) % SHARED_ROWS}', "
                f"'by {self.seed}', {n})",
                f"UPDATE note SET n = n + 1 WHERE id LIKE 'shared %{hot}'",
                f"UPDATE item SET v = {n} WHERE id % 7 = {hot}",
                f"DELETE FROM item WHERE id % 31 = {shared}",
                f"INSERT INTO item (note_id, v) VALUES ('hot {hot}', 'by {self.seed}')",
            ]
        return edits

    def _own_edit(self) -> str:
        key, n = f"own {self.seed} {self._chance.randrange(500)}", self._chance.randrange(10**6)
        if self.own.pop(key, None) is not None and n % 3 == 0:
            return f"DELETE FROM note WHERE id = '{key}'"
        self.own[key] = n
        return f"INSERT OR REPLACE INTO note VALUES ('{key}', 'text', {n})"


def busy_devices(cluster: Servers, directory: Path, count: int) -> list[BusyDevice]:
    """Devices of one tenant, that sync with one server or the other."""
    world = World(cluster, directory)  # type: ignore[arg-type]
    first = world.device("d0.db", *SCHEMA)
    first.sync()
    devices = [first, *(first.clone(f"d{n}.db") for n in range(1, count))]
    urls = [server.url for server in cluster.all]
    return [BusyDevice(d, urls[n % len(urls)], n) for n, d in enumerate(devices)]


def check_rest(cluster: Servers, busy: list[BusyDevice]) -> None:
    """At rest all devices and the server hold the same rows, and nothing is lost."""
    devices = [b.device for b in busy]
    everyone_syncs(*devices)
    first, *others = devices
    for other in others:
        assert other.identities() == first.identities()
    notes = "SELECT id, body, n FROM note WHERE {} ORDER BY id"
    assert list(cluster.rows(notes.format("is_deleted = 0"))) == first.rows(notes.format("true"))
    items = "SELECT count(*) FROM item WHERE {}"
    assert cluster.value(items.format("is_deleted = 0")) == first.value(items.format("true"))
    own = "SELECT id, n FROM note WHERE id LIKE 'own %'"
    assert dict(first.rows(own)) == {key: n for b in busy for key, n in b.own.items()}
    assert set(cluster.statuses()) == {"committed"}
    assert all(server.is_running for server in cluster.all)


def test_while_many_devices_sync_at_once_no_push_fails_and_all_come_to_hold_the_same(
    mariadb, tmp_path
):
    with servers(mariadb, tmp_path) as cluster, ThreadPoolExecutor(DEVICES) as threads:
        cluster.start()
        cluster.start()
        busy, stop = busy_devices(cluster, tmp_path, DEVICES), Event()
        running = [threads.submit(b.run, stop) for b in busy]
        try:
            time.sleep(SOAK_SECONDS)
            until(lambda: min(b.syncs for b in busy) > 2 or any(each.done() for each in running))
        finally:
            stop.set()
        for each in running:
            each.result(SECONDS)
        deadlocks = mariadb.execute("SHOW GLOBAL STATUS LIKE 'innodb_deadlocks'")
        print(f"{sum(b.syncs for b in busy)} syncs in {SOAK_SECONDS:g} s; {deadlocks}")
        assert sum((b.retried for b in busy), Counter()) == Counter()
        assert min(b.syncs for b in busy) > 2
        check_rest(cluster, busy)
        assert "ERROR" not in "".join(server.text() for server in cluster.all)


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Mariadb]:
    """A database of the test's own, that keeps what it has committed when it is killed."""
    with private_mariadb(tmp_path, durable=True) as running:
        yield running


def test_a_database_that_restarts_and_dies_under_load_loses_nothing_that_was_acknowledged(
    durable, tmp_path
):
    with servers(durable, tmp_path, *SMALL) as cluster, ThreadPoolExecutor(6) as threads:
        cluster.start()
        cluster.start()
        busy, stop = busy_devices(cluster, tmp_path, 6), Event()
        running = [threads.submit(b.run, stop) for b in busy]
        try:
            over_at = time.monotonic() + SOAK_SECONDS
            while True:
                for end in (durable.stop, durable.kill, durable.stop):
                    everyone_has_synced(busy, running)
                    end()
                    durable.start()
                if time.monotonic() > over_at:
                    break
            everyone_has_synced(busy, running)
        finally:
            stop.set()
        for each in running:
            each.result(SECONDS)
        print(f"{sum(b.syncs for b in busy)} syncs; {sum((b.retried for b in busy), Counter())}")
        check_rest(cluster, busy)


def test_a_server_whose_database_is_away_stops_soon_when_it_is_told_to(durable, tmp_path):
    with servers(durable, tmp_path) as cluster, ThreadPoolExecutor() as threads:
        server = cluster.start()
        device = World(cluster, tmp_path).device("a.db", *SCHEMA)  # type: ignore[arg-type]
        device.execute("INSERT INTO note VALUES ('a', 'text', 1)")
        device.sync()
        device.execute("UPDATE note SET n = 2")
        with cluster.held("SELECT id FROM note FOR UPDATE"):
            pushing = threads.submit(device.push)
            cluster.wait_for_a_lock("SELECT coalesce(max(")
            durable.kill()
        server.signal(signal.SIGTERM)
        assert server.wait(SOON) == 0
        with pytest.raises(TryLater):
            pushing.result(SECONDS)
        assert "Traceback" not in server.text()
        durable.start()
        assert (
            device.push(server=cluster.start("--claim-timeout-seconds", "1").url).pushed.rows == 1
        )


def test_a_server_whose_database_is_away_says_that_it_can_be_started_later(
    mariadb, tmp_path, monkeypatch
):
    monkeypatch.setattr(mysql, "_RETRY_SECONDS", 0.2)
    monkeypatch.setattr(cli.logs, "configure", lambda *_: None)  # it is for the whole process
    url = f"mysql://root@localhost/away?unix_socket={tmp_path / 'nobody'}"
    done = CliRunner().invoke(cli.main, ["run", "--port", "0", "--database", url])
    assert (done.exit_code, done.output.count("\n")) == (TRY_LATER, 1)
    assert re.search(r"cannot be reached: .*2003.*\[server_busy\]", done.output)


def everyone_has_synced(busy: list[BusyDevice], running: list[Future[None]]) -> None:
    """Wait until each has come through once more, which began in the meantime."""
    before = [b.syncs for b in busy]
    until(
        lambda: (
            any(each.done() for each in running)
            or all(b.syncs > n + 1 for b, n in zip(busy, before, strict=True))
        )
    )
    for each in running:
        assert not each.done(), each.result()
