"""What history tells: the life of a row, and tables as they were."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from syncsession_client.protocol.errors import NoHistory
from syncsession_client.protocol.tables import Table, folded

from .history import find_state
from .registry import find_table
from .stores import Store, Transaction

_TOGETHER = 500


class Version(NamedTuple):
    """A row as a session left it; what SQL reads of history."""

    row_key: bytes
    version: int
    session: int
    operation: str
    committed_at_utc: str
    modified_at_utc: str
    user_id: str | None
    modified_by_user_id: str
    device_id: str | None
    image: str


async def as_of(
    store: Store, tenant_id: str, name: str, at: str, take: Callable[[list[Version]], None]
) -> Table:
    """Give `take` every row that a table had at a time, by key, a few at a time; the table.

    Raises:
        UnknownTable: the tenant has none of that name.
        NoHistory: what it was then is not known.
    """
    ours = {"tenant_id": tenant_id, "table_name": folded(name)}

    async def work(tx: Transaction) -> Table:
        table = await find_table(store, tx, tenant_id, name)
        begun_utc = await check_whole(store, tx, ours, at)
        params = ours | {"begun_utc": begun_utc, "at": at}
        stream = tx.stream(store.sql.history.as_of, params, _some)
        async for versions in stream:
            take(versions)
        return table

    return await store.read(work)


def _some(rows: Iterator[tuple[Any, ...]]) -> list[Version] | None:
    return [Version(*row) for row in islice(rows, _TOGETHER)] or None


async def check_whole(store: Store, tx: Transaction, table: dict[str, Any], at: str) -> str:
    """Since when the versions of a table tell what it was at a time.

    Raises:
        NoHistory: it does not.
    """
    state = await find_state(store, tx, table)
    name = table["table_name"]
    if state is None or state.history == "off":
        raise NoHistory(
            f"no history is kept of {name}: syncsession-server table set switches it on"
        )
    since = max(state.begun_utc, state.pruned_utc)
    if at < since:
        raise NoHistory(f"the history of {name} is whole since {since}: name a later time")
    return state.begun_utc
