"""Keys: what identifies a row for everyone, and what only on its own device."""

import pytest
from support import World, everyone_syncs

from syncsession_client.protocol.errors import (
    AlreadyInitialized,
    OutsideReference,
    SchemaContradiction,
    Unsyncable,
)
from syncsession_server.stores.mysql import MysqlStore

ORDER = "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT)"
LINE = (
    "CREATE TABLE order_lines (order_id INTEGER NOT NULL REFERENCES orders (id) ON DELETE CASCADE "
    "ON UPDATE CASCADE, line INTEGER NOT NULL, item TEXT, PRIMARY KEY (order_id, line))"
)
ORDERS = "SELECT customer, line, item FROM orders JOIN order_lines ON order_id = id ORDER BY 1, 2"


@pytest.fixture
def pair(world: World):
    a = world.device("a.db", ORDER, LINE)
    a.execute(
        "INSERT INTO orders VALUES (1, 'first')", "INSERT INTO order_lines VALUES (1, 1, 'x')"
    )
    a.sync()
    return a, a.clone("b.db")


def test_a_composite_key_made_of_a_reference_follows_the_row_it_references(pair):
    a, b = pair
    a.execute("INSERT INTO orders VALUES (2, 'of a')", "INSERT INTO order_lines VALUES (2, 1, 'a')")
    b.execute(
        "INSERT INTO orders VALUES (2, 'of b')",
        "INSERT INTO order_lines VALUES (2, 1, 'b'), (2, 2, 'bb')",
    )
    everyone_syncs(a, b)
    expected = [("first", 1, "x"), ("of a", 1, "a"), ("of b", 1, "b"), ("of b", 2, "bb")]
    assert a.rows(ORDERS) == b.rows(ORDERS) == expected
    assert a.identities() == b.identities()
    assert a.orphans() == b.orphans() == []


def test_a_line_deleted_on_the_device_that_numbers_its_order_otherwise_is_deleted_everywhere(pair):
    a, b = pair
    a.execute("INSERT INTO orders VALUES (2, 'of a')", "INSERT INTO order_lines VALUES (2, 1, 'a')")
    b.execute("INSERT INTO orders VALUES (2, 'of b')", "INSERT INTO order_lines VALUES (2, 1, 'b')")
    everyone_syncs(a, b)
    b.execute("DELETE FROM order_lines WHERE item = 'a'")
    everyone_syncs(b, a)
    assert a.rows(ORDERS) == b.rows(ORDERS) == [("first", 1, "x"), ("of b", 1, "b")]


def test_an_integer_key_that_is_changed_keeps_the_identity_of_its_row(pair):
    a, b = pair
    a.execute("UPDATE orders SET id = 77 WHERE id = 1", "UPDATE orders SET customer = 'moved'")
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM orders") == [(77, "moved")]
    assert b.rows("SELECT * FROM orders") == [(1, "moved")]
    assert a.rows("SELECT * FROM order_lines") == [(77, 1, "x")]
    assert b.rows("SELECT * FROM order_lines") == [(1, 1, "x")]
    assert a.identities() == b.identities()


def test_a_chain_of_changed_integer_keys_swaps_two_rows(pair):
    a, b = pair
    a.execute("INSERT INTO orders VALUES (2, 'second')")
    everyone_syncs(a, b)
    before = b.identities()
    a.execute(
        "UPDATE orders SET id = -1 WHERE id = 1",
        "UPDATE orders SET id = 1 WHERE id = 2",
        "UPDATE orders SET id = 2 WHERE id = -1",
    )
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM orders ORDER BY id") == [(1, "second"), (2, "first")]
    assert a.identities() == b.identities() == before


def test_a_deleted_integer_that_is_used_again_is_another_row(pair):
    a, b = pair
    a.execute("INSERT INTO orders VALUES (2, 'second')")
    everyone_syncs(a, b)
    old = {row[0] for row in b.identities()["orders"]}
    a.execute(
        "DELETE FROM orders WHERE id = 2",
        "DELETE FROM order_lines",
        "INSERT INTO orders VALUES (3, 'between')",
        "INSERT INTO orders VALUES (2, 'reborn')",
        "INSERT INTO order_lines VALUES (2, 9, 'y')",
    )
    b.execute("UPDATE orders SET customer = 'edited by b' WHERE id = 2")
    everyone_syncs(a, b)
    assert a.identities() == b.identities()
    fresh = {row[0] for row in a.identities()["orders"]} - old
    assert len(fresh) == 2
    assert ("reborn", 9, "y") in a.rows(ORDERS)
    assert a.rows(ORDERS) == b.rows(ORDERS)


