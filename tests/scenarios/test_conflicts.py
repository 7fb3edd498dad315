"""Two devices change one row: the policy decides, both versions are kept, and all devices agree."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple

import pytest
from support import Device, World, everyone_syncs

from syncsession_client import conflicts, engine
from syncsession_client.conflicts import list_conflicts, restore
from syncsession_client.protocol import images
from syncsession_client.protocol.errors import NoSuchConflict, ServerUnreachable, Unappliable
from syncsession_client.status import read_status
from syncsession_client.store import DeviceStore
from syncsession_server.history import switch
from syncsession_server.policies import set_policy

STEM = "CREATE TABLE stem (id TEXT PRIMARY KEY, a, b)"

Policy = Callable[[str], None]


@pytest.fixture
def policy(world: World) -> Iterator[Policy]:
    """Sets the policy of the table; the default again afterwards."""

    def put(name: str) -> None:
        world.server.run(set_policy(world.server.store, "stem", name))

    yield put
    put("last_in_wins")


@pytest.fixture
def pair(world: World) -> tuple[Device, Device]:
    """Two devices in step, with a row for each pair of changes."""
    a, b = world.device("a.db", STEM), world.device("b.db", STEM)
    a.put("INSERT INTO stem VALUES (?, 'a0', 'b0')", [(row,) for row in BEFORE])
    everyone_syncs(a, b)
    return a, b


def put(device: Device, changes: dict[str, str]) -> None:
    """Change rows, each in its way."""
    for row, sql in changes.items():
        device.execute(sql.format(row=row))


def value(device: Device, row: str) -> tuple | None:
    return next(iter(device.rows(f"SELECT a, b FROM stem WHERE id = '{row}'")), None)


def turn_clock(device: Device, at: str) -> None:
    """Let the edits that wait have been made at another time, by the device's clock."""
    device.execute(f"UPDATE _sync_stem_log SET at = julianday('{at}')")


class Logged(NamedTuple):
    kind: str
    policy: str
    outcome: str
    loser: str | None
    note: str | None


def logged(world: World, *devices: Device) -> dict[str, Logged]:
    """What the server has written down, by row; devices are called a, b, …"""
    ids = [d.value("SELECT device_id FROM _syncsession_state") for d in devices]
    names = {**dict(zip(ids, "abc", strict=False)), None: None}
    rows = world.server.rows(
        "SELECT row_key, kind, policy, outcome, loser_device_id, note FROM sync_conflict"
        " WHERE tenant_id = :tenant ORDER BY number",
        tenant=world.tenant,
    )
    return {
        images.decode(key)["id"]: Logged(kind, policy, outcome, names[loser], note)
        for key, kind, policy, outcome, loser, note in rows
    }


def lost(device: Device) -> dict[str, dict[str, Any]]:
    """What the device lists, by row."""
    return {each["row"]["id"]: each for each in list_conflicts(device.path)}


# Each policy, and each pair of changes

A1, A2 = (
    "UPDATE stem SET a = 'a1' WHERE id = '{row}'",
    "UPDATE stem SET a = 'a2' WHERE id = '{row}'",
)
B2 = "UPDATE stem SET b = 'b2' WHERE id = '{row}'"
DELETE = "DELETE FROM stem WHERE id = '{row}'"
NEW_1, NEW_2 = (f"INSERT INTO stem VALUES ('{{row}}', 'a{n}', 'n{n}')" for n in (1, 2))

CHANGES = {
    "both update": (A1, A2),
    "two columns": (A1, B2),
    "deleted, updated": (DELETE, A2),
    "updated, deleted": (A1, DELETE),
    "both delete": (DELETE, DELETE),
    "both insert": (NEW_1, NEW_2),
    "both insert the same": (NEW_1, NEW_1),
    "both update alike": (A1, A1),
}
BEFORE = [row for row, (sql, _) in CHANGES.items() if sql is not NEW_1]

