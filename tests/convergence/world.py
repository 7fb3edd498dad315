"""The server, the network and the devices of the machine: all real, and all of them can fail."""

import asyncio
import os
import re
import signal
import sqlite3
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import apsw
from mariadb import Mariadb
from network import Network, network
from processes import until
from support import Device

from syncsession_client.rejects import list_rejects, retry
from syncsession_client.statements import to_pyformat
from syncsession_server.app import open_store
from syncsession_server.policies import set_policy
from syncsession_server.settings import Settings
from syncsession_server.tenants import create_token

from .decisions import POLICIES, Met
from .edits import Choice, Program, correct, set_back
from .forks import Fork, Forks
from .logs import Lost, Remembered, Version, read_conflicts, read_history, read_lost, read_outdated
from .tables import SCHEMA, Held, Kept, Query, Row, read_device, read_server

BATCH_ROWS = 2
FLAGS = (
    *("--pull-shared-table-threshold", "6"),
    *("--pull-batch-size", "3"),
    *("--push-shared-table-threshold", "4"),
    *("--claim-timeout-seconds", "1"),
    *("--queue-poll-interval-seconds", "0.1"),
)
"""Small: there are pushes and pulls of several batches, and pulls in one answer and held ones."""

IMPATIENT = (
    *("--session-activity-timeout-minutes", "0.00001"),
    *("--cleanup-interval-seconds", "0.05"),
)
"""A server so set lets go of every session and pull that waits for its device."""

_READY = re.compile(r"syncsession-server is ready on (\S+) ")
_MEMORY = "/dev/shm"  # noqa: S108


@contextmanager
def directory() -> Iterator[Path]:
    """In memory where there is such a place: what is killed here is a process, not the machine."""
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


@dataclass
class Database:
    """The server's: its URL, how to read it, and the column that has the row_id of a local row."""

    url: str
    query: Callable[..., list[tuple[Any, ...]]]
    key: str


@contextmanager
def sqlite_database(directory: Path) -> Iterator[Database]:
    """Read with the library that makes tokens here: two would take each other's locks away."""
    path = directory / "server.db"
    with closing(apsw.Connection(str(path))) as db:
        yield Database(
            f"sqlite:///{path}", lambda sql, **params: db.execute(sql, params).fetchall(), "row_id"
        )


@contextmanager
def mariadb_database(mariadb: Mariadb) -> Iterator[Database]:
    url = mariadb.create_database()
    with mariadb.connect() as connection, connection.cursor() as cursor:
        connection.select_db(urlsplit(url).path[1:])

        def query(sql: str, **params: Any) -> list[tuple[Any, ...]]:
            cursor.execute(to_pyformat(sql), params)
            return list(cursor.fetchall())

        yield Database(url, query, "sync_key")


class Site:
    """A server and the network before it, for one example after the other."""

    def __init__(self, database: Database, forks: Forks, net: Network, logs: Path) -> None:
        self.database, self.forks, self.net, self._logs = database, forks, net, logs
        self.server: Fork | None = None
        self.start()
        asyncio.run(self._set_policies())

    def start(self, *flags: str, kill_at: str = "") -> None:
        """Start the server, in place of the one that ran; it may be killed at a named point."""
        self.stop(signal.SIGKILL)
        log = self._logs / f"server-{uuid.uuid4().hex}.log"
        log.touch()
        self.server = self.forks.start(
            "syncsession_server",
            *("run", "--port", "0", "--migrate", "--database", self.database.url, *FLAGS, *flags),
            log=log,
            SYNCSESSION_KILL_AT=kill_at,
        )
        until(self._is_ready, every=0.003)

    def stop(self, number: signal.Signals) -> None:
        if self.server is not None:
            self.server.stop(number)
            self.server = None

    def token(self, tenant: str) -> str:
        async def create() -> str:
            async with open_store(Settings(database=self.database.url)) as store:
                scopes = frozenset({"sync", "schema"})
                return await create_token(store, tenant=tenant, user="alice", scopes=scopes)

        return asyncio.run(create())

    async def _set_policies(self) -> None:
        """Of the tables; for all tenants."""
        async with open_store(Settings(database=self.database.url)) as store:
            for table, policy in POLICIES.items():
                await set_policy(store, table, policy)

    def _is_ready(self) -> bool:
        assert self.server is not None
        found = _READY.search(self.server.text())
        assert found or not self.server.has_ended(), self.server.text()
        if found:
            self.net.leads_to(found[1])
        return found is not None


