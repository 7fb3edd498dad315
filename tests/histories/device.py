"""What a process of a history runs: it edits, syncs or watches one device, and writes down what it
did and saw.
"""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from syncsession_client.engine import Synced as Done
from syncsession_client.engine import SyncEngine, clone_database
from syncsession_client.protocol.errors import TryLater

from .records import Recorder, Row, Saw, Synced, Version, Wrote

SCHEMA = (
    "CREATE TABLE entry (id TEXT PRIMARY KEY, txn TEXT NOT NULL)",
    "CREATE TABLE line (id INTEGER PRIMARY KEY, name TEXT NOT NULL, txn TEXT NOT NULL, "
    "entry_id TEXT NOT NULL REFERENCES entry (id))",
    "CREATE TABLE seat (name TEXT PRIMARY KEY, txn TEXT NOT NULL)",
    "CREATE TABLE meter (id INTEGER PRIMARY KEY, name TEXT NOT NULL, txn TEXT NOT NULL)",
)
"""Entries and their lines are added; seats are taken, given up and taken again, by whoever comes;
meters are there from the beginning, and only change.
"""

SEATS, METERS = 5, 3
SECONDS = 60.0
SEED = "seed"

_NAMES = {"entry": "id", "line": "name", "seat": "name", "meter": "name"}


class Device(msgspec.Struct, frozen=True):
    """What a process does: `servers` names the file of URLs of which it takes one for each call.

    `role`: a "writer" edits and syncs, a "reader" pulls. For a "syncer" an "application" edits in a
    process of its own, whatever the syncer is doing. An "observer" only looks. These two are beside
    a `database` that belongs to another.
    """

    name: str
    role: str
    seed: int
    servers: str = "servers"
    database: str = ""

    @property
    def is_beside(self) -> bool:
        return self.role in ("application", "observer")

    @property
    def owner(self) -> str:
        return self.database or self.name


class Plan(msgspec.Struct, frozen=True):
    """`is_over`: every device pulls once more, and that is all."""

    directory: str
    token: str
    devices: list[Device]
    is_over: bool = False


