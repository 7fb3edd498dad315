"""What is a change and what is none, from the statement on one device to the row on another."""

from typing import Any

import pytest
from support import Device, World
from twins import exactly

FORMER_AND_LATTER: list[tuple[Any, Any]] = [
    *((None, ""), ("", 0), (0, None), (None, 0.0), (None, b""), ("", b"")),
    *((1, 1.0), (1.0, "1"), ("1", 1), ("1", "1.0"), ("1", b"1"), (1, 2)),
    *(("a", "A"), ("a", "a "), ("abc", b"abc"), ("é", "e\u0301"), ("NULL", None)),
    *((0.0, -0.0), (0, 0.0), (-0.0, 0), (2**53, float(2**53)), (2**63 - 1, 2.0**63)),
    *((1e-7, 1e-7 * (1 + 2**-52)), (float("inf"), float("-inf")), ("inf", float("inf"))),
]
CHANGES = [pair for both in FORMER_AND_LATTER for pair in (both, both[::-1])]
"""Each there and back."""

# In columns that bring a value to their type or compare it in their way.
TYPED: list[tuple[str, Any, Any]] = [
    ("nocase", "a", "A"),
    ("nocase", "", None),
    ("rtrim", "a", "a  "),
    ("rtrim", "", " "),
    ("int", None, 0),
    ("int", 1, "x"),
    ("int", 1, 1.5),
    ("int", "", 0),
    ("real", None, 0.0),
    ("real", "x", 0.0),
    ("real", 1.0, b"1"),
    ("text", None, ""),
    ("text", "1", "1.0"),
    ("text", "1", b"1"),
    ("numeric", 1, "1x"),
    ("numeric", None, 0),
]
TYPED_COLUMNS = (
    "nocase TEXT COLLATE NOCASE, rtrim TEXT COLLATE RTRIM, int INT, real REAL, text TEXT, "
    "numeric NUMERIC"
)


def sessions(world: World) -> int:
    """How many sessions the tenant has."""
    sql = "SELECT count(*) FROM sync_session WHERE tenant_id = :tenant"
    return int(world.server.rows(sql, tenant=world.tenant)[0][0])


def content(device: Device, table: str) -> str:
    return exactly(device.rows(f"SELECT * FROM {table} ORDER BY k"))


@pytest.mark.parametrize(
    ("table", "key"), [("loose_by_text", "TEXT"), ("loose_by_integer", "INTEGER")]
)
def test_every_change_of_a_value_reaches_another_device_exactly(world: World, table, key):
    a = world.device("a.db", f"CREATE TABLE {table} (k {key} PRIMARY KEY, v, fixed)")
    a.put(f"INSERT INTO {table} VALUES (?, ?, 0)", [(n, old) for n, (old, _) in enumerate(CHANGES)])
    a.sync()
    b = a.clone("b.db")
    assert content(a, table) == content(b, table)
    a.put(f"UPDATE {table} SET v = ? WHERE k = ?", [(new, n) for n, (_, new) in enumerate(CHANGES)])
    found = a.rows(f"SELECT v FROM {table} ORDER BY CAST(k AS INT)")
    assert exactly(found) == exactly([(new,) for _, new in CHANGES])
    assert a.push().pushed.rows == len(CHANGES)
    assert b.pull().pulled.rows == len(CHANGES)
    assert content(a, table) == content(b, table)
    assert b.push().pushed.session is None


@pytest.mark.parametrize(
    ("table", "key"), [("strict_by_text", "TEXT"), ("strict_by_integer", "INTEGER")]
)
def test_every_change_in_a_column_of_a_type_reaches_another_device_exactly(world, table, key):
    a = world.device("a.db", f"CREATE TABLE {table} (k {key} PRIMARY KEY, {TYPED_COLUMNS})")
    for n, (column, old, _) in enumerate(TYPED):
        a.put(f"INSERT INTO {table} (k, {column}) VALUES (?, ?)", [(n, old)])
    a.sync()
    b = a.clone("b.db")
    for n, (column, _, new) in enumerate(TYPED):
        a.put(f"UPDATE {table} SET {column} = ? WHERE k = ?", [(new, n)])
    assert content(a, table) != content(b, table)
    assert a.push().pushed.rows == len(TYPED)
    b.pull()
    assert content(a, table) == content(b, table)


def test_keys_that_change_in_their_bytes_only_reach_another_device(world):
    a = world.device(
        "a.db",
        "CREATE TABLE plate (k TEXT PRIMARY KEY COLLATE NOCASE, v)",
        "CREATE TABLE score (k PRIMARY KEY, v)",
    )
    a.execute("INSERT INTO plate VALUES ('a', 0)", "INSERT INTO score VALUES (1, 0), ('x', 0)")
    a.sync()
    b = a.clone("b.db")
    a.execute("UPDATE plate SET k = 'A'")
    a.execute("UPDATE score SET k = 1.0 WHERE k = 1", "UPDATE score SET k = x'78' WHERE k = 'x'")
    a.push()
    b.pull()
    for table in ("plate", "score"):
        assert content(a, table) == content(b, table)
    assert content(b, "plate") == "[('A', 0)]"
    assert content(b, "score") == "[(1.0, 0), (b'x', 0)]"


NO_CHANGES = {
    "an update to the same": ["UPDATE {t} SET v = v", "UPDATE {t} SET v = 'one', k = k"],
    "an update and back": ["UPDATE {t} SET v = 'two'", "UPDATE {t} SET v = 'one'"],
    "a replace by the same": ["REPLACE INTO {t} SELECT * FROM {t}"],
    "an upsert by the same": [
        "INSERT INTO {t} SELECT * FROM {t} WHERE 1 ON CONFLICT (k) DO UPDATE SET v = excluded.v"
    ],
    "a key that came back": ["UPDATE {t} SET k = 5", "UPDATE {t} SET k = 1"],
    "an insertion that was ignored": ["INSERT OR IGNORE INTO {t} VALUES (1, 'two')"],
    "a row that came and went": ["INSERT INTO {t} VALUES (6, 6)", "DELETE FROM {t} WHERE k = 6"],
}


@pytest.mark.parametrize(
    ("table", "key"), [("same_by_text", "TEXT"), ("same_by_integer", "INTEGER")]
)
def test_what_is_no_change_is_not_pushed(world, table, key):
    a = world.device("a.db", f"CREATE TABLE {table} (k {key} PRIMARY KEY, v)")
    a.execute(f"INSERT INTO {table} VALUES (1, 'one')")
    a.sync()
    before = sessions(world)
    for statements in NO_CHANGES.values():
        a.execute(*(sql.format(t=table) for sql in statements))
        assert a.push().pushed.session is None, statements
        assert a.dirty(table) == []
    if key == "TEXT":
        a.execute(f"DELETE FROM {table}", f"INSERT INTO {table} VALUES (1, 'one')")
        assert a.push().pushed.session is None
    assert sessions(world) == before


def test_of_many_rows_that_are_saved_only_the_changed_one_is_pushed(world):
    a = world.device("a.db", "CREATE TABLE saved (k TEXT PRIMARY KEY, v, w)")
    a.put("INSERT INTO saved VALUES (?, ?, 0)", [(str(n), n) for n in range(500)])
    a.sync()
    b = a.clone("b.db")
    a.execute("UPDATE saved SET v = v, w = CASE k WHEN '77' THEN 0.0 ELSE 0 END")
    assert a.push().pushed.rows == 1
    b.pull()
    assert exactly(b.rows("SELECT * FROM saved WHERE k = '77'")) == "[('77', 77, 0.0)]"
