"""The registry of application tables: made as devices describe them, widened later."""

import msgspec

from syncsession_client.protocol.tables import Table

from .stores import Store, Transaction
from .tables import (
    ServerTable,
    check_description,
    check_targets,
    merged,
    new_columns,
    server_column,
)
from .tenants import Caller


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
    new: dict[str, list[str]] = {}
    check_targets(tables)
    async with store.write() as tx:
        for position, table in enumerate(tables):
            check_description(table)
            await _register_here(store, tx, caller, table)
            new[table.name] = await _register_tenant(store, tx, caller, position, table, device_id)
    return {name: columns for name, columns in new.items() if columns}


async def tenant_tables(store: Store, tenant_id: str) -> list[Table]:
    """The tenant's tables as its devices have them, parents first."""
    async with store.read() as tx:
        rows = await tx.all(store.sql.tables.list_tenant_tables, {"tenant_id": tenant_id})
    return [msgspec.json.decode(definition, type=Table) for (definition,) in rows]


async def _register_here(store: Store, tx: Transaction, caller: Caller, table: Table) -> None:
    """Make the table, or the columns that it lacks."""
    row = await tx.first(store.sql.tables.find, {"name": table.name})
    here = msgspec.json.decode(row[0], type=Table) if row else None
    union = merged(here, table)
    if here == union:
        return
    caller.require("schema")
    t = ServerTable(union)
    if here is None:
        await tx.run(store.sql.rows.create_table(t=t), {})
        await tx.run(store.sql.rows.create_session_index(t=t), {})
    for column in new_columns(here, union):
        await tx.run(store.sql.rows.add_column(t=t, column=server_column(column)), {})
    definition = msgspec.json.encode(union).decode()
    await tx.run(store.sql.tables.put, {"name": union.name, "definition": definition})


async def _register_tenant(
    store: Store, tx: Transaction, caller: Caller, position: int, table: Table, device_id: str
) -> list[str]:
    """Keep what the tenant's devices know of a table; the columns that this device brought later.

    A clone is made from the description that has most columns, if it has all of the one before.
    """
    ours = {"tenant_id": caller.tenant_id, "name": table.name}
    row = await tx.first(store.sql.tables.find_tenant_table, ours)
    known = msgspec.json.decode(row[0], type=Table) if row else None
    definition = msgspec.json.decode(row[1], type=Table) if row else table
    introduced: dict[str, str] = msgspec.json.decode(row[2]) if row else {}
    union = merged(known, table)
    if known != union:
        caller.require("schema")
        introduced |= {c.name: device_id for c in new_columns(known, union)}
        if _names(definition) <= _names(table):
            definition = table
        described = {"definition": definition, "known": union, "introduced": introduced}
        texts = {key: msgspec.json.encode(value).decode() for key, value in described.items()}
        await tx.run(store.sql.tables.put_tenant_table, ours | texts | {"position": position})
    return [name for name, by in introduced.items() if by == device_id]


def _names(table: Table) -> set[str]:
    return {c.name.lower() for c in table.columns}
