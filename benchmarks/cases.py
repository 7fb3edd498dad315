"""The cases: each does its work once and returns seconds, after checking the result."""

import random
import sqlite3
import time
import uuid
from pathlib import Path

from syncsession_client.engine import SyncEngine, clone_database
from syncsession_client.identity import Choices
from syncsession_client.setup import initialize

CREATE = "CREATE TABLE note (id TEXT PRIMARY KEY, name TEXT, email TEXT, amount REAL, note TEXT)"
INSERT = "INSERT INTO note VALUES (?, ?, ?, ?, ?)"


def rows(count: int) -> list[tuple[object, ...]]:
    """`count` rows of about 200 bytes, the same ones every time."""
    chance = random.Random(1)
    return [
        (
            str(uuid.UUID(int=chance.getrandbits(128), version=4)),
            f"name {number}",
            f"user{number}@example.com",
            number * 1.25,
            f"{chance.getrandbits(440):0110x}",
        )
        for number in range(count)
    ]


def make_device(path: Path, server: str, count: int) -> None:
    """A database that sync is set up in before a program fills it: every row is in the log."""
    with sqlite3.connect(path) as db:
        db.execute(CREATE)
    db.close()
    initialize(path, server=server, choices=Choices(), user="bench")
    with sqlite3.connect(path) as db:
        db.executemany(INSERT, rows(count))
    db.close()


def push(path: Path, token: str, count: int) -> float:
    """From dirty to committed and acknowledged."""
    with SyncEngine(path, token=token) as engine:
        start = time.perf_counter()
        result = engine.push()
        seconds = time.perf_counter() - start
    assert result.pushed.rows == count
    return seconds


def pull(path: Path, server: str, token: str, count: int) -> float:
    """Everything into a new device."""
    start = time.perf_counter()
    result = clone_database(path, server=server, token=token)
    seconds = time.perf_counter() - start
    assert result.pulled.rows == count
    return seconds


def idle(path: Path, token: str) -> float:
    """A sync with nothing to do."""
    with SyncEngine(path, token=token) as engine:
        engine.synchronize()
        start = time.perf_counter()
        result = engine.synchronize()
        seconds = time.perf_counter() - start
    assert (result.pushed.rows, result.pulled.rows) == (0, 0)
    return seconds
