"""What sync adds to a database, and takes away again: shadow tables, triggers, its own state."""

import uuid
from collections.abc import Iterable, Iterator, Sequence

from .identity import SyncTable
from .protocol.errors import NullKey
from .protocol.tables import folded
from .schema import FoundTable
from .statements import load
from .store import STATE, DeviceStore

CAPTURE = load("client/capture.sql.j2")

EVENTS = ("insert", "update", "rekey", "delete")
PENDING = "_syncsession_pending"

_TERMS = 50
"""Tables in one view: SQLite takes 500 in a compound SELECT, and an ALTER TABLE of the application
takes time that grows with the square of the longest view.
"""


def create_state(store: DeviceStore, *, user: str | None, server: str) -> None:
    """Make the device's own tables; the database gets an identity of its own."""
    for sql in state_statements():
        store.run(sql)
    store.run(
        STATE.insert_state,
        {"device_id": str(uuid.uuid4()), "user_id": user, "server_url": server},
    )


def install(store: DeviceStore, tables: Iterable[SyncTable]) -> None:
    """Add what is missing of the shadow objects and triggers of each table; change nothing else."""
    present = {folded(o.name) for o in store.objects()}
    for table in tables:
        for name, sql in statements(table):
            if folded(name) not in present:
                store.run(sql)


def show_pending(store: DeviceStore) -> None:
    """Let the view of what has still to be pushed show the tables that are synced now."""
    wanted = list(pending_statements(store.all_tables()))
    if wanted != [o.sql for o in store.objects() if o.name.startswith(PENDING)]:
        _hide_pending(store)
        for sql in wanted:
            store.run(sql)


def pending_statements(tables: Sequence[SyncTable]) -> Iterator[str]:
    """The statements that make that view; `tables` are all that are kept, in their order."""
    present = [(position, t) for position, t in enumerate(tables) if not t.is_missing]
    if len(present) <= _TERMS:
        yield CAPTURE.create_pending(name=PENDING, part=present)
        return
    parts = [present[at : at + _TERMS] for at in range(0, len(present), _TERMS)]
    names = [f"{PENDING}_{number}" for number in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        yield CAPTURE.create_pending(name=name, part=part)
    yield CAPTURE.join_pending(name=PENDING, names=names)


def _hide_pending(store: DeviceStore) -> None:
    for (name,) in list(store.rows(CAPTURE.pending_views())):
        store.run(CAPTURE.drop_pending(name=name))


def uninstall(store: DeviceStore, tables: Sequence[SyncTable]) -> None:
    """Remove everything that sync added; the application's own schema is as it was before."""
    _hide_pending(store)
    for table in tables:
        remove(store, table)
    store.run(STATE.drop_processed)
    store.run(STATE.drop_conflicts)
    store.run(STATE.drop_rejects)
    store.run(STATE.drop_tables)
    store.run(STATE.drop_state)


def remove(store: DeviceStore, table: SyncTable) -> None:
    """Remove the triggers, the view, the log and the shadow rows of one table, and what is said of
    its rows. What is to be pushed is not shown until `show_pending`: a view that names what is gone
    would break the next statement that looks at it.
    """
    _hide_pending(store)
    for event in EVENTS:
        store.run(CAPTURE.drop_trigger(name=table.trigger(event)))
    store.run(CAPTURE.drop_view(t=table))
    store.run(CAPTURE.drop_log(t=table))
    store.run(CAPTURE.drop_rows(t=table))
    store.run(STATE.forget_rejects_of, {"table_name": table.name})


def move(store: DeviceStore, moves: Sequence[tuple[SyncTable, SyncTable]]) -> None:
    """Bring the log and the shadow rows of tables to where they belong now, with all they hold.

    All are taken up before any is put down, since tables may have swapped their names.
    """
    for number, (before, _) in enumerate(moves):
        for part, name in (("log", before.log), ("rows", before.rows)):
            store.run(CAPTURE.take_up(name=name, held=f"_sync_held_{part}_{number}"))
        remove(store, before)
    for number, (_, now) in enumerate(moves):
        install(store, [now])
        for part, name in (("log", now.log), ("rows", now.rows)):
            held = f"_sync_held_{part}_{number}"
            store.run(CAPTURE.put_down(name=name, held=held, is_log=part == "log"))
            store.run(CAPTURE.drop_held(held=held))


def drop_triggers(store: DeviceStore, names: Iterable[str]) -> None:
    """Remove triggers of ours by their names."""
    for name in names:
        store.run(CAPTURE.drop_trigger(name=name))


def state_statements() -> tuple[str, ...]:
    """The statements that make the device's own tables."""
    return (
        *(STATE.create_state, STATE.create_tables, STATE.create_processed),
        *(STATE.create_conflicts, STATE.create_rejects),
    )


def statements(table: SyncTable) -> Iterator[tuple[str, str]]:
    """The (name, statement) of every object of one table, in order of creation."""
    yield table.log, CAPTURE.create_log(t=table)
    yield table.rows, CAPTURE.create_rows(t=table)
    yield table.dirty_index, CAPTURE.create_dirty_index(t=table)
    if table.is_mapped:
        yield table.live_index, CAPTURE.create_live_index(t=table)
    yield table.gone_index, CAPTURE.create_gone_index(t=table)
    yield table.view, CAPTURE.create_view(t=table)
    for event in EVENTS:
        yield table.trigger(event), getattr(CAPTURE, f"create_{event}_trigger")(t=table)


def remember_schema(store: DeviceStore) -> None:
    """Note the schema's version, so that a later change of it is seen."""
    store.run(STATE.set_schema_version, {"schema_version": store.schema_version()})


def null_key(table: FoundTable) -> NullKey:
    """What is wrong with such a table."""
    name = table.name
    return NullKey(
        f"{name} has a row with NULL in its primary key, which identifies nothing: give the row a "
        f"key, or --exclude {name}"
    )


def has_null_key(store: DeviceStore, table: FoundTable) -> bool:
    """Whether a row of the application has NULL in its key."""
    return store.first(CAPTURE.first_null_key(t=table)) is not None
