"""Applying a pull: downloaded batches become rows of the application, in one transaction."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec

from . import conflicts, copies, merged, triggers
from .fold import fold
from .identity import SyncTable
from .progress import NEVER, Cancellation, Progress, Report
from .protocol import batches, bodies
from .protocol.bodies import UNPACKED_LIMIT, Payload
from .protocol.errors import BadRequest, BatchDamaged
from .protocol.kill_points import point
from .protocol.session_set import SessionSet
from .protocol.tables import folded
from .pull import PullAnswer, PulledBatch
from .rows import ROWS
from .statements import load
from .store import STATE, DeviceStore, RefusedRow

APPLY = load("client/apply.sql.j2")

_MADE_UP = -(2**40)  # integers for rows that are not here lie below: nobody else makes such
_HIGH = 2**62  # integers are made up above those in use until these are near the end

_TOLD = {"lost": conflicts.stage, "merged": merged.stage}
"""What a pull tells besides rows of tables, by the kind of the batch."""

_Shape = tuple[str, tuple[str, ...]]  # a table and the columns that came of it


@dataclass(frozen=True)
class Orphans:
    """Rows whose reference points to nothing since this pull."""

    table: str
    columns: tuple[str, ...]
    parent: str
    rows: int


@dataclass
class Pulled:
    """What a pull did. `kept_rows` came from the server and are dirty here, so they wait.

    `outdated_rows` were dirty, and older than what another copy of this file has pushed; of
    `lost_rows` another device's version stands. Both are kept in _syncsession_conflicts.
    `refused_rows` came, and the tables here refuse them, for what `refused_reason` says: they come
    again with the next pull.
    """

    sessions: SessionSet = field(default_factory=SessionSet)
    rows: int = 0
    kept_rows: int = 0
    outdated_rows: int = 0
    lost_rows: int = 0
    refused_rows: int = 0
    refused_reason: str = ""
    orphans: list[Orphans] = field(default_factory=list)


class _Refused(Exception):
    """The table refuses some rows that come. What was applied is undone, and done without them."""

    def __init__(self, incoming: "_Incoming", positions: Sequence[int], reason: str) -> None:
        super().__init__(reason)
        self.incoming, self.positions, self.reason = incoming, positions, reason


@dataclass(frozen=True)
class _Incoming:
    """A table's downloaded rows in a temporary table; `columns` are those that both sides have."""

    table: SyncTable
    name: str
    columns: tuple[str, ...]

    @property
    def unsent(self) -> tuple[str, ...]:
        sent = {folded(name) for name in self.columns}
        return tuple(name for name in self.table.values if folded(name) not in sent)

    @cached_property
    def stage(self) -> str:
        """The statement that every batch is staged with."""
        return self.render("stage")

    def render(self, block: str, **names: Any) -> str:
        """The statement of this name for this table."""
        render = getattr(APPLY, block)
        return str(render(t=self.table, incoming=self.name, columns=self.columns, **names))


def apply(
    store: DeviceStore,
    tables: Sequence[SyncTable],
    answer: PullAnswer,
    downloaded: Iterable[tuple[PulledBatch, Payload]],
    *,
    report: Report,
    is_copy: bool = False,
    is_another: bool = False,
    cancellation: Cancellation = NEVER,
) -> Pulled:
    """Apply every downloaded row that is not dirty here, and note the sessions as processed.

    Of a file that is a copy some dirty rows give way first. `is_another`: it becomes a device of
    its own by this.

    Decoding and staging come first, outside the write lock. Then one transaction folds (an edit
    made a moment ago counts as dirty) and changes the application's tables set by set. Where a
    table refuses a row, it is done again without that row: what is in its way is to block no other.
    """
    staged: dict[_Shape, _Incoming] = {}
    left_out: dict[str, SessionSet] = {}
    refused_rows, refused_reason = 0, ""
    try:
        conflicts.open_stage(store)
        merged.open_stage(store)
        progress = Progress("pull_table", total_rows=answer.rows)
        _stage(store, tables, downloaded, staged, progress, report)
        cancellation.check()
        point("apply.staged")
        while True:
            pulled = Pulled(
                answer.settled, refused_rows=refused_rows, refused_reason=refused_reason
            )
            try:
                with store.write():
                    _apply_staged(
                        store, tables, list(staged.values()), pulled, left_out, is_copy, is_another
                    )
                    point("apply.before_commit")
                return pulled
            except _Refused as refused:
                store.fire_triggers(True)
                refused_rows += len(refused.positions)
                refused_reason = refused.reason
                name = refused.incoming.table.wire_name
                left_out[name] = left_out.get(name, SessionSet()) | _leave_out(store, refused)
    finally:
        store.fire_triggers(True)
        conflicts.close_stage(store)
        merged.close_stage(store)
        for incoming in staged.values():
            store.run(incoming.render("drop_incoming"))


