"""Policies as an application writes them."""

from typing import Any

from syncsession_server.conflicts import Conflict


def join(conflict: Conflict) -> Any:
    """Keeps what both have said of `a`; of a row that one side deleted, the other side's."""
    if conflict.mine.row is None:
        return "theirs"
    if conflict.theirs.row is None:
        return "mine"
    return {"a": f"{conflict.theirs.row['a']}+{conflict.mine.row['a']}"}


def fail(conflict: Conflict) -> Any:
    raise LookupError("no such thing")


def nonsense(conflict: Conflict) -> Any:
    return {"a": object()}


def unknown_column(conflict: Conflict) -> Any:
    return {"nothing": 1}


def longer(conflict: Conflict) -> Any:
    """The side that says more in `v`; where neither does, what is here."""
    mine, theirs = (
        len(side.row["v"]) if side.row is not None else -1
        for side in (conflict.mine, conflict.theirs)
    )
    return "mine" if mine > theirs else "theirs"


def moody(conflict: Conflict) -> Any:
    """What is here; but of rows whose `v` ends in an odd digit it will hear nothing."""
    if conflict.mine.row is not None and conflict.mine.row["v"][-1:] in "13579":
        raise LookupError("not today")
    return "theirs"
