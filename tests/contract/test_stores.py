"""What the rules and jobs rely on, of either store: transactions, claims, streams, staging."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, closing
from itertools import islice
from typing import Any

import apsw
import pytest
from mariadb import Mariadb

from syncsession_client.protocol.batches import Row
from syncsession_client.protocol.tables import Column, Table
from syncsession_server import cleanup, pulls, staging
from syncsession_server.app import current_store
from syncsession_server.settings import Settings
from syncsession_server.stores import Store, Transaction
from syncsession_server.stores.mysql import MysqlStore
from syncsession_server.stores.sqlite import SqliteStore
from syncsession_server.tenants import Caller, ago, now

SECONDS = 60.0
LONG_AGO, LATER = "2000-01-01T00:00:00.000Z", "9999"
CALLER = Caller("acme", "alice", frozenset({"sync", "schema"}))


def asked(session_id: str, device_id: str) -> staging.PushRequest:
    return staging.PushRequest(session_id, device_id, [], None)


ACME = {"tenant_id": "acme"}

Scenario = Callable[[Store], Awaitable[Any]]


@pytest.fixture
def with_store(new_database) -> Callable[..., Any]:
    """Runs a scenario on a store over a fresh database, in which tenant acme is."""

    def run(scenario: Scenario, **settings: Any) -> Any:
        async def main() -> Any:
            wanted = Settings(database=new_database(), migrate=True, **settings)
            async with asyncio.timeout(SECONDS), current_store(wanted) as store:
                await add_tenant(store, "acme")
                return await scenario(store)

        return asyncio.run(main())

    return run


async def add_tenant(store: Store, name: str, tx: Transaction | None = None) -> int:
    return await (tx or store).run(store.sql.tenants.add_tenant, {"tenant_id": name, "now": now()})


async def tenants(store: Store) -> list[str]:
    """The tenants that are committed."""
    rows = await store.read(lambda tx: tx.all(store.sql.cleanup.tenants, {}))
    return [name for name, *_ in rows]


# Transactions


def test_what_a_transaction_wrote_is_there_when_it_has_ended(with_store):
    async def scenario(store):
        assert await store.write(lambda tx: add_tenant(store, "b", tx)) == 1
        assert await tenants(store) == ["acme", "b"]

    with_store(scenario)


def test_what_a_failed_transaction_wrote_is_gone_and_the_next_one_works(with_store):
    async def scenario(store):
        async def fail(tx):
            await add_tenant(store, "b", tx)
            raise ZeroDivisionError

        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await store.write(fail)
        assert await tenants(store) == ["acme"]
        assert await store.write(lambda tx: add_tenant(store, "b", tx)) == 1

    with_store(scenario)


def test_what_a_cancelled_transaction_wrote_is_gone_and_the_next_one_works(with_store):
    async def scenario(store):
        written = asyncio.Event()

        async def wait(tx):
            await add_tenant(store, "b", tx)
            written.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(store.write(wait))
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await tenants(store) == ["acme"]
        assert await store.write(lambda tx: add_tenant(store, "b", tx)) == 1

    with_store(scenario)


def test_a_transaction_may_be_cancelled_at_any_point_and_leaves_the_store_usable(with_store):
    async def scenario(store):
        for turns in range(25):
            task = asyncio.create_task(
                store.write(lambda tx: add_tenant(store, "cancelled", tx), durable=False)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await add_tenant(store, f"kept {turns:02}")
            assert f"kept {turns:02}" in await tenants(store)
        assert await store.write(lambda tx: add_tenant(store, "b", tx)) == 1

    with_store(scenario)


def test_a_transaction_that_is_cancelled_while_it_begins_is_not_left_open(tmp_path):
    async def scenario():
        settings = Settings(database=f"sqlite:///{tmp_path / 'server.db'}")
        async with current_store(settings) as store:
            assert isinstance(store, SqliteStore)
            with closing(apsw.Connection(str(store.path))) as other:
                other.execute("BEGIN IMMEDIATE")
                begun, loop = asyncio.Event(), asyncio.get_running_loop()

                def tell(*_: object) -> bool:
                    loop.call_soon_threadsafe(begun.set)
                    return True

                store._writer._db.exec_trace = tell
                task = asyncio.create_task(store.write(lambda tx: add_tenant(store, "b", tx)))
                async with asyncio.timeout(SECONDS):
                    await begun.wait()
                task.cancel()
                await asyncio.sleep(0)
                other.execute("ROLLBACK")
            await asyncio.wait([task])
            await add_tenant(store, "c")
            assert await tenants(store) == ["c"]

    asyncio.run(scenario())


def test_a_transaction_sees_what_it_has_written_and_nobody_else_does(with_store):
    async def scenario(store):
        async def work(tx):
            await add_tenant(store, "b", tx)
            mine = await tx.all(store.sql.cleanup.tenants, {})
            return [name for name, *_ in mine], await tenants(store)

        assert await store.write(work) == (["acme", "b"], ["acme"])

    with_store(scenario)


def test_a_read_is_one_snapshot_while_others_write(with_store):
    async def scenario(store):
        async def work(tx):
            before = await tx.all(store.sql.cleanup.tenants, {})
            await store.write(lambda other: add_tenant(store, "b", other))
            streamed = tx.stream(store.sql.cleanup.tenants, {}, take_one)
            after = await tx.all(store.sql.cleanup.tenants, {})
            return before, after, [row async for row in streamed]

        before, after, streamed = await store.read(work)
        assert before == after == streamed
        assert await tenants(store) == ["acme", "b"]

    with_store(scenario)


def test_a_snapshot_is_of_the_moment_when_the_read_began(with_store):
    async def scenario(store):
        async def work(tx):
            await tx.first(store.sql.sessions.oldest_queued, {})
            await store.write(lambda other: add_tenant(store, "b", other))
            return await tx.all(store.sql.cleanup.tenants, {})

        assert [name for name, *_ in await store.read(work)] == ["acme"]

    with_store(scenario)


# Streams


def take_one(rows: Iterator[Row]) -> Row | None:
    return next(rows, None)


async def fill(store: Store, count: int) -> list[tuple[int, bytes]]:
    """(number, payload) of so many batches of one spool."""
    batches = [(n, n.to_bytes(4, "big") * 50) for n in range(1, count + 1)]
    spool = {"spool_id": "s", "now": now()}
    rows = [spool | {"number": n, "payload": payload} for n, payload in batches]
    await store.write(lambda tx: tx.run_many(store.sql.pulls.add_batch, rows))
    return batches


SPOOLED = "SELECT number, payload FROM sync_pull_batch ORDER BY number"


@pytest.mark.parametrize("size", [1, 7, 4000, 100_000])
def test_a_stream_gives_every_row_once_and_in_order(with_store, size):
    async def scenario(store):
        filled = await fill(store, 9001)

        async def work(tx):
            streamed = tx.stream(SPOOLED, {}, lambda rows: list(islice(rows, size)) or None)
            return [row async for taken in streamed for row in taken]

        assert await store.read(work) == filled

    with_store(scenario)


def test_a_stream_ends_when_take_makes_none_and_the_transaction_goes_on(with_store):
    async def scenario(store):
        filled = await fill(store, 9001)

        def take(rows):
            first = next(rows)
            return first if first[0] != 4 else None

        async def work(tx):
            taken = [row async for row in tx.stream(SPOOLED, {}, take)]
            return taken, await tx.first(store.sql.sessions.last_number, ACME)

        for _ in range(3):
            assert await store.read(work) == (filled[:3], (0, 0))

    with_store(scenario)


def test_a_stream_that_is_left_early_disturbs_nothing(with_store):
    async def scenario(store):
        filled = await fill(store, 9001)

        async def work(tx):
            async with aclosing(tx.stream(SPOOLED, {}, take_one)) as streamed:
                return await anext(streamed)

        for _ in range(3):
            assert await store.read(work) == filled[0]
        assert await tenants(store) == ["acme"]

    with_store(scenario)


def test_a_stream_whose_taker_fails_fails_so_and_disturbs_nothing(with_store):
    async def scenario(store):
        await fill(store, 9001)

        def take(rows):
            next(rows)
            raise ZeroDivisionError

        async def work(tx):
            return [row async for row in tx.stream(SPOOLED, {}, take)]

        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await store.read(work)
        assert await tenants(store) == ["acme"]

    with_store(scenario)


def test_streams_beside_each_other_get_their_own_rows(with_store):
    async def scenario(store):
        filled = await fill(store, 9001)

        async def work(tx):
            streamed = tx.stream(SPOOLED, {}, lambda rows: list(islice(rows, 100)) or None)
            return [row async for taken in streamed for row in taken]

        assert await asyncio.gather(*(store.read(work) for _ in range(6))) == [filled] * 6

    with_store(scenario)


# What is told of changes


async def open_session(store: Store) -> dict[str, Any]:
    """The id of a session of acme's, open."""
    session = ACME | {"session_id": str(uuid.uuid4())}
    await staging.begin(store, CALLER, asked(session["session_id"], str(uuid.uuid4())))
    return session


