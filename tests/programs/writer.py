"""A program that keeps notes, with Python's own sqlite3, and knows nothing of sync.

    writer.py DATABASE ROUNDS STOP

It edits in rounds, at most so many, and ends after the one in which the file STOP is there. It
prints what each statement answered, then the rows as it reads them. The same rounds on the same
rows print the same lines. The writers in other languages do the same.
"""

import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.05
KEPT_ROUNDS = 6


class Program:
    """The connection, and what it is answered."""

    def __init__(self, db: sqlite3.Connection, n: int) -> None:
        self.db, self.n = db, n

    def run(self, sql: str, *values: Any) -> int:
        """Print what a statement answers; the last id."""
        try:
            cursor = self.db.execute(sql, values)
            print(self.n, cursor.fetchall(), cursor.rowcount)
        except sqlite3.IntegrityError as error:
            print(self.n, error)
            return 0
        return cursor.lastrowid or 0

    def one_round(self) -> None:
        first, second = self.insert()
        self.update(second)
        self.replace()
        self.change_keys(first, second)
        self.undo()
        self.fail()
        self.delete()

    def insert(self) -> tuple[int, int]:
        n = self.n
        with self.db:
            self.run(
                "INSERT INTO note VALUES (?, ?, ?, ?)", f"note {n}", f"title {n}", f"ünï ☃ {n}", n
            )
            add = "INSERT INTO item (note_id, v) VALUES (?, ?)"
            first, second = (self.run(add, f"note {n}", n + i) for i in range(2))
            print(n, first, second)
            self.db.executemany(
                "INSERT INTO tag VALUES (?, ?, ?)",
                [(first, "Blue", n / 8), (first, "red", -0.0), (second, "blue", 3)],
            )
        values = (None, 2**53 + n, 1 / n, "text\n'quoted'", bytes([0, 255, n % 256]), "")
        for i, value in enumerate(values):
            self.run("INSERT INTO setting VALUES (?, ?, ?)", f"scope {n}", f"name {i}", value)
        return first, second

    def update(self, second: int) -> None:
        self.run(
            "INSERT INTO note (id, n) VALUES ('counter', 1) "
            "ON CONFLICT (id) DO UPDATE SET n = n + 1 RETURNING n"
        )
        self.run("INSERT INTO note (id) VALUES ('counter') ON CONFLICT DO NOTHING")
        with self.db:
            self.run("UPDATE item SET v = v + 1 WHERE id % 3 = ?", self.n % 3)
            self.run("UPDATE tag SET weight = NULL WHERE item_id = ?", second)
            self.run("UPDATE note SET body = body WHERE id = ?", f"note {self.n}")
        self.db.execute("UPDATE inbox SET is_read = 1 WHERE is_read = 0")
        self.db.commit()

    def replace(self) -> None:
        n = self.n
        case = "state" if n % 2 else "STATE"
        self.run("INSERT OR REPLACE INTO setting VALUES ('all', ?, ?)", case, n)
        if n % 3 == 0:  # takes the title of another note, which goes
            self.run("REPLACE INTO note (id, title) VALUES (?, ?)", f"c {n}", f"title {n - 1}")
        if n % 5 == 0:
            self.run("UPDATE OR REPLACE note SET title = 'fifth' WHERE id = ?", f"note {n}")
        self.db.commit()

    def change_keys(self, first: int, second: int) -> None:
        n = self.n
        with self.db:
            self.run("UPDATE note SET id = ? WHERE id = ?", f"moved {n}", f"note {n - 4}")
            self.run("UPDATE setting SET name = upper(name) WHERE scope = ?", f"scope {n}")
        with self.db:
            for old, new in ((first, -1), (second, first), (-1, second)):
                self.run("UPDATE item SET id = ? WHERE id = ?", new, old)
        if n % 4 == 0:
            self.run("UPDATE item SET id = id + 50 WHERE id = ?", second)
            self.db.commit()

    def undo(self) -> None:
        self.db.execute("DELETE FROM item")
        self.db.execute("UPDATE note SET n = 0, title = NULL")
        self.run("INSERT INTO note (id) VALUES ('undone')")
        self.db.rollback()
        with self.db:
            self.run("INSERT INTO note (id) VALUES (?)", f"kept {self.n}")
            self.db.execute("SAVEPOINT part")
            self.db.execute("DELETE FROM tag")
            self.db.execute("ROLLBACK TO part")
            self.db.execute("RELEASE part")

    def fail(self) -> None:
        n = self.n
        with self.db:
            self.run("UPDATE note SET n = n + 1 WHERE id = ?", f"note {n}")
            self.run("INSERT INTO note (id, n) VALUES (?, 1), (?, -1)", f"no {n}", f"bad {n}")
            self.run("INSERT OR IGNORE INTO note (id) VALUES ('counter'), (?)", f"kept {n}")
            self.run("INSERT INTO item (note_id) VALUES ('nobody')")

    def delete(self) -> None:
        old = self.n - KEPT_ROUNDS
        with self.db:
            self.run("DELETE FROM note WHERE id IN (?, ?)", f"moved {old}", f"kept {old}")
            self.run("DELETE FROM setting WHERE scope = ?", f"scope {old}")
        with self.db:
            self.run("DELETE FROM setting WHERE scope = 'all'")
            self.run("INSERT INTO setting VALUES ('all', 'state', ?)", self.n)


def main(database: str, rounds: str, stop: str) -> None:
    with closing(sqlite3.connect(database, timeout=5)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        for n in range(1, int(rounds) + 1):
            Program(db, n).one_round()
            print("round", n, flush=True)
            if Path(stop).exists():
                break
            time.sleep(PAUSE_SECONDS)
        for table in ("note", "item", "tag", "setting"):
            for row in db.execute(f"SELECT * FROM {table} ORDER BY 1, 2"):
                if not str(row[0]).startswith("other"):
                    print(table, row)


main(*sys.argv[1:])