KINDS = {
    "both update": "update/update",
    "two columns": "update/update",
    "deleted, updated": "update/delete",
    "updated, deleted": "delete/update",
    "both insert": "insert/insert",
}
"""What the second device did, and the first; the others are no conflicts."""

AGREED = {
    "both delete": None,
    "both insert the same": ("a1", "n1"),
    "both update alike": ("a1", "b0"),
}
FIRST = {
    "both update": ("a1", "b0"),
    "two columns": ("a1", "b0"),
    "deleted, updated": None,
    "updated, deleted": ("a1", "b0"),
    "both insert": ("a1", "n1"),
}
SECOND = {
    "both update": ("a2", "b0"),
    "two columns": ("a0", "b2"),
    "deleted, updated": ("a2", "b0"),
    "updated, deleted": None,
    "both insert": ("a2", "n2"),
}
JOINED = {
    "both update": ("a1+a2", "b0"),
    "two columns": ("a1+a0", "b2"),
    "deleted, updated": ("a2", "b0"),
    "updated, deleted": ("a1", "b0"),
    "both insert": ("a1+a2", "n2"),
}


MERGED = SECOND | {"two columns": ("a1", "b2")}


def outcomes(rows: dict, outcome: str) -> dict[str, tuple[str, str | None]]:
    """(outcome, who lost) of every conflict where one side stands in all of them."""
    return dict.fromkeys(KINDS, (outcome, {"mine": "a", "theirs": "b"}[outcome]))


EXPECTED = {
    "last_in_wins": (SECOND, outcomes(SECOND, "mine")),
    "server_wins": (FIRST, outcomes(FIRST, "theirs")),
    "newest_wins": (SECOND, outcomes(SECOND, "mine")),
    "merge": (MERGED, outcomes(MERGED, "mine") | {"two columns": ("merged", None)}),
    "python:own_policies.join": (
        JOINED,
        dict.fromkeys(KINDS, ("merged", "a"))
        | {"deleted, updated": ("mine", "a"), "updated, deleted": ("theirs", "b")},
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_pair_of_changes_is_decided_by_the_policy(world, pair, policy, name):
    policy(name)
    a, b = pair
    put(a, {row: first for row, (first, _) in CHANGES.items()})
    put(b, {row: second for row, (_, second) in CHANGES.items()})
    everyone_syncs(a, b)
    rows, decided = EXPECTED[name]
    for device in (a, b):
        assert {row: value(device, row) for row in CHANGES} == {**rows, **AGREED}
        assert device.dirty("stem") == []
    found = logged(world, a, b)
    assert {row: each.kind for row, each in found.items()} == KINDS
    assert {row: (each.outcome, each.loser) for row, each in found.items()} == decided
    assert {each.policy for each in found.values()} == {name}
    for device, who in ((a, "a"), (b, "b")):
        assert set(lost(device)) == {row for row, (_, loser) in decided.items() if loser == who}
    for device in (a, b, a, b):
        again = device.sync()
        assert (again.pushed.rows, again.pulled.rows) == (0, 0), "it goes to and fro"


@pytest.mark.parametrize("name", ["server_wins", "newest_wins"])
def test_the_edit_that_was_made_earlier_and_comes_later_gives_way(world, pair, policy, name):
    policy(name)
    a, b = pair
    put(b, {"both update": A2})
    put(a, {"both update": A1})
    turn_clock(b, "2020-05-05 10:00:00")
    everyone_syncs(a, b)
    assert value(a, "both update") == value(b, "both update") == ("a1", "b0")
    assert logged(world, a, b)["both update"].outcome == "theirs"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("fail", "LookupError: no such thing"),
        ("nonsense", "SQLite cannot hold"),
        ("unknown_column", "columns that were not pushed: nothing"),
    ],
)
def test_a_policy_of_the_application_that_fails_is_reported_and_the_default_decides(
    world, pair, policy, function, said
):
    policy(f"python:own_policies.{function}")
    a, b = pair
    put(a, {"both update": A1})
    put(b, {"both update": A2})
    everyone_syncs(a, b)
    assert value(a, "both update") == value(b, "both update") == ("a2", "b0")
    found = logged(world, a, b)["both update"]
    assert (found.outcome, found.loser) == ("mine", "a")
    assert said in found.note