class Process:
    """One device in its process."""

    def __init__(self, plan: Plan, device: Device) -> None:
        self.device, self.token, self.directory = device, plan.token, Path(plan.directory)
        self.path = self.directory / f"{device.owner}.db"
        self.told_to_stop = False
        self._parent = os.getppid()
        self._is_over = plan.is_over
        self._recorder = Recorder(self.directory / f"{device.name}.history")
        self._chance = random.Random(device.seed + plan.is_over)
        self._rows: dict[Row, Version] | None = None
        self._written = 0
        signal.signal(signal.SIGTERM, self._stop)

    def live(self) -> None:
        """Do what it is for, until told to stop; where all is over, sync once more."""
        if self._is_over:
            self.sync_at_last()
            return
        while not (self.path.exists() or self.is_to_stop()):
            if self.device.is_beside:
                time.sleep(0.02)
            else:
                self.clone()
        roles = {
            "writer": self.push,
            "syncer": self.push,
            "reader": self.pull,
            "application": self.edit,
            "observer": self.observe,
        }
        roles[self.device.role]()

    def push(self) -> None:
        """Sync again and again, and at last until everything is pushed."""
        while not self.is_to_stop():
            if self.device.role == "writer":
                for _ in range(self._chance.choice([1, 1, 2, 3])):
                    self.write(self._chance.choice([1, 1, 2, 3, 30]))
            call = self._chance.choice(["sync", "sync", "sync", "push", "pull"])
            if call == "push" and self.sync("push"):
                self.sync("pull")
            else:
                self.sync(call)
        self.sync_at_last()

    def pull(self) -> None:
        """Pull again and again, and leave some of the server's time to those who push."""
        while not self.is_to_stop():
            self.sync(self._chance.choice(["pull", "pull", "sync"]))
            time.sleep(self._chance.uniform(0, 0.2))

    def edit(self) -> None:
        """Write again and again, without a look at what else is done to the file."""
        while not self.is_to_stop():
            self.write(self._chance.choice([1, 1, 2, 3]))
            time.sleep(self._chance.uniform(0, 0.3))

    def observe(self) -> None:
        """Look whenever something has changed."""
        with closing(sqlite3.connect(self.path, timeout=SECONDS, isolation_level=None)) as db:
            seen = None
            while not self.is_to_stop():
                if seen != (seen := db.execute("PRAGMA data_version").fetchone()):
                    self._see(db)
                time.sleep(0.01)

    def sync_at_last(self) -> None:
        """Sync until it has been done."""
        deadline = time.monotonic() + SECONDS
        while not self.sync("sync"):
            assert time.monotonic() < deadline, "there is still no server"
            assert os.getppid() == self._parent, "nobody waits for this"

    def is_to_stop(self) -> bool:
        return self.told_to_stop or os.getppid() != self._parent

    def write(self, lines: int) -> None:
        """A transaction of an application, over two to four tables."""
        self._written += 1
        txn = f"{self.device.owner}.{self._written}"
        names = [f"{txn}/{n}" for n in range(lines)]
        with closing(sqlite3.connect(self.path, timeout=SECONDS, isolation_level=None)) as db:
            begun = time.monotonic_ns()
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO entry VALUES (?, ?)", (txn, txn))
            db.executemany(
                "INSERT INTO line (name, txn, entry_id) VALUES (?, ?, ?)",
                [(name, txn, txn) for name in names],
            )
            rows: dict[Row, str | None] = {f"entry/{txn}": txn}
            rows |= dict.fromkeys((f"line/{name}" for name in names), txn)
            for _ in range(self._chance.randint(0, 2)):
                rows |= self._seat(db, txn)
            if self._chance.random() < 0.5:
                name = f"m{self._chance.randrange(METERS)}"
                db.execute("UPDATE meter SET txn = ? WHERE name = ?", (txn, name))
                rows[f"meter/{name}"] = txn
            db.execute("COMMIT")
        self._recorder.add(Wrote(txn=txn, begun=begun, rows=rows))

    def _seat(self, db: sqlite3.Connection, txn: str) -> dict[Row, str | None]:
        """Take a seat, or give one up that the server has too: of others no trace would be left."""
        name = f"s{self._chance.randrange(SEATS)}"
        is_clean = "SELECT 1 FROM _sync_seat WHERE key_1 = ? AND NOT is_dirty AND NOT is_deleted"
        if self._chance.random() < 0.3 and db.execute(is_clean, (name,)).fetchone():
            db.execute("DELETE FROM seat WHERE name = ?", (name,))
            return {f"seat/{name}": None}
        db.execute(
            "INSERT INTO seat VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET txn = excluded.txn",
            (name, txn),
        )
        return {f"seat/{name}": txn}

    def sync(self, call: str) -> bool:
        """Call the engine, and look; whether it was done. What may pass by itself is no fault."""

        def work(server: str) -> Done:
            batch_rows = self._chance.choice([10, 1000])
            with SyncEngine(
                self.path, token=self.token, server=server, batch_rows=batch_rows
            ) as engine:
                calls = {"sync": engine.synchronize, "push": engine.push, "pull": engine.pull}
                return calls[call]()

        return self._call(call, work)

    def clone(self) -> bool:
        return self._call(
            "clone", lambda server: clone_database(self.path, server=server, token=self.token)
        )

    def _call(self, call: str, work: Callable[[str], Done]) -> bool:
        session, error = None, None
        invoked = time.monotonic_ns()
        try:
            session = work(self._server()).pushed.session
        except TryLater as later:
            error = later.code
            time.sleep(0.2)  # a server that is away need not be asked all the time
        returned = time.monotonic_ns()
        if self.path.exists():
            with closing(sqlite3.connect(self.path, timeout=SECONDS, isolation_level=None)) as db:
                synced = Synced(
                    call=call, invoked=invoked, returned=returned, session=session, error=error
                )
                self._see(db, synced)
        return error is None

    def _see(self, db: sqlite3.Connection, synced: Synced | None = None) -> None:
        db.execute("BEGIN")
        rows = {row: version for table in _NAMES for row, version in _held(db, table)}
        processed: dict[str, list[tuple[int, int]]] = {table: [] for table in _NAMES}
        for table, first, last in db.execute(
            "SELECT table_name, first_number, last_number FROM _syncsession_processed ORDER BY 1, 2"
        ):
            processed[table].append((first, last))
        db.execute("COMMIT")
        before = self._rows or {}
        self._recorder.add(
            Saw(
                at=time.monotonic_ns(),
                rows={row: v for row, v in rows.items() if before.get(row) != v},
                gone=sorted(before.keys() - rows.keys()),
                is_all=self._rows is None,
                processed=processed,
                synced=synced,
            )
        )
        self._rows = rows

    def _server(self) -> str:
        """Any of the servers that there are now."""
        urls = (self.directory / self.device.servers).read_text().split()
        return self._chance.choice(urls)

    def _stop(self, *_: object) -> None:
        self.told_to_stop = True

    def close(self) -> None:
        self._recorder.close()


def _held(db: sqlite3.Connection, table: str) -> list[tuple[Row, Version]]:
    """The rows of a table and their versions, and the deleted rows that leave a trace by name."""
    key = "name" if table == "seat" else "id"
    shadow = {
        (k, bool(is_deleted)): None if is_dirty else session
        for k, is_dirty, is_deleted, session in db.execute(
            f"SELECT key_1, is_dirty, is_deleted, sync_session FROM _sync_{table}"
        )
    }
    rows = db.execute(f"SELECT {key}, {_NAMES[table]}, txn FROM {table}").fetchall()
    held = [(f"{table}/{name}", (txn, shadow[k, False])) for k, name, txn in rows]
    if table == "seat":
        gone = [(k, session) for (k, is_deleted), session in shadow.items() if is_deleted]
        held += [(f"seat/{k}", (None, session)) for k, session in gone]
    return held
