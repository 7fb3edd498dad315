"""What the database tells about the server: whether it can work, and what waits there."""

import asyncio
import time

from syncsession_client.protocol.errors import SyncError

from .sessions import STATES
from .settings import Settings
from .stores import Store

_ANSWER_SECONDS = 3.0
_COUNTS_LAST_SECONDS = 5.0


async def ready_faults(store: Store, settings: Settings) -> list[str]:
    """Why the server cannot serve devices now; empty where it can."""
    faults = ["maintenance is on"] if settings.maintenance else []
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await store.first(store.sql.connection.read_version, {})
    except TimeoutError:
        faults.append(f"the database has not answered in {_ANSWER_SECONDS:g} seconds")
    except SyncError as error:
        faults.append(f"the database cannot be had: {error}")
    return faults


class SessionCounts:
    """How many sessions are in each state. All are counted, so the result is kept for a moment."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[str, int] = {}
        self._until = 0.0
        self._counting = asyncio.Lock()

    async def read(self) -> dict[str, int] | None:
        """The counts, a few seconds old at most; None where the database does not answer."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS), self._counting:
                if time.monotonic() >= self._until:
                    await self._count()
        except (TimeoutError, SyncError):
            return None
        return self._counts

    async def _count(self) -> None:
        row = await self._store.first(self._store.sql.sessions.count_by_status, {})
        self._counts = dict(zip(STATES, row or (), strict=True))
        self._until = time.monotonic() + _COUNTS_LAST_SECONDS
