"""The aiohttp application: what it holds and what it answers."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from syncsession_client.protocol.errors import OutOfDate

from .cleanup import Keeping
from .commit import Worker
from .databases import MysqlUrl
from .handlers import pull, push, system, tables
from .health import SessionCounts
from .jobs import Committer, Janitor, new_server_id, requeue_abandoned, worker_id
from .keys import COMMITTER, METRICS, SERVER_ID, SESSION_COUNTS, SETTINGS, STORE
from .metrics import Metrics
from .middleware import MIDDLEWARES
from .settings import Settings
from .stores.mysql import MysqlStore
from .stores.sqlite import SqliteStore

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

_EVER = "9999"  # later than every time


def create_app(
    settings: Settings, *, server_id: str | None = None, metrics_directory: Path | None = None
) -> web.Application:
    """Build the application. Nothing is opened until it starts.

    Worker processes of one server have a `server_id` in common, and `metrics_directory`, where they
    keep the numbers of each.
    """
    app = web.Application(middlewares=MIDDLEWARES, client_max_size=settings.max_body_bytes)
    app[SETTINGS] = settings
    app[SERVER_ID] = server_id or new_server_id()
    app[METRICS] = Metrics(metrics_directory)
    app.cleanup_ctx.extend([_store, _jobs])
    app.on_shutdown.append(_stop_waiting)
    app.add_routes(ROUTES)
    return app


def open_store(settings: Settings) -> SqliteStore | MysqlStore:
    """The store that the settings name. Open it by `async with`."""
    url = settings.database_url()
    if isinstance(url, MysqlUrl):
        return MysqlStore(
            url,
            connections=settings.database_connections,
            shared_rows=settings.push_shared_table_threshold,
            silence_seconds=settings.claim_timeout_seconds / 2,
        )
    return SqliteStore(Path(url.path))


@asynccontextmanager
async def current_store(settings: Settings) -> AsyncIterator[SqliteStore | MysqlStore]:
    """The store that the settings name, open, with the schema of this version.

    Raises:
        OutOfDate: it has another one, and the settings do not say to migrate it.
    """
    async with open_store(settings) as store:
        is_new = await store.is_new()
        if settings.migrate or (is_new and not store.is_shared):
            await store.migrate()
        if not await store.is_current():
            found = "none of the server's tables" if is_new else "the tables of an older version"
            raise OutOfDate(
                f"{settings.database_url().label} has {found}: run syncsession-server migrate with "
                "the same --database first, or syncsession-server run --migrate"
            )
        yield store


async def _store(app: web.Application) -> AsyncIterator[None]:
    """Hold the store from start-up until the last request is done."""
    async with current_store(app[SETTINGS]) as store:
        app[STORE] = store
        app[SESSION_COUNTS] = SessionCounts(store)
        yield


async def _stop_waiting(app: web.Application) -> None:
    """Let go of requests that only wait, before the last ones are waited for."""
    if STORE in app:
        app[STORE].hurry()
    if COMMITTER in app:
        await app[COMMITTER].stop_waiting()


async def _jobs(app: web.Application) -> AsyncIterator[None]:
    """Hold the jobs: they are cancelled, and waited for, before the store is closed."""
    store, settings = app[STORE], app[SETTINGS]
    if settings.maintenance:
        yield  # the database is left alone
        return
    if not store.is_shared:  # whatever is claimed was so by this server, before it was killed
        await requeue_abandoned(store, _EVER)
    committer = Committer(
        store,
        app[METRICS],
        worker=Worker(worker_id(app[SERVER_ID], os.getpid()), settings.claim_timeout_seconds),
        poll_seconds=settings.queue_poll_interval_seconds,
    )
    keeping = Keeping(
        settings.session_activity_timeout_minutes * 60,
        settings.session_retention_days,
        settings.history_days,
    )
    janitor = Janitor(store, keeping, settings.cleanup_interval_seconds)
    app[COMMITTER] = committer
    tasks = [asyncio.create_task(job.run()) for job in (committer, janitor)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
