"""Application tables on the server: their names here, what may be added to them, what a batch may
hold. No I/O.
"""

import hashlib
import re
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import msgspec

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import META, Batch, Row
from syncsession_client.protocol.errors import BadRequest, SchemaContradiction
from syncsession_client.protocol.rejects import MOST_REJECTS, Code, Reject
from syncsession_client.protocol.tables import MOST_COLUMNS, Column, Table, folded

_OUR_COLUMNS = re.compile(
    r"(app_)*(tenant_id|modified_at_utc|modified_by_user_id|is_deleted|row_id|sync_\w+)",
    re.IGNORECASE,
)
_OUR_TABLES = re.compile(r"(app_)*(sync_|_sync_|sqlite_|ix_).*", re.IGNORECASE | re.DOTALL)
_INT64 = range(-(2**63), 2**63)
_META_TYPES: tuple[set[type], ...] = (
    {int, type(None)},
    {str, type(None)},
    {str, type(None)},
    {int},
)
_MOST_META = 255
_MOST_INDEXED = 8  # columns, so that an index of all is as long as MySQL allows
_T = TypeVar("_T")
_MOST_KEY = 1 << 20
"""Bytes of the texts and BLOBs of a key together."""
_UTF8 = 4  # bytes of a character, at most
_STORABLE = frozenset({type(None), int, float, str, bytes})


def indexed_columns(table: Table) -> list[tuple[str, ...]]:
    """The columns of each reference that an index is of use for: not those that begin the key."""
    known = {folded(c.name): c.name for c in table.columns}
    key = tuple(map(folded, table.key)) if table.key_kind == "global" else ()
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for reference in table.references:
        columns = tuple(map(folded, reference.columns))
        is_known = bool(columns) and known.keys() >= set(columns)
        if reference.declared and is_known and key[: len(columns)] != columns:
            found[columns] = tuple(known[name] for name in columns)
    return [columns for columns in found.values() if len(columns) <= _MOST_INDEXED]


def hashed(*names: str) -> str:
    """12 characters that stand for names."""
    return hashlib.sha256("\0".join(names).encode()).hexdigest()[:12]


def column_name(name: str) -> str:
    """The name of an application's column here: its own, unless it is one of ours."""
    return f"app_{name}" if _OUR_COLUMNS.fullmatch(name) else name


def table_name(name: str) -> str:
    """The name of an application's table here: its own, unless it could be one of ours."""
    return f"app_{name}" if _OUR_TABLES.fullmatch(name) else name


def merged(here: Table | None, described: Table) -> Table:
    """What the server has, with the columns that `described` adds.

    Raises:
        SchemaContradiction: the key, or the affinity of a column, is another one here.
    """
    if here is None:
        return msgspec.structs.replace(described, sql="", indexes=(), here=None)
    _check_key(here, described)
    columns = {folded(c.name): c for c in here.columns}
    for column in described.columns:
        known = columns.setdefault(folded(column.name), column)
        if (known.affinity, _target(known)) != (column.affinity, _target(column)):
            raise SchemaContradiction(
                f"{described.name}.{column.name} is {_kind(column)} on this device and "
                f"{_kind(known)} on the server: give the column another name, or the same type"
            )
    if len(columns) > MOST_COLUMNS:
        raise SchemaContradiction(
            f"{described.name} would have {len(columns)} columns on the server; the most is "
            f"{MOST_COLUMNS}: sync fewer of them"
        )
    return msgspec.structs.replace(
        here,
        columns=tuple(columns.values()),
        references=_united(here.references, described.references),
        unique_keys=_united(here.unique_keys, described.unique_keys),
    )


def _united(here: tuple[_T, ...], described: tuple[_T, ...]) -> tuple[_T, ...]:
    return (*here, *(each for each in described if each not in here))


def _check_key(here: Table, described: Table) -> None:
    if here.key_kind != described.key_kind:
        raise SchemaContradiction(
            f"{described.name} has {described.key_kind} keys on this device and {here.key_kind} "
            f"ones on the server: use --key {described.name}={here.key_kind}"
        )
    if [folded(name) for name in here.key] != [folded(name) for name in described.key]:
        raise SchemaContradiction(
            f"the key of {described.name} is ({', '.join(described.key)}) on this device and "
            f"({', '.join(here.key)}) on the server: rename the table, or give it the same key"
        )


