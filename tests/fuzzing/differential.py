"""Runs a script on a database with sync and on its twin without, and compares after each step."""

import re
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any

from syncsession_client.identity import Choices
from syncsession_client.protocol.errors import Unsyncable, UnsyncableValue
from syncsession_client.setup import initialize, uninstall
from syncsession_client.statements import quote

from .captured import Peer
from .programs import Outcome, Program
from .script import CONNECTIONS, Script, Step

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing here needs a server

_PART_ROWS = 2  # of those that are there when sync is installed

SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid"
_TRIGGERS = "SELECT 1 FROM sqlite_master WHERE type = 'trigger'"
_SEARCH = "SELECT rowid FROM search WHERE search MATCH '1* OR 2* OR 3* OR 4*'"

_INTERNAL = re.compile("sqlite_stat|search_")  # a search index merges its parts when it likes
_OURS = re.compile(r"_sync(session)?_|sqlite_autoindex__sync")
# Where there is no trigger, SQLite leaves something of a statement that fails so in a transaction:
# rows before the one of a wrong type, the count of deferred violations.
_LEAVING = re.compile(
    "cannot store|datatype mismatch|triggers nested too deep|too many levels of trigger"
    "|FOREIGN KEY constraint failed"
)
_FOREIGN_KEY = "FOREIGN KEY constraint failed"
_FAILING = re.compile(r"\bFAIL\b", re.IGNORECASE)
_REPLACING = re.compile(r"\bREPLACE\b", re.IGNORECASE)


class Difference(AssertionError):
    """With sync, a program saw something else than without it."""


class Refused(Exception):
    """There is nothing to compare, or no more."""


REFUSALS = (Refused, UnsyncableValue)
"""Text that is not UTF-8 is one: sync names it, and stops."""


