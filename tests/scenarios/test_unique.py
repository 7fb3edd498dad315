"""Two devices make rows with the same unique value: they become one, or the later is refused."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import Device, World, everyone_syncs

from syncsession_client.conflicts import list_conflicts
from syncsession_client.rejects import list_rejects, retry
from syncsession_server.policies import set_policy

CUSTOMER = "CREATE TABLE u_customer (id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT)"
BILL = (
    "CREATE TABLE u_bill (id TEXT PRIMARY KEY, customer INTEGER REFERENCES u_customer (id), n REAL)"
)
SEEN = (
    "CREATE TABLE u_seen (customer INTEGER REFERENCES u_customer (id), day TEXT, n INTEGER, "
    "PRIMARY KEY (customer, day))"
)
NOTE = "CREATE TABLE u_note (id TEXT PRIMARY KEY, customer INTEGER)"
BILLS = "SELECT email, name, b.id FROM u_customer AS c JOIN u_bill AS b ON customer = c.id"


@pytest.fixture
def pair(world: World) -> tuple[Device, Device]:
    refs = (("u_note", "customer", "u_customer"),)
    a, b = (
        world.device(f"{n}.db", CUSTOMER, BILL, SEEN, NOTE, references=refs) for n in ("a", "b")
    )
    a.execute("INSERT INTO u_customer VALUES (1, 'first', 'x')")
    everyone_syncs(a, b)
    return a, b


@pytest.fixture
def policy(world: World) -> Iterator[None]:
    """Sets the policy of the customers' values; the default again afterwards."""

    def put(table: str, name: str) -> None:
        world.server.run(set_policy(world.server.store, table, name))

    yield put
    put("u_customer", "last_in_wins")
    put("u_customer(email)", "merge")


def agree(*devices: Device) -> None:
    for device in devices:
        assert device.orphans() == []
        assert device.identities() == devices[0].identities()
        assert device.sync().pushed.rows == 0


def test_rows_that_are_the_same_become_one_and_nobody_has_lost(world: World, pair):
    a, b = pair
    for device in pair:
        device.execute("INSERT INTO u_customer (email, name) VALUES ('ann@x', 'ann')")
    everyone_syncs(a, b)
    agree(a, b)
    assert a.value("SELECT count(*) FROM u_customer WHERE name = 'ann'") == 1
    assert list_conflicts(a.path) == list_conflicts(b.path) == []
    assert world.server.rows(
        "SELECT mine = theirs, loser_device_id FROM sync_conflict WHERE tenant_id = :tenant",
        tenant=world.tenant,
    ) == [(1, None)]


def test_two_rows_of_one_value_become_one_and_what_refers_to_them_follows(pair):
    a, b = pair
    a.execute(
        "INSERT INTO u_customer VALUES (2, 'ann@x', 'of a')",
        "INSERT INTO u_bill VALUES ('a', 2, 1)",
    )
    b.execute("INSERT INTO u_customer VALUES (2, 'bob@x', 'other')")
    b.execute(
        "INSERT INTO u_customer VALUES (3, 'ann@x', 'of b')",
        "INSERT INTO u_bill VALUES ('b', 3, 2)",
        "INSERT INTO u_note VALUES ('n', 3)",
    )
    everyone_syncs(a, b)
    for device in pair:
        assert sorted(device.rows(BILLS)) == [("ann@x", "of b", "a"), ("ann@x", "of b", "b")]
        assert device.rows("SELECT name FROM u_note JOIN u_customer AS c ON customer = c.id") == [
            ("of b",)
        ]
        assert device.value("SELECT count(*) FROM u_customer") == 3
    agree(a, b, a.clone("c.db"))


def test_the_row_keeps_its_integer_on_the_device_that_made_it(pair):
    a, b = pair
    a.execute("INSERT INTO u_customer VALUES (2, 'ann@x', 'of a')")
    b.execute("INSERT INTO u_customer VALUES (7, 'ann@x', 'of b')")
    b.execute("INSERT INTO u_bill VALUES ('b', 7, 2)")
    everyone_syncs(a, b)
    assert b.rows("SELECT id, name FROM u_customer WHERE email = 'ann@x'") == [(7, "of b")]
    assert b.value("SELECT customer FROM u_bill") == 7
    assert a.rows("SELECT id, name FROM u_customer WHERE email = 'ann@x'") == [(2, "of b")]
    b.execute("UPDATE u_customer SET name = 'later' WHERE id = 7")
    everyone_syncs(b, a)
    assert a.value("SELECT name FROM u_customer WHERE id = 2") == "later"
    agree(a, b)


