"""The parts of a request that several handlers read."""

import asyncio
import re

from aiohttp import web

from syncsession_client import protocol
from syncsession_client.protocol import bodies
from syncsession_client.protocol.errors import BadRequest

from ..keys import SETTINGS

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST_BATCHES = 10**6


def device_id(request: web.Request) -> str:
    """The device's id, from its header.

    Raises:
        BadRequest: there is none, or it is no UUID.
    """
    return _uuid(request.headers.get(protocol.DEVICE_HEADER, ""), protocol.DEVICE_HEADER)


def path_id(request: web.Request, name: str) -> str:
    """The id of a session or pull, from the path.

    Raises:
        BadRequest: it is no UUID.
    """
    return _uuid(request.match_info[name], name)


def batch_number(request: web.Request) -> int:
    """The number of a batch, from the path.

    Raises:
        BadRequest: it is no number from 1 to a million.
    """
    text = request.match_info["number"]
    if not re.fullmatch("[0-9]{1,7}", text) or not 0 < int(text) <= _MOST_BATCHES:
        raise BadRequest(f"{text!r} is no batch number: use 1 to {_MOST_BATCHES}")
    return int(text)


async def body(request: web.Request) -> bytes:
    """The body, unpacked.

    Raises:
        TooLarge: it is over the limit, packed or unpacked.
        BadRequest: it is not in the encoding that its header names.
    """
    packed = await request.read()
    return await asyncio.to_thread(
        bodies.decompress, packed, encoding(request), request.app[SETTINGS].max_body_bytes
    )


def encoding(request: web.Request) -> str:
    """The Content-Encoding of the body."""
    return request.headers.get("Content-Encoding", "identity").lower()


def _uuid(text: str, name: str) -> str:
    if not _UUID.fullmatch(text):
        raise BadRequest(f"{name} {text[:64]!r} is no UUID in lower case")
    return text
