"""SyncSession on a device: offline-first sync for SQLite files that already exist."""

from .engine import Synced, SyncEngine
from .progress import Cancellation, Cancelled, Progress
from .protocol.errors import SyncError

__all__ = ["Cancellation", "Cancelled", "Progress", "SyncEngine", "SyncError", "Synced"]
