"""The application's own triggers beside ours."""

import pytest
from schemas import KEYS


def test_an_applications_own_triggers_see_what_they_saw_before(pair):
    p = pair(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v)",
        "CREATE TABLE audit (n INTEGER PRIMARY KEY, what, key, rowid_then, changes_then)",
        "CREATE TRIGGER a AFTER INSERT ON t BEGIN INSERT INTO audit VALUES (NULL, 'i', new.k, "
        "last_insert_rowid(), changes()); END",
        "CREATE TRIGGER b BEFORE UPDATE ON t BEGIN INSERT INTO audit VALUES (NULL, 'u', old.k, "
        "last_insert_rowid(), changes()); END",
        "CREATE TRIGGER c AFTER DELETE ON t BEGIN INSERT INTO audit VALUES (NULL, 'd', old.k, "
        "last_insert_rowid(), changes()); END",
        "CREATE TRIGGER d BEFORE INSERT ON t WHEN new.v = 'skip' BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER e AFTER INSERT ON t WHEN new.v = 'undo' "
        "BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE VIEW w AS SELECT k, v FROM t",
        "CREATE TRIGGER f INSTEAD OF INSERT ON w BEGIN INSERT INTO t VALUES (new.k, new.v); END",
    )
    p.run(
        "INSERT INTO t VALUES (41, 0)",
        "INSERT INTO t VALUES (42, 0), (7, 0)",
        "UPDATE t SET v = 1 WHERE k < 42",
        "INSERT INTO t VALUES (50, 'skip'), (51, 0)",
        "INSERT INTO t VALUES (60, 'undo')",
        "INSERT INTO w VALUES (70, 0)",
        "DELETE FROM t WHERE k = 41",
    )
    assert p.dirty("t") == [(7, 0), (42, 0), (51, 0), (70, 0)]
    assert len(p.dirty("audit")) == p.twin.value("SELECT count(*) FROM audit")


@KEYS
def test_an_edit_that_a_trigger_of_the_application_calls_off_is_not_captured(pair, schema):
    p = pair(
        schema,
        *(
            f"CREATE TRIGGER no_{event} BEFORE {event} ON t BEGIN SELECT RAISE(IGNORE); END"
            for event in ("INSERT", "UPDATE", "DELETE")
        ),
        "DROP TRIGGER no_INSERT",
        "INSERT INTO t VALUES (1, 'a')",
        "CREATE TRIGGER no_INSERT BEFORE INSERT ON t BEGIN SELECT RAISE(IGNORE); END",
    )
    p.settle("t")
    p.run(
        "INSERT INTO t VALUES (2, 0)", "UPDATE t SET v = 1", "UPDATE t SET k = 3", "DELETE FROM t"
    )
    assert len(p.twin.rows("SELECT * FROM t")) == 1
    assert p.device.value("SELECT count(*) FROM _sync_t_log") == 0
    assert p.dirty("t") == []


# Which trigger fires first is not defined; as SQLite is, the one that was made last.
AGAIN = {
    "deletes what was inserted": (
        "CREATE TRIGGER again AFTER INSERT ON t WHEN new.w = 'go' "
        "BEGIN DELETE FROM t WHERE k = new.k; END",
        "INSERT INTO t VALUES (9, 9, 'go')",
        [],
    ),
    "inserts what was deleted": (
        "CREATE TRIGGER again AFTER DELETE ON t "
        "BEGIN INSERT INTO t VALUES (old.k, old.v, 'back'); END",
        "DELETE FROM t WHERE k = 1",
        [(1, 0, 1, "back")],
    ),
    "updates what was inserted": (
        "CREATE TRIGGER again AFTER INSERT ON t "
        "BEGIN UPDATE t SET w = new.w || '!' WHERE k = new.k; END",
        "INSERT INTO t VALUES (9, 9, 'go')",
        [(9, 0, 9, "go!")],
    ),
    "updates what was updated": (
        "CREATE TRIGGER again AFTER UPDATE OF v ON t "
        "BEGIN UPDATE t SET w = new.v WHERE k = new.k; END",
        "UPDATE t SET v = 5 WHERE k = 1",
        [(1, 0, 5, 5)],
    ),
}


@pytest.mark.parametrize("made", ["before init", "after init"])
@pytest.mark.parametrize("what", AGAIN)
@pytest.mark.parametrize("key", ["TEXT", "INTEGER"])
def test_a_row_that_a_trigger_writes_again_is_sent_as_it_is(pair, what, made, key):
    trigger, statement, expected = AGAIN[what]
    schema = (
        f"CREATE TABLE t (k {key} PRIMARY KEY, v UNIQUE, w)",
        "INSERT INTO t VALUES (1, 1, 0), (2, 2, 0), (3, 3, 0)",
    )
    p = pair(*schema, *([trigger] if made == "before init" else []))
    p.agree()
    p.run(*([trigger] if made == "after init" else []), statement)
    # REPLACE removes a row that no trigger saw: the counts alone would not show a row too many.
    p.run("REPLACE INTO t VALUES (7, 3, 'new')")
    assert [r for r in p.sent("t") if r[0] not in (3, 7, "3", "7")] == [
        (str(k) if key == "TEXT" else k, *rest) for k, *rest in expected
    ]


@pytest.mark.parametrize("made", ["before init", "after init"])
def test_a_key_that_a_trigger_writes_in_another_way_is_sent_as_it_is(pair, made):
    trigger = (
        "CREATE TRIGGER again AFTER INSERT ON t "
        "BEGIN UPDATE t SET k = upper(new.k) WHERE k = new.k; END"
    )
    schema = "CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE, v)"
    p = pair(schema, *([trigger] if made == "before init" else []))
    p.agree()
    p.run(*([trigger] if made == "after init" else []), "INSERT INTO t VALUES ('a', 1)")
    assert p.sent("t") == [("A", 0, 1)]