def _apply_staged(
    store: DeviceStore,
    tables: Sequence[SyncTable],
    staged: Sequence[_Incoming],
    pulled: Pulled,
    left_out: Mapping[str, SessionSet],
    is_copy: bool,
    is_another: bool,
) -> None:
    """Inside the transaction: what was staged, and the sessions that it is of, but for those left
    out of a table, which come again.
    """
    store.check_schema()
    generation = fold(store, tables).generation
    store.run(STATE.suppress, {"is_suppressed": 1})
    firing = triggers.firing(store, tables)
    store.fire_triggers(False)
    merged.become(store, tables)
    _find_changed(store, staged, generation)
    for incoming in staged if is_copy else ():
        pulled.outdated_rows += copies.give_way(store, incoming.table, incoming.name)
    if is_another:
        copies.become_another(store)
        point("copy.another")
    _apply_tables(store, tables, staged, generation, pulled, firing)
    pulled.lost_rows = conflicts.keep(store, tables)
    store.run(STATE.suppress, {"is_suppressed": 0})
    for name in (t.wire_name for t in tables):
        store.add_processed(pulled.sessions - left_out.get(name, SessionSet()), [name])
    store.run(STATE.be_settled)
    store.run(STATE.set_corrected, {"session": None})


def _leave_out(store: DeviceStore, refused: _Refused) -> SessionSet:
    """Take rows out of what was staged; the sessions that brought them."""
    incoming, sessions = refused.incoming, set()
    with store.temporary():
        for position in refused.positions:
            row = store.first(incoming.render("session_of"), {"position": position})
            sessions |= set(row or ())
            store.run(incoming.render("leave_out"), {"position": position})
    return SessionSet.of(*sessions)


def _stage(
    store: DeviceStore,
    tables: Sequence[SyncTable],
    downloaded: Iterable[tuple[PulledBatch, Payload]],
    staged: dict[_Shape, _Incoming],
    progress: Progress,
    report: Report,
) -> None:
    """Put the downloaded rows into temporary tables, one for each table and set of columns."""
    by_name = {folded(t.wire_name): t for t in tables}
    for listed, payload in downloaded:
        table = by_name.get(folded(listed.table))
        if table is None:
            continue
        batch = _unpack(listed, payload)
        if listed.kind:
            if listed.kind in _TOLD:
                with store.temporary():
                    _TOLD[listed.kind](store, batch)
            continue
        shape = (table.name, batch.columns)
        if shape not in staged:
            staged[shape] = _create(store, table, batch.columns, len(staged))
        with store.temporary():
            store.run_many(staged[shape].stage, _staged_rows(staged[shape], batch))
        progress = replace(progress, table=table.name, done_rows=progress.done_rows + listed.rows)
        report(progress)


