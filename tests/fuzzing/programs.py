"""A program's connection, by either of Python's SQLite libraries, and what a statement answers."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from .script import Driver

SAID = "SELECT last_insert_rowid(), changes()"


class Outcome(NamedTuple):
    """What a program can see of a statement: rows or the error, and what it may ask after it."""

    rows: list[Any]
    error: str
    last_insert_rowid: int
    changes: int
    is_in_transaction: bool

    @property
    def is_busy(self) -> bool:
        """Whether another connection's lock was in the way."""
        return "database is locked" in self.error


class Program:
    """One connection in autocommit, with its pragmas. It waits for no lock."""

    def __init__(
        self, driver: Driver, path: Path, pragmas: Sequence[str], *, is_defensive: bool = False
    ) -> None:
        self._driver, self._path, self._pragmas = driver, path, pragmas
        self._is_defensive = is_defensive
        self._open()

    def run(self, sql: str) -> Outcome:
        rows, error = [], ""
        try:
            rows = [shown(row) for row in self._db.execute(sql)]
            if sql == "PRAGMA foreign_key_check":
                rows.sort()  # it goes through the tables in the order of a hash table
        except (sqlite3.Error, apsw.Error) as raised:
            error = f"{type(raised).__name__}: {raised}"
        if sql == "VACUUM" and not error:
            # It sets last_insert_rowid() to the number of views and triggers.
            self.close()
            self._open()
        said = self._db.execute(SAID).fetchall()[0]
        return Outcome(rows, error, *said, self.is_in_transaction)

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        return list(self._db.execute(sql))

    @property
    def can_read(self) -> bool:
        """Whether no other connection has the file for itself."""
        try:
            self.all("SELECT 1 FROM sqlite_master")
        except (sqlite3.OperationalError, apsw.BusyError):
            return False
        return True

    @property
    def is_in_transaction(self) -> bool:
        return bool(self._db.in_transaction)

    def close(self) -> None:
        self._db.close()

    def _open(self) -> None:
        self._db: Any
        if self._driver == "apsw":
            self._db = apsw.Connection(str(self._path))
            self._db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, int(self._is_defensive))
        else:
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=0)
        for pragma in self._pragmas:
            self._db.execute(f"PRAGMA {pragma}").fetchall()


def shown(row: Sequence[Any]) -> tuple[str, ...]:
    """A row's values as texts that tell 1 from 1.0 and '1', 0.0 from -0.0, a text from a blob."""
    return tuple(map(repr, row))
