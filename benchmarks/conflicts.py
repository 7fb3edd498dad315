"""What conflicts cost: commits of sessions that change every row, beside one that meets nobody."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from syncsession_client.engine import SyncEngine, clone_database
from syncsession_client.progress import Progress

from . import cases
from .place import Place, alone

Figures = dict[str, float]


def measure(here: Place, count: int) -> Figures:
    """Seconds of the commit alone, where no row, one in a hundred and every row meets another
    version, which a device has pushed meanwhile.
    """
    device, second, third = (here.directory / f"{name}.db" for name in ("first", "second", "third"))
    cases.make_device(device, here.server, count)
    alone(cases.push, device, here.token, count)
    for path in (second, third):
        alone(_clone, path, here.server, here.token)
    free, _ = alone(_commit, device, here.token, 1)
    for path in (second, third):
        alone(_pull, path, here.token)
    alone(_commit, device, here.token, 100)
    some, _ = alone(_commit, second, here.token, 1)
    every, _ = alone(_commit, third, here.token, 1)
    return {
        "none_seconds": free,
        "one_percent_seconds": some,
        "all_seconds": every,
        "one_percent_ratio": some / free,
        "all_ratio": every / free,
    }


def _clone(path: Path, server: str, token: str) -> None:
    clone_database(path, server=server, token=token)


def _pull(path: Path, token: str) -> None:
    with SyncEngine(path, token=token) as engine:
        engine.pull()


def _commit(path: Path, token: str, every: int) -> float:
    """Change each row, or one of so many, and push: seconds from the last batch to the outcome."""
    with closing(sqlite3.connect(path)) as db, db:
        sql = "UPDATE note SET amount = amount + abs(random() % 100000) + 1 WHERE rowid % ? = 0"
        db.execute(sql, (every,))
    times: dict[str, float] = {}

    def note(progress: Progress) -> None:
        times.setdefault(progress.phase, time.perf_counter())

    with SyncEngine(path, token=token, report=note) as engine:
        pushed = engine.push().pushed
    assert pushed.session is not None
    return times["push_complete"] - times["push_waiting"]
