"""What may be where: the promises, checked on what the devices and the server are seen to hold.

It does not foretell what a sync does; it says whether what is seen now can have come of what was
written and seen before, if nothing is lost, done twice or half done. No I/O.

- A device's transactions are in one order. A session carries what they had changed up to some
  moment, so the server has a device's edits up to a *cut*, and none after it.
- The server's rows change by sessions only, and a session only brings edits of its device that the
  server did not have. So what was acknowledged goes only where another edit took its place.
- A row that was edited and is behind the cut is dirty, and stays as it was edited.
- Every other row of a device is one that the server had, and never older than it was before; after
  a pull as new as the server's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .tables import TABLES, Held, Kept, Row, Values

Content = Values | None
"""A row's values; None where there is no such row."""

ORPHANS_ARE_LEFT = True
"""A parent deleted on one device while another refers to it: until references are handled, both
edits stand, and the child is left without a parent. False, and no child may ever be without."""


@dataclass(frozen=True)
class Edit:
    before: Content
    after: Content


@dataclass
class DeviceModel:
    """What is known of a device. `base` is, of each row, the newest version that it is known to
    have had; `again` is None, or what the server has and the device may take for dirty still, since
    what it had sealed is lost.
    """

    rows: dict[Row, Values] = field(default_factory=dict)
    transactions: list[dict[Row, Edit]] = field(default_factory=list)
    cut: int = 0
    acknowledged: int = 0
    base: dict[Row, int] = field(default_factory=dict)
    again: dict[Row, Content] | None = None

    def net(self, until: int | None = None) -> dict[Row, Edit]:
        """What its transactions from the cut on have come to."""
        net: dict[Row, Edit] = {}
        for edits in self.transactions[self.cut : until]:
            for row, edit in edits.items():
                net[row] = Edit(net[row].before if row in net else edit.before, edit.after)
        return net

    def pending(self) -> dict[Row, Edit]:
        """The edits that the server has not. One that was set back is none."""
        return {row: edit for row, edit in self.net().items() if edit.before != edit.after}


