"""Taking sync out again."""

from contextlib import closing

import apsw
import pytest
from schemas import FAMILY, KINDS, NAMES, TEXT
from support import Server, everyone_syncs
from twins import exactly, own

from syncsession_client.setup import uninstall


@pytest.fixture(scope="module")
def server(embedded_server: Server) -> Server:
    """What is tested here happens on the device, so one kind of store will do."""
    return embedded_server


SCHEMAS = {kind: (values[0],) for kind, values in KINDS.items()} | {
    "family": FAMILY,
    "names": tuple(
        f'CREATE TABLE "{n.replace(chr(34), chr(34) * 2)}" (k TEXT PRIMARY KEY)' for n in NAMES
    ),
    "prefixes that meet": tuple(
        f"CREATE TABLE {n} (k TEXT PRIMARY KEY)"
        for n in ("a", "a_rows", "a_log", "a_insert", "A_rows_2")
    ),
    "everything else": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v)",
        "CREATE TABLE keyless (v)",
        "CREATE INDEX i ON t (v) WHERE v > 1",
        "CREATE UNIQUE INDEX e ON t (lower(v))",
        "CREATE VIEW w AS SELECT * FROM t",
        "CREATE TRIGGER own AFTER INSERT ON t BEGIN UPDATE t SET v = 1; END",
        "CREATE VIRTUAL TABLE fts USING fts5 (body)",
        "CREATE   TABLE  odd_space(k TEXT  PRIMARY KEY /* comment */ )",
    ),
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_uninstall_restores_the_schema_exactly(pair, schema):
    p = pair(*SCHEMAS[schema])
    assert p.device.schema() != p.twin.schema()
    assert own(p.device) == p.twin.schema()
    p.fold()
    assert uninstall(p.device.path)
    assert p.device.schema() == p.twin.schema()
    assert p.device.value("PRAGMA integrity_check") == "ok"


def test_uninstall_restores_a_schema_whose_tables_and_keys_were_renamed(pair):
    p = pair(TEXT, "CREATE TABLE other (id INTEGER PRIMARY KEY)")
    p.run("ALTER TABLE t RENAME TO moved", "ALTER TABLE other RENAME COLUMN id TO number")
    uninstall(p.device.path)
    assert p.device.schema() == p.twin.schema()


LIVED_IN = (
    "PRAGMA user_version = 7",
    "PRAGMA application_id = 99",
    "CREATE TABLE shop (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT COLLATE NOCASE UNIQUE)",
    "CREATE TABLE ware (\n  code TEXT PRIMARY KEY, -- as on the label\n  shop INTEGER "
    "REFERENCES shop ON DELETE SET NULL,\n  price REAL DEFAULT (1.0 / 2), "
    "cents REAL AS (price * 100) STORED\n) STRICT",
    'CREATE TABLE `ware in shop` ([shop id] INTEGER REFERENCES shop, "wäre" TEXT REFERENCES ware, '
    'PRIMARY KEY ([shop id], "wäre")) WITHOUT ROWID',
    "CREATE TABLE keyless (v)",
    "CREATE INDEX by_cents ON ware (cents, lower(code)) WHERE price > 0",
    "CREATE VIEW dear AS SELECT * FROM ware WHERE cents > 100",
    "CREATE TRIGGER dear_i INSTEAD OF INSERT ON dear BEGIN "
    "INSERT INTO ware (code) VALUES (new.code); END",
    "CREATE VIRTUAL TABLE search USING fts5 (code, content='ware')",
    "CREATE TRIGGER ware_ai AFTER INSERT ON ware BEGIN "
    "INSERT INTO search (rowid, code) VALUES (new.rowid, new.code); END",
    "INSERT INTO shop (name) VALUES ('a'), ('b'), ('c')",
    "INSERT INTO ware (code, shop) VALUES ('x', 1), ('y', 2)",
    "INSERT INTO `ware in shop` VALUES (1, 'x')",
)
LIFE = (
    "INSERT INTO shop (name) VALUES ('d')",
    "UPDATE ware SET price = 3 WHERE code = 'x'",
    "INSERT INTO dear (code) VALUES ('z')",
    "DELETE FROM shop WHERE name = 'b'",
    "UPDATE shop SET id = 2 WHERE name = 'c'",
    "REPLACE INTO `ware in shop` VALUES (1, 'x'), (1, 'y')",
    "ALTER TABLE shop ADD COLUMN city TEXT DEFAULT 'here'",
    "ALTER TABLE ware RENAME COLUMN price TO costs",
    "CREATE INDEX later ON shop (city)",
    "INSERT INTO keyless VALUES (1)",
)
ABOUT_THE_FILE = (
    *("user_version", "application_id", "encoding", "page_size", "auto_vacuum", "journal_mode"),
    *("integrity_check", "foreign_key_check"),
)


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_uninstall_leaves_a_database_that_was_synced_as_one_that_never_was(world, journal):
    ours = world.bare("ours.db", f"PRAGMA journal_mode = {journal}", *LIVED_IN)
    twin = world.bare("twin.db", f"PRAGMA journal_mode = {journal}", *LIVED_IN)
    ours.init()
    ours.sync()
    for sql in LIFE:
        for device in (ours, twin):
            device.execute(sql)
        ours.sync()
    assert uninstall(ours.path) == ["shop", "ware", "ware in shop"]
    assert ours.schema() == twin.schema()
    for name in ("shop", "ware", "`ware in shop`", "keyless", "dear", "search", "sqlite_sequence"):
        read = f"SELECT * FROM {name} ORDER BY 1"
        assert exactly(ours.rows(read)) == exactly(twin.rows(read))
    for pragma in ABOUT_THE_FILE:
        assert ours.rows(f"PRAGMA {pragma}") == twin.rows(f"PRAGMA {pragma}")
    assert not list(world.directory.glob("ours.db-sync*"))


