"""`syncsession-client watch` with real processes: what it notices, tells, and survives."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
from processes import ServerProcess, until
from support import SECONDS, Device, World, everyone_syncs
from watches import HOME, watching

from syncsession_client import engine
from syncsession_client.changes import LocalChanges
from syncsession_client.lock import SyncLock
from syncsession_client.protocol.errors import DatabaseLocked
from syncsession_client.status import read_status

ITEM = "CREATE TABLE item (id TEXT PRIMARY KEY, v)"
NEVER = ("--interval", "86400")  # nothing but a change here, then
COUNT = "SELECT count(*) FROM item"


@pytest.fixture
def world(embedded_server, tmp_path) -> World:
    return World(embedded_server, tmp_path)


@pytest.fixture
def device(world: World) -> Device:
    made = world.device("a.db", ITEM)
    made.execute("INSERT INTO item VALUES ('x', 1)")
    return made


@pytest.fixture
def other(device: Device) -> Device:
    device.sync()
    return device.clone("b.db")


def program(device: Device, sql: str, *before: str) -> None:
    """Another process changes the file."""
    lines = ["import sqlite3, sys", "db = sqlite3.connect(sys.argv[1], timeout=20)"]
    lines += [f"db.execute({each!r})" for each in (*before, sql)]
    text = "\n".join([*lines, "db.commit()"])
    subprocess.run([sys.executable, "-c", text, str(device.path)], check=True, timeout=SECONDS)


def arrives(device: Device, row: tuple) -> None:
    """Wait until a row has come to another device."""

    def has_come() -> bool:
        device.sync()
        return row in device.rows("SELECT id, v FROM item")

    until(has_come)


@pytest.mark.parametrize("mode", ["WAL", "DELETE", "TRUNCATE", "PERSIST"])
def test_what_a_program_writes_reaches_another_device(device, other, mode):
    device.rows(f"PRAGMA journal_mode = {mode}")
    with watching(device, *NEVER) as watch:
        watch.until("synced")
        program(device, "INSERT INTO item VALUES ('y', 2)")
        assert watch.until("synced", times=2)["pushed_rows"] == 1
        arrives(other, ("y", 2))
        program(device, "UPDATE item SET v = 3 WHERE id = 'y'")
        assert watch.until("synced", times=3)["pushed_rows"] == 1
        arrives(other, ("y", 3))


def test_what_others_commit_comes_by_the_interval(device, other):
    with watching(device, "--interval", "1") as watch:
        watch.until("synced")
        other.execute("INSERT INTO item VALUES ('y', 2)")
        other.sync()
        assert watch.until("synced", times=2)["pulled_rows"] == 1
        assert device.value(COUNT) == 2


def test_a_change_of_the_schema_alone_is_noticed(device, other):
    with watching(device, *NEVER) as watch:
        watch.until("synced")
        program(device, "DROP TABLE new", "ALTER TABLE item ADD COLUMN c", "CREATE TABLE new (a)")
        program(device, "UPDATE item SET c = 1", "DROP TRIGGER _sync_item_update")
        assert watch.until("synced", times=2)["pushed_rows"] == 1


def test_a_file_that_is_put_in_the_place_of_the_database_is_synced(device, other):
    backup = device.path.with_name("backup.db")
    with watching(device, *NEVER) as watch:
        watch.until("synced")
        shutil.copy(device.path, backup)
        with closing(sqlite3.connect(backup)) as db, db:
            db.execute("INSERT INTO item VALUES ('restored', 5)")
        backup.replace(device.path)
        assert watch.until("synced", times=2)["pushed_rows"] == 1
        program(device, "INSERT INTO item VALUES ('later', 6)")
        assert watch.until("synced", times=3)["pushed_rows"] == 1
    arrives(other, ("restored", 5))
    arrives(other, ("later", 6))


def test_what_status_has_folded_is_synced(device, other):
    with watching(device, *NEVER, "--delay", "3") as watch:
        watch.until("synced")
        device.execute("INSERT INTO item VALUES ('y', 2)")
        read_status(device.path)
        assert device.value("SELECT count(*) FROM _sync_item_log") == 0
        assert watch.until("synced", times=2)["pushed_rows"] == 1


def test_an_edit_that_the_pull_of_a_sync_has_folded_is_left_for_another(device, other, monkeypatch):
    other.execute("INSERT INTO item VALUES ('y', 2)")
    other.sync()
    apply = engine.apply

    def edits(*args, **rest):
        device.execute("INSERT INTO item VALUES ('meanwhile', 3)")
        return apply(*args, **rest)

    monkeypatch.setattr(engine, "apply", edits)
    with LocalChanges(device.path) as changes:
        device.sync()
        monkeypatch.undo()
        assert device.value("SELECT count(*) FROM _sync_item_log") == 0
        assert changes.settle(is_synced=True)
        assert device.sync().pushed.rows == 1
        assert not changes.settle(is_synced=True)
        assert not changes.look()


# Quiet


@contextmanager
def counted(world: World) -> Iterator[list[str]]:
    """The requests that the server gets meanwhile."""
    asked: list[str] = []
    store = world.server.store
    original = type(store).read

    async def read(self, work):
        asked.append("read")
        return await original(self, work)

    type(store).read = read
    try:
        yield asked
    finally:
        type(store).read = original


def test_it_does_nothing_while_nothing_happens(device, other, world):
    """Its own writes, of a push and of a pull, are no change: it would never come to rest."""
    device.execute("CREATE TABLE unsynced (a)")
    other.execute("INSERT INTO item VALUES ('z', 9)")
    other.sync()
    with watching(device, *NEVER, "--delay", "0") as watch:
        assert watch.until("synced")["pulled_rows"] == 1
        device.execute("INSERT INTO item VALUES ('y', 2)")
        watch.until("synced", times=2)
        look_around(watch)
        with counted(world) as asked:
            look_around(watch)
            for number in range(5):
                device.execute(f"INSERT INTO unsynced VALUES ({number})")
                look_around(watch)
        assert asked == []


def look_around(watch) -> None:
    """Let it look for changes a few times; it waits in between."""
    process = psutil.Process(watch.process.pid)
    before = process.num_ctx_switches().voluntary
    until(lambda: process.num_ctx_switches().voluntary >= before + 15)


def test_a_burst_is_one_push(device, other):
    with watching(device, *NEVER, "--delay", "2") as watch:
        watch.until("synced")
        for number in range(20):
            device.execute(f"INSERT INTO item VALUES ('n{number}', 0)")
        assert watch.until("synced", times=2)["pushed_rows"] == 20


# No network


def own_server(directory: Path, port: int = 0) -> ServerProcess:
    database = f"sqlite:///{directory / 'server.db'}"
    return ServerProcess(database, directory / f"server{port}.log", "--port", str(port))


@pytest.fixture
def moving(tmp_path) -> Iterator[tuple[ServerProcess, Device]]:
    """A server that can be stopped, and a device of it."""
    server = own_server(tmp_path)
    made = subprocess.run(
        [
            *(sys.executable, "-m", "syncsession_server", "token", "create", "--tenant", "t"),
            *("--user", "alice", "--database", f"sqlite:///{tmp_path / 'server.db'}"),
        ],
        capture_output=True,
        text=True,
        check=bool(server.url),
    )
    device = Device(tmp_path / "a.db", server.url, made.stdout.strip())
    with closing(sqlite3.connect(device.path)) as db:
        db.execute(ITEM)
    device.init()
    try:
        yield server, device
    finally:
        server.kill()


def test_it_goes_on_when_the_server_is_back(moving, tmp_path):
    server, device = moving
    port = int(server.url.rpartition(":")[2])
    with watching(device, *NEVER) as watch:
        watch.until("synced")
        server.kill()
        program(device, "INSERT INTO item VALUES ('offline', 1)")
        offline = watch.until("offline")
        assert offline["code"] == "network_unavailable"
        assert device.server in offline["message"]
        until(lambda: device.value("SELECT count(*) FROM _sync_item_log") == 0)
        assert device.dirty("item") == [("offline",)]
        program(device, "INSERT INTO item VALUES ('folded', 1)")
        until(lambda: device.dirty("item") == [("folded",), ("offline",)])
        again = own_server(tmp_path, port)
        try:
            until(lambda: sum(e["pushed_rows"] for e in watch.told("synced")) == 2)
        finally:
            again.kill()
        assert len(watch.told("offline")) == 1
        assert watch.stop() == 0


def test_it_starts_without_a_network_too(device):
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with watching(device, "--server", server) as watch:
            watch.until("offline")
            until(lambda: device.dirty("item") == [("x",)])
            assert watch.stop() == 0


# Stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly(device, number):
    with watching(device) as watch:
        watch.until("synced")
        assert watch.stop(number) == 0
        assert [e["event"] for e in watch.events()] == ["started", "synced", "stopped"]
        assert watch.err.read_text() == ""
    assert not list(device.path.parent.glob("a.db-sync.lock"))


def test_it_tells_people_in_few_lines_and_never_the_token(device):
    with watching(device, is_json=False) as watch:
        until(lambda: "pulled" in watch.all())
        assert watch.stop() == 0
        assert watch.all() == (
            f"{device.path}: watching\n"
            f"{device.path}: 1 row pushed, 0 rows pulled\n"
            f"{device.path}: stopped\n"
        )


def test_stopped_in_a_large_push_it_goes_on_where_it_was(device, other):
    device.put("INSERT INTO item VALUES (?, 0)", [(f"{n:05}",) for n in range(20_000)])
    with watching(device, "--batch-rows", "10") as watch:
        until(lambda: is_sending(device))
        assert watch.stop() == 0
        assert watch.told("synced") == []
    assert is_sending(device)
    assert device.sync().pushed.rows == 20_000
    other.sync()
    assert other.value(COUNT) == 20_001


def test_a_second_signal_ends_it_at_once(device):
    """Here the server takes a connection, and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with watching(device, "--server", server) as watch:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(4) == b"PUT "

                def ends() -> bool:
                    watch.process.send_signal(signal.SIGTERM)
                    return watch.process.poll() is not None

                until(ends)
            assert watch.wait() == -signal.SIGTERM
    assert device.sync().pushed.rows == 1


