"""Transactions, savepoints, and several programs at once."""

from schemas import KEYS, TEXT
from support import Device
from twins import NOWHERE, Program

from syncsession_client.status import read_status


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


def test_edits_of_two_programs_at_once_are_both_captured(pair):
    p = pair(TEXT)
    first, second = Program(p.device.path), Program(p.device.path)
    first.run("INSERT INTO t VALUES ('a', 0)")
    second.run("INSERT INTO t VALUES ('b', 0)")
    first.run("UPDATE t SET v = 1 WHERE k = 'b'")
    first.close()
    second.close()
    assert p.dirty("t") == [("a", 0), ("b", 0)]
