"""The application changes its schema while sync is installed."""

import pytest
from support import World, everyone_syncs

from syncsession_client.protocol.errors import (
    MassDelete,
    SchemaContradiction,
    ServerUnreachable,
)
from syncsession_client.transport import Transport

THING = "CREATE TABLE gadget (id TEXT PRIMARY KEY, v)"


@pytest.fixture
def pair(world: World):
    a = world.device("a.db", THING)
    a.execute("INSERT INTO gadget VALUES ('x', 1), ('y', 2)")
    a.sync()
    return a, a.clone("b.db")


def test_a_column_that_one_device_adds_reaches_those_that_add_it_later(pair):
    a, b = pair
    a.execute("ALTER TABLE gadget ADD COLUMN w DEFAULT 5", "UPDATE gadget SET w = 9 WHERE id = 'x'")
    a.sync()
    b.execute("UPDATE gadget SET v = 3 WHERE id = 'y'")
    everyone_syncs(b, a)
    assert b.rows("SELECT * FROM gadget ORDER BY id") == [("x", 1), ("y", 3)]
    b.execute("ALTER TABLE gadget ADD COLUMN w DEFAULT 5")
    everyone_syncs(b, a)
    expected = [("x", 1, 9), ("y", 3, 5)]
    assert b.rows("SELECT * FROM gadget ORDER BY id") == expected
    assert a.rows("SELECT * FROM gadget ORDER BY id") == expected


def test_a_device_without_a_column_does_not_wipe_it(pair):
    a, b = pair
    a.execute("ALTER TABLE gadget ADD COLUMN w", "UPDATE gadget SET w = 9")
    everyone_syncs(a, b)
    b.execute("UPDATE gadget SET v = 7 WHERE id = 'x'")
    everyone_syncs(b, a)
    assert a.rows("SELECT * FROM gadget ORDER BY id") == [("x", 7, 9), ("y", 2, 9)]


def test_devices_that_add_different_columns_both_go_on(pair):
    a, b = pair
    a.execute("ALTER TABLE gadget ADD COLUMN p", "UPDATE gadget SET p = 'a'")
    b.execute("ALTER TABLE gadget ADD COLUMN q", "UPDATE gadget SET q = 'b'")
    everyone_syncs(a, b)
    a.execute("UPDATE gadget SET p = 'a again' WHERE id = 'x'")
    everyone_syncs(a, b)
    a.execute("ALTER TABLE gadget ADD COLUMN q")
    b.execute("ALTER TABLE gadget ADD COLUMN p")
    everyone_syncs(a, b)
    expected = [("x", "a again", "b"), ("y", "a", "b")]
    assert a.rows("SELECT id, p, q FROM gadget ORDER BY id") == expected
    assert b.rows("SELECT id, p, q FROM gadget ORDER BY id") == expected
    assert len(a.clone("c.db").rows("SELECT * FROM gadget")) == 2


def test_a_lost_answer_to_a_new_column_loses_none_of_its_values(pair, monkeypatch):
    a, b = pair
    a.execute("ALTER TABLE gadget ADD COLUMN w DEFAULT 5")
    put_tables = Transport.put_tables

    def lost(self, tables):
        put_tables(self, tables)
        raise ServerUnreachable("the answer was lost")

    with monkeypatch.context() as patch, pytest.raises(ServerUnreachable):
        patch.setattr(Transport, "put_tables", lost)
        a.sync()
    everyone_syncs(a, b)
    b.execute("ALTER TABLE gadget ADD COLUMN w DEFAULT 5")
    everyone_syncs(b, a)
    expected = [("x", 1, 5), ("y", 2, 5)]
    assert a.rows("SELECT * FROM gadget ORDER BY id") == expected
    assert b.rows("SELECT * FROM gadget ORDER BY id") == expected


def test_a_row_made_without_a_column_that_takes_no_null_gets_its_default(pair):
    a, b = pair
    a.execute("ALTER TABLE gadget ADD COLUMN c INTEGER NOT NULL DEFAULT 7")
    a.sync()
    b.execute("INSERT INTO gadget VALUES ('z', 3)")
    everyone_syncs(b, a)
    assert a.rows("SELECT * FROM gadget ORDER BY id") == [("x", 1, 7), ("y", 2, 7), ("z", 3, 7)]
    c = a.clone("c.db")
    assert c.rows("SELECT c FROM gadget WHERE id = 'z'") == [(7,)]


