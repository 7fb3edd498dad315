"""What the rules and jobs need of a database, whichever it is.

A store gives transactions and the dialect's SQL; everything that is done with them is written once,
elsewhere. Another database brings new files in sql/server/, the same names in each.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from syncsession_client.statements import Statements, load

Params = Mapping[str, Any]

_T = TypeVar("_T")


class Dialect:
    """The named SQL of one kind of database."""

    def __init__(self, name: str) -> None:
        def part(file: str) -> Statements:
            return load(f"server/{name}/{file}")

        self.name = name
        self.connection = part("connection.sql")
        self.schema = part("schema.sql")
        self.tenants = part("tenants.sql")
        self.tables = part("tables.sql")
        self.sessions = part("sessions.sql")
        self.pulls = part("pulls.sql")
        self.rows = part("rows.sql.j2")


class Transaction(Protocol):
    """One transaction: what is read in it is of one moment, what is written is all or nothing."""

    async def run(self, sql: str, params: Params) -> int:
        """Run a statement; how many rows it changed."""

    async def run_many(self, sql: str, rows: Iterable[Sequence[Any] | Params]) -> None:
        """Run a statement once for each row, whose values are its parameters."""

    async def first(self, sql: str, params: Params) -> tuple[Any, ...] | None:
        """The first row, or None."""

    async def all(self, sql: str, params: Params) -> list[tuple[Any, ...]]:
        """Every row, where they are known to be few."""

    def stream(
        self, sql: str, params: Params, take: Callable[[Iterator[tuple[Any, ...]]], _T | None]
    ) -> AsyncIterator[_T]:
        """What `take` makes of the rows, until it makes None.

        It takes some from the iterator each time, off the event loop.
        """


class Store(Protocol):
    """A database that holds tenants' rows."""

    @property
    def sql(self) -> Dialect:
        """The statements in this database's dialect."""

    async def first(self, sql: str, params: Params) -> tuple[Any, ...] | None:
        """The first row of a statement that needs no transaction, or None."""

    async def run(self, sql: str, params: Params, *, durable: bool = True) -> int:
        """Run one statement as a transaction of its own; how many rows it changed."""

    async def tidy(self) -> None:
        """Do what the database puts off while it is busy; called when a session has ended."""

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that reads one snapshot."""

    def write(self, *, durable: bool = True) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that may write; rolled back when the body raises.

        One that is not durable may be gone after a power cut, unless a durable one came later. It
        is for what a device sends or asks for again.
        """
