"""What counts as a change, and what the log and the shadow rows say of it."""

import re
from datetime import UTC, datetime

import pytest
from schemas import KEYS, TEXT

from syncsession_client.status import set_user

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@KEYS
def test_edits_make_rows_dirty(pair, schema):
    p = pair(schema, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    p.settle("t")
    assert p.dirty("t") == []
    p.run(
        "INSERT INTO t VALUES (4, 'd')",
        "UPDATE t SET v = 'B' WHERE k = 2",
        "DELETE FROM t WHERE k = 3",
    )
    keys = [2, 3, 4] if "INTEGER" in schema else ["2", "3", "4"]
    assert p.dirty("t") == [(keys[0], 0), (keys[1], 1), (keys[2], 0)]


@KEYS
def test_rows_that_were_there_before_are_dirty(pair, schema):
    p = pair(schema, "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    assert [is_deleted for _, is_deleted in p.dirty("t")] == [0, 0]


@KEYS
@pytest.mark.parametrize(
    "edit",
    ["INSERT INTO t VALUES (2, 0)", "UPDATE t SET v = 5", "DELETE FROM t", "UPDATE t SET k = 9"],
)
def test_an_edit_is_marked_with_its_user_and_time(pair, schema, edit):
    p = pair(schema, "INSERT INTO t VALUES (1, 'a')")
    p.settle("t")
    set_user(p.device.path, "bob")
    before = datetime.now(UTC)
    p.run(edit)
    set_user(p.device.path, "carol")
    p.fold()
    after = datetime.now(UTC)
    marks = p.device.rows(
        "SELECT modified_by_user_id, modified_at_utc FROM _sync_t WHERE is_dirty = 1"
    )
    assert marks
    for user, at in marks:
        assert user == "bob"
        assert TIME.fullmatch(at)
        assert (
            before.timestamp() - 0.002
            <= datetime.fromisoformat(at).timestamp()
            <= after.timestamp()
        )


def test_a_row_that_is_not_edited_keeps_its_user_and_time(pair):
    p = pair(TEXT, "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    p.settle("t")
    set_user(p.device.path, "bob")
    p.run("UPDATE t SET v = 3 WHERE k = 'b'")
    p.fold()
    read = "SELECT key_1, modified_by_user_id, is_dirty FROM _sync_t ORDER BY 1"
    assert p.device.rows(read) == [("a", "alice", 0), ("b", "bob", 1)]


@KEYS
def test_a_fold_empties_the_log(pair, schema):
    p = pair(schema, "INSERT INTO t VALUES (1, 'a')")
    p.run(
        "INSERT INTO t VALUES (2, 0)",
        "UPDATE t SET v = 1",
        "DELETE FROM t WHERE k = 1",
        "UPDATE t SET k = 3",
    )
    assert p.device.value("SELECT count(*) FROM _sync_t_log") == 6
    before = p.shadow("t")
    assert p.device.value("SELECT count(*) FROM _sync_t_log") == 0
    assert p.shadow("t") == before


@KEYS
def test_the_view_shows_the_same_before_and_after_a_fold(pair, schema):
    p = pair(schema, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    p.settle("t")
    p.run(
        "UPDATE t SET v = 0 WHERE k = 2", "DELETE FROM t WHERE k = 3", "INSERT INTO t VALUES (4, 0)"
    )
    read = "SELECT key_1, is_dirty, is_deleted FROM _sync_t ORDER BY 1"
    before = p.device.rows(read)
    p.fold()
    assert p.device.rows(read) == before
    assert len(before) == 4


@KEYS
@pytest.mark.parametrize(
    "edits",
    [
        ["INSERT INTO t VALUES (5, 0)", "DELETE FROM t WHERE k = 5"],
        [
            "INSERT INTO t VALUES (5, 0)",
            "UPDATE t SET v = 1 WHERE k = 5",
            "DELETE FROM t WHERE k = 5",
        ],
        [
            "INSERT INTO t VALUES (5, 0)",
            "UPDATE t SET k = 6 WHERE k = 5",
            "DELETE FROM t WHERE k = 6",
        ],
        [
            "BEGIN",
            "INSERT INTO t VALUES (5, 0)",
            "DELETE FROM t WHERE k = 5",
            "INSERT INTO t VALUES (5, 1)",
            "DELETE FROM t WHERE k = 5",
            "COMMIT",
        ],
    ],
    ids=["deleted", "updated and deleted", "moved and deleted", "twice"],
)
def test_a_row_that_came_and_went_leaves_nothing_dirty(pair, schema, edits):
    p = pair(schema, "INSERT INTO t VALUES (1, 'a')")
    p.settle("t")
    p.run(*edits)
    assert p.dirty("t") == []


def test_a_deleted_row_that_comes_again_is_dirty_and_not_deleted(pair):
    p = pair(TEXT, "INSERT INTO t VALUES ('a', 1)")
    p.settle("t")
    p.run("DELETE FROM t")
    assert p.dirty("t") == [("a", 1)]
    p.run("INSERT INTO t VALUES ('a', 2)")
    assert p.dirty("t") == [("a", 0)]
