"""The registry of application tables: made as devices describe them, widened later."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import msgspec

from syncsession_client.protocol.errors import ServerBusy, UnknownTable
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.tables import Table, folded

from .stores import Layout, Store, Transaction
from .tables import check_description, check_targets, merged, new_columns
from .tenants import Caller

_ATTEMPTS = 10

_T = TypeVar("_T")


async def register(
    store: Store, caller: Caller, device_id: str, tables: list[Table]
) -> dict[str, list[str]]:
    """Make room for the tables that a device of the caller's tenant describes, all or none.

    Returns the columns, by table, that this device brought to tables which the tenant had; asked
    again, the same.

    Raises:
        SchemaContradiction: a table is here with another key or other types.
        Forbidden: something is new, and the token may not describe tables.
    """
    check_targets(tables)
    for table in tables:
        check_description(table)

    async def describe(tx: Transaction) -> dict[str, list[str]]:
        for table in tables:
            await _define(store, tx, caller, table)
        return {
            table.name: await _define_for_tenant(store, tx, caller, position, table, device_id)
            for position, table in enumerate(tables)
        }

    new = await store.write(describe)
    point("server.tables_described")
    for table in tables:
        await _build(store, table.name)
        point("server.table_built")
    return {name: columns for name, columns in new.items() if columns}


async def known_names(store: Store, caller: Caller, tables: Sequence[Table]) -> dict[str, str]:
    """What the server calls tables that nobody has described, and that a device has renamed so."""

    async def work(tx: Transaction) -> list[Table]:
        rows = await tx.all(store.sql.tables.list_known, {"tenant_id": caller.tenant_id})
        return [msgspec.json.decode(known, type=Table) for (known,) in rows]

    known = {folded(t.name): t for t in await store.read(work)}
    described = {folded(t.name): t for t in tables}
    later = {name: t.name for key, t in known.items() for name in t.names if key not in described}
    return {
        t.name: later[key]
        for key, t in described.items()
        if t.here is None and key not in known and key in later
    }


async def tenant_tables(store: Store, tenant_id: str) -> list[Table]:
    """The tenant's tables as its devices have them, parents first."""

    async def work(tx: Transaction) -> list[Table]:
        rows = await tx.all(store.sql.tables.list_tenant_tables, {"tenant_id": tenant_id})
        return [msgspec.json.decode(definition, type=Table) for (definition,) in rows]

    return await store.read(work)


class Described(NamedTuple):
    """A table as a device of the tenant described it last, with the columns of all its devices, and
    as the database is to have it; whether it has; whether its references are left alone.
    """

    latest: Table
    known: Table
    whole: Table
    is_built: bool
    is_unchecked: bool


async def leave_references(store: Store, tenant_id: str, name: str, *, is_checked: bool) -> None:
    """Look after the references of a tenant's table, or let them lead where they will."""
    sql = store.sql.tables.check_references if is_checked else store.sql.tables.leave_references
    await store.run(sql, {"tenant_id": tenant_id, "name": folded(name)})


async def described_tables(store: Store, tx: Transaction, tenant_id: str) -> dict[str, Described]:
    """The tenant's tables by their names in lower case, parents first."""
    rows = await tx.all(store.sql.tables.list_described, {"tenant_id": tenant_id})
    found = [
        Described(
            _decoded(latest), _decoded(known), _decoded(whole), whole == built, bool(is_unchecked)
        )
        for latest, known, whole, built, is_unchecked in rows
    ]
    return {folded(each.known.name): each for each in found}


@lru_cache(4096)
def _decoded(text: str) -> Table:
    """Kept: a session looks at all tables of its tenant, mostly those of the last session."""
    return msgspec.json.decode(text, type=Table)


class Layouts:
    """How tables of a tenant are kept, with all of their columns.

    For work that is done `with_tables`, since a table may have to be built first.
    """

    def __init__(self, store: Store, described: Mapping[str, Described]) -> None:
        self._store, self._described = store, described
        self._made: dict[str, Layout] = {}

    def __getitem__(self, table: Table) -> Layout:
        name = folded(table.name)
        if name not in self._made:
            _, known, whole, is_built, _ = self._described[name]
            if not is_built:
                raise _TableBehind(name)
            self._made[name] = self._store.layout(known, known.wire_columns, whole)
        return self._made[name]


async def find_table(store: Store, tx: Transaction | Store, tenant_id: str, name: str) -> Table:
    """A table of the tenant, with the columns that its devices have.

    Raises:
        UnknownTable: the tenant has none of that name.
    """
    return (await _find(store, tx, tenant_id, name))[0]


class _TableBehind(Exception):
    """The real table has not been given yet what its definition says."""


