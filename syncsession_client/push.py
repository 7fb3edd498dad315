"""Pushing: seal what is dirty, send it, see it committed, clear the marks."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from .flight import in_flight
from .fold import is_folded
from .identity import SyncTable
from .outbox import Outbox, Outgoing
from .progress import NEVER, Cancellation, Progress, Report
from .protocol import batches, bodies, images
from .protocol.errors import (
    RowsRejected,
    SessionExpired,
    SessionFailed,
    StillCommitting,
    SyncError,
    TooLarge,
)
from .protocol.kill_points import point
from .protocol.rejects import Reject
from .protocol.session_set import SessionSet
from .rows import ROWS
from .store import STATE, DeviceStore
from .transport import Transport

SEALED = "zstd"
"""How batches are kept in the sidecar."""


_Sealed = tuple[batches.Row, bytes | None]  # a row as it travels, and the digest of its values


@dataclass(frozen=True)
class Pushed:
    """What a push did. `session` is None where nothing had changed, or nothing could go.

    `rejected_rows` were refused by the server, each for a reason that _syncsession_rejects names.
    """

    session: int | None = None
    rows: int = 0
    rejected_rows: int = 0


class NotFolded(Exception):  # it is what happened, not a fault
    """A program has written since the fold."""


class TooLargeTogether(Exception):  # likewise
    """The server does not take a batch of several rows; those of at most `most_bytes` may fit."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes)
        self.most_bytes = most_bytes


def seal(
    store: DeviceStore,
    outbox: Outbox,
    tables: Sequence[SyncTable],
    *,
    batch_rows: int,
    batch_bytes: int = batches.BATCH_BYTES,
    is_to_be_whole: bool = False,
    cancellation: Cancellation = NEVER,
) -> Outgoing | None:
    """Write the dirty rows to the outbox as one session, in one read transaction; None if clean.

    A row whose values are those that the server has is not sent; it is settled with the others. One
    that the server has refused as it is stays.
    The generation is that of the rows as they are read: others may fold at any time.

    Raises:
        NotFolded: with `is_to_be_whole`, where the log holds anything. A row that was edited since
            the fold stays behind, and without it the session would have half of the transactions
            that had edited it before.
    """
    number = 0
    with outbox.transaction(), store.read():
        store.check_schema()
        if is_to_be_whole and not is_folded(store, tables):
            raise NotFolded
        state = store.state()
        outgoing = Outgoing(str(uuid.uuid4()), state.device_id, state.generation)
        outbox.begin_outgoing(outgoing)
        for table in tables:
            if not store.first(ROWS.has_to_push(t=table)):
                continue
            found = store.batches(ROWS.dirty(t=table), batch_rows, batch_bytes)
            number = _add_batches(outbox, table, number, found, cancellation)
            point("seal.inside")
    point("seal.done")
    if number == 0:
        outbox.drop_outgoing()
        return None
    return outgoing


def send(
    outbox: Outbox,
    transport: Transport,
    outgoing: Outgoing,
    processed: SessionSet,
    *,
    check_tenant: Callable[[str], None],
    status_timeout: float,
    report: Report,
    cancellation: Cancellation,
) -> dict[str, Any]:
    """Send every batch that the server lacks, commit, and wait for the outcome.

    Raises:
        CopiedDevice: another copy of the file has pushed what this one has not processed.
        SessionExpired: the server let the session go; seal again.
        SessionFailed: the server refused the session; nothing of it was applied.
        SyncError: it refused batches for rows in them, all of which are its `rejects`.
        TooLargeTogether: it takes no batch of that size.
        StillCommitting: there is no outcome after `status_timeout` seconds; send again later.
    """
    tables = outbox.outgoing_tables()
    total = sum(rows for _, rows, _ in tables)
    report(Progress("push_begin", total_rows=total))
    begun = transport.begin_push(
        outgoing.session_id,
        [{"name": name, "rows": rows, "batches": count} for name, rows, count in tables],
        processed.to_wire(),
    )
    point("push.begun")
    check_tenant(begun["tenant_id"])
    status, deadline = begun, time.monotonic() + status_timeout
    if begun["status"] in ("open", "staged"):
        _send_batches(outbox, transport, outgoing, begun, total, report, cancellation)
        cancellation.check()
        point("push.all_sent")
        report(Progress("push_waiting", done_rows=total, total_rows=total))
        deadline = time.monotonic() + status_timeout
        status = transport.commit_push(outgoing.session_id)
    while status["status"] in ("queued", "processing"):
        if time.monotonic() >= deadline:
            raise StillCommitting(
                f"{transport.server} has all of the push, and has not committed it in "
                f"{status_timeout:g} seconds: sync again, and it is waited for again"
            )
        report(Progress("push_waiting", done_rows=total, total_rows=total))
        status = transport.push_status(outgoing.session_id)
    _check_outcome(status)
    report(Progress("push_complete", done_rows=total, total_rows=total))
    return status


