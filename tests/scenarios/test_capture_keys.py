"""Keys that change, that are used again, that are equal and have other bytes."""

import pytest
from schemas import INTEGER, KEYS, TEXT
from twins import Pair


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


# Of each kind: the schema, three keys that are taken and one that is not. The swap needs a key that
# nobody has in between, which is that one.
KEYED = {
    "text": ("CREATE TABLE t (k TEXT PRIMARY KEY, v)", "'a'", "'b'", "'c'", "'x'"),
    "without rowid": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v) WITHOUT ROWID",
        *("'a'", "'b'", "'c'", "'x'"),
    ),
    "nocase": (
        "CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE, v)",
        "'a'",
        "'b'",
        "'c'",
        "'A '",
    ),
    "rtrim": ("CREATE TABLE t (k TEXT PRIMARY KEY COLLATE RTRIM, v)", "'a'", "'b'", "'c'", "'A '"),
    "blob": ("CREATE TABLE t (k BLOB PRIMARY KEY, v)", "x'00'", "x'0000'", "''", "x''"),
    "any": ("CREATE TABLE t (k PRIMARY KEY, v)", "1", "'1'", "x'31'", "1.5"),
    "local": ("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", "1", "2", "3", "-9"),
    "global integer": ("CREATE TABLE t (k INTEGER PRIMARY KEY, v)", "1", "2", "3", "-9"),
    "first part": (
        "CREATE TABLE t (k TEXT, j INT DEFAULT 7, v, PRIMARY KEY (k, j))",
        *("'a'", "'b'", "'c'", "'x'"),
    ),
    "last part": (
        "CREATE TABLE t (j INT DEFAULT 7, k BLOB, v, PRIMARY KEY (j, k)) WITHOUT ROWID",
        *("1", "'1'", "x'31'", "1.5"),
    ),
}
CAME_AND_WENT = {
    *("there and back", "swapped", "in a circle", "to one that then is deleted"),
    "inserted, changed, deleted",
}
SWAP = ["SET k = {x} WHERE k = {a}", "SET k = {a} WHERE k = {b}", "SET k = {b} WHERE k = {x}"]
EDITS = {
    "changed": ["UPDATE t SET k = {x} WHERE k = {a}"],
    "changed with the row": ["UPDATE t SET v = 9, k = {x} WHERE k = {a}"],
    "changed to itself": ["UPDATE t SET k = {a} WHERE k = {a}"],
    "there and back": ["UPDATE t SET k = {x} WHERE k = {a}", "UPDATE t SET k = {a} WHERE k = {x}"],
    "swapped": [f"UPDATE t {step}" for step in SWAP],
    "in a circle": [
        "UPDATE t SET k = {x} WHERE k = {a}",
        "UPDATE t SET k = {a} WHERE k = {b}",
        "UPDATE t SET k = {b} WHERE k = {c}",
        "UPDATE t SET k = {c} WHERE k = {x}",
    ],
    "onto a deleted one": ["DELETE FROM t WHERE k = {b}", "UPDATE t SET k = {b} WHERE k = {a}"],
    "onto one that was left": [
        "UPDATE t SET k = {x} WHERE k = {b}",
        "UPDATE t SET k = {b} WHERE k = {a}",
        "UPDATE t SET v = 9 WHERE k = {x}",
    ],
    "to one that then is deleted": [
        "UPDATE t SET k = {x} WHERE k = {a}",
        "DELETE FROM t WHERE k = {x}",
    ],
    "left and taken by a new row": [
        "UPDATE t SET k = {x} WHERE k = {a}",
        "INSERT INTO t (k, v) VALUES ({a}, 'new')",
    ],
    "deleted and inserted": ["DELETE FROM t WHERE k = {a}", "INSERT INTO t (k, v) VALUES ({a}, 9)"],
    "deleted and inserted as it was": [
        "DELETE FROM t WHERE k = {a}",
        "INSERT INTO t (k, v) VALUES ({a}, 1)",
    ],
    "inserted, changed, deleted": [
        "INSERT INTO t (k, v) VALUES ({x}, 9)",
        "UPDATE t SET k = {a}, v = 8 WHERE k = {x}",
        "DELETE FROM t WHERE k = {a}",
        "UPDATE t SET k = {a} WHERE k = {x}",
        "DELETE FROM t WHERE k = {a}",
    ],
}


def keyed(pair, kind: str) -> tuple[Pair, dict[str, str]]:
    """A pair with three rows, and the names of the keys."""
    schema, a, b, c, x = KEYED[kind]
    choices = {"keys": {"t": "global"}} if kind == "global integer" else {}
    p = pair(schema, **choices)
    names = {"a": a, "b": b, "c": c, "x": x}
    begin_anew(p, names)
    return p, names


def begin_anew(p: Pair, names: dict[str, str]) -> None:
    rows = "INSERT INTO t (k, v) VALUES ({a}, 1), ({b}, 2), ({c}, 3)".format(**names)
    p.prepare("DELETE FROM t", rows)
    p.agree()


@pytest.mark.parametrize("kind", KEYED)
def test_what_became_of_keys_in_one_transaction_is_sent(pair, kind):
    p, names = keyed(pair, kind)
    for edits in EDITS.values():
        begin_anew(p, names)
        p.run("BEGIN", *(sql.format(**names) for sql in edits), "COMMIT")
        p.sent("t")


@pytest.mark.parametrize("kind", ["nocase", "any", "local", "last part"])
def test_what_became_of_keys_is_sent_though_pushes_came_between(pair, kind):
    p, names = keyed(pair, kind)
    for edits in EDITS.values():
        begin_anew(p, names)
        for sql in edits:
            p.run(sql.format(**names))
            p.sent("t")
            p.agree()


