"""The connections of the MySQL store: none is lost, none is kept that is not fit for use."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import pytest
from mariadb import Mariadb
from support import SECONDS

from syncsession_server.databases import MysqlUrl, parse
from syncsession_server.stores import Dialect
from syncsession_server.stores.mysql import MysqlStore
from syncsession_server.stores.mysql_pool import Pool

PLACES = 2
INSERT = "INSERT INTO sheep (id) VALUES (%(id)s)"
FLOCK = "SELECT a.seq, repeat('baa', 1000) FROM seq_1_to_10000 AS a"


@pytest.fixture(scope="module")
def url(mariadb: Mariadb) -> MysqlUrl:
    url = parse(mariadb.create_database())
    assert isinstance(url, MysqlUrl)
    mariadb.execute(f"CREATE TABLE {url.name}.sheep (id INTEGER PRIMARY KEY) ENGINE = InnoDB")
    return url


@pytest.fixture
def run(url: MysqlUrl) -> Callable[..., None]:
    """Runs a coroutine function on a store of two connections, and then sees that it is as new."""

    async def with_store(work: Callable[[MysqlStore], Awaitable[None]], options: Any) -> None:
        async with asyncio.timeout(SECONDS), opened(url, **options) as store:
            await work(store)
            await check_as_new(store)

    return lambda work, **options: asyncio.run(with_store(work, options))


@asynccontextmanager
async def opened(url: MysqlUrl, **options: Any) -> AsyncIterator[MysqlStore]:
    async with MysqlStore(url, connections=PLACES, **options) as store:
        yield store


async def check_as_new(store: MysqlStore) -> None:
    """Every place can be used, at the same time; no connection is in a transaction."""
    assert all(connection.is_idle for connection, _ in store._pool._free)
    everyone = asyncio.Barrier(PLACES)

    async def in_place(connection: Any) -> int:
        await everyone.wait()
        (found,) = await connection.first("SELECT @@in_transaction", {})
        await everyone.wait()
        return int(found)

    found = await asyncio.gather(*(store._again(in_place) for _ in range(PLACES)))
    assert found == [0] * PLACES
    assert await store.first("SELECT * FROM sheep", {}) is None


async def ids(store: MysqlStore) -> set[int]:
    """The connections that the store has."""

    async def use(tx: Any) -> int:
        await asyncio.sleep(0.05)
        return int((await tx.first("SELECT connection_id()", {}))[0])

    return set(await asyncio.gather(*(store._again(use) for _ in range(PLACES))))


def test_many_more_transactions_than_connections_all_come_to_their_turn(run):
    async def work(store):
        async def read_and_write(tx):
            async for _ in tx.stream(FLOCK, {}, lambda rows: list(rows) or None):
                await store.write(lambda tx: tx.first("SELECT 1", {}))

        async def write(tx):
            await tx.first("SELECT sleep(0.01)", {})

        some = [f for _ in range(15) for f in (store.read(read_and_write), store.write(write))]
        others = [store.write(write, is_long=True) for _ in range(15)]
        await asyncio.gather(*some, *others, *(store.first("SELECT 1", {}) for _ in range(30)))

    run(work)


def test_transactions_that_last_leave_a_connection_to_the_others(run):
    async def work(store):
        over = asyncio.Event()

        async def lasts(tx):
            await tx.first("SELECT 1", {})
            await over.wait()

        lasting = [
            asyncio.create_task(each)
            for _ in range(PLACES)
            for each in (store.read(lasts), store.write(lasts, is_long=True))
        ]
        async with asyncio.timeout(5):
            for _ in range(10):
                await store.first("SELECT 1", {})
        over.set()
        await asyncio.gather(*lasting)

    run(work)


def test_a_connection_that_was_killed_is_replaced(run, mariadb):
    async def work(store):
        before = await ids(store)
        for each in before:
            mariadb.execute(f"KILL {each}")
        assert await store.first("SELECT 1", {}) == (1,)
        assert not await ids(store) & before

    run(work)


def test_a_connection_that_the_database_found_idle_is_replaced(run, mariadb):
    async def work(store):
        before = await ids(store)
        there = "SELECT id FROM information_schema.processlist"
        while {each for (each,) in mariadb.execute(there)} & before:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert await store.first("SELECT 1", {}) == (1,)
        assert not await ids(store) & before

    run(work, silence_seconds=1)


def test_a_transaction_that_falls_silent_is_let_go_of_and_done_again(run):
    attempts = []

    async def work(store):
        async def silent(tx):
            await tx.run(INSERT, {"id": 1})
            attempts.append(await tx.first("SELECT connection_id()", {}))
            await asyncio.sleep(0 if len(attempts) > 1 else 2)
            await tx.run("DELETE FROM sheep", {})

        await store.write(silent)

    run(work, silence_seconds=1)
    assert len(set(attempts)) == 2


Moment = Callable[[Any, asyncio.Event], Awaitable[None]]


async def between_statements(tx: Any, reached: asyncio.Event) -> None:
    reached.set()
    await asyncio.sleep(SECONDS)


async def in_a_statement(tx: Any, reached: asyncio.Event) -> None:
    reached.set()
    await tx.first("SELECT sleep(0.5)", {})


async def in_a_stream(tx: Any, reached: asyncio.Event) -> None:
    async for _ in tx.stream(FLOCK, {}, lambda rows: next(rows, None)):
        reached.set()
        await asyncio.sleep(SECONDS)


async def after_a_large_result(tx: Any, reached: asyncio.Event) -> None:
    async for _ in tx.stream(FLOCK, {}, lambda rows: list(rows) or None):
        pass
    reached.set()
    await asyncio.sleep(SECONDS)


MOMENTS = [between_statements, in_a_statement, in_a_stream, after_a_large_result]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", ["read", "write"])
def test_what_is_cancelled_leaves_no_transaction_and_no_place_taken(run, moment, kind):
    async def work(store):
        for number in range(PLACES + 1):
            reached = asyncio.Event()

            async def begun(tx, reached=reached, number=number):
                if kind == "write":
                    await tx.run(INSERT, {"id": 10 + number})
                await moment(tx, reached)

            task = asyncio.create_task(getattr(store, kind)(begun))
            await reached.wait()
            await asyncio.sleep(0.01)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run(work)


def test_who_is_cancelled_while_waiting_for_a_connection_takes_no_place(run):
    async def work(store):
        over = asyncio.Event()

        async def lasts(connection):
            await over.wait()

        lasting = [asyncio.create_task(store._again(lasts)) for _ in range(PLACES)]
        waiting = [asyncio.create_task(store.first("SELECT 1", {})) for _ in range(10)]
        await asyncio.sleep(0.01)
        for each in waiting[::2]:
            each.cancel()
        over.set()
        found = await asyncio.gather(*lasting, *waiting, return_exceptions=True)
        assert found[PLACES + 1 :: 2] == [(1,)] * 5

    run(work)


@pytest.mark.parametrize("steps", range(0, 60, 6))
def test_a_connection_is_not_leaked_whenever_its_opening_is_cancelled(url, steps):
    async def work():
        async with opened(url) as store:
            await store._pool.close()
            store._pool._is_closed = False
            task = asyncio.create_task(store.first("SELECT 1", {}))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await check_as_new(store)

    asyncio.run(work())


@pytest.mark.parametrize("steps", range(30))
def test_who_is_cancelled_while_connecting_hears_of_it_though_the_database_is_away(steps, tmp_path):
    with closing(socket.socket(socket.AF_UNIX)) as gone:
        gone.bind(str(tmp_path / "socket"))
    away = parse(f"mysql://root@localhost/away?unix_socket={tmp_path / 'socket'}")
    assert isinstance(away, MysqlUrl)

    async def cancel() -> None:
        pool = Pool(away, Dialect("mysql", pyformat=True), PLACES, 30)
        task = asyncio.create_task(pool.connection().__aenter__())
        for _ in range(steps):
            await asyncio.sleep(0)
        was_cancelled = task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or (not was_cancelled and task.exception())

    asyncio.run(cancel())


def test_work_that_fails_is_rolled_back_and_its_connection_used_again(run):
    async def work(store):
        before = await ids(store)

        async def fails(tx):
            await tx.run(INSERT, {"id": 1})
            raise ZeroDivisionError

        for _ in range(PLACES + 1):
            with pytest.raises(ZeroDivisionError):
                await store.write(fails)
        assert await ids(store) == before

    run(work)
