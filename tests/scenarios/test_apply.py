"""Applying what others pushed: it is no edit, is never seen half-done, and does not come back."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import apsw
import pytest
from processes import until
from support import SECONDS, Device, Server, World, everyone_syncs

from syncsession_client import apply as applying
from syncsession_client.conflicts import list_conflicts
from syncsession_client.store import DeviceStore

SHELF = "CREATE TABLE shelf (id INTEGER PRIMARY KEY, name TEXT UNIQUE, checked INT)"
SHELVED = (
    "CREATE TABLE shelved (shelf_id INTEGER REFERENCES shelf ON DELETE CASCADE ON UPDATE CASCADE, "
    "code TEXT COLLATE NOCASE, n REAL, twice AS (n * 2) STORED, PRIMARY KEY (shelf_id, code))"
)
WORD = (
    "CREATE TABLE word (w TEXT PRIMARY KEY COLLATE NOCASE, "
    "shelf_id INTEGER REFERENCES shelf ON UPDATE CASCADE)"
)
SEEN = "CREATE TABLE seen (n INTEGER PRIMARY KEY, what)"
SEES = "CREATE TRIGGER sees AFTER INSERT ON word BEGIN INSERT INTO seen (what) VALUES (new.w); END"
SCHEMA = (SHELF, SHELVED, WORD, SEEN, SEES)
COUNT = 1000


def put(device: Device, count: int) -> None:
    device.put("INSERT INTO shelf VALUES (?, ?, 0)", [(n, f"shelf {n}") for n in range(1, count)])
    device.put("INSERT INTO shelved VALUES (?, ?, ?)", [(n, f"c{n}", n) for n in range(1, count)])
    device.put("INSERT INTO word VALUES (?, ?)", [(f"w{n}", n) for n in range(1, count)])


@pytest.fixture(scope="module")
def server(embedded_server: Server) -> Server:
    """What is tested here happens on the device, so one kind of store will do."""
    return embedded_server


@pytest.fixture
def two(world: World) -> tuple[Device, Device]:
    """Two devices that have synced; the application's table `seen` is not synced."""
    a = world.device("a.db", *SCHEMA, exclude=("seen",))
    b = world.device("b.db", *SCHEMA, exclude=("seen",))
    put(a, 20)
    b.execute("INSERT INTO shelf VALUES (1, 'of b', 0)", "INSERT INTO word VALUES ('of b', 1)")
    for device in (a, b, a):
        device.sync()
    return a, b


TABLES = ("shelf", "shelved", "word")


def sessions(world: World) -> int:
    """How many sessions the tenant has."""
    sql = "SELECT count(*) FROM sync_session WHERE tenant_id = :tenant"
    return int(world.server.rows(sql, tenant=world.tenant)[0][0])


def nothing_is_marked(device: Device) -> bool:
    logs = [device.value(f"SELECT count(*) FROM _sync_{name}_log") for name in TABLES]
    rows = [device.value(f"SELECT sum(is_dirty) FROM _sync_{name}_rows") for name in TABLES]
    return (logs, rows) == ([0, 0, 0], [0, 0, 0])


@pytest.mark.parametrize(
    "edits",
    [
        ["INSERT INTO shelf VALUES (50, 'new', 1)", "INSERT INTO shelved VALUES (50, 'x', 5)"],
        ["UPDATE shelf SET checked = 1", "UPDATE shelved SET n = n + 1", "UPDATE word SET w = w"],
        ["UPDATE shelf SET id = id + 100 WHERE id > 15"],
        ["UPDATE word SET w = upper(w)", "UPDATE shelved SET code = upper(code)"],
        ["UPDATE word SET w = w || '!' WHERE w > 'w5'"],
        ["UPDATE shelf SET name = 'shelf ' || (21 - id)"],
        ["DELETE FROM word", "DELETE FROM shelf WHERE id = 7"],
        ["DELETE FROM word", "DELETE FROM shelf"],
        ["DELETE FROM shelf WHERE id = 7", "INSERT INTO shelf VALUES (7, 'reborn', 0)"],
    ],
    ids=lambda edits: edits[0],
)
def test_what_is_applied_is_no_edit_and_does_not_come_back(world, two, edits):
    a, b = two
    a.execute("PRAGMA defer_foreign_keys = ON", "UPDATE shelf SET name = NULL", *edits)
    a.push()
    before = sessions(world)
    assert b.pull().pulled.rows > 0
    assert nothing_is_marked(b)
    assert a.identities() == b.identities()
    assert b.push().pushed.session is None
    assert nothing_is_marked(b)
    assert a.sync().pulled.rows == 0
    assert b.sync().pulled.rows == 0
    assert sessions(world) == before


def test_what_is_applied_fires_the_triggers_that_write_elsewhere_and_is_no_edit(world, two):
    a, b = two
    a.execute("INSERT INTO word VALUES ('seen there', NULL)")
    a.push()
    b.pull()
    assert ("seen there",) in b.rows("SELECT what FROM seen")
    assert nothing_is_marked(b)


