"""The main job on real data, end to end: `make demo`.

A real server, two devices, and a program that knows nothing of sync. Every command is printed as it
is run, with its output and its time. What came out is then checked and said in plain sentences;
the exit code is 1 when something is not as it must be.
"""

import hashlib
import os
import queue
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

CHINOOK = Path(__file__).parents[1] / "tests" / "data" / "chinook.sqlite"
DEADLINE = 120.0
"""Seconds that any one command may take, and the server to start or stop."""

PHONE, LAPTOP = "phone.db", "laptop.db"

APPLICATION = """\
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("PRAGMA foreign_keys = ON")
database.executescript(sys.stdin.read())
database.close()
"""


@dataclass(frozen=True)
class Edits:
    """What the application on one device does while it is offline."""

    sql: str
    customer: int
    lines: list[tuple[int, float, int]]
    """(track, price, quantity) of the lines of the new invoice, by track."""
    updated: tuple[str, tuple[int, ...], str, str]
    """(table, key, column, new value)"""
    deleted: set[tuple[str, tuple[int, ...]]]
    """(table, key)"""


EDITS = {
    PHONE: Edits(
        sql="""\
BEGIN;
INSERT INTO Invoice (InvoiceId, CustomerId, InvoiceDate, BillingCity, BillingCountry, Total)
VALUES (413, 2, '2026-01-09 00:00:00', 'Stuttgart', 'Germany', 1.98);
INSERT INTO InvoiceLine (InvoiceLineId, InvoiceId, TrackId, UnitPrice, Quantity)
VALUES (2241, 413, 6, 0.99, 1), (2242, 413, 7, 0.99, 1);
UPDATE Customer SET Email = 'leonie@example.com' WHERE CustomerId = 2;
DELETE FROM PlaylistTrack WHERE PlaylistId = 18;
DELETE FROM Playlist WHERE PlaylistId = 18;
COMMIT;
""",
        customer=2,
        lines=[(6, 0.99, 1), (7, 0.99, 1)],
        updated=("Customer", (2,), "Email", "leonie@example.com"),
        deleted={("PlaylistTrack", (18, 597)), ("Playlist", (18,))},
    ),
    LAPTOP: Edits(
        sql="""\
BEGIN;
INSERT INTO Invoice (InvoiceId, CustomerId, InvoiceDate, BillingCity, BillingCountry, Total)
VALUES (413, 4, '2026-01-09 00:00:00', 'Oslo', 'Norway', 3.96);
INSERT INTO InvoiceLine (InvoiceLineId, InvoiceId, TrackId, UnitPrice, Quantity)
VALUES (2241, 413, 100, 0.99, 1), (2242, 413, 101, 0.99, 1), (2243, 413, 102, 0.99, 2);
UPDATE Track SET Composer = 'Stefan Kaufmann' WHERE TrackId = 2;
DELETE FROM PlaylistTrack WHERE PlaylistId = 1 AND TrackId = 3402;
COMMIT;
""",
        customer=4,
        lines=[(100, 0.99, 1), (101, 0.99, 1), (102, 0.99, 2)],
        updated=("Track", (2,), "Composer", "Stefan Kaufmann"),
        deleted={("PlaylistTrack", (1, 3402))},
    ),
}
"""Both make an invoice 413, and lines from 2241 on: the next free integers of either file."""

Key = tuple[Any, ...]
Row = dict[str, Any]


class Failed(Exception):
    """A command failed, or something did not happen in time."""


@dataclass(frozen=True)
class Contents:
    """What an application sees in its file."""

    rows: dict[str, dict[Key, Row]]
    """By table and key."""
    keys: dict[str, tuple[str, ...]]
    """The columns of each table's key."""
    parents: dict[str, dict[str, str]]
    """The table that each referencing column of a table points to."""
    broken: int
    """References that point to nothing."""

    def identity(self, table: str, key: Key) -> str:
        """A row's values, with its parents' values for its references, and no local integers."""
        row, parents, own = self.rows[table].get(key), self.parents[table], self.keys[table]
        if row is None:
            return f"no row {key}"
        values = [
            self.identity(parents[name], (value,))
            if name in parents and value is not None
            else repr(value)
            for name, value in row.items()
            if name in parents or len(own) > 1 or name not in own
        ]
        return hashlib.sha256(repr(values).encode()).hexdigest()

    def identities(self) -> Counter[tuple[str, str]]:
        """Every row of every table, by what it says."""
        return Counter((t, self.identity(t, key)) for t, rows in self.rows.items() for key in rows)