def test_replace_keeps_the_identity_of_a_row_with_a_local_key(pair):
    a, b = pair
    before = [row[0] for row in a.identities()["orders"]]
    a.execute("INSERT OR REPLACE INTO orders VALUES (1, 'replaced')", foreign_keys=False)
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM orders") == [(1, "replaced")]
    assert [row[0] for row in b.identities()["orders"]] == before


def test_a_table_that_shares_its_parents_key_follows_the_parent(world):
    person = "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)"
    detail = "CREATE TABLE detail (id INTEGER PRIMARY KEY REFERENCES person (id), phone TEXT)"
    a = world.device("a.db", person, detail)
    a.sync()
    b = a.clone("b.db")
    a.execute("INSERT INTO person VALUES (1, 'ann')", "INSERT INTO detail VALUES (1, '111')")
    b.execute("INSERT INTO person VALUES (1, 'bob')", "INSERT INTO detail VALUES (1, '222')")
    everyone_syncs(a, b)
    phones = "SELECT name, phone FROM person JOIN detail USING (id) ORDER BY name"
    assert a.rows(phones) == b.rows(phones) == [("ann", "111"), ("bob", "222")]


UNDECLARED = (
    "CREATE TABLE box (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE thing (id INTEGER PRIMARY KEY, box_id INTEGER, name TEXT)",
)
THINGS = "SELECT t.name, b.name FROM thing AS t LEFT JOIN box AS b ON b.id = t.box_id ORDER BY 1"


def test_a_reference_that_is_not_declared_is_translated_when_it_is_named(world):
    a = world.device("a.db", *UNDECLARED, references=(("thing", "box_id", "box"),))
    a.sync()
    b = a.clone("b.db")
    a.execute("INSERT INTO box VALUES (1, 'A')", "INSERT INTO thing VALUES (1, 1, 'in a')")
    b.execute("INSERT INTO box VALUES (1, 'B')", "INSERT INTO thing VALUES (1, 1, 'in b')")
    everyone_syncs(a, b)
    assert a.rows(THINGS) == b.rows(THINGS) == [("in a", "A"), ("in b", "B")]


def test_zero_means_no_row_and_travels_as_it_is(world):
    a = world.device("a.db", *UNDECLARED, references=(("thing", "box_id", "box"),))
    a.execute("INSERT INTO thing VALUES (1, 0, 'loose'), (2, NULL, 'none'), (3, -1, 'minus')")
    a.sync()
    b = a.clone("b.db")
    assert b.rows("SELECT id, box_id FROM thing ORDER BY id") == [(1, 0), (2, None), (3, -1)]


def test_a_reference_to_a_row_that_comes_later_keeps_its_meaning(world):
    a = world.device("a.db", *UNDECLARED, references=(("thing", "box_id", "box"),))
    a.sync()
    b = a.clone("b.db")
    b.execute("INSERT INTO box VALUES (5, 'of b')")
    b.sync()
    a.execute("INSERT INTO thing VALUES (1, 5, 'waits')")
    everyone_syncs(a, b)
    assert b.rows(THINGS) == [("waits", None)]
    a.execute("UPDATE box SET name = name")
    waiting = b.value("SELECT box_id FROM thing")
    assert waiting != 5
    a.execute("DELETE FROM box WHERE id = 5", "INSERT INTO box VALUES (5, 'of a')")
    everyone_syncs(a, b)
    assert a.identities() == b.identities()
    assert ("waits", "of a") in a.rows(THINGS)
    assert ("waits", "of a") in b.rows(THINGS)


def test_global_integer_keys_are_the_same_row_on_every_device(world):
    a = world.device(
        "a.db", "CREATE TABLE code (id INTEGER PRIMARY KEY, v TEXT)", keys={"code": "global"}
    )
    a.sync()
    b = a.clone("b.db")
    a.execute("INSERT INTO code VALUES (1, 'of a')")
    b.execute("INSERT INTO code VALUES (1, 'of b')")
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM code") == b.rows("SELECT * FROM code") == [(1, "of b")]


