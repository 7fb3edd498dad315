"""References that the schema does not declare: which columns may be some, and whether they are.

A column that holds another table's integer keys travels as it is unless sync knows that it does,
and then means another row elsewhere. Its name is one sign, its values are another. No I/O.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..protocol.tables import Table, folded
from .facts import KeyFacts, Sample
from .findings import Finding, listed
from .names import Names, is_of_own_table, likeness, points, points_to_many, words

_MOST = 0.5
"""The share of a column's values that must be keys of the table that its name tells."""

_NEARLY_ALL = 0.9
"""The same, where the name tells less."""

_UNLIKELY = 1e-6
"""A chance below this counts as none: then the values alone tell."""

_FEWEST = 5
"""Different values that are needed before the values alone tell."""

_ASKED = 20
"""Tables in which the values of one column are looked up."""

_NAMED = 4
"""Tables that a message names."""

_WEAK = 3
"""A likeness of names that alone says little."""

_SIBLINGS = frozenset({"type", "table", "kind", "class", "model"})


@dataclass(frozen=True)
class Suspect:
    """A column that may hold keys. `by_name` are the tables that its name fits best; a firm name
    says itself that it points: `customer_id`, not `customer`.
    """

    table: str
    column: str
    affinity: str
    is_in_key: bool
    is_own_key: bool
    by_name: tuple[str, ...]
    is_firm: bool
    sibling: str | None = None

    @property
    def child(self) -> str:
        return f"{self.table}.{self.column}"

    @property
    def takes_integers(self) -> bool:
        """Whether integers are what one would expect in it."""
        return self.affinity in ("integer", "blob", "numeric")


def numbered_parents(tables: Iterable[Table]) -> dict[str, str]:
    """The key column of each table whose integers are its own on every device, by table."""
    parents = {}
    for table in tables:
        if len(table.key) == 1:
            (column,) = (c for c in table.columns if c.name == table.key[0])
            if table.key_kind == "local" or column.row_id_of:
                parents[table.name] = column.name
    return parents


def suspects(
    tables: Sequence[Table], parents: Mapping[str, str], others: Iterable[str] = ()
) -> list[Suspect]:
    """Columns that sync takes for ordinary values and that may hold keys of one of `parents`.

    What is named after one of the `others`, whose keys are not numbered, holds keys of that one.
    """
    named, others_named = Names(parents), Names(n for n in others if n not in parents)
    found = []
    for table in tables if parents else ():
        known = {name for r in table.references for name in r.columns}
        for column in (c for c in table.columns if c.name not in known):
            ranks = named.like(column.name)
            suspect = _suspect(table, column.name, column.affinity, ranks, parents)
            best = min((ranks[n] for n in suspect.by_name if n in ranks), default=_WEAK)
            is_of_other = min(others_named.like(column.name).values(), default=_WEAK) < best
            if _is_worth_a_look(suspect) and not is_of_other:
                found.append(suspect)
    return found


def worth_asking(suspect: Suspect, sample: Sample, keys: Mapping[str, KeyFacts]) -> tuple[str, ...]:
    """The tables in which the values are to be looked up: few, in a database with many tables.

    Those that the name tells; and where it tells none, those that may have all of the values, the
    smallest first, for there it would be the least chance. A name that does not say that it points
    asks only where there is some chance that a value is not found.
    """
    if not sample.usable:
        return ()
    covering = [
        name
        for name, key in sorted(keys.items(), key=lambda item: item[1].integers)
        if key.integers >= sample.usable
        and (key.lowest or 0) <= sample.lowest
        and sample.highest <= (key.highest or 0)
    ]
    if not suspect.is_firm or suspect.by_name:
        is_enough = sample.usable >= _FEWEST
        covering = [n for n in covering if is_enough and n != suspect.table and keys[n].has_gaps]
    return tuple(dict.fromkeys((*suspect.by_name, *covering)))[:_ASKED]


def judge(suspect: Suspect, sample: Sample) -> Finding | None:
    """What to say about the column, if anything."""
    if points_to_many(suspect.column):
        return _embedded(suspect)
    if sample.others > sample.usable:
        return None
    if suspect.by_name:
        parents = _confirmed(suspect, sample)
        if parents:
            return _reference(suspect, sample, parents)
    if suspect.sibling and suspect.is_firm:
        return _polymorphic(suspect)
    if suspect.is_own_key:
        return None
    if suspect.is_firm and not suspect.by_name and not sample.usable:
        return _unknown(suspect) if suspect.takes_integers else None
    parents = _by_values(suspect, sample)
    return _reference(suspect, sample, parents) if parents else None


