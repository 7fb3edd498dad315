"""`make demo`: it does the main job, says so, leaves nothing behind, and sees what is wrong."""

import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs" / "demo.py"

SENTENCES = (
    "yes  Both files hold the same 15,611 rows in 11 tables.",
    "yes  In phone.db, invoice 413 is the one made there, with exactly its own 2 lines; 414 is the "
    "one made in laptop.db, with its own 3.",
    "yes  In laptop.db, invoice 413 is the one made there, with exactly its own 3 lines; 414 is "
    "the one made in phone.db, with its own 2.",
    "yes  PRAGMA foreign_key_check finds nothing in either file.",
    "yes  What was deleted in phone.db (2 rows) is gone in laptop.db too.",
    "yes  What was deleted in laptop.db (1 row) is gone in phone.db too.",
    "yes  The Email of Customer 2, changed in phone.db, has arrived in laptop.db.",
    "yes  The Composer of Track 2, changed in laptop.db, has arrived in phone.db.",
    "yes  Every row that phone.db had is as it was and under the key it had, but for the 2 that "
    "laptop.db changed or deleted.",
    "yes  Every row that laptop.db had is as it was and under the key it had, but for the 3 that "
    "phone.db changed or deleted.",
)


@pytest.fixture(scope="module")
def demo():
    """The demo as a module."""
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "demo", module)  # its dataclasses look there
        spec.loader.exec_module(module)
        yield module


def test_the_demo_does_the_main_job_and_says_what_held(tmp_path):
    environment = dict(os.environ, TMPDIR=str(tmp_path), SYNCSESSION_SERVER="http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, DEMO],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *said, last = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    assert tuple(said[-len(SENTENCES) :]) == SENTENCES
    assert last.startswith("All of this held. The demo took ")
    assert "  syncsession-server has stopped\n" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_stops_with_a_clear_line_where_a_command_fails(tmp_path, demo, monkeypatch):
    not_a_database = tmp_path / "tests" / "data" / "chinook.sqlite"
    not_a_database.parent.mkdir(parents=True)
    not_a_database.write_text("This is no database. " * 100)
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.setattr(demo, "CHINOOK", not_a_database)
    with pytest.raises(demo.Failed, match=r"init phone\.db .* ended with exit code 1$"):
        demo.run(made)
    assert not (made / "laptop.db").exists()


@pytest.mark.parametrize(
    ("sql", "not_so"),
    [
        pytest.param("SELECT 1", [], id="all-is-well"),
        pytest.param(
            "DELETE FROM InvoiceLine WHERE TrackId = 101",
            ["Both files hold", "In laptop.db, invoice 413", "Every row that laptop.db"],
            id="a-line-is-lost",
        ),
        pytest.param(
            "UPDATE InvoiceLine SET InvoiceId = 413 WHERE InvoiceId = 414",
            ["Both files hold", "In laptop.db, invoice 413"],
            id="lines-are-on-the-wrong-invoice",
        ),
        pytest.param(
            "UPDATE Track SET Name = 'x' WHERE TrackId = 9",
            ["Both files hold", "Every row that laptop.db"],
            id="a-value-differs",
        ),
        pytest.param(
            "UPDATE Genre SET GenreId = 99 WHERE GenreId = 7",
            ["Both files hold", "PRAGMA foreign_key_check", "Every row that laptop.db"],
            id="a-key-changed",
        ),
        pytest.param(
            "INSERT INTO Playlist VALUES (18, 'On-The-Go 1')",
            ["Both files hold", "What was deleted in phone.db", "Every row that laptop.db"],
            id="a-deleted-row-is-there",
        ),
        pytest.param(
            "UPDATE Customer SET Email = 'leonekohler@surfeu.de' WHERE CustomerId = 2",
            ["Both files hold", "The Email of Customer 2", "Every row that laptop.db"],
            id="an-update-is-missing",
        ),
    ],
)
def test_the_demo_sees_that(demo, tmp_path, capsys, sql, not_so):
    """Both devices hold what they must; then something is done to the laptop's file."""
    before, after = {}, {}
    numbers = {demo.PHONE: (414, 2243), demo.LAPTOP: (414, 2244)}
    for name, other in ((demo.PHONE, demo.LAPTOP), (demo.LAPTOP, demo.PHONE)):
        path = tmp_path / name
        shutil.copyfile(demo.CHINOOK, path)
        with closing(sqlite3.connect(path)) as db:
            db.executescript(demo.EDITS[name].sql)
        before[name] = demo.read(path)
        invoice, line = numbers[name]
        with closing(sqlite3.connect(path)) as db:
            db.executescript(_renumbered(demo.EDITS[other].sql, invoice, line))
            if name == demo.LAPTOP:
                db.executescript(sql)
        after[name] = demo.read(path)
    assert demo.verify(before, after) == len(not_so)
    found = [line[7:] for line in capsys.readouterr().out.splitlines() if line[2:4] == "NO"]
    assert all(map(str.startswith, found, not_so)), found


def _renumbered(sql: str, invoice: int, line: int) -> str:
    for old, new in ((413, invoice), (2243, line + 2), (2242, line + 1), (2241, line)):
        sql = sql.replace(str(old), str(new))
    return sql
