"""How a device describes a table to the server, and the server to a device that clones it."""

import string
from typing import Literal

import msgspec

Affinity = Literal["integer", "real", "text", "blob", "numeric"]
KeyKind = Literal["global", "local"]

ROW_ID = "row_id"
"""The key of a table with local keys, on the wire and on the server: a UUIDv7 of 16 bytes."""

MOST_TABLES = 1000
MOST_COLUMNS = 1900  # SQLite takes 2,000 in a table, and some are the server's own
MOST_NAME = 64
"""What a server takes: tables of a device, columns of a table, characters of a name."""


_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """One column. `row_id_of` names the table whose rows its integers stand for on a device.

    `default` is the value of its DEFAULT, where that is a number or text of its own.
    """

    name: str
    affinity: Affinity
    collation: str = "BINARY"
    row_id_of: str | None = None
    not_null: bool = False
    default: int | float | str | None = None


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """`columns` of a table point to `parent_columns` of `parent`. Not declared: given by --ref."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"
    declared: bool = True


class UniqueKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """No two rows have the same values in these columns, by these collations; NULL is no value."""

    columns: tuple[str, ...]
    collations: tuple[str, ...]


class Table(msgspec.Struct, frozen=True, omit_defaults=True):
    """A synced table: `key` in key order, `columns` in table order, key columns included.

    `unique` are the columns of every UNIQUE index but the primary key's, `unique_keys` those which
    a server can look after: an index of some rows only, or of an expression, is none.
    `sql` and `indexes` are the statements that create it on a device, as the last one described it.
    Where its application has renamed the table or columns of its key, the names are those that the
    server knows, and `here` is the table as it stands on the device. On the server, `names` are the
    other names that the tenant's devices have for it.
    """

    name: str
    key_kind: KeyKind
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    references: tuple[Reference, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    sql: str = ""
    indexes: tuple[str, ...] = ()
    here: "Table | None" = None
    names: tuple[str, ...] = ()
    unique_keys: tuple[UniqueKey, ...] = ()

    @property
    def wire_key(self) -> tuple[str, ...]:
        """What identifies a row for everyone."""
        return (ROW_ID,) if self.key_kind == "local" else self.key

    @property
    def wire_columns(self) -> tuple[str, ...]:
        """What a row carries beside its wire key; a local key first, as the hint."""
        if self.key_kind == "local":
            return (*self.key, *self.value_columns)
        return self.value_columns

    @property
    def value_columns(self) -> tuple[str, ...]:
        """The columns that are not part of the key."""
        key = {folded(name) for name in self.key}
        return tuple(c.name for c in self.columns if folded(c.name) not in key)


def folded(name: str) -> str:
    """The name with ASCII letters in lower case: equal for names that SQLite takes for equal."""
    return name.translate(_LOWER)


def to_json(tables: list[Table]) -> bytes:
    """The tables as JSON; the same bytes for the same tables."""
    return msgspec.json.encode(tables, order="deterministic")


def from_json(text: bytes | str) -> list[Table]:
    """The inverse of `to_json`.

    Raises:
        msgspec.ValidationError: the text is not a list of tables.
    """
    return msgspec.json.decode(text, type=list[Table])
