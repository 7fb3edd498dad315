"""How the command line shows versions of rows that lost. No I/O."""

from collections.abc import Sequence
from typing import Any

from .protocol import images


def listed(found: Sequence[dict[str, Any]]) -> str:
    """Each with what it had and the row now has, where they differ."""
    if not found:
        return "no edit of this database has lost against another"
    return "\n".join(line for conflict in found for line in _lines(conflict))


def _lines(conflict: dict[str, Any]) -> list[str]:
    row, now = conflict["row"], conflict["now"]
    won = f"to {conflict['won_by']}'s" if conflict["won_by"] else "to another"
    head = (
        f"{conflict['id']}  {conflict['table']}: {_edit(conflict)} of "
        f"{conflict['modified_at_utc'] or 'an unknown time'} lost {won} "
        f"(session {conflict['won_session']}, {conflict['policy']})"
    )
    if now is None:
        shown = ", ".join(f"{name} {images.told(value)}" for name, value in row.items())
        return [head, f"   lost {shown}", "   the row is deleted now"]
    if conflict["is_deleted"]:
        shown = ", ".join(f"{name} {images.told(value)}" for name, value in now.items())
        return [head, f"   the row was deleted, and is {shown} now"]
    key = [f"{name} {images.told(row[name])}" for name in now if name not in _changed(row, now)]
    return [
        f"{head}",
        *([f"   where {', '.join(key)}"] if key else []),
        *(
            f"   {name}: lost {images.told(row[name])}, now {images.told(now[name])}"
            for name in _changed(row, now)
        ),
    ]


def _changed(row: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [name for name, value in now.items() if name in row and row[name] != value]


def _edit(conflict: dict[str, Any]) -> str:
    return "a deletion" if conflict["is_deleted"] else "an edit"
