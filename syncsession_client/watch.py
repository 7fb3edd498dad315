"""Watching: a database is synced when a program has written to it, every so often, and as soon as
the server can be reached again.
"""

import math
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from .changes import LocalChanges, ticks
from .coordinator import SyncCoordinator
from .engine import Synced
from .lock import SyncLock
from .progress import Cancellation, Cancelled
from .protocol.errors import (
    Forbidden,
    ForbiddenModifier,
    InvalidSetting,
    NetworkUnavailable,
    NoSuchFile,
    NotADatabase,
    NotInitialized,
    ProtocolMismatch,
    ReseedRequired,
    SyncError,
    Unauthorized,
    WrongTenant,
)

INTERVAL = 30.0
"""Seconds between two syncs where nothing is written here."""

DELAY = 0.5
"""Seconds without a write, after which what was written is synced."""

_BURST = 20  # a program that writes without pause is synced after so many times the delay
_FIRST_PAUSE = 1.0  # seconds, after a sync that failed; up to twice as long each time
_LONGEST_PAUSE = 60.0
_EAGER_PAUSE = 5.0  # the least after a sync that failed, though a program has written

_FATAL = (
    Forbidden,
    InvalidSetting,
    NoSuchFile,
    NotADatabase,
    NotInitialized,
    ProtocolMismatch,
    ReseedRequired,
    Unauthorized,
    WrongTenant,
)
"""What no change of rows mends: somebody has to do something, and to start anew."""

What = Literal["started", "synced", "offline", "failing", "failed", "stopped"]


_OUTLOOKS = {
    "offline": "edits wait, and it goes on as soon as there is one",
    "failing": "it is tried again",
    "failed": "it is tried again when a program writes, and once in a while",
}


@dataclass(frozen=True)
class Event:
    """What a watch tells. `failing` may pass by itself; `failed` takes a change of rows."""

    event: What
    database: str
    at_utc: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
    pushed_rows: int = 0
    pulled_rows: int = 0
    kept_rows: int = 0
    warnings: tuple[str, ...] = ()
    code: str | None = None
    message: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"warnings": list(self.warnings)}

    def lines(self) -> list[str]:
        """The same for people."""
        if self.event == "synced":
            told = f"{_rows(self.pushed_rows)} pushed, {_rows(self.pulled_rows)} pulled"
            return [told, *(f"warning: {text}" for text in self.warnings)]
        if self.event == "started":
            return ["watching"]
        if self.message is None:
            return [self.event]
        outlook = _OUTLOOKS[self.event]
        return [f"{self.message} [{self.code}]; {outlook}"]

    @property
    def is_trouble(self) -> bool:
        """Whether a person should look at it."""
        return self.message is not None


class Schedule:
    """When the next sync is due. All times are seconds of one clock; a new one is due at once."""

    def __init__(self, interval: float, delay: float) -> None:
        self._interval, self._delay = interval, delay
        self._regular = -math.inf
        self._earliest = -math.inf
        self._failures = 0
        self._burst: tuple[float, float] | None = None  # the first write and the last

    @property
    def due(self) -> float:
        """When to sync."""
        if self._burst is None:
            return self._regular
        first, last = self._burst
        settled = min(last + self._delay, first + _BURST * self._delay)
        return min(self._regular, max(settled, self._earliest))

    def written(self, now: float) -> None:
        """A program has written."""
        self._burst = (self._burst[0] if self._burst else now), now

    def synced(self, now: float) -> None:
        """A sync is done. Devices that were started together do not stay together."""
        self._begin(now, self._interval * _between(0.9, 1.1), 0.0)
        self._failures = 0

    def failing(self, now: float, retry_after: float) -> None:
        """A sync came to nothing, and the next may succeed; the server wants it so much later."""
        self._failures += 1
        most = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 10))
        pause = _between(most / 2, most)
        self._begin(now, retry_after + pause, retry_after + min(pause, _EAGER_PAUSE))

    def failed(self, now: float) -> None:
        """A sync failed on what is in the database, here or there: others may change it too."""
        self._begin(now, max(self._interval, _LONGEST_PAUSE) * _between(0.9, 1.1), 0.0)

    def _begin(self, now: float, pause: float, eager_pause: float) -> None:
        self._regular, self._earliest = now + pause, now + eager_pause
        self._burst = None


