"""REPLACE, the other conflict clauses, UPSERT, and statements that fail."""

import pytest
from schemas import KEYS
from twins import Pair

UNIQUE = "CREATE TABLE t (k TEXT PRIMARY KEY, v UNIQUE CHECK (v <> 'bad'))"


@pytest.mark.parametrize(
    ("statement", "dirty"),
    [
        ("INSERT OR IGNORE INTO t VALUES ('a', 9), ('c', 3)", [("c", 0)]),
        ("INSERT OR IGNORE INTO t VALUES ('c', 1), ('d', 4)", [("d", 0)]),
        ("INSERT OR REPLACE INTO t VALUES ('a', 9)", [("a", 0)]),
        ("REPLACE INTO t VALUES ('c', 3), ('b', 8)", [("b", 0), ("c", 0)]),
        ("INSERT OR FAIL INTO t VALUES ('c', 3), ('a', 9), ('d', 4)", [("c", 0)]),
        ("INSERT OR ABORT INTO t VALUES ('c', 3), ('a', 9)", []),
        ("INSERT OR ROLLBACK INTO t VALUES ('c', 3), ('a', 9)", []),
        ("INSERT INTO t VALUES ('c', 3), ('d', 'bad')", []),
        ("INSERT OR IGNORE INTO t VALUES ('c', 3), ('d', 'bad')", [("c", 0)]),
        ("INSERT INTO t VALUES ('a', 9) ON CONFLICT DO NOTHING", []),
        (
            "INSERT INTO t VALUES ('a', 9), ('c', 3) ON CONFLICT (k) DO UPDATE SET v = excluded.v",
            [("a", 0), ("c", 0)],
        ),
        ("INSERT INTO t VALUES ('a', 9) ON CONFLICT (k) DO UPDATE SET v = 9 WHERE v = 'no'", []),
        (
            "INSERT INTO t VALUES ('c', 1) ON CONFLICT (v) DO UPDATE SET k = 'z'",
            [("a", 1), ("z", 0)],
        ),
        ("UPDATE OR IGNORE t SET v = 2", [("b", 0)]),
        ("UPDATE OR IGNORE t SET k = 'b'", [("b", 0)]),
        ("UPDATE OR FAIL t SET v = v + 1", []),
        ("UPDATE t SET v = 'bad'", []),
        ("UPDATE t SET v = 7 WHERE k = 'nobody'", []),
        ("DELETE FROM t WHERE k = 'nobody'", []),
        ("DELETE FROM t", [("a", 1), ("b", 1)]),
        ("INSERT INTO t SELECT k || '2', v || '2' FROM t", [("a2", 0), ("b2", 0)]),
        ("WITH x AS (SELECT 'a' AS k) UPDATE t SET v = 5 WHERE k IN x", [("a", 0)]),
    ],
)
def test_what_a_statement_changed_is_dirty_and_nothing_else(pair, statement, dirty):
    p = pair(UNIQUE, "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    p.settle("t")
    p.run(statement)
    assert p.dirty("t") == dirty


@KEYS
@pytest.mark.parametrize("recursive", ["OFF", "ON"])
def test_replace_is_one_changed_row_whether_or_not_its_delete_fires_triggers(
    pair, schema, recursive
):
    p = pair(schema, "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    p.settle("t")
    p.pragmas = (f"recursive_triggers = {recursive}",)
    p.run("REPLACE INTO t VALUES (1, 'A'), (2, 'B'), (3, 'C')")
    assert [is_deleted for _, is_deleted in p.dirty("t")] == [0, 0, 0]
    assert p.device.value("SELECT count(*) FROM _sync_t_rows") == 3


RECURSIVE = pytest.mark.parametrize("recursive", ["OFF", "ON"])


@RECURSIVE
def test_a_row_that_replace_removes_through_another_unique_column_is_found(pair, recursive):
    p = pair(UNIQUE, "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    p.agree()
    p.pragmas = (f"recursive_triggers = {recursive}",)
    p.run("REPLACE INTO t VALUES ('c', 1)")
    assert p.sent("t") == [("a", 1), ("c", 0, 1)]


@RECURSIVE
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("k TEXT PRIMARY KEY", [("1", 1), ("3", 0, 1)]),
        ("k INT PRIMARY KEY", [(1, 1), (3, 0, 1)]),
        ("k, PRIMARY KEY (k, v)", [(1, 1, 1), (3, 1, 0)]),
        ("k, PRIMARY KEY (v, k)", [(1, 1, 1), (1, 3, 0)]),
    ],
)
def test_a_row_that_replace_removes_is_found_though_a_key_is_null(pair, recursive, key, expected):
    p = pair(f"CREATE TABLE t (v UNIQUE, {key})", "INSERT INTO t (v, k) VALUES (1, 1), (2, 2)")
    p.agree()
    p.pragmas = (f"recursive_triggers = {recursive}",)
    p.run("INSERT INTO t (v, k) VALUES (7, NULL)", "REPLACE INTO t (v, k) VALUES (1, 3)")
    assert p.sent("t") == expected


# Three columns can collide, and each statement below with several rows at once.
COLUMNS = "a UNIQUE{c}, b UNIQUE{c}, w NOT NULL{c} DEFAULT 'd' CHECK (w <> 'bad')"
COLLIDING = {
    "global": f"CREATE TABLE t (k TEXT PRIMARY KEY{{c}}, {COLUMNS})",
    "local": f"CREATE TABLE t (k INTEGER PRIMARY KEY{{c}}, {COLUMNS})",
    "composite": f"CREATE TABLE t (k TEXT, j INT DEFAULT 0, {COLUMNS}, PRIMARY KEY (k, j){{c}}) "
    "WITHOUT ROWID",
}
FOUR = (
    "INSERT INTO t (k, a, b, w) VALUES ('1', 1, 1, 0), ('2', 2, 2, 0), ('3', 3, 3, 0), (4, 4, 4, 0)"
)
COLLISIONS = [
    # through the key and two secondary UNIQUEs, so that one row removes three
    "INSERT{o} INTO t (k, a, b, w) VALUES ('1', 2, 3, 9)",
    "INSERT{o} INTO t (k, a, b, w) VALUES ('9', 2, 3, 9)",
    "INSERT{o} INTO t (k, a, b, w) VALUES ('8', 8, 8, 9), ('1', 2, 3, 9), ('9', 9, 9, 9)",
    "INSERT{o} INTO t (k, a, b, w) VALUES ('1', 2, 3, 9), ('1', 4, 7, 9), ('2', 2, 2, 0)",
    # onto another key, and onto others at once
    "UPDATE{o} t SET k = '2' WHERE k = '1'",
    "UPDATE{o} t SET k = '2', a = 3, b = 4 WHERE k = '1'",
    "UPDATE{o} t SET k = '4'",
    "UPDATE{o} t SET a = 4",
    "UPDATE{o} t SET a = a + 1",
    # halfway, for a reason that is no UNIQUE
    "INSERT{o} INTO t (k, a, b, w) VALUES ('8', 8, 8, NULL), ('9', 9, 9, 9), ('7', 7, 7, 'bad')",
    "UPDATE{o} t SET w = CASE k WHEN '3' THEN NULL ELSE 5 END",
    "UPDATE{o} t SET w = CASE k WHEN '3' THEN 'bad' ELSE 5 END",
]


def try_each(p: Pair, statements: list[str], recursive: str, around: list[str]) -> None:
    """Run each on the same four rows, and compare what is sent."""
    p.pragmas = (f"recursive_triggers = {recursive}",)
    for sql in statements:
        p.prepare("DELETE FROM t", FOUR)
        p.agree()
        p.run(*around[:2], sql, *around[2:])
        p.sent("t")


# Where the clause decides whether the transaction goes on, there is one.
UPDATED = "UPDATE t SET w = 7 WHERE k = '4'"
AROUND = ["BEGIN", UPDATED, UPDATED, "COMMIT"]
CLAUSES = pytest.mark.parametrize(
    ("clause", "around", "recursive"),
    [
        ("REPLACE", [], "OFF"),
        ("REPLACE", [], "ON"),
        ("IGNORE", [], "OFF"),
        ("ABORT", AROUND, "OFF"),
        ("FAIL", AROUND, "OFF"),
        ("ROLLBACK", AROUND, "OFF"),
    ],
    ids=["replace", "replace recursive", "ignore", "abort", "fail", "rollback"],
)


@CLAUSES
@pytest.mark.parametrize("kind", COLLIDING)
def test_what_a_statement_with_a_conflict_clause_changed_is_sent(
    pair, kind, clause, around, recursive
):
    p = pair(COLLIDING[kind].format(c=""))
    try_each(p, [sql.format(o=f" OR {clause}") for sql in COLLISIONS], recursive, around)


@CLAUSES
@pytest.mark.parametrize("kind", COLLIDING)
def test_what_a_table_with_conflict_clauses_changed_is_sent(pair, kind, clause, around, recursive):
    p = pair(COLLIDING[kind].format(c=f" ON CONFLICT {clause}"))
    try_each(p, [sql.format(o="") for sql in COLLISIONS], recursive, around)


@RECURSIVE
@pytest.mark.parametrize("moved", [[], ["UPDATE t SET k = 9 WHERE k = 4"]], ids=["", "moved"])
def test_replace_that_removes_several_rows_keeps_the_identity_of_the_one_with_its_key(
    pair, recursive, moved
):
    p = pair(COLLIDING["local"].format(c=""), FOUR)
    p.agree()
    read = "SELECT hex(row_id), key_1 FROM _sync_t_rows WHERE key_1 < 4 AND is_deleted = 0"
    before = p.device.rows(read)
    p.pragmas = (f"recursive_triggers = {recursive}",)
    p.run(*moved, "REPLACE INTO t (k, a, b, w) VALUES (1, 2, 3, 9)")
    assert [r[:2] for r in p.sent("t") if r[0] < 4] == [(1, 0), (2, 1), (3, 1)]
    assert p.device.rows(read) == [r for r in before if r[1] == 1]


@RECURSIVE
def test_a_row_that_is_moved_onto_others_replaces_them_and_stays_itself(pair, recursive):
    p = pair(COLLIDING["local"].format(c=""), FOUR)
    p.agree()
    moved = p.device.value("SELECT row_id FROM _sync_t_rows WHERE key_1 = 1")
    p.pragmas = (f"recursive_triggers = {recursive}",)
    p.run("UPDATE OR REPLACE t SET k = 2, a = 3, b = 4 WHERE k = 1")
    assert p.sent("t") == [(2, 0, 3, 4, 0), (2, 1), (3, 1), (4, 1)]
    live = p.device.rows("SELECT row_id FROM _sync_t_rows WHERE is_deleted = 0")
    assert live == [(moved,)]


@pytest.mark.parametrize("first", ["UPDATE setting SET v = v + 1", "SELECT 1"])
def test_a_deletion_and_an_insertion_by_two_programs_are_no_replace(pair, first):
    p = pair(
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v)",
        "CREATE TABLE setting (v)",
        "INSERT INTO setting VALUES (1)",
        "INSERT INTO t VALUES (1, 'old')",
    )
    p.agree()
    p.run("DELETE FROM t")
    p.run(first, "INSERT INTO t VALUES (1, 'new')")
    assert p.sent("t") == [(1, 0, "new"), (1, 1)]


