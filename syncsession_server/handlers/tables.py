"""The tables of a tenant: shown to a device that clones them, described by one that has them."""

import msgspec
from aiohttp import web

from .. import registry
from ..keys import CALLER, STORE
from ..schemas import TablesSchema, check
from ..tenants import admit_device
from . import requests


async def show(request: web.Request) -> web.Response:
    """Every table of the tenant, parents first."""
    caller = request[CALLER]
    caller.require("sync")
    tables = await registry.tenant_tables(request.app[STORE], caller.tenant_id)
    return _answer({"tenant_id": caller.tenant_id, "tables": tables})


async def register(request: web.Request) -> web.Response:
    """Make room for the tables that a device describes, unless it has to call some otherwise."""
    caller, store = request[CALLER], request.app[STORE]
    caller.require("sync")
    device_id = requests.device_id(request)
    tables = check(TablesSchema(), await requests.body(request))["tables"]
    await admit_device(store, caller, device_id)
    known_as = await registry.known_names(store, caller, tables)
    if known_as:
        return _answer({"tenant_id": caller.tenant_id, "new_columns": {}, "known_as": known_as})
    new_columns = await registry.register(store, caller, device_id, tables)
    return _answer({"tenant_id": caller.tenant_id, "new_columns": new_columns})


def _answer(body: dict[str, object]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")