def test_a_row_that_was_applied_and_is_edited_then_is_an_edit(world, two):
    a, b = two
    a.execute("UPDATE shelf SET checked = 1")
    a.push()
    b.pull()
    b.execute("UPDATE shelf SET checked = 2 WHERE name = 'shelf 3'")
    assert b.push().pushed.rows == 1
    a.pull()
    assert a.value("SELECT checked FROM shelf WHERE id = 3") == 2


class Midway:
    """An apply stops before its last step, and goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        check = applying._check_references

        def paused(*args: object) -> None:
            self.reached.set()
            assert self.go.wait(SECONDS)
            check(*args)

        monkeypatch.setattr(applying, "_check_references", paused)


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Does the work in another thread, and is done when that is."""
    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(work)
        yield
        done.result(SECONDS)


LOOK = (
    "SELECT (SELECT count(*) FROM shelf), (SELECT count(*) FROM shelved), "
    "(SELECT count(*) FROM word), (SELECT sum(checked) FROM shelf), "
    "(SELECT count(*) FROM seen), (SELECT is_suppressed FROM _syncsession_state), "
    "(SELECT count(*) FROM _sync_shelf_rows WHERE is_deleted = 0)"
)


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_others_see_all_of_what_is_applied_or_nothing(world, two, monkeypatch, journal):
    a, b = two
    b.rows(f"PRAGMA journal_mode = {journal}")
    a.execute("DELETE FROM word", "UPDATE shelf SET checked = 1")
    a.put("INSERT INTO shelf VALUES (?, ?, 1)", [(n, f"shelf {n}") for n in range(100, COUNT)])
    a.put("INSERT INTO shelved VALUES (?, 'new', 0)", [(n,) for n in range(100, COUNT)])
    a.push()
    seen: list[tuple[object, ...]] = []
    midway, done = Midway(monkeypatch), threading.Event()

    def look() -> None:
        # In this process only the library that the engine uses may open the file meanwhile.
        with closing(apsw.Connection(str(b.path))) as db:
            db.set_busy_timeout(int(SECONDS * 1000))
            while not done.is_set():
                seen.append(next(iter(db.execute(LOOK))))

    with meanwhile(look):
        try:
            until(lambda: len(seen) > 3)
            with meanwhile(b.pull):
                assert midway.reached.wait(SECONDS)
                looked = len(seen)
                until(lambda: len(seen) > looked + 5)  # so it was looked at in the middle
                midway.go.set()
            looked = len(seen)
            until(lambda: len(seen) > looked + 3)
        finally:
            midway.go.set()
            done.set()
    assert [row[5] for row in seen if row[5]] == []
    before, after = (20, 19, 20, 0, 20, 0, 20), (920, 919, 0, 920, 20, 0, 920)
    assert list(dict.fromkeys(seen)) == [before, after]
    assert nothing_is_marked(b)


def test_an_edit_that_waits_for_an_apply_is_captured(world, two, monkeypatch):
    a, b = two
    a.execute("UPDATE shelf SET checked = 1")
    a.push()
    midway = Midway(monkeypatch)
    began = threading.Event()

    def edit() -> None:
        with DeviceStore(b.path) as program:
            began.set()
            program.run("UPDATE shelf SET checked = 7 WHERE name = 'shelf 3'")

    with meanwhile(b.pull):
        assert midway.reached.wait(SECONDS)
        with meanwhile(edit):
            assert began.wait(SECONDS)
            midway.go.set()
    assert b.push().pushed.rows == 1
    a.pull()
    assert a.rows("SELECT DISTINCT checked FROM shelf ORDER BY 1") == [(1,), (7,)]


HALF_APPLIED = """
import sys
from pathlib import Path
from syncsession_client import apply
from syncsession_client.engine import SyncEngine
from syncsession_client.store import DeviceStore

def stops(store, *_):
    store._db.cache_flush()  # what is there goes to the disk
    print("in the middle", flush=True)
    sys.stdin.read()

apply._check_references = stops
with SyncEngine(Path(sys.argv[1]), token=sys.argv[2]) as engine:
    engine.pull()
"""


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_sync_that_is_killed_while_it_applies_leaves_capture_as_it_was(world, two, journal):
    a, b = two
    b.rows(f"PRAGMA journal_mode = {journal}")
    a.execute("UPDATE shelf SET checked = 1", "DELETE FROM word")
    a.push()
    command = [sys.executable, "-c", HALF_APPLIED, str(b.path), b.token]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "in the middle\n"
        finally:
            running.kill()
    assert b.value("SELECT is_suppressed FROM _syncsession_state") == 0
    assert b.value("SELECT sum(checked) FROM shelf") == 0
    assert b.value("SELECT count(*) FROM word") == 20
    b.execute("UPDATE shelf SET checked = 7 WHERE name = 'shelf 3'")
    b.sync()
    a.sync()
    assert b.rows("SELECT DISTINCT checked FROM shelf ORDER BY 1") == [(1,), (7,)]
    assert b.value("SELECT count(*) FROM word") == 0
    assert a.identities() == b.identities()


