"""How each table of a schema is keyed, which references are translated, what ours are called."""

import sqlite3
from pathlib import Path

import pytest

from syncsession_client.identity import (
    Choices,
    Plan,
    Registration,
    arrange,
    plan,
    prefixes,
    undeclared,
)
from syncsession_client.protocol.errors import (
    NoPrimaryKey,
    NullKey,
    OutsideReference,
    UnknownName,
    Unsyncable,
)
from syncsession_client.protocol.tables import Column, Table
from syncsession_client.store import DeviceStore

ROOM = "CREATE TABLE room (id INTEGER PRIMARY KEY, name TEXT)"
TAG = "CREATE TABLE tag (name TEXT PRIMARY KEY)"


@pytest.fixture
def planned(tmp_path: Path):
    """Plans a database that these statements make."""

    def make(*schema: str, refused=None, **choices) -> Plan:
        path = tmp_path / "app.db"
        db = sqlite3.connect(path)
        for sql in schema:
            db.execute(sql)
        db.commit()
        db.close()
        with DeviceStore(path) as store:
            return plan(store.found_tables(), Choices(**choices), refused)

    return make


def kinds(of: Plan) -> dict[str, str]:
    """plain, local or mapped, by table."""
    tables = arrange(Registration(t, f"_sync_{t.name}") for t in of.tables)
    return {t.name: "local" if t.is_local else "mapped" if t.is_mapped else "plain" for t in tables}


def targets(of: Plan) -> dict[str, str]:
    """Which local table's rows a column's integers stand for, by table.column."""
    return {f"{t.name}.{c.name}": c.row_id_of for t in of.tables for c in t.columns if c.row_id_of}


