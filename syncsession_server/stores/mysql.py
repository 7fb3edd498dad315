"""The store for MySQL 8.0 and MariaDB 10.5 or later: several server processes may share one.

What must happen once is claimed by an UPDATE whose row count decides. Deadlocks, lock timeouts and
lost connections are met by doing the transaction again.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, nullcontext
from itertools import count
from operator import methodcaller
from typing import Any, TypeVar

import aiomysql
import tenacity

from syncsession_client.protocol.batches import BATCH_BYTES, Row
from syncsession_client.protocol.errors import (
    InvalidSetting,
    OutOfDate,
    ServerBusy,
    SyncError,
)
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.tables import Table

from .. import signs_of_life
from ..databases import MysqlUrl
from ..tenants import ago, now
from . import Changed, Claim, Dialect, Imaged, Layout, Params, Work
from .mysql_driver import Connection
from .mysql_layout import MysqlColumn, MysqlLayout, MysqlTable, as_lines
from .mysql_pool import ALREADY, Again, Lost, Pool, bounded, error_code

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 15.0
_LEAST_ATTEMPTS = 4  # however long each takes
_MIGRATION_SECONDS = 600.0
_SIGN_OF_LIFE_SECONDS = 5.0  # of a process that migrates
_ABANDONED_SECONDS = 60.0  # without one, after which another process takes the migration over

_PAGE_ROWS = 4000
_LEAST_PAGE = 500
_PAGE_BYTES = 4 << 20
_LOAD_BYTES = 1 << 20  # from which it takes what an INSERT may be too short for
_LOADED_TOGETHER = 5000
_KEPT_TOGETHER = 10_000
_WIDEST = 16  # bytes of an image that a byte of a value may take, and room for the rest

_T = TypeVar("_T")


class MysqlStore:
    """Rows of all tenants in one database. Open it by `async with`.

    A session of more than `shared_rows` rows is loaded in bulk into a table of its own. Of a
    transaction that has been silent for `silence_seconds` the database lets go.

    Raises:
        InvalidSetting: the database refuses the user, or is not there.
        ServerBusy: it cannot be reached now, or its transactions fail again and again.
    """

    commits_at_once = 4
    is_shared = True

    def __init__(
        self,
        url: MysqlUrl,
        *,
        connections: int = 10,
        shared_rows: int = 10_000,
        silence_seconds: float = 30.0,
    ) -> None:
        most = max(connections, 2)
        self.sql = Dialect("mysql", pyformat=True)
        self.shared_rows = shared_rows
        self.load_rows = 10  # from which LOAD DATA is faster; docs/explanation/performance.md
        self._is_open = False
        self._url = url
        self._pool = Pool(url, self.sql, most, max(int(silence_seconds), 1))
        # A pull writes beside what it reads, and a commit gives signs of life: one place is kept
        # free of transactions that last, or they would wait for each other.
        self._lasting = asyncio.Semaphore(most - 1)
        self._reading = asyncio.Semaphore(most // 2)
        self._is_hurried = False

    async def __aenter__(self) -> "MysqlStore":
        found = await self.first(self.sql.connection.abilities, {})
        assert found is not None  # noqa: S101  # a SELECT without FROM
        version, may_load, most_packet = found
        self.batch_bytes = min(BATCH_BYTES, most_packet // 4)
        self.image_bytes = most_packet // 2  # it is written in base64, where it has to be quoted
        self.may_load = bool(may_load)
        self._collation = "utf8mb4_nopad_bin" if "MariaDB" in version else "utf8mb4_0900_bin"
        # A large push needs one: better told to who starts the server than found out then.
        await self._again(methodcaller("run", self.sql.connection.create_probe, {}))
        self._is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    def layout(self, table: Table, columns: Sequence[str], whole: Table) -> MysqlLayout:
        """How this database keeps `columns` of a table."""
        return MysqlLayout(table, columns, whole)

    async def read(self, work: Work[_T]) -> _T:
        """Do `work` in a transaction that reads one snapshot."""

        async def once(connection: "_Session") -> _T:
            await connection.run(self.sql.connection.isolate_read, {})
            async with connection.transaction(self.sql.connection.begin_read):
                return await work(connection)

        async with self._reading, self._lasting:
            return await self._again(once)

    async def write(
        self,
        work: Work[_T],
        *,
        durable: bool = True,  # noqa: ARG002
        is_long: bool = False,
    ) -> _T:
        """Do `work` in a transaction that may write; it is always durable."""

        async def once(connection: "_Session") -> _T:
            async with connection.transaction(self.sql.connection.begin_write):
                return await work(connection)

        async with self._lasting if is_long else nullcontext():
            return await self._again(once)

    async def first(self, sql: str, params: Params) -> tuple[Any, ...] | None:
        """The first row of a statement that needs no transaction, or None."""
        return await self._again(lambda c: c.first(sql, params))

    async def run(self, sql: str, params: Params, *, durable: bool = True) -> int:  # noqa: ARG002
        """Run one statement as a transaction of its own; how many rows it changed."""
        return await self._again(lambda c: c.run(sql, params))

    def hurry(self) -> None:
        """Try no longer to reach a database that is away: the server is about to stop."""
        self._is_hurried = True

    async def tidy(self) -> None:
        """Nothing: the database does what it puts off by itself."""

    def is_bulk(self, rows: list[Row]) -> bool:
        """Whether LOAD DATA is the way for these rows."""
        return self.may_load and (len(rows) >= self.load_rows or _size(rows) >= _LOAD_BYTES)

    async def build(self, table: Table) -> None:
        """Make the application table, or give it the columns that it lacks; may be repeated."""
        t, sql = MysqlTable(table), self.sql.build

        async def work(connection: "_Session") -> None:
            for create in (sql.create_table, sql.create_staged):
                await connection.run(create(t=t, collation=self._collation), {})
            for name in (t.name, t.staged_name):
                here = {row[0] for row in await connection.all(sql.columns_here(name=name), {})}
                missing = [column for column in t.native if column.name not in here]
                if missing:
                    await self._add_columns(connection, name, missing)
            known = {row[2] for row in await connection.all(sql.indexes_here(t=t), {})}
            for index in t.indexes:
                if index.name not in known:
                    await connection.define(sql.add_index(t=t, index=index))

        await self._again(work)

    async def _add_columns(
        self, connection: "_Session", name: str, missing: list[MysqlColumn]
    ) -> None:
        """All at once. Where another process adds some of them just now, look again."""
        try:
            await connection.run(self.sql.build.add_columns(name=name, columns=missing), {})
        except aiomysql.MySQLError as error:
            if error_code(error) in ALREADY:
                raise Again(str(error)) from error
            raise

    async def is_new(self) -> bool:
        """Whether nothing has been migrated here yet."""
        return await self._version() == 0

    async def is_current(self) -> bool:
        """Whether the bookkeeping tables are those of this version."""
        return await self._version() == len(self.sql.migrations)

    async def migrate(self) -> list[str]:
        """Bring the bookkeeping tables up to this version; the names of the scripts that ran here.

        Of several processes that do so at the same time one runs a script, and the others wait.

        Raises:
            OutOfDate: a newer version has been here.
        """
        sql = self.sql.connection
        await self._again(lambda c: c.run(sql.create_schema_table, {}))
        await self.run(sql.create_version, {})
        ran, deadline = [], time.monotonic() + _MIGRATION_SECONDS
        while (version := await self._version()) < len(self.sql.migrations):
            script = self.sql.migrations[version]
            if await self._run_script(version):
                ran.append(script.name)
            elif time.monotonic() > deadline:
                raise ServerBusy(f"another process has been migrating {self._url.label} for long")
            else:
                await asyncio.sleep(0.1)
        return ran

    async def _run_script(self, version: int) -> bool:
        """Run the script that follows `version`; False where another process does."""
        sql = self.sql.connection
        ours = {"worker_id": str(uuid.uuid4()), "version": version}
        claim = ours | {"now": now(), "cutoff": ago(_ABANDONED_SECONDS)}
        if not await self.run(sql.claim_migration, claim):
            return False

        async def sign() -> None:
            await self.run(sql.keep_migration, ours | {"now": now()})

        try:  # a statement may take hours on a large table
            async with signs_of_life.given(sign, _SIGN_OF_LIFE_SECONDS):
                script = self.sql.migrations[version]
                for name in script:
                    if await self.first(sql.has_claim, ours) is None:
                        return False
                    await self._again(methodcaller("define", getattr(script, name)))
                    point("server.mysql_statement_ran")
            point("server.mysql_script_ran")
            return bool(await self.run(sql.advance, ours | {"now": now()}))
        finally:
            await self.run(sql.release_migration, ours)

    async def _version(self) -> int:
        """0 where nothing has been migrated yet."""
        here = await self.first(self.sql.connection.schema_here, {})
        found = await self.first(self.sql.connection.read_version, {}) if here and here[0] else None
        version = found[0] if found else 0
        if version > len(self.sql.migrations):
            raise OutOfDate(
                f"{self._url.label} was migrated by a newer syncsession-server; run that version"
            )
        return int(version)

    async def _again(self, once: Callable[["_Session"], Awaitable[_T]]) -> _T:
        """What `once` makes of a connection; done again where the database asks for that."""
        attempts = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Again),
            stop=self._is_enough,
            wait=tenacity.wait_random_exponential(multiplier=0.02, max=1.0),
            before_sleep=_tell_attempt,
            reraise=True,
        )
        try:
            result: _T = await attempts(self._once, once)
            return result
        except (Again, InvalidSetting) as error:
            if not self._is_open:
                raise self._not_opened(error) from error.__cause__
            logger.warning("%s cannot do this now: %s", self._url.label, error)
            raise ServerBusy("the server's database cannot do this now; try again") from error

    def _not_opened(self, error: Exception) -> SyncError:
        """Only who starts a server is told where its database is, and what it says."""
        if isinstance(error, InvalidSetting):
            return InvalidSetting(f"{self._url.label} cannot be used: {error}")
        return ServerBusy(f"{self._url.label} cannot be reached: {error}")

    def _is_enough(self, state: tenacity.RetryCallState) -> bool:
        """Whether to give up after an attempt that failed."""
        if self._is_hurried and state.outcome and isinstance(state.outcome.exception(), Lost):
            return True
        seconds = state.seconds_since_start or 0.0
        return seconds >= _RETRY_SECONDS and state.attempt_number >= _LEAST_ATTEMPTS

    async def _once(self, once: Callable[["_Session"], Awaitable[_T]]) -> _T:
        try:
            async with self._pool.connection() as connection:
                return await once(_Session(connection, self))
        except Lost:
            self._pool.doubt()
            raise


def _tell_attempt(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.debug("attempt %d failed, another follows: %s", state.attempt_number, error)


class _Session:
    """A connection while it is used; a `stores.Transaction` while in one."""

    def __init__(self, connection: Connection, store: MysqlStore) -> None:
        self._connection, self._store = connection, store

    @asynccontextmanager
    async def transaction(self, begin: str) -> AsyncIterator[None]:
        sql = self._store.sql.connection
        await self.run(begin, {})
        try:
            yield
            await self._skip_rows()
            await self.run(sql.commit, {})
        except Exception:
            if self._connection.is_usable and not self._connection.is_reading:
                await self.run(sql.rollback, {})
            raise

    async def run(self, sql: str, params: Params) -> int:
        async with bounded():
            return int((await self._connection.execute(sql, params)).rowcount)

    async def run_many(self, sql: str, rows: Iterable[Sequence[Any] | Params]) -> None:
        async with bounded():
            await self._connection.execute_many(sql, rows)

    async def first(self, sql: str, params: Params) -> tuple[Any, ...] | None:
        rows = await self.all(sql, params)
        return rows[0] if rows else None

    async def all(self, sql: str, params: Params) -> list[tuple[Any, ...]]:
        async with bounded():
            cursor = await self._connection.execute(sql, params)
            return list(await cursor.fetchall())

    async def stream(
        self, sql: str, params: Params, take: Callable[[Iterator[tuple[Any, ...]]], _T | None]
    ) -> AsyncIterator[_T]:
        async with bounded():
            await self._connection.begin_rows(sql, params)
        while page := await self._next_rows():
            rows = iter(page)
            while (taken := await asyncio.to_thread(take, rows)) is not None:
                yield taken
            if next(rows, None) is not None:
                await self._skip_rows()

    async def _next_rows(self) -> list[tuple[Any, ...]]:
        async with bounded():
            return await self._connection.next_rows(_PAGE_ROWS, _PAGE_BYTES)

    async def _skip_rows(self) -> None:
        """Read what is left of a stream, before which the connection can do nothing else."""
        while self._connection.is_reading and await self._next_rows():
            pass

    async def stage(self, layout: Layout, stamp: Params, count_rows: int) -> "_Staged":
        staged = _Staged(self, layout, stamp)
        return await staged.open(self._store, count_rows)

    async def changed(
        self, layout: Layout, params: Params, *, is_all: bool, is_odd: bool = False
    ) -> AsyncIterator[Changed]:
        """By the key, a page at a time: a stream would keep the connection to itself."""
        names = {**layout.names, "is_all": is_all, "is_odd": is_odd}
        params = {**params, "most_bytes": self._store.image_bytes // _WIDEST}
        render = self._store.sql.staged.changed
        after, most, is_first = b"", _LEAST_PAGE, True
        while True:
            sql = render(**names, is_first=is_first)
            async with bounded():
                await self._connection.begin_rows(sql, {**params, "after": after, "most": most})
            page = await self._next_rows()
            is_cut = self._connection.is_reading  # they are large: fewer of them the next time
            await self._skip_rows()
            if page:
                rows = await asyncio.to_thread(layout.decode, [row[2:] for row in page])
                yield Changed(rows, [row[1] for row in page], [row[0] for row in page])
            if len(page) < most and not is_cut:
                return
            is_first, after = False, page[-1][1]
            most = len(page) if is_cut else min(2 * most, _PAGE_ROWS)

    async def claim(self, claims: Sequence[Claim], params: Params) -> list[tuple[int, bytes]]:
        sql, placed = self._store.sql.staged, [(n, *claim) for n, claim in enumerate(claims)]
        await self.run(sql.create_claims(), {})
        await self.run(sql.clear_claims(), {})
        if self._store.is_bulk(placed):
            await self.load(sql.load_claims(), placed)
        else:
            await self.run_many(sql.add_claim(), placed)
        await self.run(sql.claim(), params)
        return [(n, bytes(key)) for n, key in await self.all(sql.met(), params)]

    async def keep_history(
        self, layout: Layout, params: Params, image: Imaged, *, is_all: bool
    ) -> tuple[int, bool]:
        """Of rows whose values all fit their columns: to send them to and fro takes most of the
        time. Some at a time: what reads history while it adds to it is put aside first.
        """
        sql, names = self._store.sql.staged, {**layout.names, "is_all": is_all}
        given = {
            **params,
            **image.params,
            "most_bytes": self._store.image_bytes // _WIDEST,
            "most": _KEPT_TOGETHER,
        }
        found, kept, after, count_rows = 0, 0, b"", _KEPT_TOGETHER
        while count_rows == _KEPT_TOGETHER:
            page, given["after"] = {**names, "is_first": not found}, after
            ((after, count_rows),) = await self.all(sql.page_end(**page), given)
            if count_rows:
                kept += await self.run(sql.keep_history(**page), {**given, "last": after})
            found += count_rows
        if kept == found and not is_all:  # nobody else writes to rows of the session
            return kept, False
        return kept, await self.first(sql.has_odd(**names), given) is not None

    async def add_history(self, versions: list[Row]) -> None:
        if self._store.is_bulk(versions):
            await self.load(self._store.sql.staged.load_history(), versions)
        else:
            await self.run_many(self._store.sql.history.add, versions)

    async def load(self, sql: str, rows: list[Row]) -> None:
        """LOAD DATA LOCAL makes warnings of what does not fit: here nothing may be one."""
        for start in range(0, len(rows), _LOADED_TOGETHER):
            part = rows[start : start + _LOADED_TOGETHER]
            lines = await asyncio.to_thread(as_lines, part)
            async with bounded():
                loaded, warnings = await self._connection.load(sql % {}, lines)
            if warnings or loaded != len(part):
                raise SyncError(
                    f"{len(part)} rows were loaded as {loaded}, with {warnings} warnings"
                )

    async def define(self, sql: str) -> None:
        """Run a statement that defines something; what is there already is left alone."""
        try:
            await self.run(sql, {})
        except aiomysql.MySQLError as error:
            if error_code(error) not in ALREADY:
                raise


class _Staged:
    """The table that all share, or a temporary one of this connection's."""

    def __init__(self, session: _Session, layout: Layout, stamp: Params) -> None:
        self._session, self._layout = session, layout
        self._stamp = {"tenant_id": stamp["tenant_id"], "number": stamp["number"]}
        self._positions = count(1)

    async def open(self, store: MysqlStore, count_rows: int) -> "_Staged":
        self._sql, self._rows = store.sql.staged, store.sql.rows
        self._is_bulk = store.is_bulk
        is_shared = count_rows <= store.shared_rows
        t = self._layout.names["t"]
        name = t.staged_name if is_shared else "sync_staged"
        self.names: Mapping[str, Any] = {
            **self._layout.names,
            "staged": name,
            "is_shared": is_shared,
        }
        if not is_shared:
            await self._session.run(self._sql.drop_dedicated(), {})
            await self._session.run(self._sql.create_dedicated(t=t), {})
        return self

    async def add(self, rows: list[Row]) -> None:
        prefix = (self._stamp["tenant_id"], self._stamp["number"])
        placed = [
            (*prefix, position, *row) for row, position in zip(rows, self._positions, strict=False)
        ]
        if self._is_bulk(placed):
            await self._session.load(self._sql.load(**self.names), placed)
        else:
            await self._session.run_many(self._sql.insert(**self.names), placed)

    async def meet(self, stamp: Params) -> bool:
        """Of few rows it takes less to look twice than to make a table for nothing."""
        if self.names["is_shared"]:
            found = await self._session.first(self._rows.has_conflicts(**self.names), stamp)
            if not (found and found[0]):
                return False
        await self._session.run(self._sql.drop_decided(), {})
        await self._session.run(self._sql.create_decided(), {})
        return bool(await self._session.run(self._rows.meet(**self.names), stamp))

    async def decide(self, decided: list[tuple[int, str]]) -> None:
        await self._session.run_many(self._sql.decide(), decided)

    async def settle(self, touch: str, stamp: Params) -> None:
        await self._session.run(touch, stamp)
        await self._session.run(self._sql.unstage_lost(**self.names), self._stamp)
        await self._session.run(self._sql.rebase_won(**self.names), self._stamp)
        await self._session.run(self._sql.drop_decided(), {})

    async def clear(self) -> None:
        if self.names["is_shared"]:
            await self._session.run(self._sql.clear_shared(**self.names), self._stamp)
        else:
            await self._session.run(self._sql.drop_dedicated(), {})


def _size(rows: list[Row]) -> int:
    """The bytes of texts and blobs, about."""
    return sum(len(value) for row in rows for value in row if isinstance(value, str | bytes))
