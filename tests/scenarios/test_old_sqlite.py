"""Programs with an SQLite of long ago read and write a database in which sync is installed.

Sync promises as much for SQLite 3.30. The other version is the oldest that can be had; both know
neither STRICT nor generated columns.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import program
from support import SECONDS, Device, Server, World, serving

from syncsession_client.capture import PENDING
from syncsession_server.settings import Settings

PROGRAM = Path(__file__).parents[1] / "programs" / "old_sqlite.cjs"
VERSIONS = {"3.30.1": 3_030_001, "3.8.4.3": 3_008_004}

# (the key's definition, three keys)
KEYS = {
    "text": ("k TEXT PRIMARY KEY", "'a'", "'b'", "'c'"),
    "integer": ("k INTEGER PRIMARY KEY", "1", "2", "3"),
    "autoincrement": ("k INTEGER PRIMARY KEY AUTOINCREMENT", "1", "2", "3"),
    "int": ("k INT PRIMARY KEY", "1", "2", "3"),
    "untyped": ("k PRIMARY KEY", "'1'", "1", "x'31'"),
    "blob": ("k BLOB PRIMARY KEY", "x'00'", "x''", "'text'"),
    "real": ("k REAL PRIMARY KEY", "1", "1.5", "-9e999"),
    "nocase": ("k TEXT PRIMARY KEY COLLATE NOCASE", "'a'", "'B'", "'c'"),
    "rtrim": ("k TEXT PRIMARY KEY COLLATE RTRIM", "'a'", "'b '", "'c'"),
    "replacing": ("k TEXT PRIMARY KEY ON CONFLICT REPLACE", "'a'", "'b'", "'c'"),
}
TABLES = {
    kind.replace(" ", "_"): (f"({key}, v, u UNIQUE){options}", *keys)
    for kind, (key, *keys) in KEYS.items()
    for kind, options in ((kind, ""), (f"{kind} without rowid", " WITHOUT ROWID"))
    if "AUTOINCREMENT" not in key or not options
} | {
    "several": (
        "(p TEXT NOT NULL DEFAULT 'p' COLLATE NOCASE, k REAL, v, u UNIQUE, PRIMARY KEY (k, p))",
        *("1", "2", "2.5"),
    ),
    "wider": (
        "(k INTEGER PRIMARY KEY, v CHECK (v <> 9), u UNIQUE, w TEXT DEFAULT 'ü')",
        *("-1", "2", "3"),
    ),
    'of "quotes" and \'s': ("(k TEXT PRIMARY KEY, v, u UNIQUE)", "'a'", "'b'", "'c'"),
}
EDITS = """
INSERT INTO {t} (k, v, u) VALUES ({c}, 3, 'c')
UPDATE {t} SET v = 9 WHERE k = {a}
DELETE FROM {t} WHERE k = {b}
UPDATE {t} SET k = {b} WHERE k = {c}
INSERT OR REPLACE INTO {t} (k, v) VALUES ({a}, 10)
INSERT INTO {t} (k, v) VALUES ({a}, 11)
INSERT INTO {t} (k, v) VALUES ({c}, 12), ({a}, 13)
INSERT OR IGNORE INTO {t} (k, v) VALUES ({a}, 14), ({c}, 15)
INSERT OR FAIL INTO {t} (k, v) VALUES ({c}, 16)
REPLACE INTO {t} (k, u) VALUES ({c}, 'c')
UPDATE OR REPLACE {t} SET k = {a} WHERE k = {c}
UPDATE OR IGNORE {t} SET u = 'c'
BEGIN
DELETE FROM {t} WHERE k IS NOT NULL
INSERT INTO {t} (k) VALUES ({b})
ROLLBACK
BEGIN
INSERT INTO {t} (k, v) VALUES ({b}, x'00ff')
SAVEPOINT part
DELETE FROM {t} WHERE k IS NOT NULL
ROLLBACK TO part
UPDATE {t} SET v = v
COMMIT
INSERT INTO {t} (k) VALUES (NULL)
DELETE FROM {t} WHERE k IS NULL
"""
"""Each DELETE has a WHERE: without one they did not count the rows of a WITHOUT ROWID table."""

FAMILY = (
    "CREATE TABLE old_parent (id INTEGER PRIMARY KEY, v)",
    "CREATE TABLE old_child (id TEXT PRIMARY KEY, parent_id INTEGER REFERENCES old_parent ON "
    "DELETE CASCADE ON UPDATE CASCADE, self TEXT REFERENCES old_child ON DELETE SET NULL)",
    "CREATE TABLE old_link (parent_id INTEGER REFERENCES old_parent (id) ON DELETE CASCADE ON "
    "UPDATE CASCADE, tag TEXT COLLATE NOCASE, v, PRIMARY KEY (parent_id, tag)) WITHOUT ROWID",
    "CREATE TABLE old_audit (id INTEGER PRIMARY KEY AUTOINCREMENT, what)",
    "CREATE TRIGGER old_own AFTER DELETE ON old_child BEGIN INSERT INTO old_audit (what) VALUES "
    "(old.id); END",
    "CREATE VIEW old_view AS SELECT p.v, c.id FROM old_parent AS p JOIN old_child AS c "
    "ON c.parent_id = p.id",
    "INSERT INTO old_parent VALUES (1, 'p'), (2, 'q'), (3, 'r')",
    "INSERT INTO old_child VALUES ('a', 1, NULL), ('b', 2, 'a'), ('c', 3, 'b')",
    "INSERT INTO old_link VALUES (1, 'x', 0), (2, 'x', 0), (3, 'x', 0)",
)
FAMILY_EDITS = """
UPDATE old_parent SET id = 11 WHERE id = 1
DELETE FROM old_parent WHERE id = 2
INSERT INTO old_parent (v) VALUES ('new')
INSERT INTO old_child VALUES ('d', (SELECT max(id) FROM old_parent), NULL)
UPDATE old_link SET tag = 'X'
REPLACE INTO old_parent (id, v) VALUES (3, 'replaced')
REPLACE INTO old_link VALUES (11, 'X', 1), (11, 'y', 2)
INSERT INTO old_child VALUES ('e', 99, NULL), ('f', 99, NULL)
UPDATE old_child SET id = 'moved' WHERE id = 'd'
SELECT * FROM old_view ORDER BY 1, 2
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Which kind of database it has makes no difference to a program."""
    database = f"sqlite:///{tmp_path_factory.mktemp('server') / 'server.db'}"
    with serving(Settings(database=database, migrate=True)) as running:
        yield running


class OldProgram:
    """A program that works with an SQLite of that version."""

    def __init__(self, version: str) -> None:
        self.version = version
        self._process = subprocess.Popen(
            [program("node"), PROGRAM, version],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, device: Device, *statements: str) -> list[Any]:
        """What is answered to each statement: rows or an error, last id, number of rows changed."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([str(device.path), statements]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def has_written(self, device: Device) -> bool:
        """Whether it was the last that did: https://sqlite.org/fileformat.html#validfor"""
        number = int.from_bytes(device.path.read_bytes()[96:100], "big")
        return number == VERSIONS[self.version]

    def close(self) -> None:
        self._process.communicate(timeout=SECONDS)
        assert self._process.returncode == 0