async def queued(store: Store) -> dict[str, Any]:
    session = await open_session(store)
    for step in (store.sql.sessions.to_staged, store.sql.sessions.to_queued):
        assert await store.run(step, session | {"now": now()}) == 1
    return session


def test_a_transition_takes_place_once(with_store):
    async def scenario(store):
        sql, session = store.sql.sessions, await open_session(store)
        at = session | {"now": now(), "worker_id": str(uuid.uuid4()), "error": "{}"}
        ends = (sql.to_committed, at | {"is_corrected": 0})
        for step, params in (
            (sql.to_staged, at),
            (sql.to_queued, at),
            (sql.to_processing, at),
            (sql.requeue, at),
            (sql.to_processing, at),
            ends,
        ):
            assert await store.run(step, params) == 1
            assert await store.run(step, params) == 0
        for step in (sql.to_staged, sql.to_queued, sql.to_processing, sql.to_failed, sql.requeue):
            assert await store.run(step, at) == 0
        assert await store.run(sql.to_expired, at | {"cutoff": LATER}) == 0

    with_store(scenario)


def test_who_has_not_claimed_a_session_cannot_end_it(with_store):
    async def scenario(store):
        sql, session = store.sql.sessions, await queued(store)
        ours, theirs = ({"worker_id": str(uuid.uuid4()), "now": now()} for _ in range(2))
        assert await store.run(sql.to_processing, session | ours) == 1
        for step in (sql.to_failed, sql.to_committed, sql.requeue, sql.keep_claim):
            params = session | theirs | {"error": "{}", "is_corrected": 0}
            assert await store.run(step, params) == 0
        assert await store.run(sql.to_committed, session | ours | {"is_corrected": 0}) == 1

    with_store(scenario)


