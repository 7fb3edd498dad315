"""Pulling: ask for the sessions this device has not processed, download them, hand them over."""

import uuid
from collections.abc import Container, Generator, Sequence
from dataclasses import dataclass

import msgspec

from .flight import in_flight
from .identity import SyncTable
from .outbox import Outbox
from .progress import Cancellation, Progress, Report
from .protocol.bodies import Payload
from .protocol.errors import ServerBusy
from .protocol.kill_points import point
from .protocol.session_set import SessionSet
from .transport import Transport


class PulledBatch(msgspec.Struct, frozen=True):
    """One batch of this pull. `payload` is None where the server holds it, to be asked for.

    `kind` is "lost" where its rows are versions that lost against others: `protocol.batches`.
    """

    number: int
    table: str
    rows: int
    payload: bytes | None = None
    kind: str = ""


class PullAnswer(msgspec.Struct, frozen=True):
    """What the server says when a pull begins.

    `sessions` are the numbers that had ended at the moment of the pull's snapshot, all of them:
    committed ones, whose rows the batches hold, and failed or expired ones, which have none.
    `encoding` is that of the batches which are here already. `pushed` is the newest session of this
    device that is committed, or None.
    """

    tenant_id: str
    sessions: list[list[int]]
    batches: list[PulledBatch]
    encoding: str = "identity"
    pushed: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether the server holds the batches until it is told that they are here."""
        return any(batch.payload is None for batch in self.batches)

    @property
    def settled(self) -> SessionSet:
        return SessionSet.from_wire(self.sessions)

    @property
    def rows(self) -> int:
        """How many rows of tables the batches hold."""
        return sum(batch.rows for batch in self.batches if not batch.kind)


@dataclass(frozen=True)
class Download:
    """A pull that has begun; its batches come into the outbox one by one."""

    pull_id: str
    answer: PullAnswer


def request(
    tables: Sequence[SyncTable], processed: dict[str, SessionSet], anew: Container[str]
) -> bytes:
    """The JSON text of a pull: the processed set of each table, tables of equal sets together.

    Of the tables in `anew` every row is asked for. What they have processed is told nevertheless:
    it is what deletions they have heard of.
    """
    groups: dict[tuple[SessionSet, bool], list[str]] = {}
    for table in tables:
        group = processed.get(table.wire_name, SessionSet()), table.name in anew
        groups.setdefault(group, []).append(table.wire_name)
    listed = [
        {"tables": names, "sessions": sessions.to_wire()} | ({"anew": True} if is_anew else {})
        for (sessions, is_anew), names in groups.items()
    ]
    return msgspec.json.encode({"processed": listed})


def begin(
    outbox: Outbox, transport: Transport, device_id: str, text: bytes, *, report: Report
) -> Download:
    """Begin a pull; where the server holds rows for it, the outbox keeps it until it is applied."""
    report(Progress("pull_begin"))
    pull_id = str(uuid.uuid4())
    answered = transport.begin_pull(pull_id, text)
    point("pull.begun")
    try:
        answer = msgspec.json.decode(answered, type=PullAnswer)
    except msgspec.DecodeError as error:
        raise ServerBusy(f"{transport.server} answered a pull with something else") from error
    if answer.is_held:
        outbox.begin_incoming(pull_id, device_id.encode() + text, answered)
        point("pull.kept")
    return Download(pull_id, answer)


def under_way(outbox: Outbox, device_id: str, text: bytes) -> Download | None:
    """The pull that the outbox keeps from an earlier time, if it is what would be asked for now.

    Another is of no use: since it began the database was restored, gained a table or column, or had
    a push of its own committed. It is forgotten.
    """
    incoming = outbox.incoming()
    if incoming is None:
        return None
    if incoming.request != device_id.encode() + text:
        outbox.drop_incoming()
        return None
    return Download(incoming.pull_id, msgspec.json.decode(incoming.answer, type=PullAnswer))


def download(
    outbox: Outbox, transport: Transport, begun: Download, *, cancellation: Cancellation
) -> Generator[tuple[PulledBatch, Payload], None, None]:
    """Every batch of the pull, in order: from the answer, from the outbox, or downloaded and kept
    there first.

    Raises:
        UnknownPull: the server has forgotten the pull; begin another.
    """
    if not begun.answer.is_held:
        for batch in begun.answer.batches:
            cancellation.check()
            yield batch, Payload(begun.answer.encoding, batch.payload or b"")
        return
    here = set(outbox.incoming_numbers())

    def fetch(batch: PulledBatch) -> Payload | None:
        if batch.number in here:
            return None
        return transport.get_batch(begun.pull_id, batch.number)

    for batch, payload in in_flight(fetch, begun.answer.batches, cancellation):
        if payload is None:
            yield batch, outbox.incoming_payload(batch.number)
            continue
        point("pull.batch")
        with outbox.transaction(durable=False):
            outbox.add_incoming(batch.number, payload)
        point("pull.batch_kept")
        yield batch, payload
