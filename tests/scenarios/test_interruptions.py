"""A sync that stops at some step, a sidecar of another time: no edit is lost, no row is missed."""

import shutil

import pytest
from support import Device, World, everyone_syncs, serving

from syncsession_client import engine, push
from syncsession_client.protocol.errors import SidecarDamaged
from syncsession_client.status import read_status
from syncsession_server.settings import Settings

ITEM = "CREATE TABLE item (id TEXT PRIMARY KEY, v)"


class Died(BaseException):
    """The process is gone: nothing after this runs."""


def dies(monkeypatch, module, name: str) -> None:
    def died(*_, **__):
        raise Died

    monkeypatch.setattr(module, name, died)


@pytest.fixture
def pair(world: World) -> tuple[Device, Device]:
    a = world.device("a.db", ITEM)
    a.execute("INSERT INTO item VALUES ('x', 0), ('y', 0)")
    a.sync()
    return a, a.clone("b.db")


def sidecar(device: Device):
    return device.path.with_name(device.path.name + "-sync")


def test_a_pull_after_a_push_that_was_not_acknowledged_misses_nothing(pair, monkeypatch):
    a, b = pair
    a.execute("UPDATE item SET v = 1 WHERE id = 'x'")
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies(patch, push, "acknowledge")
        a.sync()
    b.sync()
    b.execute("UPDATE item SET v = 2 WHERE id = 'x'")
    b.sync()
    a.pull()
    everyone_syncs(a, b)
    rows = "SELECT v FROM item WHERE id = 'x'"
    assert a.rows(rows) == b.rows(rows) == [(2,)]


def test_an_edit_set_back_after_its_session_was_lost_with_the_sidecar_is_pushed(pair, monkeypatch):
    a, b = pair
    a.execute("UPDATE item SET v = 1 WHERE id = 'x'", "DELETE FROM item WHERE id = 'y'")
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies(patch, push, "acknowledge")
        a.sync()
    for path in a.path.parent.glob("a.db-sync*"):
        path.unlink()
    a.execute("UPDATE item SET v = 0 WHERE id = 'x'", "INSERT INTO item VALUES ('y', 0)")
    everyone_syncs(a, b)
    expected = [("x", 0), ("y", 0)]
    assert a.rows("SELECT * FROM item ORDER BY id") == expected
    assert b.rows("SELECT * FROM item ORDER BY id") == expected


def test_a_kept_pull_does_not_count_for_a_table_that_joined_meanwhile(world, monkeypatch):
    other = "CREATE TABLE extra (id TEXT PRIMARY KEY, v)"
    a = world.device("a.db", ITEM, other)
    a.execute("INSERT INTO item VALUES ('x', 0)", "INSERT INTO extra VALUES ('e', 0)")
    a.sync()
    b = world.device("b.db", ITEM, other, tables=("item",))
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies(patch, engine, "apply")
        b.pull()
    b.init(tables=("extra",))
    b.sync()
    assert b.rows("SELECT * FROM extra") == [("e", 0)]


def test_a_kept_pull_does_not_count_for_a_column_that_came_meanwhile(pair, monkeypatch):
    a, b = pair
    a.execute("ALTER TABLE item ADD COLUMN c", "UPDATE item SET c = 'C'")
    everyone_syncs(a, b)
    a.execute("UPDATE item SET v = 5 WHERE id = 'y'")
    a.sync()
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies(patch, engine, "apply")
        b.pull()
    b.execute("ALTER TABLE item ADD COLUMN c")
    everyone_syncs(b, a)
    assert b.rows("SELECT * FROM item ORDER BY id") == [("x", 0, "C"), ("y", 5, "C")]


