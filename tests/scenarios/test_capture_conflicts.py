"""REPLACE, the other conflict clauses, UPSERT, and statements that fail."""

import pytest
from schemas import KEYS

from syncsession_client.reconcile import bring_up_to_date
from syncsession_client.store import DeviceStore

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


@pytest.mark.parametrize("recursive", ["OFF", "ON"])
def test_a_row_that_replace_removes_through_another_unique_column_is_found(pair, recursive):
    p = pair(UNIQUE, "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    p.settle("t")
    p.pragmas = (f"recursive_triggers = {recursive}",)
    p.run("REPLACE INTO t VALUES ('c', 1)")
    with DeviceStore(p.device.path) as store, store.write():
        bring_up_to_date(store, allow_mass_delete=False)
    assert p.dirty("t") == [("a", 1), ("c", 0)]
