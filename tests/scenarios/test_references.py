"""A parent goes on one device while another gives it a child: the reference says what happens."""

import pytest
from support import Device, World, everyone_syncs

from syncsession_client.conflicts import list_conflicts

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