def test_of_many_that_claim_a_session_one_has_it(with_store):
    async def scenario(store):
        for _ in range(5):
            session = await queued(store)
            claims = [session | {"worker_id": str(uuid.uuid4()), "now": now()} for _ in range(12)]
            sql = store.sql.sessions.to_processing
            won = await asyncio.gather(*(store.run(sql, claim) for claim in claims))
            assert sorted(won) == [0] * 11 + [1]
            winner = claims[won.index(1)]
            assert await store.run(store.sql.sessions.requeue, winner) == 1

    with_store(scenario)


def test_sessions_that_begin_together_get_dense_numbers_each_visible_after_all_smaller_ones(
    with_store,
):
    async def scenario(store):
        done = asyncio.Event()
        seen = []

        async def look():
            while not done.is_set():
                rows = await store.read(lambda tx: tx.all(store.sql.sessions.live_numbers, ACME))
                seen.append([number for (number,) in rows])
                await asyncio.sleep(0)

        async def begin():
            session_id, device_id = str(uuid.uuid4()), str(uuid.uuid4())
            return (await staging.begin(store, CALLER, asked(session_id, device_id)))["number"]

        looking = asyncio.create_task(look())
        numbers = await asyncio.gather(*(begin() for _ in range(40)))
        done.set()
        await looking
        assert sorted(numbers) == list(range(1, 41))
        assert all(found == list(range(1, len(found) + 1)) for found in seen)
        assert {len(found) for found in seen} & set(range(1, 40))

    with_store(scenario)