CASES = {
    "an integer key": (["CREATE TABLE t (k INTEGER PRIMARY KEY)"], {"t": "local"}, {}),
    "an int key": (["CREATE TABLE t (k BIGINT PRIMARY KEY)"], {"t": "local"}, {}),
    "an integer key without rowid": (
        ["CREATE TABLE t (k INTEGER PRIMARY KEY) WITHOUT ROWID"],
        {"t": "local"},
        {},
    ),
    "a text key": (["CREATE TABLE t (k TEXT PRIMARY KEY)"], {"t": "plain"}, {}),
    "a numeric key": (["CREATE TABLE t (k DATETIME PRIMARY KEY)"], {"t": "plain"}, {}),
    "a key of no type": (["CREATE TABLE t (k PRIMARY KEY)"], {"t": "plain"}, {}),
    "a composite key of integers": (
        ["CREATE TABLE t (a INTEGER, b INTEGER, PRIMARY KEY (a, b))"],
        {"t": "plain"},
        {},
    ),
    "a reference": (
        [ROOM, "CREATE TABLE t (k TEXT PRIMARY KEY, r INTEGER REFERENCES room (id))"],
        {"room": "local", "t": "plain"},
        {"t.r": "room"},
    ),
    "a reference without columns": (
        [ROOM, "CREATE TABLE t (k TEXT PRIMARY KEY, r REFERENCES room)"],
        {"room": "local", "t": "plain"},
        {"t.r": "room"},
    ),
    "a reference in other cases": (
        [ROOM, "CREATE TABLE t (k TEXT PRIMARY KEY, R REFERENCES ROOM (ID))"],
        {"room": "local", "t": "plain"},
        {"t.R": "room"},
    ),
    "a reference to a text key": (
        [TAG, "CREATE TABLE t (k INTEGER PRIMARY KEY, tag REFERENCES tag)"],
        {"tag": "plain", "t": "local"},
        {},
    ),
    "a reference to a unique column that is no key": (
        [
            "CREATE TABLE p (id INTEGER PRIMARY KEY, code INTEGER UNIQUE)",
            "CREATE TABLE t (k TEXT PRIMARY KEY, c REFERENCES p (code))",
        ],
        {"p": "local", "t": "plain"},
        {},
    ),
    "a reference to a unique column that is a reference": (
        [
            ROOM,
            "CREATE TABLE p (id TEXT PRIMARY KEY, r INTEGER UNIQUE REFERENCES room)",
            "CREATE TABLE t (k TEXT PRIMARY KEY, c REFERENCES p (r))",
        ],
        {"room": "local", "p": "plain", "t": "plain"},
        {"p.r": "room", "t.c": "room"},
    ),
    "a self-reference": (
        ["CREATE TABLE t (k INTEGER PRIMARY KEY, up REFERENCES t (k))"],
        {"t": "local"},
        {"t.up": "t"},
    ),
    "a key that references itself": (
        ["CREATE TABLE t (k INTEGER PRIMARY KEY REFERENCES t (k))"],
        {"t": "local"},
        {},
    ),
    "a key shared with the parent": (
        [ROOM, "CREATE TABLE t (id INTEGER PRIMARY KEY REFERENCES room (id), v)"],
        {"room": "local", "t": "mapped"},
        {"t.id": "room"},
    ),
    "a key shared over two steps": (
        [
            ROOM,
            "CREATE TABLE t (id INTEGER PRIMARY KEY REFERENCES room)",
            "CREATE TABLE u (id INTEGER PRIMARY KEY REFERENCES t)",
            "CREATE TABLE v (id TEXT PRIMARY KEY, u REFERENCES u)",
        ],
        {"room": "local", "t": "mapped", "u": "mapped", "v": "plain"},
        {"t.id": "room", "u.id": "room", "v.u": "room"},
    ),
    "a composite key of a reference": (
        [ROOM, "CREATE TABLE t (r INTEGER REFERENCES room, n INTEGER, PRIMARY KEY (r, n))"],
        {"room": "local", "t": "mapped"},
        {"t.r": "room"},
    ),
    "a composite key of two references": (
        [
            ROOM,
            TAG,
            "CREATE TABLE t (r REFERENCES room, tag REFERENCES tag, PRIMARY KEY (tag, r))",
        ],
        {"room": "local", "tag": "plain", "t": "mapped"},
        {"t.r": "room"},
    ),
    "a reference through a mapped table": (
        [
            ROOM,
            "CREATE TABLE line (r REFERENCES room, n INTEGER, PRIMARY KEY (r, n))",
            "CREATE TABLE t (k INTEGER PRIMARY KEY, a, b, FOREIGN KEY (a, b) REFERENCES line)",
        ],
        {"room": "local", "line": "mapped", "t": "local"},
        {"line.r": "room", "t.a": "room"},
    ),
    "a mapped table of a mapped table": (
        [
            ROOM,
            "CREATE TABLE line (r REFERENCES room, n INTEGER, PRIMARY KEY (r, n))",
            "CREATE TABLE t (a, b, c, PRIMARY KEY (c, b, a), FOREIGN KEY (a, b) REFERENCES line)",
        ],
        {"room": "local", "line": "mapped", "t": "mapped"},
        {"line.r": "room", "t.a": "room"},
    ),
    "a circle of columns": (
        [
            "CREATE TABLE a (id INTEGER PRIMARY KEY, b REFERENCES b)",
            "CREATE TABLE b (id INTEGER PRIMARY KEY, a REFERENCES a)",
        ],
        {"a": "local", "b": "local"},
        {"a.b": "b", "b.a": "a"},
    ),
    "a circle of keys": (
        [
            "CREATE TABLE a (id INTEGER PRIMARY KEY REFERENCES b)",
            "CREATE TABLE b (id INTEGER PRIMARY KEY REFERENCES a)",
        ],
        {"a": "plain", "b": "plain"},
        {},
    ),
    "a table that is not there": (
        ["CREATE TABLE t (k INTEGER PRIMARY KEY, x REFERENCES nobody (id))"],
        {"t": "local"},
        {},
    ),
    "a NOCASE key": (
        ["CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY)"],
        {"t": "plain"},
        {},
    ),
}


@pytest.mark.parametrize(("schema", "expected", "translated"), CASES.values(), ids=CASES)
def test_a_table_is_keyed_by_what_its_key_means(planned, schema, expected, translated):
    made = planned(*schema)
    assert kinds(made) == expected
    assert targets(made) == translated
    assert made.skipped == {}


def test_a_key_that_the_user_calls_global_is_the_same_everywhere(planned):
    child = "CREATE TABLE t (k TEXT PRIMARY KEY, r REFERENCES room)"
    made = planned(ROOM, child, keys={"ROOM": "global"})
    assert kinds(made) == {"room": "plain", "t": "plain"}
    assert targets(made) == {}


def test_a_key_that_is_a_reference_cannot_be_called_local(planned):
    child = "CREATE TABLE t (id INTEGER PRIMARY KEY REFERENCES room)"
    with pytest.raises(Unsyncable, match="leave out --key t"):
        planned(ROOM, child, keys={"t": "local"})


