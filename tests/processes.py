"""Server processes over one database, as in earnest: tests stop, pause, kill and restart them."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pymysql
from mariadb import Mariadb
from support import NO_CERTIFICATES, SECONDS

from syncsession_server.app import open_store
from syncsession_server.settings import Settings
from syncsession_server.tenants import create_token

_READY = re.compile(r"syncsession-server is ready on (\S+) ")
_POLL_SECONDS = 0.02

# Whoever kills pytest kills what it started. Only for what its main thread started.
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()


def until(is_so: Callable[[], Any], *, every: float = _POLL_SECONDS) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(every)


def program(name: str) -> str:
    """The path of a program that tests run and that is not Python's."""
    found = shutil.which(name)
    assert found, f"{name} is missing: tests run it. Say .ci/setup.sh languages, or make test"
    return found


class ServerProcess:
    """One `syncsession-server run`, on a port of its own. It may be killed at a named point."""

    def __init__(self, database: str, log: Path, *flags: str, kill_at: str = "") -> None:
        self.log = log
        with log.open("wb") as written:
            self._process = subprocess.Popen(
                [
                    *(*WITH_PARENT, sys.executable, "-m", "syncsession_server", "run"),
                    *("--port", "0", "--database", database, *flags),
                ],
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=written,
                env=os.environ | {"SYNCSESSION_KILL_AT": kill_at},
            )
        self._url = ""

    @property
    def url(self) -> str:
        """Where it answers; waits until it does."""
        until(self._is_ready)
        return self._url

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = SECONDS) -> int:
        """Its exit code, when it has ended."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self._process.kill()
        self._process.wait(SECONDS)

    def ended(self) -> float:
        """How many sessions it has brought to their end, whichever."""
        text = httpx.get(f"{self.url}/metrics", verify=NO_CERTIFICATES, timeout=SECONDS).text
        found = re.findall(r"^syncsession_commit_seconds_count{.*} (\S+)$", text, re.M)
        return sum(map(float, found))

    def _is_ready(self) -> bool:
        found = _READY.search(self.text())
        self._url = found[1] if found else ""
        assert found or self.is_running, self.text()
        return found is not None


@dataclass
class Servers:
    """The servers of one database. Support's `World` takes it for one of them: the first."""

    mariadb: Mariadb
    database: str
    directory: Path
    flags: tuple[str, ...] = ()
    all: list[ServerProcess] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.all[0].url

    def start(self, *flags: str) -> ServerProcess:
        """One more."""
        log = self.directory / f"server{len(self.all)}.log"
        self.all.append(ServerProcess(self.database, log, *self.flags, *flags))
        return self.all[-1]

    async def migrate(self) -> None:
        async with open_store(Settings(database=self.database)) as store:
            await store.migrate()

    def token(self, tenant: str) -> str:
        async def create() -> str:
            async with open_store(Settings(database=self.database)) as store:
                scopes = frozenset({"sync", "schema"})
                return await create_token(store, tenant=tenant, user="alice", scopes=scopes)

        return asyncio.run(create())

    def rows(self, sql: str, *values: Any) -> tuple[tuple[Any, ...], ...]:
        """What a statement reads in the database."""
        with self.connection() as connection, connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        return self.rows(sql, *values)[0][0]

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection in a transaction, which is rolled back at the end."""
        connection = pymysql.connect(
            unix_socket=str(self.mariadb.socket),
            user="root",
            database=urlsplit(self.database).path[1:],
            charset="utf8mb4",
            read_timeout=SECONDS,
            init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",  # locks no gaps
        )
        with closing(connection):
            yield connection

    @contextmanager
    def held(self, sql: str, *values: Any) -> Iterator[None]:
        """Keep the locks that a statement takes."""
        with self.connection() as connection:
            with connection.cursor() as cursor:
                cursor.execute(sql, values or None)
                assert cursor.rowcount, sql
            yield

    def wait_for_a_lock(self, begin: str, *, count: int = 1) -> None:
        """Wait until so many statements that begin so wait for the lock of a row."""
        # InnoDB shows the same for as long as it is asked more often than every 0.1 seconds.
        until(lambda: self._waiting(begin) == count, every=0.15)

    def _waiting(self, begin: str) -> int:
        sql = (
            "SELECT count(*) FROM information_schema.innodb_trx AS t"
            "  JOIN information_schema.processlist AS p ON p.id = t.trx_mysql_thread_id"
            " WHERE t.trx_state = 'LOCK WAIT' AND p.db = database() AND p.info LIKE %s"
        )
        return int(self.value(sql, f"{begin}%"))

    def statuses(self) -> list[str]:
        """The states of the sessions, by number."""
        return [s for (s,) in self.rows("SELECT status FROM sync_session ORDER BY number")]

    def ended(self) -> list[float]:
        """How many sessions each of the running servers has brought to their end."""
        return [server.ended() for server in self.all if server.is_running]

    def end(self) -> None:
        """Kill those that run."""
        for server in self.all:
            server.kill()


@contextmanager
def servers(mariadb: Mariadb, directory: Path, *flags: str) -> Iterator[Servers]:
    """Servers, none yet, of a fresh database; they are killed at the end."""
    made = Servers(mariadb, mariadb.create_database(), directory, flags)
    asyncio.run(made.migrate())
    try:
        yield made
    finally:
        made.end()