def test_a_restored_database_beside_a_newer_sidecar_misses_nothing(pair, monkeypatch):
    a, b = pair
    backup = b.path.with_name("backup.db")
    shutil.copy(b.path, backup)
    a.execute("INSERT INTO item VALUES ('second', 2)")
    everyone_syncs(a, b)
    a.execute("INSERT INTO item VALUES ('third', 3)")
    a.sync()
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies(patch, engine, "apply")
        b.pull()
    shutil.copy(backup, b.path)
    b.sync()
    assert b.rows("SELECT id FROM item ORDER BY id") == [("second",), ("third",), ("x",), ("y",)]


@pytest.fixture
def holding_world(new_database, tmp_path):
    """A tenant of a server that holds every pull, so that its batches have to be asked for."""
    settings = Settings(database=new_database(), migrate=True, pull_shared_table_threshold=0)
    with serving(settings) as server:
        yield World(server, tmp_path)


def test_a_half_downloaded_pull_goes_on_with_the_next_batch(holding_world, monkeypatch):
    world = holding_world
    a = world.device("a.db", ITEM)
    a.put("INSERT INTO item VALUES (?, ?)", [(f"{n:05}", n) for n in range(3500)])
    a.sync()
    b = world.device("b.db", ITEM)
    asked, get_batch = [], engine.Transport.get_batch

    def counted(self, pull_id, number):
        asked.append(number)
        return get_batch(self, pull_id, number)

    monkeypatch.setattr(engine.Transport, "get_batch", counted)
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies(patch, engine.Transport, "complete_pull")
        dies(patch, engine.reconcile, "doubt")
        stop_after_two_batches(patch)
        b.pull()
    first, asked[:] = list(asked), []
    assert b.pull().pulled.rows == 3500
    assert len(asked) < 4
    assert {*first, *asked} == {1, 2, 3, 4}


def stop_after_two_batches(patch) -> None:
    from syncsession_client.outbox import Outbox

    add, kept = Outbox.add_incoming, []

    def stops(self, number, payload):
        if len(kept) == 2:
            raise Died
        kept.append(number)
        add(self, number, payload)

    patch.setattr(Outbox, "add_incoming", stops)


def test_a_damaged_sidecar_is_thrown_away_and_the_next_sync_goes_on(pair, monkeypatch):
    a, b = pair
    a.put("INSERT INTO item VALUES (?, ?)", [(f"n{n}", "v" * 300) for n in range(2000)])
    with monkeypatch.context() as patch, pytest.raises(Died):
        dies(patch, push, "send")
        a.sync()
    damaged = bytearray(sidecar(a).read_bytes())
    damaged[4096:] = b"\xff" * (len(damaged) - 4096)
    sidecar(a).write_bytes(damaged)
    with pytest.raises(SidecarDamaged, match="no edit is lost"):
        a.sync()
    everyone_syncs(a, b)
    assert b.value("SELECT count(*) FROM item") == 2002


def test_a_row_that_replace_removed_is_found_though_status_folded_before_the_sync(world):
    a = world.device("a.db", "CREATE TABLE slot (id TEXT PRIMARY KEY, n INTEGER UNIQUE)")
    a.execute("INSERT INTO slot VALUES ('x', 1), ('y', 2)")
    a.sync()
    b = a.clone("b.db")
    a.execute("INSERT OR REPLACE INTO slot VALUES ('z', 1)")
    read_status(a.path)
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM slot ORDER BY id") == [("y", 2), ("z", 1)]


def test_a_row_of_a_pull_that_could_not_be_applied_comes_again(world):
    login = "CREATE TABLE login (id TEXT PRIMARY KEY, name TEXT UNIQUE)"
    a = world.device("a.db", login)
    b = world.device("b.db", login)
    a.execute("INSERT INTO login VALUES ('1', 'ann')")
    a.sync()
    b.execute("INSERT INTO login VALUES ('2', 'ann')")
    done = b.pull()
    assert (done.pulled.rows, done.pulled.refused_rows) == (0, 1)
    assert "login.name" in done.warnings[0]
    a.execute("UPDATE login SET name = 'anna'")
    a.sync()
    everyone_syncs(b, a)
    assert b.rows("SELECT * FROM login ORDER BY id") == [("1", "anna"), ("2", "ann")]
