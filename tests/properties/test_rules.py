"""Random edits on three devices over tables with every rule for references, and values that are
unique: at rest all hold the same, references hold, and no value went without a trace.

Every value that is written is a new one. At rest it is where it was written, or somebody who saw it
has replaced it, or it is written down: in the log of conflicts. For longer, and from a seed of your
own: `make soak SOAK_SECONDS=3600 SOAK_SEED=7`.
"""

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count

import pytest
from support import Device, World, everyone_syncs

from syncsession_client.protocol import images
from syncsession_client.rejects import list_rejects
from syncsession_server.policies import set_policy

SCHEMA = (
    "CREATE TABLE w_area (id INTEGER PRIMARY KEY, name TEXT UNIQUE, v TEXT, "
    "parent INTEGER REFERENCES w_area ON DELETE CASCADE)",
    "CREATE TABLE w_kind (code TEXT PRIMARY KEY, name TEXT UNIQUE, v TEXT)",
    "CREATE TABLE w_thing (id INTEGER PRIMARY KEY, v TEXT, "
    "area INTEGER REFERENCES w_area ON DELETE SET NULL, "
    "kind TEXT REFERENCES w_kind ON DELETE RESTRICT)",
    "CREATE TABLE w_part (thing INTEGER REFERENCES w_thing ON DELETE CASCADE, n TEXT, v TEXT, "
    "PRIMARY KEY (thing, n))",
    "CREATE TABLE w_profile (id INTEGER PRIMARY KEY REFERENCES w_area ON DELETE CASCADE, v TEXT)",
    "CREATE TABLE w_log (id TEXT PRIMARY KEY, v TEXT, area INTEGER REFERENCES w_area, "
    "kind TEXT DEFAULT 'k0' REFERENCES w_kind ON DELETE SET DEFAULT)",
    "CREATE TABLE w_seat (hall TEXT, n INTEGER, v TEXT, PRIMARY KEY (hall, n))",
    "CREATE TABLE w_ticket (id TEXT PRIMARY KEY, v TEXT, hall TEXT, n INTEGER, "
    "FOREIGN KEY (hall, n) REFERENCES w_seat ON DELETE SET NULL)",
    "CREATE TABLE w_team (id TEXT PRIMARY KEY, v TEXT, "
    "lead TEXT REFERENCES w_player (id) ON DELETE SET NULL)",
    "CREATE TABLE w_player (id TEXT PRIMARY KEY, v TEXT, "
    "team TEXT REFERENCES w_team (id) ON DELETE CASCADE)",
)
TABLES = tuple(sql.split()[2] for sql in SCHEMA)
POLICIES = {
    "w_thing": "server_wins",
    "w_log": "newest_wins",
    "w_part": "merge",
    "w_seat": "merge",
    "w_kind(name)": "reject",
    "w_area(name)": "merge",
}

STEPS = 40
SEEDS = 3
FIRST_SEED = int(os.environ.get("SYNCSESSION_SOAK_SEED", "1"))
SOAK_SECONDS = float(os.environ.get("SYNCSESSION_SOAK_SECONDS", "0"))


