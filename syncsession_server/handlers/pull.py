"""Pull: begin one, serve its batches, forget it."""

import asyncio

import msgspec
from aiohttp import web

from syncsession_client import protocol
from syncsession_client.protocol import bodies

from .. import pulls
from ..keys import CALLER, METRICS, SETTINGS, STORE
from ..schemas import PullSchema, check
from ..tenants import admit_device
from . import requests


async def begin(request: web.Request) -> web.Response:
    """What the device has not processed: which sessions, and how many batches of rows."""
    caller, store = request[CALLER], request.app[STORE]
    caller.require("sync")
    groups = check(PullSchema(), await requests.body(request))["processed"]
    device_id = requests.device_id(request)
    await admit_device(store, caller, device_id)
    settings = request.app[SETTINGS]
    answer = await pulls.begin(
        store,
        caller.tenant_id,
        pulls.PullRequest(
            requests.path_id(request, "pull_id"),
            device_id,
            _accepted(request),
            tuple(
                pulls.Asked(name, group["sessions"], group["anew"])
                for group in groups
                for name in group["tables"]
            ),
        ),
        pulls.Limits(settings.pull_batch_size, settings.pull_shared_table_threshold),
    )
    request.app[METRICS].rows_pulled(_rows(answer))
    return web.Response(text=answer, content_type="application/json")


async def batch(request: web.Request) -> web.Response:
    """One batch, in an encoding that the device accepts."""
    caller = request[CALLER]
    caller.require("sync")
    pull_id, number = requests.path_id(request, "pull_id"), requests.batch_number(request)
    payload = await pulls.find_batch(request.app[STORE], caller.tenant_id, pull_id, number)
    encoding = _accepted(request)
    payload = await asyncio.to_thread(pulls.repacked, payload, encoding)
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


def _accepted(request: web.Request) -> str:
    """The best encoding that the device unpacks."""
    return bodies.choose(request.headers.get("Accept-Encoding", ""))


class _Batch(msgspec.Struct):
    rows: int


class _Answer(msgspec.Struct):
    batches: list[_Batch]


def _rows(answer: str) -> int:
    return sum(batch.rows for batch in msgspec.json.decode(answer, type=_Answer).batches)
