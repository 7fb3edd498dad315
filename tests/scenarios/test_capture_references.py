"""What the actions of foreign keys change, and references that are violated."""

import pytest
from schemas import BORN, FAMILY
from twins import Pair


@pytest.fixture
def family(pair) -> Pair:
    p = pair(*FAMILY, *BORN)
    for table in ("parent", "child", "orphan", "link"):
        p.settle(table)
    return p


def test_what_a_deletion_cascades_to_is_dirty(family):
    family.run("DELETE FROM parent WHERE id = 1")
    assert family.dirty("parent") == [(1, 1)]
    assert family.dirty("child") == [("a", 1)]
    assert family.dirty("orphan") == [("a", 0)]
    assert family.dirty("link") == [(1, 1, 1), (1, 2, 1)]


def test_what_a_changed_key_cascades_to_is_dirty_and_the_rows_stay_the_same(family):
    read = "SELECT row_id_1, row_id_2 FROM _sync_link_rows ORDER BY 1, 2"
    before = family.device.rows(read)
    family.run("UPDATE parent SET id = 50 WHERE id = 1")
    assert family.dirty("parent") == [(50, 0)]
    assert family.dirty("child") == [("a", 0)]
    assert family.dirty("orphan") == [("a", 0)]
    assert family.dirty("link") == [(50, 1, 0), (50, 2, 0)]
    assert family.device.rows(read) == before


@pytest.mark.parametrize(
    "statements",
    [
        ["INSERT INTO child VALUES ('z', 77, 0)"],
        ["UPDATE child SET parent_id = 77"],
        ["BEGIN", "PRAGMA defer_foreign_keys = ON", "UPDATE child SET parent_id = 77", "COMMIT"],
    ],
    ids=["insert", "update", "deferred"],
)
def test_a_violated_foreign_key_fails_as_ever_and_leaves_nothing(family, statements):
    with family.programs() as (ours, twin):
        for sql in statements:
            (answer, _), (expected, _) = ours.run(sql), twin.run(sql)
            assert answer == expected
        assert answer == "IntegrityError: FOREIGN KEY constraint failed"
    family.compare()
    assert family.dirty("child") == []


def test_a_row_that_came_and_went_in_a_table_of_references_leaves_nothing_dirty(pair):
    p = pair(*FAMILY, "INSERT INTO parent VALUES (1, 'p')")
    p.settle("parent")
    p.run("INSERT INTO link VALUES (1, 1, 'l')", "DELETE FROM link")
    assert p.dirty("link") == []


# Every action, by a writer whose connection enforces references and by one whose does not.
ACTIONS = ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"]
PARENTS = {"global": ("TEXT", "'1'", "'2'", "'8'"), "local": ("INTEGER", "1", "2", "8")}
BREAKS = [
    "DELETE FROM p WHERE id = {one}",
    "DELETE FROM p",
    "UPDATE p SET id = {other} WHERE id = {one}",
    "UPDATE p SET id = {one} WHERE id = {one}",
    "UPDATE p SET v = 'same key'",
    "REPLACE INTO p VALUES ({one}, 'replaced')",
    "UPDATE OR REPLACE p SET id = {two} WHERE id = {one}",
]


@pytest.mark.parametrize("enforced", ["ON", "OFF"])
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("kind", PARENTS)
def test_what_the_actions_of_references_changed_is_sent(pair, kind, action, enforced):
    key, one, two, other = PARENTS[kind]
    names = {"one": one, "two": two, "other": other}
    references = f"REFERENCES p (id) ON DELETE {action} ON UPDATE {action}"
    p = pair(
        f"CREATE TABLE p (id {key} PRIMARY KEY, v)",
        f"CREATE TABLE c (id TEXT PRIMARY KEY, p {key} DEFAULT 2 {references})",
        f"CREATE TABLE j (p {key} DEFAULT 2 {references}, n INT, v, PRIMARY KEY (p, n))",
        f"CREATE TABLE g (id INTEGER PRIMARY KEY, c TEXT REFERENCES c (id) ON DELETE {action})",
    )
    for recursive, statements in (("OFF", BREAKS), ("ON", [b for b in BREAKS if "REPLACE" in b])):
        p.pragmas = (f"foreign_keys = {enforced}", f"recursive_triggers = {recursive}")
        for sql in statements:
            p.prepare(
                *(f"DELETE FROM {table}" for table in "pcjg"),
                f"INSERT INTO p VALUES ({one}, 'p'), ({two}, 'q')",
                f"INSERT INTO c VALUES ('a', {one}), ('b', {two}), ('c', NULL)",
                f"INSERT INTO j VALUES ({one}, 1, 0), ({one}, 2, 0), ({two}, 3, 0)",
                "INSERT INTO g VALUES (1, 'a'), (2, 'b'), (3, NULL)",
            )
            p.agree()
            p.run(sql.format(**names))
            p.sent("p")


