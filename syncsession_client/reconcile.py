"""Reconciling: find what no trigger saw, and log it, so that folding treats it as any other edit.

Triggers miss rows that REPLACE removes through a secondary UNIQUE, and everything that happens
while a table's rebuild has dropped them. The caller holds the write transaction.
"""

from collections.abc import Sequence

from . import capture
from .fold import Folded, fold
from .identity import Choices, SyncTable, plan, prefixes, undeclared
from .protocol.errors import MassDelete, UnknownName
from .protocol.session_set import SessionSet
from .protocol.tables import Table
from .push import ROWS
from .store import STATE, DeviceStore

MASS_DELETE_SHARE = 0.5
MASS_DELETE_ROWS = 100


def bring_up_to_date(store: DeviceStore, *, allow_mass_delete: bool) -> Folded:
    """Fold; then look for what was missed: in every table after a change of the schema, else where
    a folded table's row counts differ.

    Raises:
        MassDelete: more than half of a table, and at least 100 rows, went without a trigger.
    """
    changed = store.state().schema_version != store.schema_version()
    if changed:
        refresh(store)
    tables = store.tables()
    folded = fold(store, tables)
    suspects = tables if changed else [t for t in folded.tables if _counts_differ(store, t)]
    if not suspects:
        return folded
    for table in suspects:
        _check_mass_delete(store, table, allow_mass_delete)
        log_missed(store, table, digests=changed)
    again = fold(store, tables)
    if changed:
        capture.remember_schema(store)
    return Folded(again.generation, folded.tables + again.tables, folded.null_keys)


def log_missed(store: DeviceStore, table: SyncTable, *, digests: bool) -> None:
    """Log the rows that went, came and, with `digests`, changed without a trigger."""
    store.run(ROWS.log_gone(t=table))
    store.run(ROWS.log_new(t=table))
    if digests:
        store.run(ROWS.log_changed(t=table))


def refresh(store: DeviceStore) -> None:
    """After a change of the schema: describe the tables anew and put back what is missing.

    A table that gained a column which the server may know asks for all its rows again.
    """
    known = store.tables()
    found = store.found_tables()
    by_name = {name.lower(): name for name in found}
    for table in known:
        if table.name.lower() not in by_name:
            raise UnknownName(
                f"{store.path} has no table {table.name} any more; sync is set up for it: bring it "
                f"back, or run syncsession-client uninstall and init again without it"
            )
    choices = Choices(
        tables=tuple(t.name for t in known),
        keys={t.name: t.table.key_kind for t in known},
        references=undeclared(known),
    )
    described = plan(found, choices).tables
    taken = {by_name[t.name.lower()]: t.prefix for t in known}
    named = prefixes(described, taken)
    _save(store, known, [(t, named[t.name]) for t in described])
    capture.install(store, store.tables())
    capture.remember_schema(store)


def _save(
    store: DeviceStore, known: Sequence[SyncTable], tables: Sequence[tuple[Table, str]]
) -> None:
    before = {t.name.lower(): t.table for t in known}
    store.save_tables(tables)
    if [t for t, _ in tables] != [t.table for t in known]:
        store.run(STATE.set_registered, {"is_registered": 0})
    for table, _ in tables:
        old = {c.name.lower() for c in before[table.name.lower()].columns}
        if {c.name.lower() for c in table.columns} - old:
            store.replace_processed(table.name, SessionSet())


def _counts_differ(store: DeviceStore, table: SyncTable) -> bool:
    row = store.first(ROWS.count_rows(t=table))
    return row is not None and row[0] != row[1]


def _check_mass_delete(store: DeviceStore, table: SyncTable, allowed: bool) -> None:
    counts, gone = store.first(ROWS.count_rows(t=table)), store.first(ROWS.count_gone(t=table))
    if allowed or counts is None or gone is None:
        return
    if gone[0] >= MASS_DELETE_ROWS and gone[0] > MASS_DELETE_SHARE * counts[1]:
        raise MassDelete(
            f"{gone[0]} of {counts[1]} rows of {table.name} are gone, and no program was seen to "
            "delete them; if that is right, sync with --allow-mass-delete"
        )
