"""What programs do to a device's tables. Every value that they write is a new one, so that it can
be told who wrote it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .tables import LOCAL, TABLES, Query, Table

ODD = [None, 1, 1.0, "1", "", b"\x00", -0.0, 2**63 - 1, "ä\U0001f600"]
"""Values that are easily mistaken for one another."""

FEW = [*"pqrstuvw", None]
"""What is unique, so that devices meet in it."""

FIRST = (
    ("add", "area", 0, 0),
    ("add", "area", 1, 1),
    ("add", "member", 0, 0),
    ("add", "label", 0, 0),
    ("add", "label", 1, 1),
    ("add", "member_label", 1, 1),
    ("add", "setting", 0, 0),
    ("add", "note", 1, 1),
    ("add", "seat", 0, 0),
    ("add", "card", 0, 0),
    ("add", "badge", 1, 1),
    ("add", "kind", 2, 2),
    ("add", "ticket", 0, 0),
    ("add", "tool", 1, 1),
)
"""What is there to begin with, so that a short script has something to change."""


class Choice(NamedTuple):
    """An edit: what to do, in which table, and two numbers that choose rows of those there are."""

    act: str
    table: str
    n: int
    m: int


@dataclass
class Program:
    """A program of one device, in a transaction of it.

    A statement that a constraint refuses changes nothing, and the program goes on, as programs do.
    """

    device: str
    query: Query
    fresh: Callable[[], str]

    def run(self, choice: Choice) -> None:
        """Do what was chosen, if there is anything to do it to."""
        ACTS[choice.act](self, TABLES[choice.table], choice.n, choice.m)

    # What to do

    def add(self, table: Table, n: int, m: int) -> None:
        self._insert("INSERT OR IGNORE", table, self._new(table, n, m))

    def add_at(self, table: Table, n: int, m: int) -> None:
        """Under an integer that the program chooses."""
        values = self._new(table, n, m)
        if table.local:
            values["id"] = n + 1
        self._insert("INSERT OR IGNORE", table, values)

    def change(self, table: Table, n: int, m: int) -> None:
        """One column; where there are two that are nothing but values, one of them."""
        column = "w" if m % 2 and "w" in table.values else "v"
        if key := self._key(table, n):
            sql = f"UPDATE {table.name} SET {column} = ? {self._is(table)}"
            self.query(sql, self.fresh(), *key)

    def change_all(self, table: Table, _: int, __: int) -> None:
        self.query(f"UPDATE {table.name} SET v = v || '+' || ?", self.fresh())

    def set_odd(self, table: Table, n: int, m: int) -> None:
        if "odd" in self._new(table, n, m) and (key := self._key(table, n)):
            sql = f"UPDATE {table.name} SET v = ?, odd = ? {self._is(table)}"
            self.query(sql, self.fresh(), ODD[m % len(ODD)], *key)

    def refer(self, table: Table, n: int, m: int) -> None:
        """Let a row refer to another parent, or to none."""
        key = self._key(table, n)
        for reference in table.references if key else ():
            if reference.columns[0] not in table.key:
                target = self._key(TABLES[reference.parent], m) if m else None
                values = target or [None] * len(reference.columns)
                columns = "".join(f"{column} = ?, " for column in reference.columns)
                sql = f"UPDATE {table.name} SET {columns}v = ? {self._is(table)}"
                self.query(sql, *values, self.fresh(), *key)

    def remove(self, table: Table, n: int, _: int) -> None:
        if key := self._key(table, n):
            self.query(f"DELETE FROM {table.name} {self._is(table)}", *key)

    def replace(self, table: Table, n: int, _: int) -> None:
        """Write a row whole, over the one that is there: the same row with new values."""
        self._overwrite("INSERT OR REPLACE", table, n, "")

    def upsert(self, table: Table, n: int, _: int) -> None:
        self._overwrite(
            "INSERT", table, n, f"ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET v = excluded.v"
        )

    def remove_and_add(self, table: Table, n: int, m: int) -> None:
        """In two statements: under a local key, a new row."""
        if found := self._whole(table, n):
            self.remove(table, n, m)
            self._insert("INSERT", table, found | self._fresh_values(table))

    def move(self, table: Table, n: int, m: int) -> None:
        """Change a key, to one that may be another row's."""
        self._move("OR IGNORE", table, n, m)

    def move_over(self, table: Table, n: int, m: int) -> None:
        """Change a key, and replace the row that has it."""
        self._move("OR REPLACE", table, n, m)

    def swap_keys(self, table: Table, n: int, m: int) -> None:
        one, other = self._key(table, n), self._key(table, m)
        if table.local and one and other and one != other:
            for old, new in ((one[0], -1), (other[0], one[0]), (-1, other[0])):
                self.query(f"UPDATE {table.name} SET id = ? WHERE id = ?", new, old)

    def take(self, table: Table, n: int, m: int) -> None:
        """Have a value that one row may have; of another row here, or instead of it."""
        if table.unique and (key := self._key(table, n)):
            conflict = "OR REPLACE" if m % 3 == 0 else ""
            sql = f"UPDATE {conflict} {table.name} SET {table.unique} = ?, v = ? {self._is(table)}"
            self.query(sql, FEW[m % len(FEW)], self.fresh(), *key)

    def give_ticket(self, table: Table, n: int, m: int) -> None:
        """Let a ticket refer to the row that has a value which one row may have."""
        ticket = TABLES["ticket"]
        columns = [r.columns[0] for r in ticket.references if r.parent == table.name]
        if table.unique and columns and (key := self._key(ticket, n)):
            found = f"SELECT {table.key[0]} FROM {table.name} WHERE {table.unique} = ?"
            sql = f"UPDATE ticket SET {columns[0]} = ({found}), v = ? {self._is(ticket)}"
            self.query(sql, FEW[m % len(FEW)], self.fresh(), *key)

    def swap_values(self, table: Table, n: int, m: int) -> None:
        """Two rows swap what is unique."""
        one, other = self._key(table, n), self._key(table, m)
        if table.unique and one and other and one != other:
            where = self._is(table)
            sql = f"SELECT {table.unique} FROM {table.name} {where}"
            (left,), (right,) = (self.query(sql, *key)[0] for key in (one, other))
            self.query(f"UPDATE {table.name} SET {table.unique} = NULL {where}", *one)
            for value, key in ((left, other), (right, one)):
                sql = f"UPDATE {table.name} SET {table.unique} = ?, v = ? {where}"
                self.query(sql, value, self.fresh(), *key)

    # How

    def _new(self, table: Table, n: int, m: int) -> dict[str, Any]:
        """A new row that refers to what is there; a key of few, so that devices make the same."""
        new: dict[str, Any] = {"v": self.fresh()}
        for reference in table.references:
            is_first = reference.columns[0] == table.columns[0]
            target = self._key(TABLES[reference.parent], n if is_first else m)
            new |= dict(zip(reference.columns, target or [None] * 2, strict=False))
        if table.local:
            new["tag"] = f"{self.device}.{self.fresh()}"
        match table.name:
            case "label":
                new |= {"name": "abcde"[n % 5]}
            case "note":
                new |= {"id": f"note {n % 6}"}
            case "setting":
                new |= {"scope": "xyz"[n % 3], "name": "pq"[m % 2], "w": self.fresh()}
            case "tool":
                new |= {"id": f"tool {n % 4}"}
            case "badge":
                new |= {"id": f"badge {n % 8}"}
            case "kind":
                new |= {"name": f"kind {n % 8}"}
            case "ticket":
                new |= {"id": f"ticket {n % 4}"}
        if table.unique:
            new |= {table.unique: FEW[m % len(FEW)]}
        if table.name in ("area", "label", "setting"):
            new |= {"odd": ODD[m % len(ODD)]}
        return new

    def _fresh_values(self, table: Table) -> dict[str, Any]:
        tag = {"tag": f"{self.device}.{self.fresh()}"} if table.local else {}
        return {"v": self.fresh()} | tag

    def _whole(self, table: Table, n: int) -> dict[str, Any] | None:
        """A row with all that is to be written again."""
        key = self._key(table, n)
        if key is None:
            return None
        columns = list(dict.fromkeys((*table.key, *table.columns)))
        (found,) = self.query(
            f"SELECT {', '.join(columns)} FROM {table.name} {self._is(table)}", *key
        )
        return dict(zip(columns, found, strict=True))

    def _overwrite(self, insert: str, table: Table, n: int, tail: str) -> None:
        if found := self._whole(table, n):
            self._insert(insert, table, found | {"v": self.fresh()}, tail)

    def _insert(self, insert: str, table: Table, values: dict[str, Any], tail: str = "") -> None:
        if any(values.get(column, 0) is None for column in table.key):
            return  # there is no parent that it could be of
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        self.query(
            f"{insert} INTO {table.name} ({names}) VALUES ({marks}) {tail}", *values.values()
        )

    def _move(self, conflict: str, table: Table, n: int, m: int) -> None:
        key = self._key(table, n)
        target = m + 1 if table.local else self._new(table, m, n).get(table.key[-1])
        if key and target is not None:
            sql = f"UPDATE {conflict} {table.name} SET {table.key[-1]} = ? {self._is(table)}"
            self.query(sql, target, *key)

    def _key(self, table: Table, n: int) -> tuple[Any, ...] | None:
        """The key of one of the rows that are there, in an order that all devices have."""
        order = "tag" if table.name in LOCAL else ", ".join(table.key)
        found = self.query(f"SELECT {', '.join(table.key)} FROM {table.name} ORDER BY {order}")
        return found[n % len(found)] if found else None

    def _is(self, table: Table) -> str:
        return "WHERE " + " AND ".join(f"{column} = ?" for column in table.key)


