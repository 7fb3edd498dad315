"""Application tables on the server: their names, what may be added, what a batch may hold."""

import re
import sqlite3
from contextlib import closing
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncsession_client.protocol.batches import META, Batch, decode, encode
from syncsession_client.protocol.errors import BadRequest, SchemaContradiction
from syncsession_client.protocol.rejects import MOST_REJECTS
from syncsession_client.protocol.tables import Column, Table
from syncsession_client.statements import root
from syncsession_server import tables
from syncsession_server.stores.sqlite_layout import SqliteLayout, SqliteTable
from syncsession_server.tables import (
    check_batch,
    check_description,
    column_name,
    folded,
    merged,
    modified_by,
    new_columns,
    table_name,
)

checked = settings(deadline=None, max_examples=100, derandomize=True, database=None)

NOTE = Table("note", "global", ("id",), (Column("id", "text"), Column("v", "blob")))
LOCAL = Table("item", "local", ("id",), (Column("id", "integer"), Column("v", "blob")))
PRICE = Table(
    "price",
    "global",
    ("shop", "item"),
    (Column("item", "text", "NOCASE"), Column("p", "real"), Column("shop", "text")),
)

# Names

OURS = [
    "tenant_id",
    "modified_at_utc",
    "modified_by_user_id",
    "sync_session",
    "is_deleted",
    "row_id",
    *("sync_key", "sync_overflow", "sync_number", "sync_position", "sync_base"),
]
RESERVED = ["sync_", "_sync_", "sqlite_master", "sqlite_", "ix_sync_note", "ix_"]
names = st.lists(
    st.sampled_from(["app_", "APP_", "App_", *OURS, *RESERVED, "note", "_", "id", "x", "İ", "ſ"]),
    min_size=1,
    max_size=4,
).map("".join) | st.text(min_size=1, max_size=8)


@checked
@given(names, names)
@example("tenant_id", "app_tenant_id")
@example("app_tenant_id", "app_app_tenant_id")
@example("Row_Id", "APP_row_id")
def test_names_that_differ_here_differ_there(one, other):
    for rename in (column_name, table_name):
        same_here = folded(one) == folded(other)
        assert (folded(rename(one)) == folded(rename(other))) == same_here


@checked
@given(names, names)
@example("É", "é")
@example("K", "\N{KELVIN SIGN}")
def test_names_are_folded_alike_where_sqlite_takes_them_for_equal(one, other):
    with closing(sqlite3.connect(":memory:")) as db:
        ((same,),) = db.execute("SELECT ? = ? COLLATE NOCASE", (one, other))
    assert (folded(one) == folded(other)) == same


@checked
@given(names)
def test_no_name_becomes_one_of_ours(name):
    assert folded(column_name(name)) not in OURS
    assert not re.match("(_?sync_|sqlite_|ix_)", folded(table_name(name)))


@pytest.mark.parametrize(
    "name", ["note", "id", "tenant", "is_deleted2", "my_sync_session", "sync", "ix", "app", "app_x"]
)
def test_a_name_that_is_not_ours_stays_as_it_is(name):
    assert (column_name(name), table_name(name)) == (name, name)


@pytest.mark.parametrize("dialect", ["sqlite", "mysql"])
def test_no_table_has_the_name_of_an_object_of_ours(dialect):
    """Tables and indexes share one space of names in SQLite."""
    files = (root() / "server" / dialect).rglob("*.sql*")
    texts = "".join(path.read_text(encoding="utf-8") for path in files)
    made = re.findall(
        r"^CREATE.*(?:TABLE|INDEX) (?:IF NOT EXISTS )?(?!IF )(\w+)", texts, re.MULTILINE
    )
    taken = {"ix_sync_note", *made}
    assert taken > {"sync_session", "sync_pull_batch"}
    for name in taken:
        assert table_name(name) not in taken
        assert folded(table_name(name.upper())) not in taken


# The embedded store


def test_the_columns_of_a_table_with_local_keys_are_its_row_id_and_the_hint():
    table = SqliteTable(LOCAL)
    assert [(c.name, c.type) for c in table.key] == [("row_id", "BLOB")]
    assert [(c.name, c.type) for c in table.columns] == [("id", "INTEGER"), ("v", "BLOB")]
    named = msgspec.structs.replace(LOCAL, key=("row_id",), columns=(Column("row_id", "integer"),))
    assert [c.name for c in SqliteTable(named).columns] == ["app_row_id"]


