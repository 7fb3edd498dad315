"""Pulls: one snapshot of what a device has not processed, as encoded batches.

A small one is in the answer itself, and nothing of it is kept. A large one is spooled, so that any
request, to any process, can serve any of its batches, and a device that stops goes on where it was.
"""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

from syncsession_client.protocol import batches, bodies
from syncsession_client.protocol.batches import (
    LOST_COLUMNS,
    LOST_KEY,
    MERGED_COLUMNS,
    MERGED_KEY,
    Batch,
    Row,
)
from syncsession_client.protocol.errors import ReseedRequired, UnknownPull
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.session_set import SessionSet
from syncsession_client.protocol.tables import Table, folded

from . import sessions
from .registry import find_layout, with_tables
from .stores import Layout, Store, Transaction
from .tenants import ago, now

SPOOLED = "zstd"
"""How spooled batches are kept."""

_MAKE_TOGETHER = 4  # batches that one step off the event loop makes
_WRITE_TOGETHER = 16  # batches that one transaction spools
_WRITE_BYTES = 4 << 20  # packed batches that one answer, or one transaction, may hold


class Asked(NamedTuple):
    """A table, the sessions of it that a device has processed, and whether it wants every row."""

    table: str
    processed: SessionSet
    is_anew: bool


@dataclass(frozen=True)
class PullRequest:
    """What a device asks, of tables in its order.

    `encoding` is what it would have batches packed with.
    """

    pull_id: str
    device_id: str
    encoding: str
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Limits:
    """Rows in a batch; rows in an answer above which a pull is spooled."""

    batch_rows: int
    inline_rows: int


class _Made(NamedTuple):
    """A batch, compressed as SPOOLED. `kind`: "lost", where the rows are versions that lost, or
    "merged", where they are pairs of keys.
    """

    table: str
    rows: int
    payload: bytes
    kind: str = ""


class _Spool:
    """Batches on their way out: held while they are few, then written while more are read."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.spool_id = str(uuid.uuid4())
        self.listed: list[dict[str, Any]] = []
        self.waiting: list[tuple[int, bytes]] = []
        self.is_kept = False
        self._store, self._limits = store, limits
        self._rows = self._waiting_bytes = 0
        self._writing: asyncio.Task[None] | None = None

    async def add(self, made: "_Made") -> None:
        number, payload = len(self.listed) + 1, made.payload
        listed = {"number": number, "table": made.table, "rows": made.rows}
        self.listed.append(listed | ({"kind": made.kind} if made.kind else {}))
        self.waiting.append((number, payload))
        self._rows += made.rows
        self._waiting_bytes += len(payload)
        is_large = self._waiting_bytes > _WRITE_BYTES
        is_many = self._rows > self._limits.inline_rows and len(self.waiting) >= _WRITE_TOGETHER
        if is_large or is_many:
            await self._write()

    async def finish(self) -> None:
        """Write the rest of what is to be kept; after this nothing is being written."""
        if self.waiting and (self.is_kept or self._rows > self._limits.inline_rows):
            await self._write()
        if self._writing is not None:
            await self._writing

    async def abandon(self) -> None:
        """Stop writing; the clean-up job removes what is there."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        if self._writing is not None:
            await self._writing
        params = {"spool_id": self.spool_id, "now": now()}
        rows = [params | {"number": number, "payload": data} for number, data in self.waiting]
        self.waiting, self._waiting_bytes, self.is_kept = [], 0, True
        self._writing = asyncio.create_task(self._write_rows(rows))

    async def _write_rows(self, rows: list[dict[str, Any]]) -> None:
        sql = self._store.sql.pulls.add_batch
        await self._store.write(lambda tx: tx.run_many(sql, rows), durable=False)
        point("server.batches_spooled")


