"""The application's database file: its one connection, its transactions, what it says of itself."""

import json
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import msgspec
from xxhash import xxh3_64_intdigest

from .identity import Registration, SyncTable, arrange
from .protocol import images
from .protocol.batches import BATCH_BYTES, Row, digest, parts, take
from .protocol.errors import (
    DatabaseLocked,
    DiskFull,
    NoSuchFile,
    NotADatabase,
    NotInitialized,
    NotWritable,
    SchemaChanging,
    Unappliable,
    UnsyncableValue,
)
from .protocol.session_set import SessionSet
from .protocol.tables import folded, from_json, to_json
from .schema import OURS, FoundTable, SchemaObject, read
from .statements import load

SCHEMA = load("client/schema.sql")
STATE = load("client/state.sql")

_UNIX_EPOCH = 2440587.5  # as a Julian day
_TWO_WORDS = struct.Struct(">QQ")

_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class State:
    """What a database knows of its part in sync. `tenant_id` is None until its first sync."""

    device_id: str
    tenant_id: str | None
    user_id: str | None
    server_url: str
    generation: int
    schema_version: int | None
    is_registered: bool
    sealed_session_id: str | None
    checked_generation: int
    copied_from: str | None
    corrected_session: int | None


class RefusedRow(Unappliable):
    """A constraint of a table refuses a row, for a `reason` in SQLite's words."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class DeviceStore:
    """One connection to the application's file. Whoever opens it closes it, by `with`.

    A disposable file is one that is thrown away unless its maker finishes it, and then syncs it.
    One that is only read stays byte for byte what it is, and so does what stands beside it.

    Raises:
        NoSuchFile, NotADatabase: there is no file, or it is not an SQLite database.
        NotWritable: it cannot be written; or cannot be read, where that is all that is wanted.
        DatabaseLocked: another program held a lock for longer than the busy timeout.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = False,
        is_disposable: bool = False,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self._is_disposable = is_disposable
        self._is_read_only = read_only
        self._act = "read where nothing may be written (use a copy)" if read_only else "written"
        if not create:
            _check_file(path, os.R_OK if read_only else os.W_OK)
        # a file that may not be written is opened for reading then: https://sqlite.org/c3ref/open.html
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
        with self._errors():
            self._db = apsw.Connection(str(path), flags=flags)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> "DeviceStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def write(self) -> Iterator[None]:
        """One write transaction, begun at once; it is rolled back when the body raises."""
        with self._errors():
            self._db.execute(SCHEMA.begin_write)
            try:
                yield
                self._db.execute(SCHEMA.commit)
            except BaseException:
                self._rollback()
                raise

    @contextmanager
    def read(self) -> Iterator[None]:
        """One read transaction: everything read in it is of the same moment."""
        with self._errors():
            self._db.execute(SCHEMA.begin_read)
            try:
                yield
            finally:
                self._rollback()

    @contextmanager
    def temporary(self) -> Iterator[None]:
        """One transaction for temporary tables only: it takes no lock on the file."""
        with self._errors(), self._db:
            yield

    def rows(self, sql: str, values: Any = None) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, one at a time."""
        with self._errors():
            yield from self._db.execute(sql, values)

    def batches(self, sql: str, most: int, most_bytes: int = BATCH_BYTES) -> Iterator[list[Row]]:
        """The rows of a statement, as many at a time as one batch may have."""
        with self._errors():
            cursor = self._db.execute(sql)
            while rows := take(cursor, most, most_bytes):
                yield from parts(rows, most_bytes)

    def first(self, sql: str, values: Any = None) -> tuple[Any, ...] | None:
        """The first row of a statement, or None."""
        with self._errors():
            return next(iter(self._db.execute(sql, values)), None)

    def count(self, sql: str, values: Any = None) -> int:
        """The number that a statement counts."""
        row = self.first(sql, values)
        return int(row[0]) if row else 0

    def run(self, sql: str, values: Any = None) -> int:
        """Run a statement; how many rows it changed."""
        with self._errors():
            self._db.execute(sql, values)
            return self._db.changes()

    def run_many(self, sql: str, values: Iterable[Any]) -> None:
        """Run a statement once for each of `values`."""
        with self._errors():
            self._db.executemany(sql, values)

    def run_definition(self, sql: str) -> None:
        """Run a CREATE statement that came from elsewhere; anything else it tries is refused."""
        with self._errors():
            self._db.authorizer = _only_definitions
            try:
                self._db.execute(sql)
            finally:
                self._db.authorizer = None

    def writes_of_triggers(self, sql: str) -> set[str]:
        """The tables, in lower case, that triggers other than ours write to in a statement.

        The statement is compiled and not run: it is an EXPLAIN.
        """
        written: set[str] = set()

        def watch(action: int, name: str | None, _: object, __: object, by: str | None) -> int:
            is_write = action in (apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE)
            if is_write and by is not None and not folded(by).startswith(OURS):
                written.add(folded(str(name)))
            return int(apsw.SQLITE_OK)

        with self._errors():
            self._db.authorizer = watch
            try:
                self._db.execute(sql).fetchall()
            finally:
                self._db.authorizer = None
        return written

    def fire_triggers(self, fire: bool) -> None:
        """Let triggers run on this connection, or not."""
        self._db.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, int(fire))

    def objects(self) -> list[SchemaObject]:
        """Everything in the file's schema."""
        return [SchemaObject(*row) for row in self.rows(SCHEMA.objects)]

    def found_tables(self) -> dict[str, FoundTable]:
        """The application's tables as they are now."""
        return read(self.objects())

    def schema_version(self) -> int:
        """A number that changes with every change of the schema."""
        return self.count(SCHEMA.schema_version)

    def data_version(self) -> int:
        """A number that changes with every commit of somebody else."""
        return self.count(SCHEMA.data_version)

    def check_schema(self) -> None:
        """Look, inside a transaction, whether the tables are still as they were described.

        Raises:
            SchemaChanging: another program has changed them meanwhile.
        """
        if self.state().schema_version != self.schema_version():
            raise SchemaChanging(
                f"another program is changing the tables of {self.path}; try again"
            )

    def is_initialized(self) -> bool:
        """Whether sync is installed."""
        return self.first(SCHEMA.has_table, {"name": "_syncsession_state"}) is not None

    def state(self) -> State:
        """What the file says of itself.

        Raises:
            NotInitialized: sync is not installed.
        """
        row = self.first(STATE.read_state) if self.is_initialized() else None
        if row is None:
            raise NotInitialized(
                f"{self.path} is not set up for sync: run syncsession-client init {self.path}"
            )
        return State(*row)

    def tables(self) -> list[SyncTable]:
        """The synced tables that are there, parents before children."""
        return [t for t in arrange(self.registrations()) if not t.is_missing]

    def all_tables(self) -> list[SyncTable]:
        """The synced tables and those that have gone missing, as they were."""
        return arrange(self.registrations())

    def registrations(self) -> list[Registration]:
        """What is kept of every synced table, missing ones too; parents before children."""
        return [
            Registration(
                from_json(definition)[0],
                prefix,
                tuple(json.loads(added)),
                bool(is_anew),
                tuple(json.loads(doubted)),
                bool(is_missing),
                sent_name,
                tuple(json.loads(sent_key)),
            )
            for definition, prefix, added, is_anew, doubted, is_missing, sent_name, sent_key in (
                self.rows(STATE.list_tables)
            )
        ]

    def save_registrations(self, registrations: Iterable[Registration]) -> None:
        """Keep these in the place of those before, in their order."""
        self.run(STATE.delete_tables)
        for position, kept in enumerate(registrations):
            self.run(
                STATE.insert_table,
                {
                    "name": kept.table.name,
                    "position": position,
                    "prefix": kept.prefix,
                    "definition": to_json([kept.table]).decode(),
                    "added": json.dumps(kept.added),
                    "is_anew": kept.is_anew,
                    "doubted": json.dumps(kept.doubted),
                    "is_missing": kept.is_missing,
                    "sent_name": kept.sent_name,
                    "sent_key": json.dumps(kept.sent_key),
                },
            )

    def set_sent_names(self, names: Mapping[str, str]) -> None:
        """Call tables, by their names here, what the server calls them."""
        self.save_registrations(
            replace(r, sent_name=names.get(r.table.name, r.sent_name)) for r in self.registrations()
        )

    def set_added_columns(self, table_name: str, columns: Sequence[str]) -> None:
        """Note the columns that the server has still to be told of."""
        self.run(STATE.set_added, {"name": table_name, "added": json.dumps(list(columns))})

    def tables_anew(self) -> set[str]:
        """The names of the tables of which the next pull is to bring every row."""
        return {r.table.name for r in self.registrations() if r.is_anew}

    def be_anew(self, table_name: str, doubted: Iterable[str]) -> None:
        """Let the next pull bring every row of a table, whatever was processed.

        In the columns `doubted` a row may have been changed that no trigger saw and no digest tells
        of.
        """
        self.run(STATE.be_anew, {"name": table_name, "doubted": json.dumps(sorted(doubted))})

    def left_out(self) -> set[str]:
        """The tables, in lower case, that were left out of sync on purpose."""
        row = self.first(STATE.read_left_out)
        return set(json.loads(row[0])) if row else set()

    def leave_out(self, names: Iterable[str]) -> None:
        """Remember that these tables were left out on purpose, and no others."""
        left_out = sorted({folded(name) for name in names})
        self.run(STATE.set_left_out, {"left_out": json.dumps(left_out)})

    def processed(self) -> dict[str, SessionSet]:
        """The processed set of each table that has one, by the name that the server knows."""
        ranges: dict[str, list[tuple[int, int]]] = {}
        for name, first, last in self.rows(STATE.list_processed):
            ranges.setdefault(name, []).append((first, last))
        return {name: SessionSet(listed) for name, listed in ranges.items()}

    def add_processed(self, sessions: SessionSet, tables: Iterable[str]) -> None:
        """Add `sessions` to the processed set of each of `tables`."""
        known = self.processed()
        for name in tables:
            self.replace_processed(name, known.get(name, SessionSet()) | sessions)

    def replace_processed(self, table_name: str, sessions: SessionSet) -> None:
        """Make `sessions` the processed set of a table."""
        self.run(STATE.delete_processed, {"table_name": table_name})
        self.run_many(
            STATE.insert_processed,
            (
                {"table_name": table_name, "first_number": first, "last_number": last}
                for first, last in sessions.ranges
            ),
        )

    def _prepare(self) -> None:
        if self._is_read_only:
            self._leave_as_it_is()
        self._db.execute(SCHEMA.defer_busy)
        self._db.execute(SCHEMA.ignore_foreign_keys)
        self._db.execute(SCHEMA.cache)
        self._db.execute(SCHEMA.temporary_cache)
        if self._is_disposable:
            self._db.execute(SCHEMA.trust_the_process)
            self._db.execute(SCHEMA.journal_in_memory)
        self._db.execute(SCHEMA.schema_version)  # the first look into the file
        self._db.create_scalar_function("row_id", _row_id, 4)
        self._db.create_scalar_function("row_digest", digest)
        self._db.create_scalar_function("row_part", lambda *values: msgspec.msgpack.encode(values))
        self._db.create_scalar_function("digest_of_parts", _digest_of_parts)
        self._db.create_scalar_function("row_image", _row_image)

    def _leave_as_it_is(self) -> None:
        """Write nothing, not even what was committed to a WAL that nobody else holds open."""
        if self.path.with_name(f"{self.path.name}-wal").exists():
            self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._db.execute(SCHEMA.only_read)

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute(SCHEMA.rollback)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the driver's errors into ours, with the file's name and the way out."""
        try:
            yield
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise NotADatabase(f"{self.path} is not an SQLite database: {error}") from error
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise NotWritable(f"{self.path} cannot be {self._act}: {error}") from error
        except (apsw.BusyError, apsw.LockedError) as error:
            raise DatabaseLocked(f"another program writes to {self.path}; try again") from error
        except apsw.FullError as error:
            raise DiskFull(
                f"there is no room for {self.path}: make some, then try again"
            ) from error
        except apsw.IOError as error:
            raise NotWritable(f"{self.path} cannot be written now: {error}") from error
        except apsw.AuthError as error:
            raise Unappliable(f"{self.path}: not only a definition: {error}") from error
        except apsw.SQLError as error:
            raise Unappliable(f"{self.path}: {error}") from error
        except apsw.ConstraintError as error:
            raise RefusedRow(
                f"{self.path} refuses a row: {error}; change the row in its way and sync again",
                str(error).removeprefix("ConstraintError: "),
            ) from error
        except UnicodeDecodeError as error:
            raise UnsyncableValue(
                f"{self.path} holds text that is not UTF-8 (at {error.object[:20]!r}); "
                "store it as a BLOB"
            ) from error


def _check_file(path: Path, needed: int) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise NoSuchFile(f"there is no file {path}; name the application's database") from None
    except OSError as error:
        raise NotWritable(f"{path} cannot be reached: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise NotADatabase(f"{path} is a directory, not an SQLite database")
    if not os.access(path, needed):
        act = "written" if needed == os.W_OK else "read"
        raise NotWritable(f"{path} cannot be {act}: give its owner, or yourself, the permission")


def _row_id(*entry: Any) -> bytes:
    """The id of the row that an entry (at, fold, seq, key) made; of a copy's same entry, the same.

    It is a UUIDv7 (RFC 9562, 5.7): the time, `seq` as a counter of 32 bits, which keeps the ids of
    one statement in order, as trees like them, and a hash of the entry in place of chance.
    """
    at, _fold, seq, _key = entry
    time: int = max(0, round((at - _UNIX_EPOCH) * 86_400_000)) & 0xFFFF_FFFF_FFFF
    chance = xxh3_64_intdigest(_encode(entry)) & 0x3FF_FFFF_FFFF
    return _TWO_WORDS.pack(
        time << 16 | 7 << 12 | seq >> 20 & 0xFFF, 2 << 62 | (seq & 0xF_FFFF) << 42 | chance
    )


def _digest_of_parts(*parts: Any) -> bytes:
    """The digest of a row whose values were encoded some at a time."""
    decode = msgspec.msgpack.decode
    return digest(*(value for part in parts for value in decode(part)))


def _row_image(*row: Any) -> str:
    """The image of values, by columns that are listed as JSON before them."""
    columns, *values = row
    return images.encode(json.loads(columns), values)


_DEFINITIONS = frozenset(
    {
        apsw.SQLITE_CREATE_TABLE,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_INSERT,
        apsw.SQLITE_UPDATE,
        apsw.SQLITE_READ,
        apsw.SQLITE_REINDEX,
        apsw.SQLITE_FUNCTION,
        apsw.SQLITE_SELECT,
    }
)


def _only_definitions(action: int, name: str | None, _: str | None, *__: str | None) -> int:
    """Allow what CREATE TABLE and CREATE INDEX do: they write to the schema and nowhere else."""
    writes = action in (apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE)
    if action not in _DEFINITIONS or (writes and not (name or "").startswith("sqlite_")):
        return int(apsw.SQLITE_DENY)
    return int(apsw.SQLITE_OK)
