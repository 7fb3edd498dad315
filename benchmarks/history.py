"""What history costs: a push with it beside one without, and the bytes that it takes."""

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from . import cases
from .place import Place, alone

_FIRST_ROWS = 10


def measure(here: Place, count: int) -> dict[str, float]:
    """Push `count` new rows, then a change of each, without history and with it."""
    figures: dict[str, float] = {}
    for state in ("off", "on"):
        device = here.directory / f"{state}.db"
        token = _tenant(here, state)
        cases.make_device(device, here.server, _FIRST_ROWS)
        alone(cases.push, device, token, _FIRST_ROWS)
        here.command("table", "set", "note", "--tenant", state, "--history", state)
        before = here.stored_bytes()
        _insert(device, count)
        figures[f"seconds_insert_{state}"], _ = alone(cases.push, device, token, count)
        figures[f"mb_insert_{state}"] = (here.stored_bytes() - before) / 1e6
        _update(device)
        seconds, _ = alone(cases.push, device, token, count + _FIRST_ROWS)
        figures[f"seconds_update_{state}"] = seconds
        figures[f"mb_{state}"] = (here.stored_bytes() - before) / 1e6
    for what in ("insert", "update"):
        on, off = (figures[f"seconds_{what}_{state}"] for state in ("on", "off"))
        figures[f"ratio_{what}"] = on / off
    return figures


def _tenant(here: Place, name: str) -> str:
    made: subprocess.CompletedProcess[str] = here.command(
        "token", "create", "--tenant", name, "--user", "bench"
    )
    return made.stdout.strip()


def _insert(path: Path, count: int) -> None:
    new = cases.rows(_FIRST_ROWS + count)[_FIRST_ROWS:]
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany(cases.INSERT, new)


def _update(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE note SET name = name || ' again'")
