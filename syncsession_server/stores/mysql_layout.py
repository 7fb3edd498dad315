"""How MySQL and MariaDB keep application tables, exactly. No I/O.

A column has the type of its affinity, and a value stands in it where it comes back as what it is;
what does not (text in an INTEGER column, an infinity) is kept in the row's `sync_overflow`, with
its storage class. The primary key is `sync_key`: the key as bytes, equal exactly where SQLite takes
two keys for equal, whatever the collations of the database.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.tables import Affinity, Column, Table, folded

from ..row_keys import sync_keys
from ..tables import column_name, hashed, indexed_columns, table_name
from . import Layout

_Kind = Affinity | Literal["row_id"]

_ROW_ID_BYTES = 16
_TYPES: Mapping[_Kind, str] = {
    "row_id": f"VARBINARY({_ROW_ID_BYTES})",
    "integer": "BIGINT",
    "real": "DOUBLE",
    "text": "LONGTEXT",
    "blob": "LONGBLOB",
    "numeric": "LONGTEXT",
}
_INDEXED = {"LONGTEXT": 64, "LONGBLOB": 255}
_BYTES = frozenset({_TYPES["row_id"], _TYPES["blob"]})
_IN_ROW = {"VARBINARY(16)": 18, "BIGINT": 9, "DOUBLE": 9, "LONGTEXT": 42, "LONGBLOB": 42}
_MOST_IN_ROW = 7300
"""Bytes of a row that may have to stand in its page, which holds half of 16 KiB, ours not counted.

https://mariadb.com/kb/en/troubleshooting-row-size-too-large-errors-with-innodb/
"""

_PLAIN = re.compile(r"[ -~]{0,63}[!-~]")
_HASHED = re.compile(r".*_[0-9a-f]{12}", re.DOTALL | re.IGNORECASE)
_TAKEN = re.compile(r"DB_ROW_ID|DB_TRX_ID|DB_ROLL_PTR|FTS_DOC_ID", re.IGNORECASE)
_MOST_NAME = 64
_MOST_FILE_NAME = 200  # a table's file has five bytes for what is no ASCII letter or digit

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?")
_PIECE_ROWS = 1000


@dataclass(frozen=True)
class MysqlColumn:
    """A column as the SQL templates need it."""

    name: str
    type: str


@dataclass(frozen=True)
class MysqlIndex:
    """An index; (column, how many characters of it) of each, None where it is all."""

    name: str
    columns: list[tuple[str, int | None]]


class MysqlTable:
    """An application table on the server, as the SQL templates need it."""

    def __init__(self, table: Table) -> None:
        self.name = _table_name(table.name)
        self.staged_name = f"sync_staged_{hashed(self.name)}"
        self.native = tuple(_native(table))
        self._table = table
        self._names = {folded(c.name): column_here(c.name) for c in table.columns}

    @property
    def indexes(self) -> list["MysqlIndex"]:
        """One for each reference, by which a parent's children are found."""
        places = {c.name: c.type for c in self.native}
        found = []
        for columns in indexed_columns(self._table):
            here = [self._names[folded(name)] for name in columns]
            if all(name in places for name in here):
                lengths = [(name, _INDEXED.get(places[name])) for name in here]
                found.append(MysqlIndex(f"ix_sync_{hashed(*here)}", lengths))
        return found

    @property
    def is_local(self) -> bool:
        """Whether its rows are known by a row_id."""
        return self._table.key_kind == "local"

    def columns_of(self, names: Sequence[str]) -> list[Column]:
        """The columns of these names."""
        by_name = {folded(c.name): c for c in self._table.columns}
        return [by_name[folded(name)] for name in names]

    def name_of(self, column: Column) -> str:
        """The name of a column here, whichever letters of it a tenant writes in upper case."""
        return self._names[folded(column.name)]


