"""Which of two versions of a row stands: the policies. No I/O.

`mine` is the version that a device pushes, `theirs` the one that the server has by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from syncsession_client.protocol.batches import digest

Outcome = Literal["mine", "theirs", "merged"]

Columns = Mapping[str, Any]
"""Values by column, without the key's."""


@dataclass(frozen=True, slots=True)
class Version:
    """A row as one side has it; `row` is None where it was deleted.

    `by` is whom the device names as the author, `user` whose token pushed it. `at_utc` is the time
    by the device's clock, `received_at_utc` by the server's. None: what the server has forgotten.
    """

    row: Columns | None
    at_utc: str
    received_at_utc: str
    by: str
    user: str | None
    device: str | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """A row that was changed on two devices, neither of which knew of the other's change.

    `base` is the row as both knew it, out of history; None where that has none.
    """

    table: str
    key: Columns
    base: Columns | None
    theirs: Version
    mine: Version
    is_new: bool = False  # for the device that pushes it
    is_own: bool = False  # of that device is the version that is here, too

    @property
    def kind(self) -> str:
        """What the pushing device did, and what was done before: `update/delete`."""
        change = "insert" if self.is_new else "update"
        mine, theirs = (change if v.row is not None else "delete" for v in (self.mine, self.theirs))
        return f"{mine}/{theirs}"

    @property
    def is_unfounded(self) -> bool:
        """Whether the device deletes another's row that it has never had: one of its own that had
        the same key came and went before any push.
        """
        is_anothers = self.theirs.device != self.mine.device
        return self.is_new and self.mine.row is None and is_anothers

    @property
    def is_none(self) -> bool:
        """Whether nobody disagrees: both made the same of the row, or one device did both."""
        return self.is_own or self.is_agreed

    @property
    def is_agreed(self) -> bool:
        """Whether both made the same of the row, so that no value is gone whichever stands."""
        mine, theirs = self.mine.row, self.theirs.row
        if mine is None or theirs is None:
            return mine is theirs
        return _are_same(list(mine.values()), list(theirs.values()))


@dataclass(frozen=True, slots=True)
class Decision:
    """Which version stands, `row` where it is a third; whose is gone, if only in part; a remark."""

    outcome: Outcome
    row: Columns | None = None
    loser: Literal["mine", "theirs"] | None = None
    note: str | None = None


MINE = Decision("mine", loser="theirs")
THEIRS = Decision("theirs", loser="mine")

Policy = Callable[[Conflict], Decision]


def last_in_wins(_: Conflict) -> Decision:
    """The last push to arrive stands."""
    return MINE


def server_wins(_: Conflict) -> Decision:
    """What is on the server stands."""
    return THEIRS


def newest_wins(conflict: Conflict) -> Decision:
    """The version that was edited last stands, by the devices' clocks; of two of one time the last
    push. A clock cannot be ahead of the server's: a later time counts as that of the push.
    """
    return THEIRS if _when(conflict.theirs) > _when(conflict.mine) else MINE


def merge(conflict: Conflict) -> Decision:
    """Each column as the side has it that changed it; where both did, as the last push has it.

    A deletion is no column, and where the base is not known no one can say who changed what: then
    the last push stands.
    """
    base, mine, theirs = conflict.base, conflict.mine.row, conflict.theirs.row
    if base is None or mine is None or theirs is None:
        return MINE
    by_me = {name for name in mine if not _is_same(mine[name], base.get(name))}
    by_them = {name for name in mine if not _is_same(theirs[name], base.get(name))}
    merged = {name: (mine if name in by_me else theirs)[name] for name in mine}
    loser: Literal["theirs"] | None = None
    if any(not _is_same(mine[name], theirs[name]) for name in by_me & by_them):
        loser = "theirs"
    for outcome, row in (("mine", mine), ("theirs", theirs)):
        if _are_same(list(merged.values()), list(row.values())):
            return Decision(outcome, loser=loser)  # type: ignore[arg-type]
    return Decision("merged", merged, loser)


def from_answer(conflict: Conflict, answer: object) -> Decision:
    """The decision that an application's function gave: a side, or the columns of a row.

    Raises:
        ValueError: it is neither.
    """
    mine, theirs = conflict.mine.row, conflict.theirs.row
    if answer == "mine":
        return MINE
    if answer == "theirs":
        return THEIRS
    if not isinstance(answer, Mapping):
        raise ValueError(
            f'it returned {answer!r:.100}, which is neither "mine", "theirs" nor a row'
        )
    known = mine if mine is not None else theirs
    assert known is not None  # noqa: S101  # two deletions are no conflict
    if unknown := sorted(set(map(str, answer)) - known.keys()):
        raise ValueError(f"it returned columns that were not pushed: {', '.join(unknown)}")
    row = {name: answer.get(name, known[name]) for name in known}
    for name, value in row.items():
        if not _is_storable(value):
            raise ValueError(f"it returned {value!r:.100} for {name}, which SQLite cannot hold")
    for decision, side in ((MINE, mine), (THEIRS, theirs)):
        if side is not None and _are_same(list(row.values()), list(side.values())):
            return decision
    return Decision("merged", row, "theirs")


BUILT_IN: Mapping[str, Policy] = {
    policy.__name__: policy for policy in (last_in_wins, server_wins, newest_wins, merge)
}
DEFAULT = "last_in_wins"
WITHOUT_BASE = frozenset(BUILT_IN) - {"merge"}
"""The policies that do not look at the base."""


def _when(version: Version) -> str:
    return min(version.at_utc, version.received_at_utc)


def _is_same(one: Any, other: Any) -> bool:
    return _are_same([one], [other])


def _are_same(one: list[Any], other: list[Any]) -> bool:
    """Whether the values are equal, and of the same storage class."""
    return one == other and digest(*one) == digest(*other)


def _is_storable(value: Any) -> bool:
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return value is None or type(value) in (str, bytes) or (type(value) is float and value == value)
