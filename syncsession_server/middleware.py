"""What happens around every request: errors in one shape, the protocol's version, the caller."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from syncsession_client import protocol
from syncsession_client.protocol.errors import (
    ProtocolMismatch,
    ServerBusy,
    SyncError,
    TooLarge,
    UnknownRoute,
)

from .keys import CALLER, SETTINGS, STORE
from .tenants import identify

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OPEN = frozenset({"/health"})


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure in the one shape of docs/reference/errors.md."""
    try:
        async with asyncio.timeout(request.app[SETTINGS].request_timeout_seconds):
            return await handler(request)
    except TimeoutError:
        return _failure(ServerBusy("the request took too long; try again, with smaller batches"))
    except SyncError as error:
        return _failure(error)
    except web.HTTPRequestEntityTooLarge:
        return _failure(TooLarge("the body is over the server's limit; send smaller batches"))
    except web.HTTPException as error:
        return _failure(UnknownRoute(f"{request.method} {request.path}: {error.reason}"))
    except Exception:
        logger.exception("%s %s failed", request.method, request.path)
        return _failure(SyncError("the server failed; its log says why"))


@web.middleware
async def require_version(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a device that speaks another version of the protocol."""
    spoken = request.headers.get(protocol.VERSION_HEADER)
    if request.path not in _OPEN and spoken != str(protocol.VERSION):
        raise ProtocolMismatch(
            f"this server speaks protocol {protocol.VERSION} to {protocol.VERSION}, the device "
            f"{spoken or 'none'}: upgrade the older of the two"
        )
    return await handler(request)


@web.middleware
async def require_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who is asking, before anything else is looked at."""
    if request.path not in _OPEN:
        request[CALLER] = await identify(request.app[STORE], request.headers.get("Authorization"))
    return await handler(request)


MIDDLEWARES = [errors_as_json, require_version, require_caller]


def _failure(error: SyncError) -> web.Response:
    return web.json_response({"error": error.to_wire()}, status=error.status)
