"""What happens around every request: log and metrics, errors in one shape, version, caller."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from syncsession_client import protocol
from syncsession_client.protocol.errors import (
    Maintenance,
    ProtocolMismatch,
    ServerBusy,
    SyncError,
    TooLarge,
    UnknownRoute,
)

from .keys import CALLER, METRICS, SETTINGS, STORE
from .logs import about
from .tenants import identify

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID_HEADER = "X-Request-Id"

_OPEN = frozenset({"/health", "/ready", "/metrics"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_UUID = re.compile(r"[0-9a-f-]{36}")
_MOST_PATH = 200


@web.middleware
async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Log and measure every request, under an id that the answer repeats.

    The version in the answer tells a device that it is not a proxy's.
    """
    request_id, started = _request_id(request), time.monotonic()
    with about(request_id=request_id, **_path_ids(request)):
        response = await handler(request)
        response.headers[REQUEST_ID_HEADER] = request_id
        response.headers[protocol.VERSION_HEADER] = str(protocol.VERSION)
        _tell(request, response.status, time.monotonic() - started)
    return response


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
        logger.exception("%s %s failed", request.method, _path(request))
        return _failure(SyncError("the server failed; its log says why"))


@web.middleware
async def refuse_in_maintenance(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send every device away while the server is being worked on."""
    if request.app[SETTINGS].maintenance and request.path not in _OPEN:
        raise Maintenance("the server is being worked on; try again later")
    return await handler(request)


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
    if request.path in _OPEN:
        return await handler(request)
    caller = await identify(request.app[STORE], request.headers.get("Authorization"))
    request[CALLER] = caller
    with about(tenant_id=caller.tenant_id):
        return await handler(request)


MIDDLEWARES = [observed, errors_as_json, refuse_in_maintenance, require_version, require_caller]


def _tell(request: web.Request, status: int, seconds: float) -> None:
    """A line in the log, and a place in the numbers; those know the path as its route only."""
    values = {
        "method": request.method,
        "path": _path(request),
        "status": status,
        "seconds": round(seconds, 6),
    }
    if CALLER in request:
        values["tenant_id"] = request[CALLER].tenant_id
    logger.log(_level(request), "request", extra=values)
    resource = request.match_info.route.resource
    if resource is None:  # a path or a method that anybody may have made up
        request.app[METRICS].request_answered("other", "other", status, seconds)
    else:
        request.app[METRICS].request_answered(request.method, resource.canonical, status, seconds)


def _request_id(request: web.Request) -> str:
    """The id that the request brings; one of ours where it has none that is fit for a log."""
    brought = request.headers.get(REQUEST_ID_HEADER, "")
    return brought if _REQUEST_ID.fullmatch(brought) else secrets.token_hex(16)


def _path_ids(request: web.Request) -> dict[str, str]:
    """The session or pull that the path names."""
    named = request.match_info
    return {
        name: named[name]
        for name in ("session_id", "pull_id")
        if _UUID.fullmatch(named.get(name, ""))
    }


def _path(request: web.Request) -> str:
    """The path as it came, percent-encoded: it cannot begin a line of its own in a log."""
    return request.rel_url.raw_path[:_MOST_PATH]


def _level(request: web.Request) -> int:
    """What machines ask every few seconds is not worth a line."""
    return logging.DEBUG if request.path in _OPEN else logging.INFO


def _failure(error: SyncError) -> web.Response:
    return web.json_response({"error": error.to_wire()}, status=error.status)