async def begin(store: Store, tenant_id: str, request: PullRequest, limits: Limits) -> str:
    """The JSON text `{tenant_id, sessions, pushed, batches}` that answers a pull.

    Asked again, a spooled pull answers the same; another looks anew.

    Raises:
        ReseedRequired: the device lacks sessions that the server has forgotten.
        ServerRestored: the device has processed what this server has not given out.
    """
    ours = {"tenant_id": tenant_id, "pull_id": request.pull_id}

    device = {"tenant_id": tenant_id, "device_id": request.device_id}

    async def work(tx: Transaction) -> tuple[str | None, _Spool, tuple[SessionSet, int | None]]:
        spool = _Spool(store, limits)
        kept = await tx.first(store.sql.pulls.find, ours)
        if kept is not None:
            return str(kept[0]), spool, (SessionSet(), None)
        settled = await _settled(store, tx, tenant_id, request)
        unseen = _unseen(store, tx, tenant_id, request, settled, limits.batch_rows)
        told = _told(store, tenant_id, request.device_id)
        try:
            besides = [_tell(tx, each, request, settled, limits.batch_rows) for each in told]
            for batches_made in (unseen, *besides):
                async with aclosing(batches_made):
                    async for made in batches_made:
                        await spool.add(made)
            await spool.finish()
        except BaseException:
            await spool.abandon()
            raise
        pushed = await tx.first(store.sql.sessions.last_of_device, device)
        return None, spool, (settled, pushed[0] if pushed else None)

    kept, spool, (settled, pushed) = await with_tables(store, lambda: store.read(work))
    if kept is not None:
        await store.run(store.sql.pulls.keep, ours | {"now": now()}, durable=False)
        return kept
    answer: dict[str, Any] = {
        "tenant_id": tenant_id,
        "sessions": settled.to_wire(),
        "batches": spool.listed,
    }
    answer |= {} if pushed is None else {"pushed": pushed}
    if not spool.is_kept:
        for listed, (_, payload) in zip(spool.listed, spool.waiting, strict=True):
            packed = repacked(payload, request.encoding)
            listed["payload"] = base64.b64encode(packed).decode()
        return json.dumps(answer | {"encoding": request.encoding})
    params = ours | {"device_id": request.device_id, "spool_id": spool.spool_id, "now": now()}
    await store.run(store.sql.pulls.add, params | {"answer": json.dumps(answer)}, durable=False)
    point("server.pull_spooled")
    first = await store.first(store.sql.pulls.find, ours)
    if first is None:
        raise UnknownPull(f"pull {request.pull_id} was ended meanwhile; begin another pull")
    return str(first[0])


async def find_batch(store: Store, tenant_id: str, pull_id: str, number: int) -> bytes:
    """A spooled batch, compressed as SPOOLED; who asks keeps the pull alive.

    Raises:
        UnknownPull: there is none (any more).
    """
    ours = {"tenant_id": tenant_id, "pull_id": pull_id}
    row = await store.first(store.sql.pulls.find_batch, ours | {"number": number})
    if row is None:
        raise UnknownPull(f"pull {pull_id} has no batch {number} here; begin another pull")
    point("server.pull_batch_read")
    payload, alive_at_utc = row
    if alive_at_utc < ago(sessions.DEVICE_SIGN_OF_LIFE):
        await store.run(store.sql.pulls.keep, ours | {"now": now()}, durable=False)
    return bytes(payload)


def repacked(payload: bytes, encoding: str) -> bytes:
    """A payload that was compressed as SPOOLED, in another encoding."""
    if encoding == SPOOLED:
        return payload
    return bodies.compress(bodies.decompress(payload, SPOOLED, bodies.UNPACKED_LIMIT), encoding)


async def complete(store: Store, tenant_id: str, pull_id: str) -> None:
    """Forget a pull that the device has; one that is not there is forgotten already."""
    ours = {"tenant_id": tenant_id, "pull_id": pull_id}

    async def work(tx: Transaction) -> None:
        await tx.run(store.sql.pulls.delete_batches, ours)
        point("server.pull_ending")
        await tx.run(store.sql.pulls.delete, ours)

    await store.write(work, durable=False)


async def _settled(
    store: Store, tx: Transaction, tenant_id: str, request: PullRequest
) -> SessionSet:
    tenant = {"tenant_id": tenant_id}
    last, horizon = await tx.first(store.sql.sessions.last_number, tenant) or (0, 0)
    for name, processed, _ in request.asked:
        sessions.check_not_ahead(processed, last)
        if sessions.is_behind(processed, horizon):
            raise ReseedRequired(
                f"this device has not synced for longer than the server keeps sessions, and cannot "
                f"be told what was deleted in {name} since: push what was edited here with "
                "syncsession-client push, then make a new file with syncsession-client clone"
            )
    live = await tx.all(store.sql.sessions.live_numbers, tenant)
    return sessions.settled(last, (number for (number,) in live))


