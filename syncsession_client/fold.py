"""Folding: the triggers' log becomes shadow rows. The caller holds the write transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

import uuid_utils

from .identity import SyncTable
from .statements import load
from .store import STATE, DeviceStore

FOLD = load("client/fold.sql.j2")


@dataclass(frozen=True)
class Folded:
    """What a fold did: its generation, the tables that had entries, entries that no key names."""

    generation: int
    tables: tuple[SyncTable, ...]
    null_keys: int


def fold(store: DeviceStore, tables: Sequence[SyncTable]) -> Folded:
    """Fold every table's log, parents first, until all logs are empty.

    Folding a table may log rows of others: those whose integer has come to stand for another row.
    """
    generation = store.state().generation
    folded: dict[str, SyncTable] = {}
    nulls = 0
    while pending := [t for t in tables if store.first(FOLD.is_pending(t=t))]:
        generation += 1
        store.run(STATE.set_generation, {"generation": generation})
        for table in pending:
            nulls += _count_null_keys(store, table)
            _fold_table(store, table, tables, generation)
            folded[table.name] = table
    return Folded(generation, tuple(folded.values()), nulls)


def _count_null_keys(store: DeviceStore, table: SyncTable) -> int:
    row = store.first(FOLD.null_keys(t=table))
    return int(row[0]) if row else 0


def _fold_table(
    store: DeviceStore, table: SyncTable, tables: Sequence[SyncTable], generation: int
) -> None:
    store.run(FOLD.drop_collected())
    store.run(FOLD.collect(t=table))
    for column, rows in table.parents.items():
        parent = next(t for t in tables if t.rows == rows)
        store.run(FOLD.add_placeholders(t=table, column=column, parent=parent))
    number = {"generation": generation}
    if table.is_local:
        _fold_local(store, table, generation)
    elif table.is_mapped:
        store.run(FOLD.tombstone_mapped(t=table), number)
        store.run(FOLD.insert_mapped(t=table), number)
    else:
        store.run(FOLD.fold_plain(t=table), number)
    store.run(FOLD.empty_log(t=table))
    if table.is_local and store.first(FOLD.has_rekeyed()):
        for child, column in table.children(tables):
            store.run(FOLD.log_children(child=child, column=column))
    store.run(FOLD.drop_collected())


def _fold_local(store: DeviceStore, table: SyncTable, generation: int) -> None:
    if store.first(FOLD.has_moves(t=table)):
        _fold_in_order(store, table, generation)
        return
    number = {"generation": generation}
    if store.first(FOLD.has_deletes(t=table)):
        store.run(FOLD.mark_reborn(t=table))
    store.run(FOLD.tombstone_local(t=table), number)
    store.run(FOLD.touch_local(t=table), number)
    store.run(FOLD.adopt_placeholders(t=table), number)
    store.run(FOLD.insert_local(t=table), number)


def _fold_in_order(store: DeviceStore, table: SyncTable, generation: int) -> None:
    """Fold entry by entry: a changed integer key moves the identity along, through any chain."""
    find_live, find_placeholder = FOLD.find_live(t=table), FOLD.find_placeholder(t=table)
    put_one = FOLD.put_one(t=table)
    last: tuple[int, object, str, bytes | None] = (0, None, "", None)
    for seq, key, op, at, by in store.rows(FOLD.entries(t=table)):
        live = store.first(find_live, {"key": key})
        last_seq, last_key, last_op, last_row = last
        row: bytes | None = live[0] if live else None
        if op == "N" and row is not None and last_row is not None:
            # The moved row replaced this one, which fired no trigger.
            _put(store, put_one, (row, key, 1, at, by), generation)
        if op == "N" or (op == "I" and (last_op, last_key, last_seq) == ("D", key, seq - 1)):
            row = last_row
        if op in "IUN" and row is None:
            waiting = store.first(find_placeholder, {"key": key})
            row = waiting[0] if waiting else uuid_utils.uuid7().bytes
        if op == "M" and row is not None:
            # Out of the way until the new key, which follows at once.
            _put(store, put_one, (row, key, 1, at, by), generation)
        elif row is not None:
            _put(store, put_one, (row, key, int(op == "D"), at, by), generation)
        last = (seq, key, op, row)


def _put(
    store: DeviceStore, sql: str, values: tuple[bytes, object, int, str, str], generation: int
) -> None:
    row_id, key, is_deleted, at, by = values
    store.run(
        sql,
        {
            "row_id": row_id,
            "key": key,
            "is_deleted": is_deleted,
            "at": at,
            "by": by,
            "generation": generation,
        },
    )
