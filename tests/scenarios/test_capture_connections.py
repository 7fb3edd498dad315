"""How a program opens the file: attached, beside temporary tables, with any pragma or setting."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest
from schemas import INTEGER, KEYS, TEXT
from twins import Pair, exactly

EDITS = (
    "INSERT INTO {t} VALUES (4, 'd'), (5, 'e')",
    "UPDATE {t} SET v = 'B' WHERE k = 2",
    "UPDATE {t} SET k = 6 WHERE k = 5",
    "DELETE FROM {t} WHERE k = 3",
    "REPLACE INTO {t} VALUES (1, 'A')",
    "INSERT INTO {t} VALUES (1, 'no')",
)
ROWS = "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')"
OTHER = "INSERT INTO t VALUES (2, 'main b'), (3, 'main c'), (9, 'main i')"
SENT = [(1, 0, "A"), (2, 0, "B"), (3, 1), (4, 0, "d"), (6, 0, "e")]


def edited(p: Pair) -> None:
    p.run(*(sql.format(t="t") for sql in EDITS))


def check(p: Pair) -> None:
    assert [(int(key), *rest) for key, *rest in p.sent("t")] == SENT


@contextmanager
def attached(p: Pair, other: Path, *schema: str) -> Iterator[list[sqlite3.Connection]]:
    """Connections to databases of their own, of this schema, to which ours and the twin are
    attached as `app`.
    """
    connections = []
    for device in (p.device, p.twin):
        path = other.with_name(f"{device.path.stem}-main.db")
        connections.append(sqlite3.connect(path, isolation_level=None))
        connections[-1].execute("ATTACH ? AS app", (str(device.path),))
        for sql in schema:
            connections[-1].execute(sql)
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def told(connection: sqlite3.Connection, sql: str) -> str:
    try:
        answer = connection.execute(sql).fetchall()
    except sqlite3.Error as error:
        answer = [(str(error),)]
    said = connection.execute("SELECT changes(), last_insert_rowid()").fetchall()
    return exactly((answer, said))


@KEYS
def test_edits_of_an_attached_database_are_captured_in_it(pair, tmp_path, schema):
    p = pair(schema, ROWS)
    p.agree()
    with attached(p, tmp_path / "other") as (ours, twin):
        for sql in EDITS:
            assert told(ours, sql.format(t="app.t")) == told(twin, sql.format(t="app.t"))
        assert ours.execute("SELECT * FROM main.sqlite_master").fetchall() == []
    p.compare()
    check(p)


@KEYS
def test_a_table_of_the_same_name_in_another_schema_is_not_ours(pair, tmp_path, schema):
    p = pair(schema, ROWS)
    p.agree()
    with attached(p, tmp_path / "other", schema, OTHER) as (ours, twin):
        for sql in (*EDITS, "BEGIN", "DELETE FROM t", "COMMIT"):
            for table in ("main.t", "t"):
                assert told(ours, sql.format(t=table)) == told(twin, sql.format(t=table))
        assert p.device.value("SELECT count(*) FROM _sync_t_log") == 0
        for sql in EDITS:
            assert told(ours, sql.format(t="app.t")) == told(twin, sql.format(t="app.t"))
        told(ours, "INSERT INTO main.t SELECT * FROM app.t")
    check(p)


def test_two_databases_with_sync_may_be_attached_to_one_connection(pair, tmp_path):
    p = pair(TEXT, ROWS)
    (tmp_path / "second").mkdir()
    q = Pair(tmp_path / "second", (INTEGER, ROWS))
    for each in (p, q):
        each.agree()
    with closing(sqlite3.connect(p.device.path)) as db, db:
        db.execute("ATTACH ? AS q", (str(q.device.path),))
        for sql in EDITS[:5]:
            db.execute(sql.format(t="main.t"))
            db.execute(sql.format(t="q.t"))
        db.execute("INSERT INTO q.t SELECT k + 3, v FROM main.t WHERE k = '4'")
    check(p)
    assert q.sent("t") == [*SENT, (7, 0, "d")]


@KEYS
def test_temporary_tables_of_the_same_names_change_nothing(pair, schema):
    p = pair(schema, ROWS)
    p.agree()
    with p.programs() as both:
        for program in both:
            program.run("CREATE TEMP TABLE t (k, v)")
            program.run('CREATE TEMP TABLE _sync_t_log (key_1, op, at, "by", changes)')
            program.run(
                "CREATE TEMP TABLE _syncsession_state AS SELECT 1 AS is_suppressed, 0 AS user_id"
            )
        ours, twin = both
        for table in ("t", "temp.t", "main.t"):
            for sql in EDITS:
                assert ours.run(sql.format(t=table)) == twin.run(sql.format(t=table))
            if table != "main.t":
                assert ours.run("SELECT count(*) FROM main._sync_t_log")[0] == [(0,)]
        assert ours.run("SELECT count(*) FROM temp._sync_t_log")[0] == [(0,)]
    check(p)


@KEYS
def test_temporary_triggers_of_the_application_see_what_they_saw_before(pair, schema):
    p = pair(schema, "CREATE TABLE u (k INTEGER PRIMARY KEY, v)", ROWS)
    p.agree()
    with p.programs() as (ours, twin):
        for sql in (
            "CREATE TEMP TABLE seen (what, k, v, last, changed)",
            "CREATE TEMP TRIGGER a AFTER INSERT ON main.t BEGIN "
            "INSERT INTO seen VALUES ('i', new.k, new.v, last_insert_rowid(), changes()); END",
            "CREATE TEMP TRIGGER b BEFORE DELETE ON main.t BEGIN "
            "INSERT INTO u VALUES (NULL, old.v); END",
            "CREATE TEMP TRIGGER c AFTER UPDATE OF v ON main.t BEGIN "
            "UPDATE t SET v = new.v || '!' WHERE k = new.k; END",
            *(sql.format(t="t") for sql in EDITS),
            "SELECT * FROM seen",
        ):
            assert ours.run(sql) == twin.run(sql), sql
    p.compare()
    sent = [(int(key), *rest) for key, *rest in p.sent("t")]
    assert sent == [SENT[0], (2, 0, "B!"), *SENT[2:]]
    assert p.sent("u") == [(1, 0, "c")]


PRAGMAS = [
    "trusted_schema = OFF",
    "count_changes = ON",
    "full_column_names = ON",
    "short_column_names = OFF",
    "case_sensitive_like = ON",
    "reverse_unordered_selects = ON",
    "cell_size_check = ON",
    "secure_delete = ON",
    "automatic_index = OFF",
    "ignore_check_constraints = ON",
    "legacy_alter_table = ON",
    "locking_mode = EXCLUSIVE",
    "journal_mode = MEMORY",
    "journal_mode = OFF",
    "synchronous = OFF",
    "temp_store = MEMORY",
    "read_uncommitted = ON",
    "recursive_triggers = ON",
    "foreign_keys = OFF",
    "cache_spill = OFF",
    "mmap_size = 1000000",
    "auto_vacuum = FULL",
    "encoding = 'UTF-16'",
]


@KEYS
@pytest.mark.parametrize("pragma", PRAGMAS)
def test_edits_under_a_pragma_are_captured(pair, schema, pragma):
    p = pair(schema, ROWS)
    p.agree()
    p.pragmas = (pragma,)
    edited(p)
    check(p)


@KEYS
def test_a_program_that_may_only_read_is_refused_as_ever(pair, schema):
    p = pair(schema, ROWS)
    p.agree()
    p.pragmas = ("query_only = ON",)
    edited(p)
    assert p.sent("t") == []


# What a program sets by sqlite3_db_config(), and is not in Python's own module.
SETTINGS = {
    "defensive": apsw.SQLITE_DBCONFIG_DEFENSIVE,
    "double quotes": apsw.SQLITE_DBCONFIG_DQS_DML,
    "double quotes in the schema": apsw.SQLITE_DBCONFIG_DQS_DDL,
    "trusted schema": apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA,
    "views": apsw.SQLITE_DBCONFIG_ENABLE_VIEW,
    "foreign keys": apsw.SQLITE_DBCONFIG_ENABLE_FKEY,
    "writable schema": apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA,
}


@KEYS
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("setting", SETTINGS)
def test_edits_under_a_setting_are_captured(pair, schema, setting, value):
    p = pair(schema, ROWS)
    p.agree()
    answers = []
    for device in (p.device, p.twin):
        with closing(apsw.Connection(str(device.path))) as db:
            db.config(SETTINGS[setting], value)
            answers.append([of_apsw(db, sql.format(t="t")) for sql in EDITS])
    assert answers[0] == answers[1]
    assert "UNIQUE constraint failed" in answers[0][-1]
    p.compare()
    check(p)


def of_apsw(db: apsw.Connection, sql: str) -> str:
    try:
        answer = db.execute(sql).fetchall()
    except apsw.Error as error:
        answer = [(str(error),)]
    return exactly((answer, db.changes(), db.last_insert_rowid()))


@KEYS
def test_a_copy_by_vacuum_into_is_captured_as_the_file_is(pair, tmp_path, schema):
    p = pair(schema, ROWS)
    p.agree()
    with closing(sqlite3.connect(p.device.path)) as db:
        db.execute("UPDATE t SET v = 'folded later' WHERE k = 1")
        db.commit()
        db.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    copied = (tmp_path / "copy.db").read_bytes()
    p.device.path.write_bytes(copied)
    p.twin.execute("UPDATE t SET v = 'folded later' WHERE k = 1")
    edited(p)
    check(p)


@KEYS
@pytest.mark.parametrize("upkeep", ["VACUUM", "REINDEX", "ANALYZE", "PRAGMA incremental_vacuum"])
def test_upkeep_between_edits_and_the_fold_loses_nothing(pair, schema, upkeep):
    p = pair(schema, ROWS)
    p.agree()
    edited(p)
    p.device.rows(upkeep)
    check(p)
    assert p.device.value("PRAGMA integrity_check") == "ok"


@KEYS
def test_the_schema_of_the_application_is_not_written_to(pair, schema):
    p = pair(schema, ROWS)
    p.agree()
    edited(p)
    check(p)
    with p.programs() as (ours, _):
        assert ours.run("PRAGMA writable_schema")[0] == [(0,)]
        assert ours.run("PRAGMA integrity_check")[0] == [("ok",)]
        assert ours.run("PRAGMA quick_check")[0] == [("ok",)]
    p.compare()