# Merging


def merged(world, policy, pair, first: str, second: str) -> tuple:
    policy("merge")
    a, b = pair
    put(a, {"both update": first})
    put(b, {"both update": second})
    everyone_syncs(a, b)
    assert value(a, "both update") == value(b, "both update")
    return value(a, "both update")


def test_a_column_that_both_changed_is_as_the_last_push_has_it_and_the_others_are_merged(
    world, pair, policy
):
    first = "UPDATE stem SET a = 'a1', b = 'b1' WHERE id = '{row}'"
    assert merged(world, policy, pair, first, A2) == ("a2", "b1")
    found = logged(world, *pair)["both update"]
    assert (found.outcome, found.loser) == ("merged", "a")
    assert [each["row"]["a"] for each in list_conflicts(pair[0].path)] == ["a1"]


def test_a_value_that_is_set_to_another_class_is_a_change(world, pair, policy):
    pair[0].execute("UPDATE stem SET a = 1, b = 1")
    everyone_syncs(*pair)
    first, second = (f"UPDATE stem SET {s} WHERE id = '{{row}}'" for s in ("a = 1.0", "b = '1'"))
    found = merged(world, policy, pair, first, second)
    assert [(type(v), v) for v in found] == [(float, 1.0), (str, "1")]


def test_several_merges_of_one_row_keep_what_all_have_changed(world: World):
    wide = "CREATE TABLE trunk (id TEXT PRIMARY KEY, a, b, c, d)"
    world.server.run(set_policy(world.server.store, "trunk", "merge"))
    a = world.device("a.db", wide)
    a.execute("INSERT INTO trunk VALUES ('x', 0, 0, 0, 0)")
    a.sync()
    b, c, d = (a.clone(f"{name}.db") for name in "bcd")
    devices = dict(zip("abcd", (a, b, c, d), strict=True))
    for name, device in devices.items():
        device.execute(f"UPDATE trunk SET {name} = '{name}'")
    everyone_syncs(*devices.values())
    for device in devices.values():
        assert device.rows("SELECT * FROM trunk") == [("x", "a", "b", "c", "d")]
    assert not any(list_conflicts(device.path) for device in devices.values())


def test_without_history_nothing_is_merged_and_the_last_push_stands(world: World):
    world.server.run(set_policy(world.server.store, "twig", "merge"))
    twig = "CREATE TABLE twig (id TEXT PRIMARY KEY, a, b)"
    a, b = world.device("a.db", twig), world.device("b.db", twig)
    a.sync()
    world.server.run(switch(world.server.store, world.tenant, "twig", is_on=False))
    a.execute("INSERT INTO twig VALUES ('x', 'a0', 'b0')")
    everyone_syncs(a, b)
    a.execute("UPDATE twig SET a = 'a1'")
    b.execute("UPDATE twig SET b = 'b2'")
    everyone_syncs(a, b)
    assert a.rows("SELECT * FROM twig") == b.rows("SELECT * FROM twig") == [("x", "a0", "b2")]
    assert [each["row"]["a"] for each in list_conflicts(a.path)] == ["a1"]


# Clocks


@pytest.mark.parametrize(
    ("clocks", "expected"),
    [
        ({"a": "2100-01-01"}, "a1"),  # ahead: counts as the time of its push, after the other edit
        ({"b": "2100-01-01"}, "a2"),
        ({"a": "2100-01-01", "b": "2099-01-01"}, "a2"),
        ({"b": "1990-01-01"}, "a1"),
        ({"a": "2020-05-05 10:00", "b": "2020-05-05 10:00"}, "a2"),  # a tie: the last push
    ],
)
def test_clocks_that_are_wrong_and_times_that_are_equal(world, pair, policy, clocks, expected):
    policy("newest_wins")
    devices = dict(zip("ab", pair, strict=True))
    put(devices["a"], {"both update": A1})
    put(devices["b"], {"both update": A2})
    for name, at in clocks.items():
        turn_clock(devices[name], at)
    everyone_syncs(*pair)
    assert {value(device, "both update") for device in pair} == {(expected, "b0")}


