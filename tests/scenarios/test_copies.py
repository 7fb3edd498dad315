"""A file that is copied, or comes back from a backup: nothing is missing, double or taken back."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from support import Device, World, everyone_syncs

from syncsession_client import engine
from syncsession_client.protocol.errors import ServerRestored
from syncsession_client.status import read_status

ITEM = "CREATE TABLE item (id TEXT PRIMARY KEY, v)"
SLIP = "CREATE TABLE slip (id INTEGER PRIMARY KEY, v)"


class Died(BaseException):
    """The process is gone: nothing after this runs."""


def dies(monkeypatch, module, name: str) -> None:
    def died(*_, **__):
        raise Died

    monkeypatch.setattr(module, name, died)


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
    "changed since": ["UPDATE slip SET v = 'later' WHERE id = 1"],
    "replaced since": ["REPLACE INTO slip VALUES (1, 'later')"],
    "replaced with all triggers since": [
        "PRAGMA recursive_triggers = ON",
        "REPLACE INTO slip VALUES (1, 'later')",
    ],
    "renumbered since": ["UPDATE slip SET id = 7 WHERE id = 1"],
    "another renumbered since": [
        "INSERT INTO slip VALUES (8, 'other')",
        "UPDATE slip SET id = 9 WHERE id = 8",
    ],
}


@pytest.mark.parametrize("history", HISTORIES)
def test_a_row_that_was_made_before_the_copy_is_the_same_row_in_both(world: World, history):
    a = world.device("a.db", SLIP)
    a.execute("INSERT INTO slip VALUES (1, 'first')", "UPDATE slip SET v = 'of a'")
    b = copy(a, "b.db")
    let_the_clock_tick(a)
    with closing(sqlite3.connect(a.path, isolation_level=None)) as db:
        for sql in HISTORIES[history]:
            db.execute(sql)
    a.push()
    b.push()
    ours = set(a.rows("SELECT row_id FROM _sync_slip_rows"))
    assert set(b.rows("SELECT row_id FROM _sync_slip_rows")) <= ours


def test_rows_that_are_made_after_the_copy_are_two_rows(world: World):
    a = world.device("a.db", SLIP)
    a.execute("INSERT INTO slip VALUES (1, 'before')")
    b = copy(a, "b.db")
    for device in (a, b):
        let_the_clock_tick(device)
        device.execute("INSERT INTO slip VALUES (2, 'after')")
        read_status(device.path)
    ids = "SELECT row_id FROM _sync_slip_rows ORDER BY key_1"
    (before, mine), (same, other) = a.rows(ids), b.rows(ids)
    assert before == same
    assert mine != other


def test_a_row_that_was_deleted_and_made_again_since_the_copy_is_another_row(world: World):
    a = world.device("a.db", SLIP)
    a.execute("INSERT INTO slip VALUES (1, 'before')")
    b = copy(a, "b.db")
    a.execute("DELETE FROM slip")
    a.execute("INSERT INTO slip VALUES (1, 'after')")
    a.push()
    b.push()
    ids = "SELECT row_id FROM _sync_slip_rows"
    assert a.rows(ids) != b.rows(ids)


# Converging


def converge(*devices: Device) -> list[tuple]:
    """What all have at rest; they have to agree, each as a device of its own."""
    everyone_syncs(*devices)
    everyone_syncs(*devices)
    assert all(d.dirty("item") == [] for d in devices)
    found = [d.rows("SELECT * FROM item ORDER BY id") for d in devices]
    assert all(rows == found[0] for rows in found)
    ids = {d.value("SELECT device_id FROM _syncsession_state") for d in devices}
    assert len(ids) == len(devices)
    return found[0]


def lost(device: Device) -> list[tuple]:
    return device.rows("SELECT json_extract(\"row\", '$.id', '$.v') FROM _syncsession_conflicts")


def put(device: Device, row: str, value: object) -> None:
    let_the_clock_tick(device)
    sql = "INSERT INTO item VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET v = excluded.v"
    device.put(sql, [(row, value)])


@pytest.fixture
def synced(world: World) -> Device:
    a = world.device("a.db", ITEM)
    a.execute("INSERT INTO item VALUES ('x', 0), ('y', 0), ('z', 0)")
    a.sync()
    return a


FOLDED = pytest.mark.parametrize("folded", [False, True], ids=["in the log", "folded"])


def fold(device: Device, folded: bool) -> None:
    if folded:
        read_status(device.path)


def test_copies_of_which_both_are_edited_converge(synced):
    a, b = synced, copy(synced, "b.db")
    put(a, "x", "of a")
    put(b, "y", "of b")
    put(b, "new", "of b")
    assert converge(a, b) == [("new", "of b"), ("x", "of a"), ("y", "of b"), ("z", 0)]
    assert lost(a) == lost(b) == []


@FOLDED
def test_an_edit_that_both_copies_have_still_to_push_is_one_edit(synced, folded):
    a = synced
    put(a, "x", "before")
    a.execute("DELETE FROM item WHERE id = 'z'")
    fold(a, folded)
    b = copy(a, "b.db")
    assert converge(a, b) == [("x", "before"), ("y", 0)]
    assert lost(a) == lost(b) == []


@FOLDED
def test_an_old_edit_of_a_backup_does_not_take_back_what_came_after_it(synced, folded):
    a = synced
    put(a, "x", "old")
    put(a, "y", "kept")
    fold(a, folded)
    backup = copy(a, "backup.db")
    put(a, "x", "newer")
    a.sync()
    done = backup.sync()
    assert backup.rows("SELECT v FROM item WHERE id < 'z' ORDER BY id") == [("newer",), ("kept",)]
    assert lost(backup) == [('["x","old"]',)]
    assert done.pushed.rows == 0
    assert any("_syncsession_conflicts" in text for text in done.warnings)
    assert read_status(backup.path)["conflicts"] == 1
    assert converge(a, backup) == [("x", "newer"), ("y", "kept"), ("z", 0)]


@FOLDED
def test_an_old_edit_of_a_backup_gives_way_to_what_another_device_made_of_it(synced, folded):
    a = synced
    c = a.clone("c.db")
    put(a, "x", "old")
    fold(a, folded)
    backup = copy(a, "backup.db")
    a.sync()
    c.sync()
    put(c, "x", "of c")
    c.sync()
    assert converge(backup, c) == [("x", "of c"), ("y", 0), ("z", 0)]
    assert lost(backup) == [('["x","old"]',)]


def test_what_is_edited_after_the_restore_is_pushed(synced):
    a = synced
    put(a, "x", "old")
    backup = copy(a, "backup.db")
    put(a, "x", "newer")
    a.sync()
    put(backup, "x", "newest")
    backup.execute("DELETE FROM item WHERE id = 'z'")
    assert converge(a, backup) == [("x", "newest"), ("y", 0)]
    assert lost(backup) == []


def test_a_row_that_the_other_copy_deleted_goes_and_what_it_was_is_kept(synced):
    a = synced
    put(a, "x", "old")
    b = copy(a, "b.db")
    let_the_clock_tick(a)
    a.execute("DELETE FROM item WHERE id = 'x'")
    assert converge(a, b) == [("y", 0), ("z", 0)]
    assert lost(b) == [('["x","old"]',)]


def test_an_edit_of_a_row_that_comes_as_it_was_is_pushed_whatever_the_clocks_say(synced):
    a = synced
    c = a.clone("c.db")
    c.execute("UPDATE item SET v = 'c' WHERE id = 'x'")
    c.execute("UPDATE _sync_item_log SET at = at + 1000")
    c.sync()
    a.sync()
    b = copy(a, "b.db")
    put(a, "y", "of a")
    a.sync()
    put(b, "x", "of b")
    b.execute("ALTER TABLE item ADD COLUMN w")  # so that every row comes anew
    b.sync()
    assert b.rows("SELECT id, v FROM item WHERE id < 'z'") == [("x", "of b"), ("y", "of a")]
    assert lost(b) == []


def test_a_backup_that_is_restored_twice_converges_each_time(synced):
    a = synced
    put(a, "x", "old")
    backup = copy(a, "backup.db")
    a.sync()
    ids = set()
    for round_ in range(2):
        again = copy(backup, "again.db")
        put(again, f"n{round_}", "new")
        again.sync()
        ids.add(again.value("SELECT device_id FROM _syncsession_state"))
    everyone_syncs(a, again)
    assert len(ids) == 2
    expected = [("n0", "new"), ("n1", "new"), ("x", "old"), ("y", 0), ("z", 0)]
    assert a.rows("SELECT * FROM item ORDER BY id") == expected
    assert again.rows("SELECT * FROM item ORDER BY id") == expected


def test_a_copy_of_a_copy_converges(synced):
    a = synced
    put(a, "x", "a")
    b = copy(a, "b.db")
    put(b, "y", "b")
    c = copy(b, "c.db")
    put(c, "z", "c")
    assert converge(a, b, c) == [("x", "a"), ("y", "b"), ("z", "c")]


def test_a_copy_that_only_pulls_is_told_apart_before_it_pushes(synced):
    a = synced
    put(a, "x", "old")
    b = copy(a, "b.db")
    put(a, "x", "newer")
    a.sync()
    b.pull()
    assert b.rows("SELECT v FROM item WHERE id = 'x'") == [("newer",)]
    assert read_status(b.path)["copied_from"] == read_status(a.path)["device_id"]
    assert converge(a, b) == [("x", "newer"), ("y", 0), ("z", 0)]


def test_a_copy_that_only_pushes_pulls_first(synced):
    a = synced
    put(a, "x", "old")
    b = copy(a, "b.db")
    put(a, "x", "newer")
    a.sync()
    put(b, "y", "of b")
    done = b.push()
    assert (done.pulled.rows, done.pushed.rows) == (1, 1)
    assert converge(a, b) == [("x", "newer"), ("y", "of b"), ("z", 0)]


def test_rows_with_local_keys_that_both_copies_made_and_changed_stay_apart(world: World):
    a = world.device("a.db", SLIP)
    a.sync()
    a.execute("INSERT INTO slip VALUES (1, 'before')")
    b = copy(a, "b.db")
    for device, name in ((a, "of a"), (b, "of b")):
        let_the_clock_tick(device)
        device.execute(f"INSERT INTO slip VALUES (2, '{name}')")
    everyone_syncs(a, b)
    expected = [("before",), ("of a",), ("of b",)]
    assert a.rows("SELECT v FROM slip ORDER BY v") == expected
    assert b.rows("SELECT v FROM slip ORDER BY v") == expected


def test_a_copy_with_a_sealed_session_sends_the_same_session(synced, monkeypatch):
    a = synced
    put(a, "x", "sealed")
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies(patch, engine.Transport, "commit_push")
        a.sync()
    b = copy(a, "b.db", with_sidecar=True)
    put(a, "x", "of a")
    put(b, "y", "of b")
    assert a.sync().pushed.session is not None
    assert b.sync().pushed.rows == 2
    assert converge(a, b) == [("x", "of a"), ("y", "of b"), ("z", 0)]
    assert lost(a) == lost(b) == []


def test_a_restored_file_does_not_take_a_newer_sidecar_for_its_own(synced, monkeypatch):
    a = synced
    backup = a.path.read_bytes()
    put(a, "x", "sealed")
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies(patch, engine.Transport, "commit_push")
        a.sync()
    a.path.write_bytes(backup)
    for number in range(3):
        put(a, "y", number)
        read_status(a.path)
    c = a.clone("c.db")
    assert converge(a, c) == [("x", 0), ("y", 2), ("z", 0)]


# A server that is behind


def test_a_server_that_came_back_from_a_backup_is_noticed(world: World):
    a = world.device("a.db", ITEM)
    put(a, "x", 0)
    a.sync()
    a.execute("UPDATE _syncsession_processed SET last_number = 5")
    put(a, "x", 1)
    for act in (a.sync, a.push, a.pull):
        with pytest.raises(ServerRestored, match=r"processed session 5.*come to 1.*new tenant"):
            act()
    assert a.dirty("item") == [("x",)]
    a.execute("UPDATE _syncsession_processed SET last_number = 1")
    assert a.sync().pushed.rows == 1
