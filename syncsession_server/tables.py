"""Application tables on the server: their names here, what may be added to them, what a batch may
hold. No I/O.
"""

import hashlib
import re
from typing import Any, TypeVar

import msgspec

from syncsession_client.protocol.batches import META, Batch
from syncsession_client.protocol.errors import BadRequest, SchemaContradiction
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
        BadRequest: a column that is not there, or a row of another shape or with other values.
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
        faults = ((n, _fault(row, width, key_end, is_local)) for n, row in enumerate(batch.rows))
        position, fault = next((n, fault) for n, fault in faults if fault)
        raise BadRequest(f"{table.name}, row {position} of the batch: {fault}")
    return set() if acts_for_others else {row[2] for row in batch.rows} - {user, None}


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
        and all(map(_are_numbers, types, columns))
    )


def _are_numbers(kinds: set[type], column: tuple[Any, ...]) -> bool:
    """Whether every integer of a column has 64 bits and every real is a number."""
    if int in kinds:
        integers = column if kinds == {int} else [v for v in column if type(v) is int]
        if min(integers) not in _INT64 or max(integers) not in _INT64:
            return False
    return float not in kinds or all(v == v for v in column)


def _fault(row: Any, width: int, key_end: int, is_local: bool) -> str:
    """What is wrong with a row, or nothing."""
    if type(row) is not tuple or len(row) != width:
        return f"it is not an array of {width} values"
    session, at, by, is_deleted = row[:META]
    if not _STORABLE.issuperset(map(type, row)):
        return "a value is none of NULL, integer, real, text and blob"
    for value in row:
        if type(value) is int and value not in _INT64:
            return f"the integer {value} has more than 64 bits"
        if value != value:
            return "a real is not a number"
    if is_deleted not in (0, 1) or type(is_deleted) is not int:
        return "is_deleted is neither 0 nor 1"
    if not isinstance(session, int | None) or not isinstance(at, str | None):
        return "its session or time has another type"
    if not isinstance(by, str | None):
        return "its user has another type"
    if len(at or "") > _MOST_META or len(by or "") > _MOST_META:
        return f"its time or user is longer than {_MOST_META} characters"
    if None in row[META:key_end]:
        return "its key holds NULL"
    if is_local and not (isinstance(row[META], bytes) and len(row[META]) == 16):
        return "its row_id is not 16 bytes"
    return ""
