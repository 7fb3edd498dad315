"""What becomes of rows that have a value which only one may have. No I/O."""

from collections.abc import Iterable, Iterator, Mapping

from .tables import TABLES, Content, Row

MERGED = ("seat", "kind")
"""Tables of which a new row becomes the one that has its value already; of others it is refused."""

Became = dict[Row, set[Row]]
"""Which rows a row has become."""


def keeps_its_key(row: Row) -> bool:
    """Whether a row that becomes another keeps its key at its device, as rows with local keys do,
    and those whose key refers to such a row.
    """
    return any(TABLES[name].local for name in (row[0], *TABLES[row[0]].parent_of.values()))


def become(became: Became, gone: Row, stays: Row) -> None:
    """Note that a row has become another, and so what had become that row before."""
    for row in (gone, *(row for row, others in became.items() if gone in others)):
        became.setdefault(row, set()).add(stays)


def follows(row: Row, before: Content, after: Content, became: Became) -> bool:
    """Whether these values differ at most in references, which follow rows that became others."""
    if before is None or after is None or before == after:
        return before == after
    table = TABLES[row[0]]
    return all(
        old == new or _leads(table.parent_of.get(column), old, new, became)
        for column, old, new in zip(table.values, before, after, strict=True)
    )


def turned(row: Row, values: Content, gone: Row, stays: Row) -> tuple[Row, Content]:
    """A row where what refers to a row refers to the one that it became, and is so itself."""
    table = TABLES[row[0]]
    new = list(_turned(table.columns, (*row[1:], *(values or ())), gone, stays, table.parent_of))
    end = len(row) - 1
    named = stays if row == gone else (table.name, *map(str, new[:end]))
    return named, None if values is None else tuple(new[end:])


def takers(
    found: Iterable[tuple[Row, Content]], table: str, values: Iterable[str | None]
) -> Iterator[Row]:
    """The rows of a table that have one of these values."""
    wanted = set(values) - {None}
    for row, content in found:
        if row[0] == table and TABLES[table].taken_by(content) in wanted:
            yield row


def _leads(parent: str | None, old: str | None, new: str | None, became: Became) -> bool:
    if parent is None or old is None or new is None:
        return False
    return (parent, new) in became.get((parent, old), ())


def _turned(
    columns: Iterable[str],
    values: Iterable[str | None],
    gone: Row,
    stays: Row,
    parent_of: Mapping[str, str],
) -> Iterator[str | None]:
    for column, value in zip(columns, values, strict=False):
        is_gone = (parent_of.get(column), value) == gone
        yield stays[1] if is_gone else value
