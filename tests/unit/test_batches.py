"""Values travel with their storage class, and digests tell apart what SQLite tells apart."""

import itertools
import math
import sqlite3
from contextlib import closing

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncsession_client.protocol.batches import META, Batch, decode, digests, encode

INTEGERS = st.integers(-(2**63), 2**63 - 1)
REALS = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
values = st.none() | INTEGERS | REALS | TEXTS | st.binary(max_size=30)
checked = settings(deadline=None, max_examples=100, derandomize=True, database=None)


def exact(value):
    """What distinguishes a value for SQLite: its class and its bits."""
    return type(value), math.copysign(1, value) if value == 0 else 0, value


def digest(*row) -> bytes:
    return digests([row])[0]


@checked
@given(st.lists(st.lists(values, min_size=2, max_size=2), max_size=5))
@example([[2**63 - 1, -(2**63)], [0.0, -0.0], [float("inf"), float("-inf")], ["\0", b"\0"]])
@example([[5e-324, 1.7976931348623157e308], ["", b""], [2**53 + 1, float(2**53)]])
def test_every_value_of_sqlite_survives_the_wire_with_its_class(pairs):
    rows = [[None, "2026-01-31T09:30:00.000Z", "alice", 0, *pair] for pair in pairs]
    batch = Batch("t", ("k",), ("v",), rows)
    back = decode(encode(batch))
    assert (back.table, back.key, back.columns) == ("t", ("k",), ("v",))
    assert [[exact(v) for v in row] for row in back.rows] == [
        [exact(v) for v in row] for row in rows
    ]


@checked
@given(values)
@example(-0.0)
@example(2**63 - 1)
@example("a\0b")
def test_a_value_is_the_same_after_sqlite_and_the_wire(value):
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (v)")
        db.execute("INSERT INTO t VALUES (?)", (value,))
        (stored,) = db.execute("SELECT v FROM t").fetchone()
    batch = Batch("t", ("k",), ("v",), [[None, None, None, 0, "k", stored]])
    assert exact(decode(encode(batch)).rows[0][META + 1]) == exact(stored)
    assert digest(stored) == digest(decode(encode(batch)).rows[0][META + 1])


DISTINCT = [
    *(None, "", b"", 0, 0.0, -0.0, "0", b"0", "NULL", "null"),
    *(1, 1.0, "1", b"1", "1.0", -1, 2**63 - 1, float(2**63), -(2**63), -float(2**63)),
    *("a", "A", b"a", b"A", "a ", " a", "ä", "a\u0308", "ä".encode(), "a\0", "a\0\0"),
    *(float("inf"), float("-inf"), 2**53, 2**53 + 1, float(2**53), 5e-324),
]


def test_digests_of_different_values_differ():
    for one, other in itertools.combinations(DISTINCT, 2):
        assert digest(one) != digest(other), (one, other)
        assert digest("before", one, "after") != digest("before", other, "after"), (one, other)


@checked
@given(values, values)
def test_digests_are_equal_only_where_values_are(one, other):
    assert (digest(one) == digest(other)) == (exact(one) == exact(other))


@checked
@given(st.lists(values, max_size=6))
def test_a_digest_is_eight_bytes_and_the_same_for_lists_and_tuples(row):
    of_list, of_tuple, of_empty = digests([list(row), tuple(row), []])
    assert len(of_list) == len(of_empty) == 8
    assert of_list == of_tuple
    assert (of_list == of_empty) == (row == [])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["a", None], [None, "a"]),
        ([None], []),
        ([None, None], [None]),
        (["a", ""], ["a"]),
        ([b"a", b"b"], [b"ab"]),
    ],
)
def test_where_a_value_ends_matters_to_a_digest(one, other):
    assert digest(*one) != digest(*other)


@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("made", ["x".__mul__, b"x".__mul__], ids=["text", "blob"])
def test_values_of_every_length_survive(made, length):
    sent = [1, None, None, 0, "k", made(length)]
    (row,) = decode(encode(Batch("t", ("k",), ("v",), [sent]))).rows
    assert list(row) == sent


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        b"\x80",
        msgspec.msgpack.encode({"table": "t", "key": ["k"], "columns": ["v"]}),
        msgspec.msgpack.encode({"table": 1, "key": ["k"], "columns": ["v"], "rows": []}),
        msgspec.msgpack.encode({"table": "t", "key": "k", "columns": ["v"], "rows": []}),
        msgspec.msgpack.encode({"table": "t", "key": ["k"], "columns": [1], "rows": []}),
        msgspec.msgpack.encode({"table": "t", "key": ["k"], "columns": ["v"], "rows": {}}),
        encode(Batch("t", ("k",), ("v",), [])) + b"\x00",
    ],
)
def test_bytes_that_are_no_batch_raise_a_decode_error(payload):
    with pytest.raises(msgspec.DecodeError):
        decode(payload)
