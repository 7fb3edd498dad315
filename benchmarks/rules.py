"""What looking after references and unique values costs a push, beside the same rows without it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from syncsession_client.identity import Choices
from syncsession_client.setup import initialize

from . import cases
from .place import Place, alone

_PARENTS = 1000

_SHELF = "CREATE TABLE shelf (id TEXT PRIMARY KEY)"
_COLUMNS = {
    "plain": "email TEXT, shelf TEXT",
    "references": "email TEXT, shelf TEXT REFERENCES shelf (id) ON DELETE CASCADE",
    "unique": "email TEXT UNIQUE, shelf TEXT",
}


def measure(here: Place, count: int) -> dict[str, float]:
    """Push `count` new rows of tables that differ in one declaration."""
    figures: dict[str, float] = {}
    for what, columns in _COLUMNS.items():
        device = here.directory / f"{what}.db"
        token = here.command("token", "create", "--tenant", what, "--user", "bench").stdout.strip()
        _make(device, here.server, what, columns, count)
        figures[f"{what}_seconds"], _ = alone(cases.push, device, token, count + _PARENTS)
    for what in ("references", "unique"):
        figures[f"{what}_ratio"] = figures[f"{what}_seconds"] / figures["plain_seconds"]
    return figures


def _make(path: Path, server: str, what: str, columns: str, count: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(_SHELF)
        db.execute(f"CREATE TABLE book_{what} (id TEXT PRIMARY KEY, {columns}, n REAL, v TEXT)")
        db.commit()
    initialize(path, server=server, choices=Choices(), user="bench")
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany("INSERT INTO shelf VALUES (?)", [(f"s{n}",) for n in range(_PARENTS)])
        db.executemany(
            f"INSERT INTO book_{what} VALUES (?, ?, ?, ?, ?)",
            (
                (id_, email, f"s{n % _PARENTS}", amount, note)
                for n, (id_, _, email, amount, note) in enumerate(cases.rows(count))
            ),
        )
