"""Versions of rows that lost against another device's: kept, listed, and written back.

They are this device's own words: integers stand for rows as they do in its tables.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import reconcile
from .identity import SyncTable
from .protocol import batches, images
from .protocol.errors import MassDelete, NoSuchConflict
from .protocol.tables import folded
from .statements import load
from .store import STATE, DeviceStore

CONFLICTS = load("client/conflicts.sql.j2")


def stage(store: DeviceStore, batch: batches.Batch) -> None:
    """Put versions that a pull brings into a temporary table."""
    store.run_many(
        CONFLICTS.stage_lost(),
        ((batch.table, *row[:3], *row[batches.META :]) for row in batch.rows),
    )


def open_stage(store: DeviceStore) -> None:
    """Make the temporary table, empty."""
    store.run(CONFLICTS.drop_lost())
    store.run(CONFLICTS.create_lost())


def close_stage(store: DeviceStore) -> None:
    """Leave nothing of it."""
    store.run(CONFLICTS.drop_lost())


def keep(store: DeviceStore, tables: Iterable[SyncTable]) -> int:
    """Keep what was staged, but for what was kept before; how many. The caller holds the write
    transaction, rows are applied.
    """
    if not store.first(CONFLICTS.has_lost()):
        return 0
    by_name = {folded(t.wire_name): t for t in tables}
    for each in by_name.values():
        named = {"wire_name": each.wire_name, "table_name": each.name}
        store.run(CONFLICTS.forget_told(), named)
    kept = 0
    for name, session, at, by, key, row, kind, policy, outcome, winner, lost_at in store.rows(
        CONFLICTS.lost()
    ):
        table = by_name.get(folded(name))
        if table is None:
            continue
        shown = _here(store, table, images.decode(key), None if row is None else images.decode(row))
        store.run(
            STATE.add_conflict,
            {
                "table_name": table.name,
                "row": images.encode(tuple(shown), shown.values()),
                "is_deleted": int(row is None),
                "modified_at_utc": at,
                "modified_by_user_id": by,
                "kind": kind,
                "policy": policy,
                "outcome": outcome,
                "won_by_user_id": winner,
                "won_session": session,
                "lost_at_utc": lost_at,
            },
        )
        kept += 1
    return kept


def _here(
    store: DeviceStore, table: SyncTable, key: dict[str, Any], row: dict[str, Any] | None
) -> dict[str, Any]:
    """The key and the values as this device has them."""
    if table.is_local:
        integer = store.first(
            CONFLICTS.find_integer(rows=table.rows), {"row_id": next(iter(key.values()))}
        )
        shown = {table.key[0]: integer[0] if integer else None}
    else:
        shown = {
            name: _integer(store, table, name, value)
            for name, value in zip(table.key, key.values(), strict=True)
        }
    return shown | {
        name: _integer(store, table, name, value) for name, value in (row or {}).items()
    }


def _integer(store: DeviceStore, table: SyncTable, column: str, value: Any) -> Any:
    """The integer that stands for a row here, where the column references such rows."""
    parent = table.parents.get(column)
    if parent is None or not isinstance(value, bytes):
        return value
    found = store.first(CONFLICTS.find_integer(rows=parent), {"row_id": value})
    return found[0] if found else value


def list_conflicts(path: Path) -> list[dict[str, Any]]:
    """The versions that lost and were not written back, oldest first.

    Raises:
        NotInitialized: sync is not installed.
    """
    with DeviceStore(path) as store:
        tables = _tables(store)
        with store.read():
            found = [_described(row) for row in store.rows(STATE.list_conflicts)]
            for each in found:
                table = tables.get(folded(each["table"]))
                each["now"] = None if table is None else _now(store, table, each)
            return found


def restore(path: Path, numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Write versions that lost back, as new edits, all or none of them; what was written.

    Raises:
        NoSuchConflict: there is none of that number, or its table or row is not there any more.
        Unappliable: the table refuses a row.
        NotInitialized: sync is not installed.
    """
    with DeviceStore(path) as store:
        tables = _tables(store)
        with store.write():
            return [_restore(store, tables, number) for number in numbers]


def _tables(store: DeviceStore) -> dict[str, SyncTable]:
    """The synced tables as they are now, whatever the application has made of them."""
    with suppress(MassDelete), store.write():
        reconcile.refresh(store, allow_mass_delete=False)
    return {folded(t.name): t for t in store.tables()}


def _restore(store: DeviceStore, tables: dict[str, SyncTable], number: int) -> dict[str, Any]:
    row = store.first(STATE.find_conflict, {"id": number})
    if row is None:
        raise NoSuchConflict(
            f"{store.path} keeps no conflict {number}: syncsession-client conflicts lists them"
        )
    found, lost = _described(row), images.decode(row[2])
    table = tables.get(folded(found["table"]))
    if table is None:
        raise NoSuchConflict(
            f"{found['table']} of conflict {number} is not a synced table any more"
        )
    key = [lost.get(name) for name in table.key]
    if None in key:
        raise NoSuchConflict(f"the row of conflict {number} is not known here any more")
    if found["is_deleted"]:
        store.run(CONFLICTS.delete(t=table), key)
    else:
        known = [name for name in table.values if name in lost]
        values = [*(lost[name] for name in known), *key]
        is_here = store.first(CONFLICTS.find(t=table, columns=()), key) is not None
        if is_here and known:
            store.run(CONFLICTS.update(t=table, columns=known), values)
        elif not is_here:
            store.run(CONFLICTS.insert(t=table, columns=known), values)
    store.run(STATE.set_restored, {"id": number})
    return found | {"now": _now(store, table, found)}


def _now(store: DeviceStore, table: SyncTable, lost: dict[str, Any]) -> dict[str, Any] | None:
    """The row as the table has it, in the columns that were kept; None where it is gone."""
    row = lost["row"]
    columns = [name for name in table.values if lost["is_deleted"] or name in row]
    key = list(images.values(row.get(name) for name in table.key))
    found = store.first(CONFLICTS.find(t=table, columns=columns), key)
    return images.shown((*table.key, *columns), found) if found else None


def _described(row: tuple[Any, ...]) -> dict[str, Any]:
    number, table, image, is_deleted, at, by, kind, policy, outcome, winner, session, lost_at = row
    return {
        "id": number,
        "table": table,
        "row": json.loads(image),
        "is_deleted": bool(is_deleted),
        "modified_at_utc": at,
        "modified_by": by,
        "kind": kind,
        "policy": policy,
        "outcome": outcome,
        "won_by": winner,
        "won_session": session,
        "lost_at_utc": lost_at,
    }