class MysqlLayout:
    """A table and those of its columns that a batch carries.

    `whole` is the table as the database has it, with the columns of all tenants.
    """

    def __init__(self, table: Table, columns: Sequence[str], whole: Table) -> None:
        by_name = {folded(c.name): c for c in table.columns}
        self._is_local = table.key_kind == "local"
        self._key = () if self._is_local else tuple(by_name[folded(n)] for n in table.key)
        self._carried = (*self._key, *(by_name[folded(n)] for n in columns))
        self._is_partial = {folded(n) for n in columns} < {folded(n) for n in table.wire_columns}
        self.t = MysqlTable(whole)
        self._names_here = tuple(map(self.t.name_of, self._carried))

    @cached_property
    def names(self) -> Mapping[str, Any]:
        """What the templates of rows.sql.j2 are rendered with, but for `staged` and `is_shared`."""
        places, kinds = self._places, [_kind(column) for column in self._carried]
        selected = [name if name in places else None for name in self._names_here]
        return {
            "t": self.t,
            "key": tuple(name for name in selected[: len(self._key)] if name),
            "native": tuple(name for name in selected if name),
            "bytes": frozenset(name for name in selected if name and places[name] in _BYTES),
            "selected": (["sync_key"] if self._is_local else []) + selected,
            "is_partial": self._is_partial,
            "imaged": list(zip(selected, kinds, strict=True)),
            "sized": [
                name
                for name, kind in zip(selected, kinds, strict=True)
                if name and kind in ("text", "blob", "numeric")
            ],
        }

    @cached_property
    def _places(self) -> dict[str, str]:
        return {c.name: c.type for c in self.t.native}

    @property
    def _skipped(self) -> int:
        """How many values of a row come before those of `_carried`."""
        return META + (1 if self._is_local else 0)

    def encode(self, rows: list[Row]) -> list[Row]:
        """`(sync_key, session, at, by, is_deleted, *native values, sync_overflow)` of each row."""
        return [row for some in _pieces(rows) for row in self._encode(some)]

    def decode(self, rows: list[Row]) -> list[Row]:
        """The inverse, of rows as they were selected."""
        return [row for some in _pieces(rows) for row in self._decode(some)]

    def key_params(self, key: Row) -> dict[str, Any]:
        """The parameters of `references.row`."""
        row = (*(None,) * META, *key)
        return {"key": self._sync_keys([(value,) for value in row])[0]}

    def columns_here(self, columns: Sequence[str]) -> list[str] | None:
        """The names of columns here; None where one has no place of its own."""
        carried = {folded(c.name): c for c in self._carried}
        here = [self.t.name_of(carried[folded(name)]) for name in columns]
        return here if all(name in self._places for name in here) else None

    def link(
        self, columns: Sequence[str], parent: Layout, parent_columns: Sequence[str]
    ) -> dict[str, Any] | None:
        """What the templates of references.sql.j2 are rendered with."""
        here = self.columns_here(columns)
        if here is None:
            return None
        carried = {folded(c.name): c for c in self._carried}
        children = [carried[folded(name)] for name in columns]
        p: MysqlTable = parent.names["t"]
        parents = p.columns_of(parent_columns)
        return {
            **self.names,
            "p": p,
            "is_local": p.is_local,
            "native_parent": [p.name_of(column) for column in parents],
            "parts": [
                (name, _kind(child), column.collation)
                for name, child, column in zip(here, children, parents, strict=True)
            ],
        }

    def keys(self, rows: list[Row]) -> Sequence[bytes]:
        """What is the `sync_key` of each."""
        return self._sync_keys(list(zip(*rows, strict=True))) if rows else []

    def _encode(self, rows: list[Row]) -> Iterable[Row]:
        parts = list(zip(*rows, strict=True))
        overflow: dict[int, dict[str, Any]] = {}
        native = []
        for column, name, values in zip(
            self._carried, self._names_here, parts[self._skipped :], strict=True
        ):
            if name in self._places:
                native.append(_kept(_kind(column), name, values, overflow))
            else:
                _overflow(name, enumerate(values), overflow)
        texts = self._overflow_texts(len(rows), overflow)
        return zip(self._sync_keys(parts), *parts[:META], *native, texts, strict=True)

    def _decode(self, rows: list[Row]) -> Iterable[Row]:
        numeric = [n for n, c in enumerate(self._carried, self._skipped) if _kind(c) == "numeric"]
        overflow = {n: row[-1] for n, row in enumerate(rows) if row[-1] not in (None, "{}")}
        if not (numeric or overflow):
            return [row[:-1] for row in rows]
        parts: list[Sequence[Any]] = list(zip(*rows, strict=True))
        parts.pop()
        for position in numeric:
            parts[position] = _numbers(parts[position])
        self._fill(parts, overflow)
        return zip(*parts, strict=True)

    def _sync_keys(self, parts: Sequence[Sequence[Any]]) -> Sequence[bytes]:
        if self._is_local:
            return parts[META]
        keys = parts[META : META + len(self._key)]
        return sync_keys(keys, [c.collation for c in self._key])

    def _overflow_texts(
        self, count: int, overflow: Mapping[int, Mapping[str, Any]]
    ) -> list[str | None]:
        """The JSON of each row. Where others' columns are to stay, it names every column that is
        sent, with null where the value fits: a key that is equal can be of another class here.
        """
        usual: dict[str, Any] = dict.fromkeys(self._names_here) if self._is_partial else {}
        texts = [json.dumps(usual) if self._is_partial else None] * count
        for position, kept in overflow.items():
            texts[position] = json.dumps(usual | dict(kept))
        return texts

    def _fill(self, parts: list[Sequence[Any]], overflow: Mapping[int, str]) -> None:
        """Put the values that did not fit where they belong."""
        places = {name: n for n, name in enumerate(self._names_here, self._skipped)}
        filled: dict[int, list[Any]] = {}
        for position, text in overflow.items():
            for name, exact in json.loads(text).items():
                if name in places:
                    part = places[name]
                    if part not in filled:
                        filled[part] = list(parts[part])
                    filled[part][position] = _value(*exact)
        for part, values in filled.items():
            parts[part] = values


