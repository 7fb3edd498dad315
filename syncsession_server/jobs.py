"""What the server does without being asked: commit what is queued, clean up what is over."""

import asyncio
import logging
import math
import secrets
import time
from contextlib import suppress

from syncsession_client.protocol.errors import TryLater

from . import cleanup
from .commit import Worker, commit_session
from .logs import about
from .metrics import Metrics
from .stores import Store
from .tenants import ago, now

_LONGEST_PAUSE = 1.0  # after the database could not be had
_GIVE_BACK_SECONDS = 3.0
_LAST_ANSWERS_SECONDS = 2.0

logger = logging.getLogger(__name__)


def new_server_id() -> str:
    """What tells one server from others that share its database."""
    return secrets.token_hex(12)


def worker_id(server_id: str, pid: int) -> str:
    """What tells a process of a server from all others."""
    return f"{server_id}:{pid}"


async def requeue_abandoned(store: Store, cutoff: str) -> None:
    """Queue again what processes were committing that have given no sign of life since `cutoff`."""
    sql, since = store.sql.sessions, {"cutoff": cutoff}
    while (found := await store.first(sql.abandoned, since)) is not None:
        tenant_id, session_id = found
        ours = {"tenant_id": tenant_id, "session_id": session_id}
        await store.run(sql.requeue_abandoned, ours | since)


class Committer:
    """Commits queued sessions, oldest first, as many at once as the database can use.

    It starts at once when woken; the poll only catches what another process left in the queue.
    """

    def __init__(
        self, store: Store, metrics: Metrics, *, worker: Worker, poll_seconds: float
    ) -> None:
        self._store, self._metrics = store, metrics
        self._worker, self._poll_seconds = worker, poll_seconds
        self._lanes = [asyncio.Event() for _ in range(store.commits_at_once)]
        self._idle: set[asyncio.Event] = set()
        self._ended = asyncio.Condition()
        self._at_work: list[tuple[str, str]] = []
        self._left: set[tuple[str, str]] = set()  # sessions that may still be claimed by us
        self._take_over_at = 0.0
        self.waited_until = math.inf

    def wake(self) -> None:
        """Say that a session has been queued; one idle lane is enough for it."""
        if self._idle:
            self._idle.pop().set()

    async def wait_for_end(self, seconds: float) -> None:
        """Return when some session has ended, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._ended:
                await self._ended.wait()

    async def stop_waiting(self) -> None:
        """Let those who wait for a session's end go soon: the server is about to stop."""
        self.waited_until = time.monotonic() + _LAST_ANSWERS_SECONDS
        async with self._ended:
            self._ended.notify_all()

    async def run(self) -> None:
        """Commit until cancelled; a database that cannot be reached is tried again."""
        try:
            async with asyncio.TaskGroup() as lanes:
                for woken in self._lanes:
                    lanes.create_task(self._run_lane(woken))
        finally:
            # Where that fails others take the sessions over, when the claims have timed out.
            with suppress(TimeoutError, TryLater):
                async with asyncio.timeout(_GIVE_BACK_SECONDS):
                    await self._give_back()

    async def _run_lane(self, woken: asyncio.Event) -> None:
        while True:
            pause = self._poll_seconds
            try:
                await self._drain(woken)
            except TryLater as error:
                logger.warning("committing waits for the database: %s", error)
                pause = min(pause, _LONGEST_PAUSE)
            except Exception:
                logger.exception("the queue cannot be read; trying again")
            await self._rest(woken, pause)

    async def _rest(self, woken: asyncio.Event, seconds: float) -> None:
        """Until woken, or until it is time to look again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await woken.wait()

    async def _take_over(self) -> None:
        """Queue again what others have abandoned; now and then, however full the queue is."""
        if time.monotonic() < self._take_over_at:
            return
        self._take_over_at = time.monotonic() + self._poll_seconds
        await requeue_abandoned(self._store, ago(self._worker.claim_timeout))

    async def _give_back(self) -> None:
        """Queue again what could not be committed, and what may have been claimed unheard."""
        for tenant_id, session_id in list(self._left):
            if (tenant_id, session_id) in self._at_work:
                continue  # in another lane
            ours = {"tenant_id": tenant_id, "session_id": session_id, "worker_id": self._worker.id}
            await self._store.run(self._store.sql.sessions.requeue, ours | {"now": now()})
            self._left.discard((tenant_id, session_id))

    async def _drain(self, woken: asyncio.Event) -> None:
        """Commit until nothing is queued; from the last look on, the lane can be woken."""
        while True:
            await self._give_back()
            await self._take_over()
            woken.clear()
            self._idle.add(woken)
            queued = await self._store.first(self._store.sql.sessions.oldest_queued, {})
            if queued is None:
                return
            self._idle.discard(woken)
            if woken.is_set():
                self.wake()  # for another session than the one that was found anyway
            tenant_id, session_id = queued
            with about(tenant_id=tenant_id, session_id=session_id):
                await self._commit(tenant_id, session_id)
            async with self._ended:
                self._ended.notify_all()
            await self._store.tidy()

    async def _commit(self, tenant_id: str, session_id: str) -> None:
        started = time.monotonic()
        if not await self._try(tenant_id, session_id):
            return
        ours = {"tenant_id": tenant_id, "session_id": session_id}
        outcome = await self._store.first(self._store.sql.sessions.outcome, ours)
        if outcome is None:
            return
        status, rows = outcome
        self._metrics.session_ended(status, time.monotonic() - started)
        if status == "committed":
            self._metrics.rows_pushed(rows)

    async def _try(self, tenant_id: str, session_id: str) -> bool:
        """Commit; what may be claimed all the same is given back before the next look.

        That is so after a failure, and where the answer to the claim was lost: asked again, the
        database says that the session is not to be had.
        """
        session, has_ended = (tenant_id, session_id), False
        self._at_work.append(session)
        try:
            has_ended = await commit_session(self._store, self._worker, *session)
            return has_ended
        finally:
            self._at_work.remove(session)
            if not has_ended:
                self._left.add(session)


class Janitor:
    """Cleans up on an interval. What goes wrong is logged, and tried again the next time."""

    def __init__(self, store: Store, keeping: cleanup.Keeping, interval_seconds: float) -> None:
        self._store, self._keeping = store, keeping
        self._interval_seconds = interval_seconds

    async def run(self) -> None:
        """Clean up until cancelled."""
        while True:
            for step in cleanup.STEPS:
                try:
                    await step(self._store, self._keeping)
                except TryLater as error:
                    logger.warning("cleaning up waits for the database: %s", error)
                except Exception:
                    logger.exception("%s failed; trying again", step.__name__)
            await asyncio.sleep(self._interval_seconds)
