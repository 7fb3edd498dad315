"""A parent goes on one device while another gives it a child: the reference says what happens."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from support import Device, World, everyone_syncs

from syncsession_client.conflicts import list_conflicts
from syncsession_client.rejects import list_rejects

KEYS = {
    "local": "INTEGER PRIMARY KEY",
    "global": "TEXT PRIMARY KEY",
}


def tables(name: str, kind: str, rule: str, extra: str = "") -> tuple[str, str]:
    """A parent and its child; their names tell the key and the rule, for tenants share tables."""
    column = "INTEGER" if kind == "local" else "TEXT"
    return (
        f"CREATE TABLE {name}_shelf (id {KEYS[kind]}, v TEXT)",
        f"CREATE TABLE {name}_book (id TEXT PRIMARY KEY, v TEXT, shelf {column} {extra} "
        f"REFERENCES {name}_shelf (id) {rule})",
    )


RULES = {
    "cascade": "ON DELETE CASCADE",
    "set_null": "ON DELETE SET NULL",
    "restrict": "ON DELETE RESTRICT",
    "no_action": "",
}


class Shelves:
    """Two devices that have a shelf, and none of its books."""

    def __init__(self, world: World, kind: str, rule: str, extra: str = "") -> None:
        self.name = f"{kind}_{rule}{'_not_null' if extra else ''}"
        schema = tables(self.name, kind, RULES[rule], extra)
        self.world = world
        self.a, self.b = (world.device(f"{n}.db", *schema) for n in "ab")
        self.key = {"local": "7", "global": "'fiction'"}[kind]
        self.a.execute(f"INSERT INTO {self.name}_shelf VALUES ({self.key}, 'first')")
        everyone_syncs(self.a, self.b)

    def delete(self, device: Device) -> None:
        device.execute(f"DELETE FROM {self.name}_shelf")

    def add(self, device: Device, book: str = "emma") -> None:
        device.execute(f"INSERT INTO {self.name}_book VALUES ('{book}', 'old', {self.key})")

    def rows(self, device: Device) -> tuple[list, list]:
        return (
            device.rows(f"SELECT v FROM {self.name}_shelf"),
            device.rows(f"SELECT id, v, shelf IS NOT NULL FROM {self.name}_book ORDER BY id"),
        )

    def server_rows(self) -> tuple[list, list]:
        live = "WHERE tenant_id = :tenant AND is_deleted = 0"
        tenant = {"tenant": self.world.tenant}
        return (
            self.world.server.rows(f"SELECT v FROM {self.name}_shelf {live}", **tenant),
            self.world.server.rows(
                f"SELECT id, v, shelf IS NOT NULL FROM {self.name}_book {live} ORDER BY id",
                **tenant,
            ),
        )


OUTCOMES = {
    "cascade": ([], []),
    "set_null": ([], [("emma", "old", 0)]),
    "restrict": ([("first",)], [("emma", "old", 1)]),
    "no_action": ([("first",)], [("emma", "old", 1)]),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("first", ["deletion", "child"])
def test_a_child_of_a_deleted_parent_follows_its_reference(world, kind, rule, first):
    shelves = Shelves(world, kind, rule)
    shelves.delete(shelves.a)
    shelves.add(shelves.b)
    order = (shelves.a, shelves.b) if first == "deletion" else (shelves.b, shelves.a)
    everyone_syncs(*order)
    for device in (shelves.a, shelves.b):
        assert shelves.rows(device) == OUTCOMES[rule]
        assert device.orphans() == []
    assert shelves.server_rows() == OUTCOMES[rule]
    assert [d.sync().pushed.rows for d in order] == [0, 0]


@pytest.mark.parametrize(
    ("rule", "loser", "lost"),
    [
        ("cascade", "b", {"id": "emma", "v": "old", "shelf": 7}),
        ("set_null", "b", {"id": "emma", "v": "old", "shelf": 7}),
        ("no_action", "a", {"id": 7}),
    ],
)
@pytest.mark.parametrize("first", ["deletion", "child"])
def test_who_lost_by_a_reference_keeps_what_was_lost(world, rule, loser, lost, first):
    shelves = Shelves(world, "local", rule)
    shelves.delete(shelves.a)
    shelves.add(shelves.b)
    everyone_syncs(*((shelves.a, shelves.b) if first == "deletion" else (shelves.b, shelves.a)))
    kept = {name: list_conflicts(d.path) for name, d in (("a", shelves.a), ("b", shelves.b))}
    assert [c["row"] for c in kept.pop(loser)] == [lost]
    assert list(kept.values()) == [[]]


def test_a_child_that_must_have_a_parent_brings_it_back_instead_of_being_set_null(world):
    shelves = Shelves(world, "global", "set_null", "NOT NULL")
    shelves.delete(shelves.a)
    shelves.add(shelves.b)
    everyone_syncs(shelves.a, shelves.b)
    assert shelves.rows(shelves.a) == shelves.rows(shelves.b) == OUTCOMES["restrict"]


# Shapes of references


def in_both_orders(a: Device, b: Device, order: str) -> None:
    everyone_syncs(*((a, b) if order == "a first" else (b, a)))
    for device in (a, b):
        assert device.orphans() == []
        assert device.identities() == a.identities()
        assert device.sync().pushed.rows == 0


both_orders = pytest.mark.parametrize("order", ["a first", "b first"])


def two(world: World, *schema: str, rows: tuple[str, ...] = ()) -> tuple[Device, Device]:
    a, b = (world.device(f"{n}.db", *schema) for n in "ab")
    a.execute(*rows)
    everyone_syncs(a, b)
    return a, b


@both_orders
@pytest.mark.parametrize(("default", "expected"), [("1", (1, "of b")), ("NULL", (None, "of b"))])
def test_set_default_gives_the_row_that_the_default_names(world, order, default, expected):
    name = f"d_{default.lower()}"
    a, b = two(
        world,
        f"CREATE TABLE {name}_shelf (id INTEGER PRIMARY KEY, v TEXT)",
        f"CREATE TABLE {name}_book (id TEXT PRIMARY KEY, v TEXT, shelf INTEGER DEFAULT {default} "
        f"REFERENCES {name}_shelf ON DELETE SET DEFAULT)",
        rows=(f"INSERT INTO {name}_shelf VALUES (1, 'default'), (2, 'other')",),
    )
    a.execute(f"DELETE FROM {name}_shelf WHERE id = 2")
    b.execute(f"INSERT INTO {name}_book VALUES ('x', 'of b', 2)")
    in_both_orders(a, b, order)
    assert a.rows(f"SELECT shelf, v FROM {name}_book") == [expected]
    assert a.rows(f"SELECT id FROM {name}_shelf") == [(1,)]


@both_orders
def test_set_default_brings_the_parent_back_where_the_default_is_gone_too(world, order):
    a, b = two(
        world,
        "CREATE TABLE dg_shelf (code TEXT PRIMARY KEY, v TEXT)",
        "CREATE TABLE dg_book (id TEXT PRIMARY KEY, shelf TEXT DEFAULT 'main' "
        "REFERENCES dg_shelf ON DELETE SET DEFAULT)",
        rows=("INSERT INTO dg_shelf VALUES ('other', 'o')",),
    )
    a.execute("DELETE FROM dg_shelf")
    b.execute("INSERT INTO dg_book VALUES ('x', 'other')")
    in_both_orders(a, b, order)
    assert a.rows("SELECT code, v FROM dg_shelf") == [("other", "o")]


COMPOSITE = (
    "CREATE TABLE c_seat (hall TEXT, n INTEGER, v TEXT, PRIMARY KEY (hall, n))",
    "CREATE TABLE c_ticket (id INTEGER PRIMARY KEY, hall TEXT, n INTEGER, v TEXT, "
    "FOREIGN KEY (n, hall) REFERENCES c_seat (n, hall) ON DELETE SET NULL)",
)


@both_orders
def test_a_composite_reference_is_followed_by_all_of_its_columns(world, order):
    a, b = two(
        world,
        *COMPOSITE,
        rows=("INSERT INTO c_seat VALUES ('red', -1, 'x'), ('red', 2, 'y'), ('blue', 1, 'z')",),
    )
    a.execute("DELETE FROM c_seat WHERE hall = 'red' AND n = -1")
    b.execute("INSERT INTO c_ticket VALUES (1, 'red', -1, 'gone'), (2, 'red', 2, 'stays')")
    b.execute("INSERT INTO c_ticket VALUES (3, 'red', NULL, 'refers to none')")
    in_both_orders(a, b, order)
    assert a.rows("SELECT hall, n, v FROM c_ticket ORDER BY v") == [
        (None, None, "gone"),
        ("red", None, "refers to none"),
        ("red", 2, "stays"),
    ]


TREE = (
    "CREATE TABLE r_tree (id INTEGER PRIMARY KEY, v TEXT, parent INTEGER "
    "REFERENCES r_tree ON DELETE CASCADE)"
)


@both_orders
def test_a_deletion_goes_down_through_rows_that_refer_to_their_own_table(world, order):
    a, b = two(world, TREE, rows=("INSERT INTO r_tree VALUES (1, 'root', NULL), (2, 'branch', 1)",))
    a.execute("DELETE FROM r_tree WHERE id = 1")
    b.execute("INSERT INTO r_tree VALUES (3, 'leaf', 2)", "INSERT INTO r_tree VALUES (4, 'l', 3)")
    b.execute("INSERT INTO r_tree VALUES (5, 'another root', NULL)")
    in_both_orders(a, b, order)
    assert a.rows("SELECT v FROM r_tree") == [("another root",)]
    lost = {each["row"]["v"] for each in list_conflicts(b.path)}
    assert lost == {"leaf", "l"}


CHAIN = (
    "CREATE TABLE k_top (id TEXT PRIMARY KEY, v TEXT)",
    "CREATE TABLE k_middle (id TEXT PRIMARY KEY, top TEXT REFERENCES k_top ON DELETE CASCADE)",
    "CREATE TABLE k_low (id TEXT PRIMARY KEY, middle TEXT REFERENCES k_middle)",
)


@both_orders
def test_a_child_that_must_stay_keeps_all_above_it_and_what_had_gone_because_of_them(world, order):
    a, b = two(world, *CHAIN, rows=("INSERT INTO k_top VALUES ('t', 'v')",))
    a.execute("DELETE FROM k_top")
    b.execute("INSERT INTO k_middle VALUES ('m', 't'), ('sibling', 't')")
    b.execute("INSERT INTO k_low VALUES ('l', 'm')")
    in_both_orders(a, b, order)
    assert a.rows("SELECT id, v FROM k_top") == [("t", "v")]
    assert a.rows("SELECT id, top FROM k_middle ORDER BY 1") == [("m", "t"), ("sibling", "t")]
    assert a.rows("SELECT id, middle FROM k_low") == [("l", "m")]


CYCLE = (
    "CREATE TABLE y_team (id TEXT PRIMARY KEY, lead TEXT REFERENCES y_member (id) "
    "ON DELETE SET NULL)",
    "CREATE TABLE y_member (id TEXT PRIMARY KEY, team TEXT REFERENCES y_team (id) "
    "ON DELETE CASCADE)",
)


@both_orders
def test_references_in_a_circle_hold(world, order):
    a, b = two(
        world,
        *CYCLE,
        rows=(
            "INSERT INTO y_team VALUES ('red', NULL), ('blue', NULL)",
            "INSERT INTO y_member VALUES ('ann', 'red')",
        ),
    )
    a.execute("DELETE FROM y_team WHERE id = 'red'")
    b.execute(
        "INSERT INTO y_member VALUES ('bob', 'red'), ('eve', 'blue')",
        "UPDATE y_team SET lead = 'bob' WHERE id = 'blue'",
    )
    in_both_orders(a, b, order)
    assert a.rows("SELECT * FROM y_team") == [("blue", None)]
    assert a.rows("SELECT * FROM y_member") == [("eve", "blue")]


KEYED = (
    "CREATE TABLE j_member (id INTEGER PRIMARY KEY, v TEXT)",
    "CREATE TABLE j_profile (id INTEGER PRIMARY KEY REFERENCES j_member ON DELETE CASCADE, v TEXT)",
    "CREATE TABLE j_photo (id TEXT PRIMARY KEY, profile INTEGER REFERENCES j_profile "
    "ON DELETE CASCADE)",
    "CREATE TABLE j_liked (member INTEGER REFERENCES j_member ON DELETE SET NULL, what TEXT, "
    "PRIMARY KEY (member, what))",
)


@both_orders
def test_a_reference_that_is_the_key_or_a_part_of_it_is_followed(world, order):
    a, b = two(
        world,
        *KEYED,
        rows=(
            "INSERT INTO j_member VALUES (1, 'one'), (2, 'two'), (3, 'three')",
            "INSERT INTO j_profile VALUES (1, 'p')",
        ),
    )
    a.execute("DELETE FROM j_member WHERE id IN (1, 2)")
    b.execute("INSERT INTO j_photo VALUES ('x', 1)", "INSERT INTO j_profile VALUES (3, 'q')")
    b.execute("INSERT INTO j_liked VALUES (2, 'tea'), (3, 'tea')")
    in_both_orders(a, b, order)
    # A key cannot be NULL: who likes tea is back, as in SQLite, which refuses the deletion.
    assert a.rows("SELECT v FROM j_member ORDER BY 1") == [("three",), ("two",)]
    assert a.rows("SELECT v FROM j_profile") == [("q",)]
    assert a.rows("SELECT * FROM j_photo") == []
    assert len(a.rows("SELECT * FROM j_liked")) == 2


NAMES = ("plain", "Ä ß", "x" * 300, "1", "\u0001")


@both_orders
@pytest.mark.parametrize("kind", ["TEXT", "INTEGER", "REAL", "TEXT COLLATE NOCASE", "NUMERIC"])
def test_keys_of_any_kind_are_found_among_many(world, order, kind):
    name = "q_" + kind.replace(" ", "_").lower()
    a, b = two(
        world,
        f"CREATE TABLE {name}_p (id {kind}, v TEXT, PRIMARY KEY (id))",
        f"CREATE TABLE {name}_c (id TEXT PRIMARY KEY, p {kind.split()[0]} REFERENCES {name}_p "
        "ON DELETE CASCADE)",
    )
    texts = kind.startswith("TEXT")
    keys = NAMES if texts else (-5, 0, 7, 2**40, 12) if kind == "INTEGER" else (-1.5, 0, 3, 1e9, 9)
    a.put(f"INSERT INTO {name}_p VALUES (?, 'v')", [(k,) for k in keys])
    everyone_syncs(a, b)
    b.put(f"INSERT INTO {name}_c VALUES (?, ?)", [(f"c{n}", k) for n, k in enumerate(keys)])
    if kind.endswith("NOCASE"):
        b.put(f"INSERT INTO {name}_c VALUES (?, ?)", [("upper", "PLAIN")])
    a.put(f"DELETE FROM {name}_p WHERE id = ?", [(k,) for k in keys[:3]])
    in_both_orders(a, b, order)
    assert a.rows(f"SELECT id FROM {name}_c ORDER BY 1") == [("c3",), ("c4",)]


def test_references_that_are_left_alone_lead_where_they_will(world):
    world.leave_references("no_action_left_book")
    schema = (
        "CREATE TABLE left_shelf (id TEXT PRIMARY KEY)",
        "CREATE TABLE no_action_left_book (id TEXT PRIMARY KEY, shelf TEXT REFERENCES left_shelf)",
    )
    a, b = two(world, *schema, rows=("INSERT INTO left_shelf VALUES ('s')",))
    a.execute("DELETE FROM left_shelf")
    b.execute("INSERT INTO no_action_left_book VALUES ('b', 's')")
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM left_shelf") == b.rows("SELECT * FROM left_shelf") == []
    assert a.rows("SELECT * FROM no_action_left_book") == [("b", "s")]


@pytest.mark.parametrize("rule", ["cascade", "no_action"])
def test_sessions_that_are_committed_at_the_same_time_leave_no_child_alone(world, rule):
    name = f"race_{rule}"
    schema = (
        f"CREATE TABLE {name}_p (id INTEGER PRIMARY KEY)",
        f"CREATE TABLE {name}_c (id TEXT PRIMARY KEY, p INTEGER REFERENCES {name}_p {RULES[rule]})",
    )
    devices = [world.device(f"{n}.db", *schema) for n in range(4)]
    devices[0].put(f"INSERT INTO {name}_p VALUES (?)", [(n,) for n in range(1, 13)])
    everyone_syncs(*devices)
    with ThreadPoolExecutor(len(devices)) as threads:
        for n in range(1, 13):
            for who, device in enumerate(devices):
                if who == n % 4:
                    device.execute(f"DELETE FROM {name}_p WHERE id = {n}")
                else:
                    device.execute(f"INSERT INTO {name}_c VALUES ('{n} of {who}', {n})")
            list(threads.map(Device.push, devices))
            for device in devices:
                device.pull()
    everyone_syncs(*devices)
    parents, children = (0, 0) if rule == "cascade" else (12, 36)
    for device in devices:
        assert device.value(f"SELECT count(*) FROM {name}_p") == parents
        assert device.value(f"SELECT count(*) FROM {name}_c") == children
        assert device.orphans() == []
        assert device.identities() == devices[0].identities()


def test_a_row_that_refers_to_what_never_was_is_held_back_until_that_is_there(world):
    schema = (
        "CREATE TABLE never_shelf (id TEXT PRIMARY KEY)",
        "CREATE TABLE never_book (id TEXT PRIMARY KEY, shelf TEXT REFERENCES never_shelf)",
    )
    a, b = two(world, *schema)
    a.execute("INSERT INTO never_book VALUES ('x', 'none'), ('y', NULL)", foreign_keys=False)
    done = a.sync()
    assert (done.pushed.rows, done.pushed.rejected_rows) == (1, 1)
    assert [each["code"] for each in list_rejects(a.path)] == ["missing_reference"]
    b.sync()
    assert b.rows("SELECT id FROM never_book") == [("y",)]
    assert a.sync().pushed.session is None
    a.execute("INSERT INTO never_shelf VALUES ('none')")
    everyone_syncs(a, b)
    assert list_rejects(a.path) == []
    assert b.rows("SELECT id FROM never_book ORDER BY 1") == [("x",), ("y",)]


def test_a_row_that_refers_to_what_another_device_has_made_meanwhile_goes_by_itself(world):
    schema = (
        "CREATE TABLE later_shelf (id TEXT PRIMARY KEY)",
        "CREATE TABLE later_book (id TEXT PRIMARY KEY, shelf TEXT REFERENCES later_shelf)",
    )
    a, b = two(world, *schema)
    a.execute("INSERT INTO later_book VALUES ('x', 'of b')", foreign_keys=False)
    a.sync()
    b.execute("INSERT INTO later_shelf VALUES ('of b')")
    everyone_syncs(b, a)
    b.sync()
    assert b.rows("SELECT * FROM later_book") == [("x", "of b")]
    assert list_rejects(a.path) == []