def _suspect(
    table: Table,
    column: str,
    affinity: str,
    ranks: Mapping[str, int],
    parents: Mapping[str, str],
) -> Suspect:
    is_own_key = table.key == (column,)
    own = likeness(column, table.name) if is_own_key else None
    best = min(ranks.values(), default=None)
    by_name = tuple(n for n in parents if best is not None and ranks.get(n) == best)
    if own is not None or (is_own_key and table.name in by_name):
        by_name = ()
    elif (not by_name or best == _WEAK) and table.name in parents and is_of_own_table(column):
        by_name = (table.name,)
    return Suspect(
        table=table.name,
        column=column,
        affinity=affinity,
        is_in_key=column in table.key,
        is_own_key=is_own_key,
        by_name=by_name,
        is_firm=points(column) or (best == 0 and _ends_in_id(column)),
        sibling=_sibling(table, column),
    )


def _ends_in_id(column: str) -> bool:
    return folded(column).endswith("id")


def _sibling(table: Table, column: str) -> str | None:
    """The column that says which table this one points to, as in `item_type`, `item_id`."""
    stem = words(column)[:-1]
    if not stem or not points(column):
        return None
    return next(
        (
            c.name
            for c in table.columns
            if words(c.name)[:-1] == stem and words(c.name)[-1] in _SIBLINGS
        ),
        None,
    )


def _is_worth_a_look(suspect: Suspect) -> bool:
    if suspect.is_own_key:
        return bool(suspect.by_name)
    return bool(suspect.by_name) or suspect.is_firm or suspect.affinity == "integer"


def _confirmed(suspect: Suspect, sample: Sample) -> list[str]:
    """The tables that the name tells, where the values do not contradict."""
    if not sample.usable:
        is_likely = suspect.is_firm or suspect.affinity in ("integer", "blob")
        return list(suspect.by_name) if is_likely and not sample.others else []
    share = {name: sample.found.get(name, 0) / sample.usable for name in suspect.by_name}
    best = max(share.values())
    needed = _MOST if suspect.is_firm else _NEARLY_ALL
    return [n for n in suspect.by_name if share[n] == best] if best >= needed else []


def _by_values(suspect: Suspect, sample: Sample) -> list[str]:
    """The tables of which every value is a key: only those where that is no chance, if there are
    such; a name that does not say that it points needs those.
    """
    full = [n for n, found in sample.found.items() if sample.usable and found == sample.usable]
    sure = [
        n
        for n in full
        if sample.usable >= _FEWEST and n != suspect.table and sample.chance(n) < _UNLIKELY
    ]
    if sure:
        return [min(sure, key=sample.chance)]
    return full if suspect.is_firm and not suspect.by_name else []


def _reference(suspect: Suspect, sample: Sample, parents: Sequence[str]) -> Finding:
    refs = [f"{suspect.child}={parent}" for parent in parents]
    way_out = " or ".join(f"--ref {ref}" for ref in refs[:_NAMED])
    return Finding(
        "amber",
        "undeclared_reference",
        f"{suspect.column} looks like a reference to {_either(parents)} that is not declared"
        f"{_evidence(sample, parents)}; on another device its integers may be those of other rows"
        f"{_in_key(suspect)}",
        way_out if len(refs) == 1 else f"{way_out}, whichever it is",
        columns=(suspect.column,),
        flags=("--ref", refs[0]) if len(refs) == 1 else (),
    )


def _either(parents: Sequence[str]) -> str:
    if len(parents) <= _NAMED:
        return " or ".join(parents)
    return f"{listed(parents[:_NAMED])} or one of more tables"


def _evidence(sample: Sample, parents: Sequence[str]) -> str:
    if not sample.usable:
        return " (by its name; it has no values yet)"
    found = min(sample.found.get(name, 0) for name in parents)
    return f" ({found} of {sample.usable} values are keys there)"


def _in_key(suspect: Suspect) -> str:
    if not suspect.is_in_key:
        return ""
    return ", and as it is in the key, rows of two devices would be taken for one"


def _unknown(suspect: Suspect) -> Finding:
    return Finding(
        "amber",
        "undeclared_reference",
        f"{suspect.column} looks like a reference by its name, and has no values yet that tell "
        "to which table",
        f"if it holds keys of a table with integer keys: --ref {suspect.child}=TABLE",
        columns=(suspect.column,),
    )


def _polymorphic(suspect: Suspect) -> Finding:
    return Finding(
        "amber",
        "polymorphic_reference",
        f"{suspect.column} seems to hold keys of several tables, and {suspect.sibling} to say "
        "which; --ref can name one table only, so its integers travel as they are, and on another "
        "device they may be those of other rows",
        "give it one column for each table, or make the keys that it holds the same on every device"
        " (TEXT with a UUID)",
        columns=(suspect.column, suspect.sibling or ""),
    )


def _embedded(suspect: Suspect) -> Finding | None:
    if not suspect.by_name or len(suspect.by_name) > 1:
        return None
    return Finding(
        "amber",
        "embedded_references",
        f"{suspect.column} seems to hold several keys of {_either(suspect.by_name)} in one value; "
        "they travel as they are, and on another device they may be those of other rows",
        "keep them in a table of their own, with one row for each",
        columns=(suspect.column,),
    )