UPSERTS = [
    ("('1', 9, 9, 0) ON CONFLICT DO NOTHING", []),
    ("('9', 1, 9, 0), ('8', 8, 8, 0) ON CONFLICT (a) DO NOTHING", ["8"]),
    ("('1', 9, 9, 5) ON CONFLICT (k) DO UPDATE SET w = excluded.w", ["1"]),
    ("('1', 9, 9, 5) ON CONFLICT (k) DO UPDATE SET w = excluded.w WHERE excluded.w < w", []),
    ("('9', 1, 9, 5) ON CONFLICT (a) DO UPDATE SET k = excluded.k", ["1-", "9"]),
    ("('9', 1, 9, 5) ON CONFLICT (a) DO UPDATE SET k = '2'", []),
    ("('1', 9, 2, 5) ON CONFLICT (b) DO NOTHING ON CONFLICT (k) DO UPDATE SET w = 6", []),
    ("('1', 9, 9, 5) ON CONFLICT (b) DO NOTHING ON CONFLICT (k) DO UPDATE SET w = 6", ["1"]),
    (
        "('1', 7, 7, 5), ('8', 2, 8, 5), ('9', 9, 3, 5), ('6', 6, 6, 6) "
        "ON CONFLICT (k) DO UPDATE SET w = 'k' ON CONFLICT (a) DO UPDATE SET w = 'a' "
        "ON CONFLICT DO UPDATE SET k = '7'",
        ["1", "2", "3-", "6", "7"],
    ),
    ("('1', 9, 9, 'bad') ON CONFLICT (k) DO UPDATE SET w = 'bad'", []),
    ("('8', 8, 8, 0), ('1', 2, 9, 0) ON CONFLICT (k) DO UPDATE SET a = excluded.a", []),
]


