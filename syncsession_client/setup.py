"""Setting a database up for sync, and taking sync out of it again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import capture, reconcile
from .fold import fold
from .identity import Choices, Plan, SyncTable, arrange, plan, prefixes, undeclared
from .outbox import Outbox
from .protocol.errors import AlreadyInitialized, NullKey, SyncError
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
    path: Path, *, server: str, choices: Choices, user: str | None = None
) -> Initialized:
    """Set the database up, in one transaction; every row in it becomes dirty.

    Doing it again changes nothing, adds tables that `choices` now names, and takes a new server.

    Raises:
        Unsyncable: no table can be synced, or not as the choices say; nothing has changed.
        AlreadyInitialized: it is set up with other keys.
    """
    with DeviceStore(path) as store, store.write():
        if store.is_initialized():
            return _again(store, server=server, choices=choices, user=user)
        planned = _plan(store, choices)
        capture.create_state(store, user=user, server=server)
        rows = _add(store, planned, {})
        return Initialized(
            device_id=store.state().device_id,
            user_id=user,
            tables=tuple(store.tables()),
            skipped=dict(planned.skipped),
            rows=rows,
            is_new=True,
        )


def check(path: Path, choices: Choices) -> None:
    """Say now what `initialize` would refuse, before anyone is asked for a token.

    Raises:
        Unsyncable: as `initialize`; nothing has changed.
    """
    with DeviceStore(path) as store, store.read():
        _plan(store, choices)


def preview(path: Path, choices: Choices) -> Iterator[str]:
    """The statements that `initialize` would add to the schema; nothing is changed."""
    with DeviceStore(path) as store, store.read():
        planned = _plan(store, choices)
        named = prefixes(planned.tables, {})
        if not store.is_initialized():
            yield from capture.state_statements()
        for table in arrange((t, named[t.name]) for t in planned.tables):
            yield from (sql for _, sql in capture.statements(table))


def uninstall(path: Path) -> list[str]:
    """Take sync out of the database; its schema is as it was before. The tables that were synced.

    Raises:
        NotInitialized: sync is not installed.
    """
    with DeviceStore(path) as store:
        with store.write():
            store.state()
            tables = store.tables()
            capture.uninstall(store, tables)
        with Outbox(path) as outbox:
            outbox.remove()
        return [t.name for t in tables]


def _plan(store: DeviceStore, choices: Choices) -> Plan:
    found = store.found_tables()
    refused = {
        name: NullKey(
            f"{name} has a row with NULL in its primary key, which identifies nothing: give the "
            f"row a key, or --exclude {name}"
        )
        for name, table in found.items()
        if table.key and capture.has_null_key(store, table)
    }
    return plan(found, choices, refused)


def _add(store: DeviceStore, planned: Plan, taken: dict[str, str]) -> int:
    """Install capture for the planned tables and mark every row of the new ones dirty."""
    named = prefixes(planned.tables, taken)
    store.save_tables((t, named[t.name]) for t in planned.tables)
    tables = store.tables()
    capture.install(store, tables)
    capture.remember_schema(store)
    for table in tables:
        if table.name not in taken:
            reconcile.log_missed(store, table)
    fold(store, tables)
    return sum(store.count(ROWS.count_dirty(t=t)) for t in tables)


def _again(store: DeviceStore, *, server: str, choices: Choices, user: str | None) -> Initialized:
    reconcile.refresh(store, allow_mass_delete=False)
    known = {folded(t.name): t for t in store.tables()}
    check_same_choices(store, known, choices)
    names = tuple(t.name for t in known.values())
    planned = _plan(
        store,
        Choices(
            tables=tuple(dict.fromkeys((*names, *choices.tables))),
            keys={t.name: t.table.key_kind for t in known.values()} | dict(choices.keys),
            references=undeclared(known.values()) + choices.references,
        ),
    )
    rows = _add(store, planned, {t.name: t.prefix for t in known.values()})
    if len(planned.tables) > len(known):
        store.run(STATE.set_registered, {"is_registered": 0})
    store.run(STATE.set_server, {"server_url": server})
    if user is not None:
        store.run(STATE.set_user, {"user_id": user})
    state = store.state()
    return Initialized(
        state.device_id, state.user_id, tuple(store.tables()), {}, rows, is_new=False
    )


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
