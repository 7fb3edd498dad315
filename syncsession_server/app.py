"""The aiohttp application: what it holds and what it answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from syncsession_client.protocol.errors import InvalidSetting

from .databases import MysqlUrl
from .handlers import pull, push, system, tables
from .health import SessionCounts
from .jobs import Committer
from .keys import COMMITTER, METRICS, SESSION_COUNTS, SETTINGS, STORE
from .metrics import Metrics
from .middleware import MIDDLEWARES
from .settings import Settings
from .stores.sqlite import SqliteStore
from .tenants import now

ROUTES = [
    web.get("/health", system.health),
    web.get("/ready", system.ready),
    web.get("/metrics", system.metrics),
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


def create_app(settings: Settings, *, metrics_directory: Path | None = None) -> web.Application:
    """Build the application. Nothing is opened until it starts.

    `metrics_directory` is where worker processes of one server keep the numbers of each.
    """
    app = web.Application(middlewares=MIDDLEWARES, client_max_size=settings.max_body_bytes)
    app[SETTINGS] = settings
    app[METRICS] = Metrics(metrics_directory)
    app.cleanup_ctx.extend([_store, _committer])
    app.add_routes(ROUTES)
    return app


def open_store(settings: Settings) -> SqliteStore:
    """The store that the settings name. Open it by `async with`.

    Raises:
        InvalidSetting: the database is of a kind that there is no store for.
    """
    url = settings.database_url()
    if isinstance(url, MysqlUrl):
        raise InvalidSetting(f"{url.label} cannot hold the rows yet: use --database sqlite:///path")
    return SqliteStore(Path(url.path))


async def _store(app: web.Application) -> AsyncIterator[None]:
    """Hold the store from start-up until the last request is done."""
    async with open_store(app[SETTINGS]) as store:
        app[STORE] = store
        app[SESSION_COUNTS] = SessionCounts(store)
        yield


async def _committer(app: web.Application) -> AsyncIterator[None]:
    """Hold the committing job; what an earlier process left half-done is queued again."""
    if app[SETTINGS].maintenance:
        yield  # the database is left alone
        return
    store = app[STORE]
    async with store.write() as tx:
        await tx.run(store.sql.sessions.requeue, {"now": now()})
    committer = Committer(store, app[SETTINGS].queue_poll_interval_seconds, app[METRICS])
    app[COMMITTER] = committer
    task = asyncio.create_task(committer.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