# What a device keeps, and writes back


def test_what_lost_is_listed_with_what_stands_and_written_back_as_a_new_edit(world, pair):
    a, b = pair
    put(a, {"both update": A1, "updated, deleted": A1, "deleted, updated": DELETE})
    put(b, {"both update": A2, "updated, deleted": DELETE, "deleted, updated": A2})
    b.execute("UPDATE _syncsession_state SET user_id = 'alice'")
    everyone_syncs(a, b)
    found = lost(a)
    assert found["both update"]["row"] == {"id": "both update", "a": "a1", "b": "b0"}
    assert found["both update"]["now"] == {"id": "both update", "a": "a2", "b": "b0"}
    assert found["both update"]["won_by"] == "alice"
    assert found["updated, deleted"]["now"] is None
    assert found["deleted, updated"]["is_deleted"]
    assert read_status(a.path)["conflicts"] == 3
    restore(a.path, [each["id"] for each in found.values()])
    assert list_conflicts(a.path) == []
    everyone_syncs(a, b)
    for device in (a, b):
        assert value(device, "both update") == ("a1", "b0")
        assert value(device, "updated, deleted") == ("a1", "b0")
        assert value(device, "deleted, updated") is None
    assert list_conflicts(a.path) == list_conflicts(b.path) == []


def test_a_conflict_that_is_not_there_cannot_be_restored_nor_the_others_with_it(world, pair):
    a, b = pair
    put(a, {"both update": A1})
    put(b, {"both update": A2})
    everyone_syncs(a, b)
    (number,) = [each["id"] for each in list_conflicts(a.path)]
    with pytest.raises(NoSuchConflict, match="keeps no conflict 99"):
        restore(a.path, [number, 99])
    assert value(a, "both update") == ("a2", "b0")
    assert [each["id"] for each in list_conflicts(a.path)] == [number]


def test_the_list_follows_what_the_application_makes_of_its_tables(world: World, pair):
    a, b = pair
    put(a, {"both update": A1})
    put(b, {"both update": A2})
    everyone_syncs(a, b)
    a.execute("ALTER TABLE stem DROP COLUMN b")
    (found,) = list_conflicts(a.path)
    assert found["now"] == {"id": "both update", "a": "a2"}
    a.execute("DROP TABLE stem")
    (found,) = list_conflicts(a.path)
    assert found["now"] is None
    with pytest.raises(NoSuchConflict, match="not a synced table any more"):
        restore(a.path, [found["id"]])


def test_what_the_table_refuses_is_not_written_back(world: World):
    unique = "CREATE TABLE burr (id TEXT PRIMARY KEY, a UNIQUE)"
    a, b = world.device("a.db", unique), world.device("b.db", unique)
    a.execute("INSERT INTO burr VALUES ('x', 0)")
    everyone_syncs(a, b)
    a.execute("UPDATE burr SET a = 'a1'")
    b.execute("UPDATE burr SET a = 'a2'")
    everyone_syncs(a, b)
    a.execute("INSERT INTO burr VALUES ('y', 'a1')")
    (found,) = list_conflicts(a.path)
    with pytest.raises(Unappliable, match="UNIQUE"):
        restore(a.path, [found["id"]])
    assert a.rows("SELECT * FROM burr ORDER BY 1") == [("x", "a2"), ("y", "a1")]
    assert len(list_conflicts(a.path)) == 1


VENUE = "CREATE TABLE venue (id INTEGER PRIMARY KEY, name TEXT)"
STAGE = "CREATE TABLE stage (id INTEGER PRIMARY KEY, venue_id INTEGER REFERENCES venue, v BLOB)"


