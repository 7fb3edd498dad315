"""References in a session: children whose parent is gone, found and mended while it is committed.

A parent may be deleted on one device while another gives it a child. Where both meet, the child
follows what its reference declares; a child that may not be without its parent brings it back, and
then nothing else that the deletion did to others stands. Why: docs/explanation/references.md.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.rejects import Reject
from syncsession_client.protocol.tables import Table, folded

from . import history
from .authors import Authors
from .conflict_log import REFERENCE, conflict_key, record, version
from .conflicts import Version
from .references import Action, Link, links
from .refusing import reject, rejected
from .registry import Described, Layouts
from .rewriting import write_rows
from .stores import Store, Transaction
from .uniqueness import Uniqueness

RowKey = tuple[str, bytes]
"""A table's name in lower case, and the key of a row of it as bytes."""


_FIRST_TO_LAST: tuple[tuple[Action, ...], ...] = (
    ("restrict", "no action"),  # what brings parents back
    ("cascade",),
    ("set null", "set default"),
)


class Mending:
    """Of one session. Rows that it mends are of that session too, so what follows from that is
    found in the same way, until there is nothing to mend.

    `tables` are those that it has written to, and `is_corrected` whether a row became another than
    its device has. `_open` are the references that have to be looked at: (link, whether by its
    parents).
    """

    def __init__(
        self,
        store: Store,
        tx: Transaction,
        stamp: dict[str, Any],
        described: Mapping[str, Described],
        uniqueness: Uniqueness,
    ) -> None:
        self._store, self._tx, self._stamp = store, tx, stamp
        self._sql, self._uniqueness = store.sql.references, uniqueness
        self._authors = Authors(store, tx, stamp)
        self._layouts = Layouts(store, described)
        known = {name: each.known for name, each in described.items()}
        checked = (each.latest for each in described.values() if not each.is_unchecked)
        self._links = list(links(checked, known))
        self._open: set[tuple[Link, bool]] = set()
        self._written: set[str] = set()
        self._held: set[str] = set()
        self._locked: set[str] = set()
        self._revived: set[RowKey] = set()
        self._cascaded: defaultdict[RowKey, list[tuple[Table, Row]]] = defaultdict(list)
        self.tables: set[str] = set()
        self.is_corrected = False

    async def run(self, written: Set[str], deleted: Set[str]) -> None:
        """Let no reference of the tables that the session has written to, or `deleted` rows in,
        lead to nothing.

        Raises:
            RowsRejected: rows refer to what has never been here.
        """
        self._written |= written
        parents = {folded(link.parent.name) for link in self._links}
        shared = {folded(k.parent.name) for k in self._links if folded(k.child.name) in written}
        for name in sorted(shared | (parents & deleted)):
            await self._hold(name, has_deleted=name in deleted)
        for link in self._links:
            if folded(link.child.name) in written and await self._has(link, is_deserted=False):
                self._open.add((link, False))
            if folded(link.parent.name) in deleted:
                self._open.add((link, True))
        await self._refuse_unfounded()
        while self._open:
            await self._mend_next()

    async def broken(self, written: Set[str], deleted: Set[str]) -> dict[RowKey, str]:
        """The rows of the session that would have to be mended, or make others have to, and why."""
        found: dict[RowKey, str] = {}
        for link in self._links:
            child, parent = link.child.name, link.parent.name
            if folded(child) in written:
                why = f"the row of {parent} that it refers to is gone"
                async for page in self._pages(link, is_deserted=False):
                    found |= dict.fromkeys(self._keys(link.child, page), why)
            if folded(parent) in deleted:
                async for page in self._pages(link, is_deserted=True):
                    gone = [await self._parent(link, row) for row in page]
                    keys = self._keys(link.parent, [row for row in gone if row and row[3]])
                    found |= dict.fromkeys(keys, f"rows of {child} refer to it")
        return found

    async def _hold(self, parent: str, *, has_deleted: bool) -> None:
        """Let sessions that delete rows of a table, and those that give them children, come one
        after the other here: of two at the same time neither would see what the other does. In the
        order of the names, and when all else is written; those that give children do not wait for
        each other.
        """
        if parent in self._held and not (has_deleted and parent not in self._locked):
            return
        self._held.add(parent)
        self._locked |= {parent} if has_deleted else set()
        sql = self._store.sql.tables
        named = {"tenant_id": self._stamp["tenant_id"], "name": parent}
        await self._tx.first(sql.lock_children if has_deleted else sql.share_children, named)

    async def _mend_next(self) -> None:
        """Mend what is found by references of one kind; others may have to be looked at by that."""
        actions = next(
            actions
            for actions in _FIRST_TO_LAST
            if any(link.action in actions for link, _ in self._open)
        )
        for link in self._links:
            for is_deserted in (False, True):
                if link.action in actions and (link, is_deserted) in self._open:
                    self._open.discard((link, is_deserted))
                    async for page in self._pages(link, is_deserted=is_deserted):
                        await self._mend_page(link, page)

    async def _refuse_unfounded(self) -> None:
        rejects = [
            self._reject(link, row, "that the server does not have")
            for link, is_deserted in self._open
            if not is_deserted
            async for page in self._pages(link, is_deserted=False)
            for row in page
            if await self._parent(link, row) is None and link.parent_key(row) is not None
        ]
        if rejects:
            raise rejected(rejects)

    def _reject(self, link: Link, row: Row, why: str) -> Reject:
        return reject(
            link.child,
            row,
            "missing_reference",
            f"{', '.join(link.columns)} of {link.child.name} refers to a row of {link.parent.name} "
            f"{why}",
        )

    async def _has(self, link: Link, *, is_deserted: bool) -> bool:
        names = self._names(link)
        if names is None:
            return False
        look = self._sql.has_deserted if is_deserted else self._sql.has_orphans
        found = await self._tx.first(look(**names), self._stamp)
        return bool(found and found[0])

    async def _pages(self, link: Link, *, is_deserted: bool) -> AsyncIterator[list[Row]]:
        """Children of this session that have no parent, or children of parents that went in it."""
        if not await self._has(link, is_deserted=is_deserted):
            return
        sql, tx, names = self._sql, self._tx, self._names(link)
        find = sql.find_deserted if is_deserted else sql.find_orphans
        await tx.run(sql.drop_found(**names), {})
        await tx.run(sql.create_found(**names), {})
        await tx.run(find(**names), self._stamp)
        layout, after = self._layouts[link.child], 0
        while page := await tx.all(sql.found(**names), self._stamp | {"after": after}):
            after = page[-1][0]
            yield list(layout.decode([row[1:] for row in page]))
        await tx.run(sql.drop_found(**names), {})

    async def _mend_page(self, link: Link, page: list[Row]) -> None:
        children: list[Row] = []
        parents: dict[RowKey, Row] = {}
        logged: list[dict[str, Any]] = []
        for key, row in zip(self._keys(link.child, page), page, strict=True):
            parent = await self._parent(link, row)
            if parent is None or not parent[3]:
                continue
            (parent_key,) = self._keys(link.parent, [parent])
            became = await self._became(link, parent_key, row)
            if became is not None:
                children.append(became)
                continue
            after = None if key in self._revived else await self._without_parent(link, row)
            if after is not None:
                children.append(after)
                logged.append(await self._loss(link, parent, row))
                if after[3]:
                    self._cascaded[parent_key].append((link.child, row))
            elif parent_key not in parents:
                parents[parent_key] = parent
                logged.append(await self._revival(link, parent, row))
        await self._tx.run_many(self._store.sql.conflicts.add, logged)
        await self._write(link.child, children)
        await self._bring_back(link, page, parents)
        for key in parents:
            await self._undo_cascade(key)

    async def _bring_back(
        self, link: Link, page: Sequence[Row], parents: Mapping[RowKey, Row]
    ) -> None:
        """Revive parents of these children; one whose unique value another row has is no more."""
        back = [self._changed(row, 0) for row in parents.values()]
        await self._write(link.parent, back)
        self._revived |= parents.keys()
        blocked = await self._uniqueness.note_back(link.parent, back) if back else []
        keys = {row[META : META + len(link.parent.wire_key)] for row in blocked}
        why = "that was deleted, and another row has a unique value of it"
        if rejects := [self._reject(link, r, why) for r in page if link.parent_key(r) in keys]:
            raise rejected(rejects)

    async def _became(self, link: Link, parent: RowKey, row: Row) -> Row | None:
        """A child of a row that was made one with another, as a child of that one; None where it
        was not, or the reference is a part of the child's key.
        """
        table_name, row_key = parent
        named = {"tenant_id": self._stamp["tenant_id"], "table_name": table_name}
        sql = self._store.sql.unique.find_merged
        found = await self._tx.first(sql, named | {"row_key": row_key})
        if found is None or min(link.places) < META + len(link.child.wire_key):
            return None
        key = images.decode(found[0]).values()
        changed = dict(zip(link.places, key, strict=True))
        return self._changed(tuple(changed.get(n, value) for n, value in enumerate(row)), 0)

    async def _parent(self, link: Link, row: Row) -> Row | None:
        """The parent of a child, be it there or gone; None where there never was one."""
        key = link.parent_key(row)
        return None if key is None else await self._row(link.parent, key)

    async def _row(self, table: Table, key: Row) -> Row | None:
        layout = self._layouts[table]
        params = {"tenant_id": self._stamp["tenant_id"], **layout.key_params(key)}
        row = await self._tx.first(self._sql.row(**layout.names), params)
        return None if row is None else next(iter(layout.decode([row])))

    async def _without_parent(self, link: Link, row: Row) -> Row | None:
        """A child as its reference has it when the parent is gone; None: the parent comes back."""
        if link.revives:
            return None
        if link.action == "cascade":
            return self._changed(row, 1)
        values = (None,) * len(link.columns) if link.action == "set null" else None
        values = values or await self._default(link)
        if values is None:
            return None
        changed = dict(zip(link.places, values, strict=True))
        return self._changed(tuple(changed.get(n, value) for n, value in enumerate(row)), 0)

    async def _default(self, link: Link) -> Row | None:
        """What the columns default to, as it travels; None where no row that is here has it."""
        if None in link.defaults:
            return link.defaults
        if link.parent.key_kind != "local":
            row = await self._row(link.parent, link.defaults)
            return None if row is None or row[3] else link.defaults
        layout = self._layouts[link.parent]
        (hint,) = layout.columns_here(link.parent.key) or (None,)
        params = {"tenant_id": self._stamp["tenant_id"], "hint": link.defaults[0]}
        sql = self._sql.first_of_hint(**layout.names, hint=hint)
        found = await self._tx.first(sql, params)
        return None if found is None else next(iter(layout.decode([found])))[META : META + 1]

    async def _undo_cascade(self, parent: RowKey) -> None:
        """Bring back what this session has deleted because of a row that is back now."""
        for child, row in self._cascaded.pop(parent, ()):
            forgotten = conflict_key(self._stamp, child, row, step=REFERENCE)
            await self._tx.run(self._store.sql.conflicts.forget, forgotten)
            await self._write(child, [row])
            for key in self._keys(child, [row]):
                await self._undo_cascade(key)

    def _changed(self, row: Row, is_deleted: int) -> Row:
        return (row[0], self._stamp["now"], self._stamp["user_id"], is_deleted, *row[META:])

    async def _write(self, table: Table, rows: list[Row]) -> None:
        """Write rows of a table as this session's, and look at what refers to them."""
        if not rows:
            return
        name = folded(table.name)
        if name not in self._written:
            await history.begin(self._store, self._tx, self._stamp, [name])
        await write_rows(self._store, self._tx, self._layouts[table], self._stamp, rows)
        point("server.references_mended")
        self._written.add(name)
        self.tables.add(name)
        self.is_corrected = True
        for link in self._links:
            if folded(link.child.name) == name and not all(row[3] for row in rows):
                self._open.add((link, False))
            if folded(link.parent.name) == name and any(row[3] for row in rows):
                await self._hold(name, has_deleted=True)
                self._open.add((link, True))

    async def _loss(self, link: Link, parent: Row, row: Row) -> dict[str, Any]:
        """What is written down of a child that goes, or changes, with its parent."""
        author = await self._authors.of(link.child, row)
        child, gone = version(link.child, row, author), await self._deletion(link, parent)
        return self._record(link, link.child, row, child, gone, is_loss=True)

    async def _revival(self, link: Link, parent: Row, row: Row) -> dict[str, Any]:
        """What is written down of a deletion that does not stand, for the device of a child."""
        author = await self._authors.of(link.child, row)
        back = version(link.parent, self._changed(parent, 0), author)
        gone = await self._deletion(link, parent)
        return self._record(link, link.parent, parent, back, gone, is_loss=False)

    async def _deletion(self, link: Link, parent: Row) -> Version:
        return version(link.parent, parent, await self._authors.of(link.parent, parent))

    def _record(
        self, link: Link, table: Table, row: Row, live: Version, gone: Version, *, is_loss: bool
    ) -> dict[str, Any]:
        """Of a version that lives, and a deletion, one is that of the device which pushes."""
        is_live_ours = live.device == self._stamp["device_id"] != gone.device
        return record(
            self._stamp,
            table,
            row,
            kind="update/delete" if is_live_ours else "delete/update",
            policy=link.action,
            outcome="theirs" if is_live_ours == is_loss else "mine",
            mine=self._ours(live if is_live_ours else gone),
            theirs=gone if is_live_ours else live,
            loser=live.device if is_loss else gone.device,
            step=REFERENCE,
        )

    def _ours(self, found: Version) -> Version:
        """The version, as one that the device pushes."""
        user, device = self._stamp["user_id"], self._stamp["device_id"]
        return replace(found, received_at_utc=self._stamp["now"], user=user, device=device)

    def _keys(self, table: Table, rows: list[Row]) -> list[RowKey]:
        return [(folded(table.name), bytes(key)) for key in self._layouts[table].keys(rows)]

    def _names(self, link: Link) -> Any:
        parent = self._layouts[link.parent]
        return self._layouts[link.child].link(link.columns, parent, link.parent_columns)
