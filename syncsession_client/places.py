"""Where the synced tables are after the application changed its schema.

A table is looked for under its name, then where its triggers went (SQLite takes them along when a
table is renamed), then under the name that the server knows, and at last among those that are not
synced, by its rows. Why in this order: docs/explanation/schema-changes.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from msgspec import structs

from . import capture
from .identity import Registration, SyncTable
from .protocol.tables import folded
from .rows import ROWS
from .schema import FoundTable, SchemaObject
from .store import DeviceStore


def find(
    store: DeviceStore,
    kept: Sequence[Registration],
    found: Mapping[str, FoundTable],
    objects: Sequence[SchemaObject],
) -> dict[str, FoundTable]:
    """The table that each registration, by its prefix, is of now; some are of none.

    The name comes first: a program may rename the old table away, make the new one under its name
    and copy. But not where the table of that name has the triggers of another synced one.
    """
    by_name = {folded(name): table for name, table in found.items()}
    carriers = {r.prefix: _carrier(r, objects) for r in kept}
    owners = {table: prefix for prefix, table in carriers.items() if table is not None}
    places: dict[str, FoundTable] = {}

    def place(registration: Registration, name: str | None) -> None:
        table = by_name.get(name) if name is not None else None
        if registration.prefix in places or table is None or table in places.values():
            return
        is_ours = owners.get(str(name), registration.prefix) == registration.prefix
        if is_ours and _fits(registration, table):
            places[registration.prefix] = table

    for each in kept:
        place(each, folded(each.table.name))
    for each in kept:
        place(each, carriers[each.prefix])
    for each in kept:
        place(each, folded(each.wire_name))
    _place_copies(store, kept, by_name, places)
    return places


def triggers(kept: Registration, objects: Sequence[SchemaObject]) -> list[SchemaObject | None]:
    """The triggers that a table should have, or None in the place of one that is not there."""
    present = {folded(o.name): o for o in objects if o.type == "trigger"}
    return [present.get(folded(f"{kept.prefix}_{event}")) for event in capture.EVENTS]


def is_on(trigger: SchemaObject | None, name: str) -> bool:
    """Whether a trigger is there, and on the table of that name."""
    return trigger is not None and folded(trigger.table) == folded(name)


def _carrier(kept: Registration, objects: Sequence[SchemaObject]) -> str | None:
    """The table, in lower case, that a synced table's triggers are on."""
    return next((folded(o.table) for o in triggers(kept, objects) if o is not None), None)


def _fits(kept: Registration, table: FoundTable) -> bool:
    """Whether a table has the key by which the rows are known; columns of it may be renamed."""
    if table.fault or len(table.key) != len(kept.table.key):
        return False
    affinities = {c.name: c.affinity for c in kept.table.columns}
    for before, now in zip(kept.table.key, table.key, strict=True):
        column = table.column(now)
        if column is None or column.affinity != affinities[before]:
            return False
        if folded(before) != folded(now) and table.column(before) is not None:
            return False
    key = {folded(name) for name in table.key}
    values = {folded(c.name) for c in table.columns} - key
    return not values & {folded(name) for name in kept.sent_key or kept.table.key}


def _place_copies(
    store: DeviceStore,
    kept: Sequence[Registration],
    by_name: Mapping[str, FoundTable],
    places: dict[str, FoundTable],
) -> None:
    """Find tables that were copied under another name, by most of their rows."""
    known = {t.prefix: t for t in store.all_tables()}
    for each in (r for r in kept if r.prefix not in places):
        for name in (n for n in by_name if n not in store.left_out()):
            table = by_name[name]
            is_free = table not in places.values()
            if is_free and _fits(each, table) and _is_copy(store, known[each.prefix], table):
                places[each.prefix] = table
                break


def _is_copy(store: DeviceStore, known: SyncTable, table: FoundTable) -> bool:
    """Whether more than half of the known rows are in a table, as they were agreed."""
    columns = [table.column(name) for name in known.values]
    agreed = [column.name for column in columns if column is not None]
    if len(agreed) < len(columns):
        return False
    names = dict(zip(known.key, table.key, strict=True))
    parents = {names.get(column, column): rows for column, rows in known.parents.items()}
    here = structs.replace(known.table, name=table.name, key=table.key)
    copy = replace(known, table=here, parents=parents)
    same = store.count(ROWS.count_same(t=copy, agreed=agreed))
    return 2 * same > store.count(ROWS.count_known(t=known))