def test_one_session_that_is_begun_by_many_at_once_gets_one_number(with_store):
    async def scenario(store):
        session_id, device_id = str(uuid.uuid4()), str(uuid.uuid4())
        begun = await asyncio.gather(
            *(staging.begin(store, CALLER, asked(session_id, device_id)) for _ in range(8)),
        )
        assert {session["number"] for session in begun} == {1}
        assert await store.first(store.sql.sessions.last_number, ACME) == (1, 0)

    with_store(scenario)


def test_an_insert_of_what_is_there_changes_nothing_and_says_so(with_store):
    async def scenario(store):
        sql, at = store.sql, {"now": now()}
        owner = ACME | {"user_id": "alice"}
        session = await open_session(store)
        batch = {"number": 1, "table_name": "t", "count_rows": 1, "encoding": "e", "payload": b"1"}
        pull = ACME | {"pull_id": "p", "device_id": "d"}
        described = {"definition": "{}", "known": "{}", "introduced": "{}"}
        for statement, params in (
            (sql.tenants.add_tenant, {"tenant_id": "b"} | at),
            (sql.tenants.add_token, owner | {"token_hash": b"h" * 32, "scopes": "sync"} | at),
            (sql.tenants.add_device, owner | {"device_id": "d"} | at),
            (sql.tables.add, {"name": "t", "definition": "{}"}),
            (sql.tables.add_tenant_table, ACME | described | {"name": "t", "position": 0}),
            (sql.sessions.add_batch, session | batch),
            (sql.pulls.add, pull | {"spool_id": "s", "answer": "{}"} | at),
        ):
            assert await store.run(statement, params) == 1
            before = await rows_of(store)
            other = {name: OTHER.get(name, value) for name, value in params.items()}
            assert await store.run(statement, other) == 0
            assert await rows_of(store) == before

    with_store(scenario)


OTHER = {"user_id": "eve", "definition": "[]", "payload": b"2", "now": LATER, "spool_id": "z"}
TABLES = ("tenant", "token", "device", "table", "tenant_table", "session", "staging", "pull")


async def rows_of(store: Store) -> dict[str, Any]:
    """What is in the tables of the server's own."""
    return {
        name: await store.read(lambda tx, name=name: tx.all(f"SELECT * FROM sync_{name}", {}))
        for name in TABLES
    }


def test_a_batch_of_a_session_that_is_not_open_is_not_kept(with_store):
    async def scenario(store):
        batch = {"number": 1, "table_name": "t", "count_rows": 1, "encoding": "e", "payload": b"1"}
        for session in (await queued(store), ACME | {"session_id": str(uuid.uuid4())}):
            assert await store.run(store.sql.sessions.add_batch, session | batch) == 0

    with_store(scenario)


def test_a_definition_is_widened_only_from_what_was_read(with_store):
    async def scenario(store):
        sql = store.sql.tables
        await store.run(sql.add, {"name": "t", "definition": "1"})
        assert await store.run(sql.widen, {"name": "t", "definition": "2", "known": "1"}) == 1
        assert await store.run(sql.widen, {"name": "t", "definition": "3", "known": "1"}) == 0
        await store.run(sql.set_built, {"name": "t", "definition": "1"})
        assert await store.first(sql.find, {"name": "t"}) == ("2", "")
        await store.run(sql.set_built, {"name": "t", "definition": "2"})
        assert await store.first(sql.find, {"name": "t"}) == ("2", "2")

    with_store(scenario)


