"""Rows come out of the bytes of a result whole and in order, wherever the bytes are cut."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncsession_server.stores import mysql_packets
from syncsession_server.stores.mysql_packets import reader, take_rows

checked = settings(deadline=None, max_examples=100, derandomize=True, database=None)
READERS = (reader("ascii", int), reader("ascii", float), reader("utf8", None), reader(None, None))
END = b"\xfe\x00\x00\x02\x00"

rows = st.tuples(
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.none() | st.binary(max_size=300),
)


def field(value: object) -> bytes:
    """A value of a row. https://mariadb.com/kb/en/protocol-data-types/#length-encoded-strings"""
    if value is None:
        return b"\xfb"
    text = value if isinstance(value, bytes) else str(value).encode()
    if len(text) < 251:
        return bytes([len(text)]) + text
    for mark, width in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        if len(text) < 1 << 8 * width:
            return bytes([mark]) + len(text).to_bytes(width, "little") + text
    raise AssertionError


def packets(payload: bytes, number: int = 0) -> bytes:
    """A payload as one packet, or as several when it is too large for one."""
    most = mysql_packets._SPLIT
    part, rest = payload[:most], payload[most:]
    packet = len(part).to_bytes(3, "little") + bytes([number % 256]) + part
    return packet + packets(rest, number + 1) if len(part) == most else packet


def result(*given: tuple[object, ...], end: bytes = END) -> bytes:
    return b"".join(packets(b"".join(map(field, row))) for row in given) + packets(end)


def take_all(parts: list[bytes], most: int) -> tuple[list[tuple[object, ...]], bytes]:
    """What comes out when the bytes arrive in these parts."""
    found: list[tuple[object, ...]] = []
    data, position, arriving = b"", 0, iter(parts)
    while True:
        taken = take_rows(data, position, READERS, most)
        found += taken.rows
        if taken.last is not None:
            assert data[taken.position :] == b""
            return found, taken.last
        assert len(taken.rows) == most or taken.missing > 0
        if taken.missing:
            data, position = data[taken.position :] + next(arriving), 0
        else:
            position = taken.position


@given(st.lists(rows, max_size=20), st.lists(st.integers(1, 40)), st.integers(1, 5))
@checked
def test_rows_come_out_as_they_went_in_wherever_the_bytes_are_cut(given_rows, cuts, most):
    data, parts = result(*given_rows), []
    for cut in cuts:
        parts.append(data[:cut])
        data = data[cut:]
    assert take_all([*parts, data], most) == (given_rows, END)


@given(st.lists(rows, max_size=5), st.integers(10, 60))
@checked
def test_a_row_in_several_packets_comes_out_whole(given_rows, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mysql_packets, "_SPLIT", limit)
        data = result(*given_rows)
        assert take_all([data[n : n + 7] for n in range(0, len(data), 7)], 3) == (given_rows, END)


def test_a_row_of_more_than_16_mib_comes_out_whole():
    row = (1, 2.5, "x" * (1 << 24), b"\xff" * 70_000)
    data = result(row)
    assert take_all([data[:100], data[100 : 1 << 23], data[1 << 23 :]], 10) == ([row], END)


def test_an_error_ends_the_rows():
    error = b"\xff\x15\x04#28000no" + b"x" * 20
    assert take_all([result((1, None, "a", b""), end=error)], 10) == (
        [(1, None, "a", b"")],
        error,
    )


def test_what_is_missing_is_told_so_that_it_can_be_waited_for():
    data = result((1, 2.5, "abc", b"d"))
    assert take_rows(data[:2], 0, READERS, 1).missing == 2
    assert take_rows(data[:4], 0, READERS, 1).missing == len(packets(b"")) - 4 + data[0]
    assert take_rows(data, 0, READERS, 1).missing == 0


def test_other_types_are_read_as_the_driver_would():
    assert reader("ascii", Decimal)(b"1.50") == Decimal("1.50")
    assert reader(None, len)(b"abc") == 3