def test_a_tree_that_is_deleted_from_its_root_is_sent(pair):
    p = pair(
        "CREATE TABLE node (id INTEGER PRIMARY KEY, up INTEGER REFERENCES node ON DELETE CASCADE)",
        "INSERT INTO node VALUES (1, NULL), (2, 1), (3, 2), (4, 2), (5, 5), (6, NULL)",
    )
    p.agree()
    p.run("DELETE FROM node WHERE id = 1", "DELETE FROM node WHERE id = 5")
    assert p.sent("node") == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]


DEFERRED = (
    "CREATE TABLE p (id INTEGER PRIMARY KEY, v)",
    "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER NOT NULL REFERENCES p (id) "
    "DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO p VALUES (1, 'p')",
    "INSERT INTO c VALUES (1, 1)",
)


@pytest.mark.parametrize(
    ("statements", "sent"),
    [
        (["INSERT INTO c VALUES (5, 5)", "INSERT INTO p VALUES (5, 'late')"], [(5, 0, "late")]),
        (["DELETE FROM p", "INSERT INTO p VALUES (1, 'other')"], [(1, 0, "other"), (1, 1)]),
        (["DELETE FROM p", "DELETE FROM c"], [(1, 1)]),
        (["UPDATE p SET id = 9", "UPDATE c SET p = 9"], []),
        (["INSERT INTO c VALUES (5, 5)", "COMMIT", "DELETE FROM c WHERE p = 5"], []),
        (["INSERT INTO c VALUES (5, 5)", "COMMIT", "INSERT INTO p VALUES (5, 0)"], [(5, 0, 0)]),
        (["UPDATE p SET v = 0", "DELETE FROM p", "COMMIT", "ROLLBACK", "BEGIN"], []),
    ],
)
def test_what_a_transaction_with_deferred_references_left_is_sent(pair, statements, sent):
    p = pair(*DEFERRED)
    p.agree()
    p.run("BEGIN", *statements, "COMMIT")
    assert p.sent("p") == sent


JUNCTION = (
    "CREATE TABLE p (id INTEGER PRIMARY KEY)",
    "CREATE TABLE j (p INTEGER REFERENCES p ON UPDATE CASCADE ON DELETE CASCADE, n INT, "
    "u INT UNIQUE, v, PRIMARY KEY (p, n))",
)
JOINED = (
    *("DELETE FROM j", "DELETE FROM p", "INSERT INTO p VALUES (1), (2), (3)"),
    "INSERT INTO j VALUES (1, 1, 1, 0), (1, 2, 2, 0), (2, 1, 3, 0), (2, 2, 4, 0)",
)
SWAPPED = [f"UPDATE p SET id = {new} WHERE id = {old}" for new, old in ((9, 1), (1, 2), (2, 9))]
REKEYED = [
    ["REPLACE INTO j VALUES (1, 1, 2, 9)"],
    ["REPLACE INTO j VALUES (3, 1, 1, 9)"],
    ["UPDATE OR REPLACE j SET p = 2"],
    ["UPDATE OR REPLACE j SET n = 2, u = 3 WHERE p = 1"],
    ["REPLACE INTO p VALUES (1)"],
    ["UPDATE p SET id = -id"],
    ["DELETE FROM p WHERE id = 1", "INSERT INTO p VALUES (1)"],
    SWAPPED,
]


@pytest.mark.parametrize("recursive", ["OFF", "ON"])
@pytest.mark.parametrize("enforced", ["ON", "OFF"])
def test_what_became_of_keys_made_of_references_is_sent(pair, enforced, recursive):
    p = pair(*JUNCTION)
    p.pragmas = (f"foreign_keys = {enforced}", f"recursive_triggers = {recursive}")
    for statements in REKEYED:
        p.prepare(*JOINED)
        p.agree()
        p.run(*statements)
        p.sent("j")


def test_rows_stay_the_same_when_the_keys_of_their_parents_are_swapped(pair):
    p = pair(*JUNCTION, *JOINED)
    p.agree()
    p.run(*SWAPPED)
    assert (p.sent("p"), p.sent("j")) == ([], [])
