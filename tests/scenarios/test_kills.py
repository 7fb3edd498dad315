"""The device's process is killed at every point: nothing is lost, nothing is done twice, and the
next sync goes on where it stopped.
"""

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
from network import Network, network
from support import SECONDS, Device, Server, World, serving

from syncsession_client.protocol.errors import DatabaseLocked, NotInitialized
from syncsession_client.rejects import list_rejects
from syncsession_client.setup import uninstall
from syncsession_server.settings import Settings

ARTIST = "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT)"
ALBUM = "CREATE TABLE album (id TEXT PRIMARY KEY, artist_id INTEGER REFERENCES artist (id), v)"
BATCH_ROWS = 10
AT_ONCE = 3 + 1  # batches that may be on their way, one of them just sent

IN_A_SYNC = (
    "lock.taken",
    "refresh.inside",
    "refresh.done",
    "tables.described",
    "fold.inside",
    "fold.done",
    "seal.inside:2",
    "seal.done",
    "push.noted",
    "push.begun",
    "push.batch",
    "push.batch:4",
    "push.batch_sent:3",
    "push.all_sent",
    "push.answered",
    "outbox.dropping_pull",
    "acknowledge.inside:3",
    "acknowledge.before_commit",
    "acknowledge.done",
    "outbox.dropping_push",
    "pull.begun",
    "pull.kept",
    "pull.batch",
    "pull.batch_kept:3",
    "apply.staged",
    "apply.inside",
    "apply.before_commit",
    "apply.done",
    "outbox.dropping_pull:2",
    "pull.dropped",
)
IN_A_COPY = (
    "push.noted",
    "push.forgotten",
    "pull.begun",
    "apply.inside",
    "copy.another",
    "apply.before_commit",
    "apply.done",
    "push.noted:2",
    "push.answered",
    "acknowledge.done",
)
IN_A_REFUSAL = (
    "push.noted",
    "push.batch:2",
    "push.refusing",
    "push.refused",
    "outbox.dropping_push",
    "fold.done:2",
    "push.noted:2",
    "acknowledge.done",
)
IN_INIT = ("init.inside", "init.part_marked", "init.begun")
IN_UNINSTALL = ("uninstall.inside", "uninstall.before_commit", "uninstall.done")
IN_CLONE = ("clone.created", "pull.batch_kept:3", "apply.inside", "clone.pulled", "clone.renamed")


@pytest.fixture(scope="module")
def holding_server(tmp_path_factory) -> Iterator[Server]:
    """It holds every pull, in small batches."""
    database = f"sqlite:///{tmp_path_factory.mktemp('kills') / 'server.db'}"
    settings = Settings(
        database=database, migrate=True, pull_shared_table_threshold=0, pull_batch_size=BATCH_ROWS
    )
    with serving(settings) as server:
        yield server


@pytest.fixture
def world(holding_server, tmp_path) -> World:
    return World(holding_server, tmp_path)


@pytest.fixture
def net(holding_server) -> Iterator[Network]:
    """The way to the server of the device that is killed: it tells what was asked."""
    with network(holding_server.url) as made:
        yield made


