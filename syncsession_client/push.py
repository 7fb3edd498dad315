"""Pushing: seal what is dirty, send it, see it committed, clear the marks."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from .flight import in_flight
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
_CHUNK_ROWS = 500
_UNPACKED_LIMIT = 1 << 30


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


def _dirty(store: DeviceStore, table: SyncTable) -> Iterator[list[_Dirty]]:
    """The dirty rows of a table, in chunks: a thousand at a time cost half of one by one."""
    first_value = 1 + batches.META + len(table.identity) + int(table.is_local)
    for found in store.chunks(ROWS.dirty(t=table), _CHUNK_ROWS):
        packed = [batches.pack(row[first_value:]) for row in found]
        digests = [batches.digest_of(values) for values in packed]
        yield [
            _Dirty(row[1:], None, 0, True)
            if row[4]
            else _Dirty(row[1:], digest, len(values), digest != row[0])
            for row, values, digest in zip(found, packed, digests, strict=True)
        ]


def _batches(chunks: Iterable[list[_Dirty]], batch_rows: int) -> Iterator[list[_Dirty]]:
    """The rows in batches that hold changed rows only, or unchanged ones only."""
    batch: dict[bool, list[_Dirty]] = {True: [], False: []}
    size = 0
    for row in chain.from_iterable(chunks):
        part = batch[row.is_changed]
        part.append(row)
        if row.is_changed:
            size += row.size
        if len(part) == batch_rows or size > _BATCH_BYTES:
            yield part
            batch[row.is_changed], size = [], 0
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

    def send_one(item: tuple[int, int, str, bytes | None]) -> None:
        number, _, _, payload = item
        if payload is None:
            return
        if encoding != SEALED:
            unpacked = bodies.decompress(payload, SEALED, _UNPACKED_LIMIT)
            payload = bodies.compress(unpacked, encoding)
        transport.send_batch(outgoing.session_id, number, payload, encoding)

    items = (
        (number, rows, table, None if number in received else outbox.payload(number))
        for number, table, rows in outbox.outgoing_numbers()
    )
    for (_, rows, table, _), _ in in_flight(send_one, items, cancellation):
        done += rows
        report(Progress("push_table", table, done, total))


def _check_outcome(status: dict[str, Any]) -> None:
    if status["status"] == "expired":
        raise SessionExpired("the server let the session go before it was committed")
    if status["status"] != "committed":
        raise SessionFailed(f"the server refused the session: {status['error']['message']}")