def test_what_was_edited_while_the_rows_became_one_is_of_the_one(pair):
    a, b = pair
    a.execute("INSERT INTO u_customer VALUES (2, 'ann@x', 'of a')")
    a.sync()
    b.execute("INSERT INTO u_customer VALUES (7, 'ann@x', 'of b')")
    b.push()
    b.execute(
        "UPDATE u_customer SET name = 'meanwhile' WHERE id = 7",
        "INSERT INTO u_bill VALUES ('b', 7, 2)",
        "INSERT INTO u_seen VALUES (7, 'monday', 1)",
    )
    everyone_syncs(b, a)
    assert a.rows(BILLS) == b.rows(BILLS) == [("ann@x", "meanwhile", "b")]
    assert a.rows("SELECT customer, day FROM u_seen") == [(2, "monday")]
    agree(a, b)


def test_rows_whose_key_is_made_of_rows_that_became_one_become_one(pair):
    a, b = pair
    for device, key, name in ((a, 2, "a"), (b, 7, "b")):
        device.execute(
            f"INSERT INTO u_customer VALUES ({key}, 'ann@x', 'of {name}')",
            f"INSERT INTO u_seen VALUES ({key}, 'monday', {key}), ({key}, '{name}', {key})",
        )
    everyone_syncs(a, b)
    seen = "SELECT email, day, n FROM u_seen JOIN u_customer AS c ON customer = c.id ORDER BY 2"
    for device in (a, b):
        assert device.rows(seen) == [
            ("ann@x", "a", 2),
            ("ann@x", "b", 7),
            ("ann@x", "monday", 7),
        ]
    agree(a, b, b.clone("c.db"))


def test_a_row_becomes_one_that_its_device_knows_as_well(pair):
    a, b = pair
    a.execute("UPDATE u_customer SET email = 'ann@x' WHERE id = 1")
    a.sync()
    b.execute(
        "INSERT INTO u_customer VALUES (7, 'ann@x', 'of b')",
        "INSERT INTO u_bill VALUES ('b', 7, 2)",
    )
    b.push()
    b.execute("INSERT INTO u_bill VALUES ('later', 7, 3)")
    b.execute("INSERT INTO u_seen VALUES (7, 'monday', 3)")
    everyone_syncs(b, a)
    for device in (a, b):
        assert device.rows("SELECT id, email FROM u_customer") == [(1, "ann@x")]
        assert device.rows("SELECT id, customer FROM u_bill ORDER BY 1") == [("b", 1), ("later", 1)]
        assert device.rows("SELECT customer, day FROM u_seen") == [(1, "monday")]
    agree(a, b)


@pytest.mark.parametrize(
    ("name", "stands", "loser"),
    [("last_in_wins", "of b", 0), ("server_wins", "of a", 1)],
)
def test_the_values_are_those_that_the_policy_of_the_table_gives(pair, policy, name, stands, loser):
    a, b = pair
    policy("u_customer", name)
    a.execute("INSERT INTO u_customer VALUES (2, 'ann@x', 'of a')")
    b.execute("INSERT INTO u_customer VALUES (7, 'ann@x', 'of b')")
    everyone_syncs(a, b)
    for device in pair:
        assert device.rows("SELECT name FROM u_customer WHERE email = 'ann@x'") == [(stands,)]
    (lost,) = list_conflicts(pair[loser].path)
    assert lost["row"]["name"] == {"of a": "of b", "of b": "of a"}[stands]
    assert lost["now"]["name"] == stands
    assert list_conflicts(pair[1 - loser].path) == []
    agree(a, b)


def test_three_devices_that_make_one_value_come_to_one_row(world, pair):
    a, b = pair
    c = a.clone("c.db")
    for n, device in enumerate((a, b, c)):
        device.execute(f"INSERT INTO u_customer VALUES ({9 - n}, 'ann@x', '{n}')")
        device.execute(f"INSERT INTO u_bill VALUES ('{n}', {9 - n}, 1)")
    everyone_syncs(a, b, c)
    everyone_syncs(c, b, a)
    for device in (a, b, c):
        assert len(device.rows(BILLS)) == 3
        assert device.value("SELECT count(*) FROM u_customer") == 2
    agree(a, b, c)


def test_null_is_no_value_and_a_row_that_is_gone_has_none(pair):
    a, b = pair
    a.execute("INSERT INTO u_customer VALUES (2, NULL, 'a'), (3, 'gone@x', 'gone')")
    a.sync()
    a.execute("DELETE FROM u_customer WHERE id = 3")
    b.execute("INSERT INTO u_customer VALUES (2, NULL, 'b'), (3, 'gone@x', 'new')")
    everyone_syncs(a, b)
    names = "SELECT name FROM u_customer ORDER BY 1"
    assert a.rows(names) == b.rows(names) == [("a",), ("b",), ("new",), ("x",)]
    agree(a, b)


