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
