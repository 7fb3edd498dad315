"""What to look at in a table that can take part: its key, its UNIQUE indexes, its references.

References that are not declared are in `references`, the application's triggers in `firing`.
No I/O.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from ..identity import Choices
from ..protocol.tables import Reference, Table, folded
from ..schema import FoundColumn, FoundTable
from .facts import KeyFacts, Numbering, TableFacts, UniqueIndex
from .findings import Finding, counted, listed

SERVER_TAKES = 64 << 20
"""Bytes of a row that a server takes unless it is told otherwise, by --max-body-bytes."""

_MIB = 1 << 20

_NO_INT32 = 1 << 31
_SPARSE = 1000
_FEW = 10
_DENSE = 2
_NUMBERED = 3

_REPLACES = re.compile(
    r"\bUNIQUE\b\s*(\([^()]*\)\s*)?ON\s+CONFLICT\s+REPLACE\b", re.IGNORECASE | re.DOTALL
)
_NOT_CODE = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)""",
    re.DOTALL,
)
_AUTOINCREMENT = re.compile(r"\bAUTOINCREMENT\b", re.IGNORECASE)
_MADE_BY_NAME = re.compile(r"uuid|guid|ulid", re.IGNORECASE)
_HASH_BY_NAME = re.compile(r"hash|sha\d|md5|digest|checksum|fingerprint|etag", re.IGNORECASE)


def noteworthy(
    facts: TableFacts, table: Table, choices: Choices, suspected: frozenset[str]
) -> Iterator[Finding]:
    """What to look at in a table that takes part, as `table` says. `suspected` are columns that
    seem to be references.
    """
    yield from _key(facts, table, choices, suspected)
    yield from _uniques(facts)
    if facts.largest_row > SERVER_TAKES:
        yield Finding(
            "amber",
            "large_row",
            f"its largest row has {facts.largest_row / _MIB:.0f} MiB, and a server takes "
            f"{SERVER_TAKES // _MIB} unless it is told otherwise",
            "raise --max-body-bytes on the server, or keep such values in files",
        )


def _key(
    facts: TableFacts, table: Table, choices: Choices, suspected: frozenset[str]
) -> Iterator[Finding]:
    referring = {name for r in table.references for name in r.columns} | suspected
    columns = [c for c in map(facts.found.column, table.key) if c is not None]
    if table.key_kind == "local":
        yield from _local_key(facts, table)
    elif referring.isdisjoint(table.key):
        yield from _global_key(facts, table, columns, choices)


def _local_key(facts: TableFacts, table: Table) -> Iterator[Finding]:
    key = facts.key
    name, (column,) = table.name, table.key
    strange = facts.rows - key.integers - facts.null_keys
    if strange:
        yield Finding(
            "amber",
            "mixed_key",
            f"{counted(strange)} no integer in {column}, and on other devices would get one "
            "in place of it",
            f"--key {name}=global, if its keys are the same on every device",
            columns=table.key,
            flags=("--key", f"{name}=global"),
        )
    elif _looks_global(key):
        yield Finding(
            "amber",
            "key_looks_global",
            f"the integers in {column} look as if they were made to be the same everywhere (the "
            f"highest is {key.highest}); as they are taken as each device's own, two devices that "
            "insert the same one get two rows",
            f"--key {name}=global, if the application or a central system makes them; nothing, if "
            "SQLite does",
            columns=table.key,
        )


def _looks_global(key: KeyFacts) -> bool:
    """Random or far above what counting gives. -1 for a special row is no sign."""
    if key.lowest is None or key.highest is None or key.integers < 2:
        return False
    span = key.highest - key.lowest + 1
    is_far = max(key.highest, -key.lowest) >= _NO_INT32
    return is_far or (key.integers >= _FEW and span >= _SPARSE * key.integers)


def _global_key(
    facts: TableFacts, table: Table, columns: list[FoundColumn], choices: Choices
) -> Iterator[Finding]:
    name, key = table.name, table.key
    is_single = len(key) == 1
    if any(c.affinity == "real" for c in columns) or (is_single and facts.key.reals):
        yield Finding(
            "amber",
            "real_key",
            f"{listed(key)} holds real numbers: two devices name the same row only where they "
            "compute the same bits",
            "use text or integers in the key",
            columns=key,
        )
    elif is_single and _counts_up(facts.numbering):
        yield _counter(key, f"its keys look numbered by the application in {key[0]}")
    elif is_single and _gives_out(facts.found) and folded(name) in map(folded, choices.keys):
        yield _counter(key, f"SQLite gives out the integers of {key[0]} (AUTOINCREMENT)")
    elif not is_single and all(c.affinity == "integer" for c in columns):
        yield _counter(key, f"its key ({listed(key)}) is made of numbers only")


