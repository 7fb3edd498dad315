"""What history tells: the life of a row, and tables as they were."""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice, product
from typing import Any, NamedTuple

from syncsession_client.protocol import images
from syncsession_client.protocol.errors import BadRequest, NoHistory
from syncsession_client.protocol.tables import Column, Table, folded

from .history import find_state
from .registry import find_table
from .row_keys import sync_keys
from .stores import Store, Transaction

_TOGETHER = 500
_INT64 = range(-(2**63), 2**63)


class Version(NamedTuple):
    """A row as a session left it; what SQL reads of history."""

    row_key: bytes
    version: int
    session: int
    operation: str
    committed_at_utc: str
    modified_at_utc: str
    user_id: str | None
    modified_by_user_id: str
    device_id: str | None
    image: str

    @property
    def values(self) -> dict[str, Any]:
        """The row, by column."""
        return images.decode(self.image)


async def life(store: Store, tenant_id: str, name: str, key: Sequence[str]) -> list[list[Version]]:
    """Every version of the row that a person calls `key`, the oldest first.

    In a table with local keys `key` is a `row_id`, or the integer on the device that made the row:
    of these there may be several, each with a list of its own.

    Raises:
        UnknownTable: the tenant has none of that name.
        BadRequest: the table has another number of key columns.
        NoHistory: nothing is known of such a row.
    """
    ours = {"tenant_id": tenant_id, "table_name": folded(name)}

    async def work(tx: Transaction) -> list[list[Version]]:
        table = await find_table(store, tx, tenant_id, name)
        lives = []
        for row_key in await _row_keys(store, tx, table, ours, key):
            rows = await tx.all(store.sql.history.of_row, ours | {"row_key": row_key})
            lives.append([Version(*row) for row in rows])
        return [versions for versions in lives if versions]

    lives = await store.read(work)
    if not lives:
        raise NoHistory(f"there is no history of a row {', '.join(key)} of {name}")
    return lives


def then(versions: Iterable[Version], at: str) -> Version | None:
    """What a row was at a time, of all its versions; None where it was not there."""
    last = None
    for version in versions:
        if version.committed_at_utc <= at:
            last = version
    return None if last is None or last.operation == "delete" else last


async def base(
    store: Store, tx: Transaction, table: dict[str, Any], edited: dict[str, Any]
) -> dict[str, Any] | None:
    """What a device had of a row that it has edited; None where it had none, or it is not kept.

    `edited`: the row's row_key and key_hash, and the device_id and session that its edit is of.
    """
    row = await tx.first(store.sql.history.base, table | edited)
    version = None if row is None else Version(*row)
    return None if version is None or version.operation == "delete" else version.values


async def as_of(
    store: Store,
    tenant_id: str,
    name: str,
    at: str,
    take: Callable[[list[Version]], None],
    key: Sequence[str] = (),
) -> Table:
    """Give `take` every row that a table had at a time, by key, a few at a time; the table.

    Of a person's `key` only what is called so.

    Raises:
        UnknownTable: the tenant has none of that name.
        BadRequest: the table has another number of key columns.
        NoHistory: what it was then is not known.
    """
    ours = {"tenant_id": tenant_id, "table_name": folded(name)}

    async def work(tx: Transaction) -> Table:
        table = await find_table(store, tx, tenant_id, name)
        begun_utc = await check_whole(store, tx, ours, at)
        if key:
            take(await _rows_then(store, tx, table, ours, key, at))
            return table
        params = ours | {"begun_utc": begun_utc, "at": at}
        stream = tx.stream(store.sql.history.as_of, params, _some)
        async for versions in stream:
            take(versions)
        return table

    return await store.read(work)


async def _rows_then(
    store: Store,
    tx: Transaction,
    table: Table,
    ours: dict[str, Any],
    key: Sequence[str],
    at: str,
) -> list[Version]:
    found = []
    for row_key in await _row_keys(store, tx, table, ours, key):
        rows = await tx.all(store.sql.history.of_row, ours | {"row_key": row_key})
        found.append(then((Version(*row) for row in rows), at))
    return [version for version in found if version is not None]


def _some(rows: Iterator[tuple[Any, ...]]) -> list[Version] | None:
    return [Version(*row) for row in islice(rows, _TOGETHER)] or None


async def check_whole(store: Store, tx: Transaction, table: dict[str, Any], at: str) -> str:
    """Since when the versions of a table tell what it was at a time.

    Raises:
        NoHistory: it does not.
    """
    state = await find_state(store, tx, table)
    name = table["table_name"]
    if state is None or state.history == "off":
        raise NoHistory(
            f"no history is kept of {name}: syncsession-server table set switches it on"
        )
    since = max(state.begun_utc, state.pruned_utc)
    if at < since:
        raise NoHistory(f"the history of {name} is whole since {since}: name a later time")
    return state.begun_utc


def moment(text: str) -> str:
    """A time that a person writes, in the form of every *_at_utc; without an offset it is UTC.

    Raises:
        BadRequest: it is no time.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(f"{text!r} is no time: write 2026-01-31T12:00:00Z") from None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


async def _row_keys(
    store: Store, tx: Transaction, table: Table, ours: dict[str, Any], key: Sequence[str]
) -> list[bytes]:
    """The keys as bytes that a person may mean."""
    if len(key) != len(table.key):
        raise BadRequest(f"the key of {table.name} is ({', '.join(table.key)}): give each of them")
    by_name = {folded(c.name): c for c in table.columns}
    columns = [by_name[folded(name)] for name in table.key]
    if table.key_kind != "local":
        choices = product(*(_readings(c, text) for c, text in zip(columns, key, strict=True)))
        collations = [c.collation for c in columns]
        return sorted({sync_keys([[v] for v in values], collations)[0] for values in choices})
    row_id = _uuid(key[0])
    if row_id is not None:
        return [row_id]
    hint = next((v for v in _readings(columns[0], key[0]) if isinstance(v, int)), None)
    path = "$." + json.dumps(columns[0].name, ensure_ascii=False)
    sql, params = store.sql.history.keys_of_hint, ours | {"path": path, "hint": hint}
    return [bytes(found) for (found,) in await tx.all(sql, params)]


def _readings(column: Column, text: str) -> list[Any]:
    """The values that a text may stand for in a key column."""
    found: list[Any] = [text]
    if column.affinity != "text":
        found += [
            number for number in (_number(int, text), _number(float, text)) if number is not None
        ]
    row_id = _uuid(text) if column.row_id_of is not None else None
    return [*found, row_id] if row_id is not None else found


def _number(kind: type[int] | type[float], text: str) -> int | float | None:
    try:
        number = kind(text)
    except ValueError:
        return None
    return None if kind is int and number not in _INT64 else number


def _uuid(text: str) -> bytes | None:
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        return None