def test_the_columns_of_a_table_with_a_composite_key_stand_in_key_order():
    table = SqliteTable(PRICE)
    assert table.key_names == ("shop", "item")
    assert table.collated_key == ("item",)
    assert [c.name for c in table.columns] == ["p"]


def test_a_column_that_is_called_as_ours_has_another_name_in_the_real_table():
    wide = msgspec.structs.replace(NOTE, columns=(*NOTE.columns, Column("Is_Deleted", "integer")))
    named = [(c.name, c.type) for c in SqliteTable(wide).columns]
    assert named == [("v", "BLOB"), ("app_Is_Deleted", "INTEGER")]


def test_a_layout_names_the_columns_that_a_batch_carries_and_leaves_values_as_they_are():
    layout = SqliteLayout(PRICE, ("P",))
    assert layout.names["t"] == SqliteTable(PRICE)
    assert (layout.names["key"], layout.names["columns"]) == (("shop", "item"), ("P",))
    assert SqliteLayout(LOCAL, ("Row_Id",)).names["columns"] == ("app_Row_Id",)
    rows = [(None, None, None, 0, "s", "i", value) for value in (None, 1, -0.0, "\0", b"\xff")]
    assert layout.decode(layout.encode(rows)) == rows


# What is here, and what a device describes


def test_a_table_that_nobody_has_described_is_taken_without_the_statements_of_a_device():
    described = msgspec.structs.replace(NOTE, sql="CREATE TABLE note", indexes=("CREATE INDEX",))
    assert merged(None, described) == NOTE
    assert new_columns(None, NOTE) == []


def test_a_table_that_is_described_again_is_the_same():
    assert merged(NOTE, NOTE) == NOTE
    upper = msgspec.structs.replace(
        NOTE, key=("ID",), columns=(Column("ID", "text"), Column("V", "blob"))
    )
    assert merged(NOTE, upper) == NOTE


@checked
@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6),
    st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6),
)
def test_the_union_has_the_columns_of_both_and_those_that_were_here_first(here, there):
    both = merged(with_columns(here), with_columns(there))
    listed = [c.name for c in both.columns]
    assert listed == ["id", *here, *(c for c in there if c not in here)]
    added = [c.name for c in new_columns(with_columns(here), both)]
    assert added == listed[len(here) + 1 :]
    assert merged(both, with_columns(there)) == both


def with_columns(listed: list[str]) -> Table:
    columns = tuple(Column(name, "text") for name in ("id", *listed))
    return Table("t", "global", ("id",), columns)


CONTRADICTIONS = {
    "key kind": ({"key_kind": "local"}, "local keys.*--key note=global"),
    "another key": ({"key": ("v",)}, r"\(v\).*\(id\)"),
    "a longer key": ({"key": ("id", "v")}, r"\(id, v\).*\(id\)"),
    "affinity": (
        {"columns": (Column("id", "text"), Column("V", "real"))},
        "note.V is of type real.*blob",
    ),
    "affinity of the key": (
        {"columns": (Column("id", "integer"),)},
        "note.id is of type integer.*text",
    ),
    "reference": (
        {"columns": (Column("id", "text"), Column("v", "blob", row_id_of="item"))},
        "note.v is a reference to item.*of type blob",
    ),
}


