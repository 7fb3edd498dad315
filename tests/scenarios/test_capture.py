"""What triggers see of a program's plain SQL, and that the program notices nothing of them.

Each database has a twin with the same schema and no sync: what a statement answers must not differ.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import Device

from syncsession_client.reconcile import bring_up_to_date
from syncsession_client.setup import uninstall
from syncsession_client.status import read_status, set_user
from syncsession_client.store import DeviceStore

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing here needs a server
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Program:
    """An application's connection, for statement after statement in autocommit."""

    def __init__(self, path: Path, *pragmas: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("foreign_keys = ON", *pragmas):
            self._db.execute(f"PRAGMA {pragma}")

    def run(self, sql: str) -> Any:
        """What a statement answers: its rows, or the error's text; and what is said of it after."""
        try:
            answer: Any = self._db.execute(sql).fetchall()
        except sqlite3.Error as error:
            answer = f"{type(error).__name__}: {error}"
        said = self._db.execute("SELECT last_insert_rowid(), changes()").fetchall()
        return answer, *said

    def close(self) -> None:
        self._db.close()


class Pair:
    """A database in which sync is installed, and its twin without."""

    def __init__(self, directory: Path, schema: tuple[str, ...], **choices: Any) -> None:
        self.device = Device(directory / "app.db", NOWHERE, "")
        self.twin = Device(directory / "twin.db", NOWHERE, "")
        for device in (self.twin, self.device):
            device.execute(*schema)
        self.device.init(**choices)
        self.pragmas: tuple[str, ...] = ()

    def run(self, *statements: str) -> None:
        """Run statements on both, one by one, and compare what is answered and what is there."""
        with self.programs() as (ours, twin):
            for sql in statements:
                assert ours.run(sql) == twin.run(sql), sql
        self.compare()

    @contextmanager
    def programs(self) -> Iterator[tuple[Program, Program]]:
        both = [Program(d.path, *self.pragmas) for d in (self.device, self.twin)]
        try:
            yield both[0], both[1]
        finally:
            for program in both:
                program.close()

    def compare(self) -> None:
        """The application's schema and rows are those of the twin."""
        assert own(self.device) == self.twin.schema()
        for kind, name, *_ in self.twin.schema():
            if kind == "table":
                read = f'SELECT * FROM "{name.replace(chr(34), chr(34) * 2)}"'
                assert self.device.rows(read) == self.twin.rows(read)

    def fold(self) -> None:
        read_status(self.device.path)

    def shadow(self, table: str) -> list[tuple[Any, ...]]:
        """The table's shadow rows after a fold: (key…, is_dirty, is_deleted)."""
        self.fold()
        view = f"_sync_{table}".replace('"', '""')
        rows = self.device.rows(f'SELECT * FROM "{view}" ORDER BY 1, 2')
        return [(*r[:-5], r[-5], r[-4]) for r in rows]

    def dirty(self, table: str) -> list[tuple[Any, ...]]:
        """The dirty shadow rows after a fold: (key…, is_deleted)."""
        return [(*r[:-2], r[-1]) for r in self.shadow(table) if r[-2]]

    def settle(self, table: str) -> None:
        """As if the server had acknowledged everything so far."""
        self.fold()
        self.device.execute(f'UPDATE "_sync_{table}_rows" SET is_dirty = 0, sync_session = 1')


def own(device: Device) -> list[tuple[Any, ...]]:
    """The schema without what sync added to it."""
    return [
        o for o in device.schema() if not re.match(r"_sync(session)?_|sqlite_autoindex__sync", o[1])
    ]


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., Pair]:
    def make(*schema: str, **choices: Any) -> Pair:
        return Pair(tmp_path, schema, **choices)

    return make


TEXT = "CREATE TABLE t (k TEXT PRIMARY KEY, v)"
INTEGER = "CREATE TABLE t (k INTEGER PRIMARY KEY, v)"
KEYS = pytest.mark.parametrize("schema", [TEXT, INTEGER], ids=["global", "local"])


# Insert, update, delete


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


def test_a_row_that_came_and_went_in_a_table_of_references_leaves_nothing_dirty(pair):
    p = pair(*FAMILY, "INSERT INTO parent VALUES (1, 'p')")
    p.settle("parent")
    p.run("INSERT INTO link VALUES (1, 1, 'l')", "DELETE FROM link")
    assert p.dirty("link") == []


