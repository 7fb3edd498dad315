"""A database in which sync is installed, and its twin without: no statement may tell them apart."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import Device

from syncsession_client.status import read_status

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing here needs a server


class Program:
    """An application's connection, for statement after statement in autocommit."""

    def __init__(self, path: Path, *pragmas: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("foreign_keys = ON", *pragmas):
            self._db.execute(f"PRAGMA {pragma}")

    def run(self, sql: str) -> Any:
        """What a statement answers: its rows, or the error's text; and what is said of it after."""
        try:
            answer: Any = self._db.execute(sql).fetchall()
        except sqlite3.Error as error:
            answer = f"{type(error).__name__}: {error}"
        said = self._db.execute("SELECT last_insert_rowid(), changes()").fetchall()
        return answer, *said

    def close(self) -> None:
        self._db.close()


class Pair:
    """A database in which sync is installed, and its twin without."""

    def __init__(self, directory: Path, schema: tuple[str, ...], **choices: Any) -> None:
        self.device = Device(directory / "app.db", NOWHERE, "")
        self.twin = Device(directory / "twin.db", NOWHERE, "")
        for device in (self.twin, self.device):
            device.execute(*schema)
        self.device.init(**choices)
        self.pragmas: tuple[str, ...] = ()

    def run(self, *statements: str) -> None:
        """Run statements on both, one by one, and compare what is answered and what is there."""
        with self.programs() as (ours, twin):
            for sql in statements:
                assert ours.run(sql) == twin.run(sql), sql
        self.compare()

    @contextmanager
    def programs(self) -> Iterator[tuple[Program, Program]]:
        both = [Program(d.path, *self.pragmas) for d in (self.device, self.twin)]
        try:
            yield both[0], both[1]
        finally:
            for program in both:
                program.close()

    def compare(self) -> None:
        """The application's schema and rows are those of the twin."""
        assert own(self.device) == self.twin.schema()
        for kind, name, *_ in self.twin.schema():
            if kind == "table":
                read = f'SELECT * FROM "{name.replace(chr(34), chr(34) * 2)}"'
                assert self.device.rows(read) == self.twin.rows(read)

    def fold(self) -> None:
        read_status(self.device.path)

    def shadow(self, table: str) -> list[tuple[Any, ...]]:
        """The table's shadow rows after a fold: (key…, is_dirty, is_deleted)."""
        self.fold()
        view = f"_sync_{table}".replace('"', '""')
        rows = self.device.rows(f'SELECT * FROM "{view}" ORDER BY 1, 2')
        return [(*r[:-5], r[-5], r[-4]) for r in rows]

    def dirty(self, table: str) -> list[tuple[Any, ...]]:
        """The dirty shadow rows after a fold: (key…, is_deleted)."""
        return [(*r[:-2], r[-1]) for r in self.shadow(table) if r[-2]]

    def settle(self, table: str) -> None:
        """As if the server had acknowledged everything so far."""
        self.fold()
        self.device.execute(f'UPDATE "_sync_{table}_rows" SET is_dirty = 0, sync_session = 1')


def own(device: Device) -> list[tuple[Any, ...]]:
    """The schema without what sync added to it."""
    return [
        o for o in device.schema() if not re.match(r"_sync(session)?_|sqlite_autoindex__sync", o[1])
    ]
