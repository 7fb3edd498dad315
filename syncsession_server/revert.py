"""Undoing a session: a new session that brings its rows back to what they were before.

Rows that a later session wrote are left as they are, and told; so are those whose version before is
not known, and those that others would have to be changed for: rows that refer to them, or that have
their values, where these are unique.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.errors import (
    NoHistory,
    RowsRejected,
    ServerBusy,
    UnknownSession,
)
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.tables import Table, folded

from . import history
from .mending import Mending, RowKey
from .registry import Described, described_tables, find_layout, tenant_tables, with_tables
from .resolving import Part
from .stores import Layout, Store, Transaction
from .tenants import now
from .uniqueness import Uniqueness
from .versions import Version

SERVER_DEVICE = "00000000-0000-0000-0000-000000000000"
"""The device of sessions that the server makes by itself."""


class Left(NamedTuple):
    """A row that stays as it is, and why."""

    table: str
    image: str
    why: str


@dataclass
class Reverted:
    """The session that undoes, by its number; rows by table that it writes, and those it leaves."""

    number: int | None = None
    rows: dict[str, int] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)


class _DryRun(Exception):
    """Nothing is to stay."""


class _Left(Exception):
    """Some rows have to stay as they are; the others are undone anew."""

    def __init__(self, rows: dict[RowKey, str]) -> None:
        super().__init__()
        self.rows = rows


async def revert(
    store: Store, tenant_id: str, number: int, *, user: str, dry_run: bool = False
) -> Reverted:
    """Undo session `number` of a tenant in a session of the server's own.

    Raises:
        UnknownSession: it was not committed, or is forgotten.
        NoHistory: no version that it made is there.
        ServerBusy: one of its rows was written meanwhile.
    """
    names = [table.name for table in await tenant_tables(store, tenant_id)]
    done = Reverted()
    staying: dict[RowKey, str] = {}

    async def work(tx: Transaction) -> Reverted:
        nonlocal done
        done = Reverted()
        ours = {"tenant_id": tenant_id, "number": number}
        found = await tx.first(store.sql.history.status, ours)
        if found is None or found[0] != "committed":
            raise UnknownSession(
                f"session {number} of {tenant_id} is {found[0] if found else 'not there'}: name "
                "one that is committed"
            )
        stamp = await _open(store, tx, tenant_id, user)
        done.number = stamp["number"]
        await history.begin(store, tx, stamp, names)
        described = await described_tables(store, tx, tenant_id)
        uniqueness = Uniqueness(store, tx, stamp, described)
        await uniqueness.begin(described)
        undoing = _Undoing(store, tx, stamp, number, uniqueness, staying)
        for name in names:
            await undoing.revert_table(name, done)
        await _check(undoing, described)
        if not done.rows and not done.left:
            raise NoHistory(f"history holds nothing of session {number}")
        await _commit(store, tx, stamp, done.rows)
        if dry_run or not done.rows:
            raise _DryRun
        return done

    while True:
        try:
            return await with_tables(store, lambda: store.write(work, is_long=True))
        except _Left as left:
            staying |= left.rows
        except _DryRun:
            done.number = None
            return done


async def _check(undoing: "_Undoing", described: Mapping[str, Described]) -> None:
    """Refuse what is undone only in part, as long as there is more that has to stay."""
    store, tx, stamp = undoing.store, undoing.tx, undoing.stamp
    mending = Mending(store, tx, stamp, described, undoing.uniqueness)
    found = await mending.broken(undoing.written, undoing.deleted)
    try:
        await undoing.uniqueness.settle()
    except RowsRejected as error:
        for each in error.rejects:
            table, layout = await find_layout(store, tx, stamp["tenant_id"], each.table)
            key = tuple(images.values(each.key.values()))
            width = META + len(table.wire_key) + len(table.wire_columns)
            row = (*(None,) * META, *key, *(None,) * (width - META - len(key)))
            found[folded(each.table), bytes(layout.keys([row])[0])] = each.message
    if found:
        raise _Left(found)


async def _open(store: Store, tx: Transaction, tenant_id: str, user: str) -> dict[str, Any]:
    """A session that nobody sees before it is committed."""
    sql, tenant = store.sql.sessions, {"tenant_id": tenant_id}
    await tx.run(sql.next_number, tenant)
    last = await tx.first(sql.last_number, tenant)
    session = tenant | {
        "session_id": str(uuid.uuid4()),
        "number": last[0] if last else 0,
        "user_id": user,
        "worker_id": SERVER_DEVICE,
        "device_id": SERVER_DEVICE,
        "now": now(),
    }
    empty = {"count_batches": 0, "count_rows": 0}
    await tx.run(sql.open, session | empty)
    for step in (sql.to_staged, sql.to_queued, sql.to_processing):
        await tx.run(step, session)
    return session


async def _commit(
    store: Store, tx: Transaction, stamp: dict[str, Any], rows: dict[str, int]
) -> None:
    ended = stamp | {"now": now(), "is_corrected": 0, "count_rows": sum(rows.values())}
    await history.write(store, tx, ended, rows)
    await tx.run(store.sql.history.set_rows, ended)
    await tx.run(store.sql.sessions.to_committed, ended)
    point("server.session_reverted")


@dataclass
class _Undoing:
    """What a session did, table by table; rows that have to stay as they are, and why."""

    store: Store
    tx: Transaction
    stamp: dict[str, Any]
    number: int
    uniqueness: Uniqueness
    staying: Mapping[RowKey, str]
    written: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)

    async def revert_table(self, name: str, done: Reverted) -> None:
        """Undo it in one table. All rows of the session in it are held in memory."""
        store, tx, stamp = self.store, self.tx, self.stamp
        table, layout = await find_layout(store, tx, stamp["tenant_id"], name)
        ours = {"tenant_id": stamp["tenant_id"], "table_name": folded(name)}
        current = await _current(store, tx, layout, ours, self.number)
        undoing: list[Row] = []
        made = await tx.all(store.sql.history.made, ours | {"session": self.number})
        for version in (Version(*row) for row in made):
            back = await self._back(table, ours, version, current.pop(bytes(version.row_key), None))
            if isinstance(back, str):
                done.left.append(Left(name, version.image, back))
            else:
                undoing.append(back)
        for row in current.values():
            image = images.encode(history.image_columns(table), row[history.image_start(table) :])
            done.left.append(Left(name, image, "history was off"))
        if undoing:
            done.rows[name] = len(undoing)
            self.written.add(folded(name))
            if any(row[3] for row in undoing):
                self.deleted.add(folded(name))
            await self._write(table, layout, undoing)

    async def _back(
        self, table: Table, ours: dict[str, Any], version: Version, row: Row | None
    ) -> Row | str:
        """The row as it is to be, or why it stays as it is."""
        if row is None:
            return "a later session wrote it"
        why = self.staying.get((folded(table.name), bytes(version.row_key)))
        if why is not None:
            return why
        found = await self.tx.first(self.store.sql.history.before, ours | version._asdict())
        return _back(table, self.stamp, version, row, Version(*found) if found else None)

    async def _write(self, table: Table, layout: Layout, rows: list[Row]) -> None:
        store, tx, stamp = self.store, self.tx, self.stamp
        staged = await tx.stage(layout, stamp, len(rows))
        for part in _parts(rows):
            await staged.add(list(layout.encode(part)))
        met = await tx.first(store.sql.rows.has_conflicts(**staged.names), stamp)
        if met and met[0]:
            raise ServerBusy("a session has written some of these rows just now; try again")
        await tx.run(store.sql.rows.upsert(**staged.names), stamp)
        await tx.run(store.sql.rows.tombstone(**staged.names), stamp)
        await self.uniqueness.note(Part(table, table.wire_columns, layout, staged))
        await staged.clear()


async def _current(
    store: Store,
    tx: Transaction,
    layout: Layout,
    ours: dict[str, Any],
    number: int,
) -> dict[bytes, Row]:
    """The rows that nobody has written since, by key."""
    params = {"tenant_id": ours["tenant_id"], "first": number, "last": number}
    rows = await tx.all(store.sql.rows.select_sessions(**layout.names), params)
    found = list(layout.decode(rows))
    return {bytes(k): row for k, row in zip(layout.keys(found), found, strict=True)}


def _back(
    table: Table, stamp: dict[str, Any], version: Version, row: Row, before: Version | None
) -> Row | str:
    """The row as a push would bring it back, or why it cannot be."""
    key = row[
        META : history.image_start(table) if table.key_kind == "local" else META + len(table.key)
    ]
    meta = (row[0], stamp["now"], stamp["user_id"])
    if version.operation == "baseline":
        return "it is older than its history"
    if version.operation == "insert" or (before is not None and before.operation == "delete"):
        if version.operation == "delete":
            return "it was deleted before as well"
        return (*meta, 1, *key, *row[META + len(key) :])
    if before is None:
        return "the version before is kept no longer"
    values = before.values
    if any(isinstance(value, images.LeftOut) for value in values.values()):
        return "the version before has values that were too large for history"
    columns = history.image_columns(table)
    image = dict(zip(columns, row[history.image_start(table) :], strict=True)) | values
    if table.key_kind == "local":
        return (*meta, 0, *key, *(image[c] for c in columns))
    return (*meta, 0, *(image[c] for c in columns))


def _parts(rows: list[Row], most: int = 1000) -> Iterator[list[Row]]:
    for start in range(0, len(rows), most):
        yield rows[start : start + most]