def test_a_deleted_row_that_comes_again_is_dirty_and_not_deleted(pair):
    p = pair(TEXT, "INSERT INTO t VALUES ('a', 1)")
    p.settle("t")
    p.run("DELETE FROM t")
    assert p.dirty("t") == [("a", 1)]
    p.run("INSERT INTO t VALUES ('a', 2)")
    assert p.dirty("t") == [("a", 0)]


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


# Conflict clauses and failures

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


@pytest.mark.parametrize("recursive", ["OFF", "ON"])
def test_a_row_that_replace_removes_through_another_unique_column_is_found(pair, recursive):
    p = pair(UNIQUE, "INSERT INTO t VALUES ('a', 1), ('b', 2)")
    p.settle("t")
    p.pragmas = (f"recursive_triggers = {recursive}",)
    p.run("REPLACE INTO t VALUES ('c', 1)")
    with DeviceStore(p.device.path) as store, store.write():
        bring_up_to_date(store, allow_mass_delete=False)
    assert p.dirty("t") == [("a", 1), ("c", 0)]


@KEYS
def test_a_transaction_that_is_rolled_back_leaves_nothing(pair, schema):
    p = pair(schema, "INSERT INTO t VALUES (1, 'a')")
    p.settle("t")
    p.run(
        "BEGIN",
        "INSERT INTO t VALUES (2, 0)",
        "UPDATE t SET v = 0",
        "DELETE FROM t WHERE k = 1",
        "ROLLBACK",
    )
    assert p.device.value("SELECT count(*) FROM _sync_t_log") == 0
    assert p.dirty("t") == []


def test_a_savepoint_that_is_rolled_back_leaves_only_what_was_before_it(pair):
    p = pair(TEXT)
    p.run(
        "BEGIN",
        "INSERT INTO t VALUES ('kept', 0)",
        "SAVEPOINT s",
        "INSERT INTO t VALUES ('gone', 0)",
        "UPDATE t SET v = 1",
        "ROLLBACK TO s",
        "INSERT INTO t VALUES ('also kept', 0)",
        "RELEASE s",
        "COMMIT",
    )
    assert p.dirty("t") == [("also kept", 0), ("kept", 0)]


def test_a_key_of_null_disturbs_nobody(pair):
    p = pair(TEXT)
    p.run("INSERT INTO t VALUES (NULL, 1), ('a', 2)", "UPDATE t SET v = 3")
    assert p.dirty("t") == [("a", 0)]
    p.run("UPDATE t SET k = 'was null' WHERE k IS NULL", "UPDATE t SET k = NULL WHERE k = 'a'")
    assert p.dirty("t") == [("a", 1), ("was null", 0)]
    p.run("DELETE FROM t WHERE k IS NULL")
    assert p.dirty("t") == [("a", 1), ("was null", 0)]


# Foreign keys

FAMILY = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, v)",
    "CREATE TABLE child (id TEXT PRIMARY KEY, parent_id INTEGER REFERENCES parent ON DELETE "
    "CASCADE ON UPDATE CASCADE, v)",
    "CREATE TABLE orphan (id TEXT PRIMARY KEY, parent_id INTEGER DEFAULT 9 REFERENCES parent (id) "
    "ON DELETE SET NULL ON UPDATE SET DEFAULT)",
    "CREATE TABLE link (parent_id INTEGER REFERENCES parent (id) ON DELETE "
    "CASCADE ON UPDATE CASCADE, n INTEGER, v, PRIMARY KEY (parent_id, n))",
)
BORN = (
    "INSERT INTO parent VALUES (1, 'p'), (2, 'q'), (9, 'default')",
    "INSERT INTO child VALUES ('a', 1, 0), ('b', 2, 0)",
    "INSERT INTO orphan VALUES ('a', 1), ('b', 2)",
    "INSERT INTO link VALUES (1, 1, 0), (1, 2, 0), (2, 1, 0)",
)


@pytest.fixture
def family(pair) -> Pair:
    p = pair(*FAMILY, *BORN)
    for table in ("parent", "child", "orphan", "link"):
        p.settle(table)
    return p


def test_what_a_deletion_cascades_to_is_dirty(family):
    family.run("DELETE FROM parent WHERE id = 1")
    assert family.dirty("parent") == [(1, 1)]
    assert family.dirty("child") == [("a", 1)]
    assert family.dirty("orphan") == [("a", 0)]
    assert family.dirty("link") == [(1, 1, 1), (1, 2, 1)]


