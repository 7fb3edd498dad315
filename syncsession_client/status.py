"""Where a database stands, without a server."""

from pathlib import Path
from typing import Any

from . import held_back, reconcile, schema_changes
from .fold import fold
from .protocol.errors import MassDelete
from .protocol.session_set import SessionSet
from .rows import ROWS
from .store import STATE, DeviceStore


def read_status(path: Path) -> dict[str, Any]:
    """What the database knows of itself; what the application changed is looked at first, and the
    log is folded, so that the counts are exact.

    Where that stops at a mass deletion, the counts are those of before.

    Raises:
        NotInitialized: sync is not installed.
    """
    with DeviceStore(path) as store:
        state = store.state()
        warnings: list[str] = []
        try:
            with store.write():
                reconcile.refresh(store, allow_mass_delete=False)
                fold(store, store.tables())
                held_back.find(store)
            warnings += schema_changes.warnings(store)
        except MassDelete as error:
            warnings.append(str(error))
        tables = store.tables()
        processed = store.processed()
        return {
            "database": str(path),
            "device_id": state.device_id,
            "copied_from": state.copied_from,
            "server": state.server_url,
            "tenant_id": state.tenant_id,
            "user_id": state.user_id,
            "tables": [
                {
                    "name": t.name,
                    "key": t.table.key_kind,
                    "dirty_rows": store.count(ROWS.count_dirty(t=t)),
                    "rejected_rows": store.count(ROWS.count_rejected(t=t)),
                    "processed_watermark": processed.get(t.wire_name, SessionSet()).watermark,
                }
                for t in tables
            ],
            "missing_tables": [t.name for t in store.all_tables() if t.is_missing],
            "rejected_rows": sum(store.count(ROWS.count_rejected(t=t)) for t in tables),
            "conflicts": store.count(STATE.count_conflicts),
            "new_tables": schema_changes.newcomers(store),
            "warnings": warnings,
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