def test_rows_swap_a_unique_value(pair):
    a, b = pair
    a.execute("INSERT INTO u_customer VALUES (2, 'left', 'l'), (3, 'right', 'r')")
    everyone_syncs(a, b)
    a.execute(
        "UPDATE u_customer SET email = NULL WHERE id = 2",
        "UPDATE u_customer SET email = 'left' WHERE id = 3",
        "UPDATE u_customer SET email = 'right' WHERE id = 2",
    )
    everyone_syncs(a, b)
    emails = "SELECT name, email FROM u_customer WHERE id > 1 ORDER BY 1"
    assert a.rows(emails) == b.rows(emails) == [("l", "right"), ("r", "left")]
    agree(a, b)


def test_a_value_that_another_row_has_taken_over_is_that_rows(pair):
    a, b = pair
    a.execute("UPDATE u_customer SET email = 'moved on' WHERE id = 1")
    a.execute("INSERT INTO u_customer VALUES (2, 'first', 'took it over')")
    a.sync()
    b.execute("UPDATE u_customer SET email = 'second' WHERE id = 1")
    b.execute("INSERT INTO u_customer VALUES (2, 'first', 'of b')")
    everyone_syncs(b, a)
    names = "SELECT email, name FROM u_customer ORDER BY 1"
    assert a.rows(names) == b.rows(names) == [("first", "of b"), ("second", "x")]
    agree(a, b)


def test_values_are_the_same_by_the_collation_of_their_index(world):
    schema = "CREATE TABLE u_tag (id INTEGER PRIMARY KEY, name TEXT UNIQUE COLLATE NOCASE, n)"
    a, b = (world.device(f"{n}.db", schema) for n in "ab")
    everyone_syncs(a, b)
    a.execute("INSERT INTO u_tag VALUES (1, 'Ärger', 1), (2, 'Tea', 1)")
    b.execute("INSERT INTO u_tag VALUES (1, 'ärger', 2), (2, 'TEA', 2)")
    everyone_syncs(a, b)
    names = "SELECT name FROM u_tag ORDER BY name"
    assert a.rows(names) == b.rows(names) == [("TEA",), ("Ärger",), ("ärger",)]
    agree(a, b)


def test_sessions_that_are_committed_at_the_same_time_make_one_row_of_a_value(pair):
    devices = [*pair, *(pair[0].clone(f"c{n}.db") for n in range(2))]
    with ThreadPoolExecutor(len(devices)) as threads:
        for n in range(8):
            for who, device in enumerate(devices):
                key = 10 * n + who + 10
                device.execute(
                    f"INSERT INTO u_customer VALUES ({key}, 'same {n}', '{who}')",
                    f"INSERT INTO u_bill VALUES ('{n} of {who}', {key}, 1)",
                )
            list(threads.map(Device.push, devices))
    everyone_syncs(*devices)
    for device in devices:
        assert device.value("SELECT count(*) FROM u_customer") == 9
        assert device.value("SELECT count(*) FROM u_bill") == 32
    agree(*devices)


# Rows that are refused

USER = "CREATE TABLE u_user (login TEXT PRIMARY KEY, mail TEXT UNIQUE)"
POST = (
    "CREATE TABLE u_post (id INTEGER PRIMARY KEY, login TEXT REFERENCES u_user ON UPDATE CASCADE, "
    "v TEXT)"
)


@pytest.fixture
def users(world: World) -> tuple[Device, Device]:
    """Two devices; the second has made what the first has made before, and more."""
    a, b = (world.device(f"user_{n}.db", USER, POST) for n in "ab")
    everyone_syncs(a, b)
    a.execute(
        "INSERT INTO u_user VALUES ('ann', 'ann@x')", "INSERT INTO u_post VALUES (1, 'ann', 'hi')"
    )
    a.sync()
    b.execute(
        "INSERT INTO u_user VALUES ('anne', 'ann@x'), ('bob', 'bob@x')",
        "INSERT INTO u_post VALUES (1, 'anne', 'waits'), (2, 'bob', 'goes')",
    )
    return a, b


