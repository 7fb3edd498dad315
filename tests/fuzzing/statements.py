"""Makes up the statements of a script, step by step, by what the twin holds at the time."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from syncsession_client.statements import quote

from .captured import TAG
from .programs import Program
from .schemas import SchemaMaker
from .script import CHECK, CONNECTIONS, Step
from .values import VALUES, literal

_TABLES = (
    "SELECT m.name, m.type FROM sqlite_master AS m JOIN pragma_table_list AS l ON l.name = m.name"
    " WHERE l.schema = 'main' AND l.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite%'"
    " ORDER BY m.rowid"
)
_IS_WITHOUT_ROWID = "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = {}"
_OTHERS = "SELECT name FROM sqlite_master WHERE type = '{}' AND sql IS NOT NULL ORDER BY rowid"

_OR = ("", "", "", " OR REPLACE", " OR IGNORE", " OR FAIL", " OR ABORT", " OR ROLLBACK")
_KEYS = (1, 2, 3, 4, 5, 6, -1, "a", "A", "b", "a ", "1", b"a", 1.0, 2.5, None)


@dataclass(frozen=True)
class Column:
    """A column as SQL, and what matters for what is written to it."""

    name: str
    type: str
    is_key: bool
    is_written: bool


@dataclass(frozen=True)
class TableNow:
    """A table of the application as it is at this moment."""

    name: str
    columns: tuple[Column, ...]
    is_view: bool = False

    @property
    def written(self) -> list[Column]:
        return [c for c in self.columns if c.is_written and c.name != quote(TAG)]

    @property
    def keys(self) -> list[Column]:
        return [c for c in self.columns if c.is_key]


class StatementMaker:
    """Steps without end, on the tables that a program sees."""

    def __init__(self, chance: random.Random, schema: SchemaMaker) -> None:
        self._chance, self._schema = chance, schema
        self._tags = count(1)
        self._savepoints = count(1)
        self._pending: list[Step] = []
        self._changes = [
            (30, self._insert),
            (20, self._update),
            (10, self._delete),
            (8, self._upsert),
            (6, self._insert_select),
            (10, self._transaction),
            (3, self._pragma),
            (1, self._upkeep),
        ]
        self._definitions = [
            (2, self._add_column),
            (2, self._drop_column),
            (2, self._rename_column),
            (2, self._index),
            (1, self._drop_index),
            (3, self._trigger),
            (1, self._drop_trigger),
            (0, self._rebuild),
        ]

    def next(self, twin: Program) -> Step:
        """The next step. `twin` says what is there; nothing is changed in it."""
        if self._pending:
            return self._pending.pop(0)
        self._twin = twin
        if self._maybe(0.06):
            return CHECK
        connection = 0 if self._maybe(0.85) else self._chance.randrange(1, CONNECTIONS)
        made = self._definitions if self._maybe(0.06) else self._changes
        weights, makers = zip(*made, strict=True)
        (make,) = self._chance.choices(makers, weights)
        steps = [Step(sql, connection) for sql in make()]
        self._pending = steps[1:]
        return steps[0] if steps else CHECK

    # Rows

    def _insert(self) -> Iterator[str]:
        table = self._table(or_view=True)
        if self._maybe(0.04):
            yield f"INSERT{self._or()} INTO {table.name} DEFAULT VALUES{self._returning()}"
            return
        columns = [c for c in table.written if c.is_key or self._maybe(0.7)]
        verb = "REPLACE" if self._maybe(0.12) else f"INSERT{self._or()}"
        yield f"{verb} INTO {self._rows(table, columns)}{self._returning()}"

    def _upsert(self) -> Iterator[str]:
        table = self._table()
        columns = [c for c in table.written if c.is_key or self._maybe(0.7)]
        target = f" ({', '.join(c.name for c in table.keys)})" if table.keys else ""
        if self._maybe(0.25):
            action = f"{target if self._maybe(0.5) else ''} DO NOTHING"
        else:
            where = f" WHERE {self._where(table)}" if self._maybe(0.3) else ""
            action = f"{target} DO UPDATE SET {self._assignments(table, 'excluded.')}{where}"
        if self._maybe(0.2):
            action += " ON CONFLICT DO NOTHING"
        yield f"INSERT INTO {self._rows(table, columns)} ON CONFLICT{action}{self._returning()}"

    def _insert_select(self) -> Iterator[str]:
        table, other = self._table(), self._table()
        columns = [c for c in table.written if self._maybe(0.8)] or table.written
        values = ", ".join(
            self._chance.choice([self._value(c), self._chance.choice(other.columns).name])
            for c in columns
        )
        names = ", ".join(c.name for c in columns)
        yield (
            f"INSERT{self._or()} INTO {table.name} ({names}) SELECT {values} FROM {other.name}"
            f" WHERE {self._where(other)} ORDER BY 1 LIMIT 3"
        )

    def _update(self) -> Iterator[str]:
        """In the order of the table: in that of an index, which is used where there is no trigger,
        two rows may not meet in a UNIQUE column that meet here. SQLite promises neither.
        """
        table = self._table(or_view=True)
        order = "" if table.is_view else " NOT INDEXED"
        start = f"UPDATE{self._or()} {table.name}{order} SET"
        if self._maybe(0.1):
            other = self._table()
            value = f"o.{self._chance.choice(other.columns).name}"
            column = self._chance.choice(table.written).name
            yield (
                f"{start} {column} = {value} FROM (SELECT * FROM {other.name} ORDER BY 1 LIMIT 1)"
                f" AS o WHERE {self._where(table, table.name)}"
            )
            return
        sets, where = self._assignments(table, ""), self._where(table)
        if self._twin.all(_IS_WITHOUT_ROWID.format(_text(table.name))) == [(1,)]:
            where = self._one(table)  # SQLite goes through an index all the same
        yield f"{start} {sets} WHERE {where}{self._returning()}"

    def _delete(self) -> Iterator[str]:
        table = self._table(or_view=True)
        where = "" if self._maybe(0.1) else f" WHERE {self._where(table)}"
        yield f"DELETE FROM {table.name}{where}{self._returning()}"
        if where and self._maybe(0.3):  # and, as applications do, what was there comes again
            columns = table.written
            yield f"INSERT{self._or()} INTO {self._rows(table, columns)}"

    # Around them

    def _transaction(self) -> Iterator[str]:
        name = f"s{self._chance.randint(1, 3)}"
        yield self._chance.choice(
            [
                *("BEGIN", "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"),
                *("COMMIT", "COMMIT", "COMMIT", "ROLLBACK"),
                *(f"SAVEPOINT {name}", f"RELEASE {name}", f"ROLLBACK TO {name}"),
            ]
        )

    def _pragma(self) -> Iterator[str]:
        name = self._chance.choice(
            ["recursive_triggers", "foreign_keys", "defer_foreign_keys", "legacy_alter_table"]
        )
        yield f"PRAGMA {name} = {self._chance.choice(['ON', 'OFF'])}"

    def _upkeep(self) -> Iterator[str]:
        table = self._table()
        yield self._chance.choice(
            [
                *("VACUUM", "ANALYZE", f"REINDEX {table.name}"),
                *("PRAGMA foreign_key_check", "PRAGMA integrity_check"),
            ]
        )

    # The schema

    def _add_column(self) -> Iterator[str]:
        table = self._table()
        declared = self._chance.choice(
            ["INTEGER", "INTEGER DEFAULT 5", "TEXT DEFAULT 'x'", "TEXT NOT NULL DEFAULT ''"]
        )
        yield f"ALTER TABLE {table.name} ADD COLUMN {self._schema.name()} {declared}"

    def _drop_column(self) -> Iterator[str]:
        table = self._table()
        columns = [c.name for c in table.columns if not c.is_key and c.name != quote(TAG)]
        if columns:
            yield f"ALTER TABLE {table.name} DROP COLUMN {self._chance.choice(columns)}"

    def _rename_column(self) -> Iterator[str]:
        table = self._table()
        columns = [c.name for c in table.columns if c.name != quote(TAG)]
        column = self._chance.choice(columns)
        yield f"ALTER TABLE {table.name} RENAME COLUMN {column} TO {self._schema.name()}"

    def _index(self) -> Iterator[str]:
        table = self._table()
        key = table.keys[0].name if len(table.keys) == 1 else None
        yield self._schema.index(table.name, key)

    def _drop_index(self) -> Iterator[str]:
        yield from self._drop("index")

    def _drop_trigger(self) -> Iterator[str]:
        yield from self._drop("trigger")

    def _drop(self, kind: str) -> Iterator[str]:
        names = [n for (n,) in self._twin.all(_OTHERS.format(kind))]
        if names:
            yield f"DROP {kind} {quote(self._chance.choice(names))}"

    def _trigger(self) -> Iterator[str]:
        """One that writes to another table, to its own, to a log of the application, or refuses."""
        table, other = self._table(), self._table()
        event = self._chance.choice(["INSERT", "UPDATE", "DELETE"])
        row = "old" if event == "DELETE" else "new"
        time = self._chance.choice(["AFTER", "AFTER", "BEFORE"])
        column = self._chance.choice(table.columns).name
        when = f" WHEN {row}.{column} IS NOT NULL" if self._maybe(0.3) else ""
        own = " AND ".join(f"{c.name} IS {row}.{c.name}" for c in table.keys) or "1"
        written = self._chance.choice(other.written).name
        columns = [c for c in other.written if c.is_key or self._maybe(0.5)]
        kind = self._chance.choice(["IGNORE", "ABORT", "FAIL", "ROLLBACK"])
        action = self._chance.choice(
            [
                f"INSERT{self._or()} INTO {self._rows(other, columns, is_tagged=False)}",
                f"UPDATE{self._or()} {other.name} SET {written} = {row}.{column}"
                f" WHERE {self._one(other)}",
                f"DELETE FROM {other.name} WHERE {self._where(other)}",
                f"UPDATE {table.name} SET {self._chance.choice(table.written).name} = "
                f"{literal(self._chance.choice(VALUES))} WHERE {own}",
                f"INSERT INTO audit SELECT '{event}', changes(), {row}.{column}",
                f"SELECT RAISE({kind}{'' if kind == 'IGNORE' else ', ' + repr('no')})"
                f" WHERE {row}.{column} IS {literal(self._chance.choice(VALUES))}",
            ]
        )
        kind = "TEMP TRIGGER" if self._maybe(0.15) else "TRIGGER"
        yield (
            f"CREATE {kind} {self._schema.name()} {time} {event} ON {table.name}{when}"
            f" BEGIN {action}; END"
        )

    def _rebuild(self) -> Iterator[str]:
        """What ALTER TABLE cannot do: create the new table, copy, drop the old one, rename."""
        table = self._table()
        (sql,) = self._twin.all(
            f"SELECT sql FROM sqlite_master WHERE type = 'table' AND name = {_text(table.name)}"
        )[0]
        before = sql.index("(")
        columns = ", ".join(c.name for c in table.columns if c.is_written)
        is_whole = self._maybe(0.6)
        if is_whole:
            yield "BEGIN"
        yield f'CREATE TABLE "rebuilt" {sql[before:]}'
        yield f'INSERT INTO "rebuilt" ({columns}) SELECT {columns} FROM {table.name}'
        if self._maybe(0.3):
            yield next(self._update_of(table, '"rebuilt"'))
        yield f"DROP TABLE {table.name}"
        yield f'ALTER TABLE "rebuilt" RENAME TO {table.name}'
        if self._maybe(0.4):
            yield next(self._update_of(table, table.name))
        if is_whole:
            yield "COMMIT"

    def _update_of(self, table: TableNow, name: str) -> Iterator[str]:
        sets = self._assignments(table, "")
        yield f"UPDATE {name} NOT INDEXED SET {sets} WHERE {self._where(table)}"

    # Parts

    def _table(self, *, or_view: bool = False) -> TableNow:
        found = [self._described(name, kind) for name, kind in self._twin.all(_TABLES)]
        return self._chance.choice([t for t in found if t.written and (or_view or not t.is_view)])

    def _described(self, name: str, kind: str) -> TableNow:
        found = self._twin.all(f"PRAGMA table_xinfo({quote(name)})")
        return TableNow(
            quote(name),
            tuple(
                Column(quote(column), declared, bool(pk), not hidden)
                for _, column, declared, _, _, pk, hidden in found
            ),
            is_view=kind == "view",
        )

    def _rows(self, table: TableNow, columns: list[Column], *, is_tagged: bool = True) -> str:
        """`table (columns) VALUES rows`."""
        tagged = is_tagged and any(c.name == quote(TAG) for c in table.columns)
        names = [c.name for c in columns] + ([TAG] if tagged else [])
        if not names:
            names, columns = [table.written[0].name], table.written[:1]
        rows = []
        for _ in range(self._chance.choice([1, 1, 2, 3])):
            values = [self._value(c) for c in columns] + ([str(next(self._tags))] if tagged else [])
            rows.append(f"({', '.join(values)})")
        return f"{table.name} ({', '.join(names)}) VALUES {', '.join(rows)}"

    def _value(self, column: Column) -> str:
        """A literal that the column may hold, mostly."""
        if column.is_key and "INT" in column.type:
            return literal(self._chance.choice([1, 2, 3, 4, 5, 6, 7, 8, -1, None, "3", 2.0]))
        if column.is_key:
            return literal(self._chance.choice(_KEYS))
        if self._maybe(0.5):
            return literal(self._chance.choice([1, 2, 3, 4, None, "a"]))
        return literal(self._chance.choice(VALUES))

    def _assignments(self, table: TableNow, new: str) -> str:
        keys = [c for c in table.keys if c.is_written]
        others = [c for c in table.written if not c.is_key]
        chosen = self._chance.sample(others, min(len(others), self._chance.randint(1, 2)))
        if keys and (not chosen or self._maybe(0.25)):
            chosen.append(self._chance.choice(keys))
        return ", ".join(f"{c.name} = {self._assigned(table, c, new)}" for c in chosen)

    def _assigned(self, table: TableNow, column: Column, new: str) -> str:
        name, other = column.name, self._chance.choice(table.columns).name
        if not column.is_key:
            return self._chance.choice(
                [self._value(column), name, f"{new}{other}", f"coalesce({name}, 0) + 1"]
            )
        return self._chance.choice(
            [
                self._value(column),
                self._value(column),
                f"{name} + 1",
                f"-{name}",
                f"upper({name})",
                f"CASE {name} WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE {name} END",
                f"(SELECT max({name}) + 1 FROM {table.name})",
            ]
        )

    def _where(self, table: TableNow, of: str = "") -> str:
        prefix = f"{of}." if of else ""
        column = self._chance.choice(table.keys or list(table.columns))
        name = prefix + column.name
        other = prefix + self._chance.choice(table.columns).name
        return self._chance.choice(
            [
                *[f"{name} = {self._value(column)}"] * 4,
                f"{name} IN ({self._value(column)}, {self._value(column)})",
                f"{name} > {self._value(column)}",
                f"{other} IS {self._value(column)}",
                f"{other} IS NOT NULL",
                "1",
            ]
        )

    def _one(self, table: TableNow) -> str:
        """A condition that one row meets at most."""
        return " AND ".join(f"{c.name} = {self._value(c)}" for c in table.keys) or "0"

    def _or(self) -> str:
        return self._chance.choice(_OR)

    def _returning(self) -> str:
        return " RETURNING *" if self._maybe(0.15) else ""

    def _maybe(self, share: float) -> bool:
        return self._chance.random() < share


def _text(quoted: str) -> str:
    """The name within quotes as a text in SQL."""
    return literal(quoted[1:-1].replace('""', '"'))
