"""What the database tells about the server: whether it can work, and what waits there."""

import asyncio
import time

from syncsession_client.protocol.errors import SyncError

from .settings import Settings
from .stores import Store

_LIVE = ("open", "staged", "queued", "processing")
_ENDED = ("committed", "failed", "expired")
_ANSWER_SECONDS = 3.0
_ENDED_LAST_SECONDS = 60.0


async def ready_faults(store: Store, settings: Settings) -> list[str]:
    """Why the server cannot serve devices now; empty where it can."""
    faults = ["maintenance is on"] if settings.maintenance else []
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            if not await store.is_current():
                faults.append("the schema is not the one of this version: migrate the database")
    except TimeoutError:
        faults.append(f"the database has not answered in {_ANSWER_SECONDS:g} seconds")
    except SyncError as error:
        faults.append(f"the database cannot be had: {error}")
    return faults


class SessionCounts:
    """How many sessions are in each state: live ones as they are, the others counted now and then,
    since those may be many.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended: dict[str, int] = {}
        self._ended_until = 0.0
        self._counting = asyncio.Lock()

    async def read(self) -> dict[str, int] | None:
        """The counts by state; None where the database does not answer. Those that have ended are
        left out where they could not be counted yet.
        """
        live = await self._count(self._store.sql.sessions.count_live, _LIVE)
        if live is None:
            return None
        async with self._counting:
            if time.monotonic() >= self._ended_until:
                ended = await self._count(self._store.sql.sessions.count_ended, _ENDED)
                self._ended = ended or self._ended
                self._ended_until = time.monotonic() + _ENDED_LAST_SECONDS
        return live | self._ended

    async def _count(self, sql: str, states: tuple[str, ...]) -> dict[str, int] | None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                row = await self._store.first(sql, {})
        except (TimeoutError, SyncError):
            return None
        return dict(zip(states, row or (), strict=True))