@pytest.mark.parametrize(("change", "message"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_contradiction_is_told_with_both_sides(change, message):
    with pytest.raises(SchemaContradiction, match=message):
        merged(NOTE, msgspec.structs.replace(NOTE, **change))


def test_the_order_of_a_key_matters():
    turned = msgspec.structs.replace(PRICE, key=("item", "shop"))
    with pytest.raises(SchemaContradiction, match=r"\(item, shop\).*\(shop, item\)"):
        merged(PRICE, turned)


@pytest.mark.parametrize(
    "change",
    [
        {"columns": (Column("id", "text"), Column("ID", "text"))},
        {"key": ("nobody",)},
        {"key": ("id", "id")},
        {"key": ("id", "v"), "key_kind": "local"},
        {"here": msgspec.structs.replace(NOTE, columns=NOTE.columns[:1])},
        {"here": msgspec.structs.replace(NOTE, key=("id", "v"))},
        {"here": msgspec.structs.replace(NOTE, key=("nobody",))},
    ],
)
def test_a_description_that_contradicts_itself_is_refused(change):
    with pytest.raises(BadRequest, match="note"):
        check_description(msgspec.structs.replace(NOTE, **change))


RENAMED = msgspec.structs.replace(NOTE, here=msgspec.structs.replace(NOTE, name="memo"))


def test_the_name_that_a_device_has_for_a_table_is_none_of_the_real_tables_business():
    assert merged(None, RENAMED) == merged(NOTE, RENAMED) == NOTE


@pytest.mark.parametrize("table", [NOTE, LOCAL, PRICE, RENAMED])
def test_a_sound_description_is_taken(table):
    check_description(table)


# Batches


def check(table: Table, *rows: Any, acts: bool = False, **names: Any) -> set[str]:
    key, columns = names.get("key", table.wire_key), names.get("columns", table.wire_columns)
    batch = Batch(table.name, tuple(key), tuple(columns), list(rows))
    return check_batch(table, came(batch), user="alice", acts_for_others=acts)


def came(batch: Batch) -> Batch:
    """The batch as it comes off the wire."""
    return decode(encode(batch))


AS_CAME = type(came(Batch("t", ("k",), (), [[None, None, None, 0, "k"]])).rows[0])
"""What a row is when it is decoded."""


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (NOTE, [None, None, None, 0, "k", None]),
        (NOTE, [7, "2026-01-31T09:30:00.000Z", "alice", 1, 1.5, 2**63 - 1]),
        (NOTE, [2**63 - 1, "", "", 0, b"", -(2**63)]),
        (NOTE, [None, "t" * 255, "ü" * 255, 0, "k", "v" * 256]),
        (LOCAL, [None, None, None, 0, bytes(16), 5, float("inf")]),
        (PRICE, [None, None, None, 0, "s", "i", -0.0]),
    ],
)
def test_a_row_that_can_be_kept_is_taken(table, row):
    assert check(table, row, row, acts=True) == set()


def test_an_empty_batch_is_taken():
    assert check(NOTE) == set()


def test_columns_may_be_left_out_and_turned_and_written_in_another_case():
    wide = Table("w", "global", ("id",), tuple(Column(c, "text") for c in ("id", "a", "b")))
    for columns in ((), ("a",), ("B", "a")):
        assert (
            check(wide, [None, None, None, 0, "k", *columns], key=("ID",), columns=columns) == set()
        )


def test_the_users_that_a_batch_names_are_told_unless_the_token_may_act_for_them():
    rows = [[None, None, by, 0, "k", 1] for by in ("alice", None, "bob", "carol", "bob")]
    assert check(NOTE, *rows) == {"bob", "carol"}
    assert check(NOTE, *rows, acts=True) == set()


@pytest.mark.parametrize("position", [0, 1, 999])
def test_the_fault_of_a_row_is_told_with_its_position(position):
    rows = [[None, None, None, 0, "k", 1] for _ in range(1000)]
    rows[position] = [None, None, None, 0, None, 1]
    with pytest.raises(BadRequest, match=rf"note, row {position} .*NULL"):
        check(NOTE, *rows)


@pytest.mark.parametrize("meta", [("t" * 256, None), (None, "ü" * 256)])
def test_a_time_or_a_user_has_at_most_255_characters(meta):
    with pytest.raises(BadRequest, match=r"row 1 .*longer than 255 characters"):
        check(NOTE, [None, None, None, 0, "k", 1], [None, *meta, 0, "k", 1])


LONGEST = 1 << 20


def named(table: Table, *rows: Any) -> list[tuple[dict[str, Any], str]]:
    """The (key, code) of every row for which a batch is refused."""
    with pytest.raises(BadRequest) as raised:
        check(table, *rows)
    assert {each.table for each in raised.value.rejects} <= {table.name}
    return [(each.key, each.code) for each in raised.value.rejects]


def test_every_faulty_row_with_a_key_is_named_with_a_code():
    good = [None, None, None, 0, "good", 1]
    rows = [
        [None, None, None, 0, "a", 2**63],
        good,
        [None, None, None, 2, b"\x00", 1],
        [None, 5, None, 0, 3, 1],
        [None, "t" * 256, None, 0, float("inf"), 1],
        good,
    ]
    assert named(NOTE, *rows) == [
        ({"id": "a"}, "type"),
        ({"id": {"blob": "00"}}, "type"),
        ({"id": 3}, "type"),
        ({"id": {"real": "inf"}}, "length"),
    ]
    assert named(LOCAL, [None, None, None, 0, bytes(16), 5, [1]]) == [
        ({"row_id": {"blob": "00" * 16}}, "type")
    ]


