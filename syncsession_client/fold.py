"""Folding: the triggers' log becomes shadow rows. The caller holds the write transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from xxhash import xxh3_64_digest

from .identity import SyncTable
from .protocol.kill_points import point
from .statements import load
from .store import STATE, DeviceStore

FOLD = load("client/fold.sql.j2")


@dataclass(frozen=True)
class Folded:
    """What a fold did: the number of the last one that found entries, entries that no key names."""

    generation: int
    null_keys: int


def fold(store: DeviceStore, tables: Sequence[SyncTable]) -> Folded:
    """Fold every table's log, parents first, until all logs are empty.

    Folding a table may log rows of others: those whose integer has come to stand for another row.
    """
    generation = store.state().generation
    nulls = 0
    while pending := [t for t in tables if store.first(FOLD.is_pending(t=t))]:
        generation += 1
        store.run(STATE.set_generation, {"generation": generation})
        for table in pending:
            nulls += store.count(FOLD.null_keys(t=table))
            _fold_table(store, table, tables, _made_of(store, table, generation))
            point("fold.inside")
    return Folded(generation, nulls)


def fold_unlogged(
    store: DeviceStore, table: SyncTable, tables: Sequence[SyncTable], most: int, *, is_begun: bool
) -> int:
    """Fold rows that were there before capture, as if they had just been inserted; how many.

    They are the next `most` by key, and where fewer are found, the last. All logs are empty.
    """
    store.run(FOLD.drop_collected())
    store.run(FOLD.collect_unlogged(t=table, is_begun=is_begun), {"rows": most})
    found = store.count(FOLD.count_collected())
    store.run(FOLD.drop_reached())
    if found == most:
        store.run(FOLD.keep_reached(t=table))
    if found:
        generation = store.state().generation + 1
        store.run(STATE.set_generation, {"generation": generation})
        _fold_collected(store, table, tables, _made_of(store, table, generation))
    return found


def last_entries(store: DeviceStore) -> tuple[int, ...]:
    """The number of the last entry in every table's log; 0 where it is empty."""
    return tuple(store.count(FOLD.last_entry(t=t)) for t in store.tables())


def _made_of(store: DeviceStore, table: SyncTable, generation: int) -> dict[str, Any]:
    """The number of the fold, and what tells its entries from those of any other."""
    told_by = f"{store.state().device_id} {table.name} {generation}"
    return {"generation": generation, "fold": xxh3_64_digest(told_by.encode())}


def _fold_table(
    store: DeviceStore, table: SyncTable, tables: Sequence[SyncTable], made: dict[str, Any]
) -> None:
    _collect(store, table)
    _fold_collected(store, table, tables, made)


def _fold_collected(
    store: DeviceStore, table: SyncTable, tables: Sequence[SyncTable], made: dict[str, Any]
) -> None:
    for column, rows in table.parents.items():
        store.run(FOLD.add_placeholders(t=table, column=column, parent_rows=rows), made)
    number = {"generation": made["generation"]}
    if table.is_local:
        _fold_local(store, table, made)
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


def _collect(store: DeviceStore, table: SyncTable) -> None:
    """Find the last entry of each key; where the table says otherwise, it is right.

    An application's trigger that fires before ours logs its own edits first, so that the last entry
    may be of an earlier edit; and REPLACE may remove a row of which only the insertion is logged.
    """
    store.run(FOLD.drop_collected())
    store.run(FOLD.collect(t=table))
    if store.run(FOLD.correct_log(t=table)):
        store.run(FOLD.drop_collected())
        store.run(FOLD.collect(t=table))
    if table.is_collated:
        store.run(FOLD.correct_keys(t=table))


