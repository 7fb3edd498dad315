"""How the command line shows rows that the server does not take, and what to do. No I/O."""

from collections.abc import Sequence
from typing import Any

from .protocol import images

_UNKNOWN = "see what the message says; any change of the row lets it be tried again"

_WAYS_OUT = {
    "type": "write a value of another type; the row is tried again then",
    "length": "set a shorter user with syncsession-client user, and change the row",
    "missing_reference": "bring the row that it references, or point it to another",
    "unique_taken": "change the value that another row has, here or there",
    "key_too_long": "give the row a shorter key",
    "too_large": "make the row smaller, or let the server take more and retry it",
    "forbidden_modifier": "change the row as the token's user, or retry it with a token that may "
    "act for others",
    "depends_on_rejected": "it goes by itself, as soon as that one can",
}
"""What a person can do, by code."""


def listed(found: Sequence[dict[str, Any]]) -> str:
    """Each with its reason, and the way out."""
    if not found:
        return "the server has refused no row of this database"
    return "\n".join(line for reject in found for line in _lines(reject))


def _lines(reject: dict[str, Any]) -> list[str]:
    key = ", ".join(f"{name} {images.told(value)}" for name, value in reject["key"].items())
    return [
        f"{reject['id']}  {reject['table']}: {key} [{reject['code']}], "
        f"since {reject['rejected_at_utc']}",
        f"   {reject['message']}",
        f"   {_WAYS_OUT.get(reject['code'], _UNKNOWN)}",
    ]