def test_what_lost_is_told_in_the_integers_of_the_device(world: World):
    a, b = (world.device(name, VENUE, STAGE) for name in ("a.db", "b.db"))
    b.execute("INSERT INTO venue VALUES (1, 'of b')", "INSERT INTO stage VALUES (1, 1, 'of b')")
    a.execute("INSERT INTO venue VALUES (1, 'of a')", "INSERT INTO venue VALUES (2, 'other')")
    a.execute("INSERT INTO stage VALUES (1, 1, 'of a')")
    everyone_syncs(a, b)
    here = b.value("SELECT s.id FROM stage AS s WHERE s.v = 'of a'")
    other = b.value("SELECT id FROM venue WHERE name = 'other'")
    assert here != 1
    b.execute(f"UPDATE stage SET venue_id = {other}, v = x'00ff' WHERE id = {here}")
    a.execute("UPDATE stage SET v = 'newer' WHERE v = 'of a'")
    b.sync()
    a.sync()
    b.sync()
    (found,) = list_conflicts(b.path)
    assert found["row"] == {"id": here, "venue_id": other, "v": {"blob": "00ff"}}
    restore(b.path, [found["id"]])
    everyone_syncs(a, b)
    assert a.rows(
        "SELECT s.v, v.name FROM stage AS s JOIN venue AS v ON v.id = s.venue_id ORDER BY 2"
    ) == [("of b", "of b"), (b"\x00\xff", "other")]


# Several at once


def test_the_loser_of_a_row_that_was_kept_before_is_who_wrote_it(world: World, pair, policy):
    policy("server_wins")
    a, b = pair
    c = a.clone("c.db")
    put(a, {"both update": A1})
    put(b, {"both update": A2})
    put(c, {"both update": "UPDATE stem SET a = 'a3' WHERE id = '{row}'"})
    a.sync()
    b.sync()  # its version loses; its session has touched the row
    policy("last_in_wins")
    c.sync()
    everyone_syncs(a, b, c)
    found = logged(world, a, b, c)["both update"]
    assert (found.outcome, found.loser) == ("mine", "a")
    assert {value(device, "both update") for device in (a, b, c)} == {("a3", "b0")}
    assert [each["row"]["a"] for each in list_conflicts(a.path)] == ["a1"]
    assert [each["row"]["a"] for each in list_conflicts(b.path)] == ["a2"]


def test_sessions_that_are_committed_at_the_same_time_meet(world: World, policy):
    """Of two edits of one version exactly one meets the other, whoever is first."""
    policy("server_wins")
    a, b = world.device("a.db", STEM), world.device("b.db", STEM)
    rows = [(f"{n:03}",) for n in range(50)]
    a.put("INSERT INTO stem VALUES (?, 'a0', 'b0')", rows)
    everyone_syncs(a, b)
    with ThreadPoolExecutor(2) as pool:
        for turn in range(8):
            for name, device in (("a", a), ("b", b)):
                device.execute(f"UPDATE stem SET a = '{name}, {turn}' WHERE id < 'a'")
                device.put(f"INSERT INTO stem VALUES (?, '{name}', '')", [(f"new {turn}",)])
            list(pool.map(Device.push, (a, b)))
            everyone_syncs(a, b)
            assert a.rows("SELECT * FROM stem ORDER BY id") == b.rows(
                "SELECT * FROM stem ORDER BY id"
            )
            sql = "SELECT count(*) FROM sync_conflict WHERE tenant_id = :tenant"
            assert world.server.rows(sql, tenant=world.tenant) == [((turn + 1) * 51,)]


# Between the push that lost and the pull that says so


def test_an_edit_before_the_pull_of_what_was_corrected_meets_no_conflict_with_itself(
    world: World, pair, policy, monkeypatch
):
    policy("server_wins")
    a, b = pair
    put(a, {"both update": A1})
    put(b, {"both update": A2, "two columns": B2})
    a.sync()
    b.push()
    put(b, {"two columns": "UPDATE stem SET b = 'b3' WHERE id = '{row}'"})

    def lost(*_: object, **__: object) -> None:
        raise ServerUnreachable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(engine.pull, "begin", lost)
        with pytest.raises(ServerUnreachable):
            b.sync()
    everyone_syncs(a, b)
    assert value(a, "two columns") == value(b, "two columns") == ("a0", "b3")
    assert set(logged(world, a, b)) == {"both update"}


