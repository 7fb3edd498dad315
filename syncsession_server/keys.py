"""What the application and each request hold, by typed key."""

from aiohttp import web

from .health import SessionCounts
from .jobs import Committer
from .metrics import Metrics
from .settings import Settings
from .stores import Store
from .tenants import Caller

SETTINGS = web.AppKey("SETTINGS", Settings)
SERVER_ID = web.AppKey("SERVER_ID", str)
STORE: web.AppKey[Store] = web.AppKey("STORE", Store)
COMMITTER = web.AppKey("COMMITTER", Committer)
METRICS = web.AppKey("METRICS", Metrics)
SESSION_COUNTS = web.AppKey("SESSION_COUNTS", SessionCounts)
CALLER = web.RequestKey("CALLER", Caller)