# Application tables and staging

ID, BODY, MORE = Column("id", "text"), Column("body", "text"), Column("more", "integer")
NOTE = Table("note", "global", ("id",), (ID, BODY))
WIDER = Table("note", "global", ("id",), (ID, BODY, MORE))
OTHERWISE_WIDER = Table("note", "global", ("id",), (ID, BODY, Column("other", "real")))


def noted(count: int, body: str = "x", *, is_deleted: int = 0) -> list[Row]:
    """Rows as they travel, edited from what session 1 gave."""
    return [(1, None, None, is_deleted, f"{n:06d}", body) for n in range(count)]


Pause = Callable[[], Awaitable[object]]


async def put(store: Store, tx: Transaction, number: int, rows: list[Row]) -> None:
    """Stage rows and write them into the table, as a commit does."""
    stamp = ACME | {"number": number, "user_id": "alice", "now": now()}
    layout = store.layout(NOTE, ("body",), NOTE)
    staged = await tx.stage(layout, stamp, len(rows))
    for start in range(0, len(rows), 500):
        await staged.add(layout.encode(rows[start : start + 500]))
    await tx.run(store.sql.rows.upsert(**staged.names), stamp)
    await tx.run(store.sql.rows.tombstone(**staged.names), stamp)
    await staged.clear()


async def write(
    store: Store, tx: Transaction, number: int, rows: list[Row], pause: Pause | None = None
) -> int:
    """Stage rows and write them; how many met another version. `pause` before they are written."""
    stamp = ACME | {"number": number, "user_id": "alice", "now": now()}
    layout = store.layout(NOTE, ("body",), NOTE)
    staged, sql = await tx.stage(layout, stamp, len(rows)), store.sql.rows
    await staged.add(layout.encode(rows))
    await tx.run(sql.insert_new(**staged.names), stamp)
    met: list[Row] = []
    if await staged.meet(stamp):
        met = await tx.all(sql.conflicts(**staged.names), stamp | {"after": 0, "most": 1000})
    if pause is not None:
        await pause()
    found = await tx.first(sql.has_conflicts(**staged.names), stamp)
    assert bool(found and found[0]) == bool(met)
    await tx.run(sql.upsert(**staged.names), stamp)
    await staged.clear()
    return len(met)


async def notes(store: Store) -> list[Row]:
    """(id, body, is_deleted) of the rows in the table."""
    sql = "SELECT id, body, is_deleted FROM note ORDER BY id"
    return await store.read(lambda tx: tx.all(sql, {}))


async def left_in_staging(store: Store) -> int:
    """Rows that the staging table which all share holds; the embedded store has none."""
    if not isinstance(store, MysqlStore):
        return 0
    name = store.layout(NOTE, (), NOTE).names["t"].staged_name
    return (await store.first(f'SELECT count(*) FROM "{name}"', {}))[0]


THRESHOLDS = pytest.mark.parametrize("threshold", [0, 1_000_000])


async def until_it_waits(store: Store, mariadb: Mariadb, later: asyncio.Task[Any]) -> None:
    """Until a transaction waits for another's locks, or is over; of the embedded store it does."""
    if not isinstance(store, MysqlStore):
        return
    waits = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    while not await asyncio.to_thread(mariadb.execute, waits):
        # Asked more often than every 0.1 seconds, InnoDB shows the same again.
        done, _ = await asyncio.wait([later], timeout=0.15)
        if done:
            break


