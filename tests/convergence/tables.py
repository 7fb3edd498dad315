"""The schema of the machine's devices, and what a database holds, said so that all can compare it.

A row is known by its table and key. Integers mean something on one device only, so a row with a
local key has a tag that is unique and stays with it, and a reference to such a row is that tag.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from syncsession_client.protocol import images

Row = tuple[str, ...]
"""A table, and the key of a row of it as everyone knows it."""

Values = tuple[str | None, ...]
"""A row's values, references as the keys that they lead to."""

Content = Values | None
"""A row's values; None where there is no such row."""

Tags = Mapping[tuple[str, bytes], str]
"""By table and row_id."""

Query = Callable[..., list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Reference:
    """Columns that are the key of a row of `parent`, and what is to happen when that goes."""

    columns: tuple[str, ...]
    parent: str
    on_delete: str = "no action"


@dataclass(frozen=True)
class Table:
    """A table: its key, the columns that are compared, and which of both refer to what.

    `local`: the key is an integer of the device's own; the column `tag` is the key for everyone.
    `unique` is the column that no two rows have the same value in.
    """

    name: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    references: tuple[Reference, ...] = ()
    local: bool = False
    unique: str | None = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What is read of it: the key as everyone knows it, and the values."""
        return (*self.known_by, *self.values)

    @property
    def known_by(self) -> tuple[str, ...]:
        """The columns that are the key as everyone knows it."""
        return ("tag",) if self.local else self.key

    @cached_property
    def parent_of(self) -> dict[str, str]:
        """The parent of each column that is a reference by itself."""
        return {r.columns[0]: r.parent for r in self.references if len(r.columns) == 1}

    def known_as(self, read: tuple[str | None, ...]) -> tuple[Row, Values]:
        """A row and its values, from what was read."""
        keys = len(self.known_by)
        assert None not in read[:keys], f"{self.name}: a row of no key: {read}"
        return (self.name, *map(str, read[:keys])), read[keys:]

    def taken_by(self, values: Content) -> str | None:
        """The value that no other row may have, of these."""
        if values is None or self.unique is None:
            return None
        return values[self.values.index(self.unique)]

    def parents(self, row: Row, values: Values) -> Iterator[tuple[Reference, Row]]:
        """The rows that a row refers to, and how."""
        by_column = dict(zip(self.columns, (*row[1:], *values), strict=True))
        for reference in self.references:
            key = [by_column[column] for column in reference.columns]
            if None not in key:
                yield reference, (reference.parent, *map(str, key))


SCHEMA = (
    "CREATE TABLE area (id INTEGER PRIMARY KEY, tag TEXT, v TEXT, odd, parent_id INTEGER "
    "REFERENCES area (id) ON UPDATE CASCADE ON DELETE SET NULL, head_id INTEGER "
    "REFERENCES member (id) ON UPDATE CASCADE ON DELETE SET NULL)",
    "CREATE TABLE member (id INTEGER PRIMARY KEY, tag TEXT, v TEXT, "
    "area_id INTEGER REFERENCES area (id) ON UPDATE CASCADE)",
    "CREATE TABLE label (name TEXT PRIMARY KEY, v TEXT, odd)",
    "CREATE TABLE member_label (member_id INTEGER REFERENCES member (id) ON UPDATE CASCADE "
    "ON DELETE CASCADE, label TEXT REFERENCES label (name) ON UPDATE CASCADE ON DELETE CASCADE, "
    "v TEXT, PRIMARY KEY (member_id, label))",
    "CREATE TABLE profile (id INTEGER PRIMARY KEY REFERENCES member (id) ON UPDATE CASCADE "
    "ON DELETE CASCADE, v TEXT)",
    "CREATE TABLE setting (scope TEXT, name TEXT, v TEXT, w TEXT, odd, PRIMARY KEY (scope, name)) "
    "WITHOUT ROWID",
    "CREATE TABLE note (id TEXT PRIMARY KEY, v TEXT, area_id INTEGER REFERENCES area (id) "
    "ON UPDATE CASCADE ON DELETE CASCADE, label TEXT REFERENCES label (name) ON UPDATE CASCADE "
    "ON DELETE SET NULL)",
    "CREATE TABLE seat (id INTEGER PRIMARY KEY, tag TEXT, v TEXT, place TEXT UNIQUE)",
    "CREATE TABLE card (seat_id INTEGER PRIMARY KEY REFERENCES seat (id) ON UPDATE CASCADE "
    "ON DELETE CASCADE, v TEXT)",
    "CREATE TABLE badge (id TEXT PRIMARY KEY, v TEXT, code TEXT UNIQUE)",
    "CREATE TABLE kind (name TEXT PRIMARY KEY, v TEXT, code TEXT UNIQUE)",
    "CREATE TABLE ticket (id TEXT PRIMARY KEY, v TEXT, seat_id INTEGER REFERENCES seat (id) "
    "ON UPDATE CASCADE ON DELETE CASCADE, badge_id TEXT REFERENCES badge (id) ON UPDATE CASCADE "
    "ON DELETE SET NULL, kind TEXT REFERENCES kind (name) ON UPDATE CASCADE)",
    "CREATE TABLE tool (id TEXT PRIMARY KEY, v TEXT, owner_id INTEGER REFERENCES member (id) "
    "ON UPDATE CASCADE ON DELETE RESTRICT, label TEXT DEFAULT 'a' REFERENCES label (name) "
    "ON UPDATE CASCADE ON DELETE SET DEFAULT, scope TEXT, name TEXT, FOREIGN KEY (scope, name) "
    "REFERENCES setting (scope, name) ON UPDATE CASCADE ON DELETE CASCADE)",
)
"""What `odd` holds, of any type, is compared among the devices only, when they are at rest."""

TABLES = {
    t.name: t
    for t in (
        Table(
            "area",
            ("id",),
            ("v", "parent_id", "head_id"),
            (
                Reference(("parent_id",), "area", "set null"),
                Reference(("head_id",), "member", "set null"),
            ),
            local=True,
        ),
        Table("member", ("id",), ("v", "area_id"), (Reference(("area_id",), "area"),), local=True),
        Table("label", ("name",), ("v",)),
        Table(
            "member_label",
            ("member_id", "label"),
            ("v",),
            (
                Reference(("member_id",), "member", "cascade"),
                Reference(("label",), "label", "cascade"),
            ),
        ),
        Table("profile", ("id",), ("v",), (Reference(("id",), "member", "cascade"),)),
        Table("setting", ("scope", "name"), ("v", "w")),
        Table(
            "note",
            ("id",),
            ("v", "area_id", "label"),
            (
                Reference(("area_id",), "area", "cascade"),
                Reference(("label",), "label", "set null"),
            ),
        ),
        Table("seat", ("id",), ("v", "place"), local=True, unique="place"),
        Table("card", ("seat_id",), ("v",), (Reference(("seat_id",), "seat", "cascade"),)),
        Table("badge", ("id",), ("v", "code"), unique="code"),
        Table("kind", ("name",), ("v", "code"), unique="code"),
        Table(
            "ticket",
            ("id",),
            ("v", "seat_id", "badge_id", "kind"),
            (
                Reference(("seat_id",), "seat", "cascade"),
                Reference(("badge_id",), "badge", "set null"),
                Reference(("kind",), "kind"),
            ),
        ),
        Table(
            "tool",
            ("id",),
            ("v", "owner_id", "label", "scope", "name"),
            (
                Reference(("owner_id",), "member", "restrict"),
                Reference(("label",), "label", "set default"),
                Reference(("scope", "name"), "setting", "cascade"),
            ),
        ),
    )
}
DEFAULTS = {("tool", "label"): "a"}
LOCAL = tuple(t.name for t in TABLES.values() if t.local)
UNIQUE = tuple(t.name for t in TABLES.values() if t.unique)


@dataclass(frozen=True)
class Held:
    """What a device holds at a moment. `dirty` names rows that are gone too; `held_back` are those
    of them that the server does not take as they are, each with the code that says why.
    """

    rows: dict[Row, Values]
    dirty: frozenset[Row]
    held_back: dict[Row, str]

    def dangling(self) -> list[tuple[Row, Values, Row]]:
        """(row, its values, what it refers to) of each reference that leads to no row."""
        return [
            (row, values, parent)
            for row, values in self.rows.items()
            for _, parent in TABLES[row[0]].parents(row, values)
            if parent not in self.rows
        ]


@dataclass(frozen=True)
class Kept:
    """What the server keeps of a tenant: live rows, the session that last wrote each row, gone ones
    too, the tag of every row_id, (device, status) of each session by number, and the rows that
    became others: (row, number of the session, which row).
    """

    rows: dict[Row, Values]
    by: dict[Row, int]
    tags: dict[tuple[str, bytes], str]
    sessions: dict[int, tuple[str, str]]
    merged: tuple[tuple[Row, int, Row], ...]


def read_server(query: Query, tenant: str, *, key: str) -> Kept:
    """What the server's database keeps; `key` is the column that has the row_id of a local row."""
    tags: dict[tuple[str, bytes], str] = {}
    for name in LOCAL:
        found = query(f"SELECT {key}, tag FROM {name} WHERE tenant_id = :tenant", tenant=tenant)
        tags |= {(name, bytes(row_id)): tag for row_id, tag in found if tag is not None}
    assert len(set(tags.values())) == len(tags), "the server has a row twice, under two row_ids"
    rows: dict[Row, Values] = {}
    by: dict[Row, int] = {}
    for table in TABLES.values():
        for session, is_deleted, *read in query(
            f"SELECT sync_session, is_deleted, {', '.join(table.columns)} FROM {table.name}"
            " WHERE tenant_id = :tenant",
            tenant=tenant,
        ):
            if table.local and read[0] is None:
                continue  # it came and went: nobody else has heard of it
            texts = zip(table.columns, read, strict=True)
            row, values = table.known_as(tuple(known(table, c, v, tags) for c, v in texts))
            by[row] = session
            if not is_deleted:
                rows[row] = values
    found = query(
        "SELECT number, device_id, status FROM sync_session WHERE tenant_id = :tenant",
        tenant=tenant,
    )
    sessions = {number: (device, status) for number, device, status in found}
    return Kept(rows, by, tags, sessions, tuple(_merged(query, tenant, tags)))


def _merged(query: Query, tenant: str, tags: Tags) -> Iterator[tuple[Row, int, Row]]:
    for name, number, gone, stays in query(
        "SELECT table_name, number, from_key, to_key FROM sync_merged WHERE tenant_id = :tenant",
        tenant=tenant,
    ):
        table = table_of(name)
        yield (
            row_of(table, images.decode(gone), tags),
            number,
            row_of(table, images.decode(stays), tags),
        )


def table_of(name: str | bytes) -> Table:
    """Names are binary in MariaDB."""
    return TABLES[name if isinstance(name, str) else name.decode()]


def row_of(table: Table, key: Mapping[str, Any], tags: Tags) -> Row:
    """The row of a key as it travels."""
    parts = zip(table.known_by, key.values(), strict=True)
    return (table.name, *(str(known(table, column, value, tags)) for column, value in parts))


def known(table: Table, column: str, value: Any, tags: Tags) -> Any:
    """A value that the server has, as everyone knows it: of a row_id, the row's tag."""
    if not isinstance(value, bytes):
        return value
    return tags.get((table.parent_of.get(column, table.name), value), repr(value))


def read_device(query: Query, tags: Tags, others: dict[str, str]) -> Held:
    """What a device holds; `tags` are those of the rows that the server knows. Where a row that has
    become another was edited, it has its own tag still: `others` are such tags, and those of the
    rows that they stand for.

    The caller holds a transaction. What is dirty is told by the shadow rows and the logs: what
    refers to an integer that stands for another row now is found when the log is folded.
    """
    here = {name: _tags_here(query, name, tags, others) for name in LOCAL}
    moved = {name: {k for (k,) in query(f"SELECT key_1 FROM _sync_{name}_log")} for name in LOCAL}
    rows: dict[Row, Values] = {}
    dirty: set[Row] = set()
    held_back: dict[Row, str] = {}
    for table in TABLES.values():
        local_keys = {}
        for found in query(f"SELECT {', '.join((*table.key, *table.columns))} FROM {table.name}"):
            key, read = found[: len(table.key)], found[len(table.key) :]
            shown = [
                _known(query, table.parent_of.get(column), value, here, tags)
                for column, value in zip(table.columns, read, strict=True)
            ]
            if table.local:
                shown[0] = here[table.name][key[0]]
            row, values = table.known_as(tuple(shown))
            assert row not in rows, f"{row} is there twice"
            rows[row] = values
            local_keys[key] = row
            for column, value in zip(table.columns, read, strict=True):
                if value in moved.get(table.parent_of.get(column, ""), ()):
                    dirty.add(row)
        dirty.update(_dirty(query, table, local_keys, moved, tags))
        held_back |= _held_back(query, table, local_keys)
    return Held(rows, frozenset(dirty), held_back)


def _tags_here(query: Query, name: str, tags: Tags, others: dict[str, str]) -> dict[int, str]:
    """The tag of each integer; while its row is in the log, the shadow row may be another's."""
    logged = {key for (key,) in query(f"SELECT key_1 FROM _sync_{name}_log")}
    row_ids = dict(query(f"SELECT key_1, row_id FROM _sync_{name}_rows WHERE is_deleted = 0"))
    found = dict(query(f"SELECT id, tag FROM {name}"))
    for key, tag in found.items():
        if key not in logged and (name, row_ids.get(key)) in tags:
            others[tag] = tags[name, row_ids[key]]
    return {key: others.get(tag, tag) for key, tag in found.items()}


def _held_back(
    query: Query, table: Table, local_keys: Mapping[tuple[Any, ...], Row]
) -> dict[Row, str]:
    """The rows of a table that no push takes along as they are, and why."""
    found = query("SELECT row_key, code FROM _syncsession_rejects WHERE table_name = ?", table.name)
    codes = {tuple(images.decode(key).values()): code for key, code in found}
    keys = ", ".join(f"key_{n}" for n in range(1, len(table.key) + 1))
    held = query(f"SELECT {keys} FROM _sync_{table.name} WHERE is_rejected AND NOT is_deleted")
    return {local_keys[key]: codes.get(key, "") for key in held}


def _known(
    query: Query,
    parent: str | None,
    value: Any,
    here: Mapping[str, Mapping[int, str]],
    tags: Tags,
) -> str | None:
    """A value as everyone knows it. An integer without a row means the row that last had it."""
    if value is None or parent not in here:
        return None if value is None else str(value)
    if value in here[parent]:
        return here[parent][value]
    gone = query(
        f"SELECT row_id FROM _sync_{parent}_rows WHERE key_1 = ? ORDER BY is_deleted, row_id DESC",
        value,
    )
    assert gone and (parent, gone[0][0]) in tags, f"{value} refers to no {parent} that ever was"
    return tags[parent, gone[0][0]]


def _dirty(
    query: Query,
    table: Table,
    local_keys: Mapping[tuple[Any, ...], Row],
    moved: Mapping[str, set[int]],
    tags: Tags,
) -> Iterator[Row]:
    """The rows of a table that a push would look at."""
    keys = ", ".join(f"key_{n}" for n in range(1, len(table.key) + 1))
    logged = set(query(f"SELECT {keys} FROM _sync_{table.name}_log"))
    identity = "row_id" if table.local else keys
    if not table.local and set(table.key) & table.parent_of.keys():
        identity = keys.replace("key_", "row_id_")
    for is_dirty, is_deleted, *both in query(
        f"SELECT is_dirty, is_deleted, {keys}, {identity} FROM _sync_{table.name}_rows"
        " WHERE generation > 0"
    ):
        key, known = tuple(both[: len(table.key)]), both[len(table.key) :]
        parents = (table.parent_of.get(column, "") for column in table.key)
        is_moved = any(k in moved.get(p, ()) for k, p in zip(key, parents, strict=True))
        if not is_dirty and key not in logged and not is_moved:
            continue
        if key in local_keys and not is_deleted:
            yield local_keys[key]
        parents = (table.parent_of.get(column, table.name) for column in table.key)
        parts = [
            tags.get((parent, part)) if isinstance(part, bytes) else part
            for parent, part in zip(parents, known, strict=True)
        ]
        if None not in parts:  # else nobody knows it but this device, and it is gone
            yield (table.name, *parts)
    yield from (local_keys[key] for key in logged if key in local_keys)
