"""Where a case runs: a directory of its own, a real server process, device work in processes.

A device's work runs in a fresh process, so that its time holds no imports and no other's memory.
"""

import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.mariadb import private_mariadb

from . import floors

_START_SECONDS = 20.0

Result = TypeVar("Result")


class Place:
    """A directory, the server that runs in it over a database, and a token for that."""

    def __init__(self, directory: Path, database: str) -> None:
        self.directory, self.database = directory, database
        self.kind = "sqlite" if database.startswith("sqlite") else "mariadb"
        self.command("migrate")
        made = self.command("token", "create", "--tenant", "bench", "--user", "bench")
        self.token = made.stdout.strip()
        self.start()

    def start(self) -> None:
        """Start the server."""
        log = self.directory / "server.log"
        with log.open("w") as stderr:
            self._process = subprocess.Popen(self._command("run", "--port", "0"), stderr=stderr)
        self.server = _ready(log)

    def stop(self) -> None:
        """Stop the server, and wait until it has."""
        self._process.terminate()
        self._process.wait(_START_SECONDS)

    def restart(self) -> None:
        """A fresh server process on the same database: its peak memory starts anew."""
        self.stop()
        self.start()

    def server_peak_mb(self) -> float:
        """The most memory that the server has used so far, in MB."""
        return peak_mb(self._process.pid)

    def stored_bytes(self) -> int:
        """What the rows take on the disk: pages that are in use, of tables and indexes."""
        if self.kind == "mariadb":
            return floors.mariadb_bytes(self.database)
        with closing(sqlite3.connect(self.database.removeprefix("sqlite:///"))) as db:
            sizes = ("page_count", "freelist_count", "page_size")
            pages, unused, size = (int(db.execute(f"PRAGMA {s}").fetchone()[0]) for s in sizes)
            return (pages - unused) * size

    def command(self, *args: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the server over its database."""
        return subprocess.run(self._command(*args), check=True, capture_output=True, text=True)

    def _command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "syncsession_server", *args, "--database", self.database]


@contextmanager
def place(kind: str) -> Iterator[Place]:
    """A fresh directory with a fresh server over a fresh database: `sqlite` or `mariadb`, which has
    its own, durable, settings.
    """
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        directory = Path(made)
        database = f"sqlite:///{directory / 'server.db'}"
        if kind == "mariadb":
            mariadb = stack.enter_context(private_mariadb(directory, durable=True))
            database = mariadb.create_database()
        here = Place(directory, database)
        try:
            yield here
        finally:
            here.stop()


def _ready(log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        found = re.search(r"ready on (http://\S+)", log.read_text())
        if found:
            return found[1]
        time.sleep(0.02)
    raise TimeoutError(f"the server did not start: {log.read_text()}")


def alone(function: Callable[..., Result], *args: Any) -> tuple[Result, float]:
    """(what `function` returns, peak MB) of a run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (function, args))


def _measured(function: Callable[..., Result], args: tuple[Any, ...]) -> tuple[Result, float]:
    result = function(*args)
    return result, peak_mb(os.getpid())


def peak_mb(pid: int) -> float:
    """The most memory that a process has used so far. Not by getrusage: its figure survives exec,
    so that a child shows its parent's."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0
