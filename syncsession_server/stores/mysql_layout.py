"""How MySQL and MariaDB keep application tables, exactly. No I/O.

A column has the type of its affinity, and a value stands in it where it comes back as what it is;
what does not (text in an INTEGER column, an infinity) is kept in the row's `sync_overflow`, with
its storage class. The primary key is `sync_key`: the key as bytes, equal exactly where SQLite takes
two keys for equal, whatever the collations of the database.
"""

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.tables import Affinity, Column, Table, folded

from ..tables import column_name, table_name

_TYPES: Mapping[Affinity, str] = {
    "integer": "BIGINT",
    "real": "DOUBLE",
    "text": "LONGTEXT",
    "blob": "LONGBLOB",
    "numeric": "LONGTEXT",
}
_IN_ROW = {"BIGINT": 9, "DOUBLE": 9, "LONGTEXT": 42, "LONGBLOB": 42}
_MOST_IN_ROW = 7300
"""Bytes of a row that may have to stand in its page, which holds half of 16 KiB, ours not counted.

https://mariadb.com/kb/en/troubleshooting-row-size-too-large-errors-with-innodb/
"""

_PLAIN = re.compile(r"[ -~]{0,63}[!-~]")
_HASHED = re.compile(r".*_[0-9a-f]{12}", re.DOTALL)
_MOST_NAME = 64
_MOST_FILE_NAME = 200  # a table's file: five bytes for each character that is no letter or digit

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_REAL = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?")
_INT64 = range(-(2**63), 2**63)

_MOST_KEY = 255
_KEPT_KEY = 200
_END, _HASH, _TAG = b"\xfe", b"\xfd", b"\xff"  # no UTF-8 has these bytes


@dataclass(frozen=True)
class MysqlColumn:
    """A column as the SQL templates need it."""

    name: str
    type: str


class MysqlTable:
    """An application table on the server, as the SQL templates need it."""

    def __init__(self, table: Table) -> None:
        self.name = _table_name(table.name)
        self.staged_name = f"sync_staged_{_hash(self.name)}"
        self.native = tuple(_native(table))