async def _unseen(
    store: Store,
    tx: Transaction,
    tenant_id: str,
    request: PullRequest,
    settled: SessionSet,
    batch_rows: int,
) -> AsyncGenerator[_Made, None]:
    """The rows of the sessions that have ended and the device has not processed."""
    for name, processed, is_anew in request.asked:
        unseen = settled if is_anew else settled - processed
        if not unseen:
            continue
        table, layout = await find_layout(store, tx, tenant_id, name)
        pack = _Packer(table, layout, batch_rows, store.batch_bytes)
        for first, last in unseen.ranges:
            is_all = len(unseen.ranges) == 1 and first == 1
            rows = store.sql.rows
            render = rows.select_all if is_all else rows.select_sessions
            params = {"tenant_id": tenant_id, "first": first, "last": last}
            async for made in tx.stream(render(**layout.names), params, pack):
                for count, payload in made:
                    yield _Made(table.name, count, payload)


@dataclass(frozen=True)
class _Told:
    """What a pull tells besides rows: of which kind, found by which statements and parameters."""

    kind: str
    has_some: str
    select: str
    params: dict[str, Any]
    key: tuple[str, ...]
    columns: tuple[str, ...]


def _told(store: Store, tenant_id: str, device_id: str) -> list[_Told]:
    """What the device had pushed, or pushes, and lost; and rows that became others."""
    tenant, lost, merged = {"tenant_id": tenant_id}, store.sql.conflicts, store.sql.unique
    device = tenant | {"device_id": device_id}
    return [
        _Told("lost", lost.has_lost, lost.select_lost, device, LOST_KEY, LOST_COLUMNS),
        _Told(
            "merged",
            merged.has_merged,
            merged.select_merged,
            tenant,
            MERGED_KEY,
            MERGED_COLUMNS,
        ),
    ]


async def _tell(
    tx: Transaction,
    told: _Told,
    request: PullRequest,
    settled: SessionSet,
    batch_rows: int,
) -> AsyncGenerator[_Made, None]:
    """What there is to tell of the sessions that the device has not processed."""
    after = min((asked.processed.watermark for asked in request.asked), default=0)
    if await tx.first(told.has_some, told.params | {"after": after}) is None:
        return
    for name, processed, _ in request.asked:
        pack = _PlainPacker(name, batch_rows, told)
        for first, last in (settled - processed).ranges:
            params = told.params | {"table_name": folded(name), "first": first, "last": last}
            async for made in tx.stream(told.select, params, pack):
                yield made


@dataclass(frozen=True)
class _Packer:
    """Makes batches of rows as the database gave them."""

    table: Table
    layout: Layout
    batch_rows: int
    batch_bytes: int

    def __call__(self, rows: Iterator[Row]) -> Sequence[tuple[int, bytes]] | None:
        """(rows, payload) of the next few batches, compressed; None when there are no more rows."""
        made: list[tuple[int, bytes]] = []
        table, size = self.table, self.batch_bytes
        while len(made) < _MAKE_TOGETHER and (taken := batches.take(rows, self.batch_rows, size)):
            for part in batches.parts(self.layout.decode(taken), size):
                batch = Batch(table.name, table.wire_key, table.wire_columns, part)
                made.append((len(part), bodies.compress(batches.encode(batch), SPOOLED)))
        return made or None


@dataclass(frozen=True)
class _PlainPacker:
    """Makes batches of rows that are not the application's, but tell of them."""

    table: str
    batch_rows: int
    told: _Told

    def __call__(self, rows: Iterator[Row]) -> _Made | None:
        taken = batches.take(rows, self.batch_rows)
        if not taken:
            return None
        batch = Batch(self.table, self.told.key, self.told.columns, taken)
        payload = bodies.compress(batches.encode(batch), SPOOLED)
        return _Made(self.table, len(taken), payload, self.told.kind)
