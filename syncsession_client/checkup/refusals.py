"""What rules a table out: it stays red until that is mended, or the table is left out. No I/O."""

from collections.abc import Iterable, Iterator, Mapping

from ..protocol.tables import MOST_COLUMNS, MOST_NAME, Reference
from ..schema import FoundTable
from .facts import CHECK, TableFacts
from .findings import Finding, counted, listed


def refused(facts: TableFacts) -> Iterator[Finding]:
    """Why a table cannot take part, of itself."""
    table = facts.found
    if table.fault:
        yield Finding(
            "red",
            "application_only",
            f"only its application can use it: {table.fault}",
            "rebuild it without the application's own collations and functions, or "
            f"--exclude {table.name}",
        )
        return
    if not table.key:
        yield Finding(
            "red",
            "no_primary_key",
            "it has no primary key, so nothing identifies its rows",
            "rebuild it with one, as in CREATE TABLE ... (id INTEGER PRIMARY KEY, ...), or "
            f"--exclude {table.name}",
        )
    if facts.null_keys:
        yield Finding(
            "red",
            "null_key",
            f"{counted(facts.null_keys)} NULL in the primary key, which identifies nothing",
            f"give them a key or delete them ({CHECK.without_key(t=table)}), or "
            f"--exclude {table.name}",
            columns=table.key,
        )
    if facts.not_utf8:
        (first, *_) = facts.not_utf8
        yield Finding(
            "red",
            "not_utf8",
            f"{listed(facts.not_utf8)} holds text that is not UTF-8, which stops every push",
            f"write it anew as UTF-8, or keep those values as blobs (CAST({first} AS BLOB)), or "
            f"--exclude {table.name}",
            columns=facts.not_utf8,
        )
    yield from _too_much_for_a_server(table)


def _too_much_for_a_server(table: FoundTable) -> Iterator[Finding]:
    names = [table.name, *(c.name for c in table.columns)]
    wrong = [name for name in names if not 1 <= len(name) <= MOST_NAME]
    if wrong:
        yield Finding(
            "red",
            "name_length",
            f"the server takes names of 1 to {MOST_NAME} characters, and not "
            f"{listed([repr(name) for name in wrong])}",
            f"rename it, or --exclude {table.name}",
        )
    if len(table.columns) > MOST_COLUMNS:
        yield Finding(
            "red",
            "too_many_columns",
            f"it has {len(table.columns)} columns, and the server takes {MOST_COLUMNS}",
            f"divide it into two tables, or --exclude {table.name}",
        )


def outside(
    references: Mapping[str, tuple[Reference, ...]], out: Iterable[str], left_out: Iterable[str]
) -> dict[str, Finding]:
    """Tables that reference one that takes no part, and those that reference these in turn.

    `out` are tables that cannot take part, `left_out` those that the choices leave out.
    """
    without, chosen = set(out) | set(left_out), set(left_out)
    found: dict[str, Finding] = {}
    while True:
        more = {
            name: next(r.parent for r in its if r.parent in without)
            for name, its in references.items()
            if name not in without and any(r.parent in without for r in its)
        }
        if not more:
            return found
        for name, parent in more.items():
            why = "is left out" if parent in chosen else "cannot take part"
            way_out = f"take {parent} in" if parent in chosen else f"see to {parent} first"
            found[name] = Finding(
                "red",
                "outside_reference",
                f"it references {parent}, which {why}",
                f"{way_out}, or --exclude {name}",
            )
        without |= set(more)
