"""Tables of every kind, and names of every kind."""

from typing import Any

import pytest
from schemas import KEYS, KINDS, NAMES
from twins import quoted

from syncsession_client.reconcile import refresh
from syncsession_client.store import DeviceStore


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_any_kind_is_captured(pair, kind):
    schema, first, second, third = KINDS[kind]
    p = pair(schema)
    p.run(f"INSERT INTO t (k, v) VALUES ({first}, 1), ({second}, 2)")
    p.settle("t")
    p.run(
        f"INSERT INTO t (k, v) VALUES ({third}, 3)",
        f"UPDATE t SET v = 9 WHERE k = {first}",
        f"DELETE FROM t WHERE k = {second}",
        f"INSERT OR REPLACE INTO t (k, v) VALUES ({first}, 10)",
        f"UPDATE t SET k = {second} WHERE k = {third}",
        f"UPDATE t SET k = {third} WHERE k = {second}",
    )
    p.fold()
    live = p.device.rows(
        "SELECT typeof(key_1), quote(key_1) FROM _sync_t WHERE is_dirty AND NOT is_deleted "
        "ORDER BY 2"
    )
    assert live == p.device.rows("SELECT typeof(k), quote(k) FROM t ORDER BY 2")
    assert p.device.value("SELECT count(*) FROM _sync_t WHERE is_deleted") == 1
    gone = p.device.value("SELECT key_1 FROM _sync_t WHERE is_deleted")
    assert p.device.rows("SELECT 1 FROM t WHERE k IS " + literal(gone)) == []


def literal(value: Any) -> str:
    return f"x'{value.hex()}'" if isinstance(value, bytes) else repr(value)


@pytest.mark.parametrize("kind", KINDS)
def test_statements_answer_as_in_a_twin_without_sync(pair, kind):
    schema, first, second, third = KINDS[kind]
    p = pair(schema)
    p.run(
        f"INSERT INTO t (k, v) VALUES ({first}, 1) RETURNING k, v",
        f"INSERT INTO t (k, v) VALUES ({first}, 1)",
        f"INSERT INTO t (k, v) VALUES ({second}, 2), ({third}, 3) RETURNING *",
        "SELECT last_insert_rowid(), changes()",
        f"UPDATE t SET v = 5 WHERE k <> {first} RETURNING k, v",
        f"INSERT INTO t (k, v) VALUES ({first}, 7) "
        "ON CONFLICT (k) DO UPDATE SET v = excluded.v RETURNING *",
        f"REPLACE INTO t (k, v) VALUES ({second}, 8) RETURNING k",
        "UPDATE t SET v = NULL",
        f"DELETE FROM t WHERE k = {third} RETURNING *",
        "INSERT INTO t (k, v) VALUES (NULL, 4)",
        "INSERT INTO t DEFAULT VALUES",
        "DELETE FROM t",
        "SELECT count(*) FROM t",
    )


@KEYS
def test_a_program_that_does_not_trust_the_schema_can_write(pair, schema):
    p = pair(schema)
    p.pragmas = ("trusted_schema = OFF",)
    p.run(
        "INSERT INTO t VALUES (1, 0)", "UPDATE t SET v = 1", "UPDATE t SET k = 2", "DELETE FROM t"
    )
    p.run("INSERT INTO t VALUES (3, 0)")
    with p.programs() as (ours, _):
        answer, _ = ours.run("SELECT key_1 FROM _sync_t WHERE is_dirty AND NOT is_deleted")
    assert answer == [(3 if "INTEGER" in schema else "3",)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["INTEGER", "TEXT"])
def test_names_that_need_quotes_are_captured(pair, name, kind):
    q = '"' + name.replace('"', '""') + '"'
    p = pair(f"CREATE TABLE {q} ({q} {kind} PRIMARY KEY, v)")
    p.run(
        f"INSERT INTO {q} VALUES (1, 0), (2, 0)",
        f"UPDATE {q} SET v = 1",
        f"DELETE FROM {q} WHERE {q} = 2",
        f"UPDATE {q} SET {q} = 3",
    )
    live = [r for r in p.dirty(name) if not r[1]]
    assert live == [((3 if kind == "INTEGER" else "3"), 0)]
    p.run(f"ALTER TABLE {q} ADD COLUMN w", f"ALTER TABLE {q} RENAME COLUMN {q} TO k2")