def _unpack(listed: PulledBatch, payload: Payload) -> batches.Batch:
    """A downloaded batch.

    Raises:
        BatchDamaged: it is none. HTTP does not always tell when a body was cut.
    """
    try:
        packed = bodies.decompress(payload.data, payload.encoding, UNPACKED_LIMIT)
        return batches.decode(packed)
    except (BadRequest, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BatchDamaged(
            f"batch {listed.number} of the pull came damaged ({error}); sync again"
        ) from error


def _create(
    store: DeviceStore, table: SyncTable, columns: tuple[str, ...], number: int
) -> _Incoming:
    sent = {folded(name) for name in columns}
    shared = tuple(name for name in table.values if folded(name) in sent)
    incoming = _Incoming(table, f"_sync_incoming_{number}", shared)
    store.run(incoming.render("drop_incoming"))
    store.run(incoming.render("create_incoming"))
    return incoming


def _staged_rows(incoming: _Incoming, batch: batches.Batch) -> Iterator[tuple[Any, ...]]:
    """(session, at, by, is_deleted, *key, [hint,] *values, digest) of each row.

    The digest covers the columns in the order that they have here. Where the server has not sent
    all of them there is none, and the row counts as changed whenever it is touched.
    """
    table = incoming.table
    first = batches.META + len(batch.key)
    head = first + int(table.is_local)
    sent = [folded(name) for name in batch.columns]
    places = [first + sent.index(folded(name)) for name in incoming.columns]
    if incoming.unsent:
        return ((*row[:head], *(row[i] for i in places), None) for row in batch.rows)
    rows: Iterable[batches.Row] = batch.rows
    if places != list(range(head, first + len(sent))):
        rows = [(*row[:head], *(row[i] for i in places)) for row in batch.rows]
    start = table.first_digested
    digests = batches.digests(row[start:] for row in rows)
    return ((*row, digest) for row, digest in zip(rows, digests, strict=True))


def _apply_tables(
    store: DeviceStore,
    tables: Sequence[SyncTable],
    staged: Sequence[_Incoming],
    generation: int,
    pulled: Pulled,
    firing: frozenset[str],
) -> None:
    """All identities first, so that every reference finds its row; then the rows."""
    for incoming in staged:
        _skip_dirty(store, incoming, pulled)
    for incoming in staged:
        if incoming.table.is_local:
            _resolve_integers(store, incoming)
            _repoint(store, tables, incoming)
            _delete(store, incoming, fire=incoming.table.name in firing)
            store.run(incoming.render("upsert_shadow"), {"generation": generation})
    for parent in (t for t in store.all_tables() if t.is_local):
        _add_placeholders(store, parent, tables, staged)
    for incoming in staged:
        if not incoming.table.is_local:
            if incoming.table.is_mapped:
                store.run(incoming.render("resolve_parts"))
            _delete(store, incoming, fire=incoming.table.name in firing)
            if store.first(incoming.render("has_gone")):
                store.run(incoming.render("remember_gone"), {"generation": generation})
            store.run(incoming.render("upsert_shadow"), {"generation": generation})
    for incoming in staged:
        store.fire_triggers(incoming.table.name in firing)
        _upsert(store, incoming)
        point("apply.inside")
        pulled.rows += store.count(incoming.render("count"))
    _check_references(store, tables, staged, pulled)


def _find_changed(store: DeviceStore, staged: Sequence[_Incoming], generation: int) -> None:
    """Mark rows of tables that come anew, and whose values here are newer than those that come."""
    anew = {r.table.name: r.doubted for r in store.registrations() if r.is_anew}
    for incoming in (i for i in staged if i.table.name in anew):
        numbered = list(enumerate(incoming.columns, 1))
        doubted = [(n, name) for n, name in numbered if name in anew[incoming.table.name]]
        store.run(
            ROWS.find_changed(
                t=incoming.table, incoming=incoming.name, columns=numbered, doubted=doubted
            ),
            {"generation": generation},
        )


def _skip_dirty(store: DeviceStore, incoming: _Incoming, pulled: Pulled) -> None:
    if not store.first(ROWS.has_dirty(t=incoming.table)):
        return
    store.run(incoming.render("index_incoming"))
    store.run(ROWS.settle_before_apply(t=incoming.table, incoming=incoming.name))
    store.run(incoming.render("rebase"))
    store.run(incoming.render("disagree"))
    pulled.kept_rows += store.run(incoming.render("skip_dirty"))


def _resolve_integers(store: DeviceStore, incoming: _Incoming) -> None:
    """Give each row that comes the integer by which this device knows it, or will."""
    store.run(incoming.render("resolve_known"))
    if store.first(incoming.render("has_unresolved")):
        store.run(incoming.render("resolve_by_hint"))
    if store.first(incoming.render("has_unresolved")):
        lowest, highest = _bounds(store, incoming.table, incoming)
        base, step = (highest, 1) if highest < _HIGH else (lowest, -1)
        store.run(incoming.render("resolve_by_next"), {"base": base, "step": step})


def _bounds(
    store: DeviceStore, table: SyncTable, incoming: _Incoming | None = None
) -> tuple[int, int]:
    """The lowest and highest integer in use for a table's rows, 0 included."""
    statements = [APPLY.shadow_bounds(t=table)]
    if not table.is_missing:
        statements.append(APPLY.app_bounds(t=table))
    if incoming is not None:
        statements.append(incoming.render("incoming_bounds"))
    found = [value for sql in statements for value in store.first(sql) or ()]
    integers = [0, *(value for value in found if isinstance(value, int))]
    return min(integers), max(integers)


def _repoint(store: DeviceStore, tables: Sequence[SyncTable], incoming: _Incoming) -> None:
    """Let the rows that waited for a row which comes now point to it."""
    if not store.first(incoming.render("has_awaited")):
        return
    store.fire_triggers(False)
    for child, column in incoming.table.children(tables):
        store.run(incoming.render("repoint", child=child, column=column))
        if column in child.key:
            part = child.keys[child.key.index(column)]
            store.run(incoming.render("repoint_shadow", child=child, part=part))


def _add_placeholders(
    store: DeviceStore, parent: SyncTable, tables: Sequence[SyncTable], staged: Sequence[_Incoming]
) -> None:
    """Give the rows of `parent` that are referenced and not here an integer of their own."""
    children = parent.children(tables)
    store.run(APPLY.drop_missing())
    store.run(APPLY.create_missing())
    for incoming in staged:
        for column in (c for t, c in children if t.name == incoming.table.name):
            value = _staged_column(incoming, column)
            if value:
                store.run(incoming.render("collect_missing", parent=parent, value=value))
    if store.first(APPLY.has_missing()):
        lowest, _ = _bounds(store, parent)
        store.run(APPLY.place_missing(t=parent), {"base": min(lowest, _MADE_UP)})
    store.run(APPLY.drop_missing())


def _staged_column(incoming: _Incoming, column: str) -> str | None:
    """Where a column of the table is in the temporary one."""
    if column in incoming.table.key:
        return incoming.table.identity[incoming.table.key.index(column)]
    if column in incoming.columns:
        return f"value_{incoming.columns.index(column) + 1}"
    return None


def _delete(store: DeviceStore, incoming: _Incoming, *, fire: bool) -> None:
    if store.first(incoming.render("has_gone")):
        store.fire_triggers(fire)
        store.run(incoming.render("delete_gone"))
        store.run(incoming.render("tombstone_gone"))


def _upsert(store: DeviceStore, incoming: _Incoming) -> None:
    needed = dict(store.rows(APPLY.needed(), {"table_name": incoming.table.name}))
    upsert = incoming.render("upsert", needed=needed, is_one=False)
    defaulted = [i for i, name in enumerate(incoming.columns, 1) if name in needed]
    if defaulted:
        store.run(incoming.render("forget_defaulted", defaulted=defaulted))
    if not incoming.table.has_unique:
        _run_or_refuse(store, incoming, upsert, needed)
        return
    unsent = incoming.unsent
    if unsent:
        store.run(incoming.render("drop_unsent"))
        store.run(incoming.render("save_unsent", unsent=unsent))
    store.run(incoming.render("clear_replaced"))
    _run_or_refuse(store, incoming, upsert, needed)
    if unsent:
        store.run(incoming.render("restore_unsent", unsent=unsent))
        store.run(incoming.render("drop_unsent"))


def _run_or_refuse(
    store: DeviceStore, incoming: _Incoming, upsert: str, needed: dict[str, Any]
) -> None:
    """Write the rows. If the table refuses any, one by one, to find which.

    Raises:
        _Refused: these.
    """
    try:
        store.run(upsert)
    except RefusedRow as error:
        refused, reason = [], error.reason
        one = incoming.render("upsert", needed=needed, is_one=True)
        for (position,) in list(store.rows(incoming.render("positions"))):
            try:
                store.run(one, {"position": position})
            except RefusedRow as found:
                refused.append(position)
                reason = found.reason
        if not refused:
            raise
        raise _Refused(incoming, refused, f"{incoming.table.name}: {reason}") from error


def _check_references(
    store: DeviceStore, tables: Sequence[SyncTable], staged: Sequence[_Incoming], pulled: Pulled
) -> None:
    """Find references that this pull broke: of rows that came, and to rows that went."""
    present = {t.name for t in tables}
    came = {i.table.name: i for i in staged}
    went = {i.table.name for i in staged if store.first(i.render("has_gone"))}
    for table in tables:
        for reference in table.table.references:
            is_checked = reference.declared and reference.parent_columns
            if not is_checked or reference.parent not in present:
                continue
            names = {
                "columns": reference.columns,
                "parent": reference.parent,
                "parent_columns": reference.parent_columns,
            }
            if reference.parent in went:
                sql = APPLY.count_deserted(t=table, **names)
            elif table.name in came:
                sql = APPLY.count_orphans(t=table, incoming=came[table.name].name, **names)
            else:
                continue
            rows = store.count(sql)
            if rows:
                pulled.orphans.append(
                    Orphans(table.name, reference.columns, reference.parent, rows)
                )
