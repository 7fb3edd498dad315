"""Setting up a database that has many rows: they become dirty part by part."""

from collections.abc import Callable
from functools import partial

import pytest
from support import Device, World

from syncsession_client import backfill
from syncsession_client.identity import Choices
from syncsession_client.setup import initialize
from syncsession_client.store import DeviceStore

FAMILY = (
    "CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT, mentor INTEGER REFERENCES author)",
    "CREATE TABLE book (isbn TEXT PRIMARY KEY COLLATE NOCASE, author INTEGER REFERENCES author)",
    "CREATE TABLE copy (isbn TEXT COLLATE NOCASE, shelf BLOB, n REAL,"
    " PRIMARY KEY (isbn, shelf DESC, n))",
    "CREATE TABLE liked (author INTEGER REFERENCES author, isbn TEXT, PRIMARY KEY (author, isbn))"
    " WITHOUT ROWID",
)
AUTHORS = [(i, f"author {i}", 12 - i if i != 6 else None) for i in range(-3, 12) if i]
BOOKS = [(isbn, i + 1) for i, isbn in enumerate("bCAdfEgHiJ")]
COPIES = [
    (isbn, shelf, n) for isbn in "bCA" for shelf in (1, "1", b"1", 2.5, "x") for n in (0, -1.5)
]
LIKED = [(author, isbn) for author in (1, 5, 9, -3) for isbn in "xyz"]
TABLES = ("author", "book", "copy", "liked")


@pytest.fixture
def device(world: World) -> Device:
    world.leave_references("author", "book", "liked")  # some lead to nobody
    made = world.bare("a.db", *FAMILY)
    made.put("INSERT INTO author VALUES (?, ?, ?)", AUTHORS)
    made.put("INSERT INTO book VALUES (?, ?)", BOOKS)
    made.put("INSERT INTO copy VALUES (?, ?, ?)", COPIES)
    made.put("INSERT INTO liked VALUES (?, ?)", LIKED)
    return made


@pytest.fixture
def meanwhile(monkeypatch) -> Callable[..., None]:
    """Lets something happen after each part, one thing after the other."""
    monkeypatch.setattr(backfill, "LOCK_SECONDS", 0)

    def let(*acts: Callable[[], object]) -> None:
        waiting = list(acts)
        monkeypatch.setattr(backfill, "sleep", lambda _: waiting.pop(0)() if waiting else None)

    return let


def begin(device: Device, part_rows: int = 3) -> int:
    done = initialize(
        device.path, server=device.server, choices=Choices(), user="alice", part_rows=part_rows
    )
    return done.rows


def check_that_all_arrives(device: Device) -> None:
    device.sync()
    other = device.clone("b.db")
    assert other.identities() == device.identities()
    for table in TABLES:
        count = f"SELECT count(*) FROM {table}"
        assert other.value(count) == device.value(count)


@pytest.mark.parametrize("part_rows", [1, 3, 14, 66, 1000])
def test_every_row_becomes_dirty_whatever_the_size_of_a_part(device, part_rows):
    assert begin(device, part_rows) == len(AUTHORS) + len(BOOKS) + len(COPIES) + len(LIKED)
    for table, key in zip(TABLES, ("id", "isbn", "isbn", "author"), strict=True):
        found = device.rows(
            f"SELECT key_1 FROM _sync_{table}_rows WHERE is_dirty AND NOT is_deleted ORDER BY key_1"
        )
        assert found == device.rows(f"SELECT {key} FROM {table} ORDER BY {key}")
    check_that_all_arrives(device)


def test_what_programs_write_between_two_parts_is_kept(device, meanwhile):
    edits = [
        ("INSERT INTO author VALUES (100, 'new', 1)", "DELETE FROM author WHERE id = 2"),
        ("UPDATE author SET id = 200 WHERE id = 11", "UPDATE author SET id = -50 WHERE id = 10"),
        ("DELETE FROM author WHERE id = 9", "INSERT INTO author VALUES (9, 'another', NULL)"),
        (
            "UPDATE book SET isbn = 'a' WHERE isbn = 'A'",
            "INSERT INTO book VALUES ('0', 3), ('z', 3)",
        ),
        ("UPDATE book SET author = 4 WHERE isbn = 'j'", "DELETE FROM book WHERE isbn = 'i'"),
        (
            "DELETE FROM copy WHERE shelf = 'x'",
            "INSERT INTO copy VALUES ('zz', 'x', 1), ('', 0, 0)",
        ),
    ]
    meanwhile(*[partial(device.execute, *edit, foreign_keys=False) for edit in edits])
    begin(device)
    for table in TABLES:
        known = device.value(
            f"SELECT count(*) FROM _sync_{table} WHERE is_dirty AND NOT is_deleted"
        )
        assert known == device.value(f"SELECT count(*) FROM {table}")
    check_that_all_arrives(device)


def test_an_edit_between_two_parts_keeps_its_author(device, meanwhile):
    edit = "UPDATE author SET name = 'edited' WHERE id = 1"  # in the part that comes next
    by = "UPDATE _syncsession_state SET user_id = "
    meanwhile(lambda: device.execute(by + "'bob'", edit, by + "'alice'"))
    begin(device)
    names = "SELECT modified_by_user_id FROM _sync_author WHERE key_1 "
    assert device.rows(names + "= 1") == [("bob",)]
    assert set(device.rows(names + "<> 1")) == {("alice",)}


@pytest.mark.parametrize("parts", [1, 4, 9])
def test_what_is_interrupted_is_done_by_the_next_sync(device, meanwhile, parts):
    interrupt(device, meanwhile, parts)
    assert device.value("SELECT count(*) FROM _sync_author") < len(AUTHORS) or parts > 1
    check_that_all_arrives(device)


def test_what_is_interrupted_is_done_before_a_pull_brings_rows_of_the_same_keys(
    world, device, meanwhile
):
    other = world.bare("c.db", *FAMILY)
    other.put("INSERT INTO book VALUES (?, ?)", [(isbn, None) for isbn, _ in BOOKS])
    other.init().sync()
    interrupt(device, meanwhile, 1)
    pulled = device.pull()
    assert pulled.pulled.kept_rows == len(BOOKS)
    assert device.rows("SELECT isbn, author FROM book ORDER BY rowid") == BOOKS


def test_what_is_interrupted_is_done_by_the_next_init(device, meanwhile):
    interrupt(device, meanwhile, 2)
    assert begin(device) == len(AUTHORS) + len(BOOKS) + len(COPIES) + len(LIKED)


def test_another_command_may_do_the_rest_meanwhile(device, meanwhile):
    meanwhile(device.sync)
    assert begin(device) == 0
    assert device.sync().pushed.rows == 0
    check_that_all_arrives(device)


def test_a_schema_that_changes_meanwhile_is_left_to_the_next_command(device, meanwhile):
    meanwhile(lambda: device.execute("ALTER TABLE book ADD COLUMN title DEFAULT 'none'"))
    begin(device)
    with DeviceStore(device.path) as store:
        assert store.state().schema_version is None
    check_that_all_arrives(device)


class PowerCut(Exception):
    """The process is gone."""


def interrupt(device: Device, meanwhile: Callable[..., None], parts: int) -> None:
    def cut() -> None:
        raise PowerCut

    meanwhile(*[lambda: None] * (parts - 1), cut)
    with pytest.raises(PowerCut):
        begin(device)
