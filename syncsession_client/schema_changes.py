"""What the synced tables are after the application changed its schema.

Why: docs/explanation/schema-changes.md. The database is read, and not changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from . import capture
from .identity import Choices, Registration, check_names, no_key, outside, plan, prefixes
from .places import find, is_on, triggers
from .protocol.tables import Table, folded
from .schema import FoundTable, read
from .store import DeviceStore
from .wire_names import free


@dataclass(frozen=True)
class Change:
    """What there is to keep of the synced tables now.

    `before` gives what was kept of each table that is there, by the name that it has now; one that
    was picked up has none. `lost` are those that are missing since now, `uncaptured` tables that
    lack triggers, `strays` triggers that went with a table which is not synced.
    """

    registrations: tuple[Registration, ...]
    before: Mapping[str, Registration]
    forgotten: tuple[Registration, ...]
    lost: tuple[Registration, ...]
    uncaptured: frozenset[str]
    strays: tuple[str, ...]

    @property
    def is_doubtful(self) -> bool:
        """Whether rows may have been deleted by the change itself."""
        return bool(self.lost or self.uncaptured)


def look(store: DeviceStore, joining: Choices | None = None) -> Change:
    """What has become of the synced tables, with those that they reference now, and those that
    `joining` names to be synced too.

    Raises:
        UnknownName, NoPrimaryKey, NullKey, OutsideReference: one that is named cannot be.
    """
    kept, objects = store.registrations(), store.objects()
    found = read(objects)
    places = find(store, kept, found, objects)
    picked = _picked(store, kept, found, places.values())
    joined = _joined(store, found, [*places.values(), *picked], joining or Choices())
    tables = _described(kept, found, places, [*picked, *joined], joining or Choices())
    registrations, forgotten = _registrations(kept, places, tables)
    return Change(
        registrations=registrations,
        before={places[r.prefix].name: r for r in kept if r.prefix in places},
        forgotten=forgotten,
        lost=tuple(r for r in kept if r.prefix not in places and not r.is_missing),
        uncaptured=frozenset(
            places[r.prefix].name
            for r in kept
            if r.prefix in places
            and not all(is_on(o, places[r.prefix].name) for o in triggers(r, objects))
        ),
        strays=tuple(
            o.name
            for r in kept
            for o in triggers(r, objects)
            if o is not None and r.prefix in places and not is_on(o, places[r.prefix].name)
        ),
    )


def newcomers(store: DeviceStore) -> list[str]:
    """The application's tables that are neither synced nor left out on purpose."""
    known = store.left_out() | {folded(r.table.name) for r in store.registrations()}
    return [o.name for o in store.objects() if o.is_table and folded(o.name) not in known]


def warnings(store: DeviceStore) -> list[str]:
    """A sentence for every synced table that is missing."""
    names = {folded(o.name) for o in store.objects() if o.type == "table"}
    return [
        (_has_another_key if folded(r.table.name) in names else _is_gone)(store, r)
        for r in store.registrations()
        if r.is_missing
    ]


def news(store: DeviceStore, change: Change) -> list[str]:
    """What a person should know of a change: tables that came, and what became of them."""
    picked = [
        f"{r.table.name} is synced too now, since a synced table references it"
        for r in change.registrations
        if r.table.name not in change.before and not r.is_missing
    ]
    return picked + [
        f"the table {name} is not synced: take it in with syncsession-client init {store.path} "
        f"--table {name}, or leave it out for good with --exclude {name}"
        for name in newcomers(store)
    ]


def _is_gone(store: DeviceStore, kept: Registration) -> str:
    name = kept.table.name
    return (
        f"the table {name} is gone from {store.path}, and is not synced here any more; the server "
        "and the other devices keep its rows: create it again and they come back, or forget it "
        f"with syncsession-client init {store.path} --exclude {name}"
    )


def _has_another_key(store: DeviceStore, kept: Registration) -> str:
    name = kept.table.name
    return (
        f"{name} has another key now than ({', '.join(kept.table.key)}), by which its rows are "
        "known, and is not synced here any more: give it that key again, or give the new table "
        f"another name and take it in with syncsession-client init {store.path} --table NAME"
    )


def _picked(
    store: DeviceStore,
    kept: Sequence[Registration],
    found: Mapping[str, FoundTable],
    placed: Iterable[FoundTable],
) -> list[FoundTable]:
    """Tables that synced ones have come to reference: without them these could not be synced.

    Not one under the name that a renamed table had: that may be a rebuild which is not done yet.
    """
    by_name = {folded(name): table for name, table in found.items()}
    waiting = list(placed)
    known = {folded(t.name) for t in waiting} | store.left_out()
    known |= {folded(name) for r in kept for name in (r.table.name, r.wire_name)}
    picked: list[FoundTable] = []
    while waiting:
        for name in (folded(r.parent) for r in waiting.pop().references):
            table = by_name.get(name)
            if table is None or name in known or not table.key or table.fault:
                continue
            if not capture.has_null_key(store, table):
                known.add(name)
                picked.append(table)
                waiting.append(table)
    return picked