def read(path: Path) -> Contents:
    """The application's tables of the file; what sync keeps beside them is left out."""
    with closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        names = [
            name
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if not name.startswith(("_sync", "sqlite_"))
        ]
        rows, keys, parents = {}, {}, {}
        for table in names:
            found = db.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
            key = [c["name"] for c in sorted(found, key=lambda c: int(c["pk"])) if c["pk"]]
            keys[table] = tuple(key)
            parents[table] = {
                r["from"]: r["table"]
                for r in db.execute("SELECT * FROM pragma_foreign_key_list(?)", (table,))
            }
            rows[table] = {
                tuple(row[name] for name in key): dict(row)
                for row in db.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # its own name
            }
        return Contents(rows, keys, parents, len(db.execute("PRAGMA foreign_key_check").fetchall()))


def main() -> int:
    """Run the job in a directory of its own, which is gone afterwards; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="syncsession-demo-") as made:
            before, after = run(Path(made))
            failures = verify(before, after)
    except Failed as failure:
        print(f"\nFailed: {failure}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - started
    if failures:
        print(f"\nFailed: {failures} of these did not hold.", file=sys.stderr)
        return 1
    print(f"\nAll of this held. The demo took {seconds:.1f} s.")
    return 0


def run(directory: Path) -> tuple[dict[str, Contents], dict[str, Contents]]:
    """The whole job; what each device held before its last syncs, and after them."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("SYNCSESSION_")}
    scripts = Path(sys.executable).parent
    environment["PATH"] = f"{scripts}{os.pathsep}{environment.get('PATH', os.defpath)}"
    shell = Shell(directory, environment)
    files = {name: directory / name for name in (PHONE, LAPTOP)}

    say("A server on this machine, with its own SQLite file; and a token for one user of a tenant.")
    with server(shell) as url:
        token = "syncsession-server token create --tenant acme --user alice"  # noqa: S105
        shell.environment["SYNCSESSION_TOKEN"] = shell.run(token, keep="SYNCSESSION_TOKEN").strip()

        say("The phone: a database that exists already (Chinook, a shop that sells music).")
        shell.note(f"cp {CHINOOK.relative_to(CHINOOK.parents[2])} {PHONE}")
        shutil.copyfile(CHINOOK, files[PHONE])
        shell.run(f"syncsession-client init {PHONE} --server {url}")
        shell.run(f"syncsession-client sync {PHONE}")

        say("The laptop: a second device, made from nothing.")
        shell.run(f"syncsession-client clone {LAPTOP} --server {url}")

        (directory / "app.py").write_text(APPLICATION)
        for name, edits in EDITS.items():
            say(f"Offline, an application that knows nothing of sync writes plain SQL to {name}.")
            shell.run(f"python app.py {name}", stdin=edits.sql)
        before = {name: read(path) for name, path in files.items()}

        say("Both come online. The phone learns of the laptop's edits when it syncs once more.")
        for name in (PHONE, LAPTOP, PHONE):
            shell.run(f"syncsession-client sync {name}")
        after = {name: read(path) for name, path in files.items()}

        say("The two invoices, as each device has them now.")
        for name, contents in after.items():
            show_invoices(name, contents)
        say("The server stops.")
    return before, after