async def with_tables(store: Store, attempt: Callable[[], Awaitable[_T]]) -> _T:
    """What `attempt` gives, after the tables have been built that it finds behind.

    Whoever described them is doing so just now, or was killed before he could.

    Raises:
        ServerBusy: a table is being changed again and again.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await attempt()
        except _TableBehind as behind:
            await _build(store, str(behind))
    raise ServerBusy("tables are being changed by others; try again")


async def find_layout(
    store: Store,
    tx: Transaction,
    tenant_id: str,
    name: str,
    columns: Sequence[str] | None = None,
) -> tuple[Table, Layout]:
    """A table of the tenant, and how `columns` of it are kept; all where none are given.

    For work that is done `with_tables`, since the table may have to be built first.

    Raises:
        UnknownTable: the tenant has none of that name.
    """
    table, whole, is_built = await _find(store, tx, tenant_id, name)
    if not is_built:
        raise _TableBehind(name)
    return table, store.layout(table, table.wire_columns if columns is None else columns, whole)


async def _find(
    store: Store, tx: Transaction | Store, tenant_id: str, name: str
) -> tuple[Table, Table, bool]:
    """(table as the tenant's devices have it, as the database is to have it, whether it has)."""
    params = {"tenant_id": tenant_id, "name": folded(name)}
    row = await tx.first(store.sql.tables.find_tenant_table, params)
    if row is None:
        raise UnknownTable(f"tenant {tenant_id} has no table {name}; describe it first")
    known, _, _, whole, built = row
    ours, everyones = (msgspec.json.decode(text, type=Table) for text in (known, whole))
    return ours, everyones, whole == built


async def _define(store: Store, tx: Transaction, caller: Caller, table: Table) -> None:
    """Put into the registry what the real table is to hold."""
    sql, name = store.sql.tables, folded(table.name)
    for _ in range(_ATTEMPTS):
        row = await tx.first(sql.find, {"name": name})
        here = msgspec.json.decode(row[0], type=Table) if row else None
        union = merged(here, table)
        if here == union:
            return
        caller.require("schema")
        params = {"name": name, "definition": msgspec.json.encode(union).decode()}
        if row is None and await tx.run(sql.add, params):
            return
        if row is not None and await tx.run(sql.widen, params | {"known": row[0]}):
            return
    raise ServerBusy(f"table {table.name} is being described by others too; try again")


async def _build(store: Store, name: str) -> None:
    """Bring the real table up to its definition; whoever finds it behind does so.

    Some databases commit each such change on its own, so a process may be killed in between: what
    is there already is left alone, and the definition counts as built when all of it is.
    """
    sql = store.sql.tables
    for _ in range(_ATTEMPTS):
        row = await store.first(sql.find, {"name": folded(name)})
        if row is None or row[0] == row[1]:
            return
        await store.build(msgspec.json.decode(row[0], type=Table))
        await store.run(sql.set_built, {"name": folded(name), "definition": row[0]})
    raise ServerBusy(f"table {name} is being changed by others too; try again")


async def _define_for_tenant(
    store: Store, tx: Transaction, caller: Caller, position: int, table: Table, device_id: str
) -> list[str]:
    """Keep what the tenant's devices know of a table; the columns that this device brought later.

    A clone is made from the last description that has all columns of the one before.
    """
    sql, ours = store.sql.tables, {"tenant_id": caller.tenant_id, "name": folded(table.name)}
    for _ in range(_ATTEMPTS):
        row = await tx.first(sql.find_tenant_table, ours)
        known = msgspec.json.decode(row[0], type=Table) if row else None
        definition = msgspec.json.decode(row[1], type=Table) if row else table
        introduced: dict[str, str] = msgspec.json.decode(row[2]) if row else {}
        union = merged(known, table)
        if known == union and "schema" not in caller.scopes:
            return _brought_by(device_id, introduced)
        union = _with_name(union, table)
        latest = table if _names(definition) <= _names(table) else definition
        if (known, definition) == (union, latest):
            return _brought_by(device_id, introduced)
        caller.require("schema")
        introduced |= {c.name: device_id for c in new_columns(known, union)}
        definition = latest
        described = {"definition": definition, "known": union, "introduced": introduced}
        texts = {key: msgspec.json.encode(value).decode() for key, value in described.items()}
        params = ours | texts | {"position": position}
        if row is None and await tx.run(sql.add_tenant_table, params):
            return _brought_by(device_id, introduced)
        if row is not None and await tx.run(
            sql.put_tenant_table,
            params | {"known_before": row[0], "introduced_before": row[2]},
        ):
            return _brought_by(device_id, introduced)
    raise ServerBusy(f"table {table.name} is being described by others too; try again")


def _with_name(known: Table, table: Table) -> Table:
    """What is known, and what the device that describes the table calls it."""
    if table.here is None or folded(table.here.name) == folded(table.name):
        return known
    names = sorted({*known.names, folded(table.here.name)})
    return msgspec.structs.replace(known, names=tuple(names))


def _brought_by(device_id: str, introduced: dict[str, str]) -> list[str]:
    return [name for name, by in introduced.items() if by == device_id]


def _names(table: Table) -> set[str]:
    return {folded(c.name) for c in table.columns}
