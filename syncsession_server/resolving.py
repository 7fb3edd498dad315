"""Conflicts in a session: found while it is committed, decided by the table's policy, written down.

Only rows that met another version cost more than a look: they are read, some at a time, and those
that do not stand as they came are taken out of the staged ones.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.tables import Table, folded

from . import policies
from .authors import Authors, key_hash
from .conflict_log import record
from .conflicts import WITHOUT_BASE, Conflict, Decision, Version
from .stores import Layout, Staged, Store, Transaction
from .versions import base

_TOGETHER = 256  # rows whose versions are in memory


@dataclass(frozen=True)
class Part:
    """Rows of one table, with the same `columns` sent of each, staged on their way into it."""

    table: Table
    columns: tuple[str, ...]
    layout: Layout
    staged: Staged


async def resolve(store: Store, tx: Transaction, part: Part, stamp: dict[str, Any]) -> bool:
    """Decide what becomes of staged rows whose version here is not the one that was edited.

    Returns whether the device has to be told: some row is not as it pushed it.
    """
    rows, staged = store.sql.rows, part.staged
    if not await staged.meet(stamp):
        return False
    resolving = _Resolving(store, tx, part, stamp)
    await resolving.run()
    await staged.settle(rows.touch(**staged.names), stamp)
    return resolving.is_corrected


class _Resolving:
    """One part of one session."""

    def __init__(self, store: Store, tx: Transaction, part: Part, stamp: dict[str, Any]) -> None:
        self._store, self._tx, self._stamp = store, tx, stamp
        self._table, self._layout, self._staged = part.table, part.layout, part.staged
        # The integer by which one device or the other knows the row is no value of it.
        hints = int(part.table.key_kind == "local" and part.table.key[0] in part.columns[:1])
        self._first = META + len(part.table.wire_key) + hints
        self._columns = part.columns[hints:]
        self._authors = Authors(store, tx, stamp)
        self.is_corrected = False

    async def run(self) -> None:
        policy = await policies.find_policy(self._store, self._tx, self._table.name)
        sql = self._store.sql.rows.conflicts(**self._staged.names)
        most, after = self._stamp | {"most": _TOGETHER}, 0
        while page := await self._tx.all(sql, most | {"after": after}):
            await self._decide(policy, page)
            if len(page) < _TOGETHER:
                return
            after = page[-1][0]

    async def _decide(self, policy: str, page: list[Row]) -> None:
        half = 1 + (len(page[0]) - 1) // 2
        theirs = self._layout.decode([row[1:half] for row in page])
        mine = self._layout.decode([row[half:] for row in page])
        bases = await self._bases(policy, theirs, mine)
        versions = zip(theirs, mine, bases, strict=True)
        conflicts = [await self._conflict(*each) for each in versions]
        decisions = await asyncio.to_thread(_decisions, policy, conflicts)
        logged: list[dict[str, Any]] = []
        decided: list[tuple[int, str]] = []
        merged: list[Row] = []
        for row, here, conflict, decision in zip(page, theirs, conflicts, decisions, strict=True):
            if decision.outcome != "mine":
                decided.append((row[0], decision.outcome))
            if decision.outcome == "merged":
                merged.append(self._merged(here, conflict, decision))
            if not conflict.is_none:
                logged.append(self._record(policy, here, conflict, decision))
        if decided:
            self.is_corrected = True
            await self._staged.decide(decided)
        if merged:  # based on what is here, so that none is met again
            await self._staged.add(self._layout.encode(merged))
        if logged:
            await self._tx.run_many(self._store.sql.conflicts.add, logged)

    async def _bases(
        self, policy: str, theirs: Sequence[Row], mine: Sequence[Row]
    ) -> list[dict[str, Any] | None]:
        """The rows as both sides knew them, of those that history has; for a policy that asks."""
        if policy in WITHOUT_BASE:
            return [None] * len(mine)
        ours = {"tenant_id": self._stamp["tenant_id"], "table_name": folded(self._table.name)}
        keys = self._layout.keys(list(theirs))
        return [
            self._named(await base(self._store, self._tx, ours, self._edited(key, here, edit)))
            for key, here, edit in zip(keys, theirs, mine, strict=True)
        ]

    def _edited(self, key: bytes, theirs: Row, mine: Row) -> dict[str, Any]:
        return {
            "row_key": bytes(key),
            "key_hash": key_hash(self._table, theirs),
            "device_id": self._stamp["device_id"],
            "session": mine[0],
        }

    def _named(self, image: dict[str, Any] | None) -> dict[str, Any] | None:
        """The columns that the session sent, by the names that it gave them."""
        if image is None:
            return None
        values = {folded(name): value for name, value in image.items()}
        return {name: values.get(folded(name)) for name in self._columns}

    async def _conflict(self, theirs: Row, mine: Row, base: dict[str, Any] | None) -> Conflict:
        author = await self._authors.of(self._table, theirs)
        key_end = META + len(self._table.wire_key)
        received = author.ended_at_utc or self._stamp["now"]
        return Conflict(
            self._table.name,
            dict(zip(self._table.wire_key, theirs[META:key_end], strict=True)),
            base,
            Version(self._row(theirs), theirs[1], received, theirs[2], author.user, author.device),
            Version(
                self._row(mine),
                mine[1],
                self._stamp["now"],
                mine[2],
                self._stamp["user_id"],
                self._stamp["device_id"],
            ),
            is_new=mine[0] is None,
            is_own=author.device == self._stamp["device_id"] and not author.is_merged,
        )

    def _row(self, row: Row) -> dict[str, Any] | None:
        """The columns of a version, without the key and the hint; None of a deletion."""
        if row[3]:
            return None
        return dict(zip(self._columns, row[self._first :], strict=True))

    def _merged(self, theirs: Row, conflict: Conflict, decision: Decision) -> Row:
        """The row as staging takes it: an edit, by who pushes, of the version that is here."""
        assert decision.row is not None  # noqa: S101  # the policies give one
        mine, head = conflict.mine, theirs[META : self._first]
        return (theirs[0], mine.at_utc, mine.by, 0, *head, *decision.row.values())

    def _record(
        self, policy: str, theirs: Row, conflict: Conflict, decision: Decision
    ) -> dict[str, Any]:
        losers = {"mine": conflict.mine.device, "theirs": conflict.theirs.device, None: None}
        return record(
            self._stamp,
            self._table,
            theirs,
            kind=conflict.kind,
            policy=policy,
            outcome=decision.outcome,
            note=decision.note,
            mine=conflict.mine,
            theirs=conflict.theirs,
            loser=losers[decision.loser],
        )


def _decisions(policy: str, conflicts: list[Conflict]) -> list[Decision]:
    return [_decision(policy, conflict) for conflict in conflicts]


def _decision(policy: str, conflict: Conflict) -> Decision:
    if conflict.is_unfounded:  # nobody loses; it is written down whose the version is
        return Decision("theirs", note="the row that was deleted is another of the same key")
    return Decision("mine") if conflict.is_none else policies.decide(policy, conflict)