class Run:
    """One tenant's devices, and what their programs have written."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)
        self._values = count()
        self.written: set[str] = set()
        self.replaced: set[str] = set()
        first = world.device("d0.db", *SCHEMA)
        self.devices = [first]
        self.edit(first)
        first.sync()
        self.devices += [first.clone("d1.db"), world.device("d2.db", *SCHEMA)]

    def fresh(self) -> str:
        return f"#{next(self._values)}#"

    def edit(self, device: Device) -> None:
        """Some statements in a transaction; what a constraint refuses changes nothing."""
        with closing(sqlite3.connect(device.path, isolation_level=None)) as db:
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("BEGIN IMMEDIATE")
            before = tokens(db)
            for _ in range(self.chance.randint(1, 6)):
                self._statement(db)
            after = tokens(db)
            db.execute("COMMIT")
        self.replaced |= before - after
        self.written |= after - before

    def _statement(self, db: sqlite3.Connection) -> None:
        with suppress(sqlite3.IntegrityError):
            db.execute(*self._choose(db, self.chance, self.fresh()))

    def _choose(self, db: sqlite3.Connection, chance: random.Random, value: str) -> tuple:
        def one(table: str, column: str) -> object:
            found = [value for (value,) in db.execute(f"SELECT {column} FROM {table}")]
            return chance.choice([*sorted(found, key=repr), None]) if found else None

        table = chance.choice(TABLES)
        act = chance.choice(["insert"] * 5 + ["update"] * 3 + ["delete"] * 3 + ["refer"])
        if act == "delete":
            return f"DELETE FROM {table} WHERE rowid = ?", (one(table, "rowid"),)
        if act == "update":
            rowid = one(table, "rowid")
            return f"UPDATE {table} SET v = ? WHERE rowid = ?", (value, rowid)
        if act == "refer":
            sql = "UPDATE w_log SET v = ?, area = ?, kind = ? WHERE id = ?"
            values = (value, one("w_area", "id"), one("w_kind", "code"), one("w_log", "id"))
            return sql, values
        few, name = f"k{chance.randint(0, 4)}", f"n{chance.randint(0, 5)}"
        hall, number = one("w_seat", "hall"), chance.randint(1, 3)
        values = {
            "w_area": (None, name, value, one("w_area", "id")),
            "w_kind": (few, name, value),
            "w_thing": (None, value, one("w_area", "id"), one("w_kind", "code")),
            "w_part": (one("w_thing", "id"), name, value),
            "w_profile": (one("w_area", "id"), value),
            "w_log": (few, value, one("w_area", "id"), one("w_kind", "code")),
            "w_seat": (chance.choice("rg"), number, value),
            "w_ticket": (few, value, hall, number if hall else None),
            "w_team": (few, value, one("w_player", "id")),
            "w_player": (name, value, one("w_team", "id")),
        }[table]
        if values[0] is None and table in ("w_part", "w_profile"):
            return "SELECT 1", ()
        marks = ", ".join("?" * len(values))
        return f"INSERT INTO {table} VALUES ({marks})", values

    def come_to_rest(self) -> None:
        """Sync until nothing moves; a person gives rows that are refused another value."""
        for _ in range(6):
            everyone_syncs(*self.devices)
            refused = [(d, each) for d in self.devices for each in list_rejects(d.path)]
            if not refused and not any(d.sync().pulled.refused_rows for d in self.devices):
                break
            for device, each in refused:
                self._correct(device, each)
        everyone_syncs(*self.devices)

    def _correct(self, device: Device, refused: dict) -> None:
        """Another value for one that is taken; what refers to a row that cannot come back goes."""
        table, code = refused["table"], refused["code"]
        where = " AND ".join(f"{column} = ?" for column in refused["key"])
        key = refused["key"].values()
        with closing(sqlite3.connect(device.path)) as db, db:
            before = tokens(db)
            if code == "unique_taken":
                sql = f"UPDATE {table} SET name = ? WHERE {where}"
                db.execute(sql, (f"other {self.fresh()}", *key))
            elif code == "missing_reference":
                db.execute(f"DELETE FROM {table} WHERE {where}", tuple(key))
            self.replaced |= before - tokens(db)

    def check_rest(self) -> None:
        first, *others = self.devices
        others.append(first.clone("last.db"))  # it has what the server has
        for device in (first, *others):
            assert device.orphans() == []
            assert device.value("PRAGMA integrity_check") == "ok"
            assert device.identities() == first.identities()
        for device in self.devices:
            done = device.sync()
            assert (done.pushed.rows, done.pulled.refused_rows, done.warnings) == (0, 0, ())

    def check_traces(self) -> None:
        with closing(sqlite3.connect(self.devices[0].path)) as db:
            here = tokens(db)
        told: set[str] = set()
        for pair in self.world.server.rows(
            "SELECT mine, theirs FROM sync_conflict WHERE tenant_id = :tenant",
            tenant=self.world.tenant,
        ):
            told |= {images.decode(text).get("v") for text in pair if text is not None}
        gone = self.written - here - self.replaced - told
        assert gone == set(), "values that nobody has replaced, and that are nowhere"


def tokens(db: sqlite3.Connection) -> set[str]:
    """Every value that is in a row."""
    return {v for table in TABLES for (v,) in db.execute(f"SELECT v FROM {table}")}


@pytest.fixture(autouse=True)
def policies(world: World) -> None:
    for table, name in POLICIES.items():
        world.server.run(set_policy(world.server.store, table, name))


def seeds() -> Iterator[int]:
    over_at = time.monotonic() + SOAK_SECONDS
    for seed in count(FIRST_SEED):
        if seed >= FIRST_SEED + SEEDS and time.monotonic() > over_at:
            return
        print(f"seed {seed}", flush=True)
        yield seed


def test_whatever_is_edited_references_hold_at_rest_and_nothing_is_gone_without_a_trace(
    world: World, tmp_path
):
    for seed in seeds():
        (tmp_path / str(seed)).mkdir()
        run = Run(World(world.server, tmp_path / str(seed)), seed)
        for _ in range(STEPS):
            device = run.chance.choice(run.devices)
            for _ in range(run.chance.randint(1, 3)):
                run.edit(device)
            run.chance.choice([device.sync, device.sync, device.push, device.pull, int])()
        run.come_to_rest()
        run.check_rest()
        run.check_traces()
