"""Which tables' own triggers fire when a pull is applied.

What a trigger wrote into synced tables comes with the pull, so there it must not run again. What it
keeps up beside them, a search index say, nobody else will keep up. So a table's triggers fire when
they write, and only to what is not synced. One that may refuse a row (RAISE) fires not: the row was
accepted where it was made. Why: docs/explanation/shadow-tables.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .identity import SyncTable
from .protocol.errors import SyncError
from .protocol.tables import folded
from .schema import SchemaObject
from .statements import load
from .store import DeviceStore

TRIGGERS = load("client/triggers.sql.j2")

_RAISE = re.compile(r"\bRAISE\s*\(", re.IGNORECASE)


@dataclass(frozen=True)
class TableTriggers:
    """The application's triggers on one table.

    `writes` are the tables that they write to, in lower case, also by triggers that they set off;
    None where one cannot be compiled here.
    """

    names: tuple[str, ...]
    writes: frozenset[str] | None
    may_refuse: bool

    def fire(self, synced: frozenset[str]) -> bool:
        """Whether they do, where the tables `synced`, in lower case, are synced."""
        if self.may_refuse or not self.writes:
            return False
        return self.writes.isdisjoint(synced)


def firing(store: DeviceStore, tables: Sequence[SyncTable]) -> frozenset[str]:
    """The names of the tables whose triggers fire."""
    synced = frozenset(folded(t.name) for t in tables)
    return frozenset(name for name, t in of_tables(store, tables).items() if t.fire(synced))


def of_tables(store: DeviceStore, tables: Sequence[SyncTable]) -> dict[str, TableTriggers]:
    """The application's triggers on each of the tables that has some."""
    triggers = [o for o in store.objects() if o.type == "trigger" and not o.is_ours]
    by_table = {t.name: [o for o in triggers if _is_on(o, t)] for t in tables}
    return {
        table.name: TableTriggers(
            names=tuple(o.name for o in by_table[table.name]),
            writes=_written(store, table),
            may_refuse=any(_RAISE.search(o.sql) for o in by_table[table.name]),
        )
        for table in tables
        if by_table[table.name]
    }


def _is_on(trigger: SchemaObject, table: SyncTable) -> bool:
    return folded(trigger.table) == folded(table.name)


def _written(store: DeviceStore, table: SyncTable) -> frozenset[str] | None:
    found: set[str] = set()
    for block in ("explain_insert", "explain_update", "explain_delete"):
        try:
            found |= store.writes_of_triggers(getattr(TRIGGERS, block)(t=table))
        except SyncError:
            return None
    return frozenset(found)
