"""What a database holds, read from its CREATE statements with sqlite-utils.

The statements are replayed into a database in memory and read there. The file itself is never
opened by a second SQLite library in this process: closing that would drop the locks of the first
(https://sqlite.org/howtocorrupt.html, 2.2.1).
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .protocol.tables import Affinity, Reference, UniqueKey, folded

if TYPE_CHECKING:
    from sqlite_utils.db import Table as UtilsTable

OURS = ("_sync_", "_syncsession_")
"""How the names of everything begin that this project adds to a database."""

_COLLATIONS = frozenset({"BINARY", "NOCASE", "RTRIM"})


@dataclass(frozen=True)
class FoundColumn:
    """A column that is not generated."""

    name: str
    affinity: Affinity
    collation: str
    not_null: bool = False
    default: int | float | str | None = None


@dataclass(frozen=True)
class FoundTable:
    """A table of the application. `key` is empty where it has no primary key.

    One that only the application can use, for a collation or function of its own, has a `fault`.
    """

    name: str
    columns: tuple[FoundColumn, ...]
    key: tuple[str, ...]
    references: tuple[Reference, ...]
    unique: tuple[tuple[str, ...], ...]
    sql: str
    indexes: tuple[str, ...]
    fault: str = ""
    unique_keys: tuple[UniqueKey, ...] = ()

    def column(self, name: str) -> FoundColumn | None:
        """The column of that name, whatever its case."""
        return next((c for c in self.columns if folded(c.name) == folded(name)), None)


@dataclass(frozen=True)
class SchemaObject:
    """A row of sqlite_master; `type` tells virtual and shadow tables from ordinary ones."""

    type: str
    name: str
    table: str
    sql: str

    @property
    def is_ours(self) -> bool:
        """Whether sync put it there."""
        return folded(self.name).startswith(OURS)

    @property
    def is_table(self) -> bool:
        """Whether it is an ordinary table of the application."""
        return self.type == "table" and not self.is_ours


def read(objects: Iterable[SchemaObject]) -> dict[str, FoundTable]:
    """The ordinary tables among `objects`, by name, in order of creation.

    Views, virtual tables and their shadow tables, and what sync itself added are left out.
    """
    import sqlite_utils  # loaded where a schema is read: most syncs find theirs as it was

    objects = [o for o in objects if not o.is_ours]
    with closing(sqlite3.connect(":memory:")) as connection:
        database = sqlite_utils.Database(connection, recursive_triggers=False)
        tables = [o for o in objects if o.is_table]
        faults = {table.name: _create(connection, table.sql) for table in tables}
        for index in (o for o in objects if o.type == "index"):
            faults[index.table] = faults.get(index.table) or _create(connection, index.sql)
        return {
            table.name: FoundTable(table.name, (), (), (), (), table.sql, (), faults[table.name])
            if faults[table.name]
            else _found(
                database.table(table.name),
                table.sql,
                tuple(o.sql for o in objects if o.type == "index" and o.table == table.name),
            )
            for table in tables
        }


def affinity(declared: str, *, strict: bool) -> Affinity:
    """The affinity of a declared type: https://sqlite.org/datatype3.html, 3.1."""
    name = declared.upper()
    if "INT" in name:
        return "integer"
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return "text"
    if not name or "BLOB" in name or (strict and name == "ANY"):
        return "blob"
    if any(part in name for part in ("REAL", "FLOA", "DOUB")):
        return "real"
    return "numeric"


def _found(table: "UtilsTable", sql: str, indexes: tuple[str, ...]) -> FoundTable:
    collations = _collations(table)
    columns = tuple(
        FoundColumn(
            c.name,
            affinity(c.type, strict=table.strict),
            collations.get(c.name, "BINARY"),
            bool(c.notnull),
            _literal(c.default_value),
        )
        for c in table.columns
    )
    keyed = sorted((c for c in table.columns if c.is_pk), key=lambda c: c.is_pk)
    return FoundTable(
        name=table.name,
        columns=columns,
        key=tuple(c.name for c in keyed),
        references=tuple(
            Reference(
                tuple(fk.columns),
                fk.other_table,
                tuple(fk.other_columns),
                fk.on_delete,
                fk.on_update,
            )
            for fk in table.foreign_keys
        ),
        unique=tuple(
            tuple(name for name in i.columns if name)  # an expression has no name
            for i in table.indexes
            if i.unique and i.origin != "pk"
        ),
        sql=sql,
        indexes=indexes,
        unique_keys=tuple(_unique_keys(table)),
    )


def _unique_keys(table: "UtilsTable") -> Iterator[UniqueKey]:
    """The UNIQUE constraints that columns alone decide, by collations that every SQLite has."""
    whole = {i.name for i in table.indexes if i.unique and i.origin != "pk" and not i.partial}
    for index in table.xindexes:
        columns = [column for column in index.columns if column.key]
        collations = tuple(column.coll.upper() for column in columns)
        if (
            index.name in whole
            and all(column.name for column in columns)
            and _COLLATIONS.issuperset(collations)
        ):
            yield UniqueKey(tuple(column.name for column in columns), collations)


def _literal(default: str | None) -> int | float | str | None:
    """The value of a DEFAULT that is a number or a text; None of any other."""
    if default is None:
        return None
    if default[:1] == default[-1:] == "'":
        return default[1:-1].replace("''", "'")
    for kind in (int, float):
        with suppress(ValueError):
            return kind(default)
    return None


def _collations(table: "UtilsTable") -> dict[str, str]:
    """The collation of each column of the primary key; one without an index is the rowid."""
    primary = {i.name for i in table.indexes if i.origin == "pk"}
    return {
        column.name: column.coll
        for index in table.xindexes
        if index.name in primary
        for column in index.columns
        if column.key and column.name
    }


def _create(connection: sqlite3.Connection, sql: str) -> str:
    """Make a table or an index; what is wrong with it, or nothing."""
    try:
        connection.execute(sql)
    except sqlite3.OperationalError as error:
        return str(error)
    return ""
