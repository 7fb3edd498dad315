"""Which dirty rows are held back: what the server refused as it is, and what depends on it.

Found anew before each push, out of the rejects that stand: a row that was edited goes, and with it
whatever waited for it. The caller holds the write transaction, and the logs are folded.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from .identity import SyncTable
from .protocol.tables import Reference, folded
from .statements import load
from .store import STATE, DeviceStore

REJECTS = load("client/rejects.sql.j2")


@dataclass(frozen=True)
class Link:
    """A declared reference between two tables that are synced."""

    child: SyncTable
    reference: Reference
    parent: SyncTable


def find(store: DeviceStore) -> None:
    """Bring the marks of rows, and the entries that say why, up to date.

    What waits for others is let go first, and held again where it has still to wait: so rows that
    wait for each other go once nothing else is in their way.
    """
    tables = store.tables()
    concerned = _concerned(store, tables)
    if not concerned and not store.first(STATE.has_rejects):
        return
    store.run(STATE.forget_rejects_of_missing)
    for table in concerned:
        ours = {"table_name": table.name}
        store.run(REJECTS.lift_unlisted(t=table), ours)
        store.run(REJECTS.forget_changed(t=table), ours)
        store.run(REJECTS.release_waiting(t=table), ours)
    store.run(STATE.doubt_waiting)
    links = list(links_between(tables))
    for table in concerned:
        _hold_missing(store, table, [link for link in links if link.child.name == table.name])
    held = {t.name for t in tables if store.first(REJECTS.has_marked(t=t))}
    while sum(_hold_dependents(store, link, held) for link in links):
        pass
    store.run(STATE.forget_released)


def let_edited_go(store: DeviceStore) -> None:
    """Let rows be tried again that were held back as they were edited, for the rest of a sync."""
    tables = _concerned(store, store.tables()) if store.first(STATE.has_rejects) else []
    for table in tables:
        store.run(REJECTS.forget_edited(t=table), {"table_name": table.name})


def links_between(tables: Sequence[SyncTable]) -> list[Link]:
    """The declared references of tables to one another."""
    by_name = {t.name: t for t in tables}
    return [
        Link(child, reference, by_name[reference.parent])
        for child in tables
        for reference in child.table.references
        if reference.declared
        and reference.parent in by_name
        and len(reference.parent_columns) == len(reference.columns)
    ]


def _concerned(store: DeviceStore, tables: Sequence[SyncTable]) -> list[SyncTable]:
    """Tables of which a row is marked, or listed."""
    listed = {folded(name) for (name,) in store.rows(STATE.tables_with_rejects)}
    return [t for t in tables if folded(t.name) in listed or store.first(REJECTS.has_marked(t=t))]


def _hold_missing(store: DeviceStore, table: SyncTable, links: Sequence[Link]) -> None:
    ours = {"table_name": table.name}
    pairs = [(link.reference, link.parent) for link in links]
    if pairs and store.run(REJECTS.find_missing(t=table, links=pairs), ours):
        store.run(REJECTS.hold_waiting(t=table), ours)


def _hold_dependents(store: DeviceStore, link: Link, held: set[str]) -> int:
    """Hold rows back that reference some which are; how many were not yet."""
    if link.parent.name not in held:
        return 0
    child = link.child
    found = store.run(
        REJECTS.find_dependents(t=child, parent=link.parent, reference=link.reference),
        {
            "table_name": child.name,
            "columns": json.dumps(child.key),
            "parent_name": link.parent.name,
        },
    )
    if found:
        store.run(REJECTS.hold_waiting(t=child), {"table_name": child.name})
        held.add(child.name)
    return found
