"""The job that commits queued sessions, held by the application from start to stop."""

import asyncio
import logging
import time
from contextlib import suppress

from syncsession_client.protocol.errors import TryLater

from .commit import commit_session
from .logs import about
from .metrics import Metrics
from .stores import Store

logger = logging.getLogger(__name__)


class Committer:
    """Commits queued sessions one after another, oldest first.

    It starts at once when woken; the poll only catches what another process left in the queue.
    """

    def __init__(self, store: Store, poll_seconds: float, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._ended = asyncio.Condition()

    def wake(self) -> None:
        """Say that a session has been queued."""
        self._wake.set()

    async def wait_for_end(self, seconds: float) -> None:
        """Return when some session has ended, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._ended:
                await self._ended.wait()

    async def run(self) -> None:
        """Commit until cancelled; a database that cannot be reached is tried again."""
        while True:
            try:
                await self._drain()
            except TryLater as error:
                logger.warning("committing waits for the database: %s", error)
            except Exception:
                logger.exception("the queue cannot be read; trying again")
            await self._pause()

    async def _drain(self) -> None:
        while True:
            self._wake.clear()
            async with self._store.read() as tx:
                queued = await tx.first(self._store.sql.sessions.oldest_queued, {})
            if queued is None:
                return
            tenant_id, session_id = queued
            with about(tenant_id=tenant_id, session_id=session_id):
                await self._commit(tenant_id, session_id)
            async with self._ended:
                self._ended.notify_all()
            await self._store.tidy()

    async def _commit(self, tenant_id: str, session_id: str) -> None:
        started = time.monotonic()
        if not await commit_session(self._store, tenant_id, session_id):
            return
        ours = {"tenant_id": tenant_id, "session_id": session_id}
        outcome = await self._store.first(self._store.sql.sessions.outcome, ours)
        if outcome is None:
            return
        status, rows = outcome
        self._metrics.session_ended(status, time.monotonic() - started)
        if status == "committed":
            self._metrics.rows_pushed(rows)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                await self._wake.wait()
