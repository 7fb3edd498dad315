"""SyncCoordinator: a sync that skips when offline, and tries again what may pass by itself."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import tenacity

from .engine import Synced, SyncEngine
from .progress import Cancellation, Cancelled, Phase, Progress, Report, silent
from .protocol.errors import NetworkUnavailable, SyncError, TryLater

DEADLINE = 60.0
"""Seconds without a row more got through, after which the coordinator gives up."""

_FIRST_PAUSE = 0.5  # seconds; up to so long before the second attempt, then twice as long each time
_LONGEST_PAUSE = 15.0

_ORDER: tuple[Phase, ...] = (
    "connecting",
    "push_begin",
    "push_table",
    "push_waiting",
    "push_complete",
    "pull_begin",
    "pull_table",
    "pull_complete",
    "complete",
)

_Act = Callable[[SyncEngine], Synced]


class SyncCoordinator:
    """Syncs one database with its server; holds nothing open between two calls.

    Each call is tried again while what is the matter may pass by itself (`TryLater`): after a pause
    of random length that grows, and not before the moment that the server names in `Retry-After`.
    It is given up where `deadline` seconds have brought no row further, or the next pause would end
    after that. What is not retryable is raised at once.

    `options` are those of SyncEngine.

    Example:
        coordinator = SyncCoordinator(Path("app.db"), token=token)
        if coordinator.sync().is_offline:
            print("offline: the edits wait")

    Raises, from every method:
        TryLater: it did not pass before the deadline.
        Cancelled: asked to stop, also while it waits.
        SyncError: anything else that is the matter; see docs/reference/errors.md.
    """

    def __init__(
        self,
        database: Path,
        *,
        token: str,
        server: str | None = None,
        deadline: float = DEADLINE,
        report: Report = silent,
        cancellation: Cancellation | None = None,
        **options: Any,
    ) -> None:
        if not deadline >= 0:
            raise ValueError(f"deadline is {deadline}: use 0 or more")
        self._database = database
        self._deadline = deadline
        self._report = report
        self._cancellation = cancellation or Cancellation()
        self._options = options | {"token": token, "server": server}

    def sync(self, *, require_network: bool = True) -> Synced:
        """Push what is dirty, then pull what other devices committed.

        Where there is no network, the result says so (`is_offline`) and nothing is raised: edits
        wait, and the log is folded, so that it does not grow. With `require_network=False` it waits
        for the network as for anything else that may pass.

        Raises:
            NetworkUnavailable: with `require_network=False`, there was none before the deadline.
        """
        if not require_network:
            return self._try(SyncEngine.synchronize, waits_for_network=True)
        try:
            return self._try(SyncEngine.synchronize)
        except NetworkUnavailable:
            with suppress(TryLater), self._engine(self._report) as engine:
                engine.fold()  # the next sync does, where this cannot now
            return Synced(is_offline=True)

    def push(self) -> Synced:
        """Push what is dirty.

        Raises:
            NetworkUnavailable: there is no network.
        """
        return self._try(SyncEngine.push)

    def pull(self) -> Synced:
        """Pull what other devices committed.

        Raises:
            NetworkUnavailable: there is no network.
        """
        return self._try(SyncEngine.pull)

    def _try(self, act: _Act, *, waits_for_network: bool = False) -> Synced:
        advance = _Advance(self._report)

        def attempt() -> Synced:
            with self._engine(advance) as engine:
                return act(engine)

        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: _may_pass(error, waits_for_network=waits_for_network)
            ),
            wait=pause_after,
            stop=lambda state: advance.seconds_since() + state.upcoming_sleep > self._deadline,
            sleep=self._wait,
            reraise=True,
        )
        return attempts(attempt)

    def _engine(self, report: Report) -> SyncEngine:
        return SyncEngine(
            self._database, report=report, cancellation=self._cancellation, **self._options
        )

    def _wait(self, seconds: float) -> None:
        try:
            self._cancellation.wait(seconds)
        except Cancelled:
            self._report(Progress("cancelled"))
            raise


class _Advance:
    """Passes reports on, and knows when one last told of more than any before."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._furthest = (0, 0)
        self._at = monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.phase in _ORDER:
            reached = _ORDER.index(progress.phase), progress.done_rows
            if reached > self._furthest:
                self._furthest, self._at = reached, monotonic()
        self._report(progress)

    def seconds_since(self) -> float:
        """Seconds since then, or since the start."""
        return monotonic() - self._at


_growing = tenacity.wait_random_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE)


def pause_after(state: tenacity.RetryCallState) -> float:
    """Seconds until the next attempt; never before the server wants to be asked again.

    The random part is added to what the server names, or all its devices would come back at once.
    """
    error = state.outcome.exception() if state.outcome else None
    return _growing(state) + (getattr(error, "retry_after", None) or 0.0)


def _may_pass(error: BaseException, *, waits_for_network: bool) -> bool:
    """Whether the same attempt may succeed later, and is to be made."""
    if isinstance(error, NetworkUnavailable):
        return waits_for_network
    return isinstance(error, SyncError) and error.retryable
