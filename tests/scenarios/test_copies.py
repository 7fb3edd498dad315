"""A file that is copied, or comes back from a backup: nothing is missing, double or taken back."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from support import Device, World

ITEM = "CREATE TABLE item (id TEXT PRIMARY KEY, v)"
INVOICE = "CREATE TABLE invoice (id INTEGER PRIMARY KEY, v)"


def copy(device: Device, name: str, *, with_sidecar: bool = False) -> Device:
    """The file as it stands, and what stands beside it."""
    suffixes = ["", "-wal", *(["-sync", "-sync-wal"] if with_sidecar else [])]
    for suffix in suffixes:
        source = beside(device, suffix)
        if source.exists():
            device.path.with_name(name + suffix).write_bytes(source.read_bytes())
    return Device(device.path.with_name(name), device.server, device.token)


def beside(device: Device, suffix: str) -> Path:
    return device.path.with_name(device.path.name + suffix)


def let_the_clock_tick(device: Device) -> None:
    """Entries of the log bear the time, in milliseconds."""
    begun = time.time()
    while time.time() < begun + 0.002:
        device.value("SELECT 1")


HISTORIES = {
    "inserted": [],
    "changed since": ["UPDATE invoice SET v = 'later' WHERE id = 1"],
    "replaced since": ["REPLACE INTO invoice VALUES (1, 'later')"],
    "replaced with all triggers since": [
        "PRAGMA recursive_triggers = ON",
        "REPLACE INTO invoice VALUES (1, 'later')",
    ],
    "renumbered since": ["UPDATE invoice SET id = 7 WHERE id = 1"],
    "another renumbered since": [
        "INSERT INTO invoice VALUES (8, 'other')",
        "UPDATE invoice SET id = 9 WHERE id = 8",
    ],
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_row_that_was_made_before_the_copy_is_the_same_row_in_both(world: World, history):
    a = world.device("a.db", INVOICE)
    a.execute("INSERT INTO invoice VALUES (1, 'first')", "UPDATE invoice SET v = 'of a'")
    b = copy(a, "b.db")
    let_the_clock_tick(a)
    with closing(sqlite3.connect(a.path, isolation_level=None)) as db:
        for sql in HISTORIES[history]:
            db.execute(sql)
    a.push()
    b.push()
    ours = set(a.rows("SELECT row_id FROM _sync_invoice_rows"))
    assert set(b.rows("SELECT row_id FROM _sync_invoice_rows")) <= ours


def test_rows_that_are_made_after_the_copy_are_two_rows(world: World):
    a = world.device("a.db", INVOICE)
    a.execute("INSERT INTO invoice VALUES (1, 'before')")
    b = copy(a, "b.db")
    for device in (a, b):
        let_the_clock_tick(device)
        device.execute("INSERT INTO invoice VALUES (2, 'after')")
        device.push()
    ids = "SELECT row_id FROM _sync_invoice_rows ORDER BY key_1"
    (before, mine), (same, other) = a.rows(ids), b.rows(ids)
    assert before == same
    assert mine != other


def test_a_row_that_was_deleted_and_made_again_since_the_copy_is_another_row(world: World):
    a = world.device("a.db", INVOICE)
    a.execute("INSERT INTO invoice VALUES (1, 'before')")
    b = copy(a, "b.db")
    a.execute("DELETE FROM invoice")
    a.execute("INSERT INTO invoice VALUES (1, 'after')")
    a.push()
    b.push()
    ids = "SELECT row_id FROM _sync_invoice_rows"
    assert a.rows(ids) != b.rows(ids)
