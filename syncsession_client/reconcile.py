"""Reconciling: find what no trigger saw, and log it, so that folding treats it as any other edit.

Triggers miss rows that REPLACE removes through a secondary UNIQUE, and everything that happens
while a table's rebuild has dropped them. The caller holds the write transaction.
"""

from collections.abc import Mapping, Sequence

from . import capture, schema_changes
from .fold import Folded, fold
from .identity import Registration, SyncTable, arrange
from .protocol.errors import MassDelete
from .protocol.tables import folded
from .rows import ROWS
from .schema_changes import Change
from .store import STATE, DeviceStore
from .wire_names import described

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


def log_missed(store: DeviceStore, table: SyncTable) -> None:
    """Log the rows that went and came without a trigger."""
    store.run(ROWS.log_gone(t=table))
    store.run(ROWS.log_new(t=table))


def log_filled(store: DeviceStore, introduced: Mapping[str, Sequence[str]]) -> None:
    """Log the rows that have values in columns which came here and which this device introduced.

    Where another device did, what the server has in them comes with the next pull.
    """
    added = {r.table.name: r.added for r in store.registrations()}
    for table in store.tables():
        ours = {folded(name) for name in introduced.get(table.wire_name, ())}
        came = {folded(name) for name in added[table.name]}
        columns = [name for name in table.values if folded(name) in ours & came]
        if columns:
            store.run(ROWS.log_filled(t=table, columns=columns))
        store.set_added_columns(table.name, ())


def refresh(store: DeviceStore, *, allow_mass_delete: bool) -> list[str]:
    """After a change of the schema: find the synced tables again, put back what they lack, and log
    what happened meanwhile. What a person should know of it, in sentences.

    Raises:
        MassDelete: as `bring_up_to_date`; or it was a table dropped that deleted the rows.
    """
    if store.state().schema_version == store.schema_version():
        return []
    told = described(store.all_tables())
    change = schema_changes.look(store)
    _follow(store, change)
    tables = store.tables()
    fold(store, tables)
    for table in tables:
        _find_missed(store, table, change, allow_mass_delete)
    if described(store.all_tables()) != told:
        store.run(STATE.set_registered, {"is_registered": 0})
    capture.remember_schema(store)
    return schema_changes.news(store, change)


def _follow(store: DeviceStore, change: Change) -> None:
    """Let the shadow tables and triggers follow the tables of the application."""
    before = {t.prefix: t for t in store.all_tables()}
    for table in (before[r.prefix] for r in change.lost):
        gone = store.count(ROWS.count_logged_gone(t=table))
        if _is_mass(gone, store.count(ROWS.count_known(t=table))):
            store.run(ROWS.forget_logged_gone(t=table))
    for forgotten in change.forgotten:
        capture.remove(store, before[forgotten.prefix])
    capture.drop_triggers(store, change.strays)
    moves = [
        (before[change.before[now.name].prefix], now)
        for now in arrange(change.registrations)
        if now.name in change.before and not now.is_missing
    ]
    capture.move(
        store,
        [
            (old, now)
            for old, now in moves
            if (old.prefix, old.key_columns) != (now.prefix, now.key_columns)
        ],
    )
    store.save_registrations(change.registrations)
    capture.install(store, store.tables())
    capture.show_pending(store)


def _find_missed(store: DeviceStore, table: SyncTable, change: Change, allowed: bool) -> None:
    """Log what no trigger saw. Of a table that was missing, rows that are not there are not taken
    for deleted: the next pull brings them back.
    """
    before = change.before.get(table.name)
    if before is None:
        log_missed(store, table)
        return
    if before.is_missing:
        store.run(ROWS.forget_gone(t=table))
    else:
        _check_mass_delete(store, table, allowed, counts_unsent=change.is_doubtful)
    log_missed(store, table)
    _log_changed(store, before, table, is_captured=table.name not in change.uncaptured)
    old = {folded(name) for name in before.table.value_columns}
    came = [name for name in table.values if folded(name) not in old]
    store.set_added_columns(table.name, [*before.added, *came])


def _log_changed(
    store: DeviceStore, before: Registration, now: SyncTable, *, is_captured: bool
) -> None:
    """Log the rows whose values are not those that were agreed with the server.

    What was agreed covers the columns of that time. Where they have become other columns, it is
    forgotten, and the next pull brings every row anew: the server may know the new columns already,
    and what it has in them must not be overwritten by the defaults here. Where nothing was agreed
    that can be compared, and triggers were missing, that pull also finds what was changed.
    """
    old = [folded(name) for name in before.table.value_columns]
    new = [folded(name) for name in now.values]
    is_comparable = set(old) <= set(new)
    if is_comparable:
        agreed = [now.values[new.index(name)] for name in old]
        store.run(ROWS.log_changed(t=now, agreed=agreed))
    is_unknown = not is_comparable or store.first(ROWS.has_unknown_digest(t=now)) is not None
    doubted = {folded(name) for name in before.doubted}
    if is_unknown and not is_captured:
        doubted |= set(old)
    if old != new:
        store.run(ROWS.forget_digests(t=now))
    if old != new or doubted or before.is_missing:
        store.be_anew(now.name, [name for name in now.values if folded(name) in doubted])


def _counts_differ(store: DeviceStore, table: SyncTable) -> bool:
    row = store.first(ROWS.count_rows(t=table))
    return row is not None and row[0] != row[1]


def _check_mass_delete(
    store: DeviceStore, table: SyncTable, allowed: bool, *, counts_unsent: bool = False
) -> None:
    """Stop where most of a table is gone.

    Where triggers were lost, deletions that one saw and the server does not know of count too: when
    a table is dropped, SQLite deletes the rows that reference it.
    """
    if allowed:
        return
    unsent = store.count(ROWS.count_deleted(t=table)) if counts_unsent else 0
    gone = store.count(ROWS.count_gone(t=table)) + unsent
    known = store.count(ROWS.count_known(t=table)) + unsent
    if _is_mass(gone, known):
        how = (
            "since a table was dropped or rebuilt, which may have deleted them"
            if unsent
            else "and no program was seen to delete them"
        )
        raise MassDelete(
            f"{gone} of {known} rows of {table.name} are gone, {how}; if that is right, sync with "
            "--allow-mass-delete, else bring the file back from a backup"
        )


def _is_mass(gone: int, known: int) -> bool:
    return gone >= MASS_DELETE_ROWS and gone > MASS_DELETE_SHARE * known