def test_natural_composite_keys_are_the_same_row_on_every_device(world):
    sql = (
        "CREATE TABLE price (shop TEXT, item BLOB, p REAL, PRIMARY KEY (shop, item)) WITHOUT ROWID"
    )
    a = world.device("a.db", sql)
    a.execute("INSERT INTO price VALUES ('s', x'00ff', 1.5), ('s', 'text', 2), ('S', x'00ff', 3)")
    a.sync()
    b = a.clone("b.db")
    b.execute("UPDATE price SET p = 9 WHERE shop = 'S'", "DELETE FROM price WHERE item = 'text'")
    everyone_syncs(b, a)
    expected = [("S", b"\x00\xff", 9.0), ("s", b"\x00\xff", 1.5)]
    assert a.rows("SELECT * FROM price ORDER BY shop") == expected
    assert b.rows("SELECT * FROM price ORDER BY shop") == expected


def test_a_changed_text_key_is_one_row_gone_and_another_come(world):
    a = world.device("a.db", "CREATE TABLE tag (name TEXT PRIMARY KEY, n INTEGER)")
    a.execute("INSERT INTO tag VALUES ('old', 1), ('stays', 2)")
    a.sync()
    b = a.clone("b.db")
    a.execute("UPDATE tag SET name = 'new' WHERE name = 'old'")
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM tag ORDER BY 1") == [("new", 1), ("stays", 2)]


def test_rows_that_swap_a_unique_value_apply(world):
    a = world.device(
        "a.db", "CREATE TABLE seat (id TEXT PRIMARY KEY, place INTEGER UNIQUE NOT NULL)"
    )
    a.execute("INSERT INTO seat VALUES ('x', 1), ('y', 2)")
    a.sync()
    b = a.clone("b.db")
    a.execute(
        "UPDATE seat SET place = 3 WHERE id = 'x'",
        "UPDATE seat SET place = 1 WHERE id = 'y'",
        "UPDATE seat SET place = 2 WHERE id = 'x'",
    )
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM seat ORDER BY id") == [("x", 2), ("y", 1)]


def test_tables_that_reference_each_other_in_a_circle_arrive_whole(world):
    a = world.device(
        "a.db",
        "CREATE TABLE hen (id INTEGER PRIMARY KEY, egg_id INTEGER REFERENCES egg (id))",
        "CREATE TABLE egg (id INTEGER PRIMARY KEY, hen_id INTEGER REFERENCES hen (id))",
    )
    a.execute(
        "PRAGMA defer_foreign_keys = ON",
        "INSERT INTO hen VALUES (1, 1)",
        "INSERT INTO egg VALUES (1, 1)",
    )
    a.sync()
    b = a.clone("b.db")
    assert b.rows("SELECT * FROM hen JOIN egg ON egg_id = egg.id") == [(1, 1, 1, 1)]
    assert b.orphans() == []


def test_a_reference_to_a_table_outside_the_sync_is_refused(world):
    a = world.bare("a.db", ORDER, LINE)
    before = a.schema()
    with pytest.raises(OutsideReference, match="order_lines references orders"):
        a.init(exclude=("orders",))
    assert a.schema() == before


def test_a_text_key_cannot_be_local(world):
    a = world.bare("a.db", "CREATE TABLE tag (name TEXT PRIMARY KEY)")
    with pytest.raises(Unsyncable, match="--key tag=global"):
        a.init(keys={"tag": "local"})


def test_two_devices_that_key_a_table_differently_are_told_so(world):
    sql = "CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER)"
    world.device("a.db", sql).sync()
    b = world.device("b.db", sql, keys={"counter": "global"})
    with pytest.raises(SchemaContradiction, match="--key counter=local"):
        b.sync()


def test_a_key_whose_letters_change_case_only_reaches_the_others(world):
    a = world.device("a.db", "CREATE TABLE word (w TEXT PRIMARY KEY COLLATE NOCASE, n INTEGER)")
    a.execute("INSERT INTO word VALUES ('abc', 1)")
    a.sync()
    b = a.clone("b.db")
    a.execute("UPDATE word SET w = 'ABC'")
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM word") == [("ABC", 1)]


SHOP = (
    "CREATE TABLE buyer (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE bill (id INTEGER PRIMARY KEY, buyer_id INTEGER REFERENCES buyer (id))",
    "CREATE TABLE wish (buyer_id INTEGER REFERENCES buyer (id), item TEXT, "
    "PRIMARY KEY (buyer_id, item))",
)
BUYERS = (
    "SELECT b.id, y.name FROM bill AS b LEFT JOIN buyer AS y ON y.id = b.buyer_id ORDER BY b.id"
)


