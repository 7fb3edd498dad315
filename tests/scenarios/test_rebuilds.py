"""The application rebuilds tables, as ORMs do, while sync is installed."""

import sqlite3
from contextlib import closing

import pytest
from support import Device, World, everyone_syncs

from syncsession_client.protocol.errors import MassDelete, ServerUnreachable
from syncsession_client.setup import uninstall
from syncsession_client.store import DeviceStore
from syncsession_client.transport import Transport

KINDS = {
    "local": ("INTEGER PRIMARY KEY", (1, 2, 3, 4)),
    "global": ("TEXT PRIMARY KEY", ("'a'", "'b'", "'c'", "'d'")),
}


def rebuild(name: str, columns: str, kept: str, style: str) -> tuple[str, ...]:
    """The statements with which programs rebuild a table."""
    if style == "copy, drop, rename":  # https://sqlite.org/lang_altertable.html
        return (
            f"CREATE TABLE {name}_new ({columns})",
            f"INSERT INTO {name}_new ({kept}) SELECT {kept} FROM {name}",
            f"DROP TABLE {name}",
            f"ALTER TABLE {name}_new RENAME TO {name}",
        )
    return (
        f"ALTER TABLE {name} RENAME TO {name}_old",
        f"CREATE TABLE {name} ({columns})",
        f"INSERT INTO {name} ({kept}) SELECT {kept} FROM {name}_old",
        f"DROP TABLE {name}_old",
    )


FREE = "CREATE TABLE free (id TEXT PRIMARY KEY, v)"

STYLES = ("copy, drop, rename", "rename away, create, copy, drop")


def migrate(device: Device, *statements: str, legacy: bool = True, foreign_keys: bool = False):
    """Statements of a migration, in one transaction."""
    with closing(sqlite3.connect(device.path, isolation_level=None)) as db:
        db.execute(f"PRAGMA legacy_alter_table = {int(legacy)}")
        db.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        db.execute("BEGIN")
        for sql in statements:
            db.execute(sql)
        db.execute("COMMIT")


def parts(world: World, kind: str) -> tuple[Device, Device, tuple]:
    """Two devices with a table of parts, and one of uses that reference them, if there is one."""
    world.leave_references(f"use_{kind}")
    key, keys = KINDS[kind]
    name = f"part_{kind}"
    a = world.device(
        "a.db",
        f"CREATE TABLE {name} (id {key}, v)",
        f"CREATE TABLE use_{kind} (id TEXT PRIMARY KEY, part_id REFERENCES {name} (id))",
    )
    a.execute(*(f"INSERT INTO {name} VALUES ({k}, 'old')" for k in keys[:3]))
    a.execute(*(f"INSERT INTO use_{kind} VALUES ('u{n}', {k})" for n, k in enumerate(keys[:3])))
    a.sync()
    return a, a.clone("b.db"), keys