@THRESHOLDS
@pytest.mark.parametrize("base", [1, None], ids=["both changed it", "both made it"])
def test_what_two_sessions_write_at_the_same_time_meets(with_store, mariadb, base, threshold):
    """The second waits until the first has ended, and sees what it wrote."""
    rows = [(base, None, None, 0, f"{n:03}", "x") for n in range(20)]

    async def scenario(store):
        await store.build(NOTE)
        if base:
            made = [(None, *row[1:]) for row in rows]
            await store.write(lambda tx: write(store, tx, 1, made))
        has_written, may_end = asyncio.Event(), asyncio.Event()

        async def first(tx: Transaction) -> int:
            found = await write(store, tx, 2, rows)
            has_written.set()
            await may_end.wait()
            return found

        earlier = asyncio.create_task(store.write(first))
        await has_written.wait()
        later = asyncio.create_task(store.write(lambda tx: write(store, tx, 3, rows)))
        await until_it_waits(store, mariadb, later)
        may_end.set()
        assert await earlier == 0
        assert await later == len(rows)

    with_store(scenario, push_shared_table_threshold=threshold)


@THRESHOLDS
@pytest.mark.parametrize("changed", [0, 1])
def test_a_row_that_met_nothing_stays_so_until_the_session_ends(
    with_store, mariadb, changed, threshold
):
    """Every row is locked before any is written, be there others that have met one or not."""
    rows = [(1, None, None, 0, f"{n:03}", "x") for n in range(20)]

    async def scenario(store):
        await store.build(NOTE)
        made = [(None, *row[1:]) for row in rows]
        await store.write(lambda tx: write(store, tx, 1, made))
        if changed:
            await store.write(lambda tx: write(store, tx, 2, rows[:changed]))
        has_met, may_write = asyncio.Event(), asyncio.Event()

        async def pause() -> None:
            has_met.set()
            await may_write.wait()

        earlier = asyncio.create_task(store.write(lambda tx: write(store, tx, 3, rows, pause)))
        await has_met.wait()
        later = asyncio.create_task(store.write(lambda tx: write(store, tx, 4, rows[10:11])))
        await until_it_waits(store, mariadb, later)
        may_write.set()
        assert await earlier == changed
        assert await later == 1

    with_store(scenario, push_shared_table_threshold=threshold)


@THRESHOLDS
def test_what_is_decided_of_rows_that_met_is_what_is_written(with_store, threshold):
    bases = {"won": None, "won too": 7, "lost": 7, "merged": 7, "met nothing": 1}
    rows = [(base, None, None, 0, key, "mine") for key, base in bases.items()]
    stamp = ACME | {"number": 2, "user_id": "alice", "now": now()}

    async def commit(store: Store, tx: Transaction) -> list[Row]:
        layout, sql = store.layout(NOTE, ("body",), NOTE), store.sql.rows
        staged = await tx.stage(layout, stamp, len(rows))
        await staged.add(layout.encode(rows))
        await tx.run(sql.insert_new(**staged.names), stamp)
        assert await staged.meet(stamp)
        found = await tx.all(sql.conflicts(**staged.names), stamp | {"after": 0, "most": 10})
        await staged.decide([(found[2][0], "theirs"), (found[3][0], "merged")])
        await staged.add(layout.encode([(1, None, None, 0, "merged", "both")]))
        await staged.settle(sql.touch(**staged.names), stamp)
        await tx.run(sql.upsert(**staged.names), stamp)
        await staged.clear()
        return await tx.all("SELECT id, body, sync_session FROM note ORDER BY body, id", {})

    async def scenario(store):
        await store.build(NOTE)
        made = [(None, None, None, 0, key, "here") for key in bases]
        await store.write(lambda tx: write(store, tx, 1, made))
        assert await store.write(lambda tx: commit(store, tx)) == [
            ("merged", "both", 2),
            ("lost", "here", 2),
            ("met nothing", "mine", 2),
            ("won", "mine", 2),
            ("won too", "mine", 2),
        ]

    with_store(scenario, push_shared_table_threshold=threshold)


@THRESHOLDS
@pytest.mark.parametrize("count", [1, 99, 1700])
def test_staged_rows_become_rows_and_nothing_of_them_stays_in_staging(with_store, threshold, count):
    async def scenario(store):
        await store.build(NOTE)
        for number, body in enumerate(("first", "second"), 1):
            await store.write(lambda tx: put(store, tx, number, noted(count, body)))  # noqa: B023
            assert await notes(store) == [(f"{n:06d}", body, 0) for n in range(count)]
            assert await left_in_staging(store) == 0
        await store.write(lambda tx: put(store, tx, 3, noted(count, "", is_deleted=1)))
        assert await notes(store) == [(f"{n:06d}", "second", 1) for n in range(count)]

    with_store(scenario, push_shared_table_threshold=threshold)


