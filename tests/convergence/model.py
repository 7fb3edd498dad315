"""What may be where: the promises, checked on what the devices and the server are seen to hold.

It does not foretell what a sync does; it says whether what is seen now can have come of what was
written and seen before, if nothing is lost, done twice or half done. No I/O.

- A device's transactions are in one order. A session carries what they had changed up to some
  moment, so the server has a device's edits up to a *cut*, and none after it.
- The server's rows change by sessions only, and a session only brings edits of its device that the
  server did not have. So what was acknowledged goes only where another edit took its place, of a
  device that knew it; or a conflict is written down, and the table's policy says who stands.
- A row that met another version is not as it was pushed: what came is told by the log of conflicts.
  Whose version is gone has it back after a pull.
- A row that was edited and is behind the cut is dirty, and stays as it was edited. So does one that
  the server does not take: it is held back, with a reason, and all else goes.
- Every other row of a device is one that the server had, and never older than it was before; after
  a pull as new as the server's, but where another row of the device has its unique value.
- Of two rows with one value the later becomes the earlier, where that is the policy. Its device has
  it under its old name until a pull, and edits that it has not sent are edits of the other then.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lives import check_life

from .decisions import JOINED, Base, Met, check
from .devices import DeviceModel, Edit
from .logs import Lost, Remembered, Version, told, version
from .rules import dangling, is_explained
from .tables import TABLES, UNIQUE, Content, Held, Kept, Row, Values
from .uniques import MERGED, Became, become, follows, keeps_its_key, takers


@dataclass(frozen=True)
class Seen:
    """What the server had at a look: each row's newest version, and how many conflicts."""

    look: int
    versions: Mapping[Row, int]
    conflicts: int

    def has(self, row: Row, versions: Mapping[Row, Sequence[Content]]) -> bool:
        """Whether the row was there, of all its versions."""
        return row in self.versions and versions[row][self.versions[row]] is not None