def test_an_edit_before_the_pull_of_what_was_corrected_is_merged_with_what_came_after_the_push(
    world: World, pair, policy
):
    policy("merge")
    a, b = pair
    put(a, {"both update": A1})
    put(b, {"both update": B2, "two columns": "UPDATE stem SET a = 'b1' WHERE id = '{row}'"})
    a.sync()
    b.push()
    a.sync()
    put(a, {"two columns": "UPDATE stem SET a = 'a2' WHERE id = '{row}'"})
    a.sync()
    put(b, {"two columns": "UPDATE stem SET b = 'b2' WHERE id = '{row}'"})
    everyone_syncs(b, a)
    assert value(a, "two columns") == value(b, "two columns") == ("a2", "b2")
    assert [each.outcome for each in logged(world, a, b).values()] == ["merged", "merged"]


def test_an_edit_of_what_lost_before_the_pull_loses_against_what_stands(world: World, pair, policy):
    policy("server_wins")
    a, b = pair
    put(a, {"both update": A1})
    put(b, {"both update": A2})
    a.sync()
    b.push()
    put(b, {"both update": B2})
    everyone_syncs(a, b)
    assert value(a, "both update") == value(b, "both update") == ("a1", "b0")
    assert [each["row"]["b"] for each in list_conflicts(b.path)] == ["b0", "b2"]


def test_an_edit_of_what_was_pulled_last_is_no_conflict(world: World, pair):
    a, b = pair
    for turn in range(3):
        for device in pair:
            device.execute(f"UPDATE stem SET a = '{turn} {device.path.name}'")
            everyone_syncs(*pair)
    assert logged(world, a, b) == {}


def test_a_row_that_came_and_went_before_any_push_deletes_none_of_another_device(
    world: World, pair
):
    a, b = pair
    put(a, {"both insert": NEW_1})
    read_status(a.path)  # folds
    put(a, {"both insert": DELETE})
    put(b, {"both insert": NEW_2})
    b.sync()
    everyone_syncs(a, b)
    assert value(a, "both insert") == value(b, "both insert") == ("a2", "n2")
    found = logged(world, a, b)["both insert"]
    assert (found.kind, found.outcome, found.loser) == ("delete/insert", "theirs", None)
    assert "another of the same key" in found.note
    put(a, {"both insert": DELETE})
    everyone_syncs(a, b)
    assert value(a, "both insert") is value(b, "both insert") is None


def test_versions_that_look_the_same_on_the_device_are_each_kept_and_told_once(world: World):
    device = world.device("a.db", "CREATE TABLE reed (id INTEGER PRIMARY KEY, v)")
    told = ("update/delete", "last_in_wins", "mine", "bob", "2026-01-01T00:00:00.000Z")
    row_ids = [images.encode(["row_id"], [bytes([n]) * 16]) for n in range(2)]
    with DeviceStore(device.path) as store:
        for expected in (2, 0):
            conflicts.open_stage(store)
            rows = [("reed", 7, told[-1], "alice", row_id, None, *told) for row_id in row_ids]
            store.run_many(conflicts.CONFLICTS.stage_lost(), rows)
            with store.write():
                assert conflicts.keep(store, store.tables()) == expected
            conflicts.close_stage(store)
    assert [each["row"] for each in list_conflicts(device.path)] == [{"id": None}] * 2


def test_plain_sql_reads_what_lost(world: World, pair):
    a, b = pair
    put(a, {"both update": A1})
    put(b, {"both update": A2})
    everyone_syncs(a, b)
    with closing(sqlite3.connect(a.path)) as db:
        found = db.execute(
            "SELECT table_name, json_extract(\"row\", '$.a'), kind, policy, outcome"
            " FROM _syncsession_conflicts"
        ).fetchall()
    assert found == [("stem", "a1", "update/update", "last_in_wins", "mine")]
