"""Values that are unique, in a session: which rows have met others that have the same, and what
becomes of them while it is committed. Why: docs/explanation/unique.md.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.rejects import Reject
from syncsession_client.protocol.tables import Table, folded

from . import history, policies
from .authors import Authors
from .conflict_log import UNIQUE, record, version
from .conflicts import Conflict, Decision
from .references import Link, links, places
from .refusing import reject, rejected
from .registry import Described, Layouts
from .resolving import Part
from .rewriting import write_rows
from .stores import Claim, Store, Transaction
from .unique_keys import Unique, unique_keys

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Any, ...]).decode


@dataclass(frozen=True)
class _Met:
    """A row that has a value which another row has; keys as they travel. `came` is the row that the
    device knows it by.
    """

    unique: Unique
    key: Row
    owner: Row
    came: Row
    is_new: bool


@dataclass
class Settled:
    """The tables that were written to besides, and whether a row became another's."""

    tables: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    is_corrected: bool = False


class Uniqueness:
    """Of one session: `begin` before it writes to tables, `note` what it wrote, then `settle`; and
    again, after rows have come back.
    """

    def __init__(
        self,
        store: Store,
        tx: Transaction,
        stamp: dict[str, Any],
        described: Mapping[str, Described],
    ) -> None:
        self._store, self._tx, self._stamp = store, tx, stamp
        self._sql = store.sql.unique
        self._described = described
        self._layouts = Layouts(store, described)
        self._uniques = {
            name: list(unique_keys(each.latest, each.known)) for name, each in described.items()
        }
        self._authors = Authors(store, tx, stamp)
        self._met: list[_Met] = []
        self._new: set[tuple[str, bytes]] = set()
        self._written: set[str] = set()
        self.settled = Settled()

    async def begin(self, tables: Iterable[str]) -> None:
        """Have the values of the rows that are here already, where that has not been done yet."""
        for name in tables:
            self._written.add(name)
            for unique in self._uniques[name]:
                await self._fill(unique)

    async def note(self, part: Part) -> None:
        """Note the values of the rows that a part of the session has written."""
        uniques = self._uniques[folded(part.table.name)]
        if not uniques:
            return
        table = uniques[0].table
        columns = _columns(table, uniques)
        whole = self._described[folded(table.name)].whole
        layout = self._store.layout(table, columns, whole)
        sql, after = self._store.sql.rows.claimed(**part.staged.names, claim=layout.names), 0
        while page := await self._tx.all(sql, self._stamp | {"after": after}):
            after = page[-1][0]
            rows = list(layout.decode([row[2:] for row in page]))
            is_new = [bool(row[1]) for row in page]
            new = [row for row, is_one in zip(rows, is_new, strict=True) if is_one]
            self._new |= {(folded(table.name), self._key(table, row)) for row in new}
            at = _places(table, columns)
            for unique in uniques:
                await self._claim(unique, rows, at, is_new)

    async def note_back(self, table: Table, rows: Sequence[Row]) -> list[Row]:
        """Note the values of rows that were gone, and came back in this session. A row of this
        session that has taken one is the later one. Those whose value an earlier row has.
        """
        name, blocked = folded(table.name), []
        for unique in self._uniques[name]:
            before = len(self._met)
            await self._claim(unique, rows, dict(places(table)), [False] * len(rows))
            met, self._met = self._met[before:], self._met[:before]
            for each in met:
                taker = await self._live(table, each.owner)
                if taker is None or taker[0] != self._stamp["number"]:
                    blocked += [row for row in rows if row[META : META + len(each.key)] == each.key]
                    continue
                is_new = (name, self._key(table, taker)) in self._new
                self._met.append(_Met(unique, each.owner, each.key, each.owner, is_new))
        return blocked

    @property
    def has_met(self) -> bool:
        """Whether there is anything to settle."""
        return bool(self._met)

    async def settle(self) -> Settled:
        """Make rows one that have the same values, where their policy says so.

        Raises:
            RowsRejected: where it says that they are not to be taken.
        """
        self.settled = Settled(is_corrected=self.settled.is_corrected)
        rejects: list[Reject] = []
        while self._met:
            waiting, self._met = self._met, []
            for met in waiting:
                if (refused := await self._settle(met)) is not None:
                    rejects.append(refused)
        if rejects:
            raise rejected(rejects)
        return self.settled

    async def _settle(self, met: _Met) -> Reject | None:
        """Make a row the one it has met, or say why it cannot be taken; nothing, where they have no
        value in common any more.
        """
        table = met.unique.table
        row, owner = await self._live(table, met.key), await self._live(table, met.owner)
        if row is None:
            return None
        if owner is None or not _are_same(met.unique, row, owner):
            await self._take(met.unique, row)
            return None
        policy = await policies.find_unique_policy(self._store, self._tx, met.unique)
        if met.is_new and policy == "merge":
            await self._become(table, row, met.owner, met.unique)
            return None
        return reject(table, (*row[:META], *met.came), "unique_taken", _taken(met.unique))

    async def _fill(self, unique: Unique) -> None:
        """Once for a constraint, the values of all rows; what two rows have is the first one's."""
        mark = self._params(unique) | {"unique_key": unique.filled_id, "value": b""}
        if await self._tx.first(self._sql.owner, mark) is not None:
            return
        layout = self._layouts[unique.table]
        async for changed in self._tx.changed(layout, mark | {"number": 0}, is_all=True):
            live = [row for row in changed.rows if not row[3]]
            claims = [claim for _, claim in self._claims(unique, live, dict(places(unique.table)))]
            await self._tx.claim(claims, mark)
        await self._tx.claim([Claim(unique.filled_id, b"", b"")], mark)

    def _claims(
        self, unique: Unique, rows: Sequence[Row], at: dict[str, int]
    ) -> list[tuple[int, Claim]]:
        """(position, claim) of the rows that have a value."""
        end = META + len(unique.table.wire_key)
        return [
            (n, Claim(unique.id, value, _encode(rows[n][META:end])))
            for n, value in enumerate(unique.values(rows, at))
            if value is not None
        ]

    async def _claim(
        self,
        unique: Unique,
        rows: Sequence[Row],
        at: dict[str, int],
        is_new: Sequence[bool],
        came: Row | None = None,
    ) -> None:
        """Note the values of rows; those that another row has, and has still, are to be settled."""
        if not rows:
            return
        claims = self._claims(unique, rows, at)
        params = self._params(unique)
        for position, owner_key in await self._tx.claim([c for _, c in claims], params):
            n, claim = claims[position]
            key, owner = rows[n][META : META + len(unique.table.wire_key)], _decode(owner_key)
            held = await self._live(unique.table, owner)
            if held is None or unique.value(held) != claim.value:
                await self._tx.run(self._sql.take, params | claim._asdict())
            elif self._key(unique.table, held) != self._key(unique.table, rows[n]):
                self._met.append(_Met(unique, key, owner, key if came is None else came, is_new[n]))

    async def _take(self, unique: Unique, row: Row) -> None:
        """Let a row have its value, which another row has no more."""
        for _, claim in self._claims(unique, [row], dict(places(unique.table))):
            await self._tx.run(self._sql.take, self._params(unique) | claim._asdict())

    async def _become(self, table: Table, row: Row, target: Row, unique: Unique | None) -> None:
        """Make a row the one of another key: its values meet those that are there, by the policy of
        the table; it goes, and what refers to it refers to that one.
        """
        there = await self._row(table, target)
        if there is not None and not there[3]:
            merged = await self._merged(table, row, there, unique)
        else:
            first = row[0] if there is None else there[0]
            merged = (first, *row[1:META], *target, *row[META + len(target) :])
        await self._write(table, [(*row[:3], 1, *row[META:])])
        await self._write(table, [merged])
        await self._tx.run(self._sql.add_merged, self._turned(table, row, target))
        for child, columns in self._referring(table):
            await self._repoint(child, columns, row[META : META + len(target)], target)
        for each in self._uniques[folded(table.name)]:
            came = row[META : META + len(target)]
            await self._claim(each, [merged], dict(places(table)), [False], came)

    async def _merged(self, table: Table, row: Row, there: Row, unique: Unique | None) -> Row:
        """The row that is there, by the policy of its table; both versions are written down."""
        author = await self._authors.of(table, there)
        mine = version(table, row, await self._authors.of(table, row))
        theirs = version(table, there, author)
        key = dict(zip(table.wire_key, there[META : META + len(table.wire_key)], strict=True))
        conflict = Conflict(table.name, key, None, theirs, mine, is_new=True)
        policy = await policies.find_policy(self._store, self._tx, table.name)
        decision = await asyncio.to_thread(policies.decide, policy, conflict)
        losers = {"mine": mine.device, "theirs": theirs.device, None: None}
        loser = None if conflict.is_agreed else losers[decision.loser]
        logged = record(
            self._stamp,
            table,
            there,
            kind=conflict.kind,
            policy=policy,
            outcome=decision.outcome,
            note=decision.note or _joined(table, unique),
            mine=mine,
            theirs=theirs,
            loser=loser,
            step=UNIQUE,
        )
        await self._tx.run(self._store.sql.conflicts.add, logged)
        return _decided(table, row, there, decision)

    async def _repoint(self, child: Table, columns: tuple[str, ...], old: Row, new: Row) -> None:
        """Let the rows of this session that refer to a row refer to another."""
        layout = self._layouts[child]
        names = layout.columns_here(columns)
        if names is None:
            return
        sql = self._store.sql.references.referring(**layout.names, columns_of=names)
        params = self._stamp | {f"target_{n}": value for n, value in enumerate(old, 1)}
        at = places(child)
        changed = dict(zip((at[folded(name)] for name in columns), new, strict=True))
        end = META + len(child.wire_key)
        while rows := layout.decode(await self._tx.all(sql, params)):
            for row in rows:
                after = tuple(changed.get(n, value) for n, value in enumerate(row))
                if after[META:end] != row[META:end]:
                    await self._become(child, (*row[:end], *after[end:]), after[META:end], None)
                    continue
                await self._write(child, [after])
                for unique in self._uniques[folded(child.name)]:
                    await self._claim(unique, [after], dict(at), [True], row[META:end])

    def _referring(self, table: Table) -> list[tuple[Table, tuple[str, ...]]]:
        """Every (table, columns) that refer to rows of one, by a declared reference or not."""
        known = {name: each.known for name, each in self._described.items()}
        if table.key_kind == "local":
            return [
                (child, (column.name,))
                for child in known.values()
                for column in child.columns
                if folded(column.row_id_of or "") == folded(table.name)
            ]
        latest = [each.latest for each in self._described.values()]
        found: list[Link] = list(links(latest, known, declared_only=False))
        return [(link.child, link.columns) for link in found if link.parent is table]

    async def _write(self, table: Table, rows: list[Row]) -> None:
        name = folded(table.name)
        if name not in self._written:
            await history.begin(self._store, self._tx, self._stamp, [name])
            self._written.add(name)
        await write_rows(self._store, self._tx, self._layouts[table], self._stamp, rows)
        point("server.rows_made_one")
        self.settled.tables.add(name)
        self.settled.is_corrected = True
        if any(row[3] for row in rows):
            self.settled.deleted.add(name)

    async def _row(self, table: Table, key: Row) -> Row | None:
        layout = self._layouts[table]
        params = {"tenant_id": self._stamp["tenant_id"], **layout.key_params(key)}
        found = await self._tx.first(self._store.sql.references.row(**layout.names), params)
        return None if found is None else next(iter(layout.decode([found])))

    async def _live(self, table: Table, key: Row) -> Row | None:
        row = await self._row(table, key)
        return None if row is None or row[3] else row

    def _key(self, table: Table, row: Row) -> bytes:
        return bytes(self._layouts[table].keys([_padded(table, row)])[0])

    def _params(self, unique: Unique) -> dict[str, Any]:
        return {
            "tenant_id": self._stamp["tenant_id"],
            "table_name": folded(unique.table.name),
        }

    def _turned(self, table: Table, row: Row, target: Row) -> dict[str, Any]:
        key = row[META : META + len(target)]
        return {
            "tenant_id": self._stamp["tenant_id"],
            "table_name": folded(table.name),
            "row_key": self._key(table, row),
            "number": self._stamp["number"],
            "from_key": images.encode(table.wire_key, key),
            "to_key": images.encode(table.wire_key, target),
        }


