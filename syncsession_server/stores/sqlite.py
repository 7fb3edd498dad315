"""The embedded store: one SQLite file, one connection that writes, a few that read.

SQLite's calls block, so each connection has a thread of its own and the event loop none of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import apsw

from syncsession_client.protocol.errors import NotADatabase, NotWritable, ServerBusy

from . import Dialect, Params

_READERS = 4
_VERSION = 1

_T = TypeVar("_T")


class SqliteStore:
    """Rows of all tenants in one file, made where it is not there. Open it by `async with`.

    Raises:
        NotADatabase, NotWritable: the file cannot be used.
        ServerBusy: another process held the file's lock for longer than the busy timeout.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sql = Dialect("sqlite")

    async def __aenter__(self) -> "SqliteStore":
        async with AsyncExitStack() as stack:
            self._writer = await stack.enter_async_context(_Lane(self.path, self.sql, writes=True))
            await self._create_schema()
            self._writing = asyncio.Lock()
            self._readers: asyncio.LifoQueue[_Lane] = asyncio.LifoQueue()
            for _ in range(_READERS):
                lane = await stack.enter_async_context(_Lane(self.path, self.sql, writes=False))
                self._readers.put_nowait(lane)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator["_Lane"]:
        """One snapshot, on a connection that nobody else uses meanwhile."""
        lane = await self._readers.get()
        try:
            async with lane.transaction(self.sql.connection.begin_read):
                yield lane
        finally:
            self._readers.put_nowait(lane)

    async def first(self, sql: str, params: Params) -> tuple[Any, ...] | None:
        """The first row of a statement that needs no transaction, or None."""
        lane = await self._readers.get()
        try:
            return await lane.first(sql, params)
        finally:
            self._readers.put_nowait(lane)

    async def run(self, sql: str, params: Params, *, durable: bool = True) -> int:
        """Run one statement as a transaction of its own; how many rows it changed."""
        async with self._writing:
            await self._writer.be_durable(durable)
            return await self._writer.run(sql, params)

    @asynccontextmanager
    async def write(self, *, durable: bool = True) -> AsyncIterator["_Lane"]:
        """The one write transaction that SQLite allows at a time."""
        async with self._writing:
            await self._writer.be_durable(durable)
            async with self._writer.transaction(self.sql.connection.begin_write):
                yield self._writer

    async def tidy(self) -> None:
        """Copy what is committed from the write-ahead log into the file, beside other work."""
        lane = await self._readers.get()
        try:
            await lane.run(self.sql.connection.checkpoint, {})
        finally:
            self._readers.put_nowait(lane)

    async def _create_schema(self) -> None:
        connection = self.sql.connection
        async with self._writer.transaction(connection.begin_write):
            found = await self._writer.first(connection.read_version, {})
            if found is not None and found[0] > _VERSION:
                raise NotADatabase(
                    f"{self.path} was made by a newer syncsession-server; run that version"
                )
            for name in self.sql.schema:
                await self._writer.run(getattr(self.sql.schema, name), {})
            await self._writer.run(connection.write_version, {})


class _Lane:
    """One connection and the thread that its calls run in; a `stores.Transaction` while in one."""

    def __init__(self, path: Path, sql: Dialect, *, writes: bool) -> None:
        self._path = path
        self._writes = writes
        self._sql = sql.connection
        self._durable = True
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    async def __aenter__(self) -> "_Lane":
        try:
            self._db = await self._call(self._connect)
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._call(self._db.close)
        self._thread.shutdown()

    @asynccontextmanager
    async def transaction(self, begin: str) -> AsyncIterator[None]:
        await self.run(begin, {})
        try:
            yield
            await self.run(self._sql.commit, {})
        except BaseException:
            await asyncio.shield(self._call(self._rollback))
            raise

    async def be_durable(self, durable: bool) -> None:
        if durable != self._durable:
            sql = self._sql.synchronous_full if durable else self._sql.synchronous_normal
            await self.run(sql, {})
            self._durable = durable

    async def run(self, sql: str, params: Params) -> int:
        return await self._call(lambda: self._run(sql, params))

    async def run_many(self, sql: str, rows: Iterable[Sequence[Any] | Params]) -> None:
        await self._call(lambda: self._db.executemany(sql, rows))

    async def first(self, sql: str, params: Params) -> tuple[Any, ...] | None:
        return await self._call(lambda: next(iter(self._db.execute(sql, params)), None))

    async def all(self, sql: str, params: Params) -> list[tuple[Any, ...]]:
        return await self._call(lambda: list(self._db.execute(sql, params)))

    async def stream(
        self, sql: str, params: Params, take: Callable[[Iterator[tuple[Any, ...]]], _T | None]
    ) -> AsyncIterator[_T]:
        cursor = await self._call(lambda: self._db.execute(sql, params))
        try:
            while (taken := await self._call(lambda: take(cursor))) is not None:
                yield taken
        finally:
            await self._call(cursor.close)

    async def _call(self, function: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except (apsw.BusyError, apsw.LockedError) as error:
            raise ServerBusy(f"{self._path} is locked by another process; try again") from error
        except (apsw.FullError, apsw.IOError) as error:
            raise ServerBusy(f"{self._path} cannot be written now: {error}") from error
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise NotADatabase(f"{self._path} is not an SQLite database: {error}") from error
        except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
            raise NotWritable(f"{self._path} cannot be opened for writing: {error}") from error

    def _connect(self) -> apsw.Connection:
        db = apsw.Connection(str(self._path))
        try:
            sql = self._sql
            for pragma in (
                sql.defer_busy,
                sql.write_ahead,
                sql.synchronous_full,
                sql.cache_writer if self._writes else sql.cache_reader,
                sql.checkpoint_at,
                sql.temporary_cache,
            ):
                db.execute(pragma)
        except BaseException:
            db.close()
            raise
        return db

    def _run(self, sql: str, params: Params) -> int:
        self._db.execute(sql, params)
        return self._db.changes()

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute(self._sql.rollback)
