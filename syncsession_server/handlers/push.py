"""Push: begin a session, receive its batches, commit it, tell where it stands."""

import asyncio
import time
from typing import Any

import msgspec
from aiohttp import web

from syncsession_client.protocol import batches, bodies
from syncsession_client.protocol.batches import Batch
from syncsession_client.protocol.errors import BadRequest, ForbiddenModifier

from .. import staging
from ..keys import CALLER, COMMITTER, SETTINGS, STORE
from ..registry import find_table
from ..schemas import PushSchema, check
from ..sessions import ENDED
from ..tables import check_batch, modified_by
from ..tenants import Caller
from . import requests


async def begin(request: web.Request) -> web.Response:
    """Open the session, or tell where it stands and which batches are here."""
    caller, store = request[CALLER], request.app[STORE]
    caller.require("sync")
    session_id = requests.path_id(request, "session_id")
    device_id = requests.device_id(request)
    body = check(PushSchema(), await requests.body(request))
    asked = staging.PushRequest(session_id, device_id, body["tables"], body["processed"])
    session = await staging.begin(store, caller, asked)
    return web.json_response(session | {"encodings": bodies.ENCODINGS})


async def receive(request: web.Request) -> web.Response:
    """Keep one batch, checked."""
    caller, store = request[CALLER], request.app[STORE]
    caller.require("sync")
    session_id = requests.path_id(request, "session_id")
    number = requests.batch_number(request)
    packed, encoding = await request.read(), requests.encoding(request)
    limit = request.app[SETTINGS].max_body_bytes
    batch = await asyncio.to_thread(_unpack, packed, encoding, limit)
    table = await find_table(store, store, caller.tenant_id, batch.table)
    await asyncio.to_thread(_check, table, batch, caller)
    staged = staging.StagedBatch(number, batch.table, len(batch.rows), encoding, packed)
    await staging.add(store, caller.tenant_id, session_id, staged)
    return web.Response(status=204)


async def commit(request: web.Request) -> web.Response:
    """Queue the session, and wait a while for its outcome."""
    caller = request[CALLER]
    caller.require("sync")
    session_id = requests.path_id(request, "session_id")
    await staging.queue(request.app[STORE], caller.tenant_id, session_id)
    request.app[COMMITTER].wake()
    return web.json_response(await _outcome(request, session_id))


async def status(request: web.Request) -> web.Response:
    """Where the session stands; waits a while for one that is being committed."""
    request[CALLER].require("sync")
    return web.json_response(await _outcome(request, requests.path_id(request, "session_id")))


async def _outcome(request: web.Request, session_id: str) -> dict[str, Any]:
    settings, tenant_id = request.app[SETTINGS], request[CALLER].tenant_id
    committer, deadline = request.app[COMMITTER], time.monotonic() + settings.status_wait_seconds
    while True:
        session = await staging.find(request.app[STORE], tenant_id, session_id)
        left = min(deadline, committer.waited_until) - time.monotonic()
        if session["status"] in ENDED | {"open", "staged"} or left <= 0:
            return session
        await committer.wait_for_end(min(left, settings.queue_poll_interval_seconds))


def _unpack(packed: bytes, encoding: str, limit: int) -> Batch:
    try:
        return batches.decode(bodies.decompress(packed, encoding, limit))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not a batch: {error}") from error


def _check(table: Any, batch: Batch, caller: Caller) -> None:
    others = check_batch(
        table,
        batch,
        user=caller.user_id,
        acts_for_others="act_for_others" in caller.scopes,
    )
    if others:
        error = ForbiddenModifier(
            f"rows of {table.name} were modified by {', '.join(sorted(others))}, and the token is "
            f"{caller.user_id}'s: set the user with syncsession-client user, or create a token "
            "with --scope act_for_others"
        )
        error.rejects = modified_by(batch, others, caller.user_id)
        raise error
