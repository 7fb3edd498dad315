"""Local changes: whether a program wrote to a database what no sync has seen."""

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import watchfiles

from .fold import last_entries
from .progress import Cancellation
from .protocol.errors import DatabaseLocked, Unappliable
from .rows import ROWS
from .store import SCHEMA, DeviceStore

_STEP = 50  # milliseconds without an event more, after which those that came are told of together
_BURST = 200  # and at the latest
_TICK = 250  # without any: a file system on the network tells of none


@dataclass(frozen=True)
class _Mark:
    """How far the database has come, by what programs leave there for a sync."""

    generation: int
    schema_version: int
    entries: tuple[int, ...]


class LocalChanges:
    """One connection, by which to see what others write. Whoever opens it closes it, by `with`.

    That a sync writes too is no matter: what counts is what stands in the logs, and whether the
    schema changed.

    Raises, from every method: what DeviceStore raises.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._identity: tuple[int, int] | None = None
        self._version: int | None = None
        self._store = self._open()
        self._settled = self._mark()
        self._store.run(SCHEMA.never_wait)

    def __enter__(self) -> "LocalChanges":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def look(self) -> bool:
        """Whether a program has written since the last look what no sync has seen.

        One that is writing at this moment, or changing the schema, is seen at a later look.
        """
        with suppress(DatabaseLocked, Unappliable):
            if self._is_replaced():
                opened = self._open()
                self._store.close()
                self._store = opened
                self._store.run(SCHEMA.never_wait)
                return True
            version = self._store.data_version()
            if version != self._version:
                is_new = self._mark() != self._settled
                self._version = version
                return is_new
        return False

    def settle(self, *, is_synced: bool) -> bool:
        """A sync has ended: whether something is left that it did not see.

        Where it failed nothing is: it would fail again with what is there now.
        """
        with suppress(DatabaseLocked, Unappliable):
            found, before = self._mark(), self._settled
            self._settled = found
            if is_synced:
                # What was written since it folded; or had been folded when the pull was applied.
                self._settled = replace(found, entries=tuple(0 for _ in found.entries))
                is_folded = found.generation != before.generation and self._has_to_push()
                return is_folded or found != self._settled
        return False

    def _open(self) -> DeviceStore:
        identity = _identity(self._database)
        store = DeviceStore(self._database)
        try:
            store.state()
        except BaseException:
            store.close()
            raise
        self._identity, self._version = identity, None
        return store

    def _is_replaced(self) -> bool:
        """Whether another file has the name now, as after a restore; a moment of none is not it."""
        found = _identity(self._database)
        return found is not None and found != self._identity

    def _mark(self) -> _Mark:
        with self._store.read():
            return _Mark(
                self._store.state().generation,
                self._store.schema_version(),
                last_entries(self._store),
            )

    def _has_to_push(self) -> bool:
        return any(self._store.first(ROWS.has_to_push(t=t)) for t in self._store.tables())


def ticks(directory: Path, cancellation: Cancellation) -> Generator[None, None, None]:
    """A tick whenever a file in a directory may have changed, and four times a second.

    Where the system does not tell of changes, for it has no watch left, the latter is all there is.

    Raises:
        Cancelled: asked to stop.
    """
    with suppress(OSError, RuntimeError):  # the latter is what the library's Rust part raises
        for _ in watchfiles.watch(
            directory,
            watch_filter=None,
            debounce=_BURST,
            step=_STEP,
            rust_timeout=_TICK,
            yield_on_timeout=True,
            stop_event=cancellation,
            recursive=False,
            raise_interrupt=True,
        ):
            yield
    while True:
        cancellation.wait(_TICK / 1000)
        yield


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is that has this name now."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
