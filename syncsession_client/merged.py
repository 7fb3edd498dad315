"""Rows that became others: the server made them one, since they had the same unique value.

A row that only this device knew keeps its integer here, and is the other one from then on. So the
application does not see a key change, and what refers to the row goes on doing so.
"""

from collections.abc import Iterable, Sequence

from .identity import SyncTable
from .protocol import batches, images
from .protocol.tables import folded
from .statements import load
from .store import DeviceStore

MERGED = load("client/merged.sql.j2")


def open_stage(store: DeviceStore) -> None:
    """Make the temporary table, empty."""
    store.run(MERGED.drop_merged())
    store.run(MERGED.create_merged())


def close_stage(store: DeviceStore) -> None:
    """Leave nothing of it."""
    store.run(MERGED.drop_merged())


def stage(store: DeviceStore, batch: batches.Batch) -> None:
    """Put pairs of keys that a pull brings into a temporary table."""
    pairs = ((batch.table, *row[batches.META :]) for row in batch.rows)
    store.run_many(MERGED.stage_merged(), pairs)


def become(store: DeviceStore, tables: Sequence[SyncTable]) -> None:
    """Let rows be those that they became. The caller holds the write transaction, and capture sees
    nothing.

    Of tables whose keys everyone knows, the rows themselves come with the pull.
    """
    by_name = {folded(t.wire_name): t for t in tables}
    for name, *keys in store.rows(MERGED.merged()):
        table = by_name.get(folded(name))
        if table is not None and table.is_local:
            from_id, to_id = (next(iter(images.decode(key).values())) for key in keys)
            _become(store, table, table.children(tables), from_id, to_id)


def _become(
    store: DeviceStore,
    table: SyncTable,
    children: Iterable[tuple[SyncTable, str]],
    from_id: bytes,
    to_id: bytes,
) -> None:
    ids = {"from_id": from_id, "to_id": to_id}
    found = store.first(MERGED.key_of(t=table), {"row_id": from_id})
    if found is None:
        return
    target = store.first(MERGED.key_of(t=table), {"row_id": to_id})
    if target is None and store.first(MERGED.is_known(t=table), {"row_id": to_id}):
        return  # it was here, and is gone: it comes as a row of its own
    for child, column in children:
        part = child.identity[child.key.index(column)] if column in child.key else None
        if part is not None:
            store.run(MERGED.become_part(child=child, part=part), ids)
        if target is not None:
            keys = {"from_key": found[0], "to_key": target[0]}
            store.run(MERGED.repoint(child=child, column=column), keys)
            if part is not None:
                key = child.keys[child.key.index(column)]
                repoint = MERGED.repoint_part(child=child, key=key, part=part)
                store.run(repoint, {**keys, "to_id": to_id})
    if target is None:
        store.run(MERGED.become(t=table), ids)