@pytest.mark.parametrize(
    "row", [[None], [None, None, None, 0, None, 1], [None, None, None, 0, [1], 1]]
)
def test_where_a_row_cannot_be_named_none_is(row):
    assert named(NOTE, [None, None, None, 0, "a", 2**63], row) == []


@pytest.mark.parametrize("key", ["k" * LONGEST, bytes(LONGEST), "é" * (LONGEST // 2)])
def test_a_key_has_at_most_a_mebibyte(key):
    assert check(NOTE, [None, None, None, 0, key, 1], [None, None, None, 0, 1, 1]) == set()
    longer = key + key[:1]
    ((_, code),) = named(NOTE, [None, None, None, 0, "k", 1], [None, None, None, 0, longer, 1])
    assert code == "key_too_long"


def test_the_parts_of_a_key_are_counted_together_row_by_row():
    half = "k" * (LONGEST // 2)
    row = [None, None, None, 0, half, "i", 1]
    assert check(PRICE, row, [None, None, None, 0, "s", half + "k", 1]) == set()
    ((_, code),) = named(PRICE, row, [None, None, None, 0, half, half + "k", 1])
    assert code == "key_too_long"


def test_no_more_rows_are_named_than_an_answer_holds():
    rows = [[None, None, None, 0, n, 2**63] for n in range(MOST_REJECTS + 1)]
    assert len(named(NOTE, *rows)) == MOST_REJECTS


def test_the_rows_of_other_users_are_named():
    batch = came(Batch("note", ("id",), ("v",), [(None, None, by, 0, by, 1) for by in "abc"]))
    listed = modified_by(batch, {"b", "c"}, "a")
    assert [(each.key, each.code) for each in listed] == [
        ({"id": "b"}, "forbidden_modifier"),
        ({"id": "c"}, "forbidden_modifier"),
    ]


anything = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 2, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 1.0, 0.0])
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["t" * 255, "t" * 256])
    | st.sampled_from([bytes(15), bytes(16), bytes(17), b""])
    | st.just([1])
    | st.just({"a": 1})
    | st.just(msgspec.msgpack.Ext(1, b"x"))
)
good_meta = st.tuples(
    st.none() | st.integers(1, 9),
    st.none() | st.just("at"),
    st.none() | st.just("by"),
    st.sampled_from([0, 1]),
)


@st.composite
def rows_of(draw: st.DrawFn, width: int, is_local: bool) -> Any:
    """A row that is good, or has one value or a width that need not be."""
    key = [bytes(16)] if is_local else ["k"]
    row = [*draw(good_meta), *key, *[draw(anything) for _ in range(width - META - 1)]]
    if draw(st.booleans()):
        row[draw(st.integers(0, width - 1))] = draw(anything)
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.sampled_from([AS_CAME(row[:-1]), AS_CAME([*row, 1]), None, "text", {}, set()])
        )
    return AS_CAME(row)


@pytest.mark.parametrize("is_local", [False, True], ids=["global", "local"])
@pytest.mark.parametrize(("width", "key_end"), [(6, 5), (7, 6), (5, 5)])
def test_the_fast_check_agrees_with_the_slow_one(is_local, width, key_end):
    @checked
    @given(st.lists(rows_of(width, is_local), max_size=4))
    def agree(rows: list[Any]) -> None:
        slow = all(not tables._fault(row, width, key_end, is_local) for row in rows)
        assert tables._is_sound(rows, width, key_end, is_local) == slow

    agree()


@pytest.mark.parametrize("part", range(6))
@pytest.mark.parametrize(
    "value", [True, 1.0, 2, 2**63, float("nan"), [1], {}, None, "x", b"x", "x" * 256], ids=repr
)
def test_both_checks_agree_on_each_kind_of_value_in_each_place(part, value):
    good = [1, "at", "by", 0, "k", 1]
    good, bad = AS_CAME(good), AS_CAME([*good[:part], value, *good[part + 1 :]])
    assert tables._is_sound([good, good], 6, 5, False)
    for rows in ([bad], [good, bad], [bad, good]):
        is_sound = tables._is_sound(rows, 6, 5, False)
        assert is_sound == (not tables._fault(bad, 6, 5, False))
