"""What a process writes down, line by line, and what of it a checker takes.

Times are `time.monotonic_ns`: on Linux one clock for all processes of the machine (CLOCK_MONOTONIC,
clock_gettime(2)), so what one wrote down can be put before what another did.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

Row = str
"""A row as everyone knows it: `table/name`."""

Version = tuple[str | None, int | None]
"""The transaction that gave a row its value, None where it is deleted; and the session by which the
device has it so, None where the server does not have it yet.
"""

KEPT = ("entry/", "line/")
"""Rows of these tables are inserted and never touched again. Every transaction inserts an entry."""


def is_kept(row: Row) -> bool:
    return row.startswith(KEPT)


class Wrote(msgspec.Struct, tag=True, kw_only=True, frozen=True):
    """A transaction of an application: the rows it gave its own name as their value, and those that
    it deleted (None).
    """

    txn: str
    begun: int
    rows: dict[Row, str | None]


class Synced(msgspec.Struct, kw_only=True, frozen=True):
    """A call of the engine: `session` is the number that it said was pushed. One that failed, with
    this error, may have done any part of it.
    """

    call: str
    invoked: int
    returned: int
    session: int | None = None
    error: str | None = None

    @property
    def has_pulled(self) -> bool:
        return self.error is None and self.call != "push"


class Saw(msgspec.Struct, tag=True, kw_only=True, frozen=True):
    """What a device holds, read in one transaction: what differs from the last time, or all.

    `processed`, by table: the ranges of sessions that it says it has processed. `synced`: the call
    that had just returned.
    """

    at: int
    rows: dict[Row, Version]
    gone: list[Row] = []
    is_all: bool = False
    processed: dict[str, list[tuple[int, int]]] = {}
    synced: Synced | None = None


Record = Wrote | Saw


class History(msgspec.Struct, frozen=True):
    """What one process wrote down of one device, in order."""

    name: str
    device: str
    records: list[Record]


class Recorder:
    """Appends to the history of a process."""

    def __init__(self, path: Path) -> None:
        path.touch()
        held = path.read_bytes()
        os.truncate(path, held.rfind(b"\n") + 1)  # who wrote it before may have been killed
        self._file = path.open("ab", buffering=0)

    def add(self, record: Record) -> None:
        self._file.write(msgspec.json.encode(record) + b"\n")

    def close(self) -> None:
        self._file.close()


def read(path: Path, device: str) -> History:
    """What a process wrote down."""
    decoder = msgspec.json.Decoder(Record)
    return History(path.stem, device, decoder.decode_lines(path.read_bytes()))


def all_wrote(histories: Iterable[History]) -> list[tuple[str, Wrote]]:
    """(device, what it wrote), in the order of each device."""
    return [(h.device, r) for h in histories for r in h.records if isinstance(r, Wrote)]


def all_saw(histories: Iterable[History]) -> list[tuple[str, Saw]]:
    """(history, what was seen)."""
    return [(h.name, r) for h in histories for r in h.records if isinstance(r, Saw)]
