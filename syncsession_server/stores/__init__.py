"""What the rules and jobs need of a database, whichever it is.

A store gives transactions and the dialect's SQL; everything that is done with them is written once,
elsewhere. Another database brings new files in sql/server/, the same names in each.
"""

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, NamedTuple, Protocol, TypeVar

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import Row
from syncsession_client.protocol.tables import Table
from syncsession_client.statements import Statements, load

Params = Mapping[str, Any]

_MIGRATIONS = (
    "0001_bookkeeping",
    "0002_shared_database",
    "0003_copied_devices",
    "0004_conflicts",
    "0005_history",
    "0006_references",
)

_T = TypeVar("_T")


class Dialect:
    """The named SQL of one kind of database."""

    def __init__(self, name: str, *, pyformat: bool = False) -> None:
        def part(file: str) -> Statements:
            return load(f"server/{name}/{file}", pyformat=pyformat)

        self.name = name
        self.connection = part("connection.sql")
        self.tenants = part("tenants.sql")
        self.tables = part("tables.sql")
        self.sessions = part("sessions.sql")
        self.pulls = part("pulls.sql")
        self.conflicts = part("conflicts.sql")
        self.cleanup = part("cleanup.sql")
        self.history = part("history.sql")
        self.unique = part("unique.sql")
        self.rows = part("rows.sql.j2")
        self.references = part("references.sql.j2")
        self.build = part("build.sql.j2")
        self.staged = part("staged.sql.j2")
        self.migrations = [part(f"migrations/{number}.sql") for number in _MIGRATIONS]


class Layout(Protocol):
    """A table, and those of its columns that a batch carries, as a kind of database keeps them."""

    @property
    def names(self) -> Mapping[str, Any]:
        """What the templates of rows.sql.j2 are rendered with."""

    def encode(self, rows: list[Row]) -> list[Row]:
        """Rows of a batch as staging takes them."""

    def decode(self, rows: list[Row]) -> list[Row]:
        """The inverse of `encode`, of rows that `select_all` or `select_sessions` gave."""

    def keys(self, rows: list[Row]) -> Sequence[bytes]:
        """The keys of decoded rows as bytes; see row_keys.py."""

    def key_params(self, key: Row) -> Params:
        """What the parameters of `references.row` are, of a key as it travels."""

    def columns_here(self, columns: Sequence[str]) -> Sequence[str] | None:
        """The names of columns here; None where one has no place of its own."""

    def link(
        self, columns: Sequence[str], parent: "Layout", parent_columns: Sequence[str]
    ) -> Mapping[str, Any] | None:
        """What the templates of references.sql.j2 are rendered with, of a reference from `columns`
        to the key of `parent`; None where the database cannot look it up.
        """


class Staged(Protocol):
    """The table that rows of one session pass through on their way into an application table."""

    @property
    def names(self) -> Mapping[str, Any]:
        """What `upsert` and `tombstone` are rendered with."""

    async def add(self, rows: list[Row]) -> None:
        """Put rows in, as `Layout.encode` made them."""

    async def meet(self, stamp: Params) -> bool:
        """Note which rows meet another version here, for `conflicts` to give; whether any does.

        What is found so does not change any more before the session ends.
        """

    async def decide(self, decided: list[tuple[int, str]]) -> None:
        """Note (position, outcome) of those that do not stand as they came."""

    async def settle(self, touch: str, stamp: Params) -> None:
        """Run `touch` on what was decided, and leave only the rows that stand as they came."""

    async def clear(self) -> None:
        """Leave nothing of the session there."""


class Changed(NamedTuple):
    """Rows as they travel, their keys as bytes, and of the newest version of each twice its number,
    and one more where that is a deletion; None where there is none.
    """

    rows: list[Row]
    keys: Sequence[bytes]
    before: Sequence[int | None]


