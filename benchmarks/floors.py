"""The floors: the least that a database can do to move the same rows, without any sync."""

import os
import sqlite3
import time
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import apsw
import msgspec
import pymysql
import pymysql.cursors

from .cases import CREATE, INSERT

_BATCH = 1000
_PART = 10_000  # rows of one LOAD DATA
_SELECT = "SELECT id, name, email, amount, note FROM note"


def sqlite_push(path: Path, target: Path, count: int, commits: str) -> float:
    """SELECT, encode, decode, plain bulk insert into one indexed table, as a server holds it."""
    sink = apsw.Connection(str(target))
    sink.execute("PRAGMA journal_mode = WAL")
    sink.execute(
        "CREATE TABLE note (tenant_id TEXT NOT NULL, id TEXT NOT NULL, name TEXT, email TEXT, "
        "amount REAL, note TEXT, sync_session INTEGER NOT NULL, PRIMARY KEY (tenant_id, id))"
    )
    sink.execute("CREATE INDEX by_session ON note (tenant_id, sync_session)")
    return _copy(path, sink, "INSERT INTO note VALUES ('bench', ?, ?, ?, ?, ?, 1)", count, commits)


def sqlite_pull(database: str, target: Path, count: int, commits: str) -> float:
    """The same the other way: out of such a table, into a file as the device has it."""
    sink = apsw.Connection(str(target))
    sink.execute(CREATE)
    return _copy(Path(database.removeprefix("sqlite:///")), sink, INSERT, count, commits)


def mariadb_push(path: Path, database: str, count: int) -> float:
    """SELECT, encode as lines, LOAD DATA into a plain table, one INSERT ... SELECT into one with a
    primary key and an index, as a server holds it.
    """
    with closing(_connect(database)) as db, closing(sqlite3.connect(path)) as source:
        cursor = db.cursor()
        columns = "name LONGTEXT, email LONGTEXT, amount DOUBLE, note LONGTEXT"
        cursor.execute(f"CREATE TABLE floor_plain (id VARCHAR(36), {columns})")
        cursor.execute(
            f"CREATE TABLE floor_note (tenant_id VARCHAR(64), id VARCHAR(36), {columns}, "
            "sync_session BIGINT, PRIMARY KEY (tenant_id, id), KEY (tenant_id, sync_session)) "
            "CHARACTER SET ascii"
        )
        start = time.perf_counter()
        rows = source.execute(_SELECT)
        while part := list(islice(rows, _PART)):
            lines = "".join(f"{i}\t{n}\t{e}\t{a!r}\t{t}\n" for i, n, e, a, t in part)
            _load(cursor, "floor_plain", lines.encode())
        cursor.execute(
            "INSERT INTO floor_note SELECT 'bench', id, name, email, amount, note, 1 "
            "FROM floor_plain ORDER BY id"
        )
        db.commit()
        seconds = time.perf_counter() - start
        cursor.execute("SELECT count(*) FROM floor_note")
        assert cursor.fetchall() == ((count,),)
        cursor.execute("DROP TABLE floor_plain")
        cursor.execute("DROP TABLE floor_note")
    return seconds


def mariadb_pull(database: str, target: Path, count: int) -> float:
    """SELECT, decode, plain bulk insert into a file as the device has it, in one transaction."""
    sink = apsw.Connection(str(target))
    sink.execute(CREATE)
    sink.execute("PRAGMA cache_size = -65536")
    with closing(_connect(database)) as db:
        start = time.perf_counter()
        cursor = db.cursor(pymysql.cursors.SSCursor)
        cursor.execute(_SELECT)
        with sink:
            while batch := cursor.fetchmany(_BATCH):
                sink.executemany(INSERT, batch)
        seconds = time.perf_counter() - start
    assert sink.execute("SELECT count(*) FROM note").fetchall() == [(count,)]
    sink.close()
    return seconds


def add_sessions(database: str, tenant: str, last: int) -> None:
    """Make the tenant's sessions `last` in number, as if all had been committed long ago."""
    many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
    columns = (
        "tenant_id, session_id, number, device_id, user_id, status, count_batches, count_rows, "
        "created_at_utc, changed_at_utc, alive_at_utc"
    )
    moment = "'2026-01-01T00:00:00.000Z'"
    values = f"'d', 'bench', 'committed', 1, 1, {moment}, {moment}, {moment}"
    if database.startswith("sqlite"):
        identity = "printf('00000000-0000-4000-8000-%012d', i)"
    else:
        identity = "concat('00000000-0000-4000-8000-', lpad(i, 12, '0'))"
    statements = (
        f"INSERT INTO sync_session ({columns}) {many.format(last=last)} "
        f"SELECT '{tenant}', {identity}, i, {values} FROM n "
        f"WHERE i > (SELECT last_number FROM sync_tenant WHERE tenant_id = '{tenant}')",
        f"UPDATE sync_tenant SET last_number = {last} WHERE tenant_id = '{tenant}'",
    )
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as db, db:
            for sql in statements:
                db.execute(sql)
    else:
        with closing(_connect(database)) as db:
            cursor = db.cursor()
            cursor.execute(f"SET SESSION max_recursive_iterations = {last + 1}")
            for sql in statements:
                cursor.execute(sql)
            db.commit()


def mariadb_bytes(database: str) -> int:
    """The size of the files that the tables of a database have."""
    with closing(_connect(database)) as db:
        cursor = db.cursor()
        cursor.execute(
            "SELECT sum(file_size) FROM information_schema.innodb_sys_tablespaces"
            " WHERE name LIKE concat(database(), '/%')"
        )
        ((size,),) = cursor.fetchall()
        return int(size)


def _copy(path: Path, sink: apsw.Connection, insert: str, count: int, commits: str) -> float:
    """Move the rows in batches, each committed before the next is read, or all `at_once`."""
    source = apsw.Connection(str(path))
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[list])
    sink.execute("PRAGMA cache_size = -65536")
    start = time.perf_counter()
    cursor = source.execute(_SELECT)
    with sink if commits == "at_once" else nullcontext():
        while batch := list(islice(cursor, _BATCH)):
            with sink if commits == "by_batch" else nullcontext():
                sink.executemany(insert, decoder.decode(encoder.encode(batch)))
    seconds = time.perf_counter() - start
    assert sink.execute("SELECT count(*) FROM note").fetchall() == [(count,)]
    source.close()
    sink.close()
    return seconds


def _connect(database: str) -> pymysql.Connection:
    url = urlsplit(database)
    return pymysql.connect(
        unix_socket=parse_qs(url.query)["unix_socket"][0],
        user=url.username,
        database=url.path.removeprefix("/"),
        charset="utf8mb4",
        local_infile=True,
    )


def _load(cursor: pymysql.cursors.Cursor, table: str, lines: bytes) -> None:
    file = os.memfd_create("lines")
    try:
        os.write(file, lines)
        cursor.execute(f"LOAD DATA LOCAL INFILE '/proc/self/fd/{file}' INTO TABLE {table}")
    finally:
        os.close(file)
