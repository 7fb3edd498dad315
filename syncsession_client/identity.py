"""Keys: what identifies a row for everyone, and which tables of a database can take part.

A table is *plain* (its key means the same on every device), *local* (an integer key, meaningful on
one device only: everyone else knows the row by a `row_id`), or has a key whose parts reference
local tables and are known by those rows' ids. Why: docs/explanation/keys.md. No I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from .protocol.batches import META
from .protocol.errors import NoPrimaryKey, OutsideReference, SyncError, UnknownName, Unsyncable
from .protocol.tables import ROW_ID, Affinity, Column, KeyKind, Reference, Table, folded
from .schema import FoundTable

_TYPES: dict[Affinity, str] = {
    "integer": "INTEGER",
    "real": "REAL",
    "text": "TEXT",
    "blob": "BLOB",
    "numeric": "NUMERIC",
}


@dataclass(frozen=True)
class ShadowColumn:
    """A key column as the log or the shadow rows hold it."""

    name: str
    type: str
    collation: str = "BINARY"


@dataclass(frozen=True)
class SyncTable:
    """A synced table, with the names that its SQL templates need. `prefix` begins ours.

    `parents` gives, for each column whose integers stand for rows of a local table, the name of
    that table's shadow rows. `sent_name` and `sent_key` are what the server knows the table and its
    key columns by: the application may have renamed them since.
    """

    table: Table
    prefix: str
    parents: Mapping[str, str] = field(default_factory=dict)
    sent_name: str = ""
    sent_key: tuple[str, ...] = ()
    is_missing: bool = False

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def wire_name(self) -> str:
        """The table's name in whatever travels."""
        return self.sent_name or self.name

    @property
    def wire_key(self) -> tuple[str, ...]:
        """What a batch calls the columns that identify a row."""
        return (ROW_ID,) if self.is_local else (self.sent_key or self.key)

    @property
    def wire_columns(self) -> tuple[str, ...]:
        """What a batch calls the columns beside them."""
        return (*(self.sent_key or self.key), *self.values) if self.is_local else self.values

    @property
    def key(self) -> tuple[str, ...]:
        """The application's key columns."""
        return self.table.key

    @property
    def keys(self) -> tuple[str, ...]:
        """The same in the log and the shadow rows: numbered, for a key may be called anything."""
        return tuple(f"key_{i}" for i in range(1, len(self.key) + 1))

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns of the shadow rows that identify a row for everyone."""
        if self.is_local:
            return (ROW_ID,)
        if self.is_mapped:
            return tuple(f"{ROW_ID}_{i}" for i in range(1, len(self.key) + 1))
        return self.keys

    @property
    def is_local(self) -> bool:
        return self.table.key_kind == "local"

    @property
    def is_mapped(self) -> bool:
        """Whether the row's identity differs from its key here."""
        return self.is_local or any(self.key_parents)

    @property
    def key_parents(self) -> tuple[str | None, ...]:
        """For each part of the key, the shadow rows of the local table it references."""
        return tuple(self.parents.get(name) for name in self.key)

    @property
    def is_collated(self) -> bool:
        """Whether keys that differ can be equal: 'a' and 'A', or 1 and 1.0."""
        return not self.is_local and any(
            c.collation != "BINARY" or c.type == "BLOB" for c in self.key_columns
        )

    @property
    def key_columns(self) -> tuple[ShadowColumn, ...]:
        by_name = {c.name: c for c in self.table.columns}
        return tuple(
            ShadowColumn(k, _TYPES[by_name[name].affinity], by_name[name].collation)
            for k, name in zip(self.keys, self.key, strict=True)
        )

    @property
    def shadow_columns(self) -> tuple[ShadowColumn, ...]:
        if not self.is_mapped:
            return self.key_columns
        identity = (
            ShadowColumn(name, "BLOB") if parent or self.is_local else replace(column, name=name)
            for name, column, parent in zip(
                self.identity, self.key_columns, self.key_parents, strict=True
            )
        )
        return (*identity, *self.key_columns)

    @cached_property
    def values(self) -> tuple[str, ...]:
        """The columns that are not part of the key."""
        return self.table.value_columns

    @property
    def first_digested(self) -> int:
        """Where in a row on the wire the part begins that its digest covers: the values, and a key
        that is not made here.
        """
        return META + (len(self.identity) + 1 if self.is_local else 0)

    @property
    def has_unique(self) -> bool:
        """Whether two rows can collide outside their keys."""
        return bool(self.table.unique)

    @property
    def log(self) -> str:
        return f"{self.prefix}_log"

    @property
    def rows(self) -> str:
        return f"{self.prefix}_rows"

    @property
    def view(self) -> str:
        return self.prefix

    @property
    def dirty_index(self) -> str:
        return f"{self.prefix}_dirty"

    @property
    def live_index(self) -> str:
        return f"{self.prefix}_live"

    @property
    def gone_index(self) -> str:
        return f"{self.prefix}_gone"

    def trigger(self, event: str) -> str:
        """The name of the trigger for insert, update, rekey or delete."""
        return f"{self.prefix}_{event}"

    def children(self, tables: Sequence["SyncTable"]) -> list[tuple["SyncTable", str]]:
        """Every (table, column) whose integers stand for rows of this one."""
        return [(t, c) for t in tables for c, rows in t.parents.items() if rows == self.rows]


