"""The cases: each does its work once and returns seconds, after checking the result."""

import random
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path
from statistics import median

import httpx

from syncsession_client.engine import SyncEngine, clone_database
from syncsession_client.identity import Choices
from syncsession_client.setup import initialize
from syncsession_client.transport import Transport

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


def visible(path: Path, other: Path, token: str, times: int) -> float:
    """Seconds from one row's push to its being in another device, the median of `times`."""
    taken = []
    with SyncEngine(path, token=token) as here, SyncEngine(other, token=token) as there:
        there.pull()
        for number in range(times):
            with closing(sqlite3.connect(path)) as db, db:
                db.execute("UPDATE note SET name = ? WHERE rowid = 1", (f"edit {number}",))
            start = time.perf_counter()
            here.push()
            result = there.pull()
            taken.append(time.perf_counter() - start)
            assert result.pulled.rows == 1
    return median(taken)


def round_trip(server: str, times: int) -> float:
    """Seconds of a request that does nothing, the median of `times`."""
    taken = []
    with httpx.Client() as client:
        for _ in range(times):
            start = time.perf_counter()
            assert client.get(f"{server}/health").status_code == 200
            taken.append(time.perf_counter() - start)
    return median(taken)


def nothing_new(path: Path, token: str, times: int) -> float:
    """Seconds of a pull request that has nothing to bring, the median of `times`."""
    with SyncEngine(path, token=token) as engine:
        engine.synchronize()
        state, text = engine._store.state(), engine._request()
        taken = []
        with Transport(state.server_url, token, state.device_id) as transport:
            for _ in range(times):
                start = time.perf_counter()
                answer = transport.begin_pull(str(uuid.uuid4()), text)
                taken.append(time.perf_counter() - start)
                assert b'"batches": []' in answer
    return median(taken)
