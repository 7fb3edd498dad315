"""What the fuzzer of capture and the convergence machine have found, as what failed once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzing.differential import run
from fuzzing.script import CHECK, Script, Step
from support import World, everyone_syncs, serving

from syncsession_client.conflicts import list_conflicts
from syncsession_client.progress import Cancellation, Cancelled, Progress
from syncsession_client.status import read_status
from syncsession_server.policies import set_policy
from syncsession_server.settings import Settings

FINDS = {
    "a row that its own trigger deletes again": (
        "CREATE TABLE t (k NUMERIC PRIMARY KEY, v, tag INTEGER)",
        "sync is installed",
        "CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM t WHERE k > 1; END",
        "INSERT INTO t VALUES (2, 'a', 1)",
    ),
    "a new row that REPLACE removes through another UNIQUE column": (
        "CREATE TABLE t (a TEXT, b INTEGER, u UNIQUE, tag INTEGER, PRIMARY KEY (b, a))",
        "sync is installed",
        "INSERT INTO t VALUES ('x', 1, 1, 1), ('y', 2, 2, 2)",
        "UPDATE OR REPLACE t SET u = 3",
    ),
    "a row that comes and goes after a sync has seen it go": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v, tag INTEGER)",
        "sync is installed",
        "INSERT INTO t VALUES ('a', 1, 1)",
        CHECK,
        "DELETE FROM t",
        CHECK,
        "INSERT INTO t VALUES ('a', 1, 2)",
        "DELETE FROM t",
    ),
    "a row that REPLACE removes for one whose key is NULL": (
        "CREATE TABLE t (a TEXT, b INTEGER, u UNIQUE, tag INTEGER, PRIMARY KEY (a, b))",
        "sync is installed",
        "INSERT INTO t VALUES ('x', 1, 1, 1), ('y', 2, 2, 2)",
        CHECK,
        "REPLACE INTO t VALUES ('z', NULL, 2, 3)",
    ),
    "rows that come before their table is rebuilt without them": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v, tag INTEGER) WITHOUT ROWID",
        "sync is installed",
        "INSERT INTO t VALUES ('a', 1, 1)",
        "CREATE TABLE n (k TEXT PRIMARY KEY, v, tag INTEGER) WITHOUT ROWID",
        "DROP TABLE t",
        "ALTER TABLE n RENAME TO t",
    ),
    "a child whose parent's integer another row has got, after the parent's was changed": (
        "CREATE TABLE p (id INTEGER PRIMARY KEY, v, tag INTEGER)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p, tag INTEGER)",
        "sync is installed",
        "INSERT INTO c VALUES (4, 3, 1)",
        "INSERT INTO p VALUES (3, 'a', 2)",
        CHECK,
        "UPDATE p SET id = -id",
        "INSERT INTO p VALUES (3, 'b', 3)",
    ),
    "a row under a number that meant none before": (
        "CREATE TABLE p (id INTEGER PRIMARY KEY, tag INTEGER)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p, tag INTEGER)",
        "sync is installed",
        "INSERT INTO c VALUES (1, 0, 1), (2, -3, 2)",
        CHECK,
        "INSERT INTO p VALUES (0, 3), (-3, 4)",
    ),
    "a row that others waited for, and that came, was moved and went": (
        "CREATE TABLE p (id INTEGER PRIMARY KEY, tag INTEGER)",
        "CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER REFERENCES p, tag INTEGER)",
        "sync is installed",
        "INSERT INTO c VALUES (1, 2, 1)",
        CHECK,
        "INSERT INTO p VALUES (2, 2)",
        "UPDATE p SET id = 6",
        "DELETE FROM p",
    ),
}


@pytest.mark.parametrize("driver", ["apsw", "sqlite3"])
@pytest.mark.parametrize("find", FINDS)
def test_a_find_stays_mended(tmp_path, find, driver):
    at = FINDS[find].index("sync is installed")
    steps = [Step(s) if isinstance(s, str) else s for s in FINDS[find][at + 1 :]]
    assert not run(Script(driver, FINDS[find][:at], steps=steps), tmp_path)


# Of the convergence machine

PEBBLE = "CREATE TABLE pebble (id TEXT PRIMARY KEY, v)"


def test_a_push_after_one_that_lost_finishes_the_pull_that_was_interrupted(
    new_database: Callable[[], str], tmp_path: Path
):
    """It began another, where the sidecar had room for one."""
    settings = Settings(
        database=new_database(), migrate=True, pull_shared_table_threshold=1, pull_batch_size=1
    )
    with serving(settings) as server:
        world = World(server, tmp_path)
        server.run(set_policy(server.store, "pebble", "server_wins"))
        a, b = world.device("a.db", PEBBLE), world.device("b.db", PEBBLE)
        a.execute("INSERT INTO pebble VALUES (1, 'a'), (2, 'a'), (3, 'a')")
        b.execute("INSERT INTO pebble VALUES (1, 'b'), (2, 'b'), (3, 'b')")
        a.sync()
        cancellation = Cancellation()

        def report(progress: Progress) -> None:
            if progress.phase == "pull_table":
                cancellation.cancel()

        with pytest.raises(Cancelled):
            b.sync(report=report, cancellation=cancellation)
        b.execute("INSERT INTO pebble VALUES (4, 'b')")
        assert b.push().pushed.rows == 1
        everyone_syncs(a, b)
        for device in (a, b):
            assert device.rows("SELECT group_concat(v) FROM pebble") == [("a,a,a,b",)]


def test_a_row_whose_deletion_was_unfounded_stays_the_others(world: World):
    """Who had deleted it was taken for its author, and overwrote it without a word."""
    a, b = world.device("a.db", PEBBLE), world.device("b.db", PEBBLE)
    b.execute("INSERT INTO pebble VALUES ('x', 'came and went')")
    read_status(b.path)  # folds
    b.execute("DELETE FROM pebble")
    a.execute("INSERT INTO pebble VALUES ('x', 'a')")
    a.sync()
    b.push()
    b.execute("INSERT INTO pebble VALUES ('x', 'b')")
    everyone_syncs(b, a)
    assert a.rows("SELECT v FROM pebble") == b.rows("SELECT v FROM pebble") == [("b",)]
    assert [each["row"]["v"] for each in list_conflicts(a.path)] == ["a"]


def test_a_row_under_the_key_of_one_whose_deletion_was_heard_of_is_a_new_one(world: World):
    """Who had never had the other met its deletion, and lost against it."""
    world.server.run(set_policy(world.server.store, "gravel", "server_wins"))
    a = world.device("a.db", PEBBLE.replace("pebble", "gravel"))
    a.execute("INSERT INTO gravel VALUES ('x', 'a')")
    a.sync()
    a.execute("DELETE FROM gravel")
    a.sync()
    b = a.clone("b.db")
    b.execute("INSERT INTO gravel VALUES ('x', 'b')")
    everyone_syncs(b, a)
    assert a.rows("SELECT v FROM gravel") == b.rows("SELECT v FROM gravel") == [("b",)]
    assert list_conflicts(a.path) == list_conflicts(b.path) == []


def test_a_device_whose_sidecar_was_lost_stays_itself_when_the_pull_after_that_fails(world: World):
    """It had noted its next push by then, and took the one that was lost for another copy's."""
    device = world.device("a.db", PEBBLE)
    device.sync()
    known = device.value("SELECT device_id FROM _syncsession_state")
    for phase in ("push_complete", "pull_begin"):
        device.execute(f"INSERT INTO pebble VALUES ('{phase}', 1)")

        def report(progress: Progress, phase: str = phase) -> None:
            if progress.phase == phase:
                raise LookupError

        with pytest.raises(LookupError):
            device.push(report=report)
        for sidecar in device.path.parent.glob(f"{device.path.name}-sync*"):
            sidecar.unlink()
    device.sync()
    assert device.value("SELECT device_id FROM _syncsession_state") == known