@dataclass(frozen=True)
class Registration:
    """What a device keeps of a table that it syncs.

    `added` are columns that came since the server was told of the table. Of a table that is anew
    the next pull brings every row; in the columns `doubted` rows may have changed here that no
    trigger saw and no digest tells of. A missing table was dropped, or has another key now.
    """

    table: Table
    prefix: str
    added: tuple[str, ...] = ()
    is_anew: bool = False
    doubted: tuple[str, ...] = ()
    is_missing: bool = False
    sent_name: str = ""
    sent_key: tuple[str, ...] = ()

    @property
    def wire_name(self) -> str:
        """The table's name in whatever travels."""
        return self.sent_name or self.table.name


@dataclass(frozen=True)
class Choices:
    """What the user decided: which tables, what keys mean, references that are not declared."""

    tables: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    keys: Mapping[str, KeyKind] = field(default_factory=dict)
    references: tuple[tuple[str, str, str], ...] = ()  # (child, column, parent)


@dataclass(frozen=True)
class Plan:
    """The tables that take part, parents before children, and the others with the reason."""

    tables: tuple[Table, ...]
    skipped: Mapping[str, SyncError]


def plan(
    found: Mapping[str, FoundTable],
    choices: Choices,
    refused: Mapping[str, SyncError] | None = None,
    agreed: Mapping[tuple[str, str], str | None] | None = None,
) -> Plan:
    """Which of the tables that a database holds can be synced, and how each is keyed.

    `refused` are tables whose content rules them out. They and those without a primary key are
    skipped, unless the choices name them: then the reason is raised. `agreed` tells of columns that
    are synced already whether their integers stand for rows of a local table: that stays, whatever
    has become of the references.

    Raises:
        UnknownName: the choices name a table or column that is not there.
        NoPrimaryKey, NullKey: a table that was named has no usable key.
        OutsideReference: a synced table references one that is not.
        Unsyncable: nothing can be synced, or a key cannot be local.
    """
    wanted = chosen(found, choices)
    skipped: dict[str, SyncError] = {n: no_key(t) for n, t in wanted.items() if not t.key}
    skipped |= {name: error for name, error in (refused or {}).items() if name in wanted}
    if skipped and (choices.tables or len(skipped) == len(wanted)):
        raise next(iter(skipped.values()))
    syncable = {name: table for name, table in wanted.items() if name not in skipped}
    if not syncable:
        raise Unsyncable("there is no table to sync: create one first")
    references = {n: all_references(t, choices, found) for n, t in syncable.items()}
    _check_references(references, found, syncable)
    kinds = _kinds(syncable, references, choices)
    targets: dict[tuple[str, str], str | None] = dict(_targets(syncable, references, kinds))
    targets |= agreed or {}
    described = {
        name: _describe(table, kinds[name], references[name], targets)
        for name, table in syncable.items()
    }
    return Plan(tuple(_parents_first(described)), skipped)


