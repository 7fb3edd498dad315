"""What the application and each request hold, by typed key."""

from aiohttp import web

from .jobs import Committer
from .settings import Settings
from .stores import Store
from .tenants import Caller

SETTINGS = web.AppKey("SETTINGS", Settings)
STORE: web.AppKey[Store] = web.AppKey("STORE", Store)
COMMITTER = web.AppKey("COMMITTER", Committer)
CALLER = web.RequestKey("CALLER", Caller)
