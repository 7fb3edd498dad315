"""Pull: begin one, serve its batches, forget it."""

import msgspec
from aiohttp import web

from syncsession_client import protocol
from syncsession_client.protocol import bodies

from .. import pulls
from ..keys import CALLER, METRICS, STORE
from ..schemas import PullSchema, check
from ..tenants import admit_device, check_device
from . import requests


async def begin(request: web.Request) -> web.Response:
    """What the device has not processed: which sessions, and how many batches of rows."""
    caller, store = request[CALLER], request.app[STORE]
    caller.require("sync")
    groups = check(PullSchema(), await requests.body(request))["processed"]
    device_id = requests.device_id(request)
    async with store.read() as tx:
        is_known = await check_device(store, tx, caller, device_id)
    if not is_known:
        async with store.write() as tx:
            await admit_device(store, tx, caller, device_id)
    answer = await pulls.begin(
        store,
        caller.tenant_id,
        pulls.PullRequest(
            requests.path_id(request, "pull_id"),
            device_id,
            tuple((name, group["sessions"]) for group in groups for name in group["tables"]),
        ),
    )
    request.app[METRICS].rows_pulled(_rows(answer))
    return web.Response(text=answer, content_type="application/json")


async def batch(request: web.Request) -> web.Response:
    """One batch, in an encoding that the device accepts."""
    caller = request[CALLER]
    caller.require("sync")
    pull_id, number = requests.path_id(request, "pull_id"), requests.batch_number(request)
    payload = await pulls.find_batch(request.app[STORE], caller.tenant_id, pull_id, number)
    encoding = bodies.choose(request.headers.get("Accept-Encoding", ""))
    if encoding != pulls.SPOOLED:
        unpacked = bodies.decompress(payload, pulls.SPOOLED, bodies.UNPACKED_LIMIT)
        payload = bodies.compress(unpacked, encoding)
    return web.Response(
        body=payload,
        headers={"Content-Type": protocol.BATCH_TYPE, "Content-Encoding": encoding},
    )


async def complete(request: web.Request) -> web.Response:
    """The device has the pull."""
    caller = request[CALLER]
    caller.require("sync")
    pull_id = requests.path_id(request, "pull_id")
    await pulls.complete(request.app[STORE], caller.tenant_id, pull_id)
    return web.Response(status=204)


class _Batch(msgspec.Struct):
    rows: int


class _Answer(msgspec.Struct):
    batches: list[_Batch]


def _rows(answer: str) -> int:
    return sum(batch.rows for batch in msgspec.json.decode(answer, type=_Answer).batches)