def _fold_local(store: DeviceStore, table: SyncTable, made: dict[str, Any]) -> None:
    has_gone = store.first(FOLD.has_gone(t=table)) is not None
    if has_gone:
        store.run(FOLD.mark_returned(t=table))
    store.run(FOLD.mark_named(t=table))
    if store.first(FOLD.has_returns(t=table)):
        store.run(FOLD.mark_reborn(t=table))
    if store.first(FOLD.has_moves(t=table)):
        store.run(FOLD.mark_moved(t=table))
        _fold_in_order(store, table, made)
        return
    number = {"generation": made["generation"]}
    store.run(FOLD.tombstone_local(t=table), number)
    store.run(FOLD.touch_local(t=table), number)
    if has_gone:
        store.run(FOLD.adopt_placeholders(t=table), number)
    if store.first(FOLD.has_made(t=table)):
        store.run(FOLD.find_made(t=table))
    store.run(FOLD.insert_local(t=table), made)


@dataclass(frozen=True)
class _Entry:
    """An entry of the log, and the row that it turned out to be of."""

    seq: int
    key: object
    op: str
    at: str
    by: str
    changes: int | None
    new_id: bytes
    row_id: bytes | None = None

    def is_replaced_by(self, after: "_Entry") -> bool:
        """Whether one statement deleted the row and inserted `after`: REPLACE."""
        return (
            (self.op, after.op, self.key, self.at) == ("D", "I", after.key, after.at)
            and self.changes is not None
            and after.changes is not None
            and after.changes - self.changes == after.seq - self.seq
        )

    def is_moved_to(self, after: "_Entry") -> bool:
        """Whether `after` has the new key of the row whose old key this is."""
        return (self.op, after.op, self.seq + 1) == ("M", "N", after.seq)


def _fold_in_order(store: DeviceStore, table: SyncTable, made: dict[str, Any]) -> None:
    """Fold entry by entry: a changed integer key moves the identity along, through any chain."""
    put_one, generation = FOLD.put_one(t=table), made["generation"]
    last = _Entry(0, None, "", "", "", None, b"")
    deleted: dict[object, _Entry] = {}
    awaited: dict[bytes, object] = {}
    new_ids: list[bytes] = []
    for found in store.rows(FOLD.entries(t=table), made):
        entry = _Entry(*found)
        live = _first(store, FOLD.find_live(t=table), entry.key)
        if live is not None and last.is_moved_to(entry) and last.row_id is not None:
            # The moved row replaced this one, which fired no trigger.
            _put(store, put_one, replace(entry, row_id=live), generation, is_deleted=1)
        if entry.op == "I" and (gone := deleted.get(entry.key)) and gone.is_replaced_by(entry):
            live = gone.row_id
        row_id, was_awaited = _row_of(store, table, entry, last, live)
        if was_awaited and row_id is not None:
            awaited[row_id] = entry.key
        elif row_id == entry.new_id:
            new_ids.append(entry.new_id)
        if row_id is not None:
            # A moved row is out of the way until its new key, which follows at once.
            is_deleted = int(entry.op in "DM")
            _put(store, put_one, replace(entry, row_id=row_id), generation, is_deleted=is_deleted)
        last = replace(entry, row_id=row_id)
        if entry.op == "D":
            deleted[entry.key] = last
    store.run_many(FOLD.forget_unknown(t=table), ({"row_id": new_id} for new_id in new_ids))
    for row_id, key in awaited.items():
        store.run(FOLD.await_again(t=table), {"row_id": row_id, "key": key})


def _row_of(
    store: DeviceStore, table: SyncTable, entry: _Entry, last: _Entry, live: bytes | None
) -> tuple[bytes | None, bool]:
    """The row that an entry is of, and whether others waited for it: for a key that nobody holds, a
    new one; none if it went.
    """
    if last.row_id is not None and last.is_moved_to(entry):
        return last.row_id, False
    if live is not None or entry.op in "DM":
        return live, False
    waiting = _first(store, FOLD.find_placeholder(t=table), entry.key)
    return waiting or entry.new_id, waiting is not None


def _first(store: DeviceStore, sql: str, key: object) -> bytes | None:
    row = store.first(sql, {"key": key})
    return row[0] if row else None


def _put(store: DeviceStore, sql: str, entry: _Entry, generation: int, *, is_deleted: int) -> None:
    store.run(
        sql,
        {
            "row_id": entry.row_id,
            "key": entry.key,
            "is_deleted": is_deleted,
            "at": entry.at,
            "by": entry.by,
            "generation": generation,
        },
    )
