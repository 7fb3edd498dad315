"""Rows that the server writes by itself, as rows of a session."""

from collections.abc import Sequence
from typing import Any

from syncsession_client.protocol.batches import Row

from .stores import Layout, Store, Transaction

_TOGETHER = 1000


async def write_rows(
    store: Store, tx: Transaction, layout: Layout, stamp: dict[str, Any], rows: Sequence[Row]
) -> None:
    """Write rows over those that are here, whole, as they travel; deleted ones are deleted.

    Their time and user are taken as they are, their session becomes that of `stamp`.
    """
    staged = await tx.stage(layout, stamp, len(rows))
    for start in range(0, len(rows), _TOGETHER):
        await staged.add(list(layout.encode(list(rows[start : start + _TOGETHER]))))
    await tx.run(store.sql.rows.upsert(**staged.names), stamp)
    await tx.run(store.sql.rows.tombstone(**staged.names), stamp)
    await staged.clear()