def acknowledge(
    store: DeviceStore,
    outbox: Outbox,
    tables: Sequence[SyncTable],
    outgoing: Outgoing,
    outcome: dict[str, Any] | None,
    *,
    is_resumed: bool = False,
) -> Pushed:
    """Clear the marks of what was sealed, in one write transaction; later edits stay dirty.

    The session joins the processed set unless the server corrected something in it: then the next
    pull brings the rows as the server has them. `outcome` is None where nothing had to be sent.
    One that is resumed may have been sealed before a table got other columns: what was agreed then
    is not known of these.
    """
    by_name = {t.wire_name: t for t in tables}
    anew = store.tables_anew() if is_resumed else set()
    number = outcome["number"] if outcome else None
    is_corrected = bool(outcome and outcome["corrected"])
    pushed = 0
    if number is not None and any(number in s for s in store.processed().values()):
        with store.write():
            store.run(STATE.set_sealed, {"session_id": None})
        outbox.drop_outgoing()  # this was done; rows may have changed since
        return Pushed(number)
    with store.write():
        store.run(STATE.set_sealed, {"session_id": None})
        for name, is_sent, rows in outbox.acknowledgements():
            table = by_name.get(name)
            if table is None:
                continue
            point("acknowledge.inside")
            if is_sent:
                pushed += len(rows)
                is_anew = table.name in anew
                base = None if is_corrected else number
                store.run_many(
                    ROWS.acknowledge(t=table),
                    (
                        (outgoing.generation, base, None if is_anew else row[-1], *row[:-1])
                        for row in rows
                    ),
                )
            else:
                store.run_many(
                    ROWS.settle(t=table), ((outgoing.generation, *row[:-1]) for row in rows)
                )
        if is_corrected:
            store.run(STATE.set_corrected, {"session": number})
        elif number is not None:
            store.add_processed(SessionSet.of(number), by_name)
        point("acknowledge.before_commit")
    point("acknowledge.done")
    outbox.drop_outgoing()
    return Pushed(number, pushed)


def _add_batches(
    outbox: Outbox,
    table: SyncTable,
    number: int,
    dirty: Iterator[list[batches.Row]],
    cancellation: Cancellation,
) -> int:
    """Write a table's dirty rows to the outbox, changed ones and others apart; the last number."""
    first = 1 + table.first_digested
    for rows in dirty:
        cancellation.check()
        found = batches.digests(row[first:] for row in rows)
        parts: tuple[list[_Sealed], list[_Sealed]] = ([], [])
        for row, digest in zip(rows, found, strict=True):
            is_deleted = bool(row[4])
            is_same = digest == row[0] and not is_deleted
            parts[is_same].append((row[1:], None if is_deleted else digest))
        for is_sent, part in zip((True, False), parts, strict=True):
            if part:
                number += 1
                _add(outbox, number, table, part, is_sent=is_sent)
    return number


def _add(
    outbox: Outbox, number: int, table: SyncTable, rows: list[_Sealed], *, is_sent: bool
) -> None:
    key = slice(batches.META, batches.META + len(table.identity))
    payload = None
    if is_sent:
        batch = batches.Batch(
            table.wire_name, table.wire_key, table.wire_columns, [row for row, _ in rows]
        )
        payload = bodies.compress(batches.encode(batch), SEALED)
    acknowledgements = msgspec.msgpack.encode([[*row[key], digest] for row, digest in rows])
    outbox.add_outgoing(
        number, table.wire_name, rows=len(rows), payload=payload, acknowledgements=acknowledgements
    )


def _send_batches(
    outbox: Outbox,
    transport: Transport,
    outgoing: Outgoing,
    begun: dict[str, Any],
    total: int,
    report: Report,
    cancellation: Cancellation,
) -> None:
    received = SessionSet.from_wire(begun["received"])
    encoding = bodies.choose(",".join(begun["encodings"]))
    done = 0
    refusals: list[SyncError] = []

    def send_one(item: tuple[int, int, str, bytes | None]) -> SyncError | None:
        """Send a batch; what the server said where it does not take rows of it."""
        number, _, _, sealed = item
        if sealed is None:
            return None
        payload = sealed
        if encoding != SEALED:
            unpacked = bodies.decompress(payload, SEALED, bodies.UNPACKED_LIMIT)
            payload = bodies.compress(unpacked, encoding)
        point("push.batch")
        try:
            transport.send_batch(outgoing.session_id, number, payload, encoding)
        except TooLarge as error:
            return _too_large(error, sealed)
        except SyncError as error:
            if not error.rejects:
                raise
            return error
        point("push.batch_sent")
        return None

    items = (
        (number, rows, table, None if number in received else outbox.payload(number))
        for number, table, rows in outbox.outgoing_numbers()
    )
    for (_, rows, table, _), refusal in in_flight(send_one, items, cancellation):
        if refusal is not None:
            refusals.append(refusal)
        done += rows
        report(Progress("push_table", table, done, total))
    if refusals:
        refusals[0].rejects = [reject for each in refusals for reject in each.rejects]
        raise refusals[0]


def _too_large(error: TooLarge, sealed: bytes) -> TooLarge:
    """The error with the one row of the batch as its reason.

    Raises:
        TooLargeTogether: the batch has several rows.
    """
    packed = bodies.decompress(sealed, SEALED, bodies.UNPACKED_LIMIT)
    batch = batches.decode(packed)
    if len(batch.rows) > 1:
        raise TooLargeTogether(len(packed) // 2) from error
    key = batch.rows[0][batches.META : batches.META + len(batch.key)]
    error.rejects = [Reject(batch.table, images.shown(batch.key, key), "too_large", str(error))]
    return error


def _check_outcome(status: dict[str, Any]) -> None:
    if status["status"] == "expired":
        raise SessionExpired("the server let the session go before it was committed")
    if status["status"] != "committed":
        told = SyncError.from_wire(status["error"])
        failed = (RowsRejected if told.rejects else SessionFailed)(
            f"the server refused the session: {told}"
        )
        failed.rejects = told.rejects
        raise failed