@pytest.mark.parametrize(("upsert", "expected"), UPSERTS, ids=[u for u, _ in UPSERTS])
def test_what_an_upsert_changed_is_sent(pair, upsert, expected):
    p = pair(COLLIDING["global"].format(c=""), FOUR)
    p.agree()
    p.run(f"INSERT INTO t (k, a, b, w) VALUES {upsert}")
    assert [f"{r[0]}{'-' * r[1]}" for r in p.sent("t")] == expected


@pytest.mark.parametrize(("upsert", "expected"), UPSERTS, ids=[u for u, _ in UPSERTS])
def test_a_row_with_a_local_key_that_an_upsert_changed_stays_itself(pair, upsert, expected):
    p = pair(COLLIDING["local"].format(c=""), FOUR)
    p.agree()
    p.run(f"INSERT INTO t (k, a, b, w) VALUES {upsert}")
    stays = [key for key in expected if not key.endswith("-")]
    moved = len(stays) < len(expected)
    sent = [str(key) for key, *_ in p.sent("t")]
    assert sent == ([s for s in stays if s not in ("7", "9")] if moved else stays)


@KEYS
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t SELECT k, v FROM t WHERE 0",
        "INSERT OR IGNORE INTO t SELECT * FROM t",
        "INSERT INTO t VALUES (1, 'z') ON CONFLICT DO NOTHING",
        "INSERT INTO t VALUES (9, 'z'), (1, 'z')",
        "INSERT INTO t VALUES (9)",
        "INSERT INTO nowhere VALUES (9, 1)",
        "UPDATE t SET v = 1 WHERE 0",
        "UPDATE t SET v = v WHERE k = 1 AND 0",
        "UPDATE t SET k = 2 WHERE k = 1",
        "DELETE FROM t WHERE v IS NULL",
        "EXPLAIN DELETE FROM t",
    ],
)
def test_what_never_happens_leaves_the_log_empty(pair, schema, statement):
    p = pair(schema, "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    p.agree()
    p.run(statement) if not statement.startswith("EXPLAIN") else p.device.execute(statement)
    assert p.device.value("SELECT count(*) FROM _sync_t_log") == 0
    assert p.sent("t") == []