@pytest.mark.parametrize("foreign_keys", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_rebuild_keeps_every_row_what_it_is_and_finds_what_happened_after_it(
    world, kind, style, legacy, foreign_keys
):
    a, b, (one, two, three, four) = parts(world, kind)
    name = f"part_{kind}"
    known = a.identities()[name]
    a.execute(f"UPDATE {name} SET v = 'before' WHERE id = {two}")
    columns = f"id {KINDS[kind][0]}, v, CHECK (v <> '')"
    # With foreign keys on, SQLite refuses to drop a table that is referenced.
    fk = foreign_keys and style != STYLES[0]
    steps = rebuild(name, columns, "id, v", style)
    if fk and style == STYLES[1]:
        steps = (*steps[:3], f"DELETE FROM use_{kind}", *steps[3:])
    migrate(a, *steps, legacy=legacy, foreign_keys=fk)
    a.execute(
        f"UPDATE {name} SET v = 'after' WHERE id = {one}",
        f"DELETE FROM {name} WHERE id = {three}",
        f"INSERT INTO {name} VALUES ({four}, 'new')",
        foreign_keys=False,
    )
    a.push()
    everyone_syncs(b, a)
    rows = f"SELECT v FROM {name} ORDER BY id"
    assert a.rows(rows) == b.rows(rows) == [("after",), ("before",), ("new",)]
    assert a.identities()[name] == b.identities()[name]
    assert a.identities()[f"use_{kind}"] == b.identities()[f"use_{kind}"]
    ids = {row[0] for row in known}
    assert len(ids & {row[0] for row in a.identities()[name]}) == 2
    assert {o.table for o in triggers(a)} == {name, f"use_{kind}"}
    a.execute(f"UPDATE {name} SET v = 'seen' WHERE id = {two}", foreign_keys=False)
    assert a.sync().pushed.rows == 1


def triggers(device: Device):
    with DeviceStore(device.path) as store:
        return [o for o in store.objects() if o.type == "trigger"]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sync_between_the_steps_of_a_rebuild_loses_nothing(world, kind, style):
    a, b, keys = parts(world, kind)
    name = f"part_{kind}"
    known = a.identities()
    a.execute(f"UPDATE {name} SET v = 'edit' WHERE id = {keys[0]}")
    for sql in rebuild(name, f"id {KINDS[kind][0]}, v, w", "id, v", style):
        migrate(a, sql)
        a.sync()
        b.sync()
    a.execute(f"UPDATE {name} SET w = 'new'", foreign_keys=False)
    everyone_syncs(a, b)
    rows = f"SELECT v FROM {name} ORDER BY id"
    assert a.rows(rows) == b.rows(rows) == [("edit",), ("old",), ("old",)]
    assert [row[0] for row in a.identities()[name]] == [row[0] for row in known[name]]
    assert a.identities()[f"use_{kind}"] == b.identities()[f"use_{kind}"]
    assert a.sync().warnings == ()


def test_a_rebuild_that_was_seen_half_done_and_changes_every_row_keeps_what_they_are(world):
    a, b, _ = parts(world, "local")
    known = a.identities()["part_local"]
    steps = rebuild("part_local", "id INTEGER PRIMARY KEY, v", "id, v", STYLES[1])
    migrate(a, steps[0])
    a.sync()
    migrate(a, *steps[1:], "UPDATE part_local SET v = 'changed'")
    everyone_syncs(a, b)
    assert b.rows("SELECT v FROM part_local") == [("changed",)] * 3
    assert [row[0] for row in b.identities()["part_local"]] == [row[0] for row in known]


def test_rows_deleted_in_the_table_that_was_renamed_away_are_not_deleted(world):
    a, b, _ = parts(world, "local")
    known = a.identities()
    migrate(
        a,
        "ALTER TABLE part_local RENAME TO old",
        "CREATE TABLE part_local (id INTEGER PRIMARY KEY, v)",
        "INSERT INTO part_local SELECT * FROM old",
        "DELETE FROM old",
        "DROP TABLE old",
    )
    everyone_syncs(a, b)
    assert a.identities() == b.identities() == known


def test_a_table_that_keeps_its_old_copy_beside_it_is_captured_and_the_copy_is_not(world):
    a, b, _ = parts(world, "local")
    migrate(
        a,
        "ALTER TABLE part_local RENAME TO part_backup",
        "CREATE TABLE part_local (id INTEGER PRIMARY KEY, v)",
        "INSERT INTO part_local SELECT * FROM part_backup",
    )
    (warning,) = a.sync().warnings
    assert "part_backup is not synced" in warning
    a.execute("DELETE FROM part_backup", "UPDATE part_local SET v = 'new' WHERE id = 1")
    everyone_syncs(a, b)
    assert b.rows("SELECT v FROM part_local") == [("new",), ("old",), ("old",)]
    assert {o.table for o in triggers(a)} == {"part_local", "use_local"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_deleted_before_a_rebuild_and_written_again_after_it_is_there(world, kind):
    a, b, (one, two, *_) = parts(world, kind)
    name = f"part_{kind}"
    a.execute(f"DELETE FROM {name} WHERE id IN ({one}, {two})", foreign_keys=False)
    migrate(a, *rebuild(name, f"id {KINDS[kind][0]}, v, w", "id, v", STYLES[0]))
    a.execute(f"INSERT INTO {name} (id, v) VALUES ({one}, 'again')", foreign_keys=False)
    everyone_syncs(a, b)
    rows = f"SELECT v FROM {name} ORDER BY id"
    assert a.rows(rows) == b.rows(rows) == [("again",), ("old",)]


def test_an_integer_that_another_row_takes_after_a_rebuild_has_the_new_values_everywhere(world):
    a, b, _ = parts(world, "local")
    migrate(a, *rebuild("part_local", "id INTEGER PRIMARY KEY, v, w", "id, v", STYLES[0]))
    a.execute("DELETE FROM part_local WHERE id = 3", foreign_keys=False)
    a.execute("INSERT INTO part_local (id, v) VALUES (3, 'reused')", foreign_keys=False)
    a.execute("UPDATE part_local SET id = 50 WHERE id = 1", foreign_keys=False)
    everyone_syncs(a, b)
    rows = "SELECT id, v FROM part_local ORDER BY v, id"
    assert a.rows(rows) == b.rows(rows) == [(2, "old"), (50, "old"), (3, "reused")]


def test_composite_keys_survive_a_rebuild(world):
    a = world.device(
        "a.db",
        "CREATE TABLE plant (id INTEGER PRIMARY KEY, name)",
        "CREATE TABLE care (plant_id INTEGER REFERENCES plant, day TEXT, v, "
        "PRIMARY KEY (plant_id, day))",
    )
    a.execute("INSERT INTO plant VALUES (1, 'p')")
    a.execute("INSERT INTO care VALUES (1, 'mon', 1), (1, 'tue', 2), (1, 'wed', 3)")
    a.sync()
    b = a.clone("b.db")
    b.execute("INSERT INTO plant VALUES (2, 'q')", "INSERT INTO care VALUES (2, 'mon', 9)")
    columns = "plant_id INTEGER REFERENCES plant, day TEXT, v, PRIMARY KEY (plant_id, day)"
    migrate(a, *rebuild("care", columns + ") WITHOUT ROWID --", "plant_id, day, v", STYLES[0]))
    a.execute(
        "UPDATE care SET v = 7 WHERE day = 'mon'",
        "DELETE FROM care WHERE day = 'tue'",
        "UPDATE care SET day = 'thu' WHERE day = 'wed'",
    )
    everyone_syncs(a, b)
    rows = "SELECT day, v FROM care ORDER BY 1, 2"
    assert a.rows(rows) == b.rows(rows) == [("mon", 7), ("mon", 9), ("thu", 3)]
    assert a.identities() == b.identities()


def test_what_was_written_after_a_rebuild_that_dropped_a_column_is_found_by_the_next_pull(world):
    a = world.device("a.db", "CREATE TABLE tool (id TEXT PRIMARY KEY, v, w)")
    a.execute("INSERT INTO tool VALUES ('x', 1, 1), ('y', 2, 2), ('z', 3, 3)")
    a.sync()
    b = a.clone("b.db")
    b.execute("UPDATE tool SET v = 'b' WHERE id = 'z'")
    b.sync()
    migrate(a, *rebuild("tool", "id TEXT PRIMARY KEY, v", "id, v", STYLES[0]))
    a.execute("UPDATE tool SET v = 'a' WHERE id = 'x'")
    everyone_syncs(a, b)
    expected = [("x", "a"), ("y", 2), ("z", "b")]
    assert a.rows("SELECT id, v FROM tool ORDER BY 1") == expected
    assert b.rows("SELECT id, v FROM tool ORDER BY 1") == expected
    assert b.rows("SELECT w FROM tool ORDER BY id") == [(1,), (2,), (3,)]


def test_what_was_written_after_a_second_rebuild_is_found_though_no_pull_came_between(
    world, monkeypatch
):
    a = world.device("a.db", "CREATE TABLE tool2 (id TEXT PRIMARY KEY, v)")
    a.execute("INSERT INTO tool2 VALUES ('x', 1), ('y', 2)")
    a.sync()
    b = a.clone("b.db")
    a.execute("ALTER TABLE tool2 ADD COLUMN w")

    def offline(self, *_):
        raise ServerUnreachable("offline")

    with monkeypatch.context() as patch, pytest.raises(ServerUnreachable):
        patch.setattr(Transport, "put_tables", offline)
        a.sync()
    migrate(a, *rebuild("tool2", "id TEXT PRIMARY KEY, v, w, z", "id, v, w", STYLES[0]))
    a.execute("UPDATE tool2 SET v = 'a' WHERE id = 'x'")
    everyone_syncs(a, b)
    assert a.rows("SELECT id, v FROM tool2 ORDER BY 1") == [("x", "a"), ("y", 2)]
    assert b.rows("SELECT id, v FROM tool2 ORDER BY 1") == [("x", "a"), ("y", 2)]


def test_a_rebuild_before_the_first_sync_loses_nothing(world):
    a = world.device("a.db", "CREATE TABLE early (id INTEGER PRIMARY KEY, v)")
    a.execute("INSERT INTO early VALUES (1, 'x'), (2, 'y')")
    migrate(a, *rebuild("early", "id INTEGER PRIMARY KEY, v, w", "id, v", STYLES[1]))
    a.execute("INSERT INTO early VALUES (3, 'z', 1)", "DELETE FROM early WHERE id = 1")
    a.sync()
    assert a.clone("b.db").rows("SELECT * FROM early") == [(2, "y", None), (3, "z", 1)]


def test_a_rebuild_under_a_collation_that_makes_keys_equal_goes_on(world):
    a = world.device("a.db", "CREATE TABLE term (id TEXT PRIMARY KEY, v)")
    a.execute("INSERT INTO term VALUES ('a', 1), ('A', 2), ('b', 3)")
    a.sync()
    a.execute("DELETE FROM term WHERE id = 'A'")
    a.sync()
    columns = "id TEXT PRIMARY KEY COLLATE NOCASE, v"
    migrate(a, *rebuild("term", columns, "id, v", STYLES[0]))
    a.execute("UPDATE term SET v = 4 WHERE id = 'B'")
    a.sync()
    assert a.rows("SELECT * FROM term ORDER BY v") == [("a", 1), ("b", 4)]
    with closing(sqlite3.connect(a.path)) as db:
        assert db.execute("SELECT is_deleted FROM _sync_term WHERE key_1 = 'A'").fetchall() == [
            (0,)
        ]


def test_a_table_that_gets_another_key_leaves_the_sync_and_says_so(world):
    a, b, _ = parts(world, "local")
    a.execute("UPDATE use_local SET part_id = 1 WHERE id = 'u2'")
    steps = rebuild("part_local", "id INTEGER, v TEXT, PRIMARY KEY (v, id)", "id, v", STYLES[0])
    migrate(a, *steps)
    (warning,) = a.sync().warnings
    assert "part_local has another key now than (id)" in warning
    b.execute("UPDATE part_local SET v = 'b' WHERE id = 1")
    everyone_syncs(b, a)
    assert b.rows("SELECT part_id FROM use_local WHERE id = 'u2'") == [(1,)]
    assert a.rows("SELECT v FROM part_local WHERE id = 1") == [("old",)]
    migrate(a, *rebuild("part_local", "id INTEGER PRIMARY KEY, v", "id, v", STYLES[0]))
    everyone_syncs(a, b)
    assert a.identities() == b.identities()
    assert a.sync().warnings == ()


def test_a_key_in_another_order_is_another_key(world):
    a = world.device("a.db", "CREATE TABLE grid (x TEXT, y TEXT, v, PRIMARY KEY (x, y))", FREE)
    a.execute("INSERT INTO grid VALUES ('1', '2', 'v')")
    a.sync()
    b = a.clone("b.db")
    columns = "x TEXT, y TEXT, v, PRIMARY KEY (y, x)"
    migrate(a, *rebuild("grid", columns, "x, y, v", STYLES[0]))
    (warning,) = a.sync().warnings
    assert "grid has another key now than (x, y)" in warning
    b.sync()
    assert b.rows("SELECT * FROM grid") == [("1", "2", "v")]


def test_a_rebuild_that_takes_a_reference_away_or_adds_one_changes_no_meaning(world):
    a, b, _ = parts(world, "local")
    b.execute("INSERT INTO part_local VALUES (9, 'b')", "INSERT INTO use_local VALUES ('b', 9)")
    a.execute("INSERT INTO part_local VALUES (9, 'a')")
    steps = rebuild("use_local", "id TEXT PRIMARY KEY, part_id", "id, part_id", STYLES[0])
    migrate(a, *steps)
    a.execute("INSERT INTO use_local VALUES ('a', 9)")
    everyone_syncs(a, b)
    assert a.identities() == b.identities()
    named = "SELECT u.id, p.v FROM use_local AS u JOIN part_local AS p ON p.id = part_id ORDER BY 1"
    assert a.rows(named) == b.rows(named)
    assert ("a", "a") in b.rows(named)
    assert ("b", "b") in a.rows(named)


def test_most_of_a_table_missing_after_a_rebuild_stops_and_asks(world):
    a = world.device("a.db", "CREATE TABLE many (id INTEGER PRIMARY KEY, v)")
    a.put("INSERT INTO many VALUES (?, 0)", [(n,) for n in range(300)])
    a.sync()
    b = a.clone("b.db")
    steps = rebuild("many", "id INTEGER PRIMARY KEY, v, w", "id, v", STYLES[1])
    migrate(a, *steps[:2], "INSERT INTO many SELECT id, v, 1 FROM many_old LIMIT 10", steps[3])
    with pytest.raises(MassDelete, match="290 of 300 rows of many"):
        a.sync()
    a.sync(allow_mass_delete=True)
    b.sync()
    assert b.value("SELECT count(*) FROM many") == 10


@pytest.mark.parametrize("change", ["dropped column", "rebuild", "dropped table"])
def test_a_push_that_was_interrupted_goes_on_after_a_migration(world, monkeypatch, change):
    a = world.device("a.db", "CREATE TABLE sent (id INTEGER PRIMARY KEY, v, w)", FREE)
    a.execute("INSERT INTO sent VALUES (1, 1, 1), (2, 2, 2)")
    a.sync()
    b = a.clone("b.db")
    a.execute("UPDATE sent SET v = 'sealed' WHERE id = 1", "INSERT INTO free VALUES ('x', 1)")
    interrupt_push(a, monkeypatch)
    if change == "dropped column":
        migrate(a, "ALTER TABLE sent DROP COLUMN w")
    elif change == "rebuild":
        migrate(a, *rebuild("sent", "id INTEGER PRIMARY KEY, v", "id, v", STYLES[0]))
    else:
        migrate(a, "DROP TABLE sent")
    if change != "dropped table":
        a.execute("UPDATE sent SET v = 'later' WHERE id = 2")
    a.execute("UPDATE free SET v = 2")
    everyone_syncs(a, b)
    second = 2 if change == "dropped table" else "later"
    assert b.rows("SELECT * FROM sent") == [(1, "sealed", 1), (2, second, 2)]
    assert b.rows("SELECT * FROM free") == [("x", 2)]
    assert a.sync().pushed.rows == 0


def interrupt_push(device: Device, monkeypatch) -> None:
    """Seal a session and send it; whether it is committed is not known."""

    def lost(self, session_id):
        commit_push(self, session_id)
        raise ServerUnreachable("the answer was lost")

    commit_push = Transport.commit_push
    with monkeypatch.context() as patch, pytest.raises(ServerUnreachable):
        patch.setattr(Transport, "commit_push", lost)
        device.push()


def test_what_was_sealed_before_a_column_came_is_not_taken_for_changed_after_it(world, monkeypatch):
    a = world.device("a.db", "CREATE TABLE sealed (id TEXT PRIMARY KEY, v)")
    a.execute("INSERT INTO sealed VALUES ('x', 1)")
    interrupt_push(a, monkeypatch)
    a.execute("ALTER TABLE sealed ADD COLUMN w")
    assert a.push().pushed.rows == 1
    migrate(a, *rebuild("sealed", "id TEXT PRIMARY KEY, v, w, z", "id, v, w", STYLES[0]))
    assert a.push().pushed.rows == 0


def test_a_deletion_that_was_sealed_before_its_table_was_dropped_is_not_pushed_twice(
    world, monkeypatch
):
    schema = "CREATE TABLE undone (id TEXT PRIMARY KEY, v)"
    a = world.device("a.db", schema, FREE)
    a.execute("INSERT INTO undone VALUES ('x', 1)")
    a.sync()
    b = a.clone("b.db")
    a.execute("DELETE FROM undone")
    interrupt_push(a, monkeypatch)
    migrate(a, "DROP TABLE undone")
    a.sync()
    b.sync()
    b.execute("INSERT INTO undone VALUES ('x', 'again')")
    b.sync()
    migrate(a, schema)
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM undone") == b.rows("SELECT * FROM undone") == [("x", "again")]


@pytest.mark.parametrize("style", STYLES)
def test_uninstall_after_a_rebuild_leaves_the_schema_as_without_sync(world, style):
    schema = "CREATE TABLE bare (id INTEGER PRIMARY KEY, v)"
    twin, a = world.bare("twin.db", schema), world.device("a.db", schema)
    steps = rebuild("bare", "id INTEGER PRIMARY KEY, v, w", "id, v", style)
    migrate(twin, *steps)
    migrate(a, *steps)
    a.init()
    uninstall(a.path)
    assert a.schema() == twin.schema()