@pytest.mark.parametrize(
    "schema", ["CREATE TABLE t (k TEXT PRIMARY KEY)", "CREATE TABLE t (a, b, PRIMARY KEY (a, b))"]
)
def test_a_key_that_is_not_one_integer_cannot_be_local(planned, schema):
    with pytest.raises(Unsyncable, match="--key t=global"):
        planned(schema, keys={"t": "local"})


def test_a_named_reference_is_translated_and_remembered(planned):
    loose = "CREATE TABLE t (k INTEGER PRIMARY KEY, r INTEGER, s INTEGER)"
    made = planned(ROOM, loose, references=(("T", "R", "Room"),))
    assert targets(made) == {"t.r": "room"}
    assert [t.name for t in made.tables] == ["room", "t"]
    named = prefixes(made.tables, {})
    arranged = arrange(Registration(t, named[t.name]) for t in made.tables)
    assert undeclared(arranged) == (("t", "r", "room"),)


def test_a_named_reference_makes_a_key_shared(planned):
    loose = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)"
    made = planned(ROOM, loose, references=(("t", "id", "room"),))
    assert kinds(made) == {"room": "local", "t": "mapped"}


def test_of_two_references_of_a_column_the_first_that_leads_to_a_local_table_counts(planned):
    made = planned(
        ROOM,
        "CREATE TABLE house (id INTEGER PRIMARY KEY)",
        "CREATE TABLE t (k TEXT PRIMARY KEY, r INTEGER)",
        references=(("t", "r", "house"), ("t", "r", "room")),
    )
    assert targets(made) == {"t.r": "house"}


def test_parents_come_before_children(planned):
    made = planned(
        "CREATE TABLE c (id TEXT PRIMARY KEY, b REFERENCES b, d REFERENCES d)",
        "CREATE TABLE b (id TEXT PRIMARY KEY, a REFERENCES a, b REFERENCES b)",
        "CREATE TABLE d (id TEXT PRIMARY KEY)",
        "CREATE TABLE a (id TEXT PRIMARY KEY)",
    )
    order = [t.name for t in made.tables]
    assert order.index("a") < order.index("b") < order.index("c")
    assert order.index("d") < order.index("c")


def test_a_circle_of_references_is_planned_whole_with_the_others_in_order(planned):
    made = planned(
        "CREATE TABLE x (id TEXT PRIMARY KEY, z REFERENCES z)",
        "CREATE TABLE y (id TEXT PRIMARY KEY, x REFERENCES x)",
        "CREATE TABLE z (id TEXT PRIMARY KEY, y REFERENCES y)",
        "CREATE TABLE after (id TEXT PRIMARY KEY, x REFERENCES x)",
    )
    order = [t.name for t in made.tables]
    assert sorted(order) == ["after", "x", "y", "z"]
    assert order.index("x") < order.index("after")


# What takes part


def test_only_the_tables_that_are_named_take_part(planned):
    made = planned(ROOM, TAG, "CREATE TABLE keyless (v)", tables=("ROOM",))
    assert [t.name for t in made.tables] == ["room"]
    assert made.skipped == {}


def test_a_table_that_is_excluded_takes_no_part(planned):
    made = planned(ROOM, TAG, exclude=("Tag",))
    assert [t.name for t in made.tables] == ["room"]


def test_a_table_without_a_key_is_skipped_with_the_reason(planned):
    made = planned(ROOM, "CREATE TABLE keyless (v)")
    assert [t.name for t in made.tables] == ["room"]
    assert isinstance(made.skipped["keyless"], NoPrimaryKey)


def test_a_table_without_a_key_that_is_named_is_refused(planned):
    with pytest.raises(NoPrimaryKey, match="keyless"):
        planned(ROOM, "CREATE TABLE keyless (v)", tables=("room", "keyless"))


def test_a_database_of_nothing_but_tables_without_keys_is_refused(planned):
    with pytest.raises(NoPrimaryKey, match="keyless"):
        planned("CREATE TABLE keyless (v)")


def test_a_database_without_tables_is_refused(planned):
    with pytest.raises(Unsyncable, match="create one first"):
        planned("CREATE VIEW v AS SELECT 1")


def test_a_table_whose_content_rules_it_out_is_skipped_or_refused(planned):
    refused = {"tag": NullKey("tag has a row with NULL")}
    made = planned(ROOM, TAG, refused=refused)
    assert [t.name for t in made.tables] == ["room"]
    assert dict(made.skipped) == refused
    with pytest.raises(NullKey):
        planned("CREATE TABLE other (k PRIMARY KEY)", tables=("tag",), refused=refused)


