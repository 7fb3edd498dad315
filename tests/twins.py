"""A database in which sync is installed, and its twin without: no statement may tell them apart."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import Device, identities

from syncsession_client import push
from syncsession_client.identity import SyncTable
from syncsession_client.outbox import Outbox, Outgoing
from syncsession_client.protocol import batches, bodies
from syncsession_client.reconcile import bring_up_to_date, refresh
from syncsession_client.status import read_status
from syncsession_client.store import DeviceStore

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing here needs a server

Content = dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]]
"""The identity and the values of each row of a table, by its identity."""


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
        self.prepare(*schema)
        self.device.init(**choices)
        self.pragmas: tuple[str, ...] = ()

    def run(self, *statements: str) -> None:
        """Run statements on both, one by one, and compare what is answered and what is there."""
        with self.programs() as (ours, twin):
            for sql in statements:
                assert ours.run(sql) == twin.run(sql), sql
        self.compare()

    def prepare(self, *statements: str) -> None:
        """Run statements on both, in one transaction, without foreign keys; compare nothing."""
        for device in (self.device, self.twin):
            device.execute(*statements, foreign_keys=False)

    @contextmanager
    def programs(self) -> Iterator[tuple[Program, Program]]:
        """A connection to each. While one is open here nothing else may close the file: it would
        take the locks with it (https://sqlite.org/howtocorrupt.html, 2.2.1).
        """
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
                assert exactly(self.device.rows(read)) == exactly(self.twin.rows(read))

    def fold(self) -> None:
        read_status(self.device.path)

    def shadow(self, table: str) -> list[tuple[Any, ...]]:
        """The table's shadow rows after a fold: (key…, is_dirty, is_deleted)."""
        self.fold()
        view = f"_sync_{table}".replace('"', '""')
        rows = self.device.rows(f'SELECT * FROM "{view}" ORDER BY 1, 2')
        return [(*r[:-6], r[-6], r[-5]) for r in rows]

    def dirty(self, table: str) -> list[tuple[Any, ...]]:
        """The dirty shadow rows after a fold: (key…, is_deleted)."""
        return [(*r[:-2], r[-1]) for r in self.shadow(table) if r[-2]]

    def agree(self) -> None:
        """The server has everything as it is now."""
        with DeviceStore(self.device.path) as store, Outbox(self.device.path) as outbox:
            outgoing = _seal(store, outbox)
            outcome = {"number": store.state().generation, "corrected": False}
            if outgoing is not None:
                push.acknowledge(store, outbox, store.tables(), outgoing, outcome)
        self._agreed = self._content()

    def sent(self, table: str) -> list[tuple[Any, ...]]:
        """What a push would send now: (key…, is_deleted), and then the values of a live row.

        It is what the rows differ in from those of the last `agree`, in whatever table.
        """
        with DeviceStore(self.device.path) as store, Outbox(self.device.path) as outbox:
            _seal(store, outbox)
            tables = {t.name: t for t in store.tables()}
            found = {t.name: list(_sealed(outbox, t)) for t in tables.values()}
            keys = {t.name: _keys(store, t) for t in tables.values()}
            outbox.drop_outgoing()
        now = self._content()
        for name, synced in tables.items():
            assert keys[name].live == self._keys_of_rows(synced), name
            assert sorted(map(exactly, found[name])) == _difference(self._agreed[name], now[name])
        listed = ((*keys[table].of[exactly(key)], *rest) for key, *rest in found[table])
        return sorted(listed, key=exactly)

    def _content(self) -> dict[str, Content]:
        with DeviceStore(self.device.path) as store, store.read():
            return {t.name: _rows(store, t) for t in store.tables()}

    def _keys_of_rows(self, table: SyncTable) -> list[str]:
        names, name = ", ".join(map(quoted, table.key)), quoted(table.name)
        return sorted(
            exactly(r) for r in self.device.rows(f"SELECT {names} FROM {name}") if None not in r
        )

    def settle(self, table: str) -> None:
        """As if the server had acknowledged everything so far."""
        self.fold()
        self.device.execute(f'UPDATE "_sync_{table}_rows" SET is_dirty = 0, sync_session = 1')


def exactly(value: Any) -> str:
    """Text in which values of any class, and 0.0 and -0.0, are told apart."""
    return repr(value)


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _rows(store: DeviceStore, table: SyncTable) -> Content:
    found = identities(store, table)
    return {exactly(identity): (identity, values) for identity, values in found}


@dataclass(frozen=True)
class _Keys:
    """The keys in the shadow rows: of those that are live, and of every identity."""

    live: list[str]
    of: dict[str, tuple[Any, ...]]


def _keys(store: DeviceStore, table: SyncTable) -> _Keys:
    names = ", ".join((*table.identity, *table.keys))
    size = len(table.identity)
    rows = list(store.rows(f"SELECT is_deleted, {names} FROM {quoted(table.rows)}"))
    return _Keys(
        sorted(exactly(row[1 + size :]) for row in rows if not row[0]),
        {exactly(row[1 : 1 + size]): row[1 + size :] for row in rows},
    )


def _difference(before: Content, now: Content) -> list[str]:
    """What must be sealed."""
    gone = [exactly((identity, 1)) for key, (identity, _) in before.items() if key not in now]
    came = [
        exactly((identity, 0, *values))
        for key, (identity, values) in now.items()
        if key not in before or exactly(before[key][1]) != exactly(values)
    ]
    return sorted([*gone, *came])


def _seal(store: DeviceStore, outbox: Outbox) -> Outgoing | None:
    with store.write():
        refresh(store, allow_mass_delete=False)
        bring_up_to_date(store, allow_mass_delete=False)
    return push.seal(store, outbox, store.tables(), batch_rows=1000)


def _sealed(outbox: Outbox, table: SyncTable) -> Iterator[tuple[Any, ...]]:
    """(identity, is_deleted), and then the values of a live row, of the table's sealed rows."""
    values = batches.META + len(table.identity)
    first = values + int(table.is_local)
    for number, name, _ in outbox.outgoing_numbers():
        if name == table.name:
            data = bodies.decompress(outbox.payload(number), push.SEALED, bodies.UNPACKED_LIMIT)
            for row in batches.decode(data).rows:
                row = tuple(row)
                is_deleted = row[batches.META - 1]
                yield row[batches.META : values], is_deleted, *(() if is_deleted else row[first:])


def own(device: Device) -> list[tuple[Any, ...]]:
    """The schema without what sync added to it."""
    return [
        o for o in device.schema() if not re.match(r"_sync(session)?_|sqlite_autoindex__sync", o[1])
    ]
