"""What sync does in a device's file by itself: folding, setting up, reconciling; no network.

Seconds of the clock and of the CPU, from opening the file to the commit. The file is in the
system's cache. Processes are fresh, and have made their statements: that takes some 50 ms, once.
"""

import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import apsw

from syncsession_client import push, reconcile
from syncsession_client.fold import fold
from syncsession_client.identity import Choices
from syncsession_client.outbox import Outbox
from syncsession_client.protocol.batches import digests
from syncsession_client.rows import ROWS
from syncsession_client.setup import initialize
from syncsession_client.store import DeviceStore

from .capture import INSERT, TYPES, create, rows
from .place import alone
from .writer import writing

Spent = dict[str, float]

_PAUSE = 0.001  # seconds between two writes
_TOUCH = "UPDATE note SET amount = amount + 1 WHERE rowid = 1"


def measure_fold(directory: Path, count: int) -> dict[str, float]:
    """Folding `count` new rows, then as many edits, then deletions; the keys come in random order
    (integers are inserted in theirs). The floor sorts as many keys into a plain table.
    """
    figures = {}
    for keys in TYPES:
        found, _ = alone(warmed, fold_changes, directory / f"{keys}.db", keys, count)
        floor, _ = alone(sort_keys, directory / f"{keys}_floor.db", keys, count)
        figures |= {f"{keys}_{name}": value for name, value in found.items()}
        figures |= {f"{keys}_floor_{name}": value for name, value in floor.items()}
    return figures


def measure_init(directory: Path, count: int) -> dict[str, float]:
    """Setting up a file of `count` rows; then again, while another program writes a row at a time:
    the longest that it waits. The floor sorts as many keys into a plain table.
    """
    figures = {}
    for keys in TYPES:
        path, other = directory / f"{keys}.db", directory / f"{keys}_busy.db"
        for file in (path, other):
            alone(fill, file, keys, count)
        found, _ = alone(warmed, set_up, path, keys, count)
        floor, _ = alone(sort_keys, directory / f"{keys}_floor.db", keys, count)
        figures |= {f"{keys}_{name}": value for name, value in found.items()}
        figures |= {f"{keys}_floor_{name}": value for name, value in floor.items()}
        with writing(other, _TOUCH, pause=_PAUSE) as waits:
            alone(warmed, set_up, other, keys, count)
        figures[f"{keys}_longest_wait"] = max(waits)
    return figures


def measure_reconcile(directory: Path, count: int) -> dict[str, float]:
    """Of `count` rows of which one was edited since the last sync: comparing the row counts, and
    after a rebuild of the table all digests. Beside them a count of the table alone, and reading
    and digesting its rows alone.
    """
    figures = {}
    for keys in TYPES:
        path = directory / f"{keys}.db"
        alone(agree, path, keys, count)
        for work in (count_table, compare_counts, digest_rows, compare_digests):
            found, _ = alone(warmed, work, path, keys, count)
            figures |= {f"{keys}_{work.__name__}_{name}": value for name, value in found.items()}
    return figures


def warmed(work: Callable[[Path, str, int], Spent], path: Path, keys: str, count: int) -> Spent:
    """What `work` finds, after the same statements were made for a small file."""
    with tempfile.TemporaryDirectory() as made:
        small = Path(made) / "small.db"
        agree(small, keys, 10)
        compare_counts(small, keys, 10)
        compare_digests(small, keys, 10)
    return work(path, keys, count)


def fill(path: Path, keys: str, count: int) -> None:
    """A file with the table and its rows, as a program makes it that knows nothing of sync."""
    create(path, keys)
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany(INSERT, rows(keys, count))


def fold_changes(path: Path, keys: str, count: int) -> Spent:
    """Seconds of folding new rows, edited ones and deleted ones."""
    create(path, keys)
    set_up(path, keys, 0)
    given = rows(keys, count)
    shuffled = [row[:1] for row in random.Random(2).sample(given, count)]
    spent = {}
    with closing(sqlite3.connect(path)) as db:
        for name, sql, values in (
            ("insert", INSERT, given),
            ("update", "UPDATE note SET amount = 2.5 WHERE id = ?", shuffled),
            ("delete", "DELETE FROM note WHERE id = ?", shuffled),
        ):
            with db:
                db.executemany(sql, values)
            with _timed(spent, f"{name}_"), DeviceStore(path) as store, store.write():
                fold(store, store.tables())
            assert _count_dirty(path) == count
    return spent


