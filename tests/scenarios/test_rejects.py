"""A row that the server does not take stays on its device, with what depends on it; others go."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from support import Device, Server, World, everyone_syncs, serving

from syncsession_client import engine, push, rejects
from syncsession_client.changes import LocalChanges
from syncsession_client.fold import fold
from syncsession_client.protocol.errors import (
    ForbiddenModifier,
    NoSuchReject,
    RowsRejected,
    ServerUnreachable,
)
from syncsession_client.protocol.rejects import Reject
from syncsession_client.rejects import list_rejects, retry
from syncsession_client.status import read_status
from syncsession_client.store import DeviceStore
from syncsession_server.settings import Settings

LIMIT = 20_000
PINE = "CREATE TABLE pine (id INTEGER PRIMARY KEY, v TEXT)"
CONE = "CREATE TABLE cone (id TEXT PRIMARY KEY, pine INTEGER REFERENCES pine (id), v TEXT)"
SEED = (
    "CREATE TABLE seed (cone TEXT REFERENCES cone (id), n INTEGER, beside TEXT,"
    " PRIMARY KEY (cone, n), FOREIGN KEY (beside, n) REFERENCES seed (cone, n)"
    " DEFERRABLE INITIALLY DEFERRED)"
)
BY_BOB = "UPDATE _syncsession_state SET user_id = 'bob'"
BY_ALICE = "UPDATE _syncsession_state SET user_id = 'alice'"


@pytest.fixture
def phone(world: World) -> Device:
    return world.device("phone.db", PINE, CONE, SEED)


def held(device: Device) -> dict[str, list[str]]:
    """The codes of what is held back, with the keys of the rows."""
    found: dict[str, list[str]] = {}
    for each in list_rejects(device.path):
        key = ",".join(str(value) for value in each["key"].values())
        found.setdefault(each["code"], []).append(f"{each['table']} {key}")
    return {code: sorted(rows) for code, rows in found.items()}


def here(world: World, table: str, column: str = "v") -> list:
    """What the server has in a column of a table."""
    sql = f"SELECT {column} FROM {table} WHERE tenant_id = :tenant AND is_deleted = 0 ORDER BY 1"
    return [value for (value,) in world.server.rows(sql, tenant=world.tenant)]


def refuse(device: Device, *named: Reject) -> int:
    """Let rows be marked as they are when a session of this moment is refused for them."""
    with DeviceStore(device.path) as store, store.write():
        fold(store, store.tables())
        return rejects.mark(store, named, store.state().generation)


def reject(table: str, code: str, **key: object) -> Reject:
    return Reject(table, key, code, f"it is refused for {code}")


# What the server refuses


def test_a_row_of_somebody_else_stays_and_the_others_go_in_the_same_sync(world, phone):
    phone.execute("INSERT INTO pine VALUES (1, 'of alice')", BY_BOB)
    phone.execute("INSERT INTO pine VALUES (2, 'of bob')", BY_ALICE)
    done = phone.sync()
    assert (done.pushed.rows, done.pushed.rejected_rows) == (1, 1)
    assert any("syncsession-client rejects" in text for text in done.warnings)
    assert here(world, "pine") == ["of alice"]
    (found,) = list_rejects(phone.path)
    assert (found["table"], found["key"], found["code"]) == (
        "pine",
        {"id": 2},
        "forbidden_modifier",
    )
    assert "modified by bob" in found["message"]


def test_a_row_that_is_changed_is_tried_again_by_itself(world, phone):
    phone.execute(BY_BOB, "INSERT INTO pine VALUES (2, 'of bob')", BY_ALICE)
    phone.sync()
    phone.execute("UPDATE pine SET v = 'of alice now'")
    assert held(phone) == {}
    done = phone.sync()
    assert (done.pushed.rows, done.pushed.rejected_rows, done.warnings) == (1, 0, ())
    assert here(world, "pine") == ["of alice now"]


def test_a_row_that_is_deleted_is_not_held_back(world, phone):
    phone.execute(BY_BOB, "INSERT INTO pine VALUES (2, 'of bob')", BY_ALICE)
    phone.sync()
    phone.execute("DELETE FROM pine")
    assert phone.sync().warnings == ()
    assert (held(phone), phone.dirty("pine"), here(world, "pine")) == ({}, [], [])


def test_a_deletion_by_somebody_else_stays_too(world, phone):
    phone.execute("INSERT INTO pine VALUES (1, 'of alice')")
    phone.sync()
    phone.execute(BY_BOB, "DELETE FROM pine", BY_ALICE)
    phone.sync()
    assert held(phone) == {"forbidden_modifier": ["pine 1"]}
    assert here(world, "pine") == ["of alice"]


def test_many_rows_of_somebody_else_take_one_session_more(world, phone):
    phone.execute(BY_BOB)
    phone.put("INSERT INTO pine VALUES (?, 'bad')", [(n,) for n in range(1, 301)])
    phone.execute(BY_ALICE, "INSERT INTO pine VALUES (1000, 'good')")
    assert phone.sync(batch_rows=10).pushed.rejected_rows == 300
    assert here(world, "pine") == ["good"]
    statuses = world.server.rows(
        "SELECT status FROM sync_session WHERE tenant_id = :tenant", tenant=world.tenant
    )
    assert sorted(statuses) == [("committed",), ("open",)]


def test_a_push_of_which_nothing_is_left_sends_nothing(world, phone):
    phone.execute(BY_BOB, "INSERT INTO pine VALUES (1, 'of bob')", BY_ALICE)
    phone.sync()
    count = "SELECT count(*) FROM sync_session WHERE tenant_id = :tenant"
    before = world.server.rows(count, tenant=world.tenant)
    done = phone.sync()
    assert (done.pushed.session, done.pushed.rejected_rows) == (None, 0)
    assert "1 rows" in done.warnings[0]
    assert world.server.rows(count, tenant=world.tenant) == before


def test_a_user_that_is_too_long_holds_its_rows_back(world, phone):
    phone.execute("UPDATE _syncsession_state SET user_id = printf('%.300c', 'u')")
    phone.execute("INSERT INTO pine VALUES (1, 'long')", BY_ALICE)
    phone.execute("INSERT INTO pine VALUES (2, 'short')")
    phone.sync()
    assert held(phone) == {"length": ["pine 1"]}
    assert here(world, "pine") == ["short"]


def test_a_key_that_is_too_long_holds_its_row_back(world, phone):
    phone.put(
        "INSERT INTO cone VALUES (?, NULL, ?)",
        [("k" * (1 << 20), 1), ("k" * 2 + "é" * (1 << 19), 2)],
    )
    assert phone.sync().pushed.rejected_rows == 1
    assert [each["code"] for each in list_rejects(phone.path)] == ["key_too_long"]
    assert here(world, "cone") == ["1"]
    phone.execute("UPDATE cone SET id = 'k' WHERE v = 2")
    done = phone.sync()
    assert (done.pushed.rows, done.pushed.rejected_rows, done.warnings) == (1, 0, ())
    assert here(world, "cone") == ["1", "2"]


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes little at once."""
    database = f"sqlite:///{tmp_path_factory.mktemp('small') / 'server.db'}"
    with serving(Settings(database=database, migrate=True, max_body_bytes=LIMIT)) as server:
        yield server


