"""Programs in several languages write while syncs run, and notice nothing of it.

Each program is in tests/programs. It edits in rounds that depend on nothing but their number, and
prints all that it is answered. So the same rounds on a twin, without sync and alone, must print the
same.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import program, until
from support import SECONDS, Device, Server, World, everyone_syncs, serving

from syncsession_server.settings import Settings

PROGRAMS = Path(__file__).parents[1] / "programs"
LANGUAGES = {
    "shell": ("bash", "writer.sh"),
    "node": ("node", "writer.mjs"),
    "perl": ("perl", "writer.pl"),
    "python": (sys.executable, "writer.py"),
}
SCHEMA = (
    "CREATE TABLE note (id TEXT PRIMARY KEY, title TEXT UNIQUE, body, "
    "n INTEGER NOT NULL DEFAULT 0 CHECK (n >= 0))",
    "CREATE TABLE item (id INTEGER PRIMARY KEY, "
    "note_id TEXT REFERENCES note ON DELETE CASCADE ON UPDATE CASCADE, v)",
    "CREATE TABLE tag (item_id INTEGER REFERENCES item ON DELETE CASCADE ON UPDATE CASCADE, "
    "label TEXT COLLATE NOCASE, weight REAL, PRIMARY KEY (item_id, label)) WITHOUT ROWID",
    "CREATE TABLE setting (scope TEXT, name TEXT COLLATE NOCASE, value, PRIMARY KEY (scope, name))",
    "CREATE TABLE inbox (id INTEGER PRIMARY KEY, body TEXT, is_read INTEGER NOT NULL DEFAULT 0)",
)
KEYS = {"note": "id", "item": "id", "tag": "item_id", "setting": "scope"}
"""What the program writes."""

SAME = {
    "note": "id, title, body, n",
    "item": "note_id, v",
    "tag": "label, weight",
    "setting": "scope, name, value",
    "inbox": "body, is_read",
}
"""What is the same everywhere: all but the integers that are a device's own."""
OVERLAPPING = 6
"""Syncs during which the program finished a round."""

MOST_ROUNDS = 5000
"""A program that nobody stops does not go on for ever."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Which kind of database it has makes no difference to a program."""
    database = f"sqlite:///{tmp_path_factory.mktemp('server') / 'server.db'}"
    with serving(Settings(database=database, migrate=True)) as running:
        yield running


class Writer:
    """A program at work on a database, in a process of its own."""

    def __init__(self, language: str, database: Path, rounds: int = MOST_ROUNDS) -> None:
        self._stop, self._said = database.with_suffix(".stop"), database.with_suffix(".said")
        interpreter, script = LANGUAGES[language]
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [program(interpreter), PROGRAMS / script, database, str(rounds), self._stop],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    @property
    def said(self) -> str:
        return self._said.read_text(encoding="utf-8")

    @property
    def rounds(self) -> int:
        """How many rounds it has done."""
        return len(re.findall(r"^round \d+$", self.said, re.M))

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for_a_round(self) -> None:
        before = self.rounds
        until(lambda: self.rounds > before or not self.is_running)
        assert self.is_running, self.said

    def stop(self) -> None:
        """Have it end after this round."""
        self._stop.touch()

    def wait(self) -> str:
        """All that it said, once it has ended."""
        assert self._process.wait(SECONDS) == 0, self.said
        return self.said

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)


@contextmanager
def writing(language: str, device: Device, rounds: int = MOST_ROUNDS) -> Iterator[Writer]:
    writer = Writer(language, device.path, rounds)
    try:
        yield writer
    finally:
        writer.kill()


def sync_while_it_writes(writer: Writer, device: Device, other: Device) -> None:
    """Sync again and again, with something to push and to pull each time.

    The device's file must not be opened by Python's sqlite3 here: it would take the locks of the
    engine in this process along when it is closed.
    """
    overlapping = number = 0
    deadline = time.monotonic() + SECONDS
    while overlapping < OVERLAPPING:
        assert time.monotonic() < deadline, "no sync overlapped with a round"
        number += 1
        other.execute(
            f"INSERT INTO inbox (body) VALUES ('message {number}')",
            f"INSERT INTO note (id, n) VALUES ('other {number}', {10**6})",
        )
        other.sync()
        writer.wait_for_a_round()
        before = writer.rounds
        synced = device.sync()
        overlapping += writer.rounds > before
        assert synced.pushed.rows and synced.pulled.rows


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_writes_while_syncs_run_and_all_devices_come_to_hold_its_rows(
    world, language, journal
):
    twin = world.bare("twin.db", *SCHEMA)
    device = world.device("app.db", *SCHEMA)
    for each in (device, twin):
        assert each.value(f"PRAGMA journal_mode = {journal}") == journal
    device.sync()
    other = device.clone("other.db")
    with writing(language, device) as writer:
        sync_while_it_writes(writer, device, other)
        writer.stop()
        said = writer.wait()
    with writing(language, twin, writer.rounds) as alone:
        assert said == alone.wait()
    everyone_syncs(device, other)
    check_rest(world, twin, device, other, other.clone("late.db"))


def check_rest(world: World, twin: Device, device: Device, *others: Device) -> None:
    """At rest all devices and the server hold the program's rows, and those of the other device."""
    for table, key in KEYS.items():
        read = f"SELECT * FROM {table} WHERE {key} NOT LIKE 'other %' ORDER BY 1, 2"
        assert device.rows(read) == twin.rows(read) != []
    for table, columns in SAME.items():
        read = f"SELECT {columns} FROM {table} WHERE {{}} ORDER BY {columns}"
        held = world.server.rows(
            read.format("tenant_id = :tenant AND NOT is_deleted"), tenant=world.tenant
        )
        assert held == device.rows(read.format("true")) != []
    for other in others:
        assert other.identities() == device.identities()
    for each in (device, *others):
        assert [each.dirty(table) for table in SAME] == [[]] * len(SAME)
        assert each.orphans() == []
        assert each.value("PRAGMA integrity_check") == "ok"
