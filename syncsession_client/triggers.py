"""Which tables' own triggers fire when a pull is applied.

What a trigger wrote into synced tables comes with the pull, so there it must not run again. What it
keeps up beside them, a search index say, nobody else will keep up. So a table's triggers fire when
they write, and only to what is not synced. One that may refuse a row (RAISE) fires not: the row was
accepted where it was made. Why: docs/explanation/shadow-tables.md.
"""

import re
from collections.abc import Sequence

from .identity import SyncTable
from .protocol.errors import SyncError
from .protocol.tables import folded
from .schema import SchemaObject
from .statements import load
from .store import DeviceStore

TRIGGERS = load("client/triggers.sql.j2")

_RAISE = re.compile(r"\bRAISE\s*\(", re.IGNORECASE)


def firing(store: DeviceStore, tables: Sequence[SyncTable]) -> frozenset[str]:
    """The names of the tables whose triggers fire."""
    triggers = [o for o in store.objects() if o.type == "trigger" and not o.is_ours]
    synced = {folded(t.name) for t in tables}
    return frozenset(
        table.name
        for table in tables
        if _may_fire(store, table, [o for o in triggers if _is_on(o, table)], synced)
    )


def _is_on(trigger: SchemaObject, table: SyncTable) -> bool:
    return folded(trigger.table) == folded(table.name)


def _may_fire(
    store: DeviceStore, table: SyncTable, triggers: Sequence[SchemaObject], synced: set[str]
) -> bool:
    if not triggers or any(_RAISE.search(trigger.sql) for trigger in triggers):
        return False
    written = _written(store, table)
    return bool(written) and not written & synced


def _written(store: DeviceStore, table: SyncTable) -> set[str]:
    """The tables that the application's triggers on a table write to; itself, where one cannot run
    here, so that none of them is tried.
    """
    found: set[str] = set()
    for block in ("explain_insert", "explain_update", "explain_delete"):
        try:
            found |= store.writes_of_triggers(getattr(TRIGGERS, block)(t=table))
        except SyncError:
            return {folded(table.name)}
    return found