def test_a_row_that_is_too_large_is_found_among_many_and_stays(small_server, tmp_path):
    world = World(small_server, tmp_path)
    phone = world.device("phone.db", PINE)
    chance = random.Random(4)
    rows = [(n, chance.randbytes(2 * LIMIT if n == 50 else 100)) for n in range(1, 1001)]
    phone.put("INSERT INTO pine VALUES (?, ?)", rows)
    done = phone.sync()
    assert (done.pushed.rows, done.pushed.rejected_rows) == (999, 1)
    assert held(phone) == {"too_large": ["pine 50"]}
    phone.execute("UPDATE pine SET v = x'00' WHERE id = 50")
    assert phone.sync().pushed.rows == 1
    assert world.device("laptop.db", PINE).sync().pulled.rows == 1000


def test_a_refusal_that_names_no_row_of_the_device_is_an_error(phone, monkeypatch):
    phone.execute("INSERT INTO pine VALUES (1, 'x')")

    def refused(*_: object, **__: object) -> None:
        error = RowsRejected("it is refused")
        error.rejects = [reject("pine", "type", row_id={"blob": "00" * 16})]
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(push, "send", refused)
        with pytest.raises(RowsRejected):
            phone.sync()
    assert phone.sync().pushed.rows == 1


def test_a_row_that_is_edited_without_end_is_in_no_other_rows_way(world, phone, monkeypatch):
    phone.execute(BY_BOB, "INSERT INTO cone VALUES ('a', NULL, 0)", BY_ALICE)
    phone.execute("INSERT INTO pine VALUES (1, 'another')")
    send, sent = push.send, []

    def edited_meanwhile(*args: Any, **options: Any) -> Any:
        sent.append(1)
        phone.execute(BY_BOB, "UPDATE cone SET v = v + 1", BY_ALICE)
        return send(*args, **options)

    monkeypatch.setattr(push, "send", edited_meanwhile)
    done = phone.sync()
    assert (done.pushed.rows, done.pushed.rejected_rows, len(sent)) == (1, 1, 3)
    assert here(world, "pine") == ["another"]
    monkeypatch.undo()
    phone.execute("UPDATE cone SET v = 9")  # by alice
    assert phone.sync().pushed.rows == 1
    assert (held(phone), here(world, "cone")) == ({}, ["9"])


