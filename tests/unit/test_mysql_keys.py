"""Keys as bytes in MySQL: equal where SQLite takes two keys for one, and nowhere else."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_values import SPECIAL

from syncsession_client.protocol.tables import Affinity, Column, Table
from syncsession_client.statements import load
from syncsession_server.row_keys import sync_keys
from syncsession_server.stores.sqlite_layout import SqliteTable

checked = settings(deadline=None, max_examples=150, derandomize=True, database=None)

AFFINITIES: tuple[Affinity, ...] = ("integer", "real", "text", "blob", "numeric")
COLLATIONS = ("BINARY", "NOCASE", "RTRIM")

TYPES = {"integer": "INTEGER", "real": "REAL", "text": "TEXT", "blob": "BLOB", "numeric": "NUMERIC"}
NEAR = [
    *SPECIAL,
    *(b" ", b"1", b"a ", b"\0\0", "é ", "a\0B", "A\0b ", "a\0bb", "aa", "aa\0", "\0a", "\0b"),
]


@pytest.mark.parametrize("collation", COLLATIONS)
@pytest.mark.parametrize("affinity", AFFINITIES)
def test_two_values_are_the_same_bytes_where_sqlite_takes_them_for_equal(affinity, collation):
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE TABLE t (k {TYPES[affinity]} COLLATE {collation})")
        db.executemany("INSERT INTO t VALUES (?)", [(value,) for value in NEAR])
        there = [value for (value,) in db.execute("SELECT k FROM t ORDER BY rowid")]
        equal = db.execute(
            "SELECT a.rowid, b.rowid FROM t AS a JOIN t AS b ON a.k = b.k"
        ).fetchall()
    keys = sync_keys([there], [collation])
    assert max(map(len, keys)) <= 255
    pairs = [
        (a, b) for a, one in enumerate(keys, 1) for b, other in enumerate(keys, 1) if one == other
    ]
    assert pairs == sorted(equal)
    assert keys == [one_key((value,), [collation]) for value in there]


near = st.text("aA \0b", max_size=3) | st.sampled_from(
    [1, 1.0, "1", b"1", b"a", b"", 2**63 - 1, 2.0**63]
)
kinds = st.tuples(st.sampled_from(AFFINITIES), st.sampled_from(COLLATIONS))


@settings(checked, max_examples=300)
@given(st.lists(st.tuples(kinds, near, near), min_size=2, max_size=3))
def test_two_keys_are_the_same_bytes_where_the_embedded_store_takes_them_for_one(parts):
    columns = tuple(Column(f"k{n}", kind, name) for n, ((kind, name), _, _) in enumerate(parts))
    table = Table("t", "global", tuple(c.name for c in columns), columns)
    keys = []
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(load("server/sqlite/build.sql.j2").create_table(t=SqliteTable(table)))
        for key in ([one for _, one, _ in parts], [other for _, _, other in parts]):
            names, places = ", ".join(table.key), ", ".join("?" * len(key))
            db.execute(
                f"INSERT OR REPLACE INTO t (tenant_id, {names}, modified_at_utc,"
                " modified_by_user_id, sync_session, is_deleted)"
                f" VALUES ('a', {places}, '', '', {len(keys)}, 0)",
                key,
            )
            (as_there,) = db.execute(f"SELECT {names} FROM t WHERE sync_session = ?", (len(keys),))
            keys.append(one_key(as_there, [c.collation for c in columns]))
        is_one = db.execute("SELECT count(*) FROM t").fetchone() == (1,)
    assert (keys[0] == keys[1]) == is_one


@checked
@given(st.lists(st.binary(max_size=150) | st.text(max_size=150), min_size=2, max_size=2), st.data())
def test_what_stands_in_one_part_of_a_key_does_not_reach_into_the_next(key, data):
    at = data.draw(st.integers(0, len(key[0])))
    others = [
        [key[0][:at], key[1]],
        [key[0][:at], key[0][at:]],
        [key[0][:at], key[0][at:] + key[1]] if type(key[0]) is type(key[1]) else key[::-1],
        [one_key(key, PLAIN), ""],
        [one_key(key, PLAIN)[10:], ""],
    ]
    for other in others:
        assert (one_key(key, PLAIN) == one_key(other, PLAIN)) == (key == other)


PLAIN = ["BINARY", "BINARY"]


def test_a_blob_that_holds_the_end_of_a_part_does_not_end_there():
    end = one_key(("", ""), PLAIN)
    second = one_key((b"", b""), PLAIN).partition(end)[2].rstrip(b"\0")
    for between in (end, end + second, end + second + bytes(7) + b"\1"):
        one, other = (b"x" + between + b"y", b"z"), (b"x", b"y" + between + b"z")
        assert one_key(one, PLAIN) != one_key(other, PLAIN)


def test_no_key_can_be_made_to_look_like_one_that_ends_in_a_hash():
    """Its bytes, read as a blob of told length, the end of that part, and an empty text."""
    size = len(one_key(("x" * 999, ""), PLAIN)) - len(one_key((b"", ""), PLAIN))
    longs = ((b"x" * size, f"{n}" + "y" * 300) for n in count())
    long = next(key for key in longs if one_key(key, PLAIN).endswith(b"\xfe"))
    forged = (one_key(long, PLAIN)[-size - 1 : -1], "")
    assert one_key(forged, PLAIN) != one_key(long, PLAIN)


def test_the_key_that_is_one_text_is_its_utf8():
    assert one_key(("Käse ",), ["BINARY"]) == "Käse ".encode()
    assert one_key(("Käse ",), ["NOCASE"]) == "käse ".encode()
    assert one_key(("Käse ",), ["RTRIM"]) == "Käse".encode()
    assert one_key(("x" * 254,), ["BINARY"]) == b"x" * 254


def one_key(key: Sequence[Any], collations: Sequence[str]) -> bytes:
    (found,) = sync_keys([[value] for value in key], collations)
    return found
