"""What capture costs an application: the same statements with it, without it, and with others.

CPU seconds, the system's included. Statements are prepared once and run row by row through apsw's
`executemany`, which has little of its own beside SQLite, so nothing makes the ratios look smaller.
"""

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import apsw

from syncsession_client.identity import Choices
from syncsession_client.setup import initialize

from .place import alone

TYPES = {"text": "TEXT", "integer": "INTEGER"}
_CREATE = (
    "CREATE TABLE note (id {type} PRIMARY KEY, name TEXT, email TEXT, amount REAL, "
    "quantity INTEGER, note TEXT)"
)
INSERT = "INSERT INTO note VALUES (?, ?, ?, ?, ?, ?)"
_UPDATE = "UPDATE note SET name = ?, amount = ? WHERE id = ?"
_DELETE = "DELETE FROM note WHERE id = ?"

_SHAPES = ("one", "wal")
_WAYS = ("plain", "capture", "session", "append")


def measure(directory: Path, count: int) -> dict[str, float]:
    """CPU ratios to the same statements without capture, by key and statement.

    `one`: all rows in one transaction, everything as SQLite has it by itself. `wal`: a transaction
    for each row, in WAL with `synchronous = NORMAL`, where no waiting for the disk hides the rest.
    Beside capture stand SQLite's own session extension, and a trigger that appends the key alone.
    """
    figures = {}
    for keys in TYPES:
        for shape in _SHAPES:
            name = f"{keys}_{shape}"
            spent = {
                way: alone(run, directory / f"{name}_{way}.db", keys, shape, way, count)[0]
                for way in _WAYS
            }
            for statement, floor in spent["plain"].items():
                start = f"{name}_{statement}"
                figures[f"{start}_floor_cpu"] = floor
                figures[f"{start}_ratio"] = spent["capture"][statement] / floor
                figures[f"{start}_session_ratio"] = spent["session"][statement] / floor
                figures[f"{start}_append_ratio"] = spent["append"][statement] / floor
    return figures


def rows(keys: str, count: int) -> list[tuple[object, ...]]:
    """`count` rows of about 110 bytes, the same ones every time: random uuids, or 1, 2, 3…"""
    chance = random.Random(1)
    return [
        (
            str(uuid.UUID(int=chance.getrandbits(128), version=4)) if keys == "text" else number,
            f"name {number}",
            f"user{number}@example.com",
            number * 1.25,
            number % 7,
            f"{chance.getrandbits(160):040x}",
        )
        for number in range(1, count + 1)
    ]


def create(path: Path, keys: str) -> None:
    """A file with the table."""
    with _opened(path) as db:
        db.execute(_CREATE.format(type=TYPES[keys]))


def run(path: Path, keys: str, shape: str, way: str, count: int) -> dict[str, float]:
    """CPU seconds of inserting, updating and deleting `count` rows, the latter in random order."""
    create(path, keys)
    if way == "capture":
        initialize(path, server="http://localhost", choices=Choices(), user="bench")
    chance, given = random.Random(2), rows(keys, count)
    work = {
        "insert": (INSERT, given),
        "update": (
            _UPDATE,
            [(f"new {row[1]}", 2.5, row[0]) for row in chance.sample(given, count)],
        ),
        "delete": (_DELETE, [row[:1] for row in chance.sample(given, count)]),
    }
    with _opened(path) as db:
        if shape == "wal":
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
        if way == "append":
            _append_keys(db, keys)
        spent = {}
        for name, (sql, values) in work.items():
            with _watched(db, way == "session"):
                start = time.process_time()
                with db if shape == "one" else nullcontext():
                    db.cursor().executemany(sql, values)
                spent[name] = time.process_time() - start
        _check(db, way, 3 * count)
    return spent


@contextmanager
def _opened(path: Path) -> Iterator[apsw.Connection]:
    db = apsw.Connection(str(path))
    try:
        yield db
    finally:
        db.close()


@contextmanager
def _watched(db: apsw.Connection, is_watched: bool) -> Iterator[None]:
    """Record what happens with a session of SQLite's; it holds the rows' old values in memory."""
    if not is_watched:
        yield
        return
    session = apsw.Session(db, "main")
    session.attach()
    yield
    assert not session.is_empty
    session.close()


def _append_keys(db: apsw.Connection, keys: str) -> None:
    """The least that a log in the file can cost."""
    db.execute(f"CREATE TABLE log (seq INTEGER PRIMARY KEY, key {TYPES[keys]})")
    for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
        db.execute(
            f"CREATE TRIGGER on_{event} AFTER {event} ON note "
            f"BEGIN INSERT INTO log (key) VALUES ({row}.id); END"
        )


def _check(db: apsw.Connection, way: str, entries: int) -> None:
    assert db.execute("SELECT count(*) FROM note").get == 0
    log = {"capture": "_sync_note_log", "append": "log"}.get(way)
    if log:
        assert db.execute(f"SELECT count(*) FROM {log}").get == entries
