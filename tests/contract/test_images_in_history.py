"""What a session left is in history as it is, whoever makes the image: the database, or Python."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from odd_values import SPECIAL

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import META, Row, digest
from syncsession_client.protocol.tables import Affinity, Column, Table
from syncsession_server import history, registry
from syncsession_server.app import current_store
from syncsession_server.row_keys import row_keys
from syncsession_server.settings import Settings
from syncsession_server.stores import Store, Transaction
from syncsession_server.tenants import Caller, now

SECONDS = 60.0
CALLER = Caller("acme", "alice", frozenset({"sync", "schema"}))
AFFINITIES: tuple[Affinity, ...] = ("integer", "real", "text", "blob", "numeric")
VALUES = tuple(Column(f'a "{kind}"', kind) for kind in AFFINITIES)
TEXT = Table("text", "global", ("id",), (Column("id", "text"), *VALUES))
LOCAL = Table("local", "local", ("id",), (Column("id", "integer"), *VALUES))
NOCASE = Table("nocase", "global", ("id",), (Column("id", "text", "NOCASE"), *VALUES))
PAIR = Table("pair", "global", ("id", "n"), (Column("id", "text"), Column("n", "blob"), *VALUES))
WIDE = Table(
    "wide",
    "global",
    ("id",),
    (Column("id", "text"), *(Column(f"c{n}", AFFINITIES[n % 5]) for n in range(1200))),
)

Scenario = Callable[[Store, "Session"], Awaitable[None]]


class Session:
    """Writes sessions to a table, and reads what is kept of it."""

    def __init__(self, store: Store, table: Table) -> None:
        self.store, self.table, self.number = store, table, 0

    async def push(self, rows: Sequence[Row]) -> None:
        """Rows of a session: those with a base, which is never looked at, are there already."""
        self.number += 1
        stamp = {"tenant_id": "acme", "session_id": f"{self.number}", "number": self.number}
        stamp |= {"user_id": "alice", "now": now()}
        sql = self.store.sql.rows

        async def work(tx: Transaction) -> None:
            _, layout = await registry.find_layout(self.store, tx, "acme", self.table.name)
            await history.begin(self.store, tx, stamp, {self.table.name})
            staged = await tx.stage(layout, stamp, len(rows))
            await staged.add(list(layout.encode(list(rows))))
            for statement in (sql.insert_new, sql.upsert, sql.tombstone):
                await tx.run(statement(**staged.names), stamp)
            await staged.clear()
            await history.write(self.store, tx, stamp, {self.table.name})

        await self.store.write(work)

    async def kept(self) -> list[tuple[Any, ...]]:
        """(key, version, operation, image) of what the last session left, by key."""

        async def read(tx: Transaction) -> list[tuple[Any, ...]]:
            params = {"tenant_id": "acme", "table_name": self.table.name, "session": self.number}
            return await tx.all(self.store.sql.history.made, params)

        found = await self.store.read(read)
        return [(bytes(r[0]), r[1], r[3], images.decode(r[9])) for r in found]

    async def left(self) -> list[tuple[bytes, Row]]:
        """(key, row as it travels) of what the last session left, by key."""

        async def read(tx: Transaction) -> list[Row]:
            _, layout = await registry.find_layout(self.store, tx, "acme", self.table.name)
            params = {"tenant_id": "acme", "first": self.number, "last": self.number}
            sql = self.store.sql.rows.select_sessions(**layout.names)
            return list(layout.decode(await tx.all(sql, params)))

        rows = await self.store.read(read)
        return sorted(zip(row_keys(self.table, rows), rows, strict=True))

    async def check(self, count: int, version: int, operation: str) -> None:
        """Each of so many rows is kept as it is."""
        found, start = await self.kept(), history.image_start(self.table)
        assert {tuple(image) for *_, image in found} == {history.image_columns(self.table)}
        assert [(*told, digest(*image.values())) for *told, image in found] == [
            (key, version, operation, digest(*row[start:])) for key, row in await self.left()
        ]
        assert len(found) == count


@pytest.fixture
def with_table(new_database) -> Callable[..., None]:
    """Runs a scenario on a store over a fresh database, in which tenant acme has a table."""

    def run(table: Table, scenario: Scenario) -> None:
        async def main() -> None:
            wanted = Settings(database=new_database(), migrate=True)
            async with asyncio.timeout(SECONDS), current_store(wanted) as store:
                tenant = {"tenant_id": "acme", "now": now()}
                await store.run(store.sql.tenants.add_tenant, tenant)
                await registry.register(store, CALLER, "phone", [table])
                await scenario(store, Session(store, table))

        asyncio.run(main())

    return run


def key_of(table: Table, number: int) -> tuple[Any, ...]:
    if table.key_kind == "local":
        return (number.to_bytes(16, "big"), number)
    return (f"key {number:05}", *range(number, number + len(table.key) - 1))


def fitting(kind: Affinity, value: Any) -> Any:
    """The value, or one much like it that a column of the kind has room for everywhere."""
    if value is None or isinstance(value, bytes):
        return value if kind == "blob" else None
    if kind == "text":
        return str(value)
    if kind == "blob":
        return str(value).encode()
    if isinstance(value, str):
        return f"text {value}" if kind == "numeric" else len(value)
    return float(value) if kind == "real" else value


def odd_rows(table: Table, session: int | None) -> list[Row]:
    """A row for each odd value, which is in all of its columns."""
    return [
        (
            *(session, "2026-01-01", "bob", 0, *key_of(table, number)),
            *(fitting(kind, value) for kind in AFFINITIES),
        )
        for number, value in enumerate([*SPECIAL, None])
    ]


@pytest.mark.parametrize("table", [TEXT, LOCAL, NOCASE, PAIR], ids=lambda t: t.name)
def test_every_value_is_kept_as_what_it_is(with_table, table):
    async def scenario(_, session):
        rows = odd_rows(table, None)
        await session.push(rows)
        await session.check(len(rows), 1, "insert")
        changed = [(1, *row[1:]) for row in rows[::2]]
        await session.push(changed)
        await session.check(len(changed), 2, "update")
        gone = [(*row[:3], 1, *row[4:]) for row in changed[::2]]
        await session.push(gone)
        await session.check(len(gone), 3, "delete")
        back = [(*row[:3], 0, *row[4:]) for row in gone]
        await session.push(back)
        await session.check(len(back), 4, "insert")

    with_table(table, scenario)


def test_a_table_that_is_wider_than_a_function_has_arguments_is_kept(with_table):
    async def scenario(_, session):
        values = [(n, n / 4, f"text {n}", b"%d" % n, n) for n in range(240)]
        row = (None, "2026-01-01", "bob", 0, "a", *(value for five in values for value in five))
        await session.push([row])
        await session.check(1, 1, "insert")

    with_table(WIDE, scenario)


def test_large_rows_and_small_ones_are_kept_together(with_table):
    async def scenario(_, session):
        sizes = [(n * 1000 if n % 3 else n << 17) for n in range(9)]
        rows = [
            (None, "2026-01-01", "bob", 0, f"key {n}", n, 0.1, "\x01ä" * size, b"", None)
            for n, size in enumerate(sizes)
        ]
        await session.push(rows)
        await session.check(len(rows), 1, "insert")

    with_table(TEXT, scenario)


def test_more_rows_than_are_kept_at_once_are_all_kept(with_table):
    async def scenario(_, session):
        rows = [
            (None, "2026-01-01", "bob", 0, f"key {n:06}", n, n / 8, "x", b"y", n)
            for n in range(20_001)
        ]
        await session.push(rows)
        await session.check(len(rows), 1, "insert")

    with_table(TEXT, scenario)


@pytest.mark.parametrize("text", ["12\n", "1e5", "1E+22", "1_0", "12 ", "0x10", "1."])
def test_a_text_that_looks_like_a_number_is_kept_as_it_is_in_the_table(with_table, text):
    async def scenario(_, session):
        await session.push([(None, "2026-01-01", "bob", 0, "a", None, None, None, None, text)])
        await session.check(1, 1, "insert")

    with_table(TEXT, scenario)


def test_rows_that_are_older_than_their_history_are_kept_as_they_are_then(with_table):
    async def scenario(store, session):
        rows = odd_rows(TEXT, None)
        await session.push(rows[:2])
        await history.switch(store, "acme", TEXT.name, is_on=False)
        await session.push(rows[2:])
        assert await session.kept() == []
        await history.switch(store, "acme", TEXT.name, is_on=True)
        row = (2, *rows[0][1:META], *rows[0][META:])
        await session.push([row])
        await session.check(1, 3, "update")
        session.number = 2
        sql = "SELECT count(*) FROM sync_history WHERE operation = 'baseline'"
        assert await store.first(sql, {}) == (len(rows),)

    with_table(TEXT, scenario)
