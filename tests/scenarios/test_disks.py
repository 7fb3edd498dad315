"""A disk that is full, a file that is locked or damaged: no edit is lost, and sync goes on."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import Device, Server, World, everyone_syncs, serving

from syncsession_client import engine, push, store
from syncsession_client.protocol.errors import DatabaseLocked, DiskFull, TryLater
from syncsession_client.transport import Transport
from syncsession_server.settings import Settings

ITEM = "CREATE TABLE item (id TEXT PRIMARY KEY, v)"
INSERT = "INSERT INTO item VALUES (?, ?)"
ROWS = "SELECT * FROM item ORDER BY id"


class Died(BaseException):
    """The process is gone: nothing after this runs."""


@pytest.fixture(scope="module")
def holding_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that holds every pull, so that its batches come into the sidecar."""
    database = f"sqlite:///{tmp_path_factory.mktemp('disks') / 'server.db'}"
    settings = Settings(database=database, migrate=True, pull_shared_table_threshold=0)
    with serving(settings) as server:
        yield server


@pytest.fixture
def devices(holding_server: Server, tmp_path: Path) -> tuple[Device, Device]:
    """The first has rows to push and to pull, the second has pushed them."""
    a = World(holding_server, tmp_path).device("a.db", ITEM)
    a.execute("INSERT INTO item VALUES ('shared', 0)")
    a.sync()
    b = a.clone("b.db")
    b.put(INSERT, rows("b"))
    b.sync()
    a.put(INSERT, rows("a"))
    a.execute("UPDATE item SET v = 'a' WHERE id = 'shared'")
    return a, b


def rows(prefix: str) -> list[tuple[str, str]]:
    return [(f"{prefix} {n:04}", random.Random(n).randbytes(100).hex()) for n in range(2500)]


def all_is_here(a: Device, b: Device) -> None:
    everyone_syncs(a, b)
    everything = [*rows("a"), *rows("b"), ("shared", "a")]
    assert a.rows(ROWS) == b.rows(ROWS) == everything
    assert a.value("PRAGMA integrity_check") == "ok"
    assert a.dirty("item") == []


# The sidecar


def delete(sidecar: Path, _: Path) -> None:
    sidecar.unlink()


def truncate(sidecar: Path, _: Path) -> None:
    os.truncate(sidecar, sidecar.stat().st_size // 2 + 100)


def empty(sidecar: Path, _: Path) -> None:
    os.truncate(sidecar, 0)


def scramble(sidecar: Path, _: Path) -> None:
    sidecar.write_bytes(random.Random(1).randbytes(sidecar.stat().st_size))


def scramble_within(sidecar: Path, _: Path) -> None:
    data = bytearray(sidecar.read_bytes())
    data[4096:] = random.Random(2).randbytes(len(data) - 4096)
    sidecar.write_bytes(data)


def exchange(sidecar: Path, other: Path) -> None:
    sidecar.write_bytes(other.read_bytes())


HARMS = (delete, truncate, empty, scramble, scramble_within, exchange)

DEATHS: dict[str, tuple[object, str]] = {
    "sealed": (push, "send"),
    "sent in part": (Transport, "commit_push"),
    "committed": (push, "acknowledge"),
    "downloaded": (engine, "apply"),
}


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("death", DEATHS)
def test_whatever_becomes_of_the_sidecar_no_edit_is_lost(devices, monkeypatch, death, harm):
    a, b = devices
    b.execute("UPDATE item SET v = 'b' WHERE id = 'b 0000'")
    with monkeypatch.context() as patch:
        patch.setattr(*DEATHS[death], died)
        for device in (a, b):
            with pytest.raises(Died):
                device.sync()
    harm(settled(a), settled(b))
    try_until_done(a.sync)
    b.execute(f"UPDATE item SET v = '{rows('b')[0][1]}' WHERE id = 'b 0000'")
    all_is_here(a, b)


def died(*_: object, **__: object) -> None:
    raise Died


def settled(device: Device) -> Path:
    """The sidecar, with all that it holds in the one file."""
    path = device.path.with_name(device.path.name + "-sync")
    assert not path.with_name(path.name + "-wal").exists()
    return path


def try_until_done(act: Callable[[], object]) -> None:
    """At most twice: what may succeed later succeeds then."""
    try:
        act()
    except TryLater:
        act()


# A disk without room


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("left", [0, 8, 100, 400, 700])
def test_on_a_full_disk_nothing_changes_and_with_room_again_it_goes_on(
    devices, small_disk, monkeypatch, left
):
    b = devices[1]
    (small_disk / "tmp").mkdir()
    a = Device(small_disk / "a.db", b.server, b.token)
    a.path.write_bytes(devices[0].path.read_bytes())
    before = a.rows(ROWS)
    filler = small_disk / "filler"
    room = os.statvfs(small_disk)
    filler.write_bytes(bytes(max(0, room.f_bavail * room.f_bsize - left * 1024)))
    with pytest.raises(DiskFull, match="no room") as caught:
        a.sync()
    assert caught.value.retryable
    assert a.rows(ROWS) == before
    assert a.value("PRAGMA integrity_check") == "ok"
    filler.unlink()
    all_is_here(a, b)


# A database that is locked

LOCKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
db.execute("ROLLBACK")
"""

LOCKS: dict[str, tuple[object, str]] = {
    "before the fold": (engine.SyncEngine, "_push"),
    "before the session is noted": (push, "seal"),
    "before the acknowledgement": (push, "acknowledge"),
    "before the pull is applied": (engine, "apply"),
}


@contextmanager
def locker(device: Device) -> Iterator[Callable[[], None]]:
    """A program that takes the write lock when it is told to, and keeps it till the end."""
    started: list[subprocess.Popen[str]] = []

    def lock() -> None:
        if not started:
            command = [sys.executable, "-c", LOCKER, str(device.path)]
            program = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            started.append(program)
            assert program.stdout is not None
            assert program.stdout.readline() == "locked\n"

    try:
        yield lock
    finally:
        for program in started:
            program.communicate()
            assert program.returncode == 0


@pytest.mark.parametrize("moment", LOCKS)
def test_a_database_that_another_program_keeps_locked_is_tried_again_later(
    devices, monkeypatch, moment
):
    a, b = devices
    owner, name = LOCKS[moment]
    work = getattr(owner, name)
    monkeypatch.setitem(store.SCHEMA.__dict__, "defer_busy", "PRAGMA busy_timeout = 50")
    before = a.rows(ROWS)
    with monkeypatch.context() as patch, locker(a) as lock:

        def hooked(*args, **options):
            lock()
            return work(*args, **options)

        patch.setattr(owner, name, hooked)
        with pytest.raises(DatabaseLocked, match=r"a\.db"):
            a.sync()
        assert a.rows(ROWS) == before
    all_is_here(a, b)
