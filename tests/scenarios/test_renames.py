"""The application renames tables and columns while sync is installed."""

import sqlite3
from contextlib import closing

import pytest
from support import Device, World, everyone_syncs

from syncsession_client.engine import SyncEngine
from syncsession_client.protocol.errors import SchemaChanging, ServerUnreachable
from syncsession_client.setup import uninstall
from syncsession_client.status import read_status
from syncsession_client.transport import Transport

PAINTER = "CREATE TABLE painter (id INTEGER PRIMARY KEY, name TEXT)"
CANVAS = (
    "CREATE TABLE canvas (id INTEGER PRIMARY KEY, title TEXT, "
    "painter_id INTEGER REFERENCES painter)"
)
TAGGED = (
    "CREATE TABLE tagged (painter_id INTEGER REFERENCES painter, tag TEXT, v, "
    "PRIMARY KEY (painter_id, tag))"
)
VOUCHER = "CREATE TABLE voucher (code TEXT PRIMARY KEY, v)"


@pytest.fixture
def pair(world: World) -> tuple[Device, Device]:
    a = world.device("a.db", PAINTER, CANVAS, TAGGED, VOUCHER)
    a.execute(
        "INSERT INTO painter VALUES (1, 'one'), (2, 'two')",
        "INSERT INTO canvas VALUES (1, 'first', 1), (2, 'second', 2)",
        "INSERT INTO tagged VALUES (1, 'x', 0), (2, 'y', 0)",
        "INSERT INTO voucher VALUES ('l', 0)",
    )
    a.sync()
    return a, a.clone("b.db")


def migrate(device: Device, *statements: str, legacy: bool = False, foreign_keys: bool = True):
    """Statements of a migration, each a transaction of its own."""
    with closing(sqlite3.connect(device.path, isolation_level=None)) as db:
        db.execute(f"PRAGMA legacy_alter_table = {int(legacy)}")
        db.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        for sql in statements:
            db.execute(sql)


def test_a_table_that_is_renamed_and_rebuilt_before_the_next_sync_is_known_by_its_rows(pair):
    a, b = pair
    known = a.identities()
    migrate(
        a,
        "ALTER TABLE painter RENAME TO performer",
        "CREATE TABLE performer_new (id INTEGER PRIMARY KEY, name TEXT, born)",
        "INSERT INTO performer_new SELECT id, name, NULL FROM performer",
        "DROP TABLE performer",
        "ALTER TABLE performer_new RENAME TO performer",
        foreign_keys=False,
    )
    a.execute("INSERT INTO performer VALUES (3, 'three', 1999)", foreign_keys=False)
    a.execute("INSERT INTO canvas VALUES (3, 'third', 3)", foreign_keys=False)
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM painter") == [(1, "one"), (2, "two"), (3, "three")]
    assert len({row[0] for row in a.identities()["performer"]}) == 3
    assert known["painter"] == [row for row in b.identities()["painter"] if row[1] != "three"]
    assert a.identities()["canvas"] == b.identities()["canvas"]


def test_a_copy_beside_its_original_is_another_table(pair):
    a, _ = pair
    a.execute("CREATE TABLE decal (code TEXT PRIMARY KEY, v)")
    a.execute("INSERT INTO decal SELECT * FROM voucher")
    a.sync()
    assert [t["name"] for t in read_status(a.path)["tables"]].count("voucher") == 1
    assert read_status(a.path)["new_tables"] == ["decal"]


@pytest.mark.parametrize("legacy", [True, False])
def test_a_missing_table_still_knows_the_rows_of_one_that_is_renamed(pair, legacy):
    a, b = pair
    a.execute("DROP TABLE tagged")
    a.sync()
    migrate(a, "ALTER TABLE painter RENAME TO performer", legacy=legacy, foreign_keys=False)
    a.sync()
    a.execute(TAGGED.replace("REFERENCES painter", "REFERENCES performer"))
    everyone_syncs(a, b)
    assert a.identities()["tagged"] == b.identities()["tagged"]