def sort_keys(path: Path, keys: str, count: int) -> Spent:
    """Seconds of sorting keys out of one table into another, whose rows are as shadow rows are."""
    db = apsw.Connection(str(path))
    db.execute("PRAGMA cache_size = -32768")
    db.execute(f"CREATE TABLE log (seq INTEGER PRIMARY KEY, key {TYPES[keys]})")
    columns = "is_dirty, generation, is_deleted, at, by, session, digest"
    db.execute(f"CREATE TABLE shadow (key {TYPES[keys]} PRIMARY KEY, {columns}) WITHOUT ROWID")
    with db:
        db.executemany("INSERT INTO log (key) VALUES (?)", (row[:1] for row in rows(keys, count)))
    spent: Spent = {}
    with _timed(spent), db:
        db.execute(
            "INSERT INTO shadow SELECT key, 1, 2, 0, '2026-01-01T00:00:00.000Z', 'bench', 1, NULL "
            "FROM log ORDER BY key"
        )
    db.close()
    return spent


def set_up(path: Path, _: str, count: int) -> Spent:
    """Seconds of `init`."""
    spent: Spent = {}
    with _timed(spent):
        initialize(path, server="http://localhost", choices=Choices(), user="bench")
    assert _count_dirty(path) == count
    return spent


def agree(path: Path, keys: str, count: int) -> None:
    """A file whose rows a server has, as it is after a sync."""
    fill(path, keys, count)
    set_up(path, keys, count)
    with DeviceStore(path) as store, Outbox(path) as outbox:
        with store.write():
            fold(store, store.tables())
        sealed = push.seal(store, outbox, store.tables(), batch_rows=1000)
        assert sealed is not None
        outcome: dict[str, Any] = {"number": 1, "corrected": False}
        push.acknowledge(store, outbox, store.tables(), sealed, outcome)
    assert _count_dirty(path) == 0
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE note SET amount = amount + 1 WHERE rowid = 1")


def compare_counts(path: Path, _: str, __: int) -> Spent:
    """Seconds of what a push does before it seals, where one row was edited."""
    spent: Spent = {}
    with _timed(spent), DeviceStore(path) as store, store.write():
        reconcile.bring_up_to_date(store, allow_mass_delete=False)
    assert _count_dirty(path) == 1
    return spent


def count_table(path: Path, _: str, count: int) -> Spent:
    """Seconds of counting the rows of the application's table."""
    spent: Spent = {}
    with _timed(spent):
        db = apsw.Connection(str(path))
        found = db.execute("SELECT count(*) FROM note").get
        db.close()
    assert found == count
    return spent


def compare_digests(path: Path, _: str, __: int) -> Spent:
    """Seconds of comparing every row, after the table was rebuilt as a migration does."""
    with closing(sqlite3.connect(path)) as db, db:
        (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'note'").fetchone()
        db.execute(sql.replace("TABLE note", "TABLE new_note"))
        db.execute("INSERT INTO new_note SELECT * FROM note")
        db.execute("DROP TABLE note")
        db.execute("ALTER TABLE new_note RENAME TO note")
    spent: Spent = {}
    with _timed(spent), DeviceStore(path) as store, store.write():
        reconcile.refresh(store, allow_mass_delete=False)
        reconcile.bring_up_to_date(store, allow_mass_delete=False)
    assert _count_dirty(path) == 1
    return spent


def digest_rows(path: Path, _: str, count: int) -> Spent:
    """Seconds of reading the rows in their order, and digesting them."""
    spent: Spent = {}
    with _timed(spent):
        db = apsw.Connection(str(path))
        cursor, found = db.execute("SELECT * FROM note"), 0
        while part := list(islice(cursor, 1000)):
            found += len(digests(part))
        db.close()
    assert found == count
    return spent


@contextmanager
def _timed(spent: Spent, start: str = "") -> Iterator[None]:
    clock, cpu = time.perf_counter(), time.process_time()
    yield
    spent[f"{start}seconds"] = time.perf_counter() - clock
    spent[f"{start}cpu"] = time.process_time() - cpu


def _count_dirty(path: Path) -> int:
    with DeviceStore(path) as store:
        return store.count(ROWS.count_dirty(t=store.tables()[0]))


CASES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "fold": measure_fold,
    "init": measure_init,
    "reconcile": measure_reconcile,
}