class MysqlLayout:
    """A table and those of its columns that a batch carries.

    `whole` is the table as the database has it, with the columns of all tenants.
    """

    def __init__(self, table: Table, columns: Sequence[str], whole: Table) -> None:
        self._table = table
        self._by_name = {folded(c.name): c for c in table.columns}
        self._is_local = table.key_kind == "local"
        self._key = () if self._is_local else tuple(self._by_name[folded(n)] for n in table.key)
        self._columns = tuple(self._by_name[folded(n)] for n in columns)
        self.t = MysqlTable(whole)
        self._is_partial = {folded(n) for n in columns} < {folded(n) for n in table.wire_columns}

    @cached_property
    def names(self) -> Mapping[str, Any]:
        """What the templates of rows.sql.j2 are rendered with, but for `staged` and `is_shared`."""
        places = self._places
        key = tuple(column_here(c.name) for c in self._key)
        carried = [column_here(c.name) for c in (*self._key, *self._columns)]
        selected = [name if name in places else None for name in carried]
        return {
            "t": self.t,
            "key": tuple(name for name in key if name in places),
            "native": tuple(name for name in selected if name),
            "bytes": frozenset(name for name in selected if name and places[name] == "LONGBLOB"),
            "selected": (["sync_key"] if self._is_local else []) + selected,
            "is_partial": self._is_partial,
        }

    @cached_property
    def _places(self) -> dict[str, str]:
        return {c.name: c.type for c in self.t.native}

    def encode(self, rows: list[Row]) -> list[Row]:
        """`(sync_key, session, at, by, is_deleted, *native values, sync_overflow)` of each row."""
        if not rows:
            return []
        parts = list(zip(*rows, strict=True))
        keys = parts[META : META + (1 if self._is_local else len(self._key))]
        values = parts[META + 1 :] if self._is_local else parts[META:]
        overflow: list[dict[str, Any] | None] = [None] * len(rows)
        if self._is_partial:
            overflow = [{column_here(c.name): None for c in self._columns} for _ in rows]
        native = []
        for column, given in zip((*self._key, *self._columns), values, strict=True):
            kept = self._encode_column(column, given, overflow)
            if kept is not None:
                native.append(kept)
        texts = [None if o is None else json.dumps(o) for o in overflow]
        return list(zip(self._sync_keys(keys), *parts[:META], *native, texts, strict=True))

    def decode(self, rows: list[Row]) -> list[Row]:
        """The inverse, of rows as they were selected."""
        if not rows:
            return []
        skipped = META + (1 if self._is_local else 0)
        parts: list[Sequence[Any]] = list(zip(*rows, strict=True))
        overflow = parts.pop()
        for position, column in enumerate((*self._key, *self._columns), skipped):
            if column.affinity == "numeric":
                parts[position] = [None if v is None else _number(v) for v in parts[position]]
        if any(overflow):
            self._fill(parts, overflow, skipped)
        return list(zip(*parts, strict=True))

    def _encode_column(
        self, column: Column, values: Sequence[Any], overflow: list[dict[str, Any] | None]
    ) -> Sequence[Any] | None:
        """The values that the column takes, None for others, which go to `overflow`.

        None where the whole column has no place.
        """
        name = column_here(column.name)
        place = self._places.get(name)
        if place is not None and _all_fit(column.affinity, values):
            return values if column.affinity != "numeric" else _texts(values)
        kept = []
        for position, value in enumerate(values):
            fits = value is None or (place is not None and _fits(column.affinity, value))
            if not fits:
                overflow[position] = (overflow[position] or {}) | {name: _exact(value)}
            kept.append(value if fits else None)
        if place is None:
            return None
        return kept if column.affinity != "numeric" else _texts(kept)

    def _sync_keys(self, keys: Sequence[Sequence[Any]]) -> Iterable[bytes]:
        if self._is_local:
            return keys[0]
        collations = [c.collation for c in self._key]
        return [sync_key(values, collations) for values in zip(*keys, strict=True)]

    def _fill(self, parts: list[Sequence[Any]], overflow: Sequence[Any], skipped: int) -> None:
        """Put the values that did not fit where they belong."""
        columns = (*self._key, *self._columns)
        places = {column_here(c.name): n for n, c in enumerate(columns, skipped)}
        for position, text in enumerate(overflow):
            if text is None:
                continue
            for name, exact in json.loads(text).items():
                if name in places and exact is not None:
                    part = places[name]
                    parts[part] = list(parts[part])
                    parts[part][position] = _value(*exact)  # type: ignore[index]


def sync_key(values: Sequence[Any], collations: Sequence[str]) -> bytes:
    """The key as bytes: equal where SQLite calls the keys equal, at most 255 of them.

    The key that is one text is its UTF-8. Of a long key the end is a hash.
    """
    key = _END.join(map(_key_part, values, collations))
    if len(key) <= _MOST_KEY:
        return key
    return key[:_KEPT_KEY] + _HASH + hashlib.sha256(key).digest()


def _key_part(value: Any, collation: str) -> bytes:
    """Other than text is tagged, and of a fixed or told length, so that no two keys look alike."""
    if isinstance(value, str):
        if collation == "NOCASE":
            return folded(value).encode()
        return (value.rstrip(" ") if collation == "RTRIM" else value).encode()
    if isinstance(value, float) and value.is_integer() and int(value) in _INT64:
        value = int(value)
    if isinstance(value, int):
        return _TAG + b"i" + (value + 2**63).to_bytes(8, "big")
    if isinstance(value, float):
        return _TAG + b"r" + struct.pack(">d", value)
    return _TAG + b"b" + len(value).to_bytes(8, "big") + bytes(value)


def column_here(name: str) -> str:
    """The name of an application's column here."""
    return _identifier(column_name(name))


def _table_name(name: str) -> str:
    """In lower case: some servers tell `Track` from `track`, and some do not."""
    here = _identifier(folded(table_name(name)))
    if len(here) + 4 * len(re.sub(r"\w", "", here)) <= _MOST_FILE_NAME:
        return here
    return f"{re.sub(r'[^a-z0-9]', '_', here)[:50]}_{_hash(here)}"