def test_a_row_that_is_edited_after_each_refusal_ends_the_sync_with_it(phone, monkeypatch):
    phone.execute(BY_BOB, "INSERT INTO cone VALUES ('a', NULL, 0)")
    refused = []

    def edited(name: str) -> None:
        if name == "push.refused":
            refused.append(name)
            phone.execute("UPDATE cone SET v = v + 1")

    with monkeypatch.context() as patched:
        patched.setattr(engine, "point", edited)
        with pytest.raises(ForbiddenModifier):
            phone.sync()
    assert len(refused) == 1 + engine.MOST_REFUSALS
    assert phone.sync().pushed.rejected_rows == 1


def test_a_row_that_was_held_back_as_it_was_edited_is_tried_again_with_the_next_sync(
    world, phone, monkeypatch
):
    phone.execute(BY_BOB, "INSERT INTO cone VALUES ('a', NULL, 0)", BY_ALICE)
    send, sent = push.send, []

    def edited_meanwhile(*args: Any, **options: Any) -> Any:
        sent.append(1)
        user = BY_BOB if len(sent) == 1 else BY_ALICE
        phone.execute(user, "UPDATE cone SET v = v + 1", BY_ALICE)
        return send(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(push, "send", edited_meanwhile)
        assert phone.sync().pushed.rejected_rows == 1
    assert len(sent) == 2
    assert held(phone) == {"forbidden_modifier": ["cone a"]}
    assert phone.sync().pushed.rows == 1
    assert (held(phone), here(world, "cone")) == ({}, ["2"])


@pytest.mark.parametrize("moment", ["begin_push", "send_batch"])
def test_a_session_that_is_resumed_and_refused_holds_its_rows_back(
    world, phone, monkeypatch, moment
):
    phone.execute(BY_BOB, "INSERT INTO pine VALUES (1, 'of bob')", BY_ALICE)
    phone.execute("INSERT INTO pine VALUES (2, 'of alice')")

    def lost(*_: object, **__: object) -> None:
        raise ServerUnreachable("the line is cut")

    with monkeypatch.context() as patched:
        patched.setattr(f"syncsession_client.transport.Transport.{moment}", lost)
        with pytest.raises(ServerUnreachable):
            phone.sync()
    done = phone.sync()
    assert (done.pushed.rows, done.pushed.rejected_rows) == (1, 1)
    assert here(world, "pine") == ["of alice"]


@pytest.mark.parametrize(("editor", "rejected"), [("alice", 0), ("bob", 1)])
def test_a_row_that_was_edited_since_is_looked_at_anew_in_the_sync_that_hears_of_its_refusal(
    world, phone, monkeypatch, editor, rejected
):
    phone.execute(BY_BOB, "INSERT INTO cone VALUES ('a', NULL, 'of bob')", BY_ALICE)

    def lost(*_: object, **__: object) -> None:
        raise ServerUnreachable("the line is cut")

    with monkeypatch.context() as patched:
        patched.setattr("syncsession_client.transport.Transport.send_batch", lost)
        with pytest.raises(ServerUnreachable):
            phone.sync()
    phone.execute(
        f"UPDATE _syncsession_state SET user_id = '{editor}'", "UPDATE cone SET v = 'later'"
    )
    with phone.engine() as engine:
        engine.fold()
    done = phone.sync()
    assert (done.pushed.rows, done.pushed.rejected_rows) == (1 - rejected, rejected)
    assert len(here(world, "cone")) == 1 - rejected
    assert len(held(phone)) == rejected


# What depends on it


def test_rows_that_reference_a_new_row_which_is_held_back_wait_for_it(world, phone):
    phone.execute(BY_BOB, "INSERT INTO pine VALUES (1, 'of bob')", BY_ALICE)
    phone.execute(
        "INSERT INTO pine VALUES (2, 'of alice')",
        "INSERT INTO cone VALUES ('waits', 1, 0), ('goes', 2, 0), ('free', NULL, 0)",
        "INSERT INTO seed VALUES ('waits', 1, NULL), ('goes', 1, 'waits'), ('goes', 2, NULL)",
    )
    phone.sync()
    assert held(phone) == {
        "forbidden_modifier": ["pine 1"],
        "depends_on_rejected": ["cone waits", "seed goes,1", "seed waits,1"],
    }
    found = {each["id"]: each for each in list_rejects(phone.path)}
    waits = next(e for e in found.values() if e["key"] == {"id": "waits"})
    assert found[waits["waits_for"]]["table"] == "pine"
    assert waits["message"] == 'it references pine {"id":1}, which is held back itself'
    assert here(world, "cone", "id") == ["free", "goes"]
    phone.execute("UPDATE pine SET v = 'of alice' WHERE id = 1")
    assert held(phone) == {}
    assert phone.sync().pushed.rows == 4
    assert len(here(world, "seed", "n")) == 3


def test_a_row_that_waits_keeps_its_number_and_waits_on_when_it_changes(phone):
    phone.execute(BY_BOB, "INSERT INTO pine VALUES (1, 'of bob')", BY_ALICE)
    phone.execute("INSERT INTO cone VALUES ('waits', 1, 0)")
    phone.sync()
    before = list_rejects(phone.path)
    phone.execute("UPDATE cone SET v = 1")
    phone.sync()
    assert list_rejects(phone.path) == before
    phone.execute("UPDATE cone SET pine = NULL")
    assert phone.sync().pushed.rows == 1
    assert held(phone) == {"forbidden_modifier": ["pine 1"]}


def test_rows_that_reference_a_row_which_the_server_has_do_not_wait(world, phone):
    phone.execute("INSERT INTO pine VALUES (1, 'known')")
    phone.sync()
    phone.execute(BY_BOB, "UPDATE pine SET v = 'of bob'", BY_ALICE)
    phone.execute("INSERT INTO cone VALUES ('goes', 1, 0)")
    assert phone.sync().pushed.rows == 1
    assert held(phone) == {"forbidden_modifier": ["pine 1"]}


def test_rows_that_reference_each_other_wait_together_and_go_together(world):
    ring = "CREATE TABLE ring (id TEXT PRIMARY KEY, next TEXT REFERENCES ring (id))"
    phone = world.device("phone.db", ring)
    phone.execute(BY_BOB, "INSERT INTO ring VALUES ('a', NULL)", BY_ALICE)
    phone.execute(
        "INSERT INTO ring VALUES ('b', 'a'), ('c', 'b')", "INSERT INTO ring VALUES ('d', 'd')"
    )
    phone.sync()
    assert held(phone)["depends_on_rejected"] == ["ring b", "ring c"]
    phone.execute("UPDATE ring SET next = 'c' WHERE id = 'a'")
    assert phone.sync().pushed.rows == 3
    assert held(phone) == {}
    assert here(world, "ring", "id") == ["a", "b", "c", "d"]


# What is missing


def test_a_row_waits_for_the_row_that_it_references_and_goes_once_it_is_there(world, phone):
    phone.execute("INSERT INTO cone VALUES ('waits', 1, 0)", foreign_keys=False)
    assert refuse(phone, reject("cone", "missing_reference", id="waits")) == 1
    phone.execute("INSERT INTO pine VALUES (2, 'another')")
    assert phone.sync().pushed.rows == 1
    assert held(phone) == {"missing_reference": ["cone waits"]}
    phone.execute("INSERT INTO pine VALUES (1, 'it')")
    assert phone.sync().pushed.rows == 2
    assert held(phone) == {}


def test_a_row_waits_for_one_that_is_held_back_itself(phone):
    phone.execute("INSERT INTO pine VALUES (1, 'bad')", "INSERT INTO cone VALUES ('waits', 1, 0)")
    with DeviceStore(phone.path) as store, store.write():
        fold(store, store.tables())
        ((row_id,),) = store.rows('SELECT row_id FROM "_sync_pine_rows"')
    assert (
        refuse(
            phone,
            reject("cone", "missing_reference", id="waits"),
            reject("pine", "type", row_id={"blob": row_id.hex()}),
        )
        == 2
    )
    assert phone.sync().pushed.rows == 0
    assert held(phone) == {"missing_reference": ["cone waits"], "type": ["pine 1"]}
    phone.execute("UPDATE pine SET v = 'good'")
    assert phone.sync().pushed.rows == 2


def test_rows_that_wait_for_each_other_and_for_a_third_go_when_that_comes(world):
    pair = (
        "CREATE TABLE half (id TEXT PRIMARY KEY, other TEXT REFERENCES half (id),"
        " third TEXT REFERENCES half (id))"
    )
    phone = world.device("phone.db", pair)
    phone.execute("INSERT INTO half VALUES ('a', 'b', NULL), ('b', 'a', 'c')", foreign_keys=False)
    refuse(phone, *(reject("half", "missing_reference", id=name) for name in "ab"))
    assert phone.sync().pushed.rows == 0
    phone.execute("INSERT INTO half VALUES ('c', NULL, NULL)")
    assert phone.sync().pushed.rows == 3


def test_a_row_whose_reference_the_server_alone_misses_stays_until_it_changes(phone):
    phone.execute("INSERT INTO pine VALUES (1, 'here')")
    phone.sync()
    phone.execute("INSERT INTO cone VALUES ('stays', 1, 0)")
    refuse(phone, reject("cone", "missing_reference", id="stays"))
    for _ in range(2):
        assert phone.sync().pushed.rows == 0
    assert held(phone) == {"missing_reference": ["cone stays"]}
    phone.execute("UPDATE cone SET v = 1")
    assert phone.sync().pushed.rows == 1


# The marks


def test_a_row_that_was_edited_since_the_session_was_sealed_is_not_marked(phone):
    phone.execute("INSERT INTO cone VALUES ('a', NULL, 0)")
    assert refuse(phone, reject("CONE", "unique_taken", ID="a")) == 1
    assert refuse(phone, reject("cone", "unique_taken", id="a")) == 0
    sealed = phone.value("SELECT generation FROM _syncsession_state")
    phone.execute("UPDATE cone SET v = 1")
    with DeviceStore(phone.path) as store, store.write():
        fold(store, store.tables())
        assert rejects.mark(store, [reject("cone", "unique_taken", id="a")], sealed) == 1
    assert held(phone) == {}


@pytest.mark.parametrize(
    "named",
    [
        Reject("nobody", {"id": "a"}, "type", "no such table"),
        Reject("cone", {"id": "b"}, "type", "no such row"),
        Reject("cone", {"other": "a"}, "type", "no such key"),
        Reject("cone", {"id": {"blob": "no digits"}}, "type", "no value"),
        Reject("cone", {}, "type", "no key"),
    ],
    ids=lambda named: named.message,
)
def test_a_reject_of_nothing_that_is_here_marks_nothing(phone, named):
    phone.execute("INSERT INTO cone VALUES ('a', NULL, 0)")
    assert refuse(phone, named) == 0
    assert phone.sync().pushed.rows == 1


def test_a_pull_leaves_a_row_that_is_held_back_as_it_is(world, phone):
    laptop = world.device("laptop.db", PINE, CONE, SEED)
    phone.execute("INSERT INTO cone VALUES ('a', NULL, 0)")
    everyone_syncs(phone, laptop)
    laptop.execute("UPDATE cone SET v = 'of the laptop'")
    laptop.sync()
    phone.execute(BY_BOB, "UPDATE cone SET v = 'of bob'", BY_ALICE)
    phone.sync()
    phone.sync()
    assert phone.value("SELECT v FROM cone") == "of bob"
    assert held(phone) == {"forbidden_modifier": ["cone a"]}
    phone.execute("UPDATE cone SET v = 'of alice'")
    everyone_syncs(phone, laptop)
    assert laptop.value("SELECT v FROM cone") == "of alice"


def test_a_row_that_is_set_back_to_what_the_server_has_is_not_held_back(phone):
    phone.execute("INSERT INTO cone VALUES ('a', NULL, 0)")
    phone.sync()
    phone.execute(BY_BOB, "UPDATE cone SET v = 'bad'", BY_ALICE)
    phone.sync()
    phone.execute("UPDATE cone SET v = 0")
    assert phone.sync().pushed.rows == 0
    assert (held(phone), phone.dirty("cone")) == ({}, [])


def test_retry_lets_the_next_sync_try_all_or_some_again(world, phone):
    phone.execute(BY_BOB, "INSERT INTO cone VALUES ('a', NULL, 0), ('b', NULL, 0)", BY_ALICE)
    phone.sync()
    phone.token = world.server.token(world.tenant, "alice", "sync", "act_for_others")
    assert phone.sync().pushed.rows == 0
    first, second = list_rejects(phone.path)
    with pytest.raises(NoSuchReject, match="holds no row 99 back"):
        retry(phone.path, [first["id"], 99])
    assert retry(phone.path, [first["id"]]) == [first]
    assert list_rejects(phone.path) == [second]
    assert phone.sync().pushed.rows == 1
    assert retry(phone.path) == [second]
    assert phone.sync().pushed.rows == 1
    assert held(phone) == {}


def test_any_program_can_let_a_row_be_tried_again(world, phone):
    phone.execute(BY_BOB, "INSERT INTO cone VALUES ('a', NULL, 0), ('b', NULL, 0)", BY_ALICE)
    phone.sync()
    phone.token = world.server.token(world.tenant, "alice", "sync", "act_for_others")
    phone.execute("DELETE FROM _syncsession_rejects WHERE json_extract(row_key, '$.id') = 'a'")
    assert phone.sync().pushed.rows == 1
    phone.execute("DELETE FROM _syncsession_rejects")
    assert phone.sync().pushed.rows == 1


CHANGES = {
    "renamed": ["ALTER TABLE cone RENAME TO fruit"],
    "rebuilt": [
        "CREATE TABLE fresh (id TEXT PRIMARY KEY, pine INTEGER REFERENCES pine (id), v TEXT, w)",
        "INSERT INTO fresh SELECT id, pine, v, NULL FROM cone",
        "DROP TABLE cone",
        "ALTER TABLE fresh RENAME TO cone",
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_table_loses_no_row_that_is_held_back(world, change):
    phone = world.device("phone.db", PINE, CONE)
    phone.execute(BY_BOB, "INSERT INTO cone VALUES ('a', NULL, 0)", BY_ALICE)
    phone.sync()
    phone.execute(*CHANGES[change], foreign_keys=False)
    phone.sync()
    assert [row for rows in held(phone).values() for row in rows] in (["fruit a"], ["cone a"], [])
    phone.execute(f"UPDATE {'fruit' if change == 'renamed' else 'cone'} SET v = 'good'")
    phone.sync()
    assert (held(phone), here(world, "cone")) == ({}, ["good"])


def test_a_table_that_is_dropped_takes_along_what_is_said_of_its_rows(world, phone):
    phone.execute(BY_BOB, "INSERT INTO seed VALUES ('x', 1, NULL)", BY_ALICE, foreign_keys=False)
    phone.sync()
    phone.execute("DROP TABLE seed")
    assert held(phone) == {}
    assert phone.rows("SELECT * FROM _syncsession_pending") == []


# What tells of it


def test_status_counts_what_is_held_back(phone):
    phone.execute(BY_BOB, "INSERT INTO pine VALUES (1, 'of bob')", BY_ALICE)
    phone.execute("INSERT INTO cone VALUES ('waits', 1, 0)")
    phone.sync()
    phone.execute("INSERT INTO pine VALUES (2, 'new')")
    status = read_status(phone.path)
    assert status["rejected_rows"] == 2
    counts = {t["name"]: (t["dirty_rows"], t["rejected_rows"]) for t in status["tables"]}
    assert counts == {"pine": (2, 1), "cone": (1, 1), "seed": (0, 0)}
    phone.execute("UPDATE pine SET v = 'of alice'")
    assert read_status(phone.path)["rejected_rows"] == 0


def test_a_watch_has_nothing_to_do_about_what_is_held_back(phone):
    with LocalChanges(phone.path) as changes:
        changes.look()
        phone.execute(BY_BOB, "INSERT INTO pine VALUES (1, 'of bob')", BY_ALICE)
        assert changes.look()
        phone.sync()
        assert not changes.settle(is_synced=True)
        assert not changes.look()


def test_what_has_still_to_be_pushed_is_shown_with_the_log_and_what_is_held_back(phone):
    phone.execute(BY_BOB, "INSERT INTO pine VALUES (1, 'of bob')", BY_ALICE)
    phone.execute("INSERT INTO cone VALUES ('it''s', NULL, 0), ('gone', NULL, 0)")
    phone.sync()
    phone.execute(
        "DELETE FROM cone WHERE id = 'gone'", "INSERT INTO seed VALUES ('it''s', 7, NULL)"
    )
    columns = "table_name, row_key, is_deleted, modified_by_user_id, is_rejected"
    assert phone.rows(f"SELECT {columns} FROM _syncsession_pending ORDER BY 1, 2") == [
        ("cone", "'gone'", 1, "alice", 0),
        ("pine", "1", 0, "bob", 1),
        ("seed", "'it''s', 7", 0, "alice", 0),
    ]
    phone.execute("UPDATE pine SET v = 'of alice'")
    assert (
        phone.value("SELECT is_rejected FROM _syncsession_pending WHERE table_name = 'pine'") == 0
    )
    phone.sync()
    assert phone.rows("SELECT * FROM _syncsession_pending") == []


def test_what_has_still_to_be_pushed_follows_the_tables(world):
    phone = world.device("phone.db", PINE, CONE)
    names = "SELECT DISTINCT table_name FROM _syncsession_pending ORDER BY 1"
    phone.execute("INSERT INTO pine VALUES (1, 0)", "INSERT INTO cone VALUES ('a', 1, 0)")
    assert phone.rows(names) == [("cone",), ("pine",)]
    phone.execute("ALTER TABLE cone RENAME TO fruit", "CREATE TABLE leaf (id TEXT PRIMARY KEY)")
    phone.execute("INSERT INTO leaf VALUES ('green')")
    phone.init(tables=("leaf",))
    assert phone.rows(names) == [("fruit",), ("leaf",), ("pine",)]
    phone.execute("DROP TABLE leaf")
    read_status(phone.path)
    assert phone.rows(names) == [("fruit",), ("pine",)]
    phone.execute("DROP TABLE fruit", "DROP TABLE pine")
    read_status(phone.path)
    assert phone.rows(names) == []


def test_more_tables_than_a_compound_select_takes_are_shown(world):
    many = [f"CREATE TABLE many_{n} (id TEXT PRIMARY KEY)" for n in range(520)]
    phone = world.device("phone.db", *many)
    phone.execute(*(f"INSERT INTO many_{n} VALUES ('x')" for n in range(520)))
    assert phone.value("SELECT count(*) FROM _syncsession_pending") == 520
    phone.execute("ALTER TABLE many_7 RENAME TO other", "DROP TABLE many_8")
    names = "SELECT table_name FROM _syncsession_pending WHERE table_name IN ('other', 'many_8')"
    read_status(phone.path)
    assert phone.rows(names) == [("other",)]