@pytest.mark.parametrize("kind", ["nocase", "any", "local", "last part"])
def test_what_became_of_keys_is_sent_though_folds_came_between(pair, kind):
    p, names = keyed(pair, kind)
    for edits in (e for name, e in EDITS.items() if name not in CAME_AND_WENT):
        begin_anew(p, names)
        for sql in edits:
            p.run(sql.format(**names))
            p.fold()
        p.sent("t")


def test_a_row_that_was_folded_before_it_went_is_a_tombstone_that_nobody_needs(pair):
    p, _ = keyed(pair, "text")
    p.run("INSERT INTO t VALUES ('d', 4)")
    p.fold()
    p.run("DELETE FROM t WHERE k = 'd'")
    assert p.dirty("t") == [("d", 1)]


def test_two_rows_that_swap_their_integers_are_not_changed(pair):
    p, names = keyed(pair, "local")
    p.run(*[f"UPDATE t {step.format(**names)}" for step in SWAP])
    assert p.sent("t") == []


def test_two_rows_that_swap_their_texts_are_changed(pair):
    p, names = keyed(pair, "text")
    p.run(*[f"UPDATE t {step.format(**names)}" for step in SWAP])
    assert p.sent("t") == [("a", 0, 2), ("b", 0, 1)]


def test_an_integer_that_is_reused_after_a_push_is_another_row(pair):
    p, _ = keyed(pair, "local")
    p.run("DELETE FROM t WHERE k = 3")
    assert p.sent("t") == [(3, 1)]
    p.agree()
    p.run("INSERT INTO t (v) VALUES ('new')")
    assert p.sent("t") == [(3, 0, "new")]
    found = p.device.rows("SELECT is_deleted FROM _sync_t_rows WHERE key_1 = 3 ORDER BY 1")
    assert found == [(0,), (1,)]


def test_a_rowid_that_is_reused_is_not_taken_for_a_key(pair):
    p, _ = keyed(pair, "text")
    taken = p.device.value("SELECT rowid FROM t WHERE k = 'c'")
    p.run("DELETE FROM t WHERE k = 'c'", "INSERT INTO t VALUES ('d', 4)")
    assert p.device.value("SELECT rowid FROM t WHERE k = 'd'") == taken
    assert p.sent("t") == [("c", 1), ("d", 0, 4)]


@pytest.mark.parametrize("kind", KEYED)
def test_rows_keep_their_identities_when_vacuum_gives_them_other_rowids(pair, kind):
    p, names = keyed(pair, kind)
    p.run("DELETE FROM t WHERE k = {a}".format(**names))
    p.agree()
    with p.programs() as both:
        # What it does to last_insert_rowid() depends on how many objects the schema has.
        assert [program.run("VACUUM")[0] for program in both] == [[], []]
    assert p.sent("t") == []
    p.run("UPDATE t SET v = 9 WHERE k = {c}".format(**names))
    assert [r[-1] for r in p.sent("t")] == [9]


def test_the_rowid_of_a_row_may_change_without_the_row(pair):
    p, _ = keyed(pair, "text")
    p.run("UPDATE t SET rowid = rowid + 100")
    assert p.sent("t") == []
    p.run("UPDATE t SET rowid = 1, v = 5 WHERE k = 'b'")
    assert p.sent("t") == [("b", 0, 5)]


NUMBERS = "(9007199254740993, 1), (9007199254740992.0, 2), ('1e3', 3), (-0.0, 4), (9e999, 5)"
TYPES = ["", "BLOB", "NUMERIC", "REAL", "INT", "DATETIME", "TEXT"]


@pytest.mark.parametrize("kind", TYPES)
def test_keys_that_are_odd_numbers_or_no_numbers_are_sent(pair, kind):
    p = pair(f"CREATE TABLE t (k {kind} PRIMARY KEY, v)", keys={"t": "global"})
    p.run(f"INSERT INTO t VALUES {NUMBERS}, (-9e999, 6), ('x', 7), (x'00', 8), ('', 9), (x'', 10)")
    p.agree()
    p.run(
        "UPDATE t SET v = v + 10",
        "UPDATE t SET k = 7.5 WHERE v = 14",
        "UPDATE t SET k = '1000' WHERE v = 13",
        "DELETE FROM t WHERE v IN (12, 15, 20)",
        "INSERT INTO t VALUES (9007199254740994, 30)",
        "INSERT INTO t VALUES (1000, 31), (x'31303030', 32)",
    )
    p.sent("t")


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_keys_of_any_characters_are_sent_in_any_encoding(pair, encoding):
    p = pair(
        f"PRAGMA encoding = '{encoding}'",
        "CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE, v)",
        "INSERT INTO t VALUES ('a', 1), ('ä', 2), ('🎻', 3), ('a' || char(0), 4), (char(0), 5)",
    )
    assert p.device.value("PRAGMA encoding") == encoding
    p.agree()
    p.run(
        "UPDATE t SET k = 'Ä' WHERE k = 'ä'",
        "UPDATE t SET k = 'b' || char(0) || 'c' WHERE v = 4",
        "DELETE FROM t WHERE k = char(0)",
        "REPLACE INTO t VALUES ('🎻', '🎻'), ('a' || char(0), 'new')",
    )
    sent = {row[:2] for row in p.sent("t")}
    assert sent == {("ä", 1), ("Ä", 0), ("a\0", 0), ("b\0c", 0), ("\0", 1), ("🎻", 0)}