def test_a_row_whose_value_is_taken_is_held_back_with_its_children_and_the_rest_goes(users):
    a, b = users
    done = b.sync()
    assert (done.pushed.rows, done.pushed.rejected_rows) == (2, 1)
    assert {each["code"] for each in list_rejects(b.path)} == {
        "unique_taken",
        "depends_on_rejected",
    }
    a.sync()
    assert a.rows("SELECT login FROM u_user ORDER BY 1") == [("ann",), ("bob",)]
    assert a.rows("SELECT v FROM u_post ORDER BY 1") == [("goes",), ("hi",)]
    assert b.rows("SELECT login FROM u_user ORDER BY 1") == [("anne",), ("bob",)]
    assert b.sync().pushed.rejected_rows == 0


@pytest.mark.parametrize(
    "change",
    [
        ("UPDATE u_user SET mail = 'anne@x' WHERE login = 'anne'",),
        (
            "UPDATE u_post SET login = 'bob' WHERE v = 'waits'",
            "DELETE FROM u_user WHERE login = 'anne'",
        ),
    ],
    ids=["changed", "deleted"],
)
def test_a_row_that_was_held_back_goes_when_it_has_changed(users, change):
    a, b = users
    b.sync()
    b.execute(*change)
    everyone_syncs(b, a)
    assert list_rejects(b.path) == []
    assert len(a.rows("SELECT * FROM u_post")) == 3
    agree(a, b)


def test_a_row_that_was_held_back_goes_when_what_was_in_its_way_has_changed(users):
    a, b = users
    b.sync()
    a.execute("UPDATE u_user SET mail = 'free@x'")
    a.sync()
    b.sync()
    assert [each["code"] for each in list_rejects(b.path)] == [
        "unique_taken",
        "depends_on_rejected",
    ]
    retry(b.path)
    everyone_syncs(b, a)
    assert list_rejects(b.path) == []
    assert a.rows("SELECT login FROM u_user ORDER BY 1") == [("ann",), ("anne",), ("bob",)]
    agree(a, b)


def test_what_lost_is_told_once_though_its_session_comes_again_for_a_row_that_is_refused(
    pair, policy
):
    a, b = pair
    policy("u_customer", "server_wins")
    a.execute("INSERT INTO u_customer VALUES (2, 'ann@x', 'of a')")
    b.execute("INSERT INTO u_customer VALUES (7, 'ann@x', 'of b')")
    a.sync()
    b.push()
    b.execute(
        "DELETE FROM u_customer WHERE id = 7", "INSERT INTO u_customer VALUES (8, 'ann@x', 8)"
    )
    pulled = [b.pull().pulled for _ in range(3)]
    assert [(each.refused_rows, each.lost_rows) for each in pulled] == [(1, 1), (1, 0), (1, 0)]
    assert [each["row"]["name"] for each in list_conflicts(b.path)] == ["of b"]
    everyone_syncs(b, a)
    assert [each["row"]["name"] for each in list_conflicts(b.path)] == ["of b", "8"]
    agree(a, b)


def test_an_update_to_a_value_that_is_taken_is_refused_whatever_the_policy(pair):
    a, b = pair
    a.execute("INSERT INTO u_customer VALUES (2, 'two', 'of a')")
    everyone_syncs(a, b)
    a.execute("UPDATE u_customer SET email = 'wanted' WHERE id = 1")
    a.sync()
    b.execute("UPDATE u_customer SET email = 'wanted' WHERE id = 2")
    done = b.sync()
    assert (done.pushed.rejected_rows, done.pulled.refused_rows) == (1, 1)
    b.execute("UPDATE u_customer SET email = 'other' WHERE id = 2")
    everyone_syncs(b, a)
    emails = "SELECT email FROM u_customer ORDER BY 1"
    assert a.rows(emails) == b.rows(emails) == [("other",), ("wanted",)]
    agree(a, b)


def test_the_policy_decides_for_keys_of_both_kinds(users, pair, policy):
    policy("u_customer(email)", "reject")
    policy("u_user(mail)", "merge")
    try:
        a, b = users
        everyone_syncs(b, a)
        assert a.rows("SELECT * FROM u_user ORDER BY 1") == [("ann", "ann@x"), ("bob", "bob@x")]
        posts = "SELECT login, v FROM u_post ORDER BY 2"
        assert a.rows(posts) == b.rows(posts) == [("bob", "goes"), ("ann", "hi"), ("ann", "waits")]
        agree(a, b)
    finally:
        policy("u_user(mail)", "reject")
    a, b = pair
    a.execute("INSERT INTO u_customer VALUES (2, 'ann@x', 'of a')")
    b.execute("INSERT INTO u_customer VALUES (2, 'ann@x', 'of b')")
    a.sync()
    assert b.sync().pushed.rejected_rows == 1
