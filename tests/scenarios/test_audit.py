"""The examples of docs/how-to/audit.md, run as they stand there, on a database that has it all."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import SECONDS, Device, Server, World, serving

from syncsession_server.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "audit.md"
NOTE = "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)"


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which the table of the page is called as on the page."""
    database = f"sqlite:///{tmp_path_factory.mktemp('audit') / 'server.db'}"
    with serving(Settings(database=database, migrate=True)) as server:
        yield server


@pytest.fixture
def app(own_server: Server, tmp_path: Path) -> Device:
    """Notes that are in step, edited, deleted, held back, and of which an edit has lost."""
    world = World(own_server, tmp_path)
    device = world.device("app.db", NOTE)
    device.put(
        "INSERT INTO note VALUES (?, ?)",
        [(1, "in step"), (2, "gone"), (3, "theirs"), (4, "edited"), (5, "lost")],
    )
    device.sync()
    other = device.clone("other.db")
    device.execute("UPDATE note SET body = 'edit that lost' WHERE id = 5")
    device.sync()
    other.execute("UPDATE note SET body = 'edit that won' WHERE id = 5")
    other.sync()
    device.execute("DELETE FROM note WHERE id = 2")
    device.execute("UPDATE _syncsession_state SET user_id = 'bob'")
    device.execute("UPDATE note SET body = 'of bob' WHERE id = 3")
    device.execute("UPDATE _syncsession_state SET user_id = 'alice'")
    device.sync()
    device.execute("UPDATE note SET body = 'edited again' WHERE id = 4")
    return device


def printed(device: Device, *command: str) -> list[str]:
    done = subprocess.run(
        command,
        cwd=device.path.parent,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_every_example_of_the_shell_shows_what_the_page_says(app):
    shown = [printed(app, "bash", "-c", block) for block in blocks("sh")]
    rows, deleted, counts, edits, refused, tried, lost = shown
    assert rows[0] == "id|body|modified_by_user_id|modified_at_utc|is_dirty|sync_session"
    assert len(rows) == 1 + 4
    assert re.fullmatch(r"4\|edited again\|alice\|\S+Z\|1\|", rows[1])
    assert re.fullmatch(r"1\|in step\|alice\|\S+Z\|0\|1", rows[-1])
    assert re.fullmatch(r"2\|alice\|\S+Z", *deleted)
    assert re.fullmatch(r"note\|2\|\S+Z\|1", *counts)
    assert edits == ["note|4|alice"]
    assert re.fullmatch(r"1\|forbidden_modifier\|it was modified by bob.*\|of bob", *refused)
    assert tried == []
    assert re.fullmatch(r"1\|edit that lost\|alice\|\S+Z", *lost)


def test_a_row_whose_entry_was_deleted_is_tried_again(app):
    (example,) = (block for block in blocks("sh") if "DELETE" in block)
    printed(app, "bash", "-c", example)
    assert app.sync().pushed.rejected_rows == 1


def test_the_example_in_perl_shows_what_is_pending(app):
    (program,) = blocks("perl")
    shown = printed(app, "perl", "-e", program)
    assert sorted(shown) == ["note 3 by bob, held back", "note 4 by alice"]