@contextmanager
def site(database: Database, forks: Forks) -> Iterator[Site]:
    with directory() as logs, network("http://127.0.0.1:9") as net:
        made = Site(database, forks, net, logs)
        try:
            yield made
        finally:
            made.stop(signal.SIGTERM)


class Station:
    """A device: a file, programs that write to it, and commands that are killed."""

    def __init__(self, name: str, device: Device, world: "World") -> None:
        self.name, self.device, self._world = name, device, world
        self.has_recursive_triggers = False
        self._others: dict[str, str] = {}

    @property
    def id(self) -> str:
        return str(self.device.value("SELECT device_id FROM _syncsession_state"))

    def held(self) -> Held:
        with closing(self._open()) as db, db:
            return self._read(_query(db))

    def lost(self) -> Counter[Lost]:
        """What it keeps of its versions that lost."""
        with closing(self._open()) as db:
            return read_lost(_query(db))

    def outdated(self) -> set[Version]:
        """What it has given up."""
        with closing(self._open()) as db:
            return read_outdated(_query(db))

    def write(
        self, choices: Sequence[Choice], back: Sequence[tuple[Row, str]] = ()
    ) -> tuple[Held, Held]:
        """Run a program in one transaction: what the device held before and after it."""
        with self._program() as (query, seen):
            program = Program(self.name, _lenient(query), self._world.fresh)
            for choice in choices:
                program.run(choice)
            for row, v in back:
                set_back(query, row, v)
        return seen[0], seen[1]

    def correct(self) -> tuple[Held, Held]:
        """A person deals with the rows that the server does not take: as `write`."""
        refused = list_rejects(self.device.path)
        with self._program() as (query, seen):
            for each in refused:
                correct(_lenient(query), each, self._world.fresh())
        return seen[0], seen[1]

    def retry(self) -> None:
        """A person has all of these tried again."""
        retry(self.device.path)

    @contextmanager
    def _program(self) -> Iterator[tuple[Query, list[Held]]]:
        """A transaction of a program, and what the device holds before it, and at its end."""
        with closing(self._open()) as db:
            query = _query(db)
            query("BEGIN IMMEDIATE")
            seen = [self._read(query)]
            yield query, seen
            seen.append(self._read(query))
            query("COMMIT")

    def run(self, command: str, kill_at: str) -> int:
        """Run a command in a process that is killed at a point; its exit code."""
        log = self.device.path.with_suffix(".log")
        return self._world.site.forks.start(
            "syncsession_client",
            *(command, str(self.device.path), "--batch-rows", str(BATCH_ROWS)),
            log=log,
            SYNCSESSION_TOKEN=self.device.token,
            SYNCSESSION_SERVER=self.device.server,
            SYNCSESSION_KILL_AT=kill_at,
        ).wait()

    def text(self) -> str:
        """What its commands have written."""
        return self.device.path.with_suffix(".log").read_text(errors="replace")

    def lose_sidecar(self) -> None:
        for path in self.device.path.parent.glob(f"{self.device.path.name}-sync*"):
            path.unlink()

    def check_file(self, held: Held) -> None:
        """The file is sound, and a reference leads to nothing only where `held` says so."""
        with closing(self._open()) as db:
            assert _query(db)("PRAGMA integrity_check") == [("ok",)]
            orphans = _query(db)("PRAGMA foreign_key_check")
        assert len(orphans) == len(held.dangling()), f"{self.name}: {orphans}"

    def _read(self, query: Query) -> Held:
        return read_device(query, self._world.tags, self._others)

    def _open(self) -> apsw.Connection:
        """Another connection of the library that syncs: what else has the file open in this process
        would take its locks away.
        """
        db = apsw.Connection(str(self.device.path))
        db.set_busy_timeout(10_000)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute(f"PRAGMA recursive_triggers = {int(self.has_recursive_triggers)}")
        return db


