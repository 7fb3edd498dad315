"""Committing a session: its staged batches become rows, in one transaction."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from itertools import chain, groupby
from typing import Any

import msgspec

from syncsession_client.protocol import batches, bodies
from syncsession_client.protocol.batches import Batch
from syncsession_client.protocol.errors import SessionState, SyncError, TryLater, UnknownTable
from syncsession_client.protocol.tables import Table

from .stores import Store, Transaction
from .tables import ServerTable, column_name
from .tenants import now

logger = logging.getLogger(__name__)

_Shape = tuple[str, tuple[str, ...]]  # a table and the columns that were sent of it


async def commit_session(store: Store, tenant_id: str, session_id: str) -> bool:
    """Commit a queued session, once; False where another worker has it.

    A session that cannot be applied fails, with the reason; nothing of it stays. Where the database
    cannot be had now it goes back into the queue.

    Raises:
        TryLater: the database cannot be had now.
    """
    session = {"tenant_id": tenant_id, "session_id": session_id}
    async with store.write() as tx:
        if not await tx.run(store.sql.sessions.to_processing, session | {"now": now()}):
            return False
    try:
        async with store.write() as tx:
            await _apply(store, tx, session)
    except (TryLater, asyncio.CancelledError):
        await asyncio.shield(_move(store, store.sql.sessions.requeue_one, session))
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, the queue has to go on
        await _fail(store, session, error)
    async with store.write(durable=False) as tx:
        await tx.run(store.sql.sessions.delete_batches, session)
    return True


async def _fail(store: Store, session: dict[str, Any], error: Exception) -> None:
    """End a session without a trace in the tables; a fault of ours is in the log besides."""
    if not isinstance(error, SyncError):
        logger.error("session %(session_id)s cannot be applied", session, exc_info=error)
        error = SyncError("the server could not apply the session; its log says why")
    wire = json.dumps(error.to_wire())
    await _move(store, store.sql.sessions.to_failed, session | {"error": wire})


async def _move(store: Store, sql: str, params: dict[str, Any]) -> None:
    async with store.write() as tx:
        await tx.run(sql, params | {"now": now()})


async def _apply(store: Store, tx: Transaction, session: dict[str, Any]) -> None:
    found = await tx.first(store.sql.sessions.find, session)
    if found is None:
        raise SessionState(f"session {session['session_id']} is gone")
    number, _, user_id, *_ = found
    stamp = {
        "tenant_id": session["tenant_id"],
        "number": number,
        "user_id": user_id,
        "now": now(),
    }
    shape: _Shape | None = None
    async for group in _staged(store, tx, session):
        first = group[0]
        if shape != _shape(first):
            if shape is not None:
                await _write(store, tx, shape, stamp)
            shape = _shape(first)
            await _create_staging(store, tx, first)
        sizes = {"keys": len(first.key), "columns": len(first.columns)}
        rows = chain.from_iterable(batch.rows for batch in group)
        await tx.run_many(store.sql.rows.stage(**sizes), rows)
    if shape is not None:
        await _write(store, tx, shape, stamp)
    moved = await tx.run(
        store.sql.sessions.to_committed, session | {"now": now(), "is_corrected": 0}
    )
    if not moved:
        raise SessionState(f"session {session['session_id']} is not being processed any more")


async def _staged(
    store: Store, tx: Transaction, session: dict[str, Any]
) -> AsyncIterator[list[Batch]]:
    """The staged batches, a few at a time; those of one list have the same shape."""
    after = 0
    while rows := await tx.all(store.sql.sessions.next_batches, session | {"after": after}):
        after = rows[-1][0]
        unpacked = await asyncio.to_thread(_unpack, rows)
        for _, group in groupby(unpacked, key=_shape):
            yield list(group)


def _unpack(rows: list[tuple[Any, ...]]) -> list[Batch]:
    return [
        batches.decode(bodies.decompress(payload, encoding, bodies.UNPACKED_LIMIT))
        for _, encoding, payload in rows
    ]


def _shape(batch: Batch) -> _Shape:
    return batch.table, batch.columns


async def _create_staging(store: Store, tx: Transaction, batch: Batch) -> None:
    await tx.run(store.sql.rows.drop_staging(), {})
    sql = store.sql.rows.create_staging(keys=len(batch.key), columns=len(batch.columns))
    await tx.run(sql, {})


async def _write(store: Store, tx: Transaction, shape: _Shape, stamp: dict[str, Any]) -> None:
    name, columns = shape
    table = ServerTable(await find_table(store, tx, stamp["tenant_id"], name))
    names = {
        "t": table,
        "key": table.key_names,
        "columns": tuple(column_name(c) for c in columns),
    }
    await tx.run(store.sql.rows.upsert(**names), stamp)
    await tx.run(store.sql.rows.tombstone(**names), stamp)
    await tx.run(store.sql.rows.drop_staging(), {})


async def find_table(store: Store, tx: Transaction | Store, tenant_id: str, name: str) -> Table:
    """A table of the tenant, with the columns that its devices have.

    Raises:
        UnknownTable: the tenant has none of that name.
    """
    row = await tx.first(store.sql.tables.find_tenant_table, {"tenant_id": tenant_id, "name": name})
    if row is None:
        raise UnknownTable(f"tenant {tenant_id} has no table {name}; describe it first")
    return msgspec.json.decode(row[0], type=Table)