def test_what_a_changed_key_cascades_to_is_dirty_and_the_rows_stay_the_same(family):
    read = "SELECT row_id_1, row_id_2 FROM _sync_link_rows ORDER BY 1, 2"
    before = family.device.rows(read)
    family.run("UPDATE parent SET id = 50 WHERE id = 1")
    assert family.dirty("parent") == [(50, 0)]
    assert family.dirty("child") == [("a", 0)]
    assert family.dirty("orphan") == [("a", 0)]
    assert family.dirty("link") == [(50, 1, 0), (50, 2, 0)]
    assert family.device.rows(read) == before


@pytest.mark.parametrize(
    "statements",
    [
        ["INSERT INTO child VALUES ('z', 77, 0)"],
        ["UPDATE child SET parent_id = 77"],
        ["BEGIN", "PRAGMA defer_foreign_keys = ON", "UPDATE child SET parent_id = 77", "COMMIT"],
    ],
    ids=["insert", "update", "deferred"],
)
def test_a_violated_foreign_key_fails_as_ever_and_leaves_nothing(family, statements):
    with family.programs() as (ours, twin):
        for sql in statements:
            (answer, _), (expected, _) = ours.run(sql), twin.run(sql)
            assert answer == expected
        assert answer == "IntegrityError: FOREIGN KEY constraint failed"
    family.compare()
    assert family.dirty("child") == []


# Tables of all kinds

KINDS = {
    "text": ("CREATE TABLE t (k TEXT PRIMARY KEY, v)", "'a'", "'b'", "'c'"),
    "without rowid": ("CREATE TABLE t (k TEXT PRIMARY KEY, v) WITHOUT ROWID", "'a'", "'b'", "'c'"),
    "integer": (INTEGER, "1", "2", "3"),
    "autoincrement": ("CREATE TABLE t (k INTEGER PRIMARY KEY AUTOINCREMENT, v)", "1", "2", "3"),
    "int": ("CREATE TABLE t (k INT PRIMARY KEY, v)", "1", "2", "3"),
    "descending": ("CREATE TABLE t (k INTEGER PRIMARY KEY DESC, v)", "1", "2", "3"),
    "integer without rowid": (
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v) WITHOUT ROWID",
        "1",
        "2",
        "3",
    ),
    "strict": ("CREATE TABLE t (k TEXT PRIMARY KEY, v ANY) STRICT", "'a'", "'b'", "'c'"),
    "strict any": (
        "CREATE TABLE t (k ANY PRIMARY KEY, v) STRICT".replace(", v)", ", v INT)"),
        "'1'",
        "1",
        "x'31'",
    ),
    "no type": ("CREATE TABLE t (k PRIMARY KEY, v)", "'1'", "1", "x'31'"),
    "blob": ("CREATE TABLE t (k BLOB PRIMARY KEY, v) WITHOUT ROWID", "x'00'", "x''", "1.5"),
    "real": ("CREATE TABLE t (k REAL PRIMARY KEY, v)", "1", "1.5", "9e999"),
    "numeric": ("CREATE TABLE t (k DATETIME PRIMARY KEY, v)", "'2026-01-01'", "20260101", "1.5"),
    "nocase": ("CREATE TABLE t (k TEXT PRIMARY KEY COLLATE NOCASE, v)", "'a'", "'B'", "'c'"),
    "rtrim": ("CREATE TABLE t (k TEXT PRIMARY KEY COLLATE RTRIM, v)", "'a'", "'b '", "'c'"),
    "generated": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v, g AS (v || k), s AS (k) STORED)",
        "'a'",
        "'b'",
        "'c'",
    ),
    "conflict clause": (
        "CREATE TABLE t (k TEXT PRIMARY KEY ON CONFLICT REPLACE, v NOT NULL ON CONFLICT IGNORE)",
        "'a'",
        "'b'",
        "'c'",
    ),
}


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
    assert p.device.rows("SELECT 1 FROM t WHERE k IS " + quoted(gone)) == []


def quoted(value: Any) -> str:
    return f"x'{value.hex()}'" if isinstance(value, bytes) else repr(value)


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


NAMES = [
    'quo"te',
    "apo's",
    "[br]",
    "`b`",
    "sp ace",
    "select",
    "ünï",
    "a;b",
    "log",
    "-- x",
    "%s {{ x }}",
]


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


# The program notices nothing


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


# Changes of the schema