OURS = [
    "op",
    "at",
    "by",
    "seq",
    "OP",
    "key_1",
    "key_2",
    "row_id",
    "is_dirty",
    "is_deleted",
    "digest",
]
OURS += [
    "generation",
    "user_id",
    "is_suppressed",
    "id",
    "old",
    "new",
    "s",
    "f",
    "rowid",
    "is_reborn",
]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("kind", ["INTEGER", "TEXT"])
def test_a_key_that_is_called_as_a_column_of_ours_is_captured(pair, name, kind):
    p = pair(f"CREATE TABLE t ({name} {kind} PRIMARY KEY, seq2, v)")
    p.run("INSERT INTO t VALUES (1, 0, 0), (2, 0, 0)")
    p.settle("t")
    p.run(f"UPDATE t SET v = 1 WHERE {name} = 1", f"DELETE FROM t WHERE {name} = 2")
    keys = (1, 2) if kind == "INTEGER" else ("1", "2")
    assert p.dirty("t") == [(keys[0], 0), (keys[1], 1)]


def test_all_of_a_key_that_is_called_as_columns_of_ours_is_captured(pair):
    names = "op, at, by, seq, key_2"
    p = pair(
        "CREATE TABLE t (op TEXT, at INTEGER, by BLOB, seq REAL, key_2, "
        f"PRIMARY KEY ({names})) WITHOUT ROWID"
    )
    p.run("INSERT INTO t VALUES ('D', 1, x'00', 2, 'k'), ('I', 1, x'00', 2, 'k')")
    p.settle("t")
    p.run("DELETE FROM t WHERE op = 'D'", "UPDATE t SET seq = 3")
    assert p.dirty("t") == [
        ("D", 1, b"\0", 2.0, "k", 1),
        ("I", 1, b"\0", 2.0, "k", 1),
        ("I", 1, b"\0", 3.0, "k", 0),
    ]


@pytest.mark.parametrize(("key", "columns"), [("INTEGER", 200), ("TEXT", 1200)])
def test_a_table_of_many_columns_is_captured_and_compared(pair, key, columns):
    names = [f"c{n}" for n in range(columns - 1)]
    p = pair(
        f"CREATE TABLE t (k {key} PRIMARY KEY, {', '.join(f'{n} DEFAULT 0' for n in names)})",
        "INSERT INTO t (k) VALUES (1), (2), (3)",
    )
    p.agree()
    p.run(f"UPDATE t SET {names[-1]} = 5 WHERE k = 1", "DELETE FROM t WHERE k = 2")
    assert [(int(row[0]), row[1], row[-1]) for row in p.sent("t")] == [(1, 0, 5), (2, 1, 1)]
    p.agree()
    p.device.execute("DROP TRIGGER _sync_t_update", f"UPDATE t SET {names[-2]} = 6 WHERE k = 3")
    with DeviceStore(p.device.path) as store, store.write():
        refresh(store, allow_mass_delete=False)
    assert [int(key) for key, _ in p.dirty("t")] == [3]
    assert [(int(row[0]), row[-2]) for row in p.sent("t")] == [(3, 6)]


GENERATED = (
    "CREATE TABLE t (k {} PRIMARY KEY, n INT, v AS (n * 2), s TEXT AS (k || n) STORED, "
    "u GENERATED ALWAYS AS (n % 10) VIRTUAL UNIQUE)",
    "CREATE INDEX i ON t (v, s)",
    "CREATE UNIQUE INDEX j ON t (s) WHERE v > 4",
)


@pytest.mark.parametrize("key", ["TEXT", "INTEGER"])
def test_generated_columns_are_neither_sent_nor_compared(pair, key):
    table, *indexes = GENERATED
    p = pair(table.format(key), *indexes, "INSERT INTO t (k, n) VALUES (1, 1), (2, 2), (3, 3)")
    p.agree()
    p.run(
        "UPDATE t SET n = 5 WHERE k = 1",
        "UPDATE t SET n = 3 WHERE k = 1",
        "UPDATE t SET v = 3",
        "INSERT INTO t VALUES (9, 9, 18, '99', 9)",
        "INSERT INTO t VALUES (8, 8)",
        "INSERT OR REPLACE INTO t VALUES (4, 12)",  # through the generated UNIQUE
        "SELECT * FROM t INDEXED BY i WHERE v = 10",
        "CREATE TABLE other (k AS (1) PRIMARY KEY)",
    )
    sent = [(int(row[0]), *row[1:]) for row in p.sent("t")]
    assert sent == [(1, 0, 5), (2, 1), (4, 0, 12), (8, 0, 8)]
    p.agree()
    p.device.execute("CREATE INDEX later ON t (u)")
    with DeviceStore(p.device.path) as store, store.write():
        refresh(store, allow_mass_delete=False)
    assert p.dirty("t") == []