def test_a_clone_has_the_columns_that_were_added(pair):
    a, _ = pair
    a.execute("ALTER TABLE gadget ADD COLUMN w DEFAULT 'd'")
    a.sync()
    c = a.clone("c.db")
    assert c.rows("SELECT * FROM gadget ORDER BY id") == [("x", 1, "d"), ("y", 2, "d")]


def test_a_dropped_column_disturbs_nobody(pair):
    a, b = pair
    a.execute("ALTER TABLE gadget ADD COLUMN w", "UPDATE gadget SET w = 9")
    everyone_syncs(a, b)
    a.execute("ALTER TABLE gadget DROP COLUMN w", "UPDATE gadget SET v = 4 WHERE id = 'x'")
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM gadget ORDER BY id") == [("x", 4), ("y", 2)]
    assert b.rows("SELECT * FROM gadget ORDER BY id") == [("x", 4), ("y", 2)]


def test_a_rebuilt_table_is_captured_again_and_what_happened_meanwhile_is_found(pair):
    a, b = pair
    a.execute(
        "CREATE TABLE gadget_new (id TEXT PRIMARY KEY, v, CHECK (id <> ''))",
        "INSERT INTO gadget_new SELECT * FROM gadget",
        "DROP TABLE gadget",
        "ALTER TABLE gadget_new RENAME TO gadget",
        "UPDATE gadget SET v = 'changed' WHERE id = 'x'",
        "DELETE FROM gadget WHERE id = 'y'",
        "INSERT INTO gadget VALUES ('z', 'new')",
    )
    everyone_syncs(a, b)
    expected = [("x", "changed"), ("z", "new")]
    assert a.rows("SELECT * FROM gadget ORDER BY id") == expected
    assert b.rows("SELECT * FROM gadget ORDER BY id") == expected
    a.execute("UPDATE gadget SET v = 'seen' WHERE id = 'z'")
    everyone_syncs(a, b)
    assert b.rows("SELECT v FROM gadget WHERE id = 'z'") == [("seen",)]


def test_a_row_that_replace_removes_through_a_unique_index_is_deleted_everywhere(world):
    a = world.device("a.db", "CREATE TABLE badge (id TEXT PRIMARY KEY, n INTEGER UNIQUE)")
    a.execute("INSERT INTO badge VALUES ('x', 1), ('y', 2)")
    a.sync()
    b = a.clone("b.db")
    a.execute("INSERT OR REPLACE INTO badge VALUES ('z', 1)")
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM badge ORDER BY id") == [("y", 2), ("z", 1)]


def test_most_of_a_table_gone_without_a_trace_stops_and_asks(world):
    a = world.device("a.db", THING)
    a.put("INSERT INTO gadget VALUES (?, 0)", [(f"{n}",) for n in range(300)])
    a.sync()
    b = a.clone("b.db")
    a.execute("DROP TABLE gadget", THING, "INSERT INTO gadget VALUES ('1', 0)")
    with pytest.raises(MassDelete, match="299 of 300 rows of gadget"):
        a.sync()
    assert b.sync().pulled.rows == 0
    a.sync(allow_mass_delete=True)
    b.sync()
    assert b.rows("SELECT * FROM gadget") == [("1", 0)]


def test_a_column_of_another_type_is_refused_with_both_types(pair, world):
    a, b = pair
    a.execute("ALTER TABLE gadget ADD COLUMN kind INTEGER")
    a.sync()
    b.execute("ALTER TABLE gadget ADD COLUMN kind TEXT")
    with pytest.raises(SchemaContradiction, match=r"gadget\.kind is of type text.*integer"):
        b.sync()
    assert b.value("SELECT count(*) FROM gadget") == 2


def test_tables_named_again_with_init_join_later_and_bring_their_old_rows(world):
    other = "CREATE TABLE joiner (id TEXT PRIMARY KEY, v)"
    a = world.device("a.db", THING, other)
    a.execute("INSERT INTO joiner VALUES ('old', 1)")
    a.sync()
    b = world.device("b.db", THING, other, tables=("gadget",))
    b.sync()
    assert b.rows("SELECT * FROM joiner") == []
    b.init(tables=("joiner",))
    b.sync()
    assert b.rows("SELECT * FROM joiner") == [("old", 1)]