def is_sending(device: Device) -> bool:
    """Whether a sealed session is on its way."""
    state = "SELECT sealed_session_id FROM _syncsession_state"
    return device.value(state) is not None


# One process a file


def test_a_second_watch_and_a_sync_are_told_who_holds_the_file(device):
    with watching(device) as watch:
        watch.until("synced")
        for command in ("watch", "sync", "push", "pull"):
            second = subprocess.run(
                [sys.executable, "-m", "syncsession_client", command, str(device.path)],
                env=HOME | {"SYNCSESSION_TOKEN": device.token},
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            assert second.returncode == 75
            assert second.stdout == ""
            assert f"process {watch.process.pid} (syncsession-client watch)" in second.stderr
            assert "since 20" in second.stderr
        program(device, "INSERT INTO item VALUES ('y', 2)")
        assert watch.until("synced", times=2)["pushed_rows"] == 1


def test_a_watch_that_was_killed_is_in_nobodys_way(device):
    with watching(device) as watch:
        watch.until("synced")
        watch.kill()
        assert device.path.with_name("a.db-sync.lock").exists()
    with watching(device) as watch:
        watch.until("synced")
        assert watch.stop() == 0
    assert not device.path.with_name("a.db-sync.lock").exists()


def test_the_lock_says_who_has_it_and_is_as_open_as_the_database(tmp_path):
    database = tmp_path / "a.db"
    database.touch(0o640)
    with SyncLock(database, "first"):
        with pytest.raises(DatabaseLocked, match=rf"process {os.getpid()} \(first\)"):
            SyncLock(database, "second").__enter__()
        assert lock_file(database).stat().st_mode & 0o777 == 0o640
    assert not lock_file(database).exists()


def test_a_lock_whose_file_somebody_removed_leaves_the_next_ones_alone(tmp_path):
    database = tmp_path / "a.db"
    database.touch()
    first = SyncLock(database, "first").__enter__()
    lock_file(database).unlink()
    with SyncLock(database, "second"):
        first.__exit__()
        with pytest.raises(DatabaseLocked, match="second"):
            SyncLock(database, "third").__enter__()


def test_a_lock_that_is_let_go_just_before_it_is_taken_is_made_anew(tmp_path, monkeypatch):
    database = tmp_path / "a.db"
    database.touch()
    first, opened = SyncLock(database, "first").__enter__(), SyncLock._open

    def slow(self):
        file = opened(self)
        monkeypatch.undo()
        first.__exit__()
        return file

    monkeypatch.setattr(SyncLock, "_open", slow)
    with (
        SyncLock(database, "second"),
        pytest.raises(DatabaseLocked, match="second"),
    ):
        SyncLock(database, "third").__enter__()


def lock_file(database: Path) -> Path:
    return database.with_name("a.db-sync.lock")


# What is the matter


def test_a_token_that_the_server_does_not_know_ends_it(device):
    with watching(device, token="sst_of_nobody") as watch:
        assert watch.wait() == 1
        assert "[unauthorized]" in watch.err.read_text()
        assert "sst_of_nobody" not in watch.all()


def test_a_token_of_another_tenant_ends_it(device, other, embedded_server, tmp_path):
    with watching(device, token=embedded_server.token("another")) as watch:
        assert watch.wait() == 1
        assert "[wrong_tenant]" in watch.err.read_text()


def test_a_file_in_which_sync_is_not_installed_ends_it(world):
    with watching(world.bare("bare.db", ITEM)) as watch:
        assert watch.wait() == 1
        assert "[not_initialized]" in watch.err.read_text()


def test_what_a_change_of_rows_can_mend_is_told_once_and_tried_again(world):
    login = "CREATE TABLE login (id TEXT PRIMARY KEY, name TEXT)"
    a, b = world.device("a.db", login), world.device("b.db", login)
    b.execute("INSERT INTO login VALUES ('2', CAST(x'ff' AS TEXT))")
    with watching(b, *NEVER) as watch:
        assert watch.until("failed")["code"] == "unsyncable_value"
        program(b, "UPDATE login SET name = 'anna'")
        watch.until("synced")
        assert len(watch.told("failed")) == 1
        assert watch.stop() == 0
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM login ORDER BY id") == [("2", "anna")]


def test_a_program_that_holds_the_lock_is_waited_for(device, other):
    with watching(device, *NEVER) as watch:
        watch.until("synced")
        with closing(sqlite3.connect(device.path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO item VALUES ('y', 2)")
            db.execute("COMMIT")
            db.execute("BEGIN IMMEDIATE")
            assert watch.until("failing")["code"] == "database_locked"
            db.execute("ROLLBACK")
        assert watch.until("synced", times=2)["pushed_rows"] == 1