@pytest.mark.parametrize("foreign_keys", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_renamed_table_goes_on_with_devices_that_have_the_old_name(pair, legacy, foreign_keys):
    a, b = pair
    a.execute("UPDATE painter SET name = 'before' WHERE id = 1")
    migrate(a, "ALTER TABLE painter RENAME TO performer", legacy=legacy, foreign_keys=foreign_keys)
    a.execute("UPDATE performer SET name = 'after' WHERE id = 2", foreign_keys=False)
    a.execute("INSERT INTO performer VALUES (3, 'a')", foreign_keys=False)
    a.execute("INSERT INTO canvas VALUES (3, 'a', 3)", foreign_keys=False)
    b.execute("INSERT INTO painter VALUES (3, 'b')", "INSERT INTO canvas VALUES (3, 'b', 3)")
    synced = a.sync()
    assert synced.pushed.rows == 4  # not every row: the server has them
    everyone_syncs(b, a)
    names = (
        "SELECT al.title, p.name FROM canvas AS al JOIN {} AS p ON p.id = al.painter_id ORDER BY 1"
    )
    expected = [("a", "a"), ("b", "b"), ("first", "before"), ("second", "after")]
    assert a.rows(names.format("performer")) == b.rows(names.format("painter")) == expected
    assert a.identities()["performer"] == b.identities()["painter"]
    assert a.identities()["canvas"] == b.identities()["canvas"]
    assert a.identities()["tagged"] == b.identities()["tagged"]
    everyone_syncs(a, b)
    assert a.sync().pushed.rows == 0


def test_edits_under_both_names_meet_when_the_other_device_follows(pair):
    a, b = pair
    migrate(a, "ALTER TABLE painter RENAME TO performer")
    a.execute("UPDATE performer SET name = 'a' WHERE id = 1")
    a.sync()
    b.execute("UPDATE painter SET name = 'b' WHERE id = 2")
    b.sync()
    b.execute("DELETE FROM tagged WHERE painter_id = 1", "DELETE FROM canvas WHERE painter_id = 1")
    b.execute("INSERT INTO painter VALUES (9, 'unsent')", "DELETE FROM painter WHERE id = 1")
    migrate(b, "ALTER TABLE painter RENAME TO performer")
    everyone_syncs(b, a)
    assert a.rows("SELECT * FROM performer") == [(2, "b"), (9, "unsent")]
    assert a.rows("SELECT * FROM performer") == b.rows("SELECT * FROM performer")
    assert a.identities() == b.identities()


def test_what_is_kept_beside_a_renamed_table_has_its_new_name(pair):
    a, _ = pair
    migrate(a, "ALTER TABLE painter RENAME TO performer")
    a.execute("UPDATE performer SET name = 'new' WHERE id = 1")
    a.sync()
    assert a.rows("SELECT key_1, is_dirty FROM _sync_performer ORDER BY key_1") == [(1, 0), (2, 0)]
    assert not [name for _, name, *_ in a.schema() if "_sync_painter" in name]
    assert [t["name"] for t in read_status(a.path)["tables"]].count("performer") == 1


def test_a_clone_of_a_tenant_that_renamed_a_table_has_the_new_name(pair):
    a, b = pair
    migrate(
        a, "ALTER TABLE painter RENAME TO performer", "ALTER TABLE voucher RENAME COLUMN code TO c"
    )
    a.execute("INSERT INTO performer VALUES (3, 'three')", "INSERT INTO canvas VALUES (3, 't', 3)")
    a.sync()
    c = a.clone("c.db")
    assert c.rows("SELECT * FROM performer") == [(1, "one"), (2, "two"), (3, "three")]
    c.execute("UPDATE performer SET name = 'c'", "INSERT INTO voucher VALUES ('m', 1)")
    everyone_syncs(c, a, b)
    assert a.identities() == c.identities()
    assert b.rows("SELECT DISTINCT name FROM painter") == [("c",)]
    assert b.rows("SELECT * FROM voucher ORDER BY 1") == c.rows("SELECT * FROM voucher ORDER BY 1")
    assert c.orphans() == []


def test_a_device_that_is_set_up_with_the_new_name_meets_the_others(world):
    a = world.device("a.db", VOUCHER)
    a.execute("INSERT INTO voucher VALUES ('l', 0)")
    a.sync()
    migrate(a, "ALTER TABLE voucher RENAME TO decal")
    a.sync()
    b = world.device("b.db", VOUCHER.replace("voucher", "decal"))
    b.execute("INSERT INTO decal VALUES ('m', 1)")
    everyone_syncs(b, a)
    assert a.rows("SELECT * FROM decal ORDER BY 1") == [("l", 0), ("m", 1)]
    assert a.identities() == b.identities()
    c = world.device("c.db", VOUCHER)
    c.sync()
    assert c.identities()["voucher"] == a.identities()["decal"]


def test_a_device_that_may_not_describe_tables_can_rename_them(pair, world):
    a, b = pair
    b.token = world.server.token(world.tenant, "alice", "sync")
    migrate(b, "ALTER TABLE voucher RENAME TO decal", "ALTER TABLE painter RENAME COLUMN id TO nr")
    b.execute("INSERT INTO decal VALUES ('m', 1)")
    everyone_syncs(b, a)
    assert a.rows("SELECT * FROM voucher ORDER BY 1") == [("l", 0), ("m", 1)]


def test_a_new_table_under_the_old_name_of_a_renamed_one_is_another_table(pair):
    a, b = pair
    migrated = (
        "ALTER TABLE voucher RENAME TO decal",
        "CREATE TABLE voucher (id INTEGER PRIMARY KEY, w)",
        "INSERT INTO voucher VALUES (1, 'new')",
    )
    migrate(a, *migrated)
    a.sync()
    a.init(tables=("voucher",))
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM voucher") == [("l", 0)]
    migrate(b, *migrated)
    b.init(tables=("voucher",))
    everyone_syncs(b, a)
    assert a.rows("SELECT w FROM voucher") == [("new",), ("new",)]
    assert a.identities() == b.identities()


def test_tables_that_swap_their_names_keep_their_rows_apart(pair):
    a, b = pair
    other = "CREATE TABLE label2 (code TEXT PRIMARY KEY, v)"
    for device in (a, b):
        device.execute(other)
        device.init(tables=("label2",))
    a.execute("INSERT INTO label2 VALUES ('second', 2)")
    everyone_syncs(a, b)
    migrate(
        a,
        "ALTER TABLE voucher RENAME TO aside",
        "ALTER TABLE label2 RENAME TO voucher",
        "ALTER TABLE aside RENAME TO label2",
    )
    a.execute("UPDATE voucher SET v = 'changed'")
    synced = a.sync()
    assert synced.pushed.rows == 1
    b.sync()
    assert b.rows("SELECT * FROM label2") == [("second", "changed")]
    assert b.rows("SELECT * FROM voucher") == [("l", 0)]


def test_a_table_whose_name_changes_its_case_only_goes_on(pair):
    a, b = pair
    migrate(a, "ALTER TABLE voucher RENAME TO aside", "ALTER TABLE aside RENAME TO Label")
    a.execute("UPDATE Label SET v = 1")
    assert a.sync().pushed.rows == 1
    b.execute("INSERT INTO voucher VALUES ('m', 2)")
    everyone_syncs(b, a)
    assert a.rows("SELECT * FROM Label ORDER BY 1") == [("l", 1), ("m", 2)]
    assert b.rows("SELECT * FROM voucher ORDER BY 1") == [("l", 1), ("m", 2)]


def test_a_table_is_followed_through_several_renames_and_back(pair):
    a, b = pair
    for name, new in (("voucher", "one"), ("one", "two"), ("two", "voucher")):
        migrate(a, f"ALTER TABLE {name} RENAME TO {new}")
        a.execute(f"UPDATE {new} SET v = '{new}'")
        everyone_syncs(a, b)
        assert b.rows("SELECT v FROM voucher") == [(new,)]
    assert b.identities()["voucher"] == a.identities()["voucher"]


@pytest.mark.parametrize("table", ["painter", "voucher"])
def test_a_renamed_column_of_the_key_goes_on_with_devices_that_have_the_old_name(pair, table):
    a, b = pair
    key = {"painter": "id", "voucher": "code"}[table]
    value = {"painter": "name", "voucher": "v"}[table]
    migrate(a, f"ALTER TABLE {table} RENAME COLUMN {key} TO the_key")
    a.execute(f"UPDATE {table} SET {value} = 'a'", f"INSERT INTO {table} VALUES ('77', 'new')")
    b.execute(f"INSERT INTO {table} VALUES ('88', 'b')")
    everyone_syncs(a, b)
    everything = f"SELECT * FROM {table} ORDER BY 1"
    assert a.rows(everything) == b.rows(everything)
    migrate(b, f"ALTER TABLE {table} RENAME COLUMN {key} TO the_key")
    b.execute(f"DELETE FROM {table} WHERE the_key = '77'")
    everyone_syncs(b, a)
    assert a.identities() == b.identities()
    assert a.rows(everything) == a.clone("c.db").rows(everything)


def test_a_renamed_part_of_a_composite_key_that_is_a_reference_goes_on(pair):
    a, b = pair
    migrate(a, "ALTER TABLE tagged RENAME COLUMN painter_id TO performer_id")
    a.execute("INSERT INTO painter VALUES (5, 'five')", "INSERT INTO tagged VALUES (5, 'z', 5)")
    b.execute("INSERT INTO painter VALUES (5, 'other')", "INSERT INTO tagged VALUES (5, 'z', 6)")
    everyone_syncs(a, b)
    assert a.identities() == b.identities()
    assert len(a.rows("SELECT * FROM tagged")) == 4


def test_the_values_of_a_renamed_column_reach_those_that_rename_it_later(pair):
    a, b = pair
    migrate(a, "ALTER TABLE voucher RENAME COLUMN v TO w")
    a.sync()
    b.execute(
        "UPDATE voucher SET v = 'unsent' WHERE code = 'l'", "INSERT INTO voucher VALUES ('m', 5)"
    )
    everyone_syncs(b, a)
    assert b.rows("SELECT * FROM voucher ORDER BY 1") == [("l", "unsent"), ("m", 5)]
    assert a.rows("SELECT * FROM voucher ORDER BY 1") == [("l", 0), ("m", None)]
    a.execute("UPDATE voucher SET w = 'newer' WHERE code = 'l'")
    a.sync()
    migrate(b, "ALTER TABLE voucher RENAME COLUMN v TO w")
    everyone_syncs(b, a)
    expected = [("l", "newer"), ("m", 5)]
    assert b.rows("SELECT code, w FROM voucher ORDER BY 1") == expected
    assert a.rows("SELECT code, w FROM voucher ORDER BY 1") == expected


def test_a_column_set_up_as_a_reference_stays_one_when_it_is_renamed(world):
    plain = "CREATE TABLE single (id INTEGER PRIMARY KEY, painter_id INTEGER)"
    a = world.device("a.db", PAINTER, plain, references=(("single", "painter_id", "painter"),))
    a.execute("INSERT INTO painter VALUES (1, 'a')", "INSERT INTO single VALUES (1, 1)")
    a.sync()
    b = a.clone("b.db")
    for device in (a, b):
        migrate(device, "ALTER TABLE single RENAME COLUMN painter_id TO performer_id")
        name = device.path.stem
        device.execute(
            f"INSERT INTO painter VALUES (2, '{name}')", "INSERT INTO single VALUES (2, 2)"
        )
    everyone_syncs(a, b)
    assert a.identities() == b.identities()
    joined = "SELECT name FROM single JOIN painter ON painter.id = performer_id ORDER BY 1"
    assert a.rows(joined) == b.rows(joined) == [("a",), ("a",), ("b",)]


def test_a_push_that_was_interrupted_goes_on_after_its_table_was_renamed(pair, monkeypatch):
    a, b = pair
    a.execute("UPDATE voucher SET v = 'sealed'", "INSERT INTO painter VALUES (3, 'sealed')")

    def lost(self, session_id):
        raise ServerUnreachable("the request was lost")

    with monkeypatch.context() as patch, pytest.raises(ServerUnreachable):
        patch.setattr(Transport, "commit_push", lost)
        a.sync()
    migrate(
        a,
        "ALTER TABLE voucher RENAME TO decal",
        "ALTER TABLE painter RENAME COLUMN id TO painter_no",
    )
    a.execute("INSERT INTO decal VALUES ('n', 1)")
    assert a.sync().pushed.rows == 3
    b.sync()
    assert b.rows("SELECT * FROM voucher ORDER BY 1") == [("l", "sealed"), ("n", 1)]
    assert b.rows("SELECT name FROM painter WHERE id = 3") == [("sealed",)]
    assert a.sync().pushed.rows == 0


def test_a_pull_that_was_interrupted_goes_on_after_a_table_was_renamed(pair, monkeypatch):
    a, b = pair
    b.put("INSERT INTO voucher VALUES (?, 1)", [(f"{n}",) for n in range(10_500)])
    b.sync()
    get_batch = Transport.get_batch
    fetched = []

    def lost(self, pull_id, number):
        if number > 2:
            raise ServerUnreachable("the answer was lost")
        fetched.append(number)
        return get_batch(self, pull_id, number)

    with monkeypatch.context() as patch, pytest.raises(ServerUnreachable):
        patch.setattr(Transport, "get_batch", lost)
        a.sync()
    migrate(a, "ALTER TABLE voucher RENAME TO decal")
    a.sync()
    assert a.value("SELECT count(*) FROM decal") == 10_501


def test_a_rename_in_the_middle_of_a_sync_is_tried_again_later(pair, monkeypatch):
    a, b = pair
    a.execute("UPDATE voucher SET v = 'edit'")
    push = SyncEngine._push

    def renamed(self):
        migrate(a, "ALTER TABLE voucher RENAME TO decal")
        return push(self)

    with (
        monkeypatch.context() as patch,
        pytest.raises(SchemaChanging, match="changing the tables of"),
    ):
        patch.setattr(SyncEngine, "_push", renamed)
        a.sync()
    everyone_syncs(a, b)
    assert b.rows("SELECT v FROM voucher") == [("edit",)]


@pytest.mark.parametrize("is_synced_before", [False, True])
def test_uninstall_after_renames_leaves_the_schema_as_without_sync(world, is_synced_before):
    statements = (
        "ALTER TABLE painter RENAME TO performer",
        "ALTER TABLE performer RENAME COLUMN id TO performer_id",
        "ALTER TABLE voucher RENAME COLUMN v TO w",
    )
    twin = world.bare("twin.db", PAINTER, CANVAS, TAGGED, VOUCHER)
    a = world.device("a.db", PAINTER, CANVAS, TAGGED, VOUCHER)
    a.sync()
    migrate(a, *statements)
    migrate(twin, *statements)
    if is_synced_before:
        a.sync()
        a.init()
    uninstall(a.path)
    assert a.schema() == twin.schema()
    a.init()
    assert [t["name"] for t in read_status(a.path)["tables"]].count("performer") == 1