@dataclass
class Shell:
    """Runs commands in one directory, and prints each with its output and its time."""

    directory: Path
    environment: dict[str, str]

    def run(self, command: str, *, stdin: str = "", keep: str = "") -> str:
        """What the command prints on stdout; `keep` names a variable that takes it instead.

        Raises:
            Failed: it ended with another code than 0, or not in time.
        """
        self.note(f"export {keep}=$({command})" if keep else command)
        if stdin:
            show(stdin)
        start = time.monotonic()
        try:
            done = subprocess.run(
                self.arguments(command),
                cwd=self.directory,
                env=self.environment,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{command} took longer than {DEADLINE:.0f} s") from error
        show(done.stderr if keep else done.stdout + done.stderr)
        print(f"  ({time.monotonic() - start:.2f} s)", flush=True)
        if done.returncode:
            raise Failed(f"{command} ended with exit code {done.returncode}")
        return done.stdout

    def note(self, command: str) -> None:
        """Print a command."""
        print(f"\n$ {command}", flush=True)

    def arguments(self, command: str) -> list[str]:
        """The command's words, its program found beside this Python."""
        name, *rest = shlex.split(command)
        found = shutil.which(name, path=self.environment["PATH"])
        if found is None:
            raise Failed(f"there is no {name} beside {sys.executable}: run make demo")
        return [found, *rest]


@contextmanager
def server(shell: Shell) -> Iterator[str]:
    """A server on a free port of this machine, stopped by SIGTERM at the end; its URL."""
    command = "syncsession-server run --port 0"
    shell.note(f"{command} &")
    start = time.monotonic()
    with subprocess.Popen(
        shell.arguments(command),
        cwd=shell.directory,
        env=shell.environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_read_lines, args=(process.stderr, lines), daemon=True)
        reader.start()
        try:
            url = _wait_for(r"syncsession-server is ready on (http://\S+)", lines)
            print(f"  ({time.monotonic() - start:.2f} s)", flush=True)
            yield url
            process.terminate()
            _wait_for(r"(syncsession-server has stopped)", lines)
            if process.wait(DEADLINE):
                raise Failed(f"the server ended with exit code {process.returncode}")
        finally:
            process.kill()  # it has ended already, unless something failed
            process.wait(DEADLINE)
            reader.join(DEADLINE)


def _read_lines(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    for line in stream or ():
        lines.put(line)
    lines.put(None)


def _wait_for(pattern: str, lines: queue.Queue[str | None]) -> str:
    """What `pattern` finds in the server's lines, which are printed as they come."""
    end = time.monotonic() + DEADLINE
    try:
        while (line := lines.get(timeout=max(0.0, end - time.monotonic()))) is not None:
            show(line)
            if found := re.search(pattern, line):
                return found[1]
    except queue.Empty:
        raise Failed(f"the server did not say {pattern!r} in {DEADLINE:.0f} s") from None
    raise Failed(f"the server ended before it said {pattern!r}")


def say(text: str) -> None:
    """Begin a step."""
    print(f"\n# {text}", flush=True)


def show(text: str) -> None:
    """Print what a program read or wrote, a little to the right."""
    for line in text.splitlines():
        print(f"  {line}")


def show_invoices(name: str, contents: Contents) -> None:
    """Print the new invoices of a device, each with its lines."""
    print(f"\n  {name}")
    for key, invoice in sorted(contents.rows["Invoice"].items()):
        if key > (412,):
            who = contents.rows["Customer"][(invoice["CustomerId"],)]
            print(f"    invoice {key[0]}: {who['FirstName']} {who['LastName']}, {invoice['Total']}")
            for number, line in lines_of(contents, key[0]):
                track = contents.rows["Track"][(line["TrackId"],)]
                print(
                    f"      line {number}: {line['Quantity']} x {line['UnitPrice']} {track['Name']}"
                )


def lines_of(contents: Contents, invoice: int) -> list[tuple[int, Row]]:
    """The lines of an invoice with their numbers, in order."""
    lines = contents.rows["InvoiceLine"].items()
    return [(key[0], row) for key, row in sorted(lines) if row["InvoiceId"] == invoice]


def verify(before: dict[str, Contents], after: dict[str, Contents]) -> int:
    """Print each thing that must hold, and whether it does; how many do not."""
    say("What was checked in the two files.")
    print()
    checks: Iterable[Callable[..., Iterator[tuple[str, bool]]]] = (
        same_rows,
        invoices,
        references,
        deletes,
        updates,
        own_keys,
    )
    failures = 0
    for sentence, holds in (result for check in checks for result in check(before, after)):
        print(f"  {'yes' if holds else 'NO '}  {sentence}")
        failures += not holds
    return failures


def same_rows(_: Any, after: dict[str, Contents]) -> Iterator[tuple[str, bool]]:
    """Content is compared, not integers: each device may use its own."""
    phone, laptop = after[PHONE].identities(), after[LAPTOP].identities()
    tables = len(after[PHONE].rows)
    yield (
        f"Both files hold the same {phone.total():,} rows in {tables} tables.",
        phone == laptop and after[PHONE].rows.keys() == after[LAPTOP].rows.keys(),
    )


def invoices(_: Any, after: dict[str, Contents]) -> Iterator[tuple[str, bool]]:
    """On each device its own invoice is 413, and the other's came as 414."""
    for name, own, other in sides():
        contents = after[name]
        found = {
            key[0]: (row["CustomerId"], goods(contents, key[0]))
            for key, row in contents.rows["Invoice"].items()
            if key > (412,)
        }
        theirs = EDITS[other]
        yield (
            f"In {name}, invoice 413 is the one made there, with exactly its own "
            f"{len(own.lines)} lines; 414 is the one made in {other}, with its own "
            f"{len(theirs.lines)}.",
            found == {413: (own.customer, own.lines), 414: (theirs.customer, theirs.lines)},
        )


def goods(contents: Contents, invoice: int) -> list[tuple[Any, ...]]:
    """(track, price, quantity) of the lines of an invoice, by track."""
    lines = (row for _, row in lines_of(contents, invoice))
    return sorted((row["TrackId"], row["UnitPrice"], row["Quantity"]) for row in lines)


def references(_: Any, after: dict[str, Contents]) -> Iterator[tuple[str, bool]]:
    """Every declared foreign key finds its row."""
    yield (
        "PRAGMA foreign_key_check finds nothing in either file.",
        not any(contents.broken for contents in after.values()),
    )


def deletes(_: Any, after: dict[str, Contents]) -> Iterator[tuple[str, bool]]:
    """A row deleted on one device is gone on both."""
    for name, own, other in sides():
        rows = "1 row" if len(own.deleted) == 1 else f"{len(own.deleted)} rows"
        yield (
            f"What was deleted in {name} ({rows}) is gone in {other} too.",
            not any(key in c.rows[table] for table, key in own.deleted for c in after.values()),
        )


def updates(_: Any, after: dict[str, Contents]) -> Iterator[tuple[str, bool]]:
    """A value changed on one device is the same on both."""
    for name, own, other in sides():
        table, key, column, value = own.updated
        yield (
            f"The {column} of {table} {key[0]}, changed in {name}, has arrived in {other}.",
            all(c.rows[table].get(key, {}).get(column) == value for c in after.values()),
        )


def own_keys(before: dict[str, Contents], after: dict[str, Contents]) -> Iterator[tuple[str, bool]]:
    """A row stays under its key, with its values, unless the other device changed it."""
    for name, _, other in sides():
        changed = {
            (table, key)
            for table, rows in before[name].rows.items()
            for key, row in rows.items()
            if after[name].rows[table].get(key) != row
        }
        theirs = EDITS[other].deleted | {EDITS[other].updated[:2]}
        yield (
            f"Every row that {name} had is as it was and under the key it had, but for the "
            f"{len(theirs)} that {other} changed or deleted.",
            changed == theirs,
        )


def sides() -> Iterator[tuple[str, Edits, str]]:
    """Each device, what was edited there, and the other device."""
    yield PHONE, EDITS[PHONE], LAPTOP
    yield LAPTOP, EDITS[LAPTOP], PHONE


if __name__ == "__main__":
    sys.exit(main())
