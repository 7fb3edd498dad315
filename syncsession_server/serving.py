"""Serving until told to stop: in this process, or by several workers that share its sockets."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from aiohttp import web

from syncsession_client.protocol.errors import InvalidSetting

from . import logs, metrics
from .app import create_app, open_store
from .jobs import new_server_id, worker_id
from .settings import Settings
from .workers import Workers, told_to_stop

_LAST_REQUESTS_SECONDS = 30.0


def serve(settings: Settings, say_ready: Callable[[str], None]) -> None:
    """Serve until told to stop; `say_ready` gets the URL when devices are answered.

    Raises:
        InvalidSetting: it cannot listen there.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(s) for s in _bound(settings.host, settings.port)]
        url = _url(settings.host, sockets[0].getsockname()[1])
        if settings.workers == 1:
            asyncio.run(_serve(lambda: say_ready(url), sockets, settings))
            return
        directory, server_id = stack.enter_context(metrics.shared_directory()), new_server_id()
        workers = Workers(
            _work,
            (sockets, settings, server_id, directory),
            settings.workers,
            on_ready=lambda: say_ready(url),
            on_death=lambda pid: _give_back(settings, worker_id(server_id, pid)),
        )
        asyncio.run(workers.run())


async def _give_back(settings: Settings, dead: str) -> None:
    """Queue again what a dead worker was committing, sooner than the others would notice."""
    async with open_store(settings) as store:
        await store.run(store.sql.sessions.requeue_worker, {"worker_id": dead})


def _work(
    ready: Callable[[], None],
    sockets: list[socket.socket],
    settings: Settings,
    server_id: str,
    directory: Path,
) -> None:
    """What a worker does."""
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(_serve(ready, sockets, settings, server_id, directory))


async def _serve(
    ready: Callable[[], None],
    sockets: list[socket.socket],
    settings: Settings,
    server_id: str | None = None,
    metrics_directory: Path | None = None,
) -> None:
    stop = told_to_stop()
    # Bodies are unpacked by our own code, which knows the limit.
    runner = web.AppRunner(
        create_app(settings, server_id=server_id, metrics_directory=metrics_directory),
        auto_decompress=False,
        access_log=None,
        shutdown_timeout=_LAST_REQUESTS_SECONDS,
    )
    await runner.setup()
    try:
        for each in sockets:
            await web.SockSite(runner, each).start()
        ready()
        await stop.wait()
    finally:
        await runner.cleanup()


def _bound(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of the host, bound and not listening yet."""
    made: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            made.append(socket.socket(family, kind, protocol))
            made[-1].setblocking(False)
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made[-1].bind(address)
    except OSError as error:
        for each in made:
            each.close()
        raise InvalidSetting(
            f"cannot listen on {host}:{port}: {error.strerror}; "
            "choose another with --host or --port"
        ) from error
    return made


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
