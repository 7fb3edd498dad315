"""Keys that change, that are used again, that are equal and have other bytes."""

import pytest
from schemas import INTEGER, KEYS, TEXT


def test_a_changed_text_key_is_a_tombstone_and_a_new_row(pair):
    p = pair(TEXT, "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    p.settle("t")
    p.run("UPDATE t SET k = 'c' WHERE k = 'a'")
    assert p.dirty("t") == [("a", 1), ("c", 0)]


def test_a_row_whose_integer_key_is_changed_stays_one_row(pair):
    p = pair(INTEGER, "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    p.settle("t")
    ids = p.device.rows("SELECT row_id, key_1 FROM _sync_t_rows ORDER BY key_1")
    p.run("UPDATE t SET k = k + 10 WHERE k = 1")
    assert p.dirty("t") == [(11, 0)]
    after = p.device.rows("SELECT row_id, key_1 FROM _sync_t_rows ORDER BY key_1")
    assert sorted(after) == sorted([(ids[0][0], 11), ids[1]])


def test_all_keys_shifted_in_one_statement_stay_the_same_rows(pair):
    p = pair(INTEGER, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    p.settle("t")
    read = "SELECT v, row_id FROM _sync_t_rows JOIN t ON k = key_1 WHERE is_deleted = 0 ORDER BY v"
    before = p.device.rows(read)
    p.run("UPDATE t SET k = -k", "UPDATE t SET k = 4 + k")
    assert [is_deleted for *_, is_deleted in p.dirty("t")] == [0, 0, 0]
    assert p.device.rows(read) == before


@KEYS
def test_an_integer_that_is_deleted_and_used_again_is_another_row(pair, schema):
    p = pair(schema)
    p.device.put("INSERT INTO t VALUES (?, 'old')", [(n,) for n in range(1, 51)])
    p.settle("t")
    for n in range(1, 51):
        p.device.execute(f"DELETE FROM t WHERE k = {n}", f"INSERT INTO t VALUES ({n}, 'new')")
    found = p.dirty("t")
    tombstones = sum(is_deleted for _, is_deleted in found)
    assert (len(found), tombstones) == ((100, 50) if "INTEGER" in schema else (50, 0))


def test_a_key_of_null_disturbs_nobody(pair):
    p = pair(TEXT)
    p.run("INSERT INTO t VALUES (NULL, 1), ('a', 2)", "UPDATE t SET v = 3")
    assert p.dirty("t") == [("a", 0)]
    p.run("UPDATE t SET k = 'was null' WHERE k IS NULL", "UPDATE t SET k = NULL WHERE k = 'a'")
    assert p.dirty("t") == [("a", 1), ("was null", 0)]
    p.run("DELETE FROM t WHERE k IS NULL")
    assert p.dirty("t") == [("a", 1), ("was null", 0)]


@pytest.mark.parametrize(
    ("schema", "old", "new"),
    [
        ("CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE, v)", "'a'", "'A'"),
        ("CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE, v) WITHOUT ROWID", "'a'", "'A'"),
        ("CREATE TABLE t (k TEXT PRIMARY KEY COLLATE RTRIM, v)", "'a'", "'a  '"),
        ("CREATE TABLE t (k PRIMARY KEY, v)", "1", "1.0"),
        ("CREATE TABLE t (k BLOB PRIMARY KEY, v) WITHOUT ROWID", "1.0", "1"),
    ],
)
@pytest.mark.parametrize("how", ["update", "delete and insert"])
def test_a_key_that_becomes_an_equal_one_of_other_bytes_is_one_row_under_the_new_one(
    pair, schema, old, new, how
):
    p = pair(schema, f"INSERT INTO t VALUES ({old}, 0)")
    p.settle("t")
    if how == "update":
        p.run(f"UPDATE t SET k = {new}")
    else:
        p.run("DELETE FROM t", f"INSERT INTO t VALUES ({new}, 0)")
    p.fold()
    shown = p.device.rows("SELECT typeof(key_1), quote(key_1), is_dirty, is_deleted FROM _sync_t")
    assert shown == [(*r, 1, 0) for r in p.device.rows("SELECT typeof(k), quote(k) FROM t")]


def test_a_part_of_a_key_of_references_that_changes_its_case_stays_one_row(pair):
    p = pair(
        "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
        "CREATE TABLE tagged (parent_id INTEGER REFERENCES parent, tag TEXT COLLATE NOCASE, v, "
        "PRIMARY KEY (parent_id, tag))",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO tagged VALUES (1, 'a', 0)",
    )
    p.settle("tagged")
    p.run("UPDATE tagged SET tag = 'A'")
    assert p.shadow("tagged") == [(1, "A", 1, 0)]


def test_composite_keys_are_captured_by_all_their_parts(pair):
    p = pair("CREATE TABLE t (x TEXT, y BLOB, z REAL, v, PRIMARY KEY (z, x, y))")
    p.run("INSERT INTO t VALUES ('x', 1, 1, 0), ('x', '1', 1, 0), ('x', 1, 2, 0), ('y', 1, 1, 0)")
    p.settle("t")
    p.run(
        "UPDATE t SET v = 1 WHERE x = 'y'",
        "DELETE FROM t WHERE z = 2",
        "UPDATE t SET y = x'00' WHERE y = '1'",
    )
    assert sorted(p.dirty("t"), key=repr) == sorted(
        [(1.0, "y", 1, 0), (2.0, "x", 1, 1), (1.0, "x", "1", 1), (1.0, "x", b"\0", 0)], key=repr
    )
