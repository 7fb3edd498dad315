"""Where a database stands, without a server."""

from pathlib import Path
from typing import Any

from .fold import fold
from .protocol.session_set import SessionSet
from .rows import ROWS
from .store import STATE, DeviceStore


def read_status(path: Path) -> dict[str, Any]:
    """What the database knows of itself; the log is folded first, so that the counts are exact.

    Raises:
        NotInitialized: sync is not installed.
    """
    with DeviceStore(path) as store:
        state = store.state()
        tables = store.tables()
        with store.write():
            fold(store, tables)
        processed = store.processed()
        return {
            "database": str(path),
            "device_id": state.device_id,
            "server": state.server_url,
            "tenant_id": state.tenant_id,
            "user_id": state.user_id,
            "tables": [
                {
                    "name": t.name,
                    "key": t.table.key_kind,
                    "dirty_rows": store.count(ROWS.count_dirty(t=t)),
                    "processed_watermark": processed.get(t.name, SessionSet()).watermark,
                }
                for t in tables
            ],
        }


def set_user(path: Path, name: str | None) -> str | None:
    """Whose edits the database's are, after setting it where `name` is given.

    Raises:
        NotInitialized: sync is not installed.
    """
    with DeviceStore(path) as store:
        if name is not None:
            with store.write():
                store.state()
                store.run(STATE.set_user, {"user_id": name})
        return store.state().user_id
