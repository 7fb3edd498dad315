"""The commands of README.md and docs/tutorial.md do what the text says, typed into a real bash."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from contextlib import closing, suppress
from pathlib import Path

from processes import program

ROOT = Path(__file__).parents[2]
DEFAULT_PORT = "8484"
DEADLINE_SECONDS = 60


class Terminal:
    """A bash in a directory; a line is typed when what it needs is there, as a person would."""

    def __init__(self, directory: Path) -> None:
        environment = {n: v for n, v in os.environ.items() if not n.startswith("SYNCSESSION_")}
        programs = Path(sys.executable).parent
        self._bash = subprocess.Popen(
            ["bash"],
            cwd=directory,
            env=environment
            | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "SYNCSESSION_PORT": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._watchdog = threading.Timer(DEADLINE_SECONDS, self._signal, [signal.SIGKILL])
        self._watchdog.start()
        self._port = DEFAULT_PORT
        self.last_words = ""

    def type(self, line: str) -> str:
        """Type a line; what was printed until it had run, or until the server in it was ready."""
        self._enter(line.replace(DEFAULT_PORT, self._port))
        if not line.startswith("syncsession-server run"):
            return self._read_until_done()
        printed = self._read_until("ready on http://")
        self._port = re.findall(r"ready on http://[\d.]+:(\d+)", printed)[-1]
        self._enter(f"export SYNCSESSION_PORT={self._port}")
        return printed

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything that was started here, and wait until it has."""
        self._signal(signal.SIGTERM)
        with self._bash.stdin, self._bash.stdout:
            self.last_words = self._bash.stdout.read()  # ends when the last process is gone
        self._bash.wait(DEADLINE_SECONDS)
        self._watchdog.cancel()
        self._watchdog.join()

    def _enter(self, line: str) -> None:
        self._bash.stdin.write(line + "\n")
        self._bash.stdin.flush()

    def _read_until_done(self) -> str:
        mark = f"done-{uuid.uuid4()}"
        self._enter(f"echo {mark}")
        return self._read_until(mark).replace(f"{mark}\n", "")

    def _read_until(self, text: str) -> str:
        printed = ""
        while text not in printed:
            line = self._bash.stdout.readline()
            assert line, f"bash ended before it printed {text!r}: {printed}"
            printed += line
        return printed

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._bash.pid, number)


def blocks(path: Path) -> list[str]:
    """The ```sh blocks of a page, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S)


def rows(database: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


def make_application_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
            CREATE TABLE book (
                isbn TEXT PRIMARY KEY,
                author_id INTEGER REFERENCES author (id),
                price NUMERIC
            );
            INSERT INTO author (name) VALUES ('Ada'), ('Émile');
            INSERT INTO book VALUES ('1', 1, 9.5), ('2', 2, NULL), ('3', 2, 'x');
            """
        )


def test_the_quickstart_is_one_block_of_five_lines():
    (block,) = blocks(ROOT / "README.md")
    assert len(block.splitlines()) == 5


def test_the_quickstart_makes_a_second_device_with_the_same_rows(tmp_path):
    make_application_database(tmp_path / "app.db")
    (block,) = blocks(ROOT / "README.md")
    with Terminal(tmp_path) as bash:
        bash.type("set -e")
        for line in block.splitlines():
            bash.type(line)
    for sql in ("SELECT * FROM author ORDER BY id", "SELECT * FROM book ORDER BY isbn"):
        assert rows(tmp_path / "laptop.db", sql) == rows(tmp_path / "app.db", sql) != []


def test_closing_the_terminal_stops_the_server(tmp_path):
    with Terminal(tmp_path) as bash:
        bash.type("syncsession-server run &")
    assert "syncsession-server has stopped" in bash.last_words


def test_the_tutorial_ends_with_both_devices_in_step(tmp_path):
    program("sqlite3")
    printed = ""
    lines = "".join(blocks(ROOT / "docs" / "tutorial.md")).splitlines()
    clean_up = len(lines) - 2  # the last kill, and uninstall
    with Terminal(tmp_path) as bash:
        for line in lines[:clean_up]:
            printed += bash.type(line)
        assert rows(tmp_path / "laptop.db", "SELECT * FROM item ORDER BY title") == [
            (3, 1, "Eggs"),
            (1, 1, "Milk"),
            (4, 1, "Salt"),
        ]
        assert rows(tmp_path / "phone.db", "SELECT * FROM item ORDER BY title") == [
            (4, 1, "Eggs"),
            (1, 1, "Milk"),
            (3, 1, "Salt"),
        ]
        for line in lines[clean_up:]:
            printed += bash.type(line)
    for device in ("phone.db", "laptop.db"):
        assert rows(tmp_path / device, "SELECT * FROM list") == [(1, "Food")]
    assert {"list", "item"} == {
        name for (name,) in rows(tmp_path / "phone.db", "SELECT name FROM sqlite_master")
    }
    for line in outputs(ROOT / "docs" / "tutorial.md"):
        assert line in printed


def outputs(path: Path) -> list[str]:
    """The lines of a page that show what a command prints, where they name no address."""
    shown = re.findall(r"^    (\w.*)$", path.read_text(encoding="utf-8"), re.M)
    commands = ("python3 ", "pip ", ". ")
    return [s for s in shown if not s.startswith(commands) and "http://" not in s]