def test_uninstall_while_a_program_reads_takes_nothing_from_it(pair):
    p = pair(TEXT, "INSERT INTO t VALUES ('a', 1)")
    p.device.rows("PRAGMA journal_mode = wal")
    with closing(apsw.Connection(str(p.device.path))) as reader:
        reader.execute("BEGIN").fetchall()
        assert reader.execute("SELECT * FROM t").fetchall() == [("a", 1)]
        uninstall(p.device.path)
        assert reader.execute("SELECT * FROM t").fetchall() == [("a", 1)]
        reader.execute("COMMIT")
        reader.execute("INSERT INTO t VALUES ('b', 2)")
    assert p.device.schema() == p.twin.schema()


GOODS = "CREATE TABLE goods (code TEXT PRIMARY KEY COLLATE NOCASE, n)"
BIN = "CREATE TABLE bin (aisle TEXT, number INT, goods TEXT, PRIMARY KEY (aisle, number))"


@pytest.fixture
def set_up_again(world):
    """Two devices that were in step; sync was taken out of the first and set up again, and between
    the two its program went on.
    """
    a = world.device("a.db", GOODS, BIN)
    a.execute("INSERT INTO goods VALUES ('x', 1), ('y', 2), ('z', 3)")
    a.execute("INSERT INTO bin VALUES ('A', 1, 'x'), ('A', 2, 'y')")
    a.sync()
    b = a.clone("b.db")
    uninstall(a.path)
    a.execute("UPDATE goods SET n = 5 WHERE code = 'x'", "INSERT INTO goods VALUES ('new', 4)")
    a.execute("DELETE FROM goods WHERE code = 'z'")
    b.execute("INSERT INTO bin VALUES ('B', 1, 'z')")
    b.sync()
    return a.init(), b


def test_a_database_that_is_set_up_again_has_no_row_twice_where_keys_are_global(set_up_again):
    a, b = set_up_again
    everyone_syncs(a, b)
    goods, bins = "SELECT * FROM goods ORDER BY code", "SELECT * FROM bin ORDER BY 1, 2"
    assert a.rows(bins) == b.rows(bins) == [("A", 1, "x"), ("A", 2, "y"), ("B", 1, "z")]
    # Nobody saw the deletion, so the row comes back.
    expected = [("new", 4), ("x", 5), ("y", 2), ("z", 3)]
    assert a.rows(goods) == b.rows(goods) == expected
    assert a.identities() == b.identities()


def test_a_database_that_is_set_up_again_is_captured_as_before(set_up_again):
    a, b = set_up_again
    everyone_syncs(a, b)
    a.execute("UPDATE goods SET code = 'X' WHERE code = 'x'", "DELETE FROM bin WHERE number = 2")
    assert a.sync().pushed.rows == 2
    b.sync()
    assert b.value("SELECT code FROM goods WHERE n = 5") == "X"
    assert b.rows("SELECT * FROM bin ORDER BY 1") == [("A", 1, "x"), ("B", 1, "z")]


def test_a_database_that_is_set_up_again_has_rows_twice_where_keys_are_local(world):
    a = world.device("a.db", "CREATE TABLE visit (id INTEGER PRIMARY KEY, v)")
    a.execute("INSERT INTO visit VALUES (1, 'one'), (2, 'two')")
    a.sync()
    uninstall(a.path)
    a.init()
    everyone_syncs(a)
    assert a.rows("SELECT v FROM visit ORDER BY v") == [("one",), ("one",), ("two",), ("two",)]


def test_sync_can_be_taken_out_and_set_up_many_times(pair):
    p = pair(*FAMILY, TEXT, "INSERT INTO t VALUES ('a', 1)")
    for n in range(3):
        uninstall(p.device.path)
        assert p.device.schema() == p.twin.schema()
        p.device.init()
        p.agree()
        p.run(f"INSERT INTO t VALUES ('b{n}', 0)", f"INSERT INTO parent VALUES ({n}, 0)")
        assert p.sent("t") == [(f"b{n}", 0, 0)]
        assert p.sent("parent") == [(n, 0, 0)]