def _counter(key: tuple[str, ...], why: str) -> Finding:
    return Finding(
        "amber",
        "counter_key",
        f"{why}: two devices that give out the same one offline make one row of two, and the last "
        "to push wins it",
        "let a UUID be the key, or an INTEGER PRIMARY KEY of each device's own, if the application "
        "numbers rows offline; nothing, if the numbers come from elsewhere",
        columns=key,
    )


def _counts_up(numbering: Numbering | None) -> bool:
    if numbering is None or numbering.rows < _NUMBERED:
        return False
    return numbering.highest - numbering.lowest + 1 <= _DENSE * numbering.rows


def _gives_out(table: FoundTable) -> bool:
    return bool(_AUTOINCREMENT.search(_code(table.sql)))


def _code(sql: str) -> str:
    """A definition without its comments, and with one name for all that is quoted."""
    return _NOT_CODE.sub(lambda m: " " if m[0].startswith(("--", "/*")) else " x ", sql)


def _uniques(facts: TableFacts) -> Iterator[Finding]:
    key = {folded(name) for name in facts.found.key}
    for unique in facts.uniques:
        names = [folded(name) for name in unique.columns if name is not None]
        if key <= set(names) or any(_is_made(facts, name) for name in unique.columns):
            continue
        yield _collision(facts.found.name, unique)
    if facts.uniques and _REPLACES.search(_code(facts.found.sql)):
        yield Finding(
            "note",
            "unique_replaces",
            "a UNIQUE is declared ON CONFLICT REPLACE: rows that it removes fire no trigger, and "
            "are found at the next push, by the number of rows",
        )


def _is_made(facts: TableFacts, column: str | None) -> bool:
    """Whether a column's values are made to be found nowhere else, as a UUID is.

    A hash is not: two devices that have the same content make the same one.
    """
    if column is None or _HASH_BY_NAME.search(column):
        return False
    return column in facts.made or bool(_MADE_BY_NAME.search(column))


def _collision(table: str, unique: UniqueIndex) -> Finding:
    columns = tuple(name for name in unique.columns if name is not None)
    what = f"({listed(columns)})" if len(columns) == len(unique.columns) else "of an expression"
    is_automatic = unique.name.startswith("sqlite_autoindex_")
    index = "" if is_automatic else f" (index {unique.name}{', partial' * unique.is_partial})"
    is_natural = len(columns) == len(unique.columns) and not unique.is_partial
    happens = (
        "the later one becomes the earlier one where keys are local, and is refused where not"
        if is_natural
        else "each stays where it was made, and waits at the others' until one of them is changed"
    )
    way = (
        f"choose on the server: syncsession-server policy set {table} merge (or reject) "
        f"--unique {','.join(columns)}"
        if is_natural
        else "drop the UNIQUE, or see that no two devices make the same values"
    )
    return Finding(
        "amber",
        "unique_collision",
        f"UNIQUE {what}{index}: two devices can each make a row with the same values; {happens}",
        way,
        columns=columns,
    )


def broken(table: Table, orphans: Mapping[Reference, int], found: Iterable[str]) -> list[Finding]:
    """References of a table that point to nothing: to no table, or rows that point to no row."""
    known = {folded(name) for name in found}
    missing = [
        Finding(
            "amber",
            "missing_parent",
            f"{listed(r.columns)} references {r.parent}, and there is no such table",
            "make the table, or take the reference out; its values travel as they are",
            columns=r.columns,
        )
        for r in table.references
        if folded(r.parent) not in known
    ]
    return missing + [
        Finding(
            "amber",
            "orphans",
            f"{counted(count)} a {listed(r.columns)} that is in no row of {r.parent}",
            "correct them first: the server does not take these rows, unless it is told to by "
            f"syncsession-server table set {table.name} --references off",
            columns=r.columns,
        )
        for r, count in orphans.items()
        if count
    ]


def generated(facts: TableFacts, table: Table, numbered: Iterable[str]) -> Iterator[Finding]:
    """References in columns that are computed from others."""
    numbered = set(numbered)
    for r in table.references:
        computed = tuple(name for name in r.columns if facts.found.column(name) is None)
        if computed and r.parent in numbered:
            yield Finding(
                "amber",
                "generated_reference",
                f"{listed(computed)} references {r.parent} and is generated from other columns, "
                "which travel as they are: on another device it may point to another row",
                f"keep the key of {r.parent} in a column that is not generated",
                columns=computed,
            )
