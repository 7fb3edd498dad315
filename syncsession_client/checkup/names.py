"""What the name of a column says of the table that it may reference. No I/O."""

import re
from collections.abc import Iterable
from functools import cache

_SEAMS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_POINTS = frozenset({"id", "fk", "ref"})
"""Words that a column ends with, or begins with, when it points somewhere."""
_MAY_POINT = _POINTS | {"key", "no", "nr", "num", "number", "pk", "rowid"}
_SELF = frozenset(
    {
        *("parent", "root", "previous", "prev", "next", "reply", "original", "superseded"),
        *("supersedes", "replaces", "ancestor", "manager", "supervisor", "reports", "boss"),
    }
)
"""Words for another row of the same table."""
_IRREGULAR = {
    "people": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "mice": "mouse",
    "indices": "index",
    "vertices": "vertex",
    "criteria": "criterion",
    "analyses": "analysis",
}


@cache
def words(name: str) -> tuple[str, ...]:
    """A name's words in lower case: `CustomerId`, `customer_id` and `customer id` are alike."""
    return tuple(w.lower() for w in re.split(r"[\W_]+", _SEAMS.sub("_", name)) if w)


def points(column: str) -> bool:
    """Whether the name says that the column points somewhere: `author_id`, `fk_album`."""
    parts = words(column)
    return len(parts) > 1 and (parts[-1] in _POINTS or parts[0] in {"id", "fk"})


def points_to_many(column: str) -> bool:
    """Whether the name says that one value holds several keys: `track_ids`."""
    parts = words(column)
    return len(parts) > 1 and parts[-1] == "ids"


def is_of_own_table(column: str) -> bool:
    """Whether the name is one for another row of the same table: `parent_id`, `ReportsTo`."""
    return bool(words(column)) and words(column)[0] in _SELF


class Names:
    """The names of tables, by the nouns in them: a column's name fits few of many."""

    def __init__(self, tables: Iterable[str]) -> None:
        self._by_noun: dict[str, list[str]] = {}
        for table in tables:
            for noun in _nouns(words(table)):
                self._by_noun.setdefault(noun, []).append(table)

    def like(self, column: str) -> dict[str, int]:
        """The tables that a column's name fits, and how well: see `likeness`."""
        nouns = {noun for stem in _stems(column) for noun in _nouns(stem)}
        tables = dict.fromkeys(t for noun in sorted(nouns) for t in self._by_noun.get(noun, ()))
        ranks = {table: likeness(column, table) for table in tables}
        return {table: rank for table, rank in ranks.items() if rank is not None}


def likeness(column: str, table: str) -> int | None:
    """How well a column's name fits a table's; 0 is best, None is not at all.

    0: the same noun. 1: the table's name ends with it (`order_id`, `shop_orders`). 2: it ends with
    the table's name (`billing_customer_id`, `customers`). 3: they share the last word.
    """
    target = words(table)
    ranks = (_rank(stem, target, points(column)) for stem in _stems(column))
    return min((rank for rank in ranks if rank is not None), default=None)


def _rank(stem: tuple[str, ...], target: tuple[str, ...], is_pointer: bool) -> int | None:
    if not stem or not target:
        return None
    if not _forms("".join(stem)).isdisjoint(_forms("".join(target))):
        return 0
    if _forms(stem[-1]).isdisjoint(_forms(target[-1])):
        return None
    if target[-len(stem) : -1] == stem[:-1]:
        return 1
    if not is_pointer:
        return None
    return 2 if stem[-len(target) : -1] == target[:-1] else 3


def _nouns(parts: tuple[str, ...]) -> frozenset[str]:
    """What two names must share for one of them to fit the other."""
    return _forms(parts[-1]) | _forms("".join(parts)) if parts else frozenset()


@cache
def _forms(noun: str) -> frozenset[str]:
    """What the singular of an English noun may be, itself included: one of them is it."""
    forms = {noun, _IRREGULAR.get(noun, noun)}
    if noun.endswith("s"):
        forms.add(noun[:-1])
    if noun.endswith("es"):
        forms.add(noun[:-2])
    if noun.endswith("ies"):
        forms.add(f"{noun[:-3]}y")
    return frozenset(forms - {""})


def _stems(column: str) -> list[tuple[str, ...]]:
    """What may be left of a column's name without the part that says that it points."""
    parts = words(column)
    stems = [parts]
    if len(parts) > 1 and parts[-1] in _MAY_POINT | {"ids"}:
        stems.append(parts[:-1])
    if len(parts) > 1 and parts[0] in {"id", "fk"}:
        rest = parts[1:]
        stems.append(rest[:-1] if len(rest) > 1 and rest[-1] in _POINTS else rest)
    last = parts[-1] if parts else ""
    stems += [(*parts[:-1], last[: -len(end)]) for end in ("id", "fk") if last.endswith(end)]
    return [stem for stem in stems if all(stem)]
