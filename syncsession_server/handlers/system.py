"""Is the server there, and who am I to it."""

from aiohttp import web

from ..keys import CALLER


async def health(_: web.Request) -> web.Response:
    """The process is up."""
    return web.json_response({"status": "ok"})


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
