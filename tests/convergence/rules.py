"""What becomes of a row that refers to another which is gone: what its references declare, and no
more. No I/O.
"""

from collections.abc import Iterable, Mapping, Sequence

from .decisions import Met
from .tables import DEFAULTS, TABLES, Content, Row, Values


def is_explained(
    row: Row,
    before: Content,
    after: Content,
    server: Mapping[Row, Values],
    records: Sequence[Met],
    last: Content,
    referrers: Sequence[tuple[Row, Values]],
) -> bool:
    """Whether a rule makes `after` of what a session had made of a row, and it is written down.

    `server` are the rows that are there then, `last` is what the row was when it last was there,
    and `referrers` are the rows that may have needed it to come back.
    """
    if before == after:
        return True
    if not any(record.lost == before for record in records):
        return False
    if before is None:
        return after == last and any(_refers(child, row) for child in referrers)
    orphaned = [
        (reference.on_delete, reference.columns)
        for reference, parent in TABLES[row[0]].parents(row, before)
        if parent not in server
    ]
    if after is None:
        return any(action == "cascade" for action, _ in orphaned)
    changes = dict(_changes(row, before, after))
    allowed = {
        column: DEFAULTS.get((row[0], column)) if action == "set default" else None
        for action, columns in orphaned
        if action in ("set null", "set default")
        for column in columns
    }
    return changes.items() <= allowed.items()


def dangling(server: Mapping[Row, Values]) -> Iterable[tuple[Row, Row]]:
    """Each row, and what it refers to and is not there."""
    for row, values in server.items():
        for _, parent in TABLES[row[0]].parents(row, values):
            if parent not in server:
                yield row, parent


def _refers(child: tuple[Row, Values], row: Row) -> bool:
    return any(parent == row for _, parent in TABLES[child[0][0]].parents(*child))


def _changes(row: Row, before: Values, after: Values) -> Iterable[tuple[str, str | None]]:
    for column, old, new in zip(TABLES[row[0]].values, before, after, strict=True):
        if old != new:
            yield column, new
