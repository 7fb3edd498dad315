"""What tests are made of: a real server, real devices with real files, programs' plain SQL."""

import asyncio
import shutil
import sqlite3
import ssl
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from syncsession_client.engine import Synced, SyncEngine, clone_database
from syncsession_client.identity import Choices, SyncTable
from syncsession_client.protocol.batches import META, Row
from syncsession_client.rows import ROWS
from syncsession_client.setup import initialize
from syncsession_client.statements import to_pyformat
from syncsession_client.store import DeviceStore
from syncsession_server.app import create_app
from syncsession_server.keys import STORE
from syncsession_server.registry import leave_references
from syncsession_server.settings import Settings
from syncsession_server.stores.mysql import MysqlStore
from syncsession_server.stores.sqlite import SqliteStore
from syncsession_server.tenants import create_token

DATA = Path(__file__).parent / "data"
CHINOOK = DATA / "chinook.sqlite"
SECONDS = 60.0
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For httpx, which else loads all there are before it asks, in more time than an answer takes."""


class Server:
    """A server on a loopback port, in a thread of its own."""

    def __init__(self, app: web.Application, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.app, self.url, self._loop = app, url, loop

    def run(self, work: Any) -> Any:
        """The result of a coroutine, run where the server runs."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def token(self, tenant: str, user: str = "alice", *scopes: str) -> str:
        allowed = frozenset(scopes or ("sync", "schema"))
        return self.run(create_token(self.store, tenant=tenant, user=user, scopes=allowed))

    @property
    def store(self) -> SqliteStore | MysqlStore:
        return self.app[STORE]

    def rows(self, sql: str, **params: Any) -> list[tuple[Any, ...]]:
        """What a statement with `:name` parameters reads in the server's database."""
        text = to_pyformat(sql) if isinstance(self.store, MysqlStore) else sql
        return self.run(self.store.read(lambda tx: tx.all(text, params)))

    def schema(self) -> list[tuple[Any, ...]]:
        """What describes the tables in the server's database."""
        if isinstance(self.store, MysqlStore):
            return self.rows(
                "SELECT table_name, column_name, column_type, column_key"
                "  FROM information_schema.columns WHERE table_schema = database() ORDER BY 1, 2"
            )
        return self.rows("SELECT name, sql FROM sqlite_master")


@contextmanager
def serving(settings: Settings) -> Iterator[Server]:
    """A real server; it is stopped at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="server")
    thread.start()
    try:
        app = create_app(settings)
        runner = web.AppRunner(app, auto_decompress=False, access_log=None)
        started = asyncio.run_coroutine_threadsafe(_start(runner), loop)
        try:
            port = started.result(SECONDS)
            yield Server(app, f"http://127.0.0.1:{port}", loop)
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(SECONDS)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


async def _start(runner: web.AppRunner) -> int:
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner.addresses[0][1]


class Device:
    """A database file, written by programs that know nothing of sync."""

    def __init__(self, path: Path, server: str, token: str) -> None:
        self.path, self.server, self.token = path, server, token

    def execute(self, *statements: str, foreign_keys: bool = True) -> None:
        """Run statements in one transaction, as an application does."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as db:
            db.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
            db.execute("BEGIN")
            for sql in statements:
                db.execute(sql)
            db.execute("COMMIT")

    def put(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each of `rows`, in one transaction."""
        with closing(sqlite3.connect(self.path)) as db, db:
            db.executemany(sql, rows)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(sql).fetchall()

    def value(self, sql: str) -> Any:
        return self.rows(sql)[0][0]

    def schema(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid")

    def init(self, **choices: Any) -> "Device":
        initialize(self.path, server=self.server, choices=Choices(**choices), user="alice")
        return self

    def engine(self, **options: Any) -> SyncEngine:
        return SyncEngine(self.path, token=self.token, **options)

    def sync(self, **options: Any) -> Synced:
        with self.engine(**options) as engine:
            return engine.synchronize()

    def push(self, **options: Any) -> Synced:
        with self.engine(**options) as engine:
            return engine.push()

    def pull(self, **options: Any) -> Synced:
        with self.engine(**options) as engine:
            return engine.pull()

    def clone(self, name: str) -> "Device":
        other = Device(self.path.with_name(name), self.server, self.token)
        clone_database(other.path, server=self.server, token=self.token)
        return other

    def dirty(self, table: str) -> list[tuple[Any, ...]]:
        """The keys of the table's rows that a push would look at."""
        return self.rows(f'SELECT key_1 FROM "_sync_{table}" WHERE is_dirty ORDER BY 1')

    def identities(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table as everyone knows it: integers as the rows they stand for."""
        with DeviceStore(self.path) as store, store.read():
            return {
                t.name: sorted((key + values for key, values in identities(store, t)), key=repr)
                for t in store.tables()
            }

    def orphans(self) -> list[tuple[Any, ...]]:
        return self.rows("PRAGMA foreign_key_check")


class World:
    """One tenant of the server, and a directory for its devices."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server, self.directory = server, directory
        self.tenant = f"t{uuid.uuid4().hex}"
        self.token = server.token(self.tenant)

    def device(self, name: str, *schema: str, **choices: Any) -> Device:
        """A database with this schema, in which sync is installed."""
        device = self.bare(name, *schema)
        return device.init(**choices)

    def bare(self, name: str, *schema: str) -> Device:
        """A database with this schema, and no sync yet."""
        device = Device(self.directory / name, self.server.url, self.token)
        with closing(sqlite3.connect(device.path)) as db:
            for sql in schema:
                db.execute(sql)
            db.commit()
        return device

    def leave_references(self, *tables: str) -> None:
        """Let references of the tenant's tables lead where they will, as programs have it that do
        not enforce them.
        """
        store = self.server.store
        for name in tables:
            self.server.run(leave_references(store, self.tenant, name, is_checked=False))

    def chinook(self, name: str, **choices: Any) -> Device:
        """A copy of the Chinook database, in which sync is installed."""
        path = self.directory / name
        shutil.copy(CHINOOK, path)
        return Device(path, self.server.url, self.token).init(**choices)


def identities(store: DeviceStore, table: SyncTable) -> Iterator[tuple[Row, Row]]:
    """(wire key, values) of each live row, read as a push would read it if all were dirty."""
    sql = ROWS.dirty(t=table).replace("r.is_dirty = 1", "r.is_deleted = 0")
    first = 1 + META + len(table.identity)
    for row in store.rows(sql):
        yield row[1 + META : first], row[first + int(table.is_local) :]


def everyone_syncs(*devices: Device) -> None:
    """Each device pushes and pulls until all have what all have pushed."""
    for device in (*devices, *devices):
        device.sync()
