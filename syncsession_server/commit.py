"""Committing a session: its staged batches become rows, in one transaction."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from syncsession_client.protocol import batches, bodies
from syncsession_client.protocol.batches import Batch, Row
from syncsession_client.protocol.errors import SyncError, TooLarge, TryLater
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.tables import folded

from . import history, sessions, signs_of_life
from .mending import Mending
from .refusing import reject, rejected
from .registry import described_tables, find_layout, with_tables
from .resolving import Part, resolve
from .stores import Layout, Store, Transaction
from .tenants import now
from .uniqueness import Uniqueness

logger = logging.getLogger(__name__)

_Shape = tuple[str, tuple[str, ...]]  # a table and the columns that were sent of it


@dataclass(frozen=True)
class Worker:
    """A process that commits: its id, and the seconds of silence after which it counts as gone."""

    id: str
    claim_timeout: float


async def commit_session(store: Store, worker: Worker, tenant_id: str, session_id: str) -> bool:
    """Commit a queued session, once; False where another process has it.

    A session that cannot be applied fails, with the reason; nothing of it stays.

    Raises:
        TryLater: the database cannot be had now. The worker may have a claim on the session still,
            which it has to give back, as it has when this is cancelled.
    """
    session = {"tenant_id": tenant_id, "session_id": session_id, "worker_id": worker.id}
    if not await store.run(store.sql.sessions.to_processing, session | {"now": now()}):
        return False
    point("server.commit_claimed")

    async def sign() -> None:
        await store.run(store.sql.sessions.keep_claim, session | {"now": now()})

    try:
        async with signs_of_life.given(sign, worker.claim_timeout / 3):
            await with_tables(
                store,
                lambda: store.write(lambda tx: _apply(store, tx, session), is_long=True),
            )
        has_ended = True
        point("server.committed")
    except TryLater:
        raise
    except _ClaimLost:
        return False
    except Exception as error:  # noqa: BLE001  # whatever it is, the queue has to go on
        has_ended = await _fail(store, session, error)
    if has_ended:
        with suppress(TryLater):  # the clean-up job finds what is left
            await store.run(store.sql.sessions.delete_batches, session, durable=False)
            point("server.staging_emptied")
    return has_ended


class _ClaimLost(Exception):
    """Another process took the session for abandoned."""


async def _fail(store: Store, session: dict[str, Any], error: Exception) -> bool:
    """End a session without a trace in the tables; a fault of ours is in the log besides."""
    if not isinstance(error, SyncError):
        logger.error("session %(session_id)s cannot be applied", session, exc_info=error)
        error = SyncError("the server could not apply the session; its log says why")
    params = session | {"error": json.dumps(error.to_wire()), "now": now()}
    return bool(await store.run(store.sql.sessions.to_failed, params))


async def _apply(store: Store, tx: Transaction, session: dict[str, Any]) -> None:
    """Where a repetition finds it committed, the first attempt did so, and its answer was lost."""
    found = await tx.first(store.sql.sessions.find, session)
    if found is None:
        raise _ClaimLost
    row = sessions.Session(*found)
    if row.worker_id != session["worker_id"]:
        raise _ClaimLost
    if row.status == "committed":
        return
    stamp = session | {
        "number": row.number,
        "user_id": row.user_id,
        "device_id": row.device_id,
        "now": now(),
    }
    described = await described_tables(store, tx, stamp["tenant_id"])
    uniqueness = Uniqueness(store, tx, stamp, described)
    applied = await _apply_rows(store, tx, session, stamp, uniqueness)
    mending = Mending(store, tx, stamp, described, uniqueness)
    settled = await uniqueness.settle()
    written = applied.tables | settled.tables
    await mending.run(written, applied.deleted | settled.deleted)
    while uniqueness.has_met:
        settled = await uniqueness.settle()
        written |= settled.tables
        await mending.run(settled.tables, settled.deleted)
    is_corrected = applied.is_corrected or settled.is_corrected or mending.is_corrected
    committed = stamp | {"is_corrected": int(is_corrected), "now": now()}
    await history.write(store, tx, committed, written | mending.tables)
    if not await tx.run(store.sql.sessions.to_committed, committed):
        raise _ClaimLost
    point("server.commit_before_end")


@dataclass
class _Applied:
    """The tables that were written to, those in which rows were deleted; whether a row became
    another than the device has pushed.
    """

    tables: set[str]
    deleted: set[str] = field(default_factory=set)
    is_corrected: bool = False


async def _apply_rows(
    store: Store,
    tx: Transaction,
    session: dict[str, Any],
    stamp: dict[str, Any],
    uniqueness: Uniqueness,
) -> _Applied:
    counts = {name: int(n) for name, n in await tx.all(store.sql.sessions.staged_rows, session)}
    await history.begin(store, tx, stamp, counts)
    await uniqueness.begin(map(folded, counts))
    current: tuple[_Shape, Part] | None = None
    applied = _Applied({folded(name) for name in counts})
    async for group in _staged(store, tx, session):
        shape = _shape(group[0])
        if current is None or current[0] != shape:
            if current is not None:
                await _write(store, tx, current[1], stamp, applied, uniqueness)
            name, columns = shape
            table, layout = await find_layout(store, tx, stamp["tenant_id"], name, columns)
            staged = await tx.stage(layout, stamp, counts[name])
            current = shape, Part(table, columns, layout, staged)
        await _stage(store, current[1], group)
    if current is not None:
        await _write(store, tx, current[1], stamp, applied, uniqueness)
    return applied


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


async def _stage(store: Store, part: Part, group: list[Batch]) -> None:
    """Put rows where the table's are staged.

    Raises:
        RowsRejected: one is larger than the database takes, which it says only now.
    """
    try:
        await part.staged.add(await asyncio.to_thread(_encode, part.layout, group))
    except TooLarge as error:
        rows = [row for batch in group for row in batch.rows]
        large = [row for row in rows if _size(row) > store.image_bytes]
        found = large or [max(rows, key=_size)]
        raise rejected([reject(part.table, r, "too_large", str(error)) for r in found]) from error


def _size(row: Row) -> int:
    return sum(len(value) for value in row if isinstance(value, str | bytes))


def _encode(layout: Layout, group: list[Batch]) -> list[Row]:
    return [row for batch in group for row in layout.encode(batch.rows)]


async def _write(
    store: Store,
    tx: Transaction,
    part: Part,
    stamp: dict[str, Any],
    applied: _Applied,
    uniqueness: Uniqueness,
) -> None:
    """Write the rows that were staged."""
    rows, names = store.sql.rows, part.staged.names
    await tx.run(rows.insert_new(**names), stamp)
    applied.is_corrected |= await resolve(store, tx, part, stamp)
    await tx.run(rows.upsert(**names), stamp)
    if await tx.run(rows.tombstone(**names), stamp):
        applied.deleted.add(folded(part.table.name))
    point("server.commit_table_written")
    await uniqueness.note(part)
    await part.staged.clear()
