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
    size = len(data)
    while len(rows) < most:
        begin = position + _HEADER
        if begin > size:
            return Taken(rows, position, begin - size, None)
        length = data[position] | data[position + 1] << 8 | data[position + 2] << 16
        payload, end = data, begin + length
        if length == _SPLIT:
            payload, end = _joined(data, position)
            begin = 0
        if end > size:
            return Taken(rows, position, end - size, None)
        first = payload[begin]
        if first >= _EOF and (first == _ERROR or length < _EOF_BELOW):
            return Taken(rows, end, 0, payload[begin : begin + length])
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


def _joined(data: bytes, position: int) -> tuple[bytes, int]:
    """(the payload of a packet in several parts, where the last of them ends).

    Where that is beyond `data`, the rest is not here yet.
    """
    parts = []
    while True:
        begin = position + _HEADER
        if begin > len(data):
            return b"", begin
        length = int.from_bytes(data[position : position + 3], "little")
        position = begin + length
        parts.append(data[begin:position])
        if length < _SPLIT or position > len(data):
            return b"".join(parts), position


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
