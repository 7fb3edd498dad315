"""Rows that a server does not take: which, by a code that programs know, and why."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

Code = Literal[
    "type",
    "length",
    "missing_reference",
    "unique_taken",
    "key_too_long",
    "too_large",
    "forbidden_modifier",
]

MOST_REJECTS = 10_000
"""How many rows one answer names; the others are named when these are out of the way."""


class Reject(msgspec.Struct, frozen=True):
    """One row: its table and its key as it travels, as `images.shown` makes it of the wire key.

    `code` is one of `Code`, or one that a newer server has; `message` is for a person.
    """

    table: str
    key: dict[str, Any]
    code: str
    message: str


def to_wire(rejects: Iterable[Reject]) -> list[dict[str, Any]]:
    """The rejects as JSON has them."""
    return [msgspec.structs.asdict(reject) for reject in rejects]


def from_wire(listed: Any) -> tuple[Reject, ...]:
    """The inverse of `to_wire`; of what is no list of them, none."""
    try:
        return tuple(msgspec.convert(listed, list[Reject]))
    except msgspec.ValidationError:
        return ()
