"""Rows that cannot be committed: what is said of them, so that their device can set them apart."""

from collections.abc import Sequence

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.errors import RowsRejected
from syncsession_client.protocol.rejects import MOST_REJECTS, Code, Reject
from syncsession_client.protocol.tables import Table


def reject(table: Table, row: Row, code: Code, message: str) -> Reject:
    """What is wrong with a row, as it travels."""
    key = images.shown(table.wire_key, row[META : META + len(table.wire_key)])
    return Reject(table.name, key, code, message)


def rejected(rejects: Sequence[Reject]) -> RowsRejected:
    """The reason why a session fails."""
    error = RowsRejected(f"{len(rejects)} rows cannot be taken; the first: {rejects[0].message}")
    error.rejects = tuple(rejects[:MOST_REJECTS])
    return error
