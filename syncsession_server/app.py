"""The aiohttp application: what it holds and what it answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from .handlers import pull, push, system, tables
from .jobs import Committer
from .keys import COMMITTER, SETTINGS, STORE
from .middleware import MIDDLEWARES
from .settings import Settings
from .stores.sqlite import SqliteStore
from .tenants import now

ROUTES = [
    web.get("/health", system.health),
    web.get("/v1/me", system.me),
    web.get("/v1/tables", tables.show),
    web.put("/v1/tables", tables.register),
    web.put("/v1/push/{session_id}", push.begin),
    web.get("/v1/push/{session_id}", push.status),
    web.put("/v1/push/{session_id}/batches/{number}", push.receive),
    web.post("/v1/push/{session_id}/commit", push.commit),
    web.put("/v1/pull/{pull_id}", pull.begin),
    web.get("/v1/pull/{pull_id}/batches/{number}", pull.batch),
    web.delete("/v1/pull/{pull_id}", pull.complete),
]


def create_app(settings: Settings) -> web.Application:
    """Build the application. Nothing is opened until it starts."""
    app = web.Application(middlewares=MIDDLEWARES, client_max_size=settings.max_body_bytes)
    app[SETTINGS] = settings
    app.cleanup_ctx.extend([_store, _committer])
    app.add_routes(ROUTES)
    return app


async def _store(app: web.Application) -> AsyncIterator[None]:
    """Hold the store from start-up until the last request is done."""
    async with SqliteStore(app[SETTINGS].database_path()) as store:
        app[STORE] = store
        yield


async def _committer(app: web.Application) -> AsyncIterator[None]:
    """Hold the committing job; what an earlier process left half-done is queued again."""
    store = app[STORE]
    async with store.write() as tx:
        await tx.run(store.sql.sessions.requeue, {"now": now()})
    committer = Committer(store, app[SETTINGS].queue_poll_interval_seconds)
    app[COMMITTER] = committer
    task = asyncio.create_task(committer.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
