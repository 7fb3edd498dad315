"""Two devices make rows with the same unique value: they become one, or the later is refused."""

import pytest
from support import World, everyone_syncs

CUSTOMER = "CREATE TABLE u_customer (id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT)"
BILL = (
    "CREATE TABLE u_bill (id TEXT PRIMARY KEY, customer INTEGER REFERENCES u_customer (id), n REAL)"
)
SEEN = (
    "CREATE TABLE u_seen (customer INTEGER REFERENCES u_customer (id), day TEXT, n INTEGER, "
    "PRIMARY KEY (customer, day))"
)
JOINED = "SELECT email, name, b.id FROM u_customer AS c LEFT JOIN u_bill AS b ON customer = c.id"


@pytest.fixture
def pair(world: World):
    a, b = (world.device(f"{n}.db", CUSTOMER, BILL, SEEN) for n in "ab")
    a.execute("INSERT INTO u_customer VALUES (1, 'first', 'x')")
    everyone_syncs(a, b)
    return a, b


def test_two_rows_of_one_value_become_one_and_their_children_follow(pair):
    a, b = pair
    a.execute(
        "INSERT INTO u_customer VALUES (2, 'ann@x', 'of a')",
        "INSERT INTO u_bill VALUES ('a', 2, 1)",
    )
    b.execute("INSERT INTO u_customer VALUES (2, 'bob@x', 'other')")
    b.execute(
        "INSERT INTO u_customer VALUES (3, 'ann@x', 'of b')",
        "INSERT INTO u_bill VALUES ('b', 3, 2)",
    )
    everyone_syncs(a, b)
    expected = [
        ("ann@x", "of b", "a"),
        ("ann@x", "of b", "b"),
        ("bob@x", "other", None),
        ("first", "x", None),
    ]
    for device in (a, b):
        assert sorted(device.rows(JOINED), key=repr) == expected
        assert device.orphans() == []
    assert a.identities() == b.identities()
    assert a.sync().pushed.rows == b.sync().pushed.rows == 0