@pytest.fixture
def shops(world):
    """Programs that do not enforce their references, and do not want the server to."""
    world.leave_references("bill", "wish")
    a = world.device("a.db", *SHOP)
    a.execute("INSERT INTO buyer VALUES (1, 'ann'), (2, 'old')")
    a.sync()
    return a, a.clone("b.db")


def test_a_child_of_a_row_that_is_gone_does_not_come_to_the_one_that_has_its_integer_now(shops):
    a, b = shops
    a.execute("DELETE FROM buyer WHERE id = 2")
    a.execute("INSERT INTO buyer (name) VALUES ('new')")
    b.execute("INSERT INTO bill VALUES (1, 2)", "INSERT INTO wish VALUES (2, 'of old')")
    a.execute("INSERT INTO wish VALUES (2, 'of new')", "INSERT INTO wish VALUES (2, 'of old')")
    everyone_syncs(a, b)
    assert a.value("SELECT name FROM buyer WHERE id = 2") == "new"
    assert a.rows(BUYERS) == b.rows(BUYERS) == [(1, None)]
    c = a.clone("c.db")
    assert a.identities() == b.identities() == c.identities()
    wishes = "SELECT name, item FROM wish JOIN buyer ON id = buyer_id ORDER BY item"
    assert a.rows(wishes) == b.rows(wishes) == [("new", "of new"), ("new", "of old")]


def test_children_of_an_integer_that_another_row_gets_in_a_later_sync_are_sent_again(shops):
    a, b = shops
    a.execute("INSERT INTO bill VALUES (1, 2)")
    everyone_syncs(a, b)
    a.execute("DELETE FROM buyer WHERE id = 2", foreign_keys=False)
    a.sync()
    a.execute("INSERT INTO buyer VALUES (2, 'new')")
    everyone_syncs(a, b)
    assert a.rows(BUYERS) == b.rows(BUYERS) == [(1, "new")]
    assert a.identities() == b.identities()


def test_the_integer_made_up_for_a_missing_row_is_not_the_next_one_that_sqlite_makes(shops):
    a, b = shops
    a.execute("INSERT INTO buyer VALUES (9, 'gone soon')", "INSERT INTO bill VALUES (1, 9)")
    a.execute("DELETE FROM buyer WHERE id = 9", foreign_keys=False)
    everyone_syncs(a, b)
    b.execute("INSERT INTO buyer (name) VALUES ('next of b')")
    everyone_syncs(b, a)
    assert a.rows(BUYERS) == b.rows(BUYERS) == [(1, None)]
    assert a.identities() == b.identities()


def test_rows_that_waited_for_one_that_comes_later_point_to_it(world):
    world.leave_references("bill", "wish")
    a = world.device("a.db", *SHOP)
    a.sync()
    b, c = a.clone("b.db"), a.clone("c.db")
    c.execute("INSERT INTO buyer VALUES (1, 'of c')")
    a.execute("INSERT INTO bill VALUES (1, 1)", foreign_keys=False)
    a.execute("INSERT INTO wish VALUES (1, 'w')", foreign_keys=False)
    a.sync()
    everyone_syncs(c, b)
    assert b.rows(BUYERS) == c.rows(BUYERS) == [(1, None)]
    a.execute("INSERT INTO buyer VALUES (1, 'of a')")
    everyone_syncs(a, b, c)
    for device in (a, b, c):
        assert device.rows(BUYERS) == [(1, "of a")]
        assert device.rows("SELECT name FROM wish JOIN buyer ON id = buyer_id") == [("of a",)]
        assert device.orphans() == []
    assert a.identities() == b.identities() == c.identities()


def test_what_an_application_says_none_with_is_not_taken_for_a_missing_row(world):
    a = world.device("a.db", *UNDECLARED, references=(("thing", "box_id", "box"),))
    a.sync()
    b = a.clone("b.db")
    a.execute("INSERT INTO thing VALUES (1, 7, 'waits'), (2, -1, 'none')")
    everyone_syncs(a, b)
    a.execute("INSERT INTO box VALUES (7, 'seven')")
    everyone_syncs(a, b)
    assert b.rows("SELECT id, box_id FROM thing ORDER BY id") == [(1, 7), (2, -1)]


