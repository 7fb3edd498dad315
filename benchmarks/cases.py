"""The cases: each does its work once and returns seconds, after checking the result."""

import random
import sqlite3
import time
import uuid
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import apsw
import msgspec

from syncsession_client.engine import SyncEngine, clone_database
from syncsession_client.identity import Choices
from syncsession_client.setup import initialize

_CREATE = "CREATE TABLE note (id TEXT PRIMARY KEY, name TEXT, email TEXT, amount REAL, note TEXT)"
_INSERT = "INSERT INTO note VALUES (?, ?, ?, ?, ?)"
_BATCH = 1000


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
        db.execute(_CREATE)
    db.close()
    initialize(path, server=server, choices=Choices(), user="bench")
    with sqlite3.connect(path) as db:
        db.executemany(_INSERT, rows(count))
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


def push_floor(path: Path, target: Path, count: int, commits: str) -> float:
    """SELECT, encode, decode, plain bulk insert into one indexed table, as a server holds it."""
    sink = apsw.Connection(str(target))
    sink.execute("PRAGMA journal_mode = WAL")
    sink.execute(
        "CREATE TABLE note (tenant_id TEXT NOT NULL, id TEXT NOT NULL, name TEXT, email TEXT, "
        "amount REAL, note TEXT, sync_session INTEGER NOT NULL, PRIMARY KEY (tenant_id, id))"
    )
    sink.execute("CREATE INDEX by_session ON note (tenant_id, sync_session)")
    return _copy(path, sink, "INSERT INTO note VALUES ('bench', ?, ?, ?, ?, ?, 1)", count, commits)


def pull_floor(path: Path, target: Path, count: int, commits: str) -> float:
    """The same the other way: out of such a table, into a file as the device has it."""
    sink = apsw.Connection(str(target))
    sink.execute(_CREATE)
    return _copy(path, sink, _INSERT, count, commits)


def _copy(path: Path, sink: apsw.Connection, insert: str, count: int, commits: str) -> float:
    """Move the rows in batches, each committed before the next is read, or all `at_once`."""
    source = apsw.Connection(str(path))
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[list])
    sink.execute("PRAGMA cache_size = -65536")
    start = time.perf_counter()
    cursor = source.execute("SELECT id, name, email, amount, note FROM note")
    with sink if commits == "at_once" else nullcontext():
        while batch := list(islice(cursor, _BATCH)):
            with sink if commits == "by_batch" else nullcontext():
                sink.executemany(insert, decoder.decode(encoder.encode(batch)))
    seconds = time.perf_counter() - start
    assert sink.execute("SELECT count(*) FROM note").fetchall() == [(count,)]
    source.close()
    sink.close()
    return seconds
