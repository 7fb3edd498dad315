"""SyncSession on a device: offline-first sync for SQLite files that already exist."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .coordinator import SyncCoordinator
    from .engine import Synced, SyncEngine
    from .progress import Cancellation, Cancelled, Progress
    from .protocol.errors import NetworkUnavailable, SyncError, TryLater

__all__ = [
    "Cancellation",
    "Cancelled",
    "NetworkUnavailable",
    "Progress",
    "SyncCoordinator",
    "SyncEngine",
    "SyncError",
    "Synced",
    "TryLater",
]

_HOMES = {
    "SyncCoordinator": "coordinator",
    "SyncEngine": "engine",
    "Synced": "engine",
    "Cancellation": "progress",
    "Cancelled": "progress",
    "Progress": "progress",
    "NetworkUnavailable": "protocol.errors",
    "SyncError": "protocol.errors",
    "TryLater": "protocol.errors",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the server takes `protocol` from here, and must not load the device."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