def test_null_that_becomes_a_key_takes_no_other_rows_identity(world):
    a = world.device("a.db", "CREATE TABLE odd (id INT PRIMARY KEY, v TEXT)")
    a.execute("INSERT INTO odd VALUES (3, 'three')")
    a.sync()
    b = a.clone("b.db")
    a.execute(
        "INSERT INTO odd VALUES (NULL, 'five')",
        "UPDATE odd SET v = 'three!' WHERE id = 3",
        "UPDATE odd SET id = 5 WHERE id IS NULL",
    )
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM odd ORDER BY id") == [(3, "three!"), (5, "five")]


def test_a_reference_in_a_text_column_is_translated_too(world):
    a = world.device(
        "a.db",
        SHOP[0],
        "CREATE TABLE sticker (id INTEGER PRIMARY KEY, b TEXT)",
        references=(("sticker", "b", "buyer"),),
    )
    a.sync()
    b = a.clone("b.db")
    b.execute("INSERT INTO buyer VALUES (7, 'of b')")
    a.execute("INSERT INTO sticker VALUES (1, '7')")
    everyone_syncs(a, b)
    sql = "SELECT s.b, name FROM sticker AS s LEFT JOIN buyer ON buyer.id = s.b"
    assert (a.rows(sql), b.rows(sql)) == ([("7", None)], [(str(-(2**40) - 1), None)])


def test_integers_near_the_end_leave_room_for_the_others(world):
    a = world.device("a.db", SHOP[0])
    a.sync()
    b = a.clone("b.db")
    for device in (a, b):
        device.execute(f"INSERT INTO buyer VALUES (9223372036854775807, '{device.path.name}')")
    everyone_syncs(a, b)
    names = "SELECT name FROM buyer ORDER BY name"
    assert a.rows(names) == b.rows(names) == [("a.db",), ("b.db",)]


def test_a_reference_that_is_named_too_late_is_refused(world):
    a = world.device("a.db", *UNDECLARED)
    with pytest.raises(AlreadyInitialized, match=r"set up without --ref thing\.box_id=box"):
        a.init(references=(("thing", "box_id", "box"),))


def test_references_can_be_joined_on_the_server(world):
    a = world.device("a.db", *SHOP)
    a.execute(
        "INSERT INTO buyer VALUES (5, 'Eve')",
        "INSERT INTO bill VALUES (1, 5)",
        "INSERT INTO wish VALUES (5, 'tea')",
    )
    a.sync()
    key = "sync_key" if isinstance(world.server.store, MysqlStore) else "row_id"
    sql = (
        f"SELECT c.name, w.item FROM buyer AS c JOIN bill AS b ON b.buyer_id = c.{key} "
        f"JOIN wish AS w ON w.buyer_id = c.{key} WHERE c.tenant_id = :tenant"
    )
    assert world.server.rows(sql, tenant=world.tenant) == [("Eve", "tea")]


def test_a_row_that_was_moved_and_has_gone_is_still_what_its_children_wait_for(world):
    world.leave_references("moved_tree")
    tree = (
        "CREATE TABLE moved_tree (id INTEGER PRIMARY KEY, v TEXT, parent_id INTEGER "
        "REFERENCES moved_tree (id) ON UPDATE CASCADE ON DELETE SET NULL)"
    )
    a = world.device("a.db", tree)
    a.execute("INSERT INTO moved_tree VALUES (1, 'parent', NULL), (2, 'child', 1)")
    a.sync()
    b, c = a.clone("b.db"), a.clone("c.db")
    a.execute("UPDATE moved_tree SET id = 8 WHERE id = 1")
    a.execute("UPDATE moved_tree SET v = 'child waits' WHERE id = 2")
    b.execute("DELETE FROM moved_tree WHERE v = 'parent'")
    c.execute("UPDATE moved_tree SET v = 'parent is back' WHERE v = 'parent'")
    b.sync()
    a.sync()
    a.execute("UPDATE moved_tree SET v = 'child still waits' WHERE id = 2")
    a.sync()
    everyone_syncs(c, a, b)
    parents = "SELECT c.v, p.v FROM moved_tree AS c JOIN moved_tree AS p ON p.id = c.parent_id"
    for device in (a, b, c):
        assert device.rows(parents) == [("child still waits", "parent is back")]
    assert a.identities() == b.identities() == c.identities()
