"""What is written down beside the rows, told in the same terms: conflicts, what a device has lost,
and history.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from syncsession_client.protocol import images

from .decisions import Met, Version
from .tables import TABLES, Content, Query, Row, Table, Tags, known, row_of, table_of

Lost = tuple[int, Version]
"""A version that lost, and the session that it lost in."""


@dataclass(frozen=True)
class Remembered:
    """A row as a session left it, in history."""

    number: int
    operation: str
    content: Content


def read_conflicts(query: Query, tenant: str, tags: Tags) -> list[Met]:
    """The server's log of conflicts; devices by their ids."""
    found = query(
        "SELECT table_name, row_key, mine, theirs, number, step, kind, policy, outcome, note,"
        " mine_at_utc, theirs_at_utc, mine_device_id, theirs_device_id, theirs_number,"
        " loser_device_id FROM sync_conflict WHERE tenant_id = :tenant",
        tenant=tenant,
    )
    mets = []
    for name, key, mine, theirs, number, step, kind, policy, outcome, note, *rest in found:
        table = table_of(name)
        row = row_of(table, images.decode(key), tags)
        contents = (_content(table, image, tags) for image in (mine, theirs))
        versions = (_told(row, image) for image in (mine, theirs))
        mets.append(
            Met(number, step, row, kind, policy, outcome, note or "", *contents, *rest, *versions)
        )
    return mets


def _told(row: Row, text: str | None) -> Version:
    """A version out of its image; in one of a row that became another the tag is its own."""
    if text is None:
        return version(row, None)
    table = TABLES[row[0]]
    image = dict(zip(table.known_by, row[1:], strict=True)) | images.decode(text)
    return table.name, _plain(table, image, is_deleted=False)


def told(lost: Iterable[Met]) -> Counter[Lost]:
    """What devices have lost, as `read_lost` reads it there."""
    return Counter((met.number, met.lost_told) for met in lost)


def read_lost(query: Query) -> Counter[Lost]:
    """What a device keeps of its versions that lost; not of those that were its own copy's."""
    found = query(
        'SELECT won_session, table_name, is_deleted, "row" FROM _syncsession_conflicts'
        " WHERE policy <> 'copy'"
    )
    return Counter(
        (number, (name, _plain(TABLES[name], images.decode(image), is_deleted=bool(is_deleted))))
        for number, name, is_deleted, image in found
    )


def read_outdated(query: Query) -> set[Version]:
    """What a device that had lost its sidecar took for older than what came, and gave up."""
    found = query(
        "SELECT table_name, is_deleted, \"row\" FROM _syncsession_conflicts WHERE policy = 'copy'"
    )
    return {
        (name, _plain(TABLES[name], images.decode(image), is_deleted=bool(is_deleted)))
        for name, is_deleted, image in found
    }


def version(row: Row, content: Content) -> Version:
    """A version as a device can tell it."""
    table = TABLES[row[0]]
    image: dict[str, Any] = dict(zip(table.known_by, row[1:], strict=True))
    image |= dict(zip(table.values, content or (), strict=content is not None))
    return table.name, _plain(table, image, is_deleted=content is None)


def read_history(query: Query, tenant: str, tags: Tags) -> dict[Row, list[Remembered]]:
    """The versions of every row that anyone but its device has heard of, oldest first."""
    lives: dict[Row, list[Remembered]] = {}
    found = query(
        "SELECT table_name, version, operation, image FROM sync_history"
        " WHERE tenant_id = :tenant ORDER BY table_name, row_key, version",
        tenant=tenant,
    )
    for name, number, operation, text in found:
        table = table_of(name)
        image = images.decode(text)
        if table.local and image["tag"] is None:
            continue
        read = tuple(known(table, column, image[column], tags) for column in table.columns)
        row, values = table.known_as(read)
        content = None if operation == "delete" else values
        lives.setdefault(row, []).append(Remembered(number, operation, content))
    return lives


def _content(table: Table, text: str | None, tags: Tags) -> Content:
    if text is None:
        return None
    image = images.decode(text)
    return tuple(known(table, column, image[column], tags) for column in table.values)


def _plain(table: Table, image: Mapping[str, Any], *, is_deleted: bool) -> tuple[str | None, ...]:
    columns = table.columns if not is_deleted else () if table.local else table.key
    refer = {column for reference in table.references for column in reference.columns}
    return tuple(image[column] for column in columns if column not in refer)
