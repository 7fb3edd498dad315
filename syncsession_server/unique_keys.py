"""Values of a table that no two of its rows may have, and the policies of such. No I/O."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from xxhash import xxh3_128_digest

from syncsession_client.protocol.batches import Row
from syncsession_client.protocol.tables import Table, folded

from .references import places
from .row_keys import sync_keys

Policy = Literal["merge", "reject"]

POLICIES: tuple[Policy, ...] = ("merge", "reject")


@dataclass(frozen=True)
class Unique:
    """One constraint: columns by the names that the table has for them, and their collations."""

    table: Table
    columns: tuple[str, ...]
    collations: tuple[str, ...]

    @cached_property
    def id(self) -> bytes:
        """16 bytes that stand for the columns and collations."""
        pairs = zip(map(folded, self.columns), self.collations, strict=True)
        return xxh3_128_digest(json.dumps(sorted(pairs)).encode())

    @property
    def filled_id(self) -> bytes:
        """The same of the mark that the values of all rows are known."""
        return xxh3_128_digest(b"filled" + self.id)

    @property
    def default_policy(self) -> Policy:
        """Rows that only their device has a number for are the same where they have the same value;
        of rows that everyone knows by their keys the second is a mistake.
        """
        return "merge" if self.table.key_kind == "local" else "reject"

    def values(self, rows: Sequence[Row], at: dict[str, int]) -> list[bytes | None]:
        """The value of each row as bytes; None where a part is NULL, which is no value."""
        columns = [[row[at[folded(name)]] for row in rows] for name in self.columns]
        has_value = [None not in parts for parts in zip(*columns, strict=True)]
        present = [[v for v, has in zip(c, has_value, strict=True) if has] for c in columns]
        keys = iter(sync_keys(present, self.collations))
        return [next(keys) if has else None for has in has_value]

    def value(self, row: Row) -> bytes | None:
        """The value of one row with all its columns, as it travels."""
        return self.values([row], dict(places(self.table)))[0]


def unique_keys(latest: Table, known: Table) -> Iterator[Unique]:
    """The constraints of a table as a device has described it last.

    One that has part of a key which everyone calls otherwise is none here.
    """
    names = {folded(c.name): c.name for c in known.columns}
    local = {folded(name) for name in known.key} if known.key_kind == "local" else set()
    for each in latest.unique_keys:
        columns = tuple(map(folded, each.columns))
        is_sound = len(each.collations) == len(columns) == len(set(columns)) > 0
        if is_sound and names.keys() - local >= set(columns):
            yield Unique(known, tuple(names[name] for name in columns), each.collations)


def columns_id(columns: Iterable[str]) -> str:
    """What columns are called where a policy is kept."""
    return json.dumps(sorted({folded(name.strip()) for name in columns}))
