"""The log of conflicts: what is written into it, and what a person reads of it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.tables import Table, folded

from .authors import Author, key_hash
from .conflicts import Version
from .references import places
from .stores import Store, Transaction

POLICY, UNIQUE, REFERENCE = range(3)
"""The step of a decision: what came to it, in the order in which a session is looked at."""

_FIELDS = (
    *("session", "table", "key", "kind", "policy", "outcome", "note"),
    *("mine", "mine_user_id", "mine_by", "mine_at_utc", "mine_device_id"),
    *("theirs", "theirs_user_id", "theirs_by", "theirs_at_utc", "theirs_device_id"),
    *("theirs_session", "created_at_utc"),
)
_JSON = ("key", "mine", "theirs")


def record(
    stamp: Mapping[str, Any],
    table: Table,
    row: Row,
    *,
    kind: str,
    policy: str,
    outcome: str,
    mine: Version,
    theirs: Version,
    loser: str | None,
    note: str | None = None,
    step: int = POLICY,
) -> dict[str, Any]:
    """The parameters of `conflicts.add`: what the session of `stamp` decided of a row.

    `row` is the one that was here, as it travels.
    """
    key = images.encode(table.wire_key, row[META : META + len(table.wire_key)])
    return conflict_key(stamp, table, row, step=step) | {
        "row_key": key,
        "kind": kind,
        "policy": policy,
        "outcome": outcome,
        "note": note,
        "mine": _image(mine),
        "mine_user_id": mine.user,
        "mine_by": mine.by,
        "mine_at_utc": mine.at_utc,
        "mine_device_id": mine.device,
        "theirs": _image(theirs),
        "theirs_user_id": theirs.user,
        "theirs_by": theirs.by,
        "theirs_at_utc": theirs.at_utc,
        "theirs_device_id": theirs.device,
        "theirs_number": row[0],
        "loser_device_id": loser,
        "created_at_utc": stamp["now"],
    }


def conflict_key(stamp: Mapping[str, Any], table: Table, row: Row, *, step: int) -> dict[str, Any]:
    """What one decision of a session is known by."""
    return {
        "tenant_id": stamp["tenant_id"],
        "number": stamp["number"],
        "table_name": folded(table.name),
        "key_hash": key_hash(table, row),
        "step": step,
    }


def version(table: Table, row: Row, author: Author) -> Version:
    """A row of the server, as it travels, as what its author made of it."""
    at = places(table)
    values = None if row[3] else {name: row[at[folded(name)]] for name in table.value_columns}
    return Version(values, row[1], author.ended_at_utc, row[2], author.user, author.device)


def _image(version: Version) -> str | None:
    return None if version.row is None else images.encode(tuple(version.row), version.row.values())


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