@pytest.fixture(scope="module", params=VERSIONS)
def old(request: pytest.FixtureRequest) -> Iterator[OldProgram]:
    started = OldProgram(request.param)
    yield started
    started.close()


def lines(text: str) -> tuple[str, ...]:
    return tuple(text.strip().splitlines())


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def tables(twin: Device) -> list[str]:
    return [name for kind, name, *_ in twin.schema() if kind == "table"]


def views(device: Device) -> list[str]:
    """Those that sync has made."""
    return [name for kind, name, *_ in device.schema() if (kind, name[:5]) == ("view", "_sync")]


def check_round(
    old: OldProgram, edits: tuple[str, ...], twin: Device, device: Device, other: Device
) -> None:
    """Edits by an old program answer as in a twin without sync, and come to the other device."""
    assert old.run(device, *edits) == old.run(twin, *edits)
    assert old.has_written(device)
    for view in views(device):
        columns = [quoted(c[1]) for c in device.rows(f"PRAGMA table_info({quoted(view)})")]
        shown = " || ' ' || ".join(f"quote({c})" for c in columns)
        read = f"SELECT {shown} FROM {quoted(view)} ORDER BY 1"
        assert old.run(device, read)[0][0] == [list(r) for r in device.rows(read)]
    assert device.sync().pushed.rows
    for name in tables(twin):
        read = f"SELECT * FROM {quoted(name)} ORDER BY 1, 2"
        assert device.rows(read) == twin.rows(read)
    for view in views(device):
        where = "" if view == PENDING else " WHERE is_dirty"
        assert device.value(f"SELECT count(*) FROM {quoted(view)}{where}") == 0
    other.sync()
    assert other.identities() == device.identities()
    assert old.run(device, "PRAGMA integrity_check")[0][0] == [["ok"]]


