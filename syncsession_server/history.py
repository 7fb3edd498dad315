"""History: every version of a row, kept by the session that made it, in its transaction.

A version is the whole row as the session left it. It is read back out of the application's table
when all else is written, so that whatever took part in it (some columns only, a merge, a cascade)
is in it. What is read out of history: versions.py.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.tables import Table, folded

from .registry import find_layout, find_table
from .stores import Changed, Imaged, Store, Transaction


class State(NamedTuple):
    """Whether history is kept of a table (`new`, `on`, `off`), and since when it is whole: it has
    no gap since `begun_utc`, and lacks nothing that was so after `pruned_utc`.
    """

    history: str
    begun_utc: str
    pruned_utc: str


def image_columns(table: Table) -> tuple[str, ...]:
    """The columns that an image names: all, but for a `row_id`, which is the key."""
    return table.wire_columns if table.key_kind == "local" else (*table.key, *table.wire_columns)


def image_start(table: Table) -> int:
    """Where the values of these columns begin in a row as it travels."""
    return META + (1 if table.key_kind == "local" else 0)


async def begin(
    store: Store, tx: Transaction, stamp: dict[str, Any], tables: Iterable[str]
) -> None:
    """Before a session writes to these tables: have in history what they hold already.

    So a table that is older than its history (the server was upgraded, history was off) has a
    version of each row to begin with, and the first change of a row is known from its making.
    """
    for name in tables:
        await _is_kept(store, tx, _table(stamp, name), stamp["now"])


async def write(
    store: Store, tx: Transaction, stamp: dict[str, Any], tables: Iterable[str]
) -> None:
    """Add what a session has left in these tables, when all of it is written.

    `stamp`: its tenant_id, session_id, number and user_id, and `now`, when it is committed.
    """
    device = await tx.first(store.sql.history.device, stamp)
    session = {
        "committed_at_utc": stamp["now"],
        "user_id": stamp["user_id"],
        "device_id": device[0] if device else None,
    }
    for name in sorted(tables):
        table = _table(stamp, name)
        if await _is_kept(store, tx, table, stamp["now"]):
            params = table | {"number": stamp["number"]}
            await _keep(store, tx, params, session, is_all=False)


async def find_state(store: Store, tx: Transaction, table: dict[str, Any]) -> State | None:
    """The history of the table :table_name of :tenant_id; None where there is no such table."""
    row = await tx.first(store.sql.history.state, table)
    return State(*row) if row else None


async def switch(store: Store, tenant_id: str, name: str, *, is_on: bool) -> None:
    """Keep history of a table from the next session on, or keep none; what is there stays.

    Raises:
        UnknownTable: the tenant has none of that name.
    """

    async def work(tx: Transaction) -> None:
        await find_table(store, tx, tenant_id, name)
        sql = store.sql.history.resume if is_on else store.sql.history.stop
        await tx.run(sql, {"tenant_id": tenant_id, "table_name": folded(name)})

    await store.write(work)


def _table(stamp: dict[str, Any], name: str) -> dict[str, Any]:
    return {"tenant_id": stamp["tenant_id"], "table_name": folded(name)}


async def _is_kept(store: Store, tx: Transaction, table: dict[str, Any], now: str) -> bool:
    """Whether history is kept of the table; it is begun where it has not been."""
    state = await find_state(store, tx, table)
    if state is None or state.history == "off":
        return False
    if state.history == "new" and await tx.run(store.sql.history.begin, table):
        await _begin(store, tx, table, now)
    return True


async def _begin(store: Store, tx: Transaction, table: dict[str, Any], now: str) -> None:
    """Nothing was there before a table's first rows: then history is whole from their making."""
    was_there = await tx.first(store.sql.history.is_there, table)
    session = {"committed_at_utc": now, "user_id": None, "device_id": None}
    if await _keep(store, tx, table, session, is_all=True) or was_there:
        await tx.run(store.sql.history.set_begun, table | {"begun_utc": now})


async def _keep(
    store: Store,
    tx: Transaction,
    params: dict[str, Any],
    session: dict[str, Any],
    *,
    is_all: bool,
) -> int:
    """Add versions of rows in the application's table; how many."""
    kept = 0
    async for count in _versions(store, tx, params, session, is_all=is_all):
        kept += count
        if count:
            point("server.history_written")
    return kept


async def _versions(
    store: Store,
    tx: Transaction,
    params: dict[str, Any],
    session: dict[str, Any],
    *,
    is_all: bool,
) -> AsyncIterator[int]:
    """Add them, those that the database makes by itself first; how many at a time."""
    table, layout = await find_layout(store, tx, params["tenant_id"], params["table_name"])
    columns = image_columns(table)

    def image(values: Sequence[Any]) -> str:
        return _image(columns, values, store.image_bytes)

    imaged = Imaged(columns, image)
    kept, has_odd = await tx.keep_history(layout, params | session, imaged, is_all=is_all)
    yield kept
    if has_odd:
        make = _Maker(table, params, session, is_all, store.image_bytes)
        async for changed in tx.changed(layout, params, is_all=is_all, is_odd=True):
            await tx.add_history(await asyncio.to_thread(make, changed))
            yield len(changed.rows)


@dataclass(frozen=True)
class _Maker:
    """Makes versions of rows as they travel."""

    table: Table
    params: dict[str, Any]
    session: dict[str, Any]
    is_all: bool
    most_bytes: int

    def __call__(self, changed: Changed) -> list[Row]:
        tenant_id, name = self.params["tenant_id"], self.params["table_name"]
        committed_at = self.session["committed_at_utc"]
        user, device = self.session["user_id"], self.session["device_id"]
        columns, start = image_columns(self.table), image_start(self.table)
        return [
            (
                *(tenant_id, name, key, (before or 0) // 2 + 1, row[0]),
                *(self._operation(row[3], before), committed_at, row[1], user, row[2], device),
                _image(columns, row[start:], self.most_bytes),
            )
            for row, key, before in zip(changed.rows, changed.keys, changed.before, strict=True)
        ]

    def _operation(self, is_deleted: int, before: int | None) -> str:
        if is_deleted:
            return "delete"
        if self.is_all:
            return "baseline"
        return "insert" if before is None or before % 2 else "update"


def _image(columns: Sequence[str], values: Sequence[Any], most_bytes: int) -> str:
    """Of values that the database could not take, it tells how large they are."""
    image = images.encode(columns, values)
    if len(image) > most_bytes // 4 and len(image.encode()) > most_bytes:
        return images.encode(columns, values, most_bytes // (2 * len(columns)))
    return image