@pytest.mark.parametrize("how", ["exclude", "skip"])
def test_a_reference_to_a_table_that_takes_no_part_is_refused(planned, how):
    child = "CREATE TABLE t (k TEXT PRIMARY KEY, r REFERENCES room)"
    with pytest.raises(OutsideReference, match="t references room"):
        if how == "exclude":
            planned(ROOM, child, exclude=("room",))
        else:
            planned("CREATE TABLE room (id INTEGER UNIQUE)", child)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"tables": ("nobody",)}, "'nobody'; the tables are: room, tag"),
        ({"exclude": ("nobody",)}, "'nobody'"),
        ({"keys": {"nobody": "local"}}, "'nobody'"),
        ({"references": (("nobody", "x", "room"),)}, "'nobody'"),
        ({"references": (("room", "name", "nobody"),)}, "'nobody'"),
        ({"references": (("room", "nothing", "tag"),)}, "room has no column 'nothing'.*id, name"),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(planned, choices, message):
    with pytest.raises(UnknownName, match=message):
        planned(ROOM, TAG, **choices)


# What ours are called


def table(name: str, kind: str = "global") -> Table:
    return Table(name, kind, ("k",), (Column("k", "integer"),))


COLLIDING = [
    ["a", "a_rows", "a_log"],
    ["a_log", "a"],
    ["a", "a_insert", "a_update", "a_rekey", "a_delete", "a_dirty", "a_live", "a_gone"],
    ["a", "A_ROWS", "a_Log"],
    ["a", "a_rows", "a_rows_2", "a_2", "a_rows_rows", "a_2_log"],
    ["a_rows_2", "a_rows", "a"],
]


@pytest.mark.parametrize("names", COLLIDING)
def test_no_two_objects_of_ours_have_one_name(planned, names):
    made = planned(*(f"CREATE TABLE {name} (k INTEGER PRIMARY KEY)" for name in names))
    named = prefixes(made.tables, {})
    ours = [
        name.lower()
        for t in arrange(Registration(t, named[t.name]) for t in made.tables)
        for name in (
            *(t.log, t.rows, t.view, t.dirty_index, t.live_index, t.gone_index),
            *(t.trigger(event) for event in ("insert", "update", "rekey", "delete")),
        )
    ]
    assert len(set(ours)) == len(ours) == 10 * len(names)
    assert all(name.startswith("_sync_") for name in ours)


def test_a_prefix_that_was_given_stays_when_a_table_joins():
    given = prefixes([table("a_rows")], {})
    assert given == {"a_rows": "_sync_a_rows"}
    later = prefixes([table("a"), table("a_rows")], given)
    assert later["a_rows"] == "_sync_a_rows"
    assert later["a"] == "_sync_a_2"


def test_the_names_of_a_table_come_from_its_prefix():
    (made,) = arrange([Registration(table("a", "local"), "_sync_a_3")])
    assert (made.log, made.rows, made.view) == ("_sync_a_3_log", "_sync_a_3_rows", "_sync_a_3")
    assert made.trigger("insert") == "_sync_a_3_insert"


def test_the_columns_of_the_shadow_rows_follow_the_kind(planned):
    made = planned(
        ROOM,
        "CREATE TABLE plain (k TEXT COLLATE NOCASE, n REAL, PRIMARY KEY (n, k))",
        "CREATE TABLE mapped (r INTEGER REFERENCES room, t TEXT COLLATE RTRIM, v, "
        "PRIMARY KEY (t, r))",
    )
    arranged = arrange(Registration(t, f"_sync_{t.name}") for t in made.tables)
    tables = {t.name: t for t in arranged}
    shown = {
        name: [(c.name, c.type, c.collation) for c in t.shadow_columns]
        for name, t in tables.items()
    }
    assert shown == {
        "room": [("row_id", "BLOB", "BINARY"), ("key_1", "INTEGER", "BINARY")],
        "plain": [("key_1", "REAL", "BINARY"), ("key_2", "TEXT", "NOCASE")],
        "mapped": [
            ("row_id_1", "TEXT", "RTRIM"),
            ("row_id_2", "BLOB", "BINARY"),
            ("key_1", "TEXT", "RTRIM"),
            ("key_2", "INTEGER", "BINARY"),
        ],
    }
    assert tables["plain"].is_collated
    assert tables["mapped"].is_collated
    assert not tables["room"].is_collated
    assert tables["mapped"].key_parents == (None, "_sync_room_rows")
    assert tables["mapped"].values == ("v",)
    assert tables["room"].children(list(tables.values())) == [(tables["mapped"], "r")]
