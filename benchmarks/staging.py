"""Staging in MariaDB: LOAD DATA against INSERT, the shared table against a temporary one."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from statistics import median

from syncsession_client.protocol.tables import Column, Table
from syncsession_server.databases import MysqlUrl, parse
from syncsession_server.stores import Transaction
from syncsession_server.stores.mysql import MysqlStore

from .cases import rows

SIZES = (1, 10, 100, 1_000, 10_000, 100_000)
TABLE = Table(
    "staging_bench",
    "global",
    ("id",),
    (
        Column("id", "text"),
        Column("name", "text"),
        Column("email", "text"),
        Column("amount", "real"),
        Column("note", "text"),
    ),
)


class _Undo(Exception):
    """Leave nothing behind."""


@dataclass(frozen=True)
class Way:
    """One way in."""

    name: str
    is_shared: bool
    load_rows: int


WAYS = (
    Way("INSERT, shared", is_shared=True, load_rows=10**9),
    Way("LOAD, shared", is_shared=True, load_rows=1),
    Way("INSERT, temporary", is_shared=False, load_rows=10**9),
    Way("LOAD, temporary", is_shared=False, load_rows=1),
)


def staging(database: str, times: int) -> dict[tuple[int, str], float]:
    """Median seconds from encoded rows to rows in the application table, by size and way."""
    return asyncio.run(_measure(database, times))


async def _measure(database: str, times: int) -> dict[tuple[int, str], float]:
    url = parse(database)
    assert isinstance(url, MysqlUrl)
    found = {}
    async with MysqlStore(url) as store:
        await store.migrate()
        await store.build(TABLE)
        layout = store.layout(TABLE, TABLE.wire_columns, TABLE)
        for size in SIZES:
            given = [(None, None, None, 0, *row) for row in rows(size)]
            encoded = layout.encode(given)
            for way in WAYS:
                store.shared_rows = 10**9 if way.is_shared else 0
                store.load_rows = way.load_rows
                taken = [await _once(store, layout, encoded) for _ in range(times)]
                found[size, way.name] = median(taken)
    return found


async def _once(store: MysqlStore, layout, encoded) -> float:  # type: ignore[no-untyped-def]
    stamp = {
        "tenant_id": "bench",
        "session_id": str(uuid.uuid4()),
        "number": 1,
        "user_id": "bench",
        "now": "2026-01-01T00:00:00.000Z",
    }
    seconds = 0.0

    async def work(tx: Transaction) -> None:
        nonlocal seconds
        start = time.perf_counter()
        staged = await tx.stage(layout, stamp, len(encoded))
        await staged.add(encoded)
        await tx.run(store.sql.rows.upsert(**staged.names), stamp)
        await staged.clear()
        seconds = time.perf_counter() - start
        raise _Undo

    try:
        await store.write(work)
    except _Undo:
        return seconds
    raise AssertionError
