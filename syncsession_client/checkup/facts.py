"""What the rules of a check judge: facts about tables and columns, read from the file.

Each fact is either about every row, or about the first MOST_ROWS of a table, as its field says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..protocol.errors import UnsyncableValue
from ..protocol.tables import Reference
from ..schema import FoundTable
from ..statements import load
from ..store import DeviceStore

CHECK = load("client/check.sql.j2")

MOST_ROWS = 100_000
"""Rows of a table that are looked at for what is only a hint."""

MOST_VALUES = 1_000
"""Different values of a column that are looked up in other tables."""

_BOUNDS = {"most_rows": MOST_ROWS, "most_values": MOST_VALUES}


@dataclass(frozen=True)
class KeyFacts:
    """Of every row: the values of the first column of the key."""

    integers: int = 0
    reals: int = 0
    lowest: int | None = None
    highest: int | None = None

    @property
    def has_gaps(self) -> bool:
        """Whether integers between the lowest and the highest are free."""
        if self.lowest is None or self.highest is None:
            return False
        return self.highest - self.lowest + 1 > self.integers


@dataclass(frozen=True)
class Numbering:
    """Of the first rows: the keys that end in a number, after the most frequent beginning."""

    rows: int
    lowest: int
    highest: int


@dataclass(frozen=True)
class UniqueIndex:
    """A UNIQUE that is not the primary key. A column is None where it is an expression."""

    name: str
    columns: tuple[str | None, ...]
    is_partial: bool = False


@dataclass(frozen=True)
class TableFacts:
    """One table of the application, and what is in it.

    `rows`, `null_keys`, `largest_row` (bytes), `key` and `not_utf8` (columns with such text) are
    about every row. `made` are columns of which all of the first rows' values look as if they were
    made to be found nowhere else.
    """

    found: FoundTable
    rows: int = 0
    null_keys: int = 0
    largest_row: int = 0
    key: KeyFacts = KeyFacts()
    numbering: Numbering | None = None
    uniques: tuple[UniqueIndex, ...] = ()
    made: frozenset[str] = frozenset()
    not_utf8: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """Some values of a column. `usable` ones could be integer keys, `others` are something else;
    0, below and '' are neither. `found` are those that are keys of a table, by table; `near` is how
    many keys it has between the lowest and the highest of them.
    """

    usable: int
    others: int
    lowest: int = 0
    highest: int = 0
    found: Mapping[str, int] = field(default_factory=dict)
    near: Mapping[str, int] = field(default_factory=dict)

    def chance(self, table: str) -> float:
        """How likely it is that values drawn at random would all be found among the keys there."""
        near = self.near.get(table, 0)
        span = self.highest - self.lowest + 1
        if near >= min(span, MOST_ROWS):
            return 1.0
        return float((near / span) ** self.usable)


def read_tables(store: DeviceStore, found: Mapping[str, FoundTable]) -> dict[str, TableFacts]:
    """The facts of each table."""
    uniques = _unique_indexes(store)
    return {n: _read_table(store, t, uniques.get(n, ())) for n, t in found.items()}


def read_sample(store: DeviceStore, table: FoundTable, column: str) -> Sample:
    """Values of a column, not looked up yet."""
    row = store.first(CHECK.sample(t=table, column=column), _BOUNDS) or (0, 0, None, None)
    return Sample(usable=row[0], others=row[1], lowest=row[2] or 0, highest=row[3] or 0)


def look_up(
    store: DeviceStore,
    table: FoundTable,
    column: str,
    sample: Sample,
    parents: Sequence[tuple[str, str]],
) -> Sample:
    """The same sample, looked up in `parents`: (table, key column)."""
    row = store.first(CHECK.look_up(t=table, column=column, parents=parents), _BOUNDS) or ()
    names = [name for name, _ in parents]
    return replace(
        sample,
        found=dict(zip(names, row[::2], strict=True)),
        near=dict(zip(names, row[1::2], strict=True)),
    )


def count_orphans(store: DeviceStore, table: FoundTable, reference: Reference) -> int:
    """How many of all rows have a reference to no row."""
    return store.count(
        CHECK.count_orphans(
            t=table,
            columns=reference.columns,
            parent=reference.parent,
            parent_columns=reference.parent_columns,
        )
    )


def _read_table(
    store: DeviceStore, table: FoundTable, uniques: tuple[UniqueIndex, ...]
) -> TableFacts:
    if table.fault:
        return TableFacts(table)
    if not table.key:
        return TableFacts(table, rows=store.count(CHECK.count_rows(t=table)))
    row = store.first(CHECK.key_facts(t=table)) or (0,) * 7
    return TableFacts(
        found=table,
        rows=row[0],
        null_keys=row[1],
        largest_row=row[2] or 0,
        key=KeyFacts(*row[3:]),
        numbering=_numbering(store, table),
        uniques=uniques,
        made=_made(store, table, uniques),
        not_utf8=_not_utf8(store, table),
    )


def _unique_indexes(store: DeviceStore) -> dict[str, tuple[UniqueIndex, ...]]:
    columns: dict[tuple[str, str, bool], list[str | None]] = {}
    for table, index, is_partial, column in store.rows(CHECK.unique_indexes()):
        columns.setdefault((table, index, bool(is_partial)), []).append(column)
    indexes: dict[str, list[UniqueIndex]] = {}
    for (table, index, is_partial), names in columns.items():
        indexes.setdefault(table, []).append(UniqueIndex(index, tuple(names), is_partial))
    return {table: tuple(found) for table, found in indexes.items()}


def _numbering(store: DeviceStore, table: FoundTable) -> Numbering | None:
    column = table.column(table.key[0])
    if len(table.key) > 1 or column is None or column.affinity == "integer":
        return None
    row = store.first(CHECK.numbering(t=table), {"most_rows": MOST_ROWS})
    return Numbering(*row) if row else None


def _made(store: DeviceStore, table: FoundTable, uniques: Sequence[UniqueIndex]) -> frozenset[str]:
    """The columns of UNIQUE indexes whose values all look made."""
    named = (name for u in uniques for name in u.columns if name is not None)
    columns = list(dict.fromkeys(named))
    if not columns:
        return frozenset()
    sql = CHECK.made_values(t=table, columns=columns)
    row = store.first(sql, {"most_rows": MOST_ROWS}) or ()
    counts = zip(columns, row[::2], row[1::2], strict=True)
    return frozenset(name for name, values, made in counts if 0 < values == made)


def _not_utf8(store: DeviceStore, table: FoundTable) -> tuple[str, ...]:
    """The columns that hold text which is not UTF-8; one pass where there is none."""
    try:
        for _ in store.rows(CHECK.texts(t=table)):
            pass
    except UnsyncableValue:
        return tuple(c.name for c in table.columns if not _is_utf8(store, table, c.name))
    return ()


def _is_utf8(store: DeviceStore, table: FoundTable, column: str) -> bool:
    try:
        for (text,) in store.rows(CHECK.text_bytes(t=table, column=column)):
            text.decode()
    except (UnsyncableValue, UnicodeDecodeError):
        return False
    return True
