"""The application's own triggers beside ours."""

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
