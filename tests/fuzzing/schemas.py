"""Makes up a schema: tables of every kind, their indexes, triggers, views and first rows."""

import random
from dataclasses import dataclass
from itertools import count

from syncsession_client.statements import quote

from .captured import TAG
from .values import VALUES, literal

_NAMES = ("t", "u", "order", "naïve", 'we"ird', "a b", "x.y", "[br]", "it's", "Größe", "_sy")
_COLUMNS = ("v", "w", "x y", 'q"c', "op", "at", "by", "seq", "key_1", "is_dirty", "é", "rows")
_TYPES = ("INTEGER", "TEXT", "REAL", "NUMERIC", "BLOB", "", "VARCHAR(9)", "BOOLEAN", "DATETIME")
_STRICT_TYPES = ("INTEGER", "TEXT", "REAL", "BLOB", "ANY")
_DEFAULTS = ("1", "'d'", "(1 + 1)", "NULL", "-0.0")
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION")
_RESOLUTIONS = ("REPLACE", "IGNORE", "FAIL", "ABORT", "ROLLBACK")


@dataclass(frozen=True)
class _Made:
    """A table that can be referenced: its name as SQL, and its key where that is one column."""

    name: str
    key: str | None
    key_type: str


class SchemaMaker:
    """One schema. Names are not used twice, by later steps of the script either."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._numbers = count(1)
        self._names = list(_NAMES)
        chance.shuffle(self._names)
        self._made: list[_Made] = []

    def schema(self) -> list[str]:
        """The statements that make it, and some rows."""
        found = [self.table() for _ in range(self._chance.randint(1, 3))]
        for made in list(self._made):
            found += [self.index(made.name, made.key) for _ in range(self._chance.randint(0, 1))]
        for made in self._made:
            found += [self._row(made) for _ in range(self._chance.choice([0, 0, 1, 5]))]
        if self._maybe(0.3):
            found.append("CREATE TABLE audit (what, n, m)")
        for made in self._made:
            if self._maybe(0.2):
                found += self._view(made)
        searched = [m for m in self._made if m.key == "id"]
        if searched and self._maybe(0.3):
            found += _search(searched[0])
        return found

    def name(self) -> str:
        """A name that nothing has, as SQL."""
        base = self._names.pop() if self._names else "n"
        return quote(f"{base}{next(self._numbers)}" if self._maybe(0.5) or base == "n" else base)

    def table(self) -> str:
        """A CREATE TABLE."""
        chance, name = self._chance, self.name()
        is_strict, is_rowid = self._maybe(0.15), self._maybe(0.75)
        types = _STRICT_TYPES if is_strict else _TYPES
        columns = chance.sample(_COLUMNS, chance.randint(1, 4))
        key, parts, last = self._key(is_strict=is_strict, is_rowid=is_rowid)
        for column in columns:
            parts.append(self._column(column, chance.choice(types)))
        if self._maybe(0.25):
            parts.append(self._generated(columns, "TEXT" if is_strict else chance.choice(types)))
        parts.append(f"{TAG} INTEGER")
        if self._maybe(0.2):
            pair = ", ".join(map(quote, chance.sample(columns, min(2, len(columns)))))
            last.append(f"UNIQUE ({pair}){self._resolution()}")
        options = [
            o for o, is_so in (("STRICT", is_strict), ("WITHOUT ROWID", not is_rowid)) if is_so
        ]
        self._made.append(_Made(name, *key))
        return f"CREATE TABLE {name} ({', '.join(parts + last)}) {', '.join(options)}".rstrip()

    def _row(self, made: _Made) -> str:
        """A row that is there before sync is, if the table's constraints let it."""
        names = "a, b" if made.key is None else made.key
        count = 2 if made.key is None else 1
        values = ", ".join(str(self._chance.randint(1, 9)) for _ in range(count))
        return f"INSERT OR IGNORE INTO {made.name} ({names}) VALUES ({values})"

    def _view(self, made: _Made) -> list[str]:
        """A view that programs write to."""
        view, row = self.name(), "(a IS old.a AND b IS old.b)" if made.key is None else ""
        row = row or f"{made.key} IS old.{made.key}"
        names = "a, b" if made.key is None else made.key
        values = "new.a, new.b" if made.key is None else f"new.{made.key}"
        return [
            f"CREATE VIEW {view} AS SELECT {names}, {TAG} FROM {made.name}",
            f"CREATE TRIGGER {self.name()} INSTEAD OF INSERT ON {view} BEGIN "
            f"INSERT INTO {made.name} ({names}, {TAG}) VALUES ({values}, new.{TAG}); END",
            f"CREATE TRIGGER {self.name()} INSTEAD OF UPDATE ON {view} BEGIN "
            f"UPDATE {made.name} SET ({names}) = ({values}) WHERE {row}; END",
            f"CREATE TRIGGER {self.name()} INSTEAD OF DELETE ON {view} BEGIN "
            f"DELETE FROM {made.name} WHERE {row}; END",
        ]

    def index(self, table: str, key: str | None) -> str:
        """A CREATE INDEX of any kind on columns that most tables have."""
        what = self._chance.choice([TAG, f"{TAG} DESC", f"abs({TAG})", f"{key or TAG}, {TAG}"])
        unique = "UNIQUE " if self._maybe(0.4) else ""
        where = f" WHERE {TAG} % 2 = 0" if self._maybe(0.3) else ""
        return f"CREATE {unique}INDEX {self.name()} ON {table} ({what}){where}"

    def _key(
        self, *, is_strict: bool, is_rowid: bool
    ) -> tuple[tuple[str | None, str], list[str], list[str]]:
        """(the key if it is one column, its type), the columns, the table's constraint."""
        kind = self._chance.choice(
            ["integer", "integer", "text", "collated", "odd", "pair", "refs"]
        )
        end = self._resolution()
        if kind == "integer":
            plain = is_rowid and self._maybe(0.8)
            declared = "INTEGER" if plain or is_strict else "INT"
            order = self._chance.choice(["", "", " ASC"])
            automatic = " AUTOINCREMENT" if plain and self._maybe(0.3) else ""
            return ("id", declared), [f"id {declared} PRIMARY KEY{order}{end}{automatic}"], []
        if kind == "text":
            return ("k", "TEXT"), [f"k TEXT PRIMARY KEY{end}"], []
        if kind == "collated":
            collation = self._chance.choice(["NOCASE", "RTRIM"])
            return ("k", "TEXT"), [f"k TEXT COLLATE {collation} PRIMARY KEY{end}"], []
        if kind == "odd":
            declared = "BLOB" if is_strict else self._chance.choice(["BLOB", "REAL", "NUMERIC", ""])
            return ("k", declared), [f"k {declared} PRIMARY KEY{end}"], []
        locals_ = [m for m in self._made if m.key_type == "INTEGER"]
        if kind == "refs" and locals_:
            parent = self._chance.choice(locals_)
            parts = [f"a INTEGER REFERENCES {parent.name}{self._actions()}", "b TEXT"]
        else:
            parts = ["a TEXT COLLATE NOCASE" if self._maybe(0.3) else "a TEXT", "b INTEGER"]
        order = "a, b" if self._maybe(0.7) else "b, a"
        return (None, ""), parts, [f"PRIMARY KEY ({order}){end}"]

    def _column(self, name: str, declared: str) -> str:
        chance = self._chance
        parents = [m for m in self._made if m.key]
        if parents and self._maybe(0.35):
            parent = chance.choice(parents)
            to = f" ({parent.key})" if self._maybe(0.5) else ""
            kind = "INTEGER" if "INT" in parent.key_type else declared
            end = f" DEFAULT {chance.choice(['NULL', '1', '2'])}" if self._maybe(0.3) else ""
            return f"{quote(name)} {kind} REFERENCES {parent.name}{to}{self._actions()}{end}"
        text = f"{quote(name)} {declared}".rstrip()
        if self._maybe(0.15):
            text += chance.choice([" COLLATE NOCASE", " COLLATE RTRIM"])
        if self._maybe(0.2):
            text += f" NOT NULL{self._resolution()}"
        if self._maybe(0.4):
            text += f" DEFAULT {chance.choice(_DEFAULTS)}"
        if self._maybe(0.15):
            text += f" UNIQUE{self._resolution()}"
        if self._maybe(0.1):
            text += f" CHECK ({quote(name)} IS NOT {literal(chance.choice(VALUES))})"
        return text

    def _generated(self, columns: list[str], declared: str) -> str:
        made = self._chance.choice([TAG, quote(columns[0])])
        kind = self._chance.choice(["STORED", "VIRTUAL"])
        return f"g {declared} AS (typeof({made}) || '!') {kind}"

    def _actions(self) -> str:
        text = ""
        if self._maybe(0.7):
            text += f" ON DELETE {self._chance.choice(_ACTIONS)}"
        if self._maybe(0.5):
            text += f" ON UPDATE {self._chance.choice(_ACTIONS)}"
        if self._maybe(0.2):
            text += " DEFERRABLE INITIALLY DEFERRED"
        return text

    def _resolution(self) -> str:
        return f" ON CONFLICT {self._chance.choice(_RESOLUTIONS)}" if self._maybe(0.15) else ""

    def _maybe(self, share: float) -> bool:
        return self._chance.random() < share


def _search(made: _Made) -> list[str]:
    """A full-text index, kept by triggers as in https://sqlite.org/fts5.html, 4.4.3."""
    add = f"INSERT INTO search (rowid, {TAG}) VALUES (new.id, new.{TAG});"
    remove = f"INSERT INTO search (search, rowid, {TAG}) VALUES ('delete', old.id, old.{TAG});"
    return [
        f"CREATE VIRTUAL TABLE search USING fts5 ({TAG}, content={made.name}, content_rowid=id)",
        f"CREATE TRIGGER search_insert AFTER INSERT ON {made.name} BEGIN {add} END",
        f"CREATE TRIGGER search_delete AFTER DELETE ON {made.name} BEGIN {remove} END",
        f"CREATE TRIGGER search_update AFTER UPDATE ON {made.name} BEGIN {remove} {add} END",
    ]
