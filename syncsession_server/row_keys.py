"""The key of a row as bytes: equal exactly where SQLite takes two keys for equal. No I/O."""

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.tables import Table, folded

_INT64 = range(-(2**63), 2**63)
_MOST_KEY = 255
_END, _TAG = b"\xfe", b"\xff"  # no UTF-8 has these bytes


def row_keys(table: Table, rows: Sequence[Row]) -> Sequence[bytes]:
    """The keys of rows as they travel; in a table with local keys, their `row_id`s."""
    if table.key_kind == "local":
        return [row[META] for row in rows]
    by_name = {folded(c.name): c for c in table.columns}
    collations = [by_name[folded(name)].collation for name in table.key]
    columns = [[row[META + n] for row in rows] for n in range(len(table.key))]
    return sync_keys(columns, collations)


def row_key(table: Table, key: Sequence[Any]) -> bytes:
    """The key of one row, by its values."""
    return row_keys(table, [(*(None,) * META, *key)])[0]


def sync_keys(columns: Sequence[Sequence[Any]], collations: Sequence[str]) -> list[bytes]:
    """The keys of rows, of which `columns` are the values, as bytes: at most 255 each.

    They are equal where SQLite calls the keys equal. The key that is one text is its UTF-8. Of a
    long key the end is a hash; no other has 255 bytes, so none can be made to look like it.
    """
    pairs = zip(columns, collations, strict=True)
    parts = [_key_parts(values, collation) for values, collation in pairs]
    keys = parts[0] if len(parts) == 1 else map(_END.join, zip(*parts, strict=True))
    return [key if len(key) < _MOST_KEY else _hashed_key(key) for key in keys]


def _hashed_key(key: bytes) -> bytes:
    end = hashlib.sha256(key).digest()
    return key[: _MOST_KEY - len(end)] + end


def _key_parts(values: Sequence[Any], collation: str) -> list[bytes]:
    if collation == "BINARY" and set(map(type, values)) == {str}:
        return list(map(str.encode, values))
    return [_key_part(value, collation) for value in values]


def _key_part(value: Any, collation: str) -> bytes:
    """Other than text is tagged, and of a fixed or told length, so that no two keys look alike."""
    if isinstance(value, str):
        return _key_text(value, collation)
    if isinstance(value, float) and value.is_integer() and int(value) in _INT64:
        value = int(value)
    if isinstance(value, int):
        return _TAG + b"i" + (value + 2**63).to_bytes(8, "big")
    if isinstance(value, float):
        return _TAG + b"r" + struct.pack(">d", value)
    return _TAG + b"b" + len(value).to_bytes(8, "big") + bytes(value)


def _key_text(text: str, collation: str) -> bytes:
    if collation == "RTRIM":
        return text.rstrip(" ").encode()
    if collation != "NOCASE":
        return text.encode()
    # SQLite compares no further than NUL; then only the length counts.
    compared, nul, rest = folded(text).partition("\0")
    return compared.encode() + bytes(len((nul + rest).encode()))
