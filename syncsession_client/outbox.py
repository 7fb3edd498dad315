"""The sidecar `app.db-sync`: sealed sessions on their way out, pulled batches on their way in.

Durable, so that a crash or a lost answer sends the same bytes again; and expendable: rows stay
dirty until they are acknowledged, so losing the file loses nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import msgspec

from .protocol.bodies import Payload
from .protocol.errors import DatabaseLocked, DiskFull, NotWritable, SidecarDamaged
from .protocol.kill_points import point
from .statements import load

OUTBOX = load("client/outbox.sql")

_SHRINK_ABOVE = 1 << 20  # bytes; a sidecar that has grown past this is emptied on the disk too


@dataclass(frozen=True)
class Outgoing:
    """A sealed session: its id, the device that sealed it, the generation of its fold."""

    session_id: str
    device_id: str
    generation: int


@dataclass(frozen=True)
class Incoming:
    """A pull under way: what was asked when it began, and what the server said."""

    pull_id: str
    request: bytes
    answer: bytes


class Outbox:
    """The sidecar's one connection. Whoever opens it closes it, by `with`.

    Raises:
        NotWritable: the sidecar cannot be made beside the database.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + "-sync")
        try:
            self._db = self._open()
        except (apsw.NotADBError, apsw.CorruptError):
            self.path.unlink()
            self._wal.unlink(missing_ok=True)
            self._db = self._open()
        except (apsw.BusyError, apsw.LockedError) as error:
            raise DatabaseLocked(f"another sync of {database} is running; try again") from error
        except apsw.FullError as error:
            raise self._is_full() from error
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.IOError) as error:
            raise NotWritable(f"{self.path} cannot be written: {error}") from error

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """One change of the sidecar; rolled back when the body raises."""
        with self._errors():
            self._db.execute(OUTBOX.be_durable if durable else OUTBOX.be_fast)
            self._db.execute(OUTBOX.begin)
            try:
                yield
                self._db.execute(OUTBOX.commit)
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute(OUTBOX.rollback)
                raise

    # Going out

    def outgoing(self) -> Outgoing | None:
        """The sealed session that is not acknowledged yet."""
        row = self._first(OUTBOX.read_outgoing)
        return Outgoing(*row) if row else None

    def begin_outgoing(self, outgoing: Outgoing) -> None:
        """Start a sealed session; the caller holds a transaction."""
        self._run(
            OUTBOX.insert_outgoing,
            {
                "session_id": outgoing.session_id,
                "device_id": outgoing.device_id,
                "generation": outgoing.generation,
            },
        )

    def add_outgoing(
        self, number: int, table: str, *, rows: int, payload: bytes | None, acknowledgements: bytes
    ) -> None:
        """Add a batch; without a payload it only settles rows that did not change."""
        self._run(
            OUTBOX.insert_outgoing_batch,
            {
                "number": number,
                "table_name": table,
                "count_rows": rows,
                "payload": payload,
                "acknowledgements": acknowledgements,
            },
        )

    def outgoing_tables(self) -> list[tuple[str, int, int]]:
        """(table, rows, batches) of what is to be sent, in batch order."""
        return list(self._rows(OUTBOX.outgoing_tables))

    def outgoing_numbers(self) -> list[tuple[int, str, int]]:
        """(number, table, rows) of every batch that is to be sent."""
        return list(self._rows(OUTBOX.outgoing_numbers))

    def payload(self, number: int) -> bytes:
        """The bytes of an outgoing batch."""
        row = self._first(OUTBOX.outgoing_payload, {"number": number})
        assert row is not None  # noqa: S101  # the number came from outgoing_numbers
        return bytes(row[0])

    def acknowledgements(self) -> Iterator[tuple[str, bool, list[Any]]]:
        """(table, was it sent, [[key…, digest], …]) of every batch."""
        for table, is_sent, packed in self._rows(OUTBOX.outgoing_acknowledgements):
            yield table, bool(is_sent), msgspec.msgpack.decode(packed)

    def drop_outgoing(self) -> None:
        """Forget the sealed session."""
        with self.transaction(durable=False):
            self._run(OUTBOX.delete_outgoing_batches)
            point("outbox.dropping_push")
            self._run(OUTBOX.delete_outgoing)
        self._shrink()

    # Coming in

    def incoming(self) -> Incoming | None:
        """The pull that is not applied yet."""
        row = self._first(OUTBOX.read_incoming)
        return Incoming(*row) if row else None

    def begin_incoming(self, pull_id: str, request: bytes, answer: bytes) -> None:
        """Keep a pull that has begun: what was asked, and what the server said."""
        with self.transaction(durable=False):
            self._run(
                OUTBOX.insert_incoming,
                {"pull_id": pull_id, "request": request, "answer": answer},
            )

    def add_incoming(self, number: int, payload: Payload) -> None:
        """Keep a downloaded batch; the caller holds a transaction."""
        self._run(
            OUTBOX.insert_incoming_batch,
            {"number": number, "encoding": payload.encoding, "data": payload.data},
        )

    def incoming_numbers(self) -> list[int]:
        """The batches that are here already."""
        return [number for (number,) in self._rows(OUTBOX.incoming_numbers)]

    def incoming_payload(self, number: int) -> Payload:
        """A downloaded batch."""
        row = self._first(OUTBOX.incoming_payload, {"number": number})
        assert row is not None  # noqa: S101  # the number came from incoming_numbers
        return Payload(*row)

    def drop_incoming(self) -> None:
        """Forget the pull."""
        with self.transaction(durable=False):
            self._run(OUTBOX.delete_incoming_batches)
            point("outbox.dropping_pull")
            self._run(OUTBOX.delete_incoming)
        self._shrink()

    def remove(self) -> None:
        """Delete the sidecar itself."""
        self._db.close()
        self.path.unlink(missing_ok=True)
        self._wal.unlink(missing_ok=True)

    @property
    def _wal(self) -> Path:
        return self.path.with_name(self.path.name + "-wal")

    def _open(self) -> apsw.Connection:
        db = apsw.Connection(str(self.path))
        try:
            for sql in (
                OUTBOX.defer_busy,
                OUTBOX.lock,
                OUTBOX.write_ahead,
                OUTBOX.create_outgoing,
                OUTBOX.create_outgoing_batch,
                OUTBOX.create_incoming,
                OUTBOX.create_incoming_batch,
            ):
                db.execute(sql)
        except BaseException:
            db.close()
            raise
        return db

    def _run(self, sql: str, values: Any = None) -> None:
        with self._errors():
            self._db.execute(sql, values)

    def _rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        with self._errors():
            yield from self._db.execute(sql)

    def _first(self, sql: str, values: Any = None) -> tuple[Any, ...] | None:
        with self._errors():
            return next(iter(self._db.execute(sql, values)), None)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the driver's errors into ours; a damaged sidecar is thrown away."""
        try:
            yield
        except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
            self.remove()
            raise SidecarDamaged(
                f"{self.path} was damaged ({error}) and is thrown away; no edit is lost: sync again"
            ) from error
        except apsw.BusyError as error:
            raise DatabaseLocked(f"another sync is using {self.path}; try again") from error
        except apsw.FullError as error:
            raise self._is_full() from error
        except (apsw.IOError, apsw.ReadOnlyError) as error:
            raise NotWritable(f"{self.path} cannot be written: {error}") from error

    def _is_full(self) -> DiskFull:
        return DiskFull(f"there is no room for {self.path}: make some, then try again")

    def _shrink(self) -> None:
        if self.path.stat().st_size > _SHRINK_ABOVE:
            with suppress(apsw.FullError, apsw.BusyError):  # only tidiness is lost
                self._db.execute(OUTBOX.shrink)