class Run:
    """A script under way, in a directory of its own. Close it by `with`.

    Raises:
        Refused: sync cannot be installed.
        Difference: the schema differs with sync installed.
    """

    def __init__(self, script: Script, directory: Path) -> None:
        self._script = script
        self._with, self._without = directory / "with.db", directory / "without.db"
        self._stack = ExitStack()
        for path in (self._with, self._without):
            with closing(self._open(path)) as program:
                for sql in script.schema:
                    program.run(sql)
        try:
            initialize(
                self._with, server=NOWHERE, choices=Choices(), user="alice", part_rows=_PART_ROWS
            )
        except Unsyncable as error:
            raise Refused(str(error)) from error
        self._peer = Peer(self._with)
        self._may_fail = False
        self._has_search = any("fts5" in sql for sql in script.schema)
        for sql in script.schema:
            self._note(sql)
        self._failed: set[int] = set()  # connections whose last INSERT did
        self._peer.sync(pull=False)  # a deletion is sent of every row that was there at first
        self._connect()

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def twin(self) -> Program:
        """A connection to the database without sync, to look at what is there. Its other looks too:
        that takes locks, and the schema in.
        """
        return next(twin for ours, twin in self._pairs if twin.can_read and ours.can_read)

    def all(self, steps: Iterable[Step]) -> None:
        """Take the steps, and take sync out."""
        for step in steps:
            self.take(step)
        self.finish()

    def take(self, step: Step) -> None:
        """Take one step.

        Raises:
            AssertionError: capture is wrong, or visible.
        """
        if step.is_check:
            self._check()
            return
        self._note(step.sql)
        ours, twin = self._pairs[step.connection]
        expected, found = twin.run(step.sql), ours.run(step.sql)
        self._check_comparable(found, expected, twin)
        if expected.is_busy != found.is_busy and expected.is_in_transaction:
            # To empty a table that is empty is a write where there is no trigger; an UPDATE that
            # changes nothing is one where there is. Then who began to read before cannot write.
            self._end_transactions()
        elif expected.error and found.error and (expected.is_busy or found.is_busy):
            pass  # which of two faults is seen first depends on what SQLite knows of the schema
        elif not self._is_same(step.connection, found, expected):
            raise Difference(f"{step.sql}\n  without sync: {expected}\n  with sync: {found}")
        if _LEAVING.search(expected.error) and twin.is_in_transaction:
            for program in (ours, twin):
                program.run("ROLLBACK")
        if not twin.can_read:
            return
        self._compare(ours, twin)
        if expected.error and self._may_fail and twin.all(_TRIGGERS):
            raise Refused("what FAIL leaves of a trigger's statement may have been logged, or not")

    def finish(self) -> None:
        """Pull what changed columns ask for, and take sync out: the schema is that of the twin to
        the byte, and so are the rows.
        """
        self._end_transactions()
        self._stack.close()
        synced = self._peer.sync(pull=True)
        uninstall(self._with)
        with closing(self._open(self._with)) as ours, closing(self._open(self._without)) as twin:
            found, expected = ours.all(SCHEMA), twin.all(SCHEMA)
            if found != expected:
                raise Difference(f"after uninstall: {found}\n  in the twin: {expected}")
            # Nothing else: a trigger may have written again what came with the pull.
            self._compare(ours, twin, only=synced)

    def _check_comparable(self, found: Outcome, expected: Outcome, twin: Program) -> None:
        """Leave a script where SQLite itself does otherwise once there is a trigger, whatever it
        does: docs/explanation/capture.md.
        """
        errors = found.error + expected.error
        is_reference = found.error != expected.error and _FOREIGN_KEY in errors
        if is_reference and twin.all("PRAGMA foreign_key_check"):
            raise Refused("a row that mends a broken reference makes up for one that breaks it")
        if "foreign key mismatch" in found.error and "mismatch" not in expected.error:
            raise Refused("a reference to what is no key is noticed in an INSERT of one row too")
        is_unique = "UNIQUE constraint failed" in found.error and not expected.error
        if is_unique and twin.all("PRAGMA recursive_triggers") == [(1,)]:
            raise Refused("a row that takes another's place may be in its own way")

    def _is_same(self, connection: int, found: Outcome, expected: Outcome) -> bool:
        """Whether two outcomes are equal, but for the rowid of an INSERT that failed.

        Without any trigger SQLite sees before it inserts a single row that it references nothing,
        else after it: then last_insert_rowid() is told for a row that is not there.
        """
        is_rowid_same = found.last_insert_rowid == expected.last_insert_rowid
        if is_rowid_same:
            self._failed.discard(connection)
        elif _FOREIGN_KEY in expected.error:
            self._failed.add(connection)
        found = found._replace(last_insert_rowid=expected.last_insert_rowid)
        if self._has_search:  # it writes its parts when it likes, and counts that
            found = found._replace(changes=expected.changes)
        return found == expected and (is_rowid_same or connection in self._failed)

    def _note(self, sql: str) -> None:
        self._may_fail |= bool(_FAILING.search(sql))
        if _REPLACING.search(sql):
            self._peer.keeps_tags = False

    def _check(self) -> None:
        """Python's own SQLite lets go of the file first: two libraries of one process drop each
        other's locks.
        """
        self._end_transactions()
        if self._script.driver == "sqlite3":
            self._stack.close()
            self._peer.sync(pull=False)
            self._connect()
        else:
            self._peer.sync(pull=False)
        self._compare(*self._pairs[0])

    def _end_transactions(self) -> None:
        for pair in self._pairs:
            for program in pair:
                if program.is_in_transaction:
                    program.run("ROLLBACK")

    def _compare(self, ours: Program, twin: Program, only: set[str] | None = None) -> None:
        """The application's schema and every row of its tables, as this connection sees them."""
        schema = twin.all(SCHEMA)
        found = [o for o in ours.all(SCHEMA) if not _OURS.match(o[1])]
        if found != schema:
            raise Difference(f"the schema is {found}\n  in the twin: {schema}")
        for kind, name, *_ in schema:
            is_compared = not _INTERNAL.match(name) if only is None else name in only
            if kind == "table" and is_compared:
                sql = _SEARCH if name == "search" else f"SELECT * FROM {quote(name)}"
                found, expected = (self._read(p, sql) for p in (ours, twin))
                if found != expected:
                    raise Difference(f"{name} holds {found}\n  in the twin: {expected}")

    def _read(self, program: Program, sql: str) -> tuple[list[Any], str]:
        """The rows, sorted; or why there are none: a search index may be broken."""
        outcome = program.run(sql)
        return sorted(outcome.rows), outcome.error

    def _connect(self) -> None:
        self._pairs = [
            (self._kept(self._with), self._kept(self._without)) for _ in range(CONNECTIONS)
        ]

    def _kept(self, path: Path) -> Program:
        return self._stack.enter_context(closing(self._open(path)))

    def _open(self, path: Path) -> Program:
        script = self._script
        return Program(script.driver, path, script.pragmas, is_defensive=script.is_defensive)


def run(script: Script, directory: Path) -> str:
    """What is wrong with capture in this script; nothing where it is right, or cannot be run."""
    try:
        with Run(script, directory) as started:
            started.all(script.steps)
    except REFUSALS:
        return ""
    except Exception as error:  # noqa: BLE001  # whatever it is, a script that raises is a find
        return f"{type(error).__name__}: {error}"
    return ""
