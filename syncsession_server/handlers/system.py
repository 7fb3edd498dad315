"""Is the server there, can it work, what has it done, and who am I to it."""

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from ..health import ready_faults
from ..keys import CALLER, METRICS, SESSION_COUNTS, SETTINGS, STORE


async def health(_: web.Request) -> web.Response:
    """The process is up."""
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """The server can serve devices; 503 with the reasons where it cannot."""
    faults = await ready_faults(request.app[STORE], request.app[SETTINGS])
    return web.json_response(
        {"status": "not_ready" if faults else "ready", "faults": faults},
        status=503 if faults else 200,
    )


async def metrics(request: web.Request) -> web.Response:
    """The numbers of the server, in the text format of Prometheus."""
    sessions = await request.app[SESSION_COUNTS].read()
    text = await asyncio.to_thread(request.app[METRICS].text, sessions)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def me(request: web.Request) -> web.Response:
    """The tenant and user that the token names."""
    caller = request[CALLER]
    return web.json_response(
        {
            "tenant_id": caller.tenant_id,
            "user_id": caller.user_id,
            "scopes": sorted(caller.scopes),
        }
    )