def _target(column: Column) -> str | None:
    return folded(column.row_id_of) if column.row_id_of else None


def _kind(column: Column) -> str:
    if column.row_id_of:
        return f"a reference to {column.row_id_of}"
    return f"of type {column.affinity}"


def new_columns(here: Table | None, union: Table) -> list[Column]:
    """The columns that a table which is here already has to be given."""
    if here is None:
        return []
    known = {c.name for c in here.columns}
    return [c for c in union.columns if c.name not in known]


def check_description(table: Table) -> None:
    """Refuse a description that contradicts itself.

    Raises:
        BadRequest: names that repeat, or a key that is not among the columns.
    """
    if table.here is not None:
        check_description(table.here)
        if len(table.here.columns) != len(table.columns) or len(table.here.key) != len(table.key):
            raise BadRequest(
                f"{table.name}: it has other columns than {table.here.name} on the device"
            )
    names = [c.name for c in table.columns]
    if len({folded(name) for name in names}) != len(names):
        raise BadRequest(f"{table.name}: two columns have the same name")
    if not set(table.key) <= set(names) or len(set(table.key)) != len(table.key):
        raise BadRequest(f"{table.name}: the key is not made of its columns")
    if table.key_kind == "local" and len(table.key) != 1:
        raise BadRequest(f"{table.name}: a local key is one column")


def check_targets(tables: list[Table]) -> None:
    """Refuse integers that stand for rows of a table which is not described with the others.

    Raises:
        BadRequest: such a column, by name.
    """
    local = {folded(t.name) for t in tables if t.key_kind == "local"}
    for table in tables:
        for column in table.columns:
            if column.row_id_of is not None and folded(column.row_id_of) not in local:
                raise BadRequest(
                    f"{table.name}.{column.name} references {column.row_id_of}, which is not among "
                    "the described tables with local keys"
                )


def check_batch(table: Table, batch: Batch, *, user: str, acts_for_others: bool) -> set[str]:
    """Refuse a batch that does not fit the table; the users, other than `user`, that it names.

    Raises:
        BadRequest: a column that is not there, or rows of another shape or with other values. Where
            all of these can be told by their keys, they are its `rejects`.
    """
    known = {folded(name) for name in table.wire_columns}
    columns = [folded(name) for name in batch.columns]
    if not known.issuperset(columns) or len(set(columns)) != len(columns):
        unknown = ", ".join(repr(n) for n in batch.columns if folded(n) not in known)
        raise BadRequest(f"{table.name} has no column {unknown or 'twice'}: describe it first")
    if [folded(n) for n in batch.key] != [folded(n) for n in table.wire_key]:
        raise BadRequest(f"the key of {table.name} is ({', '.join(table.wire_key)})")
    width = META + len(batch.key) + len(batch.columns)
    key_end = META + len(batch.key)
    is_local = table.key_kind == "local"
    if not _is_sound(batch.rows, width, key_end, is_local):
        raise _faulty(table.name, batch, width, is_local)
    return set() if acts_for_others else {row[2] for row in batch.rows} - {user, None}


def modified_by(batch: Batch, users: set[str], pusher: str) -> list[Reject]:
    """The rows of a sound batch that one of `users` is said to have modified, as rejects."""
    reasons = {
        by: f"it was modified by {by}, and the token is {pusher}'s, which may not act for others"
        for by in users
    }
    listed = ((row, reasons[row[2]]) for row in batch.rows if row[2] in reasons)
    return [
        _reject(batch, row, "forbidden_modifier", reason)
        for row, reason in islice(listed, MOST_REJECTS)
    ]


def _faulty(name: str, batch: Batch, width: int, is_local: bool) -> BadRequest:
    """What is wrong with the first faulty row; where each has a key, all of them as rejects."""
    key_end = META + len(batch.key)
    found = [
        (n, row, fault)
        for n, row in enumerate(batch.rows)
        if (fault := _fault(row, width, key_end, is_local)) is not None
    ]
    unknown = [(n, row, fault) for n, row, fault in found if fault.code is None]
    position, _, fault = (unknown or found)[0]
    error = BadRequest(f"{name}, row {position} of the batch: {fault.text}")
    if not unknown:
        error.rejects = [
            _reject(batch, row, fault.code, fault.text)
            for _, row, fault in found[:MOST_REJECTS]
            if fault.code is not None
        ]
    return error


