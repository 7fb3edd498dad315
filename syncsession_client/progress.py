"""Progress and cancellation, as an application sees them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal[
    "connecting",
    "push_begin",
    "push_table",
    "push_waiting",
    "push_complete",
    "pull_begin",
    "pull_table",
    "pull_complete",
    "complete",
    "cancelled",
]


@dataclass(frozen=True)
class Progress:
    """Where a sync stands: `done_rows` of `total_rows` in this phase, and in which table."""

    phase: Phase
    table: str | None = None
    done_rows: int = 0
    total_rows: int = 0


Report = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Report to nobody."""


class Cancelled(Exception):  # it is what happened, not a fault
    """The caller asked to stop; what was done is kept and the next sync goes on from there."""


class Cancellation:
    """A token that any thread can set; a sync looks at it between batches, and while it waits."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the sync to stop within one batch."""
        self._event.set()

    def check(self) -> None:
        """Stop here if asked to.

        Raises:
            Cancelled: `cancel` was called.
        """
        if self.is_set():
            raise Cancelled

    def is_set(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until asked to stop.

        Raises:
            Cancelled: `cancel` was called.
        """
        self._event.wait(seconds)
        self.check()


NEVER = Cancellation()
"""For whoever cannot be asked to stop: nobody sets it."""
