"""Reconciling: find what no trigger saw, and log it, so that folding treats it as any other edit.

Triggers miss rows that REPLACE removes through a secondary UNIQUE, and everything that happens
while a table's rebuild has dropped them. The caller holds the write transaction.
"""

from collections.abc import Mapping, Sequence

from . import capture
from .fold import Folded, fold
from .identity import Choices, SyncTable, plan, prefixes, undeclared
from .protocol.errors import MassDelete, UnknownName
from .protocol.tables import Table, folded
from .rows import ROWS
from .store import STATE, DeviceStore

MASS_DELETE_SHARE = 0.5
MASS_DELETE_ROWS = 100


def bring_up_to_date(store: DeviceStore, *, allow_mass_delete: bool) -> Folded:
    """Fold; then, if anything was folded since the last time, look for what was missed in tables
    whose row counts differ.

    Raises:
        MassDelete: more than half of a table, and at least 100 rows, went without a trigger.
    """
    tables = store.tables()
    folded = fold(store, tables)
    if folded.generation == store.state().checked_generation:
        return folded
    for table in (t for t in tables if _counts_differ(store, t)):
        _check_mass_delete(store, table, allow_mass_delete)
        log_missed(store, table)
    again = fold(store, tables)
    store.run(STATE.set_checked, {"generation": again.generation})
    return Folded(again.generation, folded.null_keys)


def doubt(store: DeviceStore) -> None:
    """A sealed session was lost, and may be committed: no dirty row is known to be unchanged."""
    tables = store.tables()
    fold(store, tables)
    for table in tables:
        store.run(ROWS.forget_dirty_digests(t=table))
    store.run(STATE.set_sealed, {"session_id": None})


def log_missed(store: DeviceStore, table: SyncTable) -> None:
    """Log the rows that went and came without a trigger."""
    store.run(ROWS.log_gone(t=table))
    store.run(ROWS.log_new(t=table))


def log_filled(store: DeviceStore, introduced: Mapping[str, Sequence[str]]) -> None:
    """Log the rows that have values in columns which came here and which this device introduced.

    Where another device did, what the server has in them comes with the next pull.
    """
    added = store.added_columns()
    for table in store.tables():
        ours = {folded(name) for name in introduced.get(table.name, ())}
        came = {folded(name) for name in added[table.name]}
        columns = [name for name in table.values if folded(name) in ours & came]
        if columns:
            store.run(ROWS.log_filled(t=table, columns=columns))
        store.set_added_columns(table.name, ())


def refresh(store: DeviceStore, *, allow_mass_delete: bool) -> None:
    """After a change of the schema: describe the tables anew, put back what is missing, and log
    what happened while it was.

    Raises:
        UnknownName: a synced table is gone.
        MassDelete: as `bring_up_to_date`.
    """
    if store.state().schema_version == store.schema_version():
        return
    known = {folded(t.name): t for t in store.tables()}
    described = _described(store, known)
    store.save_tables(described)
    added = store.added_columns()
    if [t for t, _ in described] != [t.table for t in known.values()]:
        store.run(STATE.set_registered, {"is_registered": 0})
    tables = store.tables()
    capture.install(store, tables)
    fold(store, tables)
    for table in tables:
        _check_mass_delete(store, table, allow_mass_delete)
        log_missed(store, table)
        before = known[folded(table.name)]
        _log_changed(store, before, table)
        came = [name for name in table.values if name not in before.values]
        store.set_added_columns(table.name, [*added[table.name], *came])
    capture.remember_schema(store)


def _described(store: DeviceStore, known: Mapping[str, SyncTable]) -> list[tuple[Table, str]]:
    """The synced tables as the database has them now, with the prefixes that they have."""
    found = store.found_tables()
    by_name = {folded(name): name for name in found}
    for name, table in known.items():
        if name not in by_name:
            raise UnknownName(
                f"{store.path} has no table {table.name} any more; sync is set up for it: bring it "
                f"back, or run syncsession-client uninstall and init again without it"
            )
    choices = Choices(
        tables=tuple(t.name for t in known.values()),
        keys={t.name: t.table.key_kind for t in known.values()},
        references=undeclared(known.values()),
    )
    tables = plan(found, choices).tables
    named = prefixes(tables, {by_name[name]: t.prefix for name, t in known.items()})
    return [(t, named[t.name]) for t in tables]


def _log_changed(store: DeviceStore, before: SyncTable, now: SyncTable) -> None:
    """Log the rows whose values are not those that were agreed with the server.

    What was agreed covers the columns of that time. Where they have become other columns, it is
    forgotten, and the next pull brings every row anew: the server may know the new columns already,
    and what it has in them must not be overwritten by the defaults here.
    """
    old, new = [folded(n) for n in before.values], [folded(n) for n in now.values]
    if set(old) <= set(new):
        agreed = [now.values[new.index(name)] for name in old]
        store.run(ROWS.log_changed(t=now, agreed=agreed))
    if old != new:
        store.run(ROWS.forget_digests(t=now))
        store.set_anew(now.name, True)


def _counts_differ(store: DeviceStore, table: SyncTable) -> bool:
    row = store.first(ROWS.count_rows(t=table))
    return row is not None and row[0] != row[1]


def _check_mass_delete(store: DeviceStore, table: SyncTable, allowed: bool) -> None:
    gone = 0 if allowed else store.count(ROWS.count_gone(t=table))
    if gone < MASS_DELETE_ROWS:
        return
    known = store.count(ROWS.count_known(t=table))
    if gone > MASS_DELETE_SHARE * known:
        raise MassDelete(
            f"{gone} of {known} rows of {table.name} are gone, and no program was seen to "
            "delete them; if that is right, sync with --allow-mass-delete"
        )