ACTS: dict[str, Callable[[Program, Table, int, int], None]] = {
    act.__name__: act
    for act in (
        Program.add,
        Program.add_at,
        Program.change,
        Program.change_all,
        Program.set_odd,
        Program.refer,
        Program.remove,
        Program.replace,
        Program.upsert,
        Program.remove_and_add,
        Program.move,
        Program.move_over,
        Program.swap_keys,
        Program.take,
        Program.give_ticket,
        Program.swap_values,
    )
}


def set_back(query: Query, row: Sequence[str], v: str) -> None:
    """Give a row the value that it had before."""
    table = TABLES[row[0]]
    columns = ("tag",) if table.local else table.key
    where = " AND ".join(f"{column} = ?" for column in columns)
    query(f"UPDATE {table.name} SET v = ? WHERE {where}", v, *row[1:])


def correct(query: Query, refused: Mapping[str, Any], fresh: str) -> None:
    """What a person makes of a row that the server does not take, as `list_rejects` tells it: a
    value which nobody has. What refers to a row that is gone is of no use.
    """
    table = TABLES[refused["table"]]
    where = "WHERE " + " AND ".join(f"{column} = ?" for column in refused["key"])
    key = refused["key"].values()
    if refused["code"] == "unique_taken":
        query(f"UPDATE {table.name} SET {table.unique} = ? {where}", fresh, *key)
    elif refused["code"] == "missing_reference":
        query(f"DELETE FROM {table.name} {where}", *key)
