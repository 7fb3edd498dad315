"""How long a program that writes to the file has to wait while a sync of many rows goes on.

The program writes a row every 10 ms. It waits for a lock as SQLite does, asking again after pauses
of up to 100 ms, so that it waits a little longer than the lock is held. Both are measured, in the
journal mode that SQLite begins with and with a write-ahead log.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from syncsession_client.engine import SyncEngine
from syncsession_client.store import DeviceStore

from . import cases
from .place import Place, alone
from .writer import writing

MODES = ("delete", "wal")

_PAUSE = 0.01
_MINE = "INSERT INTO note VALUES (?, 'name', 'me@example.com', 0, '')"
_TOUCH = "UPDATE note SET amount = amount + 1 WHERE id = ?"


def measure(here: Place, count: int) -> dict[str, float]:
    """The longest wait and the longest write lock of a push and of a pull of `count` rows; the
    floor is one transaction that inserts them.
    """
    figures: dict[str, float] = {}
    for mode in MODES:
        pushed, pulled, floor = (
            here.directory / f"{name}_{mode}.db" for name in ("pushed", "pulled", "floor")
        )
        cases.make_device(pushed, here.server, count)
        for path in (pulled, floor):
            cases.make_device(path, here.server, 0)
        for work, path in ((insert, floor), (push, pushed), (pull, pulled)):
            prepare(path, mode)
            with writing(path, _TOUCH, (path.name,), pause=_PAUSE) as waits:
                held, _ = alone(work, path, here.token, count)
            figures[f"{mode}_{work.__name__}_longest_wait"] = max(waits)
            figures[f"{mode}_{work.__name__}_longest_lock"] = held
    return figures


def prepare(path: Path, mode: str) -> None:
    """Choose the journal mode, and add the row that the program writes."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute(_MINE, (path.name,))


def insert(path: Path, _: str, count: int) -> float:
    """Seconds that the lock is held by one transaction that inserts the rows."""
    given = cases.rows(count)
    with closing(apsw.Connection(str(path))) as db:
        db.execute("PRAGMA busy_timeout = 60000")
        db.execute("PRAGMA cache_size = -32768")
        db.execute("BEGIN IMMEDIATE")
        start = time.perf_counter()
        db.executemany(cases.INSERT, given)
        db.execute("COMMIT")
        return time.perf_counter() - start


def push(path: Path, token: str, count: int) -> float:
    """The longest that a push holds the write lock."""
    with locking() as held, SyncEngine(path, token=token) as engine:
        assert engine.push().pushed.rows >= count
    return max(held)


def pull(path: Path, token: str, count: int) -> float:
    """The longest that a pull into a file that is used holds the write lock."""
    with locking() as held, SyncEngine(path, token=token) as engine:
        assert engine.pull().pulled.rows >= count
    return max(held)


@contextmanager
def locking() -> Iterator[list[float]]:
    """The seconds of each write transaction of this process, from when it has the lock."""
    held: list[float] = []
    write = DeviceStore.write

    @contextmanager
    def timed(store: DeviceStore) -> Iterator[None]:
        with write(store):
            start = time.perf_counter()
            yield
        held.append(time.perf_counter() - start)

    DeviceStore.write = timed  # type: ignore[method-assign]
    try:
        yield held
    finally:
        DeviceStore.write = write  # type: ignore[method-assign]