@THRESHOLDS
def test_nothing_of_a_commit_that_fails_stays(with_store, threshold):
    async def scenario(store):
        await store.build(NOTE)

        async def fail(tx):
            await put(store, tx, 1, noted(300, "gone"))
            stamp = ACME | {"number": 1, "user_id": "alice", "now": now()}
            layout = store.layout(NOTE, ("body",), NOTE)
            staged = await tx.stage(layout, stamp, 300)
            await staged.add(layout.encode(noted(300)))
            raise ZeroDivisionError

        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await store.write(fail)
            assert await notes(store) == []
            assert await left_in_staging(store) == 0
        await store.write(lambda tx: put(store, tx, 1, noted(2)))
        assert len(await notes(store)) == 2

    with_store(scenario, push_shared_table_threshold=threshold)


@THRESHOLDS
def test_sessions_that_are_committed_at_once_do_not_mix(with_store, threshold):
    async def scenario(store):
        await store.build(NOTE)

        async def commit(number):
            rows = [(1, None, None, 0, f"{number}-{n}", str(number)) for n in range(200)]
            await store.write(lambda tx: put(store, tx, number, rows))

        await asyncio.gather(*(commit(number) for number in range(1, 7)))
        found = await notes(store)
        assert len(found) == 1200
        assert all(key.partition("-")[0] == body for key, body, _ in found)

    with_store(scenario, push_shared_table_threshold=threshold)


def test_a_table_is_built_once_and_given_the_columns_that_it_lacks(with_store):
    async def scenario(store):
        for table in (NOTE, NOTE, WIDER, WIDER, NOTE):
            await store.build(table)
            await store.write(lambda tx: put(store, tx, 1, noted(3)))
        assert (await store.first("SELECT count(*), max(more) FROM note", {})) == (3, None)

    with_store(scenario)


def test_a_table_may_be_built_by_several_at_once(with_store):
    async def scenario(store):
        for table in (NOTE, WIDER, OTHERWISE_WIDER):
            await asyncio.gather(*(store.build(table) for _ in range(6)))
        await asyncio.gather(store.build(WIDER), store.build(OTHERWISE_WIDER))
        assert await store.first("SELECT count(more), count(other) FROM note", {}) == (0, 0)

    with_store(scenario)


# Clean-up

GONE = cleanup.Keeping(activity_seconds=-60.0, retention_days=0)
KEPT = cleanup.Keeping(activity_seconds=60.0, retention_days=0)
FORGOTTEN = cleanup.Keeping(activity_seconds=60.0, retention_days=-1.0)


async def clean(store: Store, keeping: cleanup.Keeping) -> None:
    for step in cleanup.STEPS:
        await step(store, keeping)


async def count(store: Store, table: str) -> int:
    return (await store.first(f"SELECT count(*) FROM {table}", {}))[0]


async def status(store: Store, session: dict[str, Any]) -> str:
    return (await store.first(store.sql.sessions.find, session))[2]


async def add_batch(store: Store, session: dict[str, Any]) -> None:
    await staging.add(
        store, "acme", session["session_id"], staging.StagedBatch(1, "t", 1, "e", b"1")
    )


async def spool(store: Store) -> dict[str, Any]:
    pull = ACME | {"pull_id": str(uuid.uuid4())}
    spooled = {"spool_id": str(uuid.uuid4()), "now": now()}
    added = spooled | {"number": 1, "payload": b"1"}
    await store.write(lambda tx: tx.run_many(store.sql.pulls.add_batch, [added]))
    await store.run(store.sql.pulls.add, pull | spooled | {"device_id": "d", "answer": "{}"})
    return pull