WIDE = "CREATE TABLE t (k {} PRIMARY KEY, v, w DEFAULT 5, x UNIQUE)"
CHILD = "CREATE TABLE c (id TEXT PRIMARY KEY, t_k REFERENCES t (k))"
CHANGES = {
    "add column": ["ALTER TABLE t ADD COLUMN y TEXT DEFAULT 'd'", "UPDATE t SET y = 'e'"],
    "drop column": ["ALTER TABLE t DROP COLUMN w", "ALTER TABLE t DROP COLUMN v"],
    "drop a column with an index": ["ALTER TABLE t DROP COLUMN x", "ALTER TABLE t DROP COLUMN k"],
    "rename column": ["ALTER TABLE t RENAME COLUMN v TO value", "UPDATE t SET value = 1"],
    "rename the key": ["ALTER TABLE t RENAME COLUMN k TO op", "UPDATE t SET v = 1 WHERE op = 1"],
    "rename the key there and back": [
        'ALTER TABLE t RENAME COLUMN k TO "new name"',
        'UPDATE t SET "new name" = 5 WHERE "new name" = 1',
        'ALTER TABLE t RENAME COLUMN "new name" TO k',
    ],
    "rename table": ['ALTER TABLE t RENAME TO "other name"', 'UPDATE "other name" SET v = 1'],
    "rename table there and back": ["ALTER TABLE t RENAME TO u", "ALTER TABLE u RENAME TO t"],
    "rebuild": [
        "PRAGMA foreign_keys = OFF",
        "BEGIN",
        "CREATE TABLE t_new (k PRIMARY KEY, v NOT NULL)",
        "INSERT INTO t_new SELECT k, v FROM t",
        "DROP TABLE t",
        "ALTER TABLE t_new RENAME TO t",
        "COMMIT",
    ],
    "rebuild the other way round": [
        "PRAGMA foreign_keys = OFF",
        "ALTER TABLE t RENAME TO t_old",
        "CREATE TABLE t (k PRIMARY KEY, v)",
        "INSERT INTO t SELECT k, v FROM t_old",
        "DROP TABLE t_old",
    ],
    "rebuild with enforced references": [
        "CREATE TABLE t_new (k PRIMARY KEY, v)",
        "INSERT INTO t_new SELECT k, v FROM t",
        "DROP TABLE t",
        "ALTER TABLE t_new RENAME TO t",
    ],
    "drop table": [
        "DROP TABLE t",
        "CREATE TABLE t (k TEXT PRIMARY KEY)",
        "INSERT INTO t VALUES ('z')",
    ],
    "index": [
        "CREATE INDEX i ON t (v)",
        "CREATE UNIQUE INDEX j ON t (w, k)",
        "DROP INDEX i",
        "REINDEX",
    ],
    "upkeep": ["VACUUM", "ANALYZE", "PRAGMA optimize"],
}


