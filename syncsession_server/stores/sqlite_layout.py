"""How the embedded store keeps application tables: as the devices do. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syncsession_client.protocol.batches import Row
from syncsession_client.protocol.tables import ROW_ID, Affinity, Column, Table

from ..row_keys import row_keys
from ..tables import column_name, hashed, indexed_columns, table_name
from . import Layout

_TYPES: Mapping[Affinity, str] = {
    "integer": "INTEGER",
    "real": "REAL",
    "text": "TEXT",
    "blob": "BLOB",
    "numeric": "NUMERIC",
}


@dataclass(frozen=True)
class SqliteColumn:
    """A column as the SQL templates need it."""

    name: str
    type: str
    collation: str = "BINARY"


@dataclass(frozen=True)
class SqliteTable:
    """An application table on the server, as the SQL templates need it."""

    table: Table

    @property
    def name(self) -> str:
        return table_name(self.table.name)

    @property
    def session_index(self) -> str:
        return f"ix_sync_{self.name}"

    @property
    def reference_indexes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """(name, columns) of an index for each reference: by it a parent's children are found."""
        return tuple(
            (f"ix_sync_{hashed(self.name, *columns)}", tuple(map(column_name, columns)))
            for columns in indexed_columns(self.table)
        )

    @property
    def is_local(self) -> bool:
        """Whether its rows are known by a row_id."""
        return self.table.key_kind == "local"

    @property
    def has_text_key(self) -> bool:
        """Whether the key as bytes is nearly always the text that it is."""
        return [(c.type, c.collation) for c in self.key] == [("TEXT", "BINARY")]

    @property
    def key(self) -> tuple[SqliteColumn, ...]:
        """What identifies a row for everyone."""
        if self.is_local:
            return (SqliteColumn(ROW_ID, "BLOB"),)
        by_name = {c.name: c for c in self.table.columns}
        return tuple(_column(by_name[name]) for name in self.table.key)

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.key)

    @property
    def collated_key(self) -> tuple[str, ...]:
        """Key columns where values that differ can be equal: 'a' and 'A', or 1 and 1.0."""
        if self.is_local:
            return ()
        return tuple(c.name for c in self.key if c.collation != "BINARY" or c.type == "BLOB")

    @property
    def columns(self) -> tuple[SqliteColumn, ...]:
        """The other columns; of a table with local keys the first is the hint."""
        by_name = {c.name: c for c in self.table.columns}
        return tuple(_column(by_name[name]) for name in self.table.wire_columns)


@dataclass(frozen=True)
class SqliteLayout:
    """A table and those of its columns that a batch carries: every value stays what it is."""

    table: Table
    columns: Sequence[str]

    @property
    def names(self) -> dict[str, Any]:
        t, columns = SqliteTable(self.table), tuple(map(column_name, self.columns))
        imaged = columns if t.is_local else (*t.key_names, *columns)
        return {"t": t, "key": t.key_names, "columns": columns, "imaged": imaged}

    def encode(self, rows: list[Row]) -> list[Row]:
        return rows

    def decode(self, rows: list[Row]) -> list[Row]:
        return rows

    def keys(self, rows: list[Row]) -> Sequence[bytes]:
        return row_keys(self.table, rows)

    def key_params(self, key: Row) -> dict[str, Any]:
        return {f"key_{n}": value for n, value in enumerate(key, 1)}

    def columns_here(self, columns: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(column_name, columns))

    def link(
        self, columns: Sequence[str], parent: Layout, parent_columns: Sequence[str]
    ) -> dict[str, Any]:
        p = parent.names["t"]
        key = p.key_names if p.is_local else map(column_name, parent_columns)
        pairs = tuple(zip(map(column_name, columns), key, strict=True))
        return {**self.names, "p": p, "pairs": pairs, "is_local": p.is_local}


def _column(column: Column) -> SqliteColumn:
    return SqliteColumn(column_name(column.name), _TYPES[column.affinity], column.collation)