class Watch:
    """Keeps one database in step until asked to stop. `options` are those of SyncEngine.

    Raises, from `run`:
        Cancelled: asked to stop.
        DatabaseLocked: another process syncs the file; or a program held its lock at the start.
        SyncError: what no change of rows mends, as a token that the server does not know.
    """

    def __init__(
        self,
        database: Path,
        *,
        interval: float = INTERVAL,
        delay: float = DELAY,
        tell: Callable[[Event], None],
        cancellation: Cancellation,
        **options: Any,
    ) -> None:
        self._database = database
        self._tell_event = tell
        self._cancellation = cancellation
        self._schedule = Schedule(interval, delay)
        self._trouble: tuple[What, str] | None = None
        self._warnings: tuple[str, ...] = ()
        self._is_first = True
        self._coordinator = SyncCoordinator(
            database, deadline=0.0, cancellation=cancellation, is_locked=True, **options
        )

    def run(self) -> None:
        """Sync, and go on until asked to stop."""
        with (
            LocalChanges(self._database) as changes,
            SyncLock(self._database, "syncsession-client watch"),
            closing(ticks(self._database.absolute().parent, self._cancellation)) as ticking,
        ):
            self._tell("started")
            try:
                while True:
                    if changes.look():
                        self._schedule.written(monotonic())
                    if monotonic() >= self._schedule.due:
                        is_synced = self._sync()
                        if changes.settle(is_synced=is_synced):
                            self._schedule.written(monotonic())
                    next(ticking)
            except Cancelled:
                self._tell("stopped")
                raise

    def _sync(self) -> bool:
        """Sync once, tell of it, and say when to do it again; whether it was done."""
        try:
            synced = self._coordinator.sync()
        except SyncError as error:
            if isinstance(error, _FATAL) and not isinstance(error, ForbiddenModifier):
                raise
            self._fail(error)
            return False
        if synced.is_offline:
            self._schedule.failing(monotonic(), 0.0)
            self._tell_trouble("offline", NetworkUnavailable("no connection to the server"))
            return False
        self._schedule.synced(monotonic())
        self._tell_synced(synced)
        return True

    def _fail(self, error: SyncError) -> None:
        if error.retryable:
            self._schedule.failing(monotonic(), getattr(error, "retry_after", None) or 0.0)
        else:
            self._schedule.failed(monotonic())
        self._tell_trouble("failing" if error.retryable else "failed", error)

    def _tell_trouble(self, what: What, error: SyncError) -> None:
        """Tell of what is the matter, once until it is another."""
        if self._trouble != (what, error.code):
            self._trouble = what, error.code
            self._tell(what, code=error.code, message=str(error))

    def _tell_synced(self, synced: Synced) -> None:
        """Tell of a sync that moved something, of the first, and of one that ends a trouble."""
        is_news = self._is_first or self._trouble is not None or synced.warnings != self._warnings
        if is_news or synced.pushed.rows or synced.pulled.rows or synced.pulled.kept_rows:
            new = tuple(w for w in synced.warnings if w not in self._warnings)
            self._tell(
                "synced",
                pushed_rows=synced.pushed.rows,
                pulled_rows=synced.pulled.rows,
                kept_rows=synced.pulled.kept_rows,
                warnings=new,
            )
        self._is_first, self._trouble, self._warnings = False, None, synced.warnings

    def _tell(self, what: What, **told: Any) -> None:
        self._tell_event(Event(what, str(self._database), **told))


def _rows(number: int) -> str:
    return f"{number} row" if number == 1 else f"{number} rows"


def _between(least: float, most: float) -> float:
    return random.uniform(least, most)  # noqa: S311  # it spreads devices, and keeps no secret
