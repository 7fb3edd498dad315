"""Setting a database up for sync, and taking sync out of it again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import capture, reconcile, schema_changes
from .backfill import PART_ROWS, Backfill
from .fold import fold
from .identity import (
    Choices,
    Plan,
    Registration,
    SyncTable,
    arrange,
    plan,
    prefixes,
    undeclared,
)
from .lock import SyncLock
from .outbox import Outbox
from .protocol.errors import AlreadyInitialized, SyncError
from .protocol.kill_points import point
from .protocol.session_set import SessionSet
from .protocol.tables import folded
from .rows import ROWS
from .store import STATE, DeviceStore


@dataclass(frozen=True)
class Initialized:
    """What `initialize` did. `rows` are those that were there already: dirty now."""

    device_id: str
    user_id: str | None
    tables: tuple[SyncTable, ...]
    skipped: dict[str, SyncError]
    rows: int
    is_new: bool


def initialize(
    path: Path,
    *,
    server: str,
    choices: Choices,
    user: str | None = None,
    part_rows: int = PART_ROWS,
) -> Initialized:
    """Set the database up, or change nothing; every row in it becomes dirty.

    Where that takes long, the lock is let go now and then, so that no program that writes meanwhile
    waits for all of it; rows become dirty `part_rows` at a time. If it is interrupted, the next
    command does the rest.

    Doing it again changes nothing, adds tables that `choices` now names, and takes a new server.

    Raises:
        Unsyncable: no table can be synced, or not as the choices say; nothing has changed.
        AlreadyInitialized: it is set up with other keys.
    """
    with DeviceStore(path) as store:
        with store.write():
            if store.is_initialized():
                return _again(store, server=server, choices=choices, user=user)
            planned = _plan(store, choices)
            capture.create_state(store, user=user, server=server)
            named = prefixes(planned.tables, {})
            store.save_registrations(Registration(t, named[t.name]) for t in planned.tables)
            synced = {t.name for t in planned.tables}
            store.leave_out(name for name in store.found_tables() if name not in synced)
            capture.install(store, store.tables())
            capture.show_pending(store)
            backfill = Backfill(store, part_rows)
            backfill.mark_some()
            point("init.inside")
        point("init.begun")
        backfill.mark_rest()
        return Initialized(
            device_id=store.state().device_id,
            user_id=user,
            tables=tuple(store.tables()),
            skipped=dict(planned.skipped),
            rows=_count_dirty(store),
            is_new=True,
        )


def check(path: Path, choices: Choices) -> None:
    """Say now what `initialize` would refuse, before anyone is asked for a token.

    Raises:
        Unsyncable: as `initialize`; nothing has changed.
    """
    with DeviceStore(path) as store, store.read():
        if store.is_initialized():
            schema_changes.look(store, choices)
        else:
            _plan(store, choices)


def preview(path: Path, choices: Choices) -> Iterator[str]:
    """The statements that `initialize` would add to the schema; nothing is changed."""
    with DeviceStore(path) as store, store.read():
        planned = _plan(store, choices)
        named = prefixes(planned.tables, {})
        if not store.is_initialized():
            yield from capture.state_statements()
        tables = arrange(Registration(t, named[t.name]) for t in planned.tables)
        for table in tables:
            yield from (sql for _, sql in capture.statements(table))
        if not store.is_initialized():
            yield from capture.pending_statements(tables)


def uninstall(path: Path) -> list[str]:
    """Take sync out of the database; its schema is as it was before. The tables that were synced.

    Raises:
        DatabaseLocked: a sync is running.
        NotInitialized: sync is not installed.
    """
    with DeviceStore(path) as store, SyncLock(path, "syncsession-client uninstall"):
        with store.write():
            store.state()
            tables = store.all_tables()
            with Outbox(path) as outbox:  # first: whoever finds no sync installed looks no further
                outbox.remove()
            point("uninstall.inside")
            capture.uninstall(store, tables)
            point("uninstall.before_commit")
        point("uninstall.done")
        return [t.name for t in tables]


def _plan(store: DeviceStore, choices: Choices) -> Plan:
    found = store.found_tables()
    refused = {
        name: capture.null_key(table)
        for name, table in found.items()
        if table.key and capture.has_null_key(store, table)
    }
    return plan(found, choices, refused)


def _add(store: DeviceStore, new: Sequence[SyncTable]) -> int:
    """Install capture for new tables and mark every row of them dirty; all rows that are."""
    capture.install(store, new)
    capture.show_pending(store)
    capture.remember_schema(store)
    for table in new:
        reconcile.log_missed(store, table)
    fold(store, store.tables())
    return _count_dirty(store)


def _count_dirty(store: DeviceStore) -> int:
    return sum(store.count(ROWS.count_dirty(t=t)) for t in store.tables())


def _again(store: DeviceStore, *, server: str, choices: Choices, user: str | None) -> Initialized:
    reconcile.refresh(store, allow_mass_delete=False)
    known = {folded(t.name): t for t in store.tables()}
    check_same_choices(store, known, choices)
    forgotten = _forget(store, choices.exclude)
    exclude = tuple(name for name in choices.exclude if folded(name) not in forgotten)
    change = schema_changes.look(store, replace(choices, exclude=exclude))
    store.save_registrations(change.registrations)
    left_out = store.left_out() | {folded(name) for name in exclude}
    store.leave_out(left_out - {folded(r.table.name) for r in change.registrations})
    rows = _add(store, [t for t in store.tables() if t.name not in change.before])
    if len(change.before) < len(store.tables()):
        store.run(STATE.set_registered, {"is_registered": 0})
    store.run(STATE.set_server, {"server_url": server})
    if user is not None:
        store.run(STATE.set_user, {"user_id": user})
    state = store.state()
    return Initialized(
        state.device_id, state.user_id, tuple(store.tables()), {}, rows, is_new=False
    )


def _forget(store: DeviceStore, names: Sequence[str]) -> set[str]:
    """Forget missing tables for good, with what is kept of their rows; their names in lower case.

    Raises:
        AlreadyInitialized: a column of a table that is there stands for their rows.
    """
    tables = store.all_tables()
    wanted = {folded(name) for name in names}
    going = {t.name: t for t in tables if t.is_missing and folded(t.name) in wanted}
    for table in going.values():
        for child, column in table.children([t for t in tables if t.name not in going]):
            raise AlreadyInitialized(
                f"{child.name}.{column} stands for rows of {table.name}, which cannot be forgotten "
                f"before {child.name}"
            )
        capture.remove(store, table)
        store.replace_processed(table.wire_name, SessionSet())
    store.save_registrations(r for r in store.registrations() if r.table.name not in going)
    return {folded(name) for name in going}


def check_same_choices(store: DeviceStore, known: dict[str, SyncTable], choices: Choices) -> None:
    """Refuse choices that are not those with which the tables were set up.

    Raises:
        AlreadyInitialized: another kind of key, a new reference, or a table to leave out.
    """
    for name, kind in choices.keys.items():
        table = known.get(folded(name))
        if table is not None and table.table.key_kind != kind:
            raise AlreadyInitialized(
                f"{store.path} is set up with {table.table.key_kind} keys for {table.name}: run "
                f"syncsession-client uninstall {store.path} first"
            )
    given = {tuple(map(str.lower, reference)) for reference in undeclared(known.values())}
    for child, column, parent in choices.references:
        if folded(child) in known and (folded(child), folded(column), folded(parent)) not in given:
            raise AlreadyInitialized(
                f"{store.path} is set up without --ref {child}.{column}={parent}: run "
                f"syncsession-client uninstall {store.path} first"
            )
    for name in choices.exclude:
        if folded(name) in known:
            raise AlreadyInitialized(
                f"{store.path} is set up to sync {name}: run syncsession-client uninstall "
                f"{store.path} first"
            )