def _reject(batch: Batch, row: Row, code: Code, message: str) -> Reject:
    key = images.shown(batch.key, row[META : META + len(batch.key)])
    return Reject(batch.table, key, code, message)


def _is_sound(rows: list[Any], width: int, key_end: int, is_local: bool) -> bool:
    """Whether `_fault` would find nothing in any row; column by column, which is far faster."""
    if not rows:
        return True
    if any(type(row) is not tuple or len(row) != width for row in rows):
        return False
    columns = list(zip(*rows, strict=True))
    types = [set(map(type, column)) for column in columns]
    return (
        all(map(_STORABLE.issuperset, types))
        and all(map(set.issuperset, _META_TYPES, types))
        and set(columns[3]) <= {0, 1}
        and all(value is None or len(value) <= _MOST_META for value in {*columns[1], *columns[2]})
        and not any(type(None) in kinds for kinds in types[META:key_end])
        and (not is_local or (types[META] == {bytes} and set(map(len, columns[META])) == {16}))
        and _are_short(types[META:key_end], columns[META:key_end])
        and all(map(_are_numbers, types, columns))
    )


def _are_short(kinds: list[set[type]], keys: list[tuple[Any, ...]]) -> bool:
    """Whether no key, of which `keys` are the columns, is too long; few have to be measured."""
    if sum(map(_most_bytes, kinds, keys)) <= _MOST_KEY:
        return True
    return all(sum(map(_bytes, key)) <= _MOST_KEY for key in zip(*keys, strict=True))


def _most_bytes(kinds: set[type], column: tuple[Any, ...]) -> int:
    """As many bytes as a text or BLOB of a column can have, by their lengths."""
    if kinds.isdisjoint({str, bytes}):
        return 0
    sized = column if kinds <= {str, bytes} else [v for v in column if type(v) in (str, bytes)]
    return max(map(len, sized)) * (_UTF8 if str in kinds else 1)


def _bytes(value: Any) -> int:
    """Bytes of a text or a BLOB; of a number, none that count."""
    if type(value) is str:
        return len(value.encode())
    return len(value) if type(value) is bytes else 0


def _are_numbers(kinds: set[type], column: tuple[Any, ...]) -> bool:
    """Whether every integer of a column has 64 bits and every real is a number."""
    if int in kinds:
        integers = column if kinds == {int} else [v for v in column if type(v) is int]
        if min(integers) not in _INT64 or max(integers) not in _INT64:
            return False
    return float not in kinds or all(v == v for v in column)


class _Fault(NamedTuple):
    """What is wrong with a row; no code where nothing names the row, since its key is of no use."""

    code: Code | None
    text: str


def _fault(row: Any, width: int, key_end: int, is_local: bool) -> _Fault | None:
    """What is wrong with a row, or None."""
    if type(row) is not tuple or len(row) != width:
        return _Fault(None, f"it is not an array of {width} values")
    key = row[META:key_end]
    if fault := _key_fault(key, is_local):
        return _Fault(None, fault)
    if fault := _values_fault(row) or _meta_fault(*row[:META]):
        return _Fault("type", fault)
    if any(len(value or "") > _MOST_META for value in row[1:3]):
        return _Fault("length", f"its time or user is longer than {_MOST_META} characters")
    if sum(map(_bytes, key)) > _MOST_KEY:
        return _Fault("key_too_long", f"its key is longer than {_MOST_KEY} bytes")
    return None


def _key_fault(key: Row, is_local: bool) -> str:
    if fault := _values_fault(key):
        return fault
    if None in key:
        return "its key holds NULL"
    if is_local and not (isinstance(key[0], bytes) and len(key[0]) == 16):
        return "its row_id is not 16 bytes"
    return ""


def _values_fault(values: Row) -> str:
    if not _STORABLE.issuperset(map(type, values)):
        return "a value is none of NULL, integer, real, text and blob"
    for value in values:
        if type(value) is int and value not in _INT64:
            return f"the integer {value} has more than 64 bits"
        if value != value:
            return "a real is not a number"
    return ""


def _meta_fault(session: Any, at: Any, by: Any, is_deleted: Any) -> str:
    if is_deleted not in (0, 1) or type(is_deleted) is not int:
        return "is_deleted is neither 0 nor 1"
    if not isinstance(session, int | None) or not isinstance(at, str | None):
        return "its session or time has another type"
    if not isinstance(by, str | None):
        return "its user has another type"
    return ""