def check_rounds(
    old: OldProgram, world: World, schema: tuple[str, ...], *rounds: tuple[str, ...]
) -> None:
    twin = world.bare("twin.db", *schema)
    device = world.device("app.db", *schema)
    device.sync()
    other = device.clone("other.db")
    for edits in rounds:
        check_round(old, edits, twin, device, other)


@pytest.mark.parametrize("kind", TABLES)
def test_what_an_old_program_writes_to_a_table_of_any_kind_is_synced(world, old, kind):
    columns, a, b, c = TABLES[kind]
    t = quoted(f"old_{kind}")
    schema = (
        f"CREATE TABLE {t} {columns}",
        f"CREATE INDEX old_v ON {t} (v)",
        f"INSERT INTO {t} (k, v, u) VALUES ({a}, 1, 'a'), ({b}, 2, 'b')",
    )
    edits = lines(EDITS.format(t=t, a=a, b=b, c=c))
    again = lines(EDITS.format(t=t, a=b, b=c, c=a))
    check_rounds(old, world, schema, edits, again)


def test_what_an_old_program_writes_to_tables_with_references_is_synced(world, old):
    edits = lines(FAMILY_EDITS)
    again = [*edits[2:-1], "DELETE FROM old_parent", "INSERT INTO old_parent (v) VALUES ('last')"]
    check_rounds(old, world, FAMILY, edits, tuple(again))


@pytest.mark.parametrize("old", ["3.30.1"], indirect=True)
def test_an_upsert_of_an_old_program_is_synced(world, old):
    schema = ("CREATE TABLE old_upsert (k INTEGER PRIMARY KEY, v, u UNIQUE)",)
    edits = """
INSERT INTO old_upsert VALUES (1, 0, 'a'), (2, 0, 'b')
INSERT INTO old_upsert VALUES (1, 5, 'c') ON CONFLICT (k) DO UPDATE SET v = excluded.v
INSERT INTO old_upsert VALUES (3, 5, 'b') ON CONFLICT (u) DO UPDATE SET k = excluded.k
INSERT INTO old_upsert VALUES (1, 6, 'd') ON CONFLICT DO NOTHING
"""
    check_rounds(old, world, schema, lines(edits))


def test_an_old_program_writes_to_a_clone(world, old):
    schema = "CREATE TABLE old_clone (id INTEGER PRIMARY KEY, v TEXT COLLATE NOCASE UNIQUE)"
    device = world.device("app.db", schema, "INSERT INTO old_clone VALUES (1, 'a'), (2, 'b')")
    device.sync()
    other = device.clone("other.db")
    edits = ("INSERT INTO old_clone (v) VALUES ('c')", "UPDATE old_clone SET v = 'A' WHERE id = 1")
    assert old.run(other, *edits) == [[[], 3, 1], [[], 3, 1]]
    assert other.sync().pushed.rows == 2
    device.sync()
    assert device.identities() == other.identities()


def test_an_old_program_can_read_every_object_of_sync(world, old):
    device = world.device("app.db", *FAMILY)
    device.sync()
    ours = [
        (kind, name)
        for kind, name, *_ in device.schema()
        if re.match("_sync", name) and kind in ("table", "view")
    ]
    assert {kind for kind, _ in ours} == {"table", "view"}
    reads = [f"SELECT count(*) FROM {quoted(name)}" for _, name in ours]
    now = [[[list(r)], 0, 0] for read in reads for r in device.rows(read)]
    assert old.run(device, *reads) == now
