"""Rows out of the bytes that MySQL and MariaDB send, many at a time. No I/O.

The text protocol: https://mariadb.com/kb/en/result-set-packets/. aiomysql reads row by row, and
that is what a large pull waits for.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Row = tuple[Any, ...]
Reader = Callable[[bytes], Any]

_HEADER = 4
_SPLIT = 0xFFFFFF  # a packet of this size goes on in the next one
_EOF, _ERROR = 0xFE, 0xFF
_EOF_BELOW = 9  # bytes of the packet; a row that begins so is longer
_NULL = 251


class Taken(NamedTuple):
    """Rows, where the bytes after them begin, how many more it takes at least, the last packet."""

    rows: list[Row]
    position: int
    missing: int
    last: bytes | None


def take_rows(data: bytes, position: int, readers: Sequence[Reader], most: int) -> Taken:
    """At most `most` rows of the whole packets in `data` from `position` on.

    `last` is the packet that ends the result, once it is there: EOF, or an error.
    """
    rows: list[Row] = []
    while len(rows) < most:
        payload, begin, end = _packet(data, position)
        if end > len(data):
            return Taken(rows, position, end - len(data), None)
        first = payload[begin]
        if first >= _EOF and (first == _ERROR or end - begin < _EOF_BELOW):
            return Taken(rows, end, 0, payload[begin:end])
        rows.append(_row(payload, begin, readers))
        position = end
    return Taken(rows, position, 0, None)


def reader(encoding: str | None, converter: Callable[[Any], Any] | None) -> Reader:
    """What makes a value of its bytes, for a column as aiomysql describes it."""
    if converter in (int, float):
        return converter  # both read ASCII
    if converter is None:
        return bytes if encoding is None else bytes.decode
    convert = converter
    return lambda value: convert(value.decode(encoding) if encoding else value)


def _packet(data: bytes, position: int) -> tuple[bytes, int, int]:
    """(bytes, where in them the payload begins, where in `data` the packet ends)."""
    begin = position + _HEADER
    if begin > len(data):
        return data, begin, begin
    length = int.from_bytes(data[position : position + 3], "little")
    if length < _SPLIT:
        return data, begin, begin + length
    parts, end = [], begin + length
    while True:
        parts.append(data[begin:end])
        if length < _SPLIT or end > len(data):
            return b"".join(parts), 0, end
        begin = end + _HEADER
        if begin > len(data):
            return data, 0, begin
        length = int.from_bytes(data[end : end + 3], "little")
        end = begin + length


def _row(data: bytes, position: int, readers: Sequence[Reader]) -> Row:
    row: list[Any] = []
    for read in readers:
        size = data[position]
        position += 1
        if size >= _NULL:
            if size == _NULL:
                row.append(None)
                continue
            width = {252: 2, 253: 3, 254: 8}[size]
            size = int.from_bytes(data[position : position + width], "little")
            position += width
        end = position + size
        row.append(read(data[position:end]))
        position = end
    return tuple(row)
