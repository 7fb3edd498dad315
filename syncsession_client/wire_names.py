"""What the server calls a device's tables, where the application has renamed them since.

A device that renames a table, or columns of its key, goes on with the rows that it has in common
with the others: to the server they keep the names under which it first heard of them. Why:
docs/explanation/schema-changes.md. No I/O.
"""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from .identity import Registration, SyncTable
from .protocol.tables import Column, Reference, Table, folded


def described(tables: Sequence[SyncTable]) -> list[Table]:
    """The tables as the server is told of them; `here` is the table as it stands on this device."""
    sent = {t.name: t.wire_name for t in tables}
    columns = {
        t.name: dict(zip(t.key, t.sent_key or t.key, strict=True)) for t in tables if t.sent_key
    }
    return [_renamed(t, sent, columns) for t in tables]


def cloned(tables: Sequence[Table], prefixes: dict[str, str]) -> list[Registration]:
    """The tables that the server told of, as a device has them that is made from their statements.

    Each description may be of another device, so references are read by the server's names.
    """
    here = {t.name: (t.here or t).name for t in tables}
    return [
        Registration(
            replace(
                t.here or t,
                here=None,
                names=(),
                columns=tuple(
                    replace(mine, row_id_of=here.get(sent.row_id_of) if sent.row_id_of else None)
                    for mine, sent in zip((t.here or t).columns, t.columns, strict=True)
                ),
            ),
            prefixes[(t.here or t).name],
            sent_name=t.name if t.here and t.here.name != t.name else "",
            sent_key=t.key if t.here and t.here.key != t.key else (),
        )
        for t in tables
    ]


def distinct(tables: Sequence[Table]) -> list[Table]:
    """The tables without those that another one, which was renamed, has taken the name of."""
    renamed = {folded(t.here.name) for t in tables if t.here is not None}
    return [t for t in tables if t.here is not None or folded(t.name) not in renamed]


def free(name: str, taken: Iterable[str]) -> str:
    """`name`, numbered where the server knows another table by it."""
    used = {folded(each) for each in taken}
    number, chosen = 1, name
    while folded(chosen) in used:
        number += 1
        chosen = f"{name}_{number}"
    return chosen


def _renamed(table: SyncTable, sent: dict[str, str], columns: dict[str, dict[str, str]]) -> Table:
    here, own = table.table, columns.get(table.name, {})
    told = replace(
        here,
        name=sent[here.name],
        key=tuple(own.get(name, name) for name in here.key),
        columns=tuple(_column(column, own, sent) for column in here.columns),
        references=tuple(_reference(r, own, sent, columns) for r in here.references),
        unique_keys=tuple(
            replace(u, columns=tuple(own.get(name, name) for name in u.columns))
            for u in here.unique_keys
        ),
    )
    return told if told == here else replace(told, here=here)


def _column(column: Column, own: dict[str, str], sent: dict[str, str]) -> Column:
    target = column.row_id_of and sent.get(column.row_id_of, column.row_id_of)
    return replace(column, name=own.get(column.name, column.name), row_id_of=target)


def _reference(
    reference: Reference,
    own: dict[str, str],
    sent: dict[str, str],
    columns: dict[str, dict[str, str]],
) -> Reference:
    theirs = columns.get(reference.parent, {})
    return replace(
        reference,
        columns=tuple(own.get(name, name) for name in reference.columns),
        parent=sent.get(reference.parent, reference.parent),
        parent_columns=tuple(theirs.get(name, name) for name in reference.parent_columns),
    )
