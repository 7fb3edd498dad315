"""The application drops synced tables, or creates tables, while sync is installed."""

import pytest
from support import Device, World, everyone_syncs

from syncsession_client.protocol.errors import AlreadyInitialized, MassDelete
from syncsession_client.setup import uninstall
from syncsession_client.status import read_status

BOX = "CREATE TABLE box (id INTEGER PRIMARY KEY, v)"
LID = "CREATE TABLE lid (id TEXT PRIMARY KEY, v)"
OWNER = "CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT)"
PET = (
    "CREATE TABLE pet (id INTEGER PRIMARY KEY, name TEXT, "
    "owner_id INTEGER REFERENCES owner (id) ON DELETE CASCADE)"
)


@pytest.fixture
def pair(world: World) -> tuple[Device, Device]:
    a = world.device("a.db", BOX, LID)
    a.execute("INSERT INTO box VALUES (1, 'one'), (2, 'two')", "INSERT INTO lid VALUES ('x', 1)")
    a.sync()
    return a, a.clone("b.db")


@pytest.fixture
def owners(world: World) -> tuple[Device, Device]:
    a = world.device("a.db", OWNER, PET)
    a.put("INSERT INTO owner VALUES (?, 'o')", [(n,) for n in range(1, 4)])
    a.put("INSERT INTO pet VALUES (?, 'p', ?)", [(n, n % 3 + 1) for n in range(1, 200)])
    a.sync()
    return a, a.clone("b.db")


def test_a_dropped_table_leaves_the_sync_and_nothing_is_deleted_elsewhere(pair):
    a, b = pair
    a.execute("DROP TABLE box", "UPDATE lid SET v = 2")
    b.execute("INSERT INTO box VALUES (3, 'three')")
    (warning,) = a.sync().warnings
    assert "the table box is gone from" in warning
    assert "--exclude box" in warning
    everyone_syncs(b, a)
    assert b.rows("SELECT * FROM box") == [(1, "one"), (2, "two"), (3, "three")]
    assert b.rows("SELECT * FROM lid") == a.rows("SELECT * FROM lid") == [("x", 2)]
    assert len(a.clone("c.db").rows("SELECT * FROM box")) == 3


def test_a_dropped_table_is_named_by_every_sync_and_by_status_until_it_is_forgotten(pair):
    a, _ = pair
    a.execute("DROP TABLE box")
    assert [len(a.sync().warnings) for _ in range(2)] == [1, 1]
    status = read_status(a.path)
    assert (status["missing_tables"], [t["name"] for t in status["tables"]]) == (["box"], ["lid"])
    a.init(exclude=("box",))
    assert a.sync().warnings == ()
    assert read_status(a.path)["missing_tables"] == []
    assert not [name for _, name, *_ in a.schema() if "box" in name]


def test_a_table_that_is_created_again_gets_its_rows_back(pair):
    a, b = pair
    a.execute("DROP TABLE box")
    a.sync()
    b.execute("UPDATE box SET v = 'newer' WHERE id = 2")
    b.sync()
    a.execute(BOX, "INSERT INTO box VALUES (9, 'nine')")
    everyone_syncs(a, b)
    expected = [(1, "one"), (2, "newer"), (9, "nine")]
    assert a.rows("SELECT * FROM box ORDER BY id") == expected
    assert b.rows("SELECT * FROM box ORDER BY id") == expected
    assert a.identities() == b.identities()


def test_a_table_that_was_forgotten_can_be_taken_in_again(pair):
    a, b = pair
    a.execute("DROP TABLE lid")
    a.sync()
    a.init(exclude=("lid",))
    a.execute(LID, "INSERT INTO lid VALUES ('y', 5)")
    a.init(tables=("lid",))
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM lid ORDER BY id") == [("x", 1), ("y", 5)]
    assert b.rows("SELECT * FROM lid ORDER BY id") == [("x", 1), ("y", 5)]


def test_a_table_whose_rows_others_stand_for_cannot_be_forgotten(owners):
    a, _ = owners
    a.execute("DROP TABLE owner", foreign_keys=False)
    with pytest.raises(AlreadyInitialized, match=r"pet\.owner_id stands for rows of owner"):
        a.init(exclude=("owner",))


def test_children_of_a_dropped_parent_go_on_with_what_they_reference(owners):
    a, b = owners
    a.execute("DROP TABLE owner", foreign_keys=False)
    a.execute("INSERT INTO pet VALUES (1000, 'new', 2)", foreign_keys=False)
    b.execute("INSERT INTO owner VALUES (8, 'eight')", "INSERT INTO pet VALUES (900, 'b', 8)")
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM pet WHERE id = 1000") == [(1000, "new", 2)]
    a.execute(OWNER)
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM owner") == b.rows("SELECT * FROM owner")
    assert a.identities() == b.identities()
    assert a.orphans() == []


def test_dropping_every_table_leaves_a_sync_that_does_nothing(world):
    a = world.device("a.db", "CREATE TABLE only_one (id TEXT PRIMARY KEY, v)")
    a.execute("INSERT INTO only_one VALUES ('x', 1)")
    a.sync()
    a.execute("DROP TABLE only_one")
    synced = a.sync()
    assert (synced.pushed.rows, synced.pulled.rows, len(synced.warnings)) == (0, 0, 1)


