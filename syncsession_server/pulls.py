"""Pulls: one snapshot of what a device has not processed, spooled as encoded batches."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from syncsession_client.protocol import batches, bodies
from syncsession_client.protocol.batches import Batch, Row
from syncsession_client.protocol.errors import UnknownPull
from syncsession_client.protocol.session_set import SessionSet
from syncsession_client.protocol.tables import Table

from . import sessions
from .commit import find_table
from .stores import Store, Transaction
from .tables import ServerTable, column_name
from .tenants import now

SPOOLED = "zstd"
"""How spooled batches are kept."""

BATCH_ROWS = 1000
_MAKE_TOGETHER = 4  # batches that one step to the database's thread makes
_WRITE_TOGETHER = 16  # batches that one transaction spools


@dataclass(frozen=True)
class PullRequest:
    """What a device asks: tables, in its order, each with the sessions it has processed."""

    pull_id: str
    device_id: str
    processed: tuple[tuple[str, SessionSet], ...]


@dataclass
class _Spool:
    """Batches on their way into the store."""

    listed: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[tuple[int, bytes]] = field(default_factory=list)

    def add(self, table: str, rows: int, payload: bytes) -> None:
        number = len(self.listed) + 1
        self.listed.append({"number": number, "table": table, "rows": rows})
        self.waiting.append((number, payload))


async def begin(store: Store, tenant_id: str, request: PullRequest) -> str:
    """The JSON text `{tenant_id, sessions, batches}` that answers a pull; asked again, the same."""
    ours = {"tenant_id": tenant_id, "pull_id": request.pull_id}
    spool = _Spool()
    async with store.read() as tx:
        kept = await tx.first(store.sql.pulls.find, ours)
        if kept is not None:
            return str(kept[0])
        settled = await _settled(store, tx, tenant_id)
        async for table, rows, payload in _unseen(store, tx, tenant_id, request, settled):
            spool.add(table, rows, payload)
            if len(spool.waiting) >= _WRITE_TOGETHER:
                async with store.write(durable=False) as writing:
                    await _write(store, writing, ours, spool)
    answer = json.dumps(
        {"tenant_id": tenant_id, "sessions": settled.to_wire(), "batches": spool.listed}
    )
    if spool.listed:
        async with store.write(durable=False) as writing:
            await _write(store, writing, ours, spool)
            params = ours | {"device_id": request.device_id, "answer": answer, "now": now()}
            await writing.run(store.sql.pulls.add, params)
    return answer


async def find_batch(store: Store, tenant_id: str, pull_id: str, number: int) -> bytes:
    """A spooled batch, compressed as SPOOLED.

    Raises:
        UnknownPull: there is none (any more).
    """
    params = {"tenant_id": tenant_id, "pull_id": pull_id, "number": number}
    row = await store.first(store.sql.pulls.find_batch, params)
    if row is None:
        raise UnknownPull(f"pull {pull_id} has no batch {number} here; begin another pull")
    return bytes(row[0])


async def complete(store: Store, tenant_id: str, pull_id: str) -> None:
    """Forget a pull that the device has; one that is not there is forgotten already."""
    ours = {"tenant_id": tenant_id, "pull_id": pull_id}
    async with store.write(durable=False) as tx:
        await tx.run(store.sql.pulls.delete_batches, ours)
        await tx.run(store.sql.pulls.delete, ours)


async def _settled(store: Store, tx: Transaction, tenant_id: str) -> SessionSet:
    tenant = {"tenant_id": tenant_id}
    last = await tx.first(store.sql.sessions.last_number, tenant)
    live = await tx.all(store.sql.sessions.live_numbers, tenant)
    return sessions.settled(last[0] if last else 0, (number for (number,) in live))


async def _unseen(
    store: Store, tx: Transaction, tenant_id: str, request: PullRequest, settled: SessionSet
) -> AsyncIterator[tuple[str, int, bytes]]:
    """(table, rows, payload) of the sessions that have ended and the device has not processed."""
    for name, processed in request.processed:
        unseen = settled - processed
        if not unseen:
            continue
        table = await find_table(store, tx, tenant_id, name)
        names = {
            "t": ServerTable(table),
            "key": ServerTable(table).key_names,
            "columns": tuple(column_name(c) for c in table.wire_columns),
        }
        for first, last in unseen.ranges:
            is_all = len(unseen.ranges) == 1 and first == 1
            render = store.sql.rows.select_all if is_all else store.sql.rows.select_sessions
            params = {"tenant_id": tenant_id, "first": first, "last": last}
            async for made in tx.stream(render(**names), params, partial(_next_batches, table)):
                for count, payload in made:
                    yield table.name, count, payload


def _next_batches(table: Table, rows: Iterator[Row]) -> list[tuple[int, bytes]] | None:
    """(rows, payload) of the next few batches, compressed; None when there are no more rows."""
    made: list[tuple[int, bytes]] = []
    while len(made) < _MAKE_TOGETHER and (taken := batches.take(rows, BATCH_ROWS)):
        batch = Batch(table.name, table.wire_key, table.wire_columns, taken)
        made.append((len(taken), bodies.compress(batches.encode(batch), SPOOLED)))
    return made or None


async def _write(store: Store, tx: Transaction, ours: dict[str, str], spool: _Spool) -> None:
    rows = (ours | {"number": number, "payload": payload} for number, payload in spool.waiting)
    await tx.run_many(store.sql.pulls.add_batch, rows)
    spool.waiting.clear()
