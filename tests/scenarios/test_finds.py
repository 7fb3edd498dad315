"""What the fuzzer of capture has found, each find as a script that failed once."""

import pytest
from fuzzing.differential import run
from fuzzing.script import CHECK, Script, Step

FINDS = {
    "a row that its own trigger deletes again": (
        "CREATE TABLE t (k NUMERIC PRIMARY KEY, v, tag INTEGER)",
        "sync is installed",
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t WHERE k > 1; END",
        "INSERT INTO t VALUES (2, 'a', 1)",
    ),
    "a new row that REPLACE removes through another UNIQUE column": (
        "CREATE TABLE t (a TEXT, b INTEGER, u UNIQUE, tag INTEGER, PRIMARY KEY (b, a))",
        "sync is installed",
        "INSERT INTO t VALUES ('x', 1, 1, 1), ('y', 2, 2, 2)",
        "UPDATE OR REPLACE t SET u = 3",
    ),
    "a row that comes and goes after a sync has seen it go": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v, tag INTEGER)",
        "sync is installed",
        "INSERT INTO t VALUES ('a', 1, 1)",
        CHECK,
        "DELETE FROM t",
        CHECK,
        "INSERT INTO t VALUES ('a', 1, 2)",
        "DELETE FROM t",
    ),
    "a row that REPLACE removes for one whose key is NULL": (
        "CREATE TABLE t (a TEXT, b INTEGER, u UNIQUE, tag INTEGER, PRIMARY KEY (a, b))",
        "sync is installed",
        "INSERT INTO t VALUES ('x', 1, 1, 1), ('y', 2, 2, 2)",
        CHECK,
        "REPLACE INTO t VALUES ('z', NULL, 2, 3)",
    ),
    "rows that come before their table is rebuilt without them": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v, tag INTEGER) WITHOUT ROWID",
        "sync is installed",
        "INSERT INTO t VALUES ('a', 1, 1)",
        "CREATE TABLE n (k TEXT PRIMARY KEY, v, tag INTEGER) WITHOUT ROWID",
        "DROP TABLE t",
        "ALTER TABLE n RENAME TO t",
    ),
    "a child whose parent's integer another row has got, after the parent's was changed": (
        "CREATE TABLE p (id INTEGER PRIMARY KEY, v, tag INTEGER)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p, tag INTEGER)",
        "sync is installed",
        "INSERT INTO c VALUES (4, 3, 1)",
        "INSERT INTO p VALUES (3, 'a', 2)",
        CHECK,
        "UPDATE p SET id = -id",
        "INSERT INTO p VALUES (3, 'b', 3)",
    ),
    "a row under a number that meant none before": (
        "CREATE TABLE p (id INTEGER PRIMARY KEY, tag INTEGER)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p, tag INTEGER)",
        "sync is installed",
        "INSERT INTO c VALUES (1, 0, 1), (2, -3, 2)",
        CHECK,
        "INSERT INTO p VALUES (0, 3), (-3, 4)",
    ),
    "a row that others waited for, and that came, was moved and went": (
        "CREATE TABLE p (id INTEGER PRIMARY KEY, tag INTEGER)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p, tag INTEGER)",
        "sync is installed",
        "INSERT INTO c VALUES (1, 2, 1)",
        CHECK,
        "INSERT INTO p VALUES (2, 2)",
        "UPDATE p SET id = 6",
        "DELETE FROM p",
    ),
}


@pytest.mark.parametrize("driver", ["apsw", "sqlite3"])
@pytest.mark.parametrize("find", FINDS)
def test_a_find_stays_mended(tmp_path, find, driver):
    at = FINDS[find].index("sync is installed")
    steps = [Step(s) if isinstance(s, str) else s for s in FINDS[find][at + 1 :]]
    assert not run(Script(driver, FINDS[find][:at], steps=steps), tmp_path)