def _pieces(rows: list[Row]) -> Iterator[list[Row]]:
    """The rows, few at a time: their columns are looked at one by one, and fit the cache so."""
    for start in range(0, len(rows), _PIECE_ROWS):
        yield rows[start : start + _PIECE_ROWS]


def column_here(name: str) -> str:
    """The name of an application's column here."""
    return _identifier(column_name(name))


def _table_name(name: str) -> str:
    """In lower case: some servers tell `Track` from `track`, and some do not.

    `#mysql50#name` means the file `name`, whosever it is.
    https://dev.mysql.com/doc/refman/8.0/en/identifier-mapping.html
    """
    here = _identifier(folded(table_name(name)))
    in_file_name = len(here) + 4 * len(re.sub(r"[a-z0-9_]", "", here))
    if in_file_name <= _MOST_FILE_NAME and not here.startswith("#"):
        return here
    return f"{re.sub(r'[^a-z0-9]', '_', here)[:50]}_{hashed(here)}"


def _identifier(name: str) -> str:
    """A name that the database can hold, and takes for no other: its own, or one with a hash.

    An identifier is at most 64 characters of the Basic Multilingual Plane that do not end in a
    space, and é is no other letter than e. https://dev.mysql.com/doc/refman/8.0/en/identifiers.html
    InnoDB has columns of its own in every table.
    """
    is_another = _HASHED.fullmatch(name) or _TAKEN.fullmatch(name)
    if _PLAIN.fullmatch(name) and not is_another:
        return name
    kept = "".join(c if " " < c <= "\ud7ff" else "_" for c in name)
    return f"{kept[: _MOST_NAME - 13]}_{hashed(name)}"


def _native(table: Table) -> Iterable[MysqlColumn]:
    """The columns that have a place of their own: as many as a row is sure to hold."""
    left = _MOST_IN_ROW
    for column in table.columns:
        place = _TYPES[_kind(column)]
        left -= _IN_ROW[place]
        if left < 0:
            return
        yield MysqlColumn(column_here(column.name), place)


