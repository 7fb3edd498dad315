"""Transactions, savepoints, and several programs at once."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import apsw
import pytest
from schemas import KEYS, TEXT
from support import Device
from twins import NOWHERE, Program

from syncsession_client.status import read_status
from syncsession_client.store import DeviceStore


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


SAVEPOINTS = {
    "nested, and the outer one rolled back": (
        [
            *("BEGIN", "INSERT INTO t VALUES (10, 0)", "SAVEPOINT a", "UPDATE t SET v = 1"),
            *("SAVEPOINT b", "DELETE FROM t WHERE k = 1", "RELEASE b", "ROLLBACK TO a"),
            *("UPDATE t SET k = 20 WHERE k = 2", "COMMIT"),
        ],
        {1: "a", 10: 0, 20: "b"},
    ),
    "nested, and the inner one rolled back twice": (
        [
            *("SAVEPOINT a", "INSERT INTO t VALUES (10, 0)", "SAVEPOINT b", "DELETE FROM t"),
            *("ROLLBACK TO b", "INSERT INTO t VALUES (11, 0)", "ROLLBACK TO b", "RELEASE b"),
            *("INSERT INTO t VALUES (12, 0)", "RELEASE a"),
        ],
        {1: "a", 2: "b", 10: 0, 12: 0},
    ),
    "of one name": (
        [
            *("BEGIN", "SAVEPOINT a", "UPDATE t SET v = 1 WHERE k = 1", "SAVEPOINT a"),
            *("UPDATE t SET v = 2", "ROLLBACK TO a", "RELEASE a", "UPDATE t SET v = 3 WHERE k = 2"),
            *("ROLLBACK TO a", "COMMIT"),
        ],
        {1: "a", 2: "b"},
    ),
    "the transaction rolled back": (
        [
            *("BEGIN", "SAVEPOINT a", "UPDATE t SET k = k + 10", "RELEASE a", "DELETE FROM t"),
            *("ROLLBACK", "INSERT INTO t VALUES (10, 0)"),
        ],
        {1: "a", 2: "b", 10: 0},
    ),
    "not there": (
        ["BEGIN", "INSERT INTO t VALUES (10, 0)", "ROLLBACK TO nowhere", "RELEASE b", "COMMIT"],
        {1: "a", 2: "b", 10: 0},
    ),
}


@KEYS
@pytest.mark.parametrize("what", SAVEPOINTS)
def test_what_savepoints_left_is_sent(pair, schema, what):
    statements, expected = SAVEPOINTS[what]
    p = pair(schema, "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    p.agree()
    p.run(*statements)
    assert {int(k): v for k, v in p.device.rows("SELECT * FROM t")} == expected
    p.sent("t")


# A statement of several rows of which the third fails.
HALFWAY = [
    "INSERT{o} INTO t VALUES (8, 'x'), (9, 'y'), (1, 'z'), (10, 'w')",
    "INSERT{o} INTO t SELECT k + 2, v FROM t ORDER BY k DESC",
    "UPDATE{o} t SET k = 5 - k WHERE k <> 4",
    "UPDATE{o} t SET v = CASE k WHEN 3 THEN NULL ELSE 'u' END",
]


@pytest.mark.parametrize("clause", ["", " OR ABORT", " OR FAIL", " OR IGNORE", " OR ROLLBACK"])
@pytest.mark.parametrize("key", ["INTEGER", "NUMERIC"])
def test_what_a_statement_that_fails_halfway_left_is_sent(pair, key, clause):
    p = pair(
        f"CREATE TABLE t (k {key} PRIMARY KEY, v NOT NULL)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",
    )
    for sql in HALFWAY:
        p.agree()
        p.run("SAVEPOINT s", sql.format(o=clause), "INSERT INTO t VALUES (50, 0)", "RELEASE s")
        p.sent("t")
        p.prepare("DELETE FROM t", "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")


JOURNALS = pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal"])
TURNS = [
    # each waits for the other, and is refused
    "1 BEGIN IMMEDIATE",
    "1 INSERT INTO t VALUES ('first', 1)",
    "2 INSERT INTO t VALUES ('second', 2)",
    "2 SELECT count(*) FROM t",
    "1 COMMIT",
    "2 INSERT INTO t VALUES ('second', 2)",
    # one read before the other wrote, and cannot write any more
    "1 BEGIN",
    "1 SELECT count(*) FROM t",
    "2 UPDATE t SET v = 3 WHERE k = 'first'",
    "1 UPDATE t SET v = 4 WHERE k = 'first'",
    "1 ROLLBACK",
    "1 UPDATE t SET v = 4 WHERE k = 'first'",
    # both write in turn, and one takes it back
    "2 BEGIN",
    "2 DELETE FROM t WHERE k = 'second'",
    "2 ROLLBACK",
    "1 UPDATE t SET k = 'moved' WHERE k = 'second'",
    "2 REPLACE INTO t VALUES ('first', 5), ('third', 3)",
]


@JOURNALS
def test_what_programs_that_take_turns_changed_is_sent(pair, journal):
    p = pair(TEXT, "INSERT INTO t VALUES ('old', 0)")
    p.agree()
    p.pragmas = (f"journal_mode = {journal}", "busy_timeout = 0")
    with p.programs() as first, p.programs() as second:
        for turn in TURNS:
            number, sql = turn.split(" ", 1)
            ours, twin = first if number == "1" else second
            assert ours.run(sql) == twin.run(sql), turn
    p.compare()
    assert p.sent("t") == [("first", 0, 5), ("moved", 0, 2), ("third", 0, 3)]


def test_edits_are_sent_while_a_program_reads(pair):
    p = pair(TEXT)
    p.device.rows("PRAGMA journal_mode = wal")
    p.agree()
    with closing(apsw.Connection(str(p.device.path))) as reader:
        reader.execute("BEGIN").fetchall()
        read = "SELECT count(*) FROM t"
        assert reader.execute(read).fetchall() == [(0,)]
        with DeviceStore(p.device.path) as writer:
            writer.run("INSERT INTO t VALUES ('a', 0)")
        assert p.sent("t") == [("a", 0, 0)]
        assert reader.execute(read).fetchall() == [(0,)]


# Programs that are killed. They tell when they are where they shall be.
UNFINISHED = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = " + sys.argv[2])
db.execute("PRAGMA cache_size = 5")  # so that it writes to the disk before it commits
db.execute("INSERT INTO t VALUES ('committed', 0)")
db.execute("BEGIN")
db.executemany("INSERT INTO t VALUES (?, ?)", ((f"new {n}", "x" * 500) for n in range(2000)))
db.execute("UPDATE t SET v = 'lost' WHERE k LIKE 'old%'")
db.execute("DELETE FROM t WHERE k = 'old 7'")
print("in the middle", flush=True)
sys.stdin.read()
"""
UNENDING = """
import itertools, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = " + sys.argv[2])
for n in itertools.count():
    db.execute("BEGIN")
    db.execute("INSERT INTO t VALUES (?, 0)", (f"new {n}",))
    db.execute("UPDATE t SET k = k || '!' WHERE k = ?", (f"new {n - 1}",))
    db.execute("INSERT INTO u VALUES (?)", (n,))
    db.execute("COMMIT")
    print(n, flush=True)
"""