def _identifier(name: str) -> str:
    """A name that the database can hold, and takes for no other: its own, or one with a hash.

    An identifier is at most 64 characters of the Basic Multilingual Plane that do not end in a
    space, and é is no other letter than e. https://dev.mysql.com/doc/refman/8.0/en/identifiers.html
    """
    if _PLAIN.fullmatch(name) and not _HASHED.fullmatch(name):
        return name
    kept = "".join(c if " " < c <= "\ud7ff" else "_" for c in name)
    return f"{kept[: _MOST_NAME - 13]}_{_hash(name)}"


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def _native(table: Table) -> Iterable[MysqlColumn]:
    """The columns that have a place of their own: as many as a row is sure to hold."""
    left = _MOST_IN_ROW
    is_key = {folded(n) for n in table.key} if table.key_kind == "global" else set()
    wanted = is_key | {folded(n) for n in table.wire_columns}
    for column in table.columns:
        if folded(column.name) not in wanted:
            continue
        kind = _TYPES[column.affinity]
        left -= _IN_ROW[kind]
        if left < 0:
            return
        yield MysqlColumn(column_here(column.name), kind)


_CLASSES: Mapping[Affinity, type] = {"integer": int, "real": float, "text": str, "blob": bytes}


def _all_fit(affinity: Affinity, values: Sequence[Any]) -> bool:
    """Whether `_fits` is true of every value but NULL; looking at whole columns, which is fast."""
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return True
    if kinds != {_CLASSES.get(affinity, int)}:
        return False
    return affinity != "real" or all(v is None or math.isfinite(v) for v in values)


def _fits(affinity: Affinity, value: Any) -> bool:
    """Whether the column gives the value back as it is."""
    if affinity == "numeric":
        if isinstance(value, bytes):
            return False
        text = _text(value)
        back = _number(text)
        return type(back) is type(value) and _text(back) == text
    if type(value) is not _CLASSES[affinity]:
        return False
    return not isinstance(value, float) or math.isfinite(value)


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [None if v is None else _text(v) for v in values]


def _text(value: Any) -> str:
    """A value of a NUMERIC column as text: of a number, the one that is its own."""
    return value if isinstance(value, str) else repr(value)


def _number(text: str) -> int | float | str:
    """The inverse of `_text`, where there is one."""
    if _INTEGER.fullmatch(text) and (number := int(text)) in _INT64:
        return number
    if _REAL.fullmatch(text) and repr(real := float(text)) == text:
        return real
    return text


_READERS: Mapping[str, Callable[[str], Any]] = {
    "blob": bytes.fromhex,
    "real": float,
    "integer": int,
    "text": str,
}


def _exact(value: Any) -> tuple[str, str]:
    """(storage class, text) of a value that does not fit its column."""
    if isinstance(value, bytes):
        return "blob", value.hex()
    if isinstance(value, float):
        return "real", repr(value)
    return ("integer", str(value)) if isinstance(value, int) else ("text", value)


def _value(kind: str, text: str) -> Any:
    """The inverse of `_exact`."""
    convert: Callable[[str], Any] = _READERS[kind]
    return convert(text)


_SPECIAL = re.compile(r"[\\\t\n\0]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\0": "\\0"})


def as_lines(rows: list[Row]) -> bytes:
    """Rows as LOAD DATA reads them: tabs between, backslashes before, bytes in hexadecimal.

    The values of one column are of one class, or None.
    """
    texts = [_as_texts(values) for values in zip(*rows, strict=True)]
    return ("\n".join(map("\t".join, zip(*texts, strict=True))) + "\n").encode()


def _as_texts(values: Sequence[Any]) -> Sequence[str]:
    kinds = set(map(type, values))
    convert: Callable[[Any], str] = str
    if bytes in kinds:
        convert = bytes.hex
    elif float in kinds:
        convert = repr
    elif str in kinds:
        present = values if type(None) not in kinds else [v for v in values if v is not None]
        if _SPECIAL.search("\x1f".join(present)):
            convert = _escaped
        elif type(None) not in kinds:
            return values
    if type(None) in kinds:
        return ["\\N" if v is None else convert(v) for v in values]
    return [convert(v) for v in values]


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
