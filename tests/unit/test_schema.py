"""What a database holds, as it is read from its CREATE statements."""

import re
import sqlite3
from pathlib import Path

import pytest

from syncsession_client.identity import Choices, plan
from syncsession_client.protocol.errors import Unsyncable
from syncsession_client.schema import FoundTable, affinity, read
from syncsession_client.store import DeviceStore


@pytest.fixture
def found(tmp_path: Path):
    """Reads the tables of a database that these statements make."""

    def make(*schema: str) -> dict[str, FoundTable]:
        path = tmp_path / "app.db"
        db = sqlite3.connect(path)
        for sql in schema:
            db.execute(sql)
        db.commit()
        db.close()
        with DeviceStore(path) as store:
            return store.found_tables()

    return make


def names(table: FoundTable) -> list[str]:
    return [c.name for c in table.columns]


# The table of https://sqlite.org/datatype3.html, 3.1.1, row by row
AFFINITIES = {
    "integer": [
        *("INT", "INTEGER", "TINYINT", "SMALLINT", "MEDIUMINT", "BIGINT", "UNSIGNED BIG INT"),
        *("INT2", "INT8", "FLOATING POINT", "CHARINT", "point"),
    ],
    "text": [
        *("CHARACTER(20)", "VARCHAR(255)", "VARYING CHARACTER(255)", "NCHAR(55)"),
        *("NATIVE CHARACTER(70)", "NVARCHAR(100)", "TEXT", "CLOB", "text", "REALCHAR"),
    ],
    "blob": ["BLOB", "", "LONGBLOB"],
    "real": ["REAL", "DOUBLE", "DOUBLE PRECISION", "FLOAT", "float"],
    "numeric": ["NUMERIC", "DECIMAL(10,5)", "BOOLEAN", "DATE", "DATETIME", "STRING", "ANY", "UUID"],
}
LISTED = [(declared, kind) for kind, types in AFFINITIES.items() for declared in types]


@pytest.mark.parametrize(("declared", "kind"), LISTED)
def test_a_declared_type_has_the_affinity_of_the_manual(declared, kind):
    assert affinity(declared, strict=False) == kind


@pytest.mark.parametrize(("declared", "kind"), LISTED)
def test_a_value_is_stored_as_the_affinity_says(found, declared, kind):
    """SQLite itself is asked: what becomes of '7', 7 and 7.5 tells the affinity."""
    with sqlite3.connect(":memory:") as db:
        db.execute(f"CREATE TABLE t (k, v {declared})")
        db.execute("INSERT INTO t VALUES (1, '7'), (2, 7), (3, '7.5')")
        classes = tuple(c for (c,) in db.execute("SELECT typeof(v) FROM t ORDER BY k"))
    db.close()
    (table,) = found(f"CREATE TABLE t (k PRIMARY KEY, v {declared})").values()
    stored = {
        "integer": ("integer", "integer", "real"),
        "numeric": ("integer", "integer", "real"),
        "real": ("real", "real", "real"),
        "text": ("text", "text", "text"),
        "blob": ("text", "integer", "text"),
    }
    assert table.columns[1].affinity == kind
    assert classes == stored[kind]


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("ANY", "blob"),
        ("any", "blob"),
        ("INT", "integer"),
        ("INTEGER", "integer"),
        ("REAL", "real"),
        ("TEXT", "text"),
        ("BLOB", "blob"),
    ],
)
def test_any_keeps_its_values_in_a_strict_table(found, declared, kind):
    (table,) = found(f"CREATE TABLE t (k TEXT PRIMARY KEY, v {declared}) STRICT").values()
    assert table.columns[1].affinity == kind


def test_a_strict_table_without_rowid_is_strict_too(found):
    sql = "CREATE TABLE t (k ANY PRIMARY KEY, v ANY) WITHOUT ROWID, STRICT"
    (table,) = found(sql).values()
    assert [c.affinity for c in table.columns] == ["blob", "blob"]


def test_a_table_that_only_says_strict_in_its_text_is_not_strict(found):
    (table,) = found("CREATE TABLE t (k PRIMARY KEY, strict ANY DEFAULT ') STRICT')").values()
    assert table.columns[1].affinity == "numeric"


def test_generated_columns_are_left_out(found):
    (table,) = found(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, a, b AS (a || 'x'), "
        "c TEXT GENERATED ALWAYS AS (a) STORED, d)"
    ).values()
    assert names(table) == ["k", "a", "d"]