@pytest.mark.parametrize("legacy", ["OFF", "ON"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["INTEGER", "TEXT"])
def test_a_change_of_the_schema_works_as_in_a_twin_without_sync(pair, kind, change, legacy):
    p = pair(WIDE.format(kind), CHILD, "INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'b', 2, 2)")
    p.pragmas = (f"legacy_alter_table = {legacy}",)
    with p.programs() as (ours, twin):
        for sql in [*CHANGES[change], "INSERT INTO c (id) VALUES ('after')"]:
            assert ours.run(sql)[0] == twin.run(sql)[0], sql
    assert plain(own(p.device)) == plain(p.twin.schema())
    assert p.device.value("PRAGMA integrity_check") == "ok"


def plain(schema: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """A schema without SQLite's statistics; VACUUM may order the rest anew."""
    return sorted(o for o in schema if not o[1].startswith("sqlite_stat"))


def test_a_statement_prepared_before_sync_was_installed_still_runs(tmp_path):
    device = Device(tmp_path / "app.db", NOWHERE, "")
    device.execute(TEXT)
    program = Program(device.path)
    assert program.run("INSERT INTO t VALUES ('before', 0)")[0] == []
    device.init()
    assert program.run("INSERT INTO t VALUES ('after', 0)")[0] == []
    program.close()
    read_status(device.path)
    assert device.dirty("t") == [("after",), ("before",)]


def test_edits_of_two_programs_at_once_are_both_captured(pair):
    p = pair(TEXT)
    first, second = Program(p.device.path), Program(p.device.path)
    first.run("INSERT INTO t VALUES ('a', 0)")
    second.run("INSERT INTO t VALUES ('b', 0)")
    first.run("UPDATE t SET v = 1 WHERE k = 'b'")
    first.close()
    second.close()
    assert p.dirty("t") == [("a", 0), ("b", 0)]


# Taking it out again

SCHEMAS = {kind: (values[0],) for kind, values in KINDS.items()} | {
    "family": FAMILY,
    "names": tuple(
        f'CREATE TABLE "{n.replace(chr(34), chr(34) * 2)}" (k TEXT PRIMARY KEY)' for n in NAMES
    ),
    "prefixes that meet": tuple(
        f"CREATE TABLE {n} (k TEXT PRIMARY KEY)"
        for n in ("a", "a_rows", "a_log", "a_insert", "A_rows_2")
    ),
    "everything else": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v)",
        "CREATE TABLE keyless (v)",
        "CREATE INDEX i ON t (v) WHERE v > 1",
        "CREATE UNIQUE INDEX e ON t (lower(v))",
        "CREATE VIEW w AS SELECT * FROM t",
        "CREATE TRIGGER own AFTER INSERT ON t BEGIN UPDATE t SET v = 1; END",
        "CREATE VIRTUAL TABLE fts USING fts5 (body)",
        "CREATE   TABLE  odd_space(k TEXT  PRIMARY KEY /* comment */ )",
    ),
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_uninstall_restores_the_schema_exactly(pair, schema):
    p = pair(*SCHEMAS[schema])
    assert p.device.schema() != p.twin.schema()
    assert own(p.device) == p.twin.schema()
    p.fold()
    assert uninstall(p.device.path)
    assert p.device.schema() == p.twin.schema()
    assert p.device.value("PRAGMA integrity_check") == "ok"


def test_uninstall_restores_a_schema_whose_tables_and_keys_were_renamed(pair):
    p = pair(TEXT, "CREATE TABLE other (id INTEGER PRIMARY KEY)")
    p.run("ALTER TABLE t RENAME TO moved", "ALTER TABLE other RENAME COLUMN id TO number")
    uninstall(p.device.path)
    assert p.device.schema() == p.twin.schema()


NEWER = {
    "RETURNING": r"\bRETURNING\b",
    "UPDATE … FROM": r"\bUPDATE\b[^;]*\bSET\b[^;]*\bFROM\b",
    "IS DISTINCT FROM": r"\bIS\s+(NOT\s+)?DISTINCT\b",
    "STRICT": r"\bSTRICT\b",
    "generated columns": r"\bGENERATED\b|\bSTORED\b|\bVIRTUAL\b|\w\s+AS\s*\((?!\s*SELECT)",
    "-> and ->>": r"->",
    "RIGHT and FULL joins": r"\b(RIGHT|FULL)\s+(OUTER\s+)?JOIN\b",
    "MATERIALIZED": r"\bMATERIALIZED\b",
    "newer functions": r"\b(iif|if|unixepoch|format|concat|concat_ws|string_agg|octet_length"
    r"|timediff|unhex|json_\w+|jsonb\w*|ceil|floor|ln|log|exp|pow|power|sqrt|trunc|sign|subtype)\s*\(",
    "newer modifiers": r"subsec|auto\b|julianday'\s*\)|'ceiling'|'floor'",
    "numbers with _": r"\b\d+_\d",
    "functions of ours": r"\b(uuid7|row_digest)\b",
}


def test_what_is_stored_uses_nothing_newer_than_sqlite_3_30(pair):
    p = pair(*FAMILY, "CREATE TABLE code (name TEXT COLLATE NOCASE, n REAL, PRIMARY KEY (name, n))")
    stored = {o[1]: o[3] for o in p.device.schema() if o[1].startswith("_sync") and o[3]}
    kinds = {o[0] for o in p.device.schema() if o[1].startswith("_sync")}
    assert kinds == {"table", "index", "view", "trigger"}
    assert len(stored) == 3 * 8 + 2 * 10 + 3  # the keys of two are mapped: two indexes more
    for name, sql in stored.items():
        bare = re.sub(r'"[^"]*"', "name", sql)
        for what, pattern in NEWER.items():
            assert not re.search(pattern, bare, re.IGNORECASE), f"{name} uses {what}: {sql}"


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1) RETURNING k",
        "UPDATE t SET v = u.v FROM u",
        "CREATE TABLE t (k) STRICT",
        "CREATE TABLE t (k, g AS (k + 1))",
        "SELECT iif(a, b, c)",
        "SELECT a ->> 'b'",
        "SELECT a IS NOT DISTINCT FROM b",
        "WITH x AS NOT MATERIALIZED (SELECT 1) SELECT 1",
        "SELECT uuid7()",
    ],
)
def test_what_is_newer_is_noticed(sql):
    assert any(re.search(pattern, sql, re.IGNORECASE) for pattern in NEWER.values())