@pytest.mark.parametrize("clause", ["REPLACE", "IGNORE", "FAIL", "ROLLBACK"])
def test_the_conflict_clauses_of_a_table_do_not_decide_what_is_applied(world, clause):
    table = f"card_{clause.lower()}"
    schema = (
        f"CREATE TABLE {table} (id TEXT PRIMARY KEY ON CONFLICT {clause}, "
        f"place INT UNIQUE ON CONFLICT {clause}, v NOT NULL ON CONFLICT {clause} DEFAULT 'd')"
    )
    a = world.device("a.db", schema)
    a.execute(f"INSERT INTO {table} VALUES ('x', 1, 'old'), ('y', 2, 'old')")
    a.sync()
    b = a.clone("b.db")
    a.execute(f"UPDATE {table} SET place = 3, v = 'new' WHERE id = 'x'")
    a.execute(f"UPDATE {table} SET place = 1, v = 'new' WHERE id = 'y'")
    a.push()
    assert b.sync().pulled.rows == 2
    read = f"SELECT * FROM {table} ORDER BY id"
    assert b.rows(read) == [("x", 3, "new"), ("y", 1, "new")]
    assert b.dirty(table) == []
    b.execute(f"INSERT INTO {table} VALUES ('of b', 4, 'b')")
    a.execute(f"INSERT INTO {table} VALUES ('of a', 4, 'a'), ('also of a', 5, 'a')")
    a.push()
    done = b.sync()
    assert (done.pushed.rejected_rows, done.pulled.refused_rows) == (1, 1)
    assert b.rows(f"{read} LIMIT 3") == [("also of a", 5, "a"), ("of b", 4, "b"), ("x", 3, "new")]
    b.execute(f"UPDATE {table} SET place = 6 WHERE id = 'of b'")
    assert b.sync().warnings == ()
    a.sync()
    assert a.rows(read) == b.rows(read)
    assert len(b.rows(read)) == 5


@pytest.fixture
def jars(world):
    """Two devices, of which the second takes no jar of more than ten."""
    a = world.device("a.db", "CREATE TABLE jar (id TEXT PRIMARY KEY, n INTEGER)")
    b = world.device("b.db", "CREATE TABLE jar (id TEXT PRIMARY KEY, n INTEGER CHECK (n <= 10))")
    a.execute("INSERT INTO jar VALUES ('old', 1), ('other', 2)")
    everyone_syncs(a, b)
    return a, b


JARS = "SELECT id, n FROM jar ORDER BY id"


def test_a_row_that_a_table_refuses_waits_and_blocks_no_other(jars):
    a, b = jars
    a.execute("INSERT INTO jar VALUES ('large', 50), ('small', 5)", "UPDATE jar SET n = 3")
    a.execute("UPDATE jar SET n = 40 WHERE id = 'large'", "UPDATE jar SET n = 11 WHERE id = 'old'")
    a.sync()
    done = b.sync()
    assert done.pulled.refused_rows == 2
    assert "CHECK constraint failed" in done.pulled.refused_reason
    assert "2 rows from the server do not fit here (jar: " in done.warnings[0]
    assert b.rows(JARS) == [("old", 1), ("other", 3), ("small", 3)]
    assert b.dirty("jar") == []
    a.execute("UPDATE jar SET n = 10 WHERE n > 10")
    a.sync()
    assert b.sync().warnings == ()
    assert a.rows(JARS) == b.rows(JARS)
    assert b.sync().pulled.rows == 0


def test_a_row_that_waits_comes_when_it_fits_though_nobody_has_changed_it_since(jars):
    a, b = jars
    a.execute("INSERT INTO jar VALUES ('large', 50)")
    a.sync()
    assert b.sync().pulled.refused_rows == 1
    a.execute("UPDATE jar SET n = 4 WHERE id = 'other'")
    a.sync()
    assert b.sync().pulled.refused_rows == 1
    assert b.value("SELECT n FROM jar WHERE id = 'other'") == 4
    b.execute(
        "CREATE TABLE wider (id TEXT PRIMARY KEY, n INTEGER)",
        "INSERT INTO wider SELECT * FROM jar",
        "DROP TABLE jar",
        "ALTER TABLE wider RENAME TO jar",
        foreign_keys=False,
    )
    b.sync()
    assert a.rows(JARS) == b.rows(JARS)


def test_an_edit_of_a_row_that_waits_is_an_edit_of_what_was_here(jars):
    a, b = jars
    a.execute("UPDATE jar SET n = 50 WHERE id = 'old'")
    a.sync()
    b.sync()
    b.execute("UPDATE jar SET n = 6 WHERE id = 'old'")
    everyone_syncs(b, a)
    assert a.rows(JARS) == b.rows(JARS) == [("old", 6), ("other", 2)]
    (lost,) = list_conflicts(a.path)
    assert lost["row"]["n"] == 50