@contextmanager
def killed(program: str, path: Path, journal: str) -> Iterator[IO[str]]:
    """What a program prints; at the end it is killed, wherever it is."""
    command = [sys.executable, "-c", program, str(path), journal]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            yield running.stdout
        finally:
            running.kill()
            running.wait()


@JOURNALS
def test_a_program_that_is_killed_in_a_transaction_leaves_nothing_of_it(pair, journal):
    p = pair(TEXT)
    p.device.put("INSERT INTO t VALUES (?, 'old')", [(f"old {n}",) for n in range(200)])
    p.agree()
    with killed(UNFINISHED, p.device.path, journal) as said:
        assert said.readline() == "in the middle\n"
    files = [p.device.path, *p.device.path.parent.glob("app.db-[jw]*")]
    assert sum(path.stat().st_size for path in files) > 1_000_000  # it was in the middle
    p.device.execute("UPDATE t SET v = 'edited' WHERE k = 'old 9'")
    assert p.sent("t") == [("committed", 0, 0), ("old 9", 0, "edited")]
    assert p.device.value("PRAGMA integrity_check") == "ok"


@JOURNALS
def test_what_a_program_committed_before_it_was_killed_is_sent_and_no_more(pair, journal):
    p = pair(TEXT, "CREATE TABLE u (n INTEGER PRIMARY KEY)")
    p.agree()
    with killed(UNENDING, p.device.path, journal) as said:
        last = [int(line) for line, _ in zip(said, range(20), strict=False)][-1]
    count = p.device.value("SELECT count(*) FROM u")
    assert count > last
    assert {row[:2] for row in p.sent("u")} == {(n, 0) for n in range(count)}
    expected = {f"new {n}!" for n in range(count - 1)} | {f"new {count - 1}"}
    assert {(key, gone) for key, gone, *_ in p.sent("t")} == {(key, 0) for key in expected}