class Model:
    """One tenant's devices and server, from the moment that all are empty."""

    def __init__(self) -> None:
        self.devices: dict[str, DeviceModel] = {}
        self.versions: dict[Row, list[Content]] = {}
        self._committed: set[int] = set()
        self._deleters: dict[Row, set[str]] = {}
        self._referrers: dict[tuple[Row, Row], set[str]] = {}
        self._excused: set[tuple[Row, Row]] = set()

    def joins(self, device: str) -> DeviceModel:
        """A device that holds nothing yet."""
        return self.devices.setdefault(device, DeviceModel())

    # What was done

    def wrote(self, name: str, before: Held, after: Held) -> None:
        """A program of the device ran a transaction, between these two."""
        edits = {
            row: Edit(before.rows.get(row), after.rows.get(row))
            for row in sorted(before.rows.keys() | after.rows.keys())
            if before.rows.get(row) != after.rows.get(row)
        }
        device = self.devices[name]
        device.rows = after.rows
        device.transactions.append(edits)
        for row, edit in edits.items():
            if edit.after is None:
                self._deleters.setdefault(row, set()).add(name)
                continue
            for parent in TABLES[row[0]].parents(row, edit.after):
                self._referrers.setdefault((row, parent), set()).add(name)
        self._orphan(name, before, after)
        clean = device.pending().keys() - after.dirty
        _agree(not clean, f"{name} edited rows that are not dirty: {clean}")

    def lost_sidecar(self, name: str) -> None:
        """What was sealed is forgotten: what is not acknowledged may be sent as another session,
        and with it rows that were written and not changed.
        """
        device = self.devices[name]
        device.again = device.again or {}
        for edits in device.transactions[device.acknowledged : device.cut]:
            device.again |= {row: edit.after for row, edit in edits.items()}

    # What is seen

    def server_keeps(self, kept: Kept) -> None:
        """Check the server against all that was written."""
        committed = {n: who for n, (who, status) in kept.sessions.items() if status == "committed"}
        _agree(self._committed <= committed.keys(), "a committed session is committed no more")
        new = {n: who for n, who in committed.items() if n not in self._committed}
        self._committed = set(committed)
        _agree(self.versions.keys() <= kept.by.keys(), "the server has forgotten rows")
        brought: dict[str, dict[Row, Content]] = {who: {} for who in new.values()}
        for row, number in kept.by.items():
            content = kept.rows.get(row)
            if number in new:
                brought[new[number]][row] = content
            else:
                _agree(content == self.server_has(row), f"{row} changed, and no session did it")
        for who, rows in brought.items():
            self._advance(who, rows, {r for each in brought for r in brought[each] if each != who})
        for row, number in kept.by.items():
            content = kept.rows.get(row)
            if content != self.server_has(row):
                self.versions.setdefault(row, [None]).append(content)
            if number in new:
                self.devices[new[number]].base[row] = self._newest(row)

    def server_has(self, row: Row) -> Content:
        return self.versions[row][-1] if row in self.versions else None

    def newest(self) -> dict[Row, int]:
        """What the server has at this moment; for `device_holds`."""
        return {row: self._newest(row) for row in self.versions}

    def pushed(self, name: str, transactions: int) -> None:
        """A push came through that began after so many transactions of the device."""
        device = self.devices[name]
        if device.cut < transactions:
            self._advance(name, {}, set())
        lacks = device.transactions[device.cut : transactions]
        _agree(not lacks, f"{name} has pushed, and the server lacks edits: {lacks}")
        device.acknowledged = device.cut
        device.again = None

    def device_holds(self, name: str, held: Held, pulled: Mapping[Row, int] | None = None) -> None:
        """Check a device against the server; `pulled`, where a pull came through: the versions that
        the server had when it began.
        """
        device = self.devices[name]
        pending, set_back = device.pending(), device.net()
        clean = pending.keys() - held.dirty
        _agree(not clean, f"{name} has edits that the server has not, and that are clean: {clean}")
        for row in device.rows.keys() | held.rows.keys() | (pulled or {}).keys():
            was, now = device.rows.get(row), held.rows.get(row)
            if row in pending:
                _agree(now == was, f"{name}: {row} was edited, and overwritten by {now}")
            elif row in set_back and now == was:
                pass  # where the server has another by now, it may count as an edit
            elif not device.again or row not in device.again or now != device.again[row]:
                self._check_version(name, row, was, now, (pulled or {}).get(row))
        device.rows = held.rows
        self._check_references(name, held)

    def _advance(self, name: str, brought: Mapping[Row, Content], others: set[Row]) -> None:
        """Move the cut of a device to where it must be, if its sessions have `brought` this; others
        have since written `others`.
        """
        device = self.devices[name]

        def came(row: Row, edit: Edit) -> bool:
            if row in brought:
                return brought[row] == edit.after
            return edit.before == edit.after or row in others

        def is_due(row: Row, content: Content, net: Mapping[Row, Edit]) -> bool:
            if row in net:
                return True
            if device.again is not None and content in (
                device.again.get(row, device.rows.get(row)),
                device.rows.get(row),
            ):
                return True
            return content == self.server_has(row)

        for cut in range(len(device.transactions), device.cut - 1, -1):
            net = device.net(cut)
            if all(came(row, edit) for row, edit in net.items()) and all(
                is_due(row, content, net) for row, content in brought.items()
            ):
                device.cut = cut
                return
        raise AssertionError(
            f"{name} has pushed what is not its edits up to some moment: {dict(brought)}, and its "
            f"edits were {device.transactions[device.cut :]}"
        )

    def _orphan(self, name: str, before: Held, after: Held) -> None:
        """SQLite lets a program make an orphan only beside others: it counts them, and a statement
        that removes one may make another. A row that is one may also get another key.
        """
        found = {(row, parent) for row, _, parent in after.dangling()}
        found -= {(row, parent) for row, _, parent in before.dangling()}
        _agree(not found or bool(before.dangling()), f"{name} could make orphans: {found}")
        self._excused |= found

    def _check_version(
        self, name: str, row: Row, was: Content, now: Content, least: int | None
    ) -> None:
        """A row that a device has no edit of is one that the server had, and not an older one."""
        device = self.devices[name]
        versions = self.versions.get(row, [None])
        first = max(device.base.get(row, 0), least or 0)
        found = [n for n, content in enumerate(versions) if n >= first and content == now]
        if not found and least is None:
            _agree(now == was, f"{name}: {row} is {now}, was {was}, and the server had {versions}")
            return
        _agree(bool(found), f"{name}: {row} is {now} after a pull, and the server had {versions}")
        if now != was or least is not None:
            device.base[row] = found[0]

    def _check_references(self, name: str, held: Held) -> None:
        for row, values, parent in held.dangling():
            referrers = self._referrers.get((row, parent), set())
            deleters = self._deleters.get(parent, set())
            is_crossed = any(a != b for a in referrers for b in deleters)
            is_crossed = is_crossed or (row, parent) in self._excused
            _agree(
                ORPHANS_ARE_LEFT and is_crossed,
                f"{name}: {row} {values} refers to {parent}, which is gone; {sorted(referrers)} "
                f"made it refer to that, and {sorted(deleters)} deleted that",
            )

    def at_rest(self, held: Mapping[str, Held]) -> None:
        """All have pushed, and have pulled since."""
        kept = {row: self.server_has(row) for row in self.versions}
        server = {row: values for row, values in kept.items() if values is not None}
        for name, each in held.items():
            differ = {
                row: (each.rows.get(row), server.get(row))
                for row in each.rows.keys() | server.keys()
                if each.rows.get(row) != server.get(row)
            }
            _agree(not differ, f"{name} differs from the server at rest: {differ}")
            _agree(not self.devices[name].pending(), f"{name} has edits that the server lacks")
            _agree(not each.dirty, f"{name} has dirty rows at rest: {set(each.dirty)}")

    def _newest(self, row: Row) -> int:
        return len(self.versions.get(row, [None])) - 1


def _agree(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise AssertionError(otherwise)
