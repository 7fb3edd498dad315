"""A program that writes to a device's file while something else is measured."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread

_PATIENCE = 60.0  # seconds that the program waits for a lock


@contextmanager
def writing(
    path: Path, sql: str, values: Sequence[object] = (), *, pause: float
) -> Iterator[list[float]]:
    """The program runs `sql` as a transaction, again and again, with `pause` seconds in between;
    the seconds that each took.
    """
    waits: list[float] = []
    is_done = Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=_PATIENCE)) as db:
            while not is_done.wait(pause):
                start = time.perf_counter()
                with db:
                    db.execute(sql, values)
                waits.append(time.perf_counter() - start)

    thread = Thread(target=write)
    thread.start()
    try:
        yield waits
    finally:
        is_done.set()
        thread.join()