def test_a_session_whose_device_is_gone_expires_and_its_batches_go(with_store):
    async def scenario(store):
        session, waiting = await open_session(store), await queued(store)
        await add_batch(store, session)
        await clean(store, KEPT)
        assert (await status(store, session), await count(store, "sync_staging")) == ("open", 1)
        await clean(store, GONE)
        assert (await status(store, session), await count(store, "sync_staging")) == ("expired", 0)
        assert await status(store, waiting) == "queued"

    with_store(scenario)


def test_a_device_that_shows_signs_of_life_keeps_its_session(with_store):
    async def scenario(store):
        session = await open_session(store)
        at = session | {"now": LATER}
        assert await store.run(store.sql.sessions.keep_open, at) == 1
        assert await store.run(store.sql.sessions.to_expired, at | {"cutoff": ago(-60)}) == 0
        await clean(store, GONE)
        assert await status(store, session) == "open"

    with_store(scenario)


def test_batches_of_sessions_that_ended_or_are_not_there_go(with_store):
    async def scenario(store):
        ended, alive = await open_session(store), await open_session(store)
        for session in (ended, alive):
            await add_batch(store, session)
        await store.run(store.sql.sessions.to_expired, ended | {"now": now(), "cutoff": LATER})
        await clean(store, KEPT)
        assert await count(store, "sync_staging") == 1
        await store.run("DELETE FROM sync_session", {})
        await clean(store, KEPT)
        assert await count(store, "sync_staging") == 0

    with_store(scenario)


def test_spools_that_nobody_reads_go_with_or_without_their_pull(with_store):
    async def scenario(store):
        pull = await spool(store)
        await spool(store)
        await fill(store, 3)
        await clean(store, KEPT)
        assert (await count(store, "sync_pull"), await count(store, "sync_pull_batch")) == (2, 5)
        await store.run(store.sql.pulls.keep, pull | {"now": LATER})
        await clean(store, GONE)
        assert (await count(store, "sync_pull"), await count(store, "sync_pull_batch")) == (1, 1)
        await pulls.complete(store, "acme", pull["pull_id"])
        assert (await count(store, "sync_pull"), await count(store, "sync_pull_batch")) == (0, 0)

    with_store(scenario)


def test_sessions_are_forgotten_up_to_the_first_that_is_under_way(with_store):
    async def scenario(store):
        sessions = [await open_session(store) for _ in range(4)]
        expired = {"now": now(), "cutoff": LATER}
        for n in (0, 1, 3):
            assert await store.run(store.sql.sessions.to_expired, sessions[n] | expired) == 1
        await clean(store, FORGOTTEN)
        assert await store.first(store.sql.sessions.last_number, ACME) == (4, 2)
        rows = await store.read(lambda tx: tx.all("SELECT number FROM sync_session", {}))
        assert sorted(rows) == [(3,), (4,)]
        await store.run(store.sql.sessions.to_expired, sessions[2] | expired)
        await clean(store, FORGOTTEN)
        assert await store.first(store.sql.sessions.last_number, ACME) == (4, 4)
        assert await count(store, "sync_session") == 0

    with_store(scenario)


def test_tombstones_of_the_named_sessions_are_deleted_and_nothing_else(with_store):
    async def scenario(store):
        await store.build(NOTE)
        await store.write(lambda tx: put(store, tx, 1, noted(3000, is_deleted=1)))
        await store.write(lambda tx: put(store, tx, 2, [(1, None, None, 1, "two", None)]))
        await store.write(lambda tx: put(store, tx, 1, [(1, None, None, 0, "live", "x")]))
        sql = store.sql.rows.delete_tombstones(**store.layout(NOTE, (), NOTE).names)
        params, deleted = ACME | {"first": 1, "last": 1}, 0
        while changed := await store.run(sql, params):
            deleted += changed
        assert deleted == 3000
        assert [key for key, *_ in await notes(store)] == ["live", "two"]

    with_store(scenario)
