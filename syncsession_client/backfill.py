"""Marking the rows dirty that are there when sync is set up, while other programs go on writing.

A large table takes seconds, so the lock is let go now and then. Capture is installed before, and
has what is written meanwhile. Until all rows are marked, the state names no version of the schema:
if this is interrupted, the next command looks at the schema first, and finds what is missing.
"""

from time import monotonic, sleep

from .capture import remember_schema
from .fold import fold, fold_unlogged
from .store import DeviceStore

PART_ROWS = 10_000
"""Rows that are marked at a time."""

LOCK_SECONDS = 0.4
"""After how long the lock is let go: programs commonly wait for a few seconds at most."""

_REST_SECONDS = 0.12
"""For how long: a program that waits for the lock tries to get it every 100 ms.
https://sqlite.org/c3ref/busy_timeout.html"""


class Backfill:
    """The rows of all synced tables that are still to be marked. Made in the transaction that
    installs capture.
    """

    def __init__(self, store: DeviceStore, part_rows: int) -> None:
        self._store, self._part_rows = store, part_rows
        self._tables = store.tables()
        self._waiting = list(self._tables)
        self._is_begun = False  # with the first that waits
        self._schema_version = store.schema_version()

    def mark_some(self) -> None:
        """Mark rows for a while, parents before children. The caller holds the lock."""
        if self._store.schema_version() != self._schema_version:
            self._waiting = []  # the next command looks at that first, and then for all rows
            return
        start = monotonic()
        fold(self._store, self._tables)
        self._mark_part()
        while self._waiting and monotonic() - start < LOCK_SECONDS:
            self._mark_part()
        if not self._waiting:
            remember_schema(self._store)

    def mark_rest(self) -> None:
        """Mark all others."""
        while self._waiting:
            sleep(_REST_SECONDS)
            with self._store.write():
                self.mark_some()

    def _mark_part(self) -> None:
        left = self._part_rows
        while self._waiting and left > 0:
            found = fold_unlogged(
                self._store, self._waiting[0], self._tables, left, is_begun=self._is_begun
            )
            self._is_begun = found == left
            if not self._is_begun:
                del self._waiting[0]
            left -= found
            fold(self._store, self._tables)