def _kind(column: Column) -> _Kind:
    """What a column holds here: one that references a table with local keys, its `row_id`."""
    return "row_id" if column.row_id_of is not None else column.affinity


_CLASSES: Mapping[_Kind, set[type]] = {
    "row_id": {bytes},
    "integer": {int},
    "real": {float},
    "text": {str},
    "blob": {bytes},
    "numeric": {int, float},
}


def _kept(
    kind: _Kind, name: str, values: Sequence[Any], overflow: dict[int, dict[str, Any]]
) -> Sequence[Any]:
    """The values as the column takes them, NULL for others, which go to `overflow`."""
    if not _all_fit(kind, values):
        fitting = [value is None or _fits(kind, value) for value in values]
        others = ((n, values[n]) for n, fits in enumerate(fitting) if not fits)
        _overflow(name, others, overflow)
        values = [value if fits else None for value, fits in zip(values, fitting, strict=True)]
    return values if kind != "numeric" else _texts(values)


def _overflow(
    name: str, values: Iterable[tuple[int, Any]], overflow: dict[int, dict[str, Any]]
) -> None:
    """Note the values, each with its row."""
    for position, value in values:
        if value is not None:
            overflow.setdefault(position, {})[name] = _exact(value)


def _all_fit(kind: _Kind, values: Sequence[Any]) -> bool:
    """Whether `_fits` is true of every value but NULL; fast, by a look at the whole column."""
    classes = set(map(type, values)) - {type(None)}
    if not classes <= _CLASSES[kind]:
        return False
    if kind == "row_id" or (kind == "real" and 0.0 in values):
        return all(value is None or _fits(kind, value) for value in values)
    return float not in classes or all(v is None or math.isfinite(v) for v in values)


def _fits(kind: _Kind, value: Any) -> bool:
    """Whether the column gives the value back as it is. MariaDB makes 0.0 of -0.0."""
    if kind == "numeric" and isinstance(value, str):
        return not _NUMBER.fullmatch(value)
    if type(value) not in _CLASSES[kind]:
        return False
    if isinstance(value, bytes):
        return kind == "blob" or len(value) <= _ROW_ID_BYTES
    if not isinstance(value, float):
        return True
    return math.isfinite(value) and (kind == "numeric" or repr(value) != "-0.0")


def _texts(values: Sequence[Any]) -> list[str | None]:
    """The values of a NUMERIC column as text: of a number, the one that is its own."""
    return [value if value is None or type(value) is str else repr(value) for value in values]


def _numbers(texts: Sequence[str | None]) -> list[Any]:
    """The inverse of `_texts`, where every value fits."""
    numbers: dict[str | None, Any] = {
        text: _number(text) for text in set(texts) if text is not None
    }
    return list(map(numbers.get, texts))


def _number(text: str) -> int | float | str:
    found = _NUMBER.fullmatch(text)
    if not found:
        return text
    return float(text) if found.lastindex else int(text)


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
    return b"".join(map(_as_lines, _pieces(rows)))


def _as_lines(rows: list[Row]) -> bytes:
    texts = [_as_texts(values) for values in zip(*rows, strict=True)]
    return ("\n".join(map("\t".join, zip(*texts, strict=True))) + "\n").encode()


def _as_texts(values: Sequence[Any]) -> Sequence[str]:
    present = [v for v in values if v is not None] if None in values else values
    texts = _present_as_texts(present)
    if present is values:
        return texts
    left = iter(texts)
    return ["\\N" if v is None else next(left) for v in values]


def _present_as_texts(values: Sequence[Any]) -> Sequence[str]:
    kind = type(values[0]) if values else str
    if kind is not str:
        return list(map(bytes.hex if kind is bytes else repr, values))
    if not _SPECIAL.search("\x1f".join(values)):
        return values
    return [text.translate(_ESCAPES) if _SPECIAL.search(text) else text for text in values]
