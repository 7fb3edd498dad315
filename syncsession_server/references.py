"""References that a tenant's tables declare, and what they say of a child whose parent is gone.

A reference is followed where it leads to the key of its parent. No I/O.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from syncsession_client.protocol.batches import META, Row
from syncsession_client.protocol.tables import Column, Reference, Table, folded

Action = Literal["cascade", "set null", "set default", "restrict", "no action"]


@dataclass(frozen=True, eq=False)
class Link:
    """`columns` of a child lead to `parent_columns`, the key of its parent, in the key's order."""

    child: Table
    parent: Table
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    action: Action

    @property
    def revives(self) -> bool:
        """Whether a child brings its parent back."""
        return self.action in ("restrict", "no action")

    @cached_property
    def places(self) -> tuple[int, ...]:
        """Where the columns are in a row of the child, as it travels."""
        return tuple(places(self.child)[folded(name)] for name in self.columns)

    @cached_property
    def defaults(self) -> tuple[int | float | str | None, ...]:
        """The DEFAULTs of the columns, in the words of a device."""
        by_name = {folded(c.name): c for c in self.child.columns}
        return tuple(by_name[folded(name)].default for name in self.columns)

    def parent_key(self, row: Row) -> Row | None:
        """The key, as it travels, of the parent of a child; None where it refers to none."""
        key = tuple(row[place] for place in self.places)
        if None in key or (self.parent.key_kind == "local" and not isinstance(key[0], bytes)):
            return None
        return key


def places(table: Table) -> Mapping[str, int]:
    """Where each column is in a row as it travels, by its name in lower case."""
    names = (*table.wire_key, *table.wire_columns)
    return {folded(name): META + n for n, name in enumerate(names)}


def links(
    tables: Iterable[Table], known: Mapping[str, Table], *, declared_only: bool = True
) -> Iterator[Link]:
    """The references that can be followed, of tables as a device has described them last.

    `known` has each table by its name in lower case, with the columns of all devices.
    """
    for table in tables:
        child = known[folded(table.name)]
        for reference in table.references:
            parent = known.get(folded(reference.parent))
            if parent is not None and (reference.declared or not declared_only):
                link = _link(child, parent, reference)
                if link is not None:
                    yield link


def _link(child: Table, parent: Table, reference: Reference) -> Link | None:
    columns, targets = (
        tuple(map(folded, names)) for names in (reference.columns, reference.parent_columns)
    )
    key = tuple(map(folded, parent.key))
    ours, theirs = ({folded(c.name): c for c in t.columns} for t in (child, parent))
    if sorted(targets) != sorted(key) or len(columns) != len(key) or not ours.keys() >= {*columns}:
        return None
    by_target = dict(zip(targets, columns, strict=True))
    pairs = [(ours[by_target[name]], theirs[name]) for name in key]
    if not all(_is_alike(mine, other, parent) for mine, other in pairs):
        return None
    return Link(
        child,
        parent,
        tuple(mine.name for mine, _ in pairs),
        parent.key,
        _action(child, reference, [mine for mine, _ in pairs]),
    )


def _is_alike(mine: Column, other: Column, parent: Table) -> bool:
    """Whether a value of the one column can be looked up among those of the other as it travels."""
    if parent.key_kind == "local":
        return mine.row_id_of is not None and folded(mine.row_id_of) == folded(parent.name)
    ours, theirs = (folded(c.row_id_of or "") for c in (mine, other))
    return ours == theirs and (bool(ours) or mine.affinity == other.affinity)


def _action(child: Table, reference: Reference, columns: list[Column]) -> Action:
    """What is declared; where a child cannot be without the parent, it keeps it as in SQLite."""
    action = folded(reference.on_delete)
    key = {folded(name) for name in child.key} if child.key_kind == "global" else set()
    is_fixed = any(folded(c.name) in key for c in columns)
    if action == "cascade":
        return "cascade"
    if action == "set null" and not is_fixed and not any(c.not_null for c in columns):
        return "set null"
    has_none = any(c.not_null and c.default is None for c in columns)
    if action == "set default" and not is_fixed and not has_none:
        return "set default"
    return "no action" if action == "no action" else "restrict"