@pytest.mark.parametrize(
    ("sql", "key"),
    [
        ("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", ("k",)),
        ("CREATE TABLE t (v, k TEXT PRIMARY KEY) WITHOUT ROWID", ("k",)),
        ("CREATE TABLE t (a, b, c, PRIMARY KEY (c, a))", ("c", "a")),
        ("CREATE TABLE t (a, b, PRIMARY KEY (b DESC, a)) WITHOUT ROWID", ("b", "a")),
        ("CREATE TABLE t (a, b)", ()),
        ("CREATE TABLE t (a UNIQUE NOT NULL, b)", ()),
        ("CREATE TABLE t (Aa, PRIMARY KEY (aA))", ("Aa",)),
    ],
)
def test_the_key_is_in_the_order_in_which_it_is_declared(found, sql, key):
    (table,) = found(sql).values()
    assert table.key == key


@pytest.mark.parametrize("ending", ["", " WITHOUT ROWID"])
def test_the_collation_of_each_key_column_is_read(found, ending):
    (table,) = found(
        "CREATE TABLE t (a TEXT COLLATE NOCASE, b TEXT COLLATE RTRIM, c TEXT, v TEXT COLLATE "
        f"NOCASE, PRIMARY KEY (c, b, a)){ending}"
    ).values()
    assert {c.name: c.collation for c in table.columns if c.name in table.key} == {
        "a": "NOCASE",
        "b": "RTRIM",
        "c": "BINARY",
    }


def test_a_collation_that_the_key_itself_declares_is_read(found):
    sql = "CREATE TABLE t (a TEXT, b TEXT COLLATE NOCASE, PRIMARY KEY (a COLLATE NOCASE, b))"
    (table,) = found(sql).values()
    assert [c.collation for c in table.columns] == ["NOCASE", "NOCASE"]


def test_only_ordinary_tables_are_read_in_order_of_creation(found):
    tables = found(
        "CREATE TABLE z (k PRIMARY KEY)",
        "CREATE VIEW v AS SELECT * FROM z",
        "CREATE VIRTUAL TABLE search USING fts5 (body, content='')",
        "CREATE VIRTUAL TABLE own USING fts5 (body)",
        "CREATE VIRTUAL TABLE box USING rtree (id, x0, x1)",
        "CREATE TABLE a (k INTEGER PRIMARY KEY AUTOINCREMENT)",
        "CREATE TABLE search_of_mine (k PRIMARY KEY)",
        "CREATE TABLE _sync_z_log (k)",
        "CREATE TABLE _syncsession_state (k)",
        "CREATE TRIGGER t AFTER INSERT ON z BEGIN SELECT 1; END",
    )
    assert list(tables) == ["z", "a", "search_of_mine"]


ODD = [
    'quo"te',
    "apo's",
    "[br]",
    "`b`",
    "sp ace",
    "select",
    "ünï",
    "a;b",
    "-- x",
    "]",
    "a]]b",
    "%s",
]


@pytest.mark.parametrize("name", ODD)
def test_names_that_need_quotes_are_read_as_they_are(found, name):
    q = '"' + name.replace('"', '""') + '"'
    tables = found(
        f"CREATE TABLE {q} ({q} TEXT COLLATE NOCASE PRIMARY KEY, v INT, UNIQUE (v, {q}))",
        f"CREATE TABLE child (id TEXT PRIMARY KEY, p REFERENCES {q} ({q}) ON DELETE CASCADE)",
        f'CREATE UNIQUE INDEX "i {name.replace(chr(34), "")}" ON {q} (v)',
    )
    table = tables[name]
    assert (names(table), table.key, table.columns[0].collation) == ([name, "v"], (name,), "NOCASE")
    assert sorted(table.unique) == [("v",), ("v", name)]
    assert len(table.indexes) == 1
    (reference,) = tables["child"].references
    assert (reference.parent, reference.parent_columns) == (name, (name,))


@pytest.mark.parametrize("quotes", ['"a b"', "[a b]", "`a b`", "'a b'"])
def test_every_way_to_quote_a_name_is_read(found, quotes):
    tables = found(f"CREATE TABLE {quotes} ({quotes} TEXT, v, PRIMARY KEY ({quotes}))")
    assert tables["a b"].key == ("a b",)


def test_unique_indexes_beside_the_key_are_read(found):
    (table,) = found(
        "CREATE TABLE t (k TEXT PRIMARY KEY, a UNIQUE, b, c, UNIQUE (b, c))",
        "CREATE UNIQUE INDEX partial ON t (c) WHERE a > 1",
        "CREATE UNIQUE INDEX expression ON t (lower(a), b)",
        "CREATE UNIQUE INDEX only_expression ON t (a || b)",
        "CREATE INDEX plain ON t (a, b)",
    ).values()
    assert sorted(table.unique) == [(), ("a",), ("b",), ("b", "c"), ("c",)]
    assert len(table.indexes) == 4
    assert all(sql.startswith("CREATE") for sql in table.indexes)