def _columns(table: Table, uniques: Iterable[Unique]) -> tuple[str, ...]:
    """The columns of all constraints that are not part of the key, in the order of the table."""
    wanted = {folded(name) for unique in uniques for name in unique.columns}
    return tuple(name for name in table.value_columns if folded(name) in wanted)


def _places(table: Table, columns: Sequence[str]) -> dict[str, int]:
    names = (*table.wire_key, *columns)
    return {folded(name): META + n for n, name in enumerate(names)}


def _padded(table: Table, row: Row) -> Row:
    """A row with a value for each of its columns, whichever of them it has."""
    width = META + len(table.wire_key) + len(table.wire_columns)
    return (*row, *(None,) * (width - len(row)))[:width]


def _are_same(unique: Unique, row: Row, owner: Row) -> bool:
    value = unique.value(row)
    return value is not None and value == unique.value(owner)


def _decided(table: Table, row: Row, there: Row, decision: Decision) -> Row:
    """The row that is there with the values that stand, by whoever gave them."""
    at, values = places(table), decision.row
    if decision.outcome == "theirs":
        return there
    if values is None:
        values = {name: row[at[folded(name)]] for name in table.value_columns}
    stands = {at[folded(name)]: value for name, value in values.items()}
    return (
        *(there[0], row[1], row[2], 0),
        *(stands.get(n, value) for n, value in enumerate(there[META:], META)),
    )


def _taken(unique: Unique) -> str:
    return f"another row of {unique.table.name} has the same {', '.join(unique.columns)}"


def _joined(table: Table, unique: Unique | None) -> str:
    if unique is None:
        return f"two rows of {table.name} became one, as rows did that they refer to"
    return f"two rows of {table.name} became one: they had the same {', '.join(unique.columns)}"
