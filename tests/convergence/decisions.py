"""The policies of the machine's tables, and what each has to make of a conflict. No I/O.

It is told once more, in terms of what the machine compares, so that it can be held against what the
server does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .tables import TABLES, Content, Row, Values

POLICIES = {
    "label": "server_wins",
    "note": "newest_wins",
    "setting": "merge",
    "member_label": "python:own_policies.longer",
    "profile": "python:own_policies.moody",
    "seat": "server_wins",
    "kind(code)": "merge",
}
"""The others have the default. With another one a seat would get the tag of the row that it met."""

Outcome = Literal["mine", "theirs", "merged"]

Version = tuple[str, tuple[str | None, ...]]
"""A version of a row as both sides can tell it: the table, and the values that are no references;
of a deletion, those of the key.
"""

POLICY, JOINED = 0, 1
"""Steps in which a session is looked at."""


@dataclass(frozen=True)
class Met:
    """A row that session `number` brought, and that met another version, as the server has written
    it down: `mine` is what came, `theirs` what was there, of session `theirs_number`.

    `step`: POLICY where the table's policy decided, JOINED where the row that came became this one,
    since both had a value that is unique; else what a rule on references has done after that.
    """

    number: int
    step: int
    row: Row
    kind: str
    policy: str
    outcome: Outcome
    note: str
    mine: Content
    theirs: Content
    mine_at: str
    theirs_at: str
    mine_device: str
    theirs_device: str | None
    theirs_number: int
    loser: str | None
    mine_told: Version
    theirs_told: Version

    @property
    def stands(self) -> Content:
        """The version that stands, where it is one of the two."""
        return self.theirs if self.outcome == "theirs" else self.mine

    @property
    def lost(self) -> Content:
        """The version that the loser has to be given back."""
        return self.mine if self.outcome == "theirs" else self.theirs

    @property
    def lost_told(self) -> Version:
        """The same, as a device can tell it."""
        return self.mine_told if self.outcome == "theirs" else self.theirs_told


@dataclass(frozen=True)
class Base:
    """The row as the pushing device had it before its edit, where that is certain."""

    content: Content


def check(met: Met, result: Content, base: Base | None) -> None:
    """Say whether the server's row is what the table's policy makes of both versions, and whether
    somebody is told of each value that is gone.
    """
    if met.kind == "delete/insert":
        assert base is None or base.content is None, f"{met}: it was there as {base}"
        assert (met.outcome, met.loser, result) == ("theirs", None, met.theirs), f"{met}: unfounded"
        return
    policy = POLICIES.get(met.row[0], "last_in_wins")
    assert met.policy == policy, f"{met} is not decided by {policy}"
    if met.step == JOINED and met.mine == met.theirs:
        assert (met.loser, result) == (None, met.mine), f"{met}: nothing is lost"
        return
    assert met.mine != met.theirs or met.row[0] in HAVE_ODD, f"{met}: both are the same"
    allowed = RULES[policy](met, base)
    assert result in allowed, f"{met}: {result} stands, and by {policy} it is one of {allowed}"
    assert result == {"mine": met.mine, "theirs": met.theirs}.get(met.outcome, result), met
    assert policy == "merge" or met.loser == _loser(met), f"{met}: {_loser(met)} has lost"
    if policy == "merge" and _lacks(met, result, base):
        assert met.loser == met.theirs_device, f"{met}: a value is gone, and nobody is told"


HAVE_ODD = ("area", "label", "setting")
"""Tables with a column that is not compared: two versions may differ in that alone."""


def _loser(met: Met) -> str | None:
    return met.mine_device if met.outcome == "theirs" else met.theirs_device


def _lacks(met: Met, result: Content, base: Base | None) -> bool:
    """Whether there is nothing left of something that the other device had written."""
    if met.theirs is None or result is None or base is None or base.content is None:
        return met.theirs != result
    columns = zip(met.theirs, result, base.content, strict=True)
    return any(theirs not in (now, before) for theirs, now, before in columns)


# Which versions may stand


def _last_in_wins(met: Met, _: Base | None) -> list[Content]:
    return [met.mine]


def _server_wins(met: Met, _: Base | None) -> list[Content]:
    return [met.theirs]


def _newest_wins(met: Met, _: Base | None) -> list[Content]:
    return [met.theirs if met.theirs_at > met.mine_at else met.mine]


def _merge(met: Met, base: Base | None) -> list[Content]:
    if met.mine is None or met.theirs is None:
        return [met.mine]
    if base is None:
        return _mixtures(met.mine, met.theirs)
    if base.content is None:
        return [met.mine]
    columns = zip(met.mine, met.theirs, base.content, strict=True)
    return [tuple(mine if mine != before else theirs for mine, theirs, before in columns)]


def _mixtures(mine: Values, theirs: Values) -> list[Content]:
    found: list[Values] = [()]
    for pair in zip(mine, theirs, strict=True):
        found = [(*begun, value) for begun in found for value in dict.fromkeys(pair)]
    return list(found)


def _longer(met: Met, _: Base | None) -> list[Content]:
    mine, theirs = (-1 if c is None else len(_v(met, c)) for c in (met.mine, met.theirs))
    return [met.mine if mine > theirs else met.theirs]


def _moody(met: Met, _: Base | None) -> list[Content]:
    is_silent = met.mine is not None and _v(met, met.mine)[-1:] in "13579"
    assert is_silent == ("LookupError" in met.note), f"{met}: the note says something else"
    return [met.mine if is_silent else met.theirs]


def _v(met: Met, values: Values) -> str:
    return values[TABLES[met.row[0]].values.index("v")] or ""


RULES: dict[str, Callable[[Met, Base | None], list[Content]]] = {
    "last_in_wins": _last_in_wins,
    "server_wins": _server_wins,
    "newest_wins": _newest_wins,
    "merge": _merge,
    "python:own_policies.longer": _longer,
    "python:own_policies.moody": _moody,
}
