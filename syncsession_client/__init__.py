"""SyncSession on a device: offline-first sync for SQLite files that already exist."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine import Synced, SyncEngine
    from .progress import Cancellation, Cancelled, Progress
    from .protocol.errors import SyncError

__all__ = ["Cancellation", "Cancelled", "Progress", "SyncEngine", "SyncError", "Synced"]

_HOMES = {
    "SyncEngine": "engine",
    "Synced": "engine",
    "Cancellation": "progress",
    "Cancelled": "progress",
    "Progress": "progress",
    "SyncError": "protocol.errors",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the server takes `protocol` from here, and must not load the device."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