def test_a_drop_that_cascaded_into_most_of_a_table_stops_and_asks(owners):
    a, b = owners
    a.execute("DROP TABLE owner", foreign_keys=True)
    assert a.value("SELECT count(*) FROM pet") == 0
    for _ in range(2):
        with pytest.raises(MassDelete, match=r"199 of 199 rows of pet.*dropped or rebuilt.*backup"):
            a.sync()
        (warning,) = read_status(a.path)["warnings"]
        assert "199 of 199 rows of pet" in warning
    assert b.sync().pulled.rows == 0
    a.sync(allow_mass_delete=True)
    b.sync()
    assert b.value("SELECT count(*) FROM pet") == 0
    assert b.value("SELECT count(*) FROM owner") == 3


def test_a_parent_rebuilt_with_foreign_keys_on_stops_and_asks_too(owners):
    a, b = owners
    a.execute(
        "CREATE TABLE owner_new (id INTEGER PRIMARY KEY, name TEXT, age INTEGER)",
        "INSERT INTO owner_new SELECT id, name, 1 FROM owner",
        "DROP TABLE owner",
        "ALTER TABLE owner_new RENAME TO owner",
        foreign_keys=True,
    )
    with pytest.raises(MassDelete, match="199 of 199 rows of pet"):
        a.sync()
    assert b.sync().pulled.rows == 0


def test_a_cascade_is_remembered_though_a_fold_has_made_tombstones_of_it(owners, monkeypatch):
    a, _ = owners
    a.execute("DELETE FROM pet WHERE id > 10")  # a program's own deletion, seen by a trigger
    assert read_status(a.path)["tables"][1]["dirty_rows"] == 189
    a.execute("DROP TABLE owner", foreign_keys=False)
    with pytest.raises(MassDelete, match="189 of 199 rows of pet"):
        a.push()


def test_a_small_cascade_is_pushed_as_the_deletions_that_it_made(world):
    a = world.device("a.db", OWNER, PET)
    a.execute("INSERT INTO owner VALUES (1, 'o')", "INSERT INTO pet VALUES (1, 'p', 1)")
    a.sync()
    b = a.clone("b.db")
    a.execute("DROP TABLE owner", foreign_keys=True)
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM pet") == []
    assert b.rows("SELECT * FROM owner") == [(1, "o")]


def test_a_table_that_came_back_after_a_cascade_was_dropped_with_it_loses_nothing(owners):
    a, b = owners
    a.execute("DROP TABLE owner", "DROP TABLE pet", foreign_keys=True)
    a.sync()
    a.execute(OWNER, PET)
    everyone_syncs(a, b)
    assert b.value("SELECT count(*) FROM pet") == 199
    assert a.identities() == b.identities()


def test_a_new_table_is_told_once_by_sync_and_always_by_status(pair):
    a, _ = pair
    a.execute("CREATE TABLE jar (id TEXT PRIMARY KEY)")
    (warning,) = a.sync().warnings
    assert "the table jar is not synced" in warning
    assert "--table jar" in warning
    assert a.sync().warnings == ()
    assert read_status(a.path)["new_tables"] == ["jar"]
    a.init(tables=("jar",))
    assert read_status(a.path)["new_tables"] == []
    assert a.sync().warnings == ()


def test_nobody_is_told_of_tables_that_were_left_out_on_purpose(world):
    a = world.device("a.db", LID, "CREATE TABLE no_key (v)", "CREATE TABLE c (id)", exclude=("c",))
    a.execute("CREATE TABLE jar (id TEXT PRIMARY KEY)", "CREATE TABLE can (id TEXT PRIMARY KEY)")
    a.init(exclude=("can",))
    assert read_status(a.path)["new_tables"] == ["jar"]
    a.execute("ALTER TABLE lid ADD COLUMN w")
    (warning,) = a.sync().warnings
    assert "jar" in warning


def test_a_new_table_that_a_synced_one_references_is_taken_in_with_it(pair):
    a, b = pair
    grown = (
        "CREATE TABLE shelf (id INTEGER PRIMARY KEY, name TEXT)",
        "ALTER TABLE box ADD COLUMN shelf_id INTEGER REFERENCES shelf",
    )
    a.execute(*grown, "INSERT INTO shelf VALUES (7, 'top')", "UPDATE box SET shelf_id = 7")
    (warning,) = a.sync().warnings
    assert "shelf is synced too now" in warning
    b.execute(*grown, "INSERT INTO shelf VALUES (7, 'other')", "INSERT INTO box VALUES (5, 'b', 7)")
    everyone_syncs(b, a)
    assert a.identities() == b.identities()
    joined = "SELECT b.v, s.name FROM box AS b JOIN shelf AS s ON s.id = b.shelf_id ORDER BY b.id"
    assert a.rows(joined) == b.rows(joined) == [("one", "top"), ("two", "top"), ("b", "other")]


@pytest.mark.parametrize("is_synced_before", [False, True])
def test_uninstall_after_a_drop_leaves_nothing_behind(pair, is_synced_before):
    a, _ = pair
    a.execute("DROP TABLE box")
    if is_synced_before:
        a.sync()
    uninstall(a.path)
    assert a.schema() == [
        ("table", "lid", "lid", LID),
        ("index", "sqlite_autoindex_lid_1", "lid", None),
    ]