class Model:
    """One tenant's devices and server, from the moment that all are empty."""

    def __init__(self) -> None:
        self.devices: dict[str, DeviceModel] = {}
        self.versions: dict[Row, list[Content]] = {}
        self.conflicts: list[Met] = []
        self._looks = 0
        self._committed: dict[int, int] = {}
        self._by: dict[Row, int] = {}
        self._authors: dict[Row, str] = {}
        self._became: Became = {}
        self._had_value: dict[tuple[str, str | None], dict[Row, int]] = {}

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
        _check_orphans(name, before, after)
        device.unseen |= {row for row, edit in edits.items() if _is_replaced(row, edit, after)}
        self._check_dirty(name, after)

    def lost_sidecar(self, name: str) -> None:
        """What was sealed is forgotten: what is not acknowledged may be sent as another session,
        and with it rows that were written and not changed.
        """
        device = self.devices[name]
        device.again = device.again or {}
        for edits in device.transactions[device.acknowledged : device.cut]:
            device.again |= {
                row: edit.after for row, edit in edits.items() if row not in device.kept_back
            }

    def gives_up(self, name: str, held: Held, outdated: set[Version]) -> None:
        """A device that had lost its sidecar may take an edit for one that others have replaced,
        where theirs is newer by the clock: it keeps what it had, and pushes it no more.
        """
        device = self.devices[name]
        for row, edit in device.pending().items() if device.again is not None else ():
            if row not in held.dirty and version(row, edit.after) in outdated:
                for edits in (device.kept_back, *device.transactions[device.cut :]):
                    edits.pop(row, None)

    def holds_back(self, name: str, held: Held) -> None:
        """What a device does not push: to be told before the server is looked at."""
        self.devices[name].held_back = held.held_back
        self.devices[name].follow(held)

    def check_rejects(self, name: str, held: Held, began: Seen) -> None:
        """Say whether the server had a reason to refuse what a device holds back since a sync;
        `began`: what it had when that began.
        """
        device = self.devices[name]
        for row, code in held.held_back.items():
            content = held.rows[row]
            if device.refused.get(row) != (code, content):
                is_so = self._is_refused(row, content, code, held, began)
                _agree(is_so, f"{name}: {row} {content} is refused, as {code}, and that is not so")
        device.refused = {row: (code, held.rows[row]) for row, code in held.held_back.items()}

    def _is_refused(self, row: Row, content: Values, code: str, held: Held, began: Seen) -> bool:
        parents = [parent for _, parent in TABLES[row[0]].parents(row, content)]
        if code == "depends_on_rejected":
            return any(parent in held.held_back for parent in parents)
        if code == "missing_reference":
            return any(
                self.server_has(parent) is None or not began.has(parent, self.versions)
                for parent in parents
                if parent[0] == "seat"
                or not any(map(self.server_has, self._became.get(parent, ())))
            )
        had = self._had_value.get((row[0], TABLES[row[0]].taken_by(content)), {})
        is_taken = any(other != row and look >= began.look for other, look in had.items())
        return code == "unique_taken" and is_taken and (row[0] not in MERGED or row in self._by)

    # What is seen

    def server_keeps(self, kept: Kept, conflicts: Sequence[Met]) -> None:
        """Check the server against all that was written. Sessions are not committed in the order of
        their numbers: what counts is the look that first saw them.
        """
        self._looks += 1
        committed = {n: who for n, (who, status) in kept.sessions.items() if status == "committed"}
        _agree(self._committed.keys() <= committed.keys(), "a session is committed no more")
        new = {n: who for n, who in committed.items() if n not in self._committed}
        self._committed |= dict.fromkeys(new, self._looks)
        _agree(self.versions.keys() <= kept.by.keys(), "the server has forgotten rows")
        found = self._met(conflicts, new)
        met = {(m.row, m.number): m for m in found if m.step == 0}
        ruled: dict[tuple[Row, int], list[Met]] = {}
        for each in found:
            if each.step:
                ruled.setdefault((each.row, each.number), []).append(each)
        joined = self._join(kept, new)
        brought: dict[str, dict[Row, Content]] = {who: {} for who in new.values()}
        for row, number in kept.by.items():
            content = kept.rows.get(row)
            if number in new:
                is_met = (row, number) in met
                brought[new[number]][row] = met[row, number].mine if is_met else content
            else:
                _agree(content == self.server_has(row), f"{row} changed, and no session did it")
        bent = {row for row, _ in (*ruled, *joined)} | set(joined.values())
        edited = {
            who: self._advance(
                who, rows, {r for each in brought for r in brought[each] if each != who}, bent
            )
            for who, rows in brought.items()
        }
        others = [(m.row, m.lost) for m in found if m.step > JOINED and m.lost is not None]
        for each in found:
            _agree(kept.by[each.row] in new, f"{each}: the row is not touched")
        for row, number in kept.by.items():
            if number in new:
                name, edit = new[number], edited[new[number]].get(row)
                last = met.get((row, number))
                before = [m for m in met.values() if m.row == row and m.number < number]
                before.sort(key=lambda m: m.number)
                for each, then in zip(before, [*before[1:], last], strict=False):
                    content = then.theirs if then and each.outcome == "merged" else each.stands
                    if (row, each.number) not in ruled:
                        self._wrote(each.mine_device, row, content, each, edit)
                        self._by[row] = each.number
                if any(of == row and earlier < number for of, earlier in ruled):
                    self._authors.pop(row, None)
                content, rules = kept.rows.get(row), ruled.get((row, number), [])
                came = [
                    edited[name].get(gone)
                    for (gone, of), stays in joined.items()
                    if (of, stays) == (number, row)
                ]
                if rules or came:
                    self._bent(name, row, content, last, edit, rules, kept, came, others)
                else:
                    self._wrote(name, row, content, last, edit)
        lost = list(dangling(kept.rows))
        _agree(not lost, f"the server has rows that refer to what is gone: {lost}")
        self._by = dict(kept.by)
        for row, values in kept.rows.items():
            if (value := TABLES[row[0]].taken_by(values)) is not None:
                had = self._had_value.setdefault((row[0], value), {})
                same = [r for r, look in had.items() if look == self._looks and r != row]
                _agree(not same, f"{row} and {same} have the same {value}")
                had[row] = self._looks

    def server_has(self, row: Row) -> Content:
        return self.versions[row][-1] if row in self.versions else None

    def newest(self) -> Seen:
        """What the server has at this moment; for `device_holds`."""
        versions = {row: self._newest(row) for row in self.versions}
        return Seen(self._looks, versions, len(self.conflicts))

    def pushed(self, name: str, transactions: int) -> None:
        """A push came through that began after so many transactions of the device."""
        device = self.devices[name]
        if device.cut < transactions:
            self._advance(name, {}, set(), set())
        lacks = device.transactions[device.cut : transactions]
        _agree(not lacks, f"{name} has pushed, and the server lacks edits: {lacks}")
        since = {row for edits in device.transactions[transactions:] for row in edits}
        lacks = device.kept_back.keys() - device.held_back.keys() - since
        _agree(not lacks, f"{name} has pushed, and nothing held these rows back: {lacks}")
        device.acknowledged = device.cut
        device.unseen &= since
        device.again = None

    def device_holds(self, name: str, held: Held, pulled: Seen | None = None) -> None:
        """Check a device against the server; `pulled`, where a pull came through: what the server
        had when it began.
        """
        device = self.devices[name]
        device.follow(held)
        least = pulled.versions if pulled else {}
        left_out: set[Row] = set()
        pending, set_back = device.pending(), device.net()
        self._check_dirty(name, held)
        for row in device.rows.keys() | held.rows.keys() | least.keys():
            was, now = device.rows.get(row), held.rows.get(row)
            if row in pending:
                _agree(now == was, f"{name}: {row} was edited, and overwritten by {now}")
            elif row in set_back and now == was:
                pass  # where the server has another by now, it may count as an edit
            elif self._is_left_out(name, row, now, held, least.get(row)):
                _agree(now == was, f"{name}: {row} was left out, and is {now}, was {was}")
                left_out.add(row)
            elif not device.again or row not in device.again or now != device.again[row]:
                self._check_version(name, row, was, now, least.get(row))
        device.rows = held.rows
        if pulled:
            device.became.clear()
            clean = self._by.keys() - pending.keys() - held.dirty - left_out
            device.had |= {row: max(pulled.look, device.had.get(row, 0)) for row in clean}
            for row in clean & device.lost.keys():
                if device.lost[row] <= pulled.look:
                    del device.lost[row]
        self._check_references(name, held)

    def device_keeps(self, name: str, lost: Counter[Lost], pulled: Seen | None = None) -> None:
        """Check what a device keeps of its versions that lost; `pulled`: as for `device_holds`."""
        known = self.conflicts[: pulled.conflicts if pulled else 0]
        due, ever = (
            told(met for met in mets if met.loser == name) for mets in (known, self.conflicts)
        )
        _agree(due <= lost, f"{name} has lost and was not told: {due - lost}")
        _agree(lost <= ever, f"{name} was told of what it has not lost: {lost - ever}")

    def _is_left_out(
        self, name: str, row: Row, now: Content, held: Held, least: int | None
    ) -> bool:
        """Whether a version that came cannot be in the table, since another row has its value."""
        if least is None or TABLES[row[0]].unique is None:
            return False
        due = self.versions.get(row, [None])[least:]
        if now in due:
            return False
        device = self.devices[name]
        values = {TABLES[row[0]].taken_by(content) for content in due}
        transactions = (device.kept_back, *device.transactions[device.cut :])
        edits = [each for edits in transactions for each in edits.items()]
        before = ((other, edit.before) for other, edit in edits)
        after = ((other, edit.after) for other, edit in edits)
        found = takers((*held.rows.items(), *before, *after), row[0], values)
        return any(other != row for other in found)

    def _join(self, kept: Kept, new: Mapping[int, str]) -> dict[tuple[Row, int], Row]:
        """The rows that became others in new sessions."""
        found = {(gone, n): stays for gone, n, stays in kept.merged if n in new}
        for (gone, n), stays in found.items():
            _agree(gone not in self._by, f"{gone} was known to all, and became {stays}")
            _agree(gone[0] not in UNIQUE or gone[0] in MERGED, f"{gone} became {stays}")
            become(self._became, gone, stays)
            if keeps_its_key(gone):
                self.devices[new[n]].became[gone] = stays
        return found

    def _met(self, conflicts: Sequence[Met], new: Mapping[int, str]) -> list[Met]:
        """The conflicts of new sessions. What is written down stays as it is."""
        found = {(each.row, each.number, each.step): each for each in conflicts}
        _agree(len(found) == len(conflicts), "a row met another version twice in one session")
        for each in self.conflicts:
            known = found.pop((each.row, each.number, each.step), None)
            _agree(known == each, f"{each} was written down, and is {known} now")
        for each in found.values():
            _agree(new.get(each.number) == each.mine_device, f"{each} is of no new session")
        self.conflicts += found.values()
        return list(found.values())

    def _wrote(
        self, name: str, row: Row, content: Content, met: Met | None, edit: Edit | None
    ) -> None:
        """A session of the device, which had edited a row so, has left it so."""
        is_as_it_came = met is None or met.outcome == "mine"
        if met and met.outcome != "merged" and self._follows(row, met.stands, content):
            is_as_it_came = is_as_it_came and content == met.stands
            self._check_written(name, row, met.stands, met, edit)
        else:
            self._check_written(name, row, content, met, edit)
        device = self.devices[name]
        is_touched = met is None and edit is None and content == self.server_has(row)
        if content != self.server_has(row):
            self.versions.setdefault(row, [None]).append(content)
        if is_touched:
            self._authors.pop(row, None)  # by a rule that was taken back, or it was pushed again
        elif met is None or met.outcome != "theirs":
            self._authors[row] = name
        if is_as_it_came and (edit is None or content == edit.after):
            device.base[row] = self._newest(row)
            device.had[row] = self._looks
        else:
            device.lost[row] = self._looks

    def _check_written(
        self, name: str, row: Row, content: Content, met: Met | None, edit: Edit | None
    ) -> None:
        device, was, author = self.devices[name], self.server_has(row), self._authors.get(row)
        if met is None:
            is_known = author in (name, None) or was is None or (edit and edit.before == was)
            _agree(
                content == was or bool(is_known),
                f"{name} wrote {content} over {was} of {author}, edited by {edit}, and no "
                f"conflict is written down: {row}",
            )
            return
        theirs_look = self._committed[met.theirs_number]
        _agree(theirs_look > device.had.get(row, 0), f"{name} knew what it met: {met}")
        if met.theirs_number == self._by.get(row):
            _agree(met.theirs == was, f"{was} was there, and not so: {met}")
            _agree(author in (met.theirs_device, None), f"{author} had written it: {met}")
        is_sure = row not in device.lost and row not in (device.again or {})
        check(met, content, Base(edit.before) if edit and is_sure else None)

    def _bent(
        self,
        name: str,
        row: Row,
        content: Content,
        met: Met | None,
        edit: Edit | None,
        rules: Sequence[Met],
        kept: Kept,
        came: Sequence[Edit | None],
        others: Sequence[tuple[Row, Values]],
    ) -> None:
        """A session of the device has left a row as a rule has it, whoever had brought it; `came`
        are its edits of rows that became this one, `others` rows as they were before a rule: one of
        these may have needed this row, and be gone since by another reference.
        """
        was, device = self.server_has(row), self.devices[name]
        before = [met.stands] if met else [edit.after if edit else was, was]
        if met and met.outcome != "merged":
            self._check_written(name, row, met.stands, met, edit)
        met_others = [each for each in rules if each.step == JOINED]
        for each in met_others:
            before = [self._joined(each, before, content, came)]
        if came and not met_others:
            _agree(None in before, f"{row} was {before}, and became {content} without a trace")
            before = [edit.after if edit else content for edit in came]
        lost = [each.lost for each in rules if each.step > JOINED]
        before += [c for c in lost if any(self._follows(row, each, c) for each in before)]
        last = next((c for c in reversed(self.versions.get(row, [])) if c is not None), None)
        then = {each: c for each, c in kept.rows.items() if kept.by[each] <= kept.by[row]}
        referrers = (*kept.rows.items(), *others)
        _agree(
            any(
                self._follows(row, each, content)
                or is_explained(row, each, content, then, rules, last, referrers)
                for each in before
            ),
            f"{name} left {content} of {row}, which was {before}, last {last}, and by no rule of "
            f"{rules}",
        )
        if content != was:
            self.versions.setdefault(row, [None]).append(content)
        self._authors.pop(row, None)
        device.lost[row] = self._looks

    def _joined(
        self, met: Met, before: Sequence[Content], content: Content, came: Sequence[Edit | None]
    ) -> Content:
        """What a row is that another has become: by the policy of the table."""
        _agree(any(self._follows(met.row, c, met.theirs) for c in before), f"{before}: {met}")
        _agree(
            any(edit is None or self._follows(met.row, edit.after, met.mine) for edit in came),
            f"{met} became this row, and its device has written {came}",
        )
        stands = content if met.outcome == "merged" else met.stands
        check(met, stands, None)
        return stands

    def _follows(self, row: Row, before: Content, after: Content) -> bool:
        return follows(row, before, after, self._became)

    def _advance(
        self, name: str, brought: Mapping[Row, Content], others: set[Row], bent: set[Row]
    ) -> dict[Row, Edit | None]:
        """Move the cut of a device to where it must be, if its sessions have `brought` this; others
        have since written `others`, and a rule has made something else of what is `bent`. How it
        had edited these rows.
        """
        device = self.devices[name]

        def came(row: Row, edit: Edit) -> bool:
            if row in device.held_back or (row not in brought and is_back(row, edit)):
                return True
            if row in brought:
                return row in bent or self._follows(row, edit.after, brought[row])
            return edit.before == edit.after or row in others

        def is_back(row: Row, edit: Edit) -> bool:
            return row in device.held_back or device.kept_back.get(row) == edit

        def is_due(row: Row, content: Content, cut: int, net: Mapping[Row, Edit]) -> bool:
            if row in bent:
                return True
            if row in device.held_back:  # an earlier edit of it went
                edits = [each[row] for each in device.transactions[device.cut : cut] if row in each]
                return any(self._follows(row, edit.after, content) for edit in edits)
            if row in net:
                return True
            if device.again is not None and content in (
                device.again.get(row, device.rows.get(row)),
                device.rows.get(row),
            ):
                return True
            return content == self.server_has(row)

        for gone, stays in device.became.items():
            edit = device.pending().get(gone)
            is_deletion = edit is not None and edit.after is None
            if is_deletion and gone not in brought and brought.get(stays, ()) is None:
                device.turn(gone, gone, stays)
        for cut in range(len(device.transactions), device.cut - 1, -1):
            net = device.net(cut)
            if all(came(row, edit) for row, edit in net.items()) and all(
                is_due(row, content, cut, net) for row, content in brought.items()
            ):
                edited = {row: device.edited(row, cut) for row in brought}
                device.kept_back = {
                    row: Edit(brought.get(row, edit.before), edit.after)
                    for row, edit in net.items()
                    if is_back(row, edit) and (row in device.held_back or row not in brought)
                }
                device.cut = cut
                return edited
        raise AssertionError(
            f"{name} has pushed what is not its edits up to some moment: {dict(brought)}, and its "
            f"edits were {device.kept_back}, {device.transactions[device.cut :]}"
        )

    def _check_dirty(self, name: str, held: Held) -> None:
        device = self.devices[name]
        clean = device.pending().keys() - held.dirty - device.unseen
        _agree(not clean, f"{name} has edits that the server has not, and that are clean: {clean}")

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
            underway = held.dirty | self.devices[name].lost.keys()
            is_underway = row in underway or parent in underway
            newest = self._newest(parent)
            is_underway = is_underway or self._is_left_out(name, parent, None, held, newest)
            _agree(is_underway, f"{name}: {row} {values} refers to {parent}, which is gone")

    def at_rest(
        self,
        held: Mapping[str, Held],
        lost: Mapping[str, Counter[Lost]],
        history: Mapping[Row, Sequence[Remembered]],
    ) -> None:
        """All have pushed, and have pulled since."""
        self._check_history(history)
        for name, kept in lost.items():
            self.device_keeps(name, kept, self.newest())
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
            lost = each.dangling()
            _agree(not lost, f"{name} has rows at rest that refer to what is gone: {lost}")
            _agree(not each.dirty, f"{name} has dirty rows at rest: {set(each.dirty)}")

    def _check_history(self, history: Mapping[Row, Sequence[Remembered]]) -> None:
        """Replaying it gives every row as it is, and as it was whenever it was looked at."""
        _agree(history.keys() == self._by.keys(), "history has other rows than the server")
        for row, versions in history.items():
            check_life([(version.number, version.operation) for version in versions])
            _agree(versions[-1].content == self.server_has(row), f"{row} became {versions}")
            replayed = iter(version.content for version in versions)
            seen = self.versions.get(row, [None])[1:]
            _agree(all(content in replayed for content in seen), f"{row} was {seen}: {versions}")

    def _newest(self, row: Row) -> int:
        return len(self.versions.get(row, [None])) - 1


def _check_orphans(name: str, before: Held, after: Held) -> None:
    """SQLite lets a program make an orphan only beside others: it counts them, and a statement that
    removes one may make another. A row that is one may also get another key.
    """
    found = {(row, parent) for row, _, parent in after.dangling()}
    found -= {(row, parent) for row, _, parent in before.dangling()}
    _agree(not found or bool(before.dangling()), f"{name} could make orphans: {found}")


def _is_replaced(row: Row, edit: Edit, after: Held) -> bool:
    """Whether a row went since another has its value, which fires no trigger."""
    value = TABLES[row[0]].taken_by(edit.before)
    return edit.after is None and any(takers(after.rows.items(), row[0], [value]))


def _agree(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise AssertionError(otherwise)
