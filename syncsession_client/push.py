"""Pushing: seal what is dirty, send it, see it committed, clear the marks."""

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from .fold import Folded
from .identity import SyncTable
from .outbox import Outbox, Outgoing
from .progress import Cancellation, Progress, Report
from .protocol import batches, bodies
from .protocol.errors import SessionExpired, SessionFailed
from .protocol.session_set import SessionSet
from .statements import load
from .store import DeviceStore
from .transport import Transport

ROWS = load("client/rows.sql.j2")

SEALED = "zstd"
"""How batches are kept in the sidecar."""

_BATCH_BYTES = 4 << 20  # a batch is closed when its values pass this, however few its rows
_UNPACKED_LIMIT = 1 << 30
_IN_FLIGHT = 3  # batches on their way at a time: the server checks one while the next travels


@dataclass(frozen=True)
class Pushed:
    """What a push did. `session` is None where nothing had changed."""

    session: int | None = None
    rows: int = 0


def seal(
    store: DeviceStore,
    outbox: Outbox,
    tables: Sequence[SyncTable],
    folded: Folded,
    *,
    batch_rows: int,
) -> Outgoing | None:
    """Write the dirty rows to the outbox as one session, in one read transaction; None if clean.

    A row whose values are those that the server has is not sent; it is settled with the others.
    """
    outgoing = Outgoing(str(uuid.uuid4()), store.state().device_id, folded.generation)
    number = 0
    with outbox.transaction(), store.read():
        outbox.begin_outgoing(outgoing)
        for table in tables:
            if not store.first(ROWS.has_dirty(t=table)):
                continue
            for rows in _batches(_dirty(store, table), batch_rows):
                number += 1
                _add(outbox, number, table, rows)
    if number == 0:
        outbox.drop_outgoing()
        return None
    return outgoing


def send(
    outbox: Outbox,
    transport: Transport,
    outgoing: Outgoing,
    *,
    check_tenant: Callable[[str], None],
    report: Report,
    cancellation: Cancellation,
) -> dict[str, Any]:
    """Send every batch that the server lacks, commit, and wait for the outcome.

    Raises:
        SessionExpired: the server let the session go; seal again.
        SessionFailed: the server refused the session; nothing of it was applied.
    """
    tables = outbox.outgoing_tables()
    total = sum(rows for _, rows, _ in tables)
    report(Progress("push_begin", total_rows=total))
    begun = transport.begin_push(
        outgoing.session_id,
        [{"name": name, "rows": rows, "batches": count} for name, rows, count in tables],
    )
    check_tenant(begun["tenant_id"])
    status = begun
    if begun["status"] in ("open", "staged"):
        _send_batches(outbox, transport, outgoing, begun, total, report, cancellation)
        cancellation.check()
        report(Progress("push_waiting", done_rows=total, total_rows=total))
        status = transport.commit_push(outgoing.session_id)
    while status["status"] in ("queued", "processing"):
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
) -> Pushed:
    """Clear the marks of what was sealed, in one write transaction; later edits stay dirty.

    The session joins the processed set unless the server corrected something in it: then the next
    pull brings the rows as the server has them. `outcome` is None where nothing had to be sent.
    """
    by_name = {t.name: t for t in tables}
    number = outcome["number"] if outcome else None
    pushed = 0
    with store.write():
        for name, is_sent, rows in outbox.acknowledgements():
            table = by_name.get(name)
            if table is None:
                continue
            if is_sent:
                pushed += len(rows)
                sql = ROWS.acknowledge(t=table)
                store.run_many(
                    sql, ((outgoing.generation, number, row[-1], *row[:-1]) for row in rows)
                )
            else:
                store.run_many(
                    ROWS.settle(t=table), ((outgoing.generation, *row[:-1]) for row in rows)
                )
        if number is not None and outcome is not None and not outcome["corrected"]:
            store.add_processed(SessionSet.of(number), by_name)
    outbox.drop_outgoing()
    return Pushed(number, pushed)


class _Dirty(NamedTuple):
    """A dirty row as it travels, the digest and size of its values, and whether they changed."""

    row: tuple[Any, ...]
    digest: bytes | None
    size: int
    is_changed: bool


def _dirty(store: DeviceStore, table: SyncTable) -> Iterator[_Dirty]:
    first_value = 1 + batches.META + len(table.identity) + int(table.is_local)
    pack, digest_of = batches.pack, batches.digest_of
    for found in store.rows(ROWS.dirty(t=table)):
        if found[4]:
            yield _Dirty(found[1:], None, 0, True)
            continue
        packed = pack(found[first_value:])
        digest = digest_of(packed)
        yield _Dirty(found[1:], digest, len(packed), digest != found[0])


def _batches(rows: Iterable[_Dirty], batch_rows: int) -> Iterator[list[_Dirty]]:
    """The rows in batches that hold changed rows only, or unchanged ones only."""
    batch: dict[bool, list[_Dirty]] = {True: [], False: []}
    size = 0
    for row in rows:
        part = batch[row.is_changed]
        part.append(row)
        size += row.size * row.is_changed
        if len(part) == batch_rows or (row.is_changed and size > _BATCH_BYTES):
            yield part
            batch[row.is_changed], size = [], size * (not row.is_changed)
    yield from (part for part in batch.values() if part)


def _add(
    outbox: Outbox,
    number: int,
    table: SyncTable,
    rows: list[_Dirty],
) -> None:
    width = len(table.identity)
    keys = slice(batches.META, batches.META + width)
    payload = None
    if rows[0].is_changed:
        batch = batches.Batch(
            table.name, table.table.wire_key, table.table.wire_columns, [r.row for r in rows]
        )
        payload = bodies.compress(batches.encode(batch), SEALED)
    acknowledgements = msgspec.msgpack.encode([[*r.row[keys], r.digest] for r in rows])
    outbox.add_outgoing(
        number, table.name, rows=len(rows), payload=payload, acknowledgements=acknowledgements
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
    with ThreadPoolExecutor(_IN_FLIGHT, "push") as pool:
        sending: deque[tuple[Future[None], str, int]] = deque()
        try:
            for number, table, rows in outbox.outgoing_numbers():
                cancellation.check()
                payload = outbox.payload(number) if number not in received else None
                sent = pool.submit(_send, transport, outgoing, number, payload, encoding)
                sending.append((sent, table, rows))
                if len(sending) > _IN_FLIGHT:
                    done += _finish_one(sending, done, total, report)
            while sending:
                done += _finish_one(sending, done, total, report)
        finally:
            for sent, _, _ in sending:
                sent.cancel()


def _send(
    transport: Transport, outgoing: Outgoing, number: int, payload: bytes | None, encoding: str
) -> None:
    """Send one batch, unless the server has it."""
    if payload is None:
        return
    if encoding != SEALED:
        unpacked = bodies.decompress(payload, SEALED, _UNPACKED_LIMIT)
        payload = bodies.compress(unpacked, encoding)
    transport.send_batch(outgoing.session_id, number, payload, encoding)


def _finish_one(
    sending: deque[tuple[Future[None], str, int]], done: int, total: int, report: Report
) -> int:
    """Wait for the oldest batch under way; its rows."""
    sent, table, rows = sending.popleft()
    sent.result()
    report(Progress("push_table", table, done + rows, total))
    return rows


def _check_outcome(status: dict[str, Any]) -> None:
    if status["status"] == "expired":
        raise SessionExpired("the server let the session go before it was committed")
    if status["status"] != "committed":
        raise SessionFailed(f"the server refused the session: {status['error']['message']}")
