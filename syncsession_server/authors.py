"""Who made the version of a row that the server has."""

from dataclasses import dataclass, replace
from typing import Any

from xxhash import xxh3_128_digest

from syncsession_client.protocol.batches import META, Row, encode_values
from syncsession_client.protocol.tables import Table, folded

from .stores import Store, Transaction


@dataclass(frozen=True)
class Author:
    """Who pushed a session, and when the server had it."""

    device: str | None = None
    user: str | None = None
    ended_at_utc: str = ""
    is_corrected: int = 0
    is_merged: bool = False  # what it pushed is a part of the version


_FORGOTTEN = Author()


class Authors:
    """Those of one tenant's rows, while session `number` of it is committed."""

    def __init__(self, store: Store, tx: Transaction, stamp: dict[str, Any]) -> None:
        self._sql, self._tx, self._stamp = store.sql.conflicts, tx, stamp
        self._known: dict[int, Author] = {}

    async def of(self, table: Table, row: Row) -> Author:
        """Who pushed this version of a row. A session that lost against it has only touched it, and
        one that was merged with another's has pushed a part of it.
        """
        author = await self._of_session(row[0])
        if not author.is_corrected:
            return author
        named = {"table_name": folded(table.name), "key_hash": key_hash(table, row)}
        ours = {"tenant_id": self._stamp["tenant_id"], "number": row[0]}
        found = await self._tx.first(self._sql.find_corrected, ours | named)
        if found is None:
            return author
        outcome, device, user = found
        if outcome == "merged":
            return replace(author, is_merged=True)
        return Author(device, user, author.ended_at_utc)

    async def _of_session(self, number: int) -> Author:
        if number == self._stamp["number"]:
            stamp = self._stamp  # some of its rows may be others' that stand against it
            return Author(stamp["device_id"], stamp["user_id"], stamp["now"], is_corrected=1)
        if number not in self._known:
            ours = {"tenant_id": self._stamp["tenant_id"], "number": number}
            row = await self._tx.first(self._sql.find_session, ours)
            self._known[number] = Author(*row) if row else _FORGOTTEN
        return self._known[number]


def key_hash(table: Table, row: Row) -> bytes:
    """16 bytes that stand for the key of a row, as it travels, in an index."""
    return xxh3_128_digest(encode_values(row[META : META + len(table.wire_key)]))
