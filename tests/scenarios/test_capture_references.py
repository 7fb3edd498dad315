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