def _joined(
    store: DeviceStore,
    found: Mapping[str, FoundTable],
    present: Sequence[FoundTable],
    joining: Choices,
) -> list[FoundTable]:
    """The tables that are named to be synced too."""
    gone = {folded(r.table.name) for r in store.registrations()} - {folded(n) for n in found}
    exclude = tuple(name for name in joining.exclude if folded(name) not in gone)
    check_names(found, replace(joining, exclude=exclude))
    synced = {folded(t.name) for t in present}
    named = {folded(name) for name in joining.tables} - synced
    joined = [table for name, table in found.items() if folded(name) in named]
    for table in joined:
        if not table.key:
            raise no_key(table)
        if capture.has_null_key(store, table):
            raise capture.null_key(table)
        for reference in table.references:
            name = folded(reference.parent)
            if name not in synced | named and name in {folded(each) for each in found}:
                raise outside(table.name, reference.parent)
    return joined


def _described(
    kept: Sequence[Registration],
    found: Mapping[str, FoundTable],
    places: Mapping[str, FoundTable],
    picked: Sequence[FoundTable],
    joining: Choices,
) -> tuple[Table, ...]:
    """The tables that are there, parents first. What a column stands for stays as it was agreed."""
    present = [*places.values(), *picked]
    if not present:
        return ()
    names = {r.table.name: places[r.prefix].name for r in kept if r.prefix in places}
    kinds = {places[r.prefix].name: r.table.key_kind for r in kept if r.prefix in places}
    agreed: dict[tuple[str, str], str | None] = {}
    given: list[tuple[str, str, str]] = []
    for registration in kept:
        table = places.get(registration.prefix)
        if table is None:
            continue
        columns = _columns_now(registration.table, table)
        for column in registration.table.columns:
            if column.name in columns:
                target = column.row_id_of and names.get(column.row_id_of, column.row_id_of)
                agreed[table.name, columns[column.name]] = target
        given += [
            (table.name, columns[r.columns[0]], names[r.parent])
            for r in registration.table.references
            if not r.declared and r.columns[0] in columns and r.parent in names
        ]
    usable = {folded(t.name) for t in present}
    absent = {folded(name) for name in found} - usable
    clean = {
        t.name: replace(
            t,
            references=tuple(
                r
                for r in t.references
                if folded(r.parent) not in absent
                and not (kinds.get(t.name) == "local" and r.columns == t.key)
            ),
        )
        for t in present
    }
    references = (*given, *(r for r in joining.references if r not in given))
    choices = Choices(tables=tuple(clean), keys=dict(joining.keys) | kinds, references=references)
    return plan(clean, choices, agreed=agreed).tables


def _columns_now(before: Table, table: FoundTable) -> dict[str, str]:
    """What the columns of before are called now, those that are there.

    A column of the key keeps its place in it. Another one that was set up as a reference by --ref
    is taken to be renamed where the one in its place has another name: SQLite says nowhere.
    """
    now = {folded(c.name): c.name for c in table.columns}
    columns = {c.name: now[folded(c.name)] for c in before.columns if folded(c.name) in now}
    columns |= dict(zip(before.key, table.key, strict=True))
    undeclared = {r.columns[0] for r in before.references if not r.declared}
    if len(before.columns) == len(table.columns):
        pairs = zip(before.columns, table.columns, strict=True)
        changed = [(old, new) for old, new in pairs if folded(old.name) != folded(new.name)]
        for old, new in changed:
            if old.name in undeclared and new.affinity == old.affinity:
                columns.setdefault(old.name, new.name)
    return columns


def _registrations(
    kept: Sequence[Registration], places: Mapping[str, FoundTable], tables: Sequence[Table]
) -> tuple[tuple[Registration, ...], tuple[Registration, ...]]:
    """(what to keep, what to forget): missing tables stay, unless another has taken their name."""
    of = {places[r.prefix].name: r for r in kept if r.prefix in places}
    present = {folded(t.name) for t in tables}
    names = {r.table.name: places[r.prefix].name for r in kept if r.prefix in places}
    missing = [_missing(r, names) for r in kept if r.prefix not in places]
    forgotten = tuple(r for r in missing if folded(r.table.name) in present)
    missing = [r for r in missing if r not in forgotten]
    taken = {t.name: of[t.name].prefix for t in tables if _keeps_prefix(of.get(t.name), t)}
    named = prefixes(tables, taken | {r.table.name: r.prefix for r in missing})
    sent = [r.wire_name for r in (*of.values(), *missing)]
    registrations = []
    for table in tables:
        before = of.get(table.name)
        if before is None:
            name = free(table.name, sent)
            sent.append(name)
            known, key = name, table.key
            before = Registration(table, named[table.name])
        else:
            known, key = before.wire_name, before.sent_key or before.table.key
        registrations.append(
            replace(
                before,
                table=table,
                prefix=named[table.name],
                is_missing=False,
                sent_name=known if known != table.name else "",
                sent_key=key if key != table.key else (),
            )
        )
    return (*registrations, *missing), forgotten


def _missing(kept: Registration, names: Mapping[str, str]) -> Registration:
    """The registration of a table that is missing, with the names that the others have now."""
    columns = tuple(
        structs.replace(c, row_id_of=names.get(c.row_id_of, c.row_id_of)) if c.row_id_of else c
        for c in kept.table.columns
    )
    references = tuple(
        structs.replace(r, parent=names.get(r.parent, r.parent)) for r in kept.table.references
    )
    table = structs.replace(kept.table, columns=columns, references=references)
    return replace(kept, table=table, is_missing=True)


def _keeps_prefix(before: Registration | None, table: Table) -> bool:
    """Whether the table has the name that it had."""
    return before is not None and folded(before.table.name) == folded(table.name)