def arrange(registrations: Iterable[Registration]) -> list[SyncTable]:
    """The sync tables of what is kept of them, in the same order."""
    kept = list(registrations)
    rows = {r.table.name: f"{r.prefix}_rows" for r in kept}
    return [
        SyncTable(
            r.table,
            r.prefix,
            {c.name: rows[c.row_id_of] for c in r.table.columns if c.row_id_of},
            r.sent_name,
            r.sent_key,
            r.is_missing,
        )
        for r in kept
    ]


def prefixes(tables: Iterable[Table], taken: Mapping[str, str]) -> dict[str, str]:
    """A prefix for each table: `_sync_<table>`, numbered where two tables' names would meet.

    `taken` holds the prefixes given before, which stay.
    """
    chosen = dict(taken)
    used = {name for prefix in chosen.values() for name in _names(prefix)}
    for table in tables:
        if table.name in chosen:
            continue
        base, number = f"_sync_{table.name}", 1
        prefix = base
        while used & _names(prefix):
            number += 1
            prefix = f"{base}_{number}"
        chosen[table.name] = prefix
        used |= _names(prefix)
    return chosen


def undeclared(tables: Iterable[SyncTable]) -> tuple[tuple[str, str, str], ...]:
    """The (child, column, parent) of every reference that was given by --ref."""
    return tuple(
        (t.name, r.columns[0], r.parent)
        for t in tables
        for r in t.table.references
        if not r.declared
    )


def _names(prefix: str) -> set[str]:
    suffixes = ["log", "rows", "dirty", "live", "gone", "insert", "update", "rekey", "delete"]
    return {folded(prefix), *(folded(f"{prefix}_{suffix}") for suffix in suffixes)}


def check_names(found: Mapping[str, FoundTable], choices: Choices) -> None:
    """Refuse choices that name what is not there.

    Raises:
        UnknownName: a table or a column, and those that there are.
    """
    known = {folded(name) for name in found}
    named = [*choices.tables, *choices.exclude, *choices.keys]
    named += [name for child, _, parent in choices.references for name in (child, parent)]
    for name in named:
        if folded(name) not in known:
            listed = ", ".join(sorted(found)) or "none"
            raise UnknownName(f"there is no table {name!r}; the tables are: {listed}")
    for child, column, _ in choices.references:
        table = _get(found, child)
        if table.column(column) is None:
            listed = ", ".join(c.name for c in table.columns)
            raise UnknownName(f"{table.name} has no column {column!r}; its columns are: {listed}")


def _get(found: Mapping[str, FoundTable], name: str) -> FoundTable:
    return next(table for key, table in found.items() if folded(key) == folded(name))


def chosen(found: Mapping[str, FoundTable], choices: Choices) -> dict[str, FoundTable]:
    """The tables that the choices let take part, whether they can or not.

    Raises:
        UnknownName: as `plan`.
    """
    check_names(found, choices)
    included = {folded(name) for name in choices.tables or found}
    included -= {folded(name) for name in choices.exclude}
    return {name: table for name, table in found.items() if folded(name) in included}


def no_key(table: FoundTable) -> Unsyncable:
    """What is wrong with a table that nothing identifies the rows of."""
    name = table.name
    if table.fault:
        return Unsyncable(
            f"{name} can be used by its application only ({table.fault}): --exclude {name}"
        )
    return NoPrimaryKey(
        f"{name} has no primary key, so nothing identifies its rows: give it one, or "
        f"--exclude {name}"
    )


def all_references(
    table: FoundTable, choices: Choices, found: Mapping[str, FoundTable]
) -> tuple[Reference, ...]:
    """Declared references under the names that the tables have, then those given by --ref."""
    by_name = {folded(name): t for name, t in found.items()}
    references = []
    for r in table.references:
        parent = by_name.get(folded(r.parent))
        if parent is None:
            references.append(r)
            continue
        columns = tuple(_column(parent, name) for name in r.parent_columns if name)
        references.append(
            Reference(r.columns, parent.name, columns, r.on_delete, r.on_update, r.declared)
        )
    for child, column, parent_name in choices.references:
        if folded(child) == folded(table.name):
            parent = by_name[folded(parent_name)]
            references.append(
                Reference((_column(table, column),), parent.name, parent.key[:1], declared=False)
            )
    return tuple(references)