class Imaged(NamedTuple):
    """The columns of an image, and what makes one of their values."""

    columns: Sequence[str]
    make: Callable[[Sequence[Any]], str]

    @property
    def params(self) -> dict[str, str]:
        """:label_1, … of the statements that put an image together."""
        return {f"label_{n}": label for n, label in enumerate(images.labels(self.columns), 1)}


class Claim(NamedTuple):
    """A value that no other row may have, as bytes, of which columns; the row's key, packed."""

    unique_key: bytes
    value: bytes
    row_key: bytes


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

        It takes some from the iterator each time, off the event loop. The transaction does nothing
        else until the stream has ended.
        """

    async def stage(self, layout: Layout, stamp: Params, count_rows: int) -> Staged:
        """A place, empty yet, for about `count_rows` rows of the session that `stamp` tells of."""

    def changed(
        self, layout: Layout, params: Params, *, is_all: bool, is_odd: bool = False
    ) -> AsyncIterator[Changed]:
        """The rows that the session :number of :tenant_id left in the table :table_name, some at a
        time; or all rows that are there. History can be added to meanwhile.
        """

    async def claim(self, claims: Sequence[Claim], params: Params) -> list[tuple[int, bytes]]:
        """Note who has these values of the table :table_name of :tenant_id, where nobody had them.

        Of the others (position in `claims`, key of the row that had it, as MessagePack). What is
        found so does not change any more before the session ends.
        """

    async def keep_history(
        self, layout: Layout, params: Params, image: Imaged, *, is_all: bool
    ) -> tuple[int, bool]:
        """Add a version of each row that `changed` would give and whose version the database makes
        by itself; how many, and whether there are others, which `changed` gives if they `is_odd`.
        """

    async def add_history(self, versions: list[Row]) -> None:
        """Run `history.add` for each; in bulk where the database has a way."""


Work = Callable[[Transaction], Awaitable[_T]]
"""What is done in a transaction. It may be done again, from its beginning, where the database asks
for that (a deadlock, a lost connection), so it changes nothing outside the transaction that a
second time would not change again.
"""


class Store(Protocol):
    """A database that holds tenants' rows."""

    @property
    def sql(self) -> Dialect:
        """The statements in this database's dialect."""

    @property
    def commits_at_once(self) -> int:
        """How many sessions can usefully be committed at the same time."""

    @property
    def is_shared(self) -> bool:
        """Whether other server processes may be at work on the same database."""

    @property
    def batch_bytes(self) -> int:
        """The most that a batch of more than one row may have."""

    @property
    def image_bytes(self) -> int:
        """The most that the image of a row in history may have."""

    def layout(self, table: Table, columns: Sequence[str], whole: Table, /) -> Layout:
        """How this database keeps `columns` of a tenant's table, which as a whole is `whole`."""

    async def build(self, table: Table) -> None:
        """Make the application table, or give it the columns that it lacks; may be repeated."""

    async def is_new(self) -> bool:
        """Whether nothing has been migrated here yet."""

    async def is_current(self) -> bool:
        """Whether the bookkeeping tables are those of this version."""

    async def migrate(self) -> list[str]:
        """Bring the bookkeeping tables up to this version; the names of the scripts that ran."""

    async def first(self, sql: str, params: Params) -> tuple[Any, ...] | None:
        """The first row of a statement that needs no transaction, or None."""

    async def run(self, sql: str, params: Params, *, durable: bool = True) -> int:
        """Run one statement as a transaction of its own; how many rows it changed."""

    async def read(self, work: Work[_T]) -> _T:
        """Do `work` in a transaction that reads one snapshot."""

    async def write(self, work: Work[_T], *, durable: bool = True, is_long: bool = False) -> _T:
        """Do `work` in a transaction that may write; rolled back when it raises.

        One that is long must not keep the short ones waiting, such as its own signs of life.

        One that is not durable may be gone after a power cut, unless a durable one came later. It
        is for what a device sends or asks for again.
        """

    def hurry(self) -> None:
        """Wait no longer for a database that is away: the server is about to stop."""

    async def tidy(self) -> None:
        """Do what the database puts off while it is busy; called when a session has ended."""