def killed(device: Device, point: str, *command: str) -> None:
    """Run a command, and see it killed at a point."""
    done = subprocess.run(
        [sys.executable, "-m", "syncsession_client", *command],
        env={
            "PATH": os.environ["PATH"],
            "SYNCSESSION_TOKEN": device.token,
            "SYNCSESSION_SERVER": device.server,
            "SYNCSESSION_KILL_AT": point,
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, f"{point} is not passed: {done.stderr}"


def fill(device: Device, name: str) -> set[str]:
    """Rows of the device's own, under integers that others use too; the keys of its albums."""
    artists = [(n, f"{name} {n}") for n in range(101, 113)]
    albums = [(f"{name}-{n:02}", 101 + n % 12, n) for n in range(36)]
    device.put("INSERT INTO artist (id, name) VALUES (?, ?)", artists)
    device.put("INSERT INTO album (id, artist_id, v) VALUES (?, ?, ?)", albums)
    return {key for key, _, _ in albums}


@pytest.fixture
def pair(world, net) -> tuple[Device, Device]:
    """Two devices that were in step; each has rows for the other, the first a new column too."""
    a = world.bare("a.db", ARTIST, ALBUM)
    a.server = net.url
    a.init()
    a.execute("INSERT INTO artist VALUES (1, 'both')", "INSERT INTO album VALUES ('old', 1, 'old')")
    a.sync()
    b = world.device("b.db", ARTIST, ALBUM)
    b.sync()
    fill(b, "b")
    b.execute("UPDATE artist SET name = 'both, by b'")
    b.sync()
    a.execute("ALTER TABLE album ADD COLUMN extra")
    net.lines.clear()
    return a, b


def copied(device: Device, name: str) -> Device:
    """The file as a program that copies databases makes it."""
    copy = Device(device.path.with_name(name), device.server, device.token)
    with closing(sqlite3.connect(device.path)) as source, closing(sqlite3.connect(copy.path)) as db:
        source.backup(db)
    return copy


def asked(lines: list[str], method: str) -> list[tuple[str, int]]:
    """(session or pull, number) of the batches that were sent or asked for."""
    found = (re.fullmatch(rf"{method} /v1/\w+/(\S+)/batches/(\d+)", line) for line in lines)
    return [(match[1], int(match[2])) for match in found if match]


def kept(device: Device) -> set[int]:
    """The batches of a pull that are in the sidecar."""
    sidecar = device.path.with_name(f"{device.path.name}-sync")
    if not sidecar.exists():
        return set()
    with closing(sqlite3.connect(sidecar)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'incoming_batch'").fetchall():
            return set()
        return {number for (number,) in db.execute("SELECT number FROM incoming_batch")}


def check_on_its_own(world: World, a: Device, mine: set[str]) -> None:
    """What holds at any moment, without the next sync."""
    assert a.rows("PRAGMA integrity_check") == [("ok",)]
    assert a.orphans() == []
    assert a.value("SELECT count(*) FROM album WHERE id LIKE 'b-%'") in (0, 36)
    there = {
        key
        for (key,) in world.server.rows(
            "SELECT id FROM album WHERE tenant_id = :tenant", tenant=world.tenant
        )
    }
    dirty = {key for (key,) in a.dirty("album")}
    assert mine <= there | dirty, "an edit is neither on the server nor dirty"
    assert not there & mine or mine <= there, "half a session is on the server"


def check_only_what_is_missing(net: Network, before: int, stored: set, here: set[int]) -> None:
    """The resumed session has sent none that the server had, the pull asked for none that was here;
    of those on their way when the process was killed some may have travelled twice.
    """
    for method, had in (("PUT", stored), ("GET", here)):
        first, again = asked(net.lines[:before], method), asked(net.lines[before:], method)
        resumed = {ours for ours, _ in first}
        numbers = [number for ours, number in again if ours in resumed]
        assert not had & set(numbers), f"{method} of what was there"
        assert len(set(first) & set(again)) <= AT_ONCE


def check_in_step(world: World, a: Device, b: Device, pushed_rows: int) -> None:
    assert a.identities()["artist"] == b.identities()["artist"]
    assert a.rows("SELECT id, v FROM album ORDER BY id") == b.rows(
        "SELECT id, v FROM album ORDER BY id"
    )
    names = "SELECT l.id, r.name FROM album AS l JOIN artist AS r ON r.id = l.artist_id ORDER BY 1"
    assert a.rows(names) == b.rows(names)
    for device in (a, b):
        assert device.dirty("artist") == device.dirty("album") == device.orphans() == []
    device_id = a.value("SELECT device_id FROM _syncsession_state")
    sessions = world.server.rows(
        "SELECT status, count_rows FROM sync_session"
        " WHERE tenant_id = :tenant AND device_id = :device",
        tenant=world.tenant,
        device=device_id,
    )
    assert {status for status, _ in sessions} == {"committed"}
    assert sum(rows for _, rows in sessions) == pushed_rows, "something was pushed twice"


@pytest.mark.parametrize("point", IN_A_SYNC)
def test_a_sync_that_is_killed_loses_nothing_and_goes_on(world, net, pair, point):
    a, b = pair
    mine = fill(a, "a")
    a.execute("UPDATE album SET v = 'by a' WHERE id = 'old'")
    killed(a, point, "sync", str(a.path), "--batch-rows", str(BATCH_ROWS))
    before = len(net.lines)
    check_on_its_own(world, a, mine)
    here = kept(a)
    stored = {
        number
        for (number,) in world.server.rows(
            "SELECT number FROM sync_staging WHERE tenant_id = :tenant", tenant=world.tenant
        )
    }
    a.execute("INSERT INTO album VALUES ('late', 101, 'after the kill', NULL)")
    b.sync()
    b.execute("UPDATE album SET v = 'by b' WHERE id = 'a-01'")  # where it is there by now
    seen = b.value("SELECT count(*) FROM album WHERE id = 'a-01'")
    b.sync()
    a.sync(batch_rows=BATCH_ROWS)
    check_only_what_is_missing(net, before, stored, here)
    b.sync()
    a.sync()
    check_in_step(world, a, b, pushed_rows=2 + 12 + 36 + 1 + 1)
    expected = "by b" if seen else 1
    assert a.value("SELECT v FROM album WHERE id = 'a-01'") == expected
    assert a.value("SELECT v FROM album WHERE id = 'old'") == "by a"
    assert a.value("SELECT count(*) FROM album") == 36 + 36 + 2


@pytest.mark.parametrize("point", IN_A_COPY)
def test_a_copy_that_is_killed_becomes_a_device_of_its_own(world, point):
    a = world.device("a.db", ARTIST, ALBUM)
    fill(a, "a")
    a.sync()
    a.execute("UPDATE album SET v = 'before the copy' WHERE id IN ('a-01', 'a-02')")
    b = copied(a, "b.db")
    a.sync()
    a.execute("UPDATE album SET v = 'by a' WHERE id = 'a-02'")
    a.sync()
    b.execute("INSERT INTO album VALUES ('late', 101, 'after the copy')")
    killed(b, point, "sync", str(b.path))
    assert b.rows("PRAGMA integrity_check") == [("ok",)]
    a.sync()
    there = a.rows("SELECT v FROM album WHERE id = 'late'")
    assert there or ("late",) in b.dirty("album")
    b.sync()
    a.sync()
    values = "SELECT id, v FROM album WHERE id IN ('a-01', 'a-02', 'late') ORDER BY id"
    for device in (a, b):
        assert [v for _, v in device.rows(values)] == ["before the copy", "by a", "after the copy"]
    assert a.identities() == b.identities()
    ids = {d.value("SELECT device_id FROM _syncsession_state") for d in (a, b)}
    assert len(ids) == 2
    assert a.dirty("album") == b.dirty("album") == []


@pytest.mark.parametrize("point", IN_A_REFUSAL)
def test_a_push_that_is_refused_and_killed_holds_back_only_what_is_refused(world, point):
    a = world.device("a.db", ARTIST, ALBUM)
    a.sync()
    mine = fill(a, "a")
    a.execute("UPDATE _syncsession_state SET user_id = 'somebody else'")
    a.execute("UPDATE album SET v = 'by somebody else' WHERE id = 'a-01'")
    a.execute("UPDATE _syncsession_state SET user_id = 'alice'")
    killed(a, point, "sync", str(a.path), "--batch-rows", str(BATCH_ROWS))
    check_on_its_own(world, a, mine - {"a-01"})
    a.sync(batch_rows=BATCH_ROWS)
    assert [each["key"] for each in list_rejects(a.path)] == [{"id": "a-01"}]
    assert a.dirty("album") == [("a-01",)]
    a.execute("UPDATE album SET v = 'by alice' WHERE id = 'a-01'")
    a.sync()
    b = a.clone("b.db")
    assert b.value("SELECT v FROM album WHERE id = 'a-01'") == "by alice"
    assert (b.identities(), a.dirty("album")) == (a.identities(), [])


@pytest.mark.parametrize("point", IN_INIT)
def test_init_that_is_killed_is_done_again(world, point):
    a = world.bare("a.db", ARTIST, ALBUM)
    mine = fill(a, "a")
    killed(a, point, "init", str(a.path))
    a.execute("UPDATE album SET v = 'after the kill' WHERE id = 'a-02'")
    a.init()
    a.sync()
    b = a.clone("b.db")
    assert {key for (key,) in b.rows("SELECT id FROM album")} == mine
    assert b.rows("SELECT id FROM album WHERE v = 'after the kill'") == [("a-02",)]
    check_in_step(world, a, b, pushed_rows=12 + 36)


@pytest.mark.parametrize("point", IN_UNINSTALL)
def test_uninstall_that_is_killed_is_done_again(world, point):
    a = world.bare("a.db", ARTIST, ALBUM)
    schema = a.schema()
    a.init()
    fill(a, "a")
    killed(a, "push.begun", "sync", str(a.path))
    killed(a, point, "uninstall", str(a.path))
    if point != "uninstall.done":
        a.execute("UPDATE album SET v = 'after the kill' WHERE id = 'a-02'")
        assert a.sync().pushed.rows == 12 + 36
        uninstall(a.path)
    with pytest.raises(NotInitialized):
        uninstall(a.path)
    assert a.schema() == schema
    assert a.value("SELECT count(*) FROM album") == 36
    assert [path.name for path in a.path.parent.glob("a.db*")] == ["a.db"]


@pytest.mark.parametrize("point", IN_CLONE)
def test_a_clone_that_is_killed_is_whole_or_not_there(world, point):
    a = world.device("a.db", ARTIST, ALBUM)
    mine = fill(a, "a")
    a.sync()
    b = Device(a.path.with_name("b.db"), a.server, a.token)
    killed(b, point, "clone", str(b.path))
    assert b.path.exists() == (point == "clone.renamed")
    if not b.path.exists():
        a.clone("b.db")
    b.execute("UPDATE album SET v = 'by b' WHERE id = 'a-03'")
    b.sync()
    a.sync()
    assert a.value("SELECT v FROM album WHERE id = 'a-03'") == "by b"
    assert {key for (key,) in b.rows("SELECT id FROM album")} == mine
    check_in_step(world, a, b, pushed_rows=12 + 36)


def test_uninstall_is_refused_while_a_sync_runs_and_changes_nothing(world):
    a = world.device("a.db", ARTIST, ALBUM)
    mine = fill(a, "a")
    with a.engine() as engine:
        with pytest.raises(DatabaseLocked, match="another process syncs"):
            uninstall(a.path)
        assert engine.synchronize().pushed.rows == 12 + len(mine)