@pytest.mark.parametrize("index", ["mine(v)", "v COLLATE ours"])
def test_a_table_with_an_index_that_only_the_application_can_use_says_so(tmp_path, index):
    path = tmp_path / "app.db"
    db = sqlite3.connect(path)
    db.create_function("mine", 1, lambda v: v, deterministic=True)
    db.create_collation("ours", lambda a, b: (a > b) - (a < b))
    db.execute("CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT)")
    db.execute(f"CREATE INDEX i ON t ({index})")
    db.commit()
    db.close()
    with DeviceStore(path) as store:
        (table,) = store.found_tables().values()
    assert re.search(r"no such (function: mine|collation sequence: ours)", table.fault)


OWN = {
    "a collation in the key": "CREATE TABLE t (k TEXT COLLATE ours PRIMARY KEY, v)",
    "a collation in a column": "CREATE TABLE t (k TEXT PRIMARY KEY, v COLLATE ours)",
    "a collation in a UNIQUE": "CREATE TABLE t (k TEXT PRIMARY KEY, v COLLATE ours UNIQUE)",
    "a function in a CHECK": "CREATE TABLE t (k TEXT PRIMARY KEY, v CHECK (mine(v) = v))",
    "a function in a DEFAULT": "CREATE TABLE t (k TEXT PRIMARY KEY, v DEFAULT (mine(1)))",
    "a function in a generated column": "CREATE TABLE t (k TEXT PRIMARY KEY, v, g AS (mine(v)))",
}


@pytest.mark.parametrize("sql", OWN.values(), ids=OWN)
def test_what_only_the_application_can_compute_is_read_or_refused_with_the_table_named(
    tmp_path, sql
):
    path = tmp_path / "app.db"
    db = sqlite3.connect(path)
    db.create_function("mine", 1, lambda v: v, deterministic=True)
    db.create_collation("ours", lambda a, b: (a > b) - (a < b))
    db.execute(sql)
    db.commit()
    db.close()
    with DeviceStore(path) as store:
        table = store.found_tables()["t"]
    assert table.fault or table.key == ("k",)
    if table.fault:
        with pytest.raises(Unsyncable, match=r"t can be used by its application only.*--exclude t"):
            plan({"t": table}, Choices())


def test_foreign_keys_are_read_with_their_actions(found):
    tables = found(
        "CREATE TABLE parent (a, b, c UNIQUE, PRIMARY KEY (a, b))",
        "CREATE TABLE t (k INTEGER PRIMARY KEY, x, y, z REFERENCES parent (c) ON DELETE SET NULL, "
        "FOREIGN KEY (y, x) REFERENCES parent (b, a) ON DELETE CASCADE ON UPDATE SET DEFAULT)",
    )
    listed = {r.columns: r for r in tables["t"].references}
    assert set(listed) == {("z",), ("y", "x")}
    single, double = listed[("z",)], listed[("y", "x")]
    assert (single.parent, single.parent_columns) == ("parent", ("c",))
    assert (single.on_delete, single.on_update) == ("SET NULL", "NO ACTION")
    assert (double.parent, double.parent_columns) == ("parent", ("b", "a"))
    assert (double.on_delete, double.on_update) == ("CASCADE", "SET DEFAULT")
    assert single.declared
    assert double.declared


def test_a_foreign_key_without_columns_points_to_the_parents_key(found):
    tables = found(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE pair (a, b, PRIMARY KEY (b, a))",
        "CREATE TABLE t (k INTEGER PRIMARY KEY REFERENCES t, p REFERENCES parent, x, y, "
        "FOREIGN KEY (x, y) REFERENCES pair)",
    )
    listed = {r.columns: (r.parent, r.parent_columns) for r in tables["t"].references}
    assert listed == {
        ("k",): ("t", ("k",)),
        ("p",): ("parent", ("id",)),
        ("x", "y"): ("pair", ("b", "a")),
    }


def test_a_foreign_key_to_a_table_that_is_not_there_is_read(found):
    tables = found("CREATE TABLE t (k INTEGER PRIMARY KEY, p REFERENCES nobody (id))")
    (reference,) = tables["t"].references
    assert (reference.parent, reference.parent_columns) == ("nobody", ("id",))


def test_the_statements_are_kept_as_they_are(found):
    sql = "CREATE TABLE t( k  TEXT PRIMARY KEY /* the key */ , v)"
    index = "CREATE INDEX i  ON t( v )"
    (table,) = found(sql, index).values()
    assert (table.sql, table.indexes) == (sql, (index,))


def test_a_column_is_found_whatever_its_case(found):
    (table,) = found("CREATE TABLE t (Kk TEXT PRIMARY KEY)").values()
    assert table.column("kK") == table.columns[0]
    assert table.column("other") is None


def test_no_objects_are_no_tables():
    assert read([]) == {}