def _query(db: apsw.Connection) -> Callable[..., list[tuple[Any, ...]]]:
    return lambda sql, *values: db.execute(sql, values).fetchall()


def _lenient(query: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """What a constraint refuses changes nothing."""

    def run(sql: str, *values: Any) -> list[Any]:
        try:
            return query(sql, *values)
        except apsw.ConstraintError:
            return []

    return run


class World:
    """A tenant of the site, with devices of its own."""

    def __init__(self, site: Site, directory: Path) -> None:
        self.site, self.directory = site, directory
        self.tenant = f"t{uuid.uuid4().hex}"
        self.token = site.token(self.tenant)
        self.stations: dict[str, Station] = {}
        self.tags: dict[tuple[str, bytes], str] = {}
        self._names: dict[str, str] = {}
        self._written = 0

    def fresh(self) -> str:
        """A text that nobody has written."""
        self._written += 1
        return str(self._written)

    def make(self, journal: str, *, recursive_triggers: bool) -> Station:
        """A new device that has the schema, and no rows."""
        name = self._next_name()
        device = Device(self.directory / f"{name}.db", self.site.net.url, self.token)
        with closing(sqlite3.connect(device.path)) as db:
            db.execute(f"PRAGMA journal_mode = {journal}")
            for sql in SCHEMA:
                db.execute(sql)
            db.commit()
        return self._add(name, device.init(), recursive_triggers)

    def clone(self, *, recursive_triggers: bool) -> Station:
        """A new device that has all rows of the tenant."""
        name = self._next_name()
        device = next(iter(self.stations.values())).device.clone(f"{name}.db")
        return self._add(name, device, recursive_triggers)

    def kept(self) -> Kept:
        """What the server keeps, once it has committed what it has to commit."""
        until(lambda: not self._at_work(), every=0.005)
        kept = read_server(self.site.database.query, self.tenant, key=self.site.database.key)
        self.tags.update(kept.tags)
        sessions = {n: (self._names[who], status) for n, (who, status) in kept.sessions.items()}
        return replace(kept, sessions=sessions)

    def conflicts(self) -> list[Met]:
        """The server's log of conflicts, when `kept` has told the rows."""
        found = read_conflicts(self.site.database.query, self.tenant, self.tags)
        return [
            replace(
                met,
                mine_device=self._names[met.mine_device],
                theirs_device=self._names.get(met.theirs_device or ""),
                loser=self._names.get(met.loser or ""),
            )
            for met in found
        ]

    def history(self) -> dict[Row, list[Remembered]]:
        """The versions of every row."""
        return read_history(self.site.database.query, self.tenant, self.tags)

    def until_all_has_expired(self) -> None:
        until(lambda: not self.unfinished(), every=0.005)

    def unfinished(self) -> int:
        """How many sessions and pulls wait for their devices."""
        (count,) = self._value(
            "SELECT (SELECT count(*) FROM sync_session WHERE tenant_id = :tenant"
            " AND status IN ('open', 'staged'))"
            " + (SELECT count(*) FROM sync_pull WHERE tenant_id = :tenant)"
        )
        return int(count)

    def _at_work(self) -> int:
        (count,) = self._value(
            "SELECT count(*) FROM sync_session WHERE tenant_id = :tenant"
            " AND status IN ('queued', 'processing')"
        )
        return int(count)

    def _value(self, sql: str) -> tuple[Any, ...]:
        return self.site.database.query(sql, tenant=self.tenant)[0]

    def _next_name(self) -> str:
        return f"d{len(self.stations) + 1}"

    def _add(self, name: str, device: Device, recursive_triggers: bool) -> Station:
        made = Station(name, device, self)
        made.has_recursive_triggers = recursive_triggers
        self.stations[name] = made
        self._names[made.id] = name
        return made
