"""The registry of application tables: made as devices describe them, widened later."""

import msgspec

from syncsession_client.protocol.tables import Table

from .stores import Store, Transaction
from .tables import ServerTable, check_description, check_targets, merged, new_columns
from .tenants import Caller


async def register(store: Store, caller: Caller, tables: list[Table]) -> dict[str, list[str]]:
    """Make room for the tables that a device of the caller's tenant describes, all or none.

    Returns the columns, by table, that the tenant has not had before in tables that it has.

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
            new[table.name] = await _register_tenant(store, tx, caller, position, table)
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
        await tx.run(store.sql.rows.add_column(t=t, column=column), {})
    definition = msgspec.json.encode(union).decode()
    await tx.run(store.sql.tables.put, {"name": union.name, "definition": definition})


async def _register_tenant(
    store: Store, tx: Transaction, caller: Caller, position: int, table: Table
) -> list[str]:
    """Keep the description that has most columns: a clone is made from it. The columns it adds."""
    ours = {"tenant_id": caller.tenant_id, "name": table.name}
    row = await tx.first(store.sql.tables.find_tenant_table, ours)
    new: list[str] = []
    if row is not None:
        known = {c.name.lower() for c in msgspec.json.decode(row[0], type=Table).columns}
        new = [c.name for c in table.columns if c.name.lower() not in known]
        if not new:
            return new
    caller.require("schema")
    definition = msgspec.json.encode(table).decode()
    await tx.run(
        store.sql.tables.put_tenant_table, ours | {"position": position, "definition": definition}
    )
    return new