def _column(table: FoundTable, name: str) -> str:
    column = table.column(name)
    return column.name if column else name


def _check_references(
    references: Mapping[str, tuple[Reference, ...]],
    found: Mapping[str, FoundTable],
    syncable: Mapping[str, FoundTable],
) -> None:
    known = {folded(name) for name in found}
    for name, listed in references.items():
        for reference in listed:
            if reference.parent in syncable:
                continue
            if folded(reference.parent) not in known:  # the application itself cannot use it
                continue
            raise outside(name, reference.parent)


def outside(name: str, parent: str) -> OutsideReference:
    """What is wrong with a synced table that references one which is not."""
    return OutsideReference(
        f"{name} references {parent}, which is not synced: sync {parent} too, or --exclude {name}"
    )


def _kinds(
    syncable: Mapping[str, FoundTable],
    references: Mapping[str, tuple[Reference, ...]],
    choices: Choices,
) -> dict[str, KeyKind]:
    """A single integer key is local, unless it references another table or the user says global."""
    chosen = {folded(name): kind for name, kind in choices.keys.items()}
    kinds: dict[str, KeyKind] = {}
    for name, table in syncable.items():
        column = table.column(table.key[0])
        is_integer = len(table.key) == 1 and column is not None and column.affinity == "integer"
        kind = chosen.get(folded(name))
        if kind == "local" and not is_integer:
            raise Unsyncable(
                f"the key of {name} is not one integer column, so it cannot be local: "
                f"use --key {name}=global"
            )
        borrowed = any(r.columns == table.key and r.parent != name for r in references[name])
        if kind == "local" and borrowed:
            raise Unsyncable(
                f"the key of {name} is the key of the table that it references, so it cannot be "
                f"local: leave out --key {name}"
            )
        kinds[name] = kind or ("local" if is_integer and not borrowed else "global")
    return kinds


def _targets(
    syncable: Mapping[str, FoundTable],
    references: Mapping[str, tuple[Reference, ...]],
    kinds: Mapping[str, KeyKind],
) -> dict[tuple[str, str], str]:
    """For each (table, column), the local table whose rows its integers stand for.

    A reference to a column that itself stands for a row of a local table stands for that row.
    """
    edges = {
        (name, column): (r.parent, parent_column)
        for name, listed in references.items()
        for r in reversed(listed)
        if r.parent in kinds
        for column, parent_column in zip(r.columns, r.parent_columns, strict=False)
    }
    keys = {(name, syncable[name].key[0]) for name, kind in kinds.items() if kind == "local"}
    targets = {}
    for start in edges:
        seen, at = {start}, edges[start]
        while at in edges and at not in seen and at not in keys:
            seen.add(at)
            at = edges[at]
        if at in keys:
            targets[start] = at[0]
    return targets


def _describe(
    table: FoundTable,
    kind: KeyKind,
    references: tuple[Reference, ...],
    targets: Mapping[tuple[str, str], str | None],
) -> Table:
    key = set(table.key) if kind == "local" else set()
    defaulted = {name for r in references if r.on_delete == "SET DEFAULT" for name in r.columns}
    return Table(
        name=table.name,
        key_kind=kind,
        key=table.key,
        columns=tuple(
            Column(
                c.name,
                c.affinity,
                c.collation,
                None if c.name in key else targets.get((table.name, c.name)),
                c.not_null,
                c.default if c.name in defaulted else None,
            )
            for c in table.columns
        ),
        references=references,
        unique=table.unique,
        sql=table.sql,
        indexes=table.indexes,
        unique_keys=table.unique_keys,
    )


def _parents_first(tables: Mapping[str, Table]) -> list[Table]:
    """In an order in which parents come before children; within a cycle, as they were created."""
    graph = {
        name: sorted({r.parent for r in table.references if r.parent in tables} - {name})
        for name, table in tables.items()
    }
    while True:
        try:
            return [tables[name] for name in TopologicalSorter(graph).static_order()]
        except CycleError as error:
            child, parent = error.args[1][1], error.args[1][0]
            graph[child].remove(parent)
