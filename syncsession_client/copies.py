"""A file that was copied, or came back from a backup: what it has still to push may be old.

The server knows a session of this device that the file does not: so there is, or was, another copy
of the file, and it has pushed. Why this is exact, and where it is not: docs/explanation/copies.md.
The caller holds the write transaction, has folded, and has what comes in temporary tables.
"""

import uuid
from typing import Any

from .identity import SyncTable
from .protocol import images
from .protocol.session_set import SessionSet
from .rows import ROWS
from .store import STATE, DeviceStore


def is_behind_itself(store: DeviceStore, pushed: int | None) -> bool:
    """Whether `pushed`, the newest session of this device at the server, is unknown to the file."""
    return pushed is not None and pushed not in all_processed(store)


def all_processed(store: DeviceStore) -> SessionSet:
    """What was processed of any table."""
    every = SessionSet()
    for sessions in store.processed().values():
        every |= sessions
    return every


def become_another(store: DeviceStore) -> None:
    """Be a device of its own from now on."""
    store.run(STATE.become, {"device_id": str(uuid.uuid4())})


def give_way(store: DeviceStore, table: SyncTable, incoming: str) -> int:
    """Let what comes stand, where a dirty row is the same edit or an older one; how many older.

    What an older one was is kept in _syncsession_conflicts. One that is newer stays dirty.
    """
    if not store.first(ROWS.has_dirty(t=table)):
        return 0
    store.run(ROWS.settle_pushed(t=table, incoming=incoming))
    outdated = list(store.rows(ROWS.outdated(t=table, incoming=incoming)))
    for session, at, by, is_deleted, *rest in outdated:
        identity = rest[: len(table.identity)]
        values = rest[len(identity) :]
        store.run(
            STATE.add_conflict,
            {
                "table_name": table.name,
                "row": _as_json(table, values, is_deleted=bool(is_deleted)),
                "is_deleted": is_deleted,
                "modified_at_utc": at,
                "modified_by_user_id": by,
                "kind": "delete/edit" if is_deleted else "update/edit",
                "policy": "copy",
                "outcome": "theirs",
                "won_by_user_id": None,
                "won_session": session,
                "lost_at_utc": None,
            },
        )
        store.run(ROWS.settle_outdated(t=table), identity)
    return len(outdated)


def _as_json(table: SyncTable, values: list[Any], *, is_deleted: bool) -> str:
    """The key and the values by their columns; of a row that is gone, the key."""
    names = table.key if is_deleted else (*table.key, *table.values)
    return images.encode(names, values[: len(names)])