def test_values_that_the_table_makes_are_sent_as_they_are(pair):
    p = pair(
        "CREATE TABLE t (k TEXT PRIMARY KEY DEFAULT (hex(randomblob(8))), r DEFAULT (random()), "
        "at DEFAULT CURRENT_TIMESTAMP, x DEFAULT (1.0 + 0.5), b DEFAULT (x'00' || 'a'), n NOT NULL "
        "DEFAULT -1, s DEFAULT 'a''b', CHECK (length(s) = 3 AND (n < 0 OR x IS NOT NULL)))"
    )
    p.agree()
    p.device.execute("INSERT INTO t DEFAULT VALUES", "INSERT INTO t (k) VALUES ('given')")
    key, is_deleted, *values = p.sent("t")[-1]
    assert (key, is_deleted, values[2:]) == ("given", 0, [1.5, "\0a", -1, "a'b"])
    p.agree()
    p.device.execute("UPDATE t SET r = NULL, s = 'abc'")
    assert [row[3:5] for row in p.sent("t")] != []
    with p.programs() as both:
        for sql in ("INSERT INTO t (s) VALUES ('ab')", "INSERT INTO t (n, x) VALUES (1, NULL)"):
            (ours, _), (twin, _) = (program.run(sql) for program in both)
            assert ours == twin
            assert ours.startswith("IntegrityError: CHECK constraint failed")


def test_sqlites_own_count_of_keys_is_as_in_the_twin(pair):
    p = pair(
        "CREATE TABLE t (k INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE)",
        "CREATE TABLE u (k INTEGER PRIMARY KEY, v)",
    )
    p.run("INSERT INTO t (v) VALUES (1), (2), (3)")
    p.agree()
    p.run(
        "DELETE FROM t WHERE k = 3",
        "INSERT INTO t (v) VALUES (4)",
        "INSERT OR IGNORE INTO t (v) VALUES (4)",
        "INSERT OR REPLACE INTO t (v) VALUES (1)",
        "INSERT INTO t VALUES (100, 5)",
        "UPDATE t SET k = 200 WHERE k = 100",
        "INSERT INTO t (v) VALUES (6)",
        "INSERT INTO u (v) VALUES (7)",
        "BEGIN",
        "INSERT INTO t (v) VALUES (8)",
        "ROLLBACK",
        "SELECT * FROM sqlite_sequence",
        "UPDATE sqlite_sequence SET seq = 500",
        "INSERT INTO t (v) VALUES (9)",
    )
    assert p.device.rows("SELECT * FROM sqlite_sequence") == [("t", 501)]
    assert {row[:2] for row in p.sent("t")} == {
        *((1, 1), (3, 1)),
        *((key, 0) for key in (4, 6, 200, 201, 501)),
    }


def test_rows_that_replace_removes_through_an_index_of_an_expression_are_found(pair):
    p = pair(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT, w INT)",
        "CREATE UNIQUE INDEX lowered ON t (lower(v))",
        "CREATE UNIQUE INDEX partly ON t (w) WHERE w > 0",
        "CREATE INDEX plain ON t (w, v DESC) WHERE v IS NOT NULL",
        "INSERT INTO t VALUES ('a', 'A', 1), ('b', 'B', 2), ('c', 'C', 0), ('d', 'D', 0)",
    )
    p.agree()
    p.run(
        "INSERT INTO t VALUES ('z', 'a', 0)",
        "INSERT OR REPLACE INTO t VALUES ('z', 'a', 2)",
        "INSERT INTO t VALUES ('y', 'D', 5) ON CONFLICT (lower(v)) DO UPDATE SET w = 5",
        "INSERT INTO t VALUES ('x', 'x', 5) ON CONFLICT (w) WHERE w > 0 DO NOTHING",
        "UPDATE OR IGNORE t SET w = 2",
        "UPDATE t SET w = -w",
    )
    assert [row[:2] for row in p.sent("t")] == [("a", 1), ("b", 1), ("d", 0), ("z", 0)]


COLUMNS = [*NAMES, "ⅷ", "\u00a0", "🎻", "a.b", "a=b", "1", "key_1", "rowid", "old", "excluded"]


@pytest.mark.parametrize("key", ["TEXT", "INTEGER"])
def test_columns_of_any_name_are_sent(pair, key):
    names = [quoted(name) for name in COLUMNS]
    p = pair(
        f"CREATE TABLE t (k {key} PRIMARY KEY, {', '.join(names)})", "INSERT INTO t (k) VALUES (1)"
    )
    p.agree()
    for number, name in enumerate(names):
        p.run(f"UPDATE t SET {name} = {number}")
    p.run(f"CREATE UNIQUE INDEX i ON t ({', '.join(names)})")
    assert [row[2:] for row in p.sent("t")] == [tuple(range(len(names)))]
