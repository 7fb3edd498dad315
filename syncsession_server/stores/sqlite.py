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

from syncsession_client.protocol import batches, images
from syncsession_client.protocol.batches import BATCH_BYTES, Row
from syncsession_client.protocol.errors import NotADatabase, NotWritable, OutOfDate, ServerBusy
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.tables import Table

from ..row_keys import row_key
from . import Changed, Claim, Dialect, Imaged, Layout, Params, Transaction, Work
from .sqlite_layout import SqliteLayout, SqliteTable

_READERS = 4
_HISTORY_ROWS = 1000
_LAST = 2**63 - 1
_MOST_VALUES = 100  # of a function; older libraries take 127
_SMALL_BYTES = 1 << 16  # of a row, whose image is sure to fit

_T = TypeVar("_T")


class SqliteStore:
    """Rows of all tenants in one file, made where it is not there. Open it by `async with`.

    Raises:
        NotADatabase, NotWritable: the file cannot be used.
        ServerBusy: another process held the file's lock for longer than the busy timeout.
    """

    commits_at_once = 1
    is_shared = False
    batch_bytes = BATCH_BYTES
    image_bytes = 512 << 20  # a value of SQLite's has less than 1,000,000,000

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sql = Dialect("sqlite")

    async def __aenter__(self) -> "SqliteStore":
        async with AsyncExitStack() as stack:
            self._writer = await stack.enter_async_context(_Lane(self.path, self.sql, writes=True))
            self._writing = asyncio.Lock()
            self._readers: asyncio.LifoQueue[_Lane] = asyncio.LifoQueue()
            for _ in range(_READERS):
                lane = await stack.enter_async_context(_Lane(self.path, self.sql, writes=False))
                self._readers.put_nowait(lane)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def layout(self, table: Table, columns: Sequence[str], _whole: Table) -> SqliteLayout:
        """How this database keeps `columns` of a table."""
        return SqliteLayout(table, columns)

    async def read(self, work: Work[_T]) -> _T:
        """Do `work` in one snapshot, on a connection that nobody else uses meanwhile."""
        async with self._reader() as lane, lane.transaction(self.sql.connection.begin_read):
            return await work(lane)

    async def first(self, sql: str, params: Params) -> tuple[Any, ...] | None:
        """The first row of a statement that needs no transaction, or None."""
        async with self._reader() as lane:
            return await lane.first(sql, params)

    async def run(self, sql: str, params: Params, *, durable: bool = True) -> int:
        """Run one statement as a transaction of its own; how many rows it changed."""
        async with self._writing:
            await self._writer.be_durable(durable)
            return await self._writer.run(sql, params)

    async def write(
        self,
        work: Work[_T],
        *,
        durable: bool = True,
        is_long: bool = False,  # noqa: ARG002
    ) -> _T:
        """Do `work` in the one write transaction that SQLite allows at a time."""
        async with self._writing:
            await self._writer.be_durable(durable)
            async with self._writer.transaction(self.sql.connection.begin_write):
                return await work(self._writer)

    def hurry(self) -> None:
        """Nothing: a file is not waited for."""

    async def tidy(self) -> None:
        """Copy what is committed from the write-ahead log into the file, beside other work."""
        async with self._reader() as lane:
            await lane.run(self.sql.connection.checkpoint, {})

    async def build(self, table: Table) -> None:
        """Make the application table, or give it the columns that it lacks; may be repeated."""
        t = SqliteTable(table)
        sql = self.sql.build

        async def work(lane: Transaction) -> None:
            await lane.run(sql.create_table(t=t), {})
            await lane.run(sql.create_session_index(t=t), {})
            here = {name for (name,) in await lane.all(sql.columns_here(), {"name": t.name})}
            for column in t.columns:
                if column.name not in here:
                    await lane.run(sql.add_column(t=t, column=column), {})
            for name, columns in t.reference_indexes:
                await lane.run(sql.create_reference_index(t=t, name=name, columns=columns), {})

        await self.write(work)

    async def is_new(self) -> bool:
        """Whether nothing has been migrated here yet."""
        return await self._version() == 0

    async def is_current(self) -> bool:
        """Whether the bookkeeping tables are those of this version."""
        return self._checked(await self.first(self.sql.connection.read_version, {})) == len(
            self.sql.migrations
        )

    async def migrate(self) -> list[str]:
        """Bring the bookkeeping tables up to this version; the names of the scripts that ran.

        Raises:
            OutOfDate: a newer version has been here.
        """

        async def work(lane: Transaction) -> list[str]:
            missing = self.sql.migrations[await self._version() :]
            for script in missing:
                for name in script:
                    await lane.run(getattr(script, name), {})
                point("server.sqlite_script_ran")
            await lane.run(self.sql.connection.write_version, {})
            return [script.name for script in missing]

        return await self.write(work)

    async def _version(self) -> int:
        return self._checked(await self._writer.first(self.sql.connection.read_version, {}))

    def _checked(self, found: tuple[Any, ...] | None) -> int:
        version = found[0] if found else 0
        if version > len(self.sql.migrations):
            raise OutOfDate(
                f"{self.path} was migrated by a newer syncsession-server; run that version"
            )
        return int(version)

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator["_Lane"]:
        lane = await self._readers.get()
        try:
            yield lane
        finally:
            self._readers.put_nowait(lane)


