"""What one process saw of a device, state after state, against the sessions that there were.

A device has a session when it has an entry of it. Whatever it has, it must have whole:

- every value was given by a transaction to that row, and came in the session that holds it;
- with one row of a session the device has all rows of it that nobody ever changes, in all tables,
  and of the others that version or one of another session that it has;
- its processed sets, of all tables, hold the sessions that it has, and no other that has rows;
- sessions, processed numbers and versions that it had, it keeps or replaces by ones that are new to
  it: it never goes back;
- a pull brings every session that anybody had seen before the pull was begun;
- a push brings the session that it says was pushed.

Which version of a row must win where a device has several sessions that wrote it is the order's
business: for each, `overwritten` names the ones that had to come before.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .records import History, Row, Saw, Version, is_kept
from .sessions import Session, Violation, Written

ABSENT: Version = (None, 0)


@dataclass
class Replay:
    """A device as one process saw it, up to some moment."""

    history: History
    written: Written
    rows: dict[Row, Version] = field(default_factory=dict)
    has: set[int] = field(default_factory=set)
    new_by_saw: list[tuple[Saw, set[int]]] = field(default_factory=list)
    overwritten: dict[tuple[int, int], Row] = field(default_factory=dict)
    """(a session, the one whose version of this row stands where it had come too)"""

    violations: list[Violation] = field(default_factory=list)
    _processed: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    _waiting: dict[Row, set[int]] = field(default_factory=lambda: defaultdict(set))
    _winners: dict[Row, int] = field(default_factory=dict)
    _expected: int = 0

    def __post_init__(self) -> None:
        self._by_known = sorted(self.written.sessions.values(), key=lambda s: s.known)

    def run(self) -> "Replay":
        for record in self.history.records:
            if isinstance(record, Saw):
                self._see(record)
        return self

    def _see(self, saw: Saw) -> None:
        changed = self._take(saw)
        for row, (before, now) in changed.items():
            self._check_value(row, now)
            if is_kept(row) and before[1] and before != now:
                self._say("backwards", f"{row} was {_shown(before)}, and is {_shown(now)}")
        new = {
            session
            for row, (_, (txn, session)) in changed.items()
            if session and txn and row.startswith("entry/")
        } - self.has
        new &= self.written.sessions.keys()
        self.has |= new
        self.new_by_saw.append((saw, new))
        for number in sorted(new):
            self._check_whole(self.written.sessions[number])
        for row, (_, (_, session)) in changed.items():
            if session and session not in self.has:
                self._say("half", f"{row} is of session {session}, of which no entry is here")
        self._check_winners(new, changed)
        self._check_processed(saw, new)
        self._check_synced(saw)

    def _take(self, saw: Saw) -> dict[Row, tuple[Version, Version]]:
        """What changed: (before, now)."""
        before, now = self.rows, dict(saw.rows)
        if saw.is_all:
            now |= dict.fromkeys(before.keys() - now.keys(), ABSENT)
        now |= dict.fromkeys(saw.gone, ABSENT)
        changed = {
            row: (before.get(row, ABSENT), version)
            for row, version in now.items()
            if before.get(row, ABSENT) != version
        }
        self.rows |= now
        return changed

    def _check_value(self, row: Row, version: Version) -> None:
        txn, number = version
        if txn is not None and not self.written.gave(txn, row):
            self._say("invented", f"{row} is {_shown(version)}, and nobody wrote that")
        elif number is None and txn is not None:
            device = self.written.txns[txn][0]
            if device != self.history.device:
                self._say("invented", f"{row} is {_shown(version)}, which {device} wrote")
        elif number in self.written.sessions:
            session = self.written.sessions[number]
            if row not in session.rows or session.rows[row] != txn:
                holds = session.rows.get(row, "nothing of it")
                self._say("invented", f"{row} is {_shown(version)}, and that holds {holds}")

    def _check_whole(self, session: Session) -> None:
        for row in session.kept:
            version = self.rows.get(row, ABSENT)
            if version[1] != session.number:
                text = f"session {session.number} is here, but {row} is {_shown(version)}"
                self._say("half", text)

    def _check_winners(self, new: set[int], changed: Iterable[Row]) -> None:
        touched = {row for row in changed if not is_kept(row)}
        for number in new:
            for row in self.written.sessions[number].rows:
                if not is_kept(row):
                    self._waiting[row].add(number)
                    touched.add(row)
        for row in sorted(touched):
            self._check_winner(row)

    def _check_winner(self, row: Row) -> None:
        _, number = self.rows.get(row, ABSENT)
        waiting, last = self._waiting[row], self._winners.get(row)
        if number is None:
            return  # edited here: whatever comes is passed over until the edit has been pushed
        if number == 0:
            self._check_absent(row, waiting)
            return
        if number != last:
            if number not in waiting:
                self._say("backwards", f"{row} was of session {last}, and is of {number} again")
            elif last is not None:
                self.overwritten[last, number] = row
        for other in waiting - {number}:
            self.overwritten[other, number] = row
        self._winners[row] = number
        waiting.clear()

    def _check_absent(self, row: Row, waiting: set[int]) -> None:
        """A deletion of what was never here leaves no trace."""
        numbers = waiting | ({self._winners[row]} if row in self._winners else set())
        if numbers and all(self.written.sessions[n].rows[row] is not None for n in numbers):
            text = f"sessions {sorted(numbers)} are here, but {row}, which they wrote, is not"
            self._say("half", text)

    def _check_processed(self, saw: Saw, new: set[int]) -> None:
        for table, ranges in saw.processed.items():
            for first, last in self._processed.get(table, ()):
                if not any(a <= first and last <= b for a, b in ranges):
                    text = f"{table} had processed {first} to {last}, and no longer has"
                    self._say("backwards", text)
            for number in _numbers(ranges, self._processed.get(table, ())):
                if number in self.written.sessions and number not in self.has:
                    text = f"{table} calls session {number} processed, of which nothing is here"
                    self._say("missed", text)
            for number in sorted(new):
                if not any(a <= number <= b for a, b in ranges):
                    self._say("half", f"session {number} is here; {table} calls it unprocessed")
        self._processed.update(saw.processed)

    def _check_synced(self, saw: Saw) -> None:
        synced = saw.synced
        if synced is None:
            return
        if synced.session and synced.session not in self.has:
            text = f"session {synced.session} is said to be pushed, and nothing of it is here"
            self._say("lost", text)
        while synced.has_pulled and self._expected < len(self._by_known):
            session = self._by_known[self._expected]
            if session.known >= synced.invoked:
                break
            self._expected += 1
            if session.number not in self.has:
                text = f"session {session.number} was seen elsewhere before the {synced.call} began"
                self._say("missed", f"{text}, and is not here")

    def _say(self, kind: str, text: str) -> None:
        self.violations.append(Violation(kind, f"{self.history.name}: {text}"))


def unequal(replays: Sequence[Replay], at_server: dict[Row, Version]) -> Iterator[Violation]:
    """At rest all hold what the server holds, and whatever was written is in a session of it."""
    for replay in replays:
        alive = {row: version for row, version in replay.rows.items() if version[0] is not None}
        for row in sorted(alive.keys() | at_server.keys()):
            here, there = alive.get(row, ABSENT), at_server.get(row, ABSENT)
            if here != there:
                text = f"{row} is {_shown(here)}, and at the server {_shown(there)}"
                yield Violation("unequal", f"{replay.history.name}: at rest {text}")


def lost(written: Written, at_server: dict[Row, Version]) -> Iterator[Violation]:
    """Whatever was written and nothing could replace is at the server in the end."""
    for txn, (device, wrote) in written.txns.items():
        for row in filter(is_kept, wrote.rows):
            if at_server.get(row, ABSENT)[0] != txn:
                yield Violation("lost", f"{row}, which {device} wrote, is not at the server")


def _numbers(ranges: Iterable[tuple[int, int]], before: Iterable[tuple[int, int]]) -> Iterator[int]:
    """The numbers that came to a processed set."""
    known = list(before)
    for first, last in ranges:
        number = first
        while number <= last:
            inside = [b for a, b in known if a <= number <= b]
            if inside:
                number = inside[0] + 1
            else:
                yield number
                number += 1


def _shown(version: Version) -> str:
    txn, number = version
    if version == ABSENT:
        return "absent"
    value = "deleted" if txn is None else txn
    return f"{value} (edited here)" if number is None else f"{value} of session {number}"
