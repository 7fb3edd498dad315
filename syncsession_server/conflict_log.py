"""The log of conflicts: what a person reads of it."""

import json
from collections.abc import Sequence
from typing import Any

from syncsession_client.protocol import images

from .stores import Store, Transaction

_FIELDS = (
    *("session", "table", "key", "kind", "policy", "outcome", "note"),
    *("mine", "mine_user_id", "mine_by", "mine_at_utc", "mine_device_id"),
    *("theirs", "theirs_user_id", "theirs_by", "theirs_at_utc", "theirs_device_id"),
    *("theirs_session", "created_at_utc"),
)
_JSON = ("key", "mine", "theirs")


async def list_conflicts(store: Store, tenant_id: str, most: int) -> list[dict[str, Any]]:
    """The newest conflicts of a tenant, newest first."""

    async def work(tx: Transaction) -> list[dict[str, Any]]:
        params = {"tenant_id": tenant_id, "most": most}
        return [_described(row) for row in await tx.all(store.sql.conflicts.list_conflicts, params)]

    return await store.read(work)


def as_text(found: Sequence[dict[str, Any]]) -> str:
    """A few lines for each."""
    if not found:
        return "no row was changed by two devices at the same time"
    return "\n".join(line for conflict in found for line in _lines(conflict))


def _described(row: Sequence[Any]) -> dict[str, Any]:
    shown = dict(zip(_FIELDS, row, strict=True))
    return shown | {k: json.loads(shown[k]) if shown[k] is not None else None for k in _JSON}


def _lines(conflict: dict[str, Any]) -> list[str]:
    key = ", ".join(f"{name} {images.told(value)}" for name, value in conflict["key"].items())
    stands = {"mine": "what came stands", "theirs": "what was here stands", "merged": "merged"}
    lines = [
        f"session {conflict['session']}, {conflict['table']} {key}: {conflict['kind']}, "
        f"{stands[conflict['outcome']]} ({conflict['policy']})",
        f"   came    {_version(conflict, 'mine')}",
        f"   was     {_version(conflict, 'theirs')}",
    ]
    return [*lines, *([f"   note    {conflict['note']}"] if conflict["note"] else [])]


def _version(conflict: dict[str, Any], side: str) -> str:
    row, other = conflict[side], conflict["theirs" if side == "mine" else "mine"]
    who = f"{conflict[f'{side}_by']}, {conflict[f'{side}_at_utc']}"
    if row is None:
        return f"{who}: deleted"
    told = {k: v for k, v in row.items() if other is None or other.get(k) != v}
    return f"{who}: " + (", ".join(f"{k} {images.told(v)}" for k, v in told.items()) or "the same")