class _Staged:
    """The temporary table of the connection that writes."""

    def __init__(self, lane: "_Lane", sql: Dialect, layout: Layout) -> None:
        self._lane, self._sql, self._rows = lane, sql.staged, sql.rows
        self.names = layout.names
        self._sizes = {"keys": len(self.names["key"]), "columns": len(self.names["columns"])}

    async def open(self) -> "_Staged":
        await self.clear()
        await self._lane.run(self._sql.create_staging(**self._sizes), {})
        return self

    async def add(self, rows: list[Row]) -> None:
        await self._lane.run_many(self._sql.stage(**self._sizes), rows)

    async def meet(self, stamp: Params) -> bool:
        await self._lane.run(self._sql.drop_decided(), {})
        await self._lane.run(self._sql.create_decided(), {})
        return bool(await self._lane.run(self._rows.meet(**self.names), stamp))

    async def decide(self, decided: list[tuple[int, str]]) -> None:
        await self._lane.run_many(self._sql.decide(), decided)

    async def settle(self, touch: str, stamp: Params) -> None:
        await self._lane.run(touch, stamp)
        await self._lane.run(self._sql.unstage_lost(), {})
        await self._lane.run(self._sql.rebase_won(), {})
        await self._lane.run(self._sql.drop_decided(), {})

    async def clear(self) -> None:
        await self._lane.run(self._sql.drop_staging(), {})


class _Lane:
    """One connection and the thread that its calls run in; a `stores.Transaction` while in one."""

    def __init__(self, path: Path, sql: Dialect, *, writes: bool) -> None:
        self._path = path
        self._writes = writes
        self._dialect, self._sql = sql, sql.connection
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
        try:
            await self.run(begin, {})  # inside: where it is cancelled, the thread still does it
            yield
            await self.run(self._sql.commit, {})
        except BaseException:
            await asyncio.shield(self._call(self._rollback))
            raise

    async def be_durable(self, durable: bool) -> None:
        if durable != self._durable:
            await self._call(lambda: self._be_durable(durable))

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

    async def stage(self, layout: Layout, _: Params, count_rows: int) -> _Staged:  # noqa: ARG002
        return await _Staged(self, self._dialect, layout).open()

    async def changed(
        self,
        layout: Layout,
        params: Params,
        *,
        is_all: bool,
        is_odd: bool = False,  # noqa: ARG002  # all of them are, or none
    ) -> AsyncIterator[Changed]:
        sql = self._dialect
        render = sql.rows.select_all if is_all else sql.rows.select_sessions
        first, last = (0, _LAST) if is_all else (params["number"], params["number"])

        def take(found: Iterator[Row]) -> list[Row] | None:
            return batches.take(found, _HISTORY_ROWS) or None

        numbers = {"tenant_id": params["tenant_id"], "first": first, "last": last}
        stream = self.stream(render(**layout.names), numbers, take)
        await self.run(sql.staged.create_changed(), {})
        async for taken in stream:
            found = layout.decode(taken)
            keys = layout.keys(found)
            yield Changed(found, keys, await self._before(keys, params))

    async def keep_history(
        self, layout: Layout, params: Params, image: Imaged, *, is_all: bool
    ) -> tuple[int, bool]:
        """In one statement: to read the rows and write their versions takes thrice the time."""
        sql, names = self._dialect, layout.names
        if len(names["imaged"]) > _MOST_VALUES:
            return 0, True
        given = {**params, **image.params, "small_bytes": _SMALL_BYTES}

        def keep() -> int:
            self._db.create_scalar_function(
                "image_value", lambda *value: images.encode_value(*value)
            )
            self._db.create_scalar_function("row_image", lambda *values: image.make(values))
            self._db.create_scalar_function("row_key", lambda *key: row_key(names["t"].table, key))
            return self._run(sql.staged.keep_history(**names, is_all=is_all), given)

        return await self._call(keep), False

    async def _before(self, keys: Sequence[bytes], params: Params) -> list[int | None]:
        """All at once: one by one, and for each row anew, it takes ten times as long."""
        sql = self._dialect
        await self.run(sql.staged.clear_changed(), {})
        await self.run_many(sql.staged.add_changed(), [(key,) for key in keys])
        found = await self.all(sql.staged.versions_before(), params)
        return [before for (before,) in found]

    async def claim(self, claims: Sequence[Claim], params: Params) -> list[tuple[int, bytes]]:
        sql = self._dialect.staged
        await self.run(sql.create_claims(), {})
        await self.run(sql.clear_claims(), {})
        await self.run_many(sql.add_claim(), [(n, *claim) for n, claim in enumerate(claims)])
        await self.run(sql.claim(), params)
        return [(n, bytes(key)) for n, key in await self.all(sql.met(), params)]

    async def add_history(self, versions: list[Row]) -> None:
        sql = self._dialect
        await self.run_many(sql.history.add, versions)

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

    def _be_durable(self, durable: bool) -> None:
        sql = self._sql.synchronous_full if durable else self._sql.synchronous_normal
        self._db.execute(sql)
        self._durable = durable

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute(self._sql.rollback)
