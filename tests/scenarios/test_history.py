"""History: who changed what, when and where, and what it was before."""

import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner, Result
from support import Device, World, everyone_syncs

from syncsession_client.statements import to_pyformat
from syncsession_server import cleanup, revert
from syncsession_server import versions as told
from syncsession_server.cli import main
from syncsession_server.keys import SETTINGS

BOTTLE = "CREATE TABLE bottle (id INTEGER PRIMARY KEY, drink_id TEXT REFERENCES drink, level)"
DRINK = "CREATE TABLE drink (id TEXT PRIMARY KEY, name TEXT, litres REAL)"
VERSIONS = (
    "SELECT row_key, session, operation, user_id, modified_by_user_id, device_id, image"
    "  FROM sync_history WHERE tenant_id = :tenant_id AND table_name = :table_name"
    " ORDER BY session, row_key"
)


def versions(world: World, table: str) -> list[tuple[bytes, int, str, dict]]:
    """(key, session, operation, image) of each, in order."""
    name = table.encode() if world.server.store.sql.name == "mysql" else table
    rows = world.server.rows(VERSIONS, tenant_id=world.tenant, table_name=name)
    return [(bytes(r[0]), r[1], r[2], json.loads(r[-1])) for r in rows]


def test_each_session_leaves_a_version_of_what_it_changed(world):
    phone = world.device("phone.db", DRINK)
    phone.execute("INSERT INTO drink VALUES ('a', 'tea', 0.5), ('b', NULL, 1.0)")
    phone.sync()
    laptop = phone.clone("laptop.db")
    laptop.execute("UPDATE drink SET name = 'milk' WHERE id = 'b'")
    laptop.sync()
    phone.sync()
    phone.execute("DELETE FROM drink WHERE id = 'a'")
    phone.sync()
    phone.execute("INSERT INTO drink VALUES ('a', 'rum', 0.25)")
    phone.sync()
    assert versions(world, "drink") == [
        (b"a", 1, "insert", {"id": "a", "name": "tea", "litres": 0.5}),
        (b"b", 1, "insert", {"id": "b", "name": None, "litres": 1.0}),
        (b"b", 2, "update", {"id": "b", "name": "milk", "litres": 1.0}),
        (b"a", 3, "delete", {"id": "a", "name": "tea", "litres": 0.5}),
        (b"a", 4, "insert", {"id": "a", "name": "rum", "litres": 0.25}),
    ]


def run(world: World, *args: str) -> Result:
    """A command of the server, for the tenant."""
    database = world.server.app[SETTINGS].database
    return CliRunner().invoke(main, [*args, "--tenant", world.tenant, "--database", database])


def ok(world: World, *args: str) -> list[str]:
    """The lines that a command prints."""
    done = run(world, *args)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def as_json(world: World, table: str, key: str) -> list[dict]:
    """The versions of a row."""
    (line,) = ok(world, "history", table, key, "--json")
    return json.loads(line)["versions"]


@pytest.fixture
def bar(world: World) -> tuple[Device, Device]:
    """Two devices that both have a drink in two bottles."""
    phone = world.device("phone.db", DRINK, BOTTLE)
    phone.execute("INSERT INTO drink VALUES ('a', 'tea', 0.5)")
    phone.execute("INSERT INTO bottle VALUES (1, 'a', 10), (2, 'a', 20)")
    phone.sync()
    return phone, phone.clone("laptop.db")


def test_the_life_of_a_row_is_told_by_its_key(world, bar):
    phone, laptop = bar
    laptop.execute("UPDATE drink SET name = 'milk'")
    laptop.sync()
    laptop.execute("DELETE FROM bottle", "DELETE FROM drink")
    laptop.sync()
    lines = ok(world, "history", "drink", "a")
    assert lines[0] == "row a"
    assert [line.split()[:2] for line in lines if not line.startswith("    ")][1:] == [
        ["1", "insert"],
        ["2", "update"],
        ["3", "delete"],
    ]
    assert [line.strip() for line in lines if line.startswith("    ")] == [
        *('id: "a"', 'name: "tea"', "litres: 0.5"),
        'name: "tea" -> "milk"',
    ]
    made, changed, _ = as_json(world, "drink", "a")
    assert (made["session"], made["user_id"], made["modified_by_user_id"]) == (1, "alice", "alice")
    assert made["device_id"] == phone.value("SELECT device_id FROM _syncsession_state")
    assert changed["device_id"] == laptop.value("SELECT device_id FROM _syncsession_state")
    assert (changed["changed"], json.loads(changed["image"])["name"]) == (["name"], "milk")


def test_a_row_with_a_local_key_is_found_by_its_integer_and_by_its_row_id(world, bar):
    phone, _ = bar
    phone.execute("UPDATE bottle SET level = 5 WHERE id = 2")
    phone.sync()
    lines = ok(world, "history", "bottle", "2")
    assert lines[-1] == "    level: 20 -> 5"
    row_id = lines[0].removeprefix("row ")
    assert ok(world, "history", "bottle", row_id) == lines


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("history", "drink", "nobody"), "no_history"),
        (("history", "drink", "a", "b"), "bad_request"),
        (("history", "nothing", "a"), "unknown_table"),
        (("as-of", "yesterday", "drink"), "bad_request"),
        (("revert", "99"), "unknown_session"),
    ],
)
def test_what_history_cannot_tell_is_said(world, bar, args, code):
    done = run(world, *args)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.endswith(f"[{code}]\n")


def test_a_table_and_a_row_are_printed_as_they_were(world, bar):
    phone, _ = bar
    (first,) = as_json(world, "drink", "a")
    then = first["committed_at_utc"]
    phone.execute("UPDATE drink SET name = 'rum'", "INSERT INTO drink VALUES ('b', 'gin', 1)")
    phone.execute("DELETE FROM bottle WHERE id = 1")
    phone.sync()
    tea = {"id": "a", "name": "tea", "litres": 0.5}
    assert [json.loads(line) for line in ok(world, "as-of", then, "drink")] == [tea]
    assert [json.loads(line) for line in ok(world, "as-of", then, "drink", "a")] == [tea]
    assert len(ok(world, "as-of", then, "bottle")) == 2
    assert len(ok(world, "as-of", "9999-01-01", "bottle")) == 1
    assert len(ok(world, "as-of", "9999-01-01", "drink")) == 2
    assert ok(world, "as-of", "2020-01-01", "drink") == []


def test_a_session_is_undone_where_nothing_touched_it_since(world, bar):
    phone, laptop = bar
    laptop.execute(
        "UPDATE bottle SET level = 1 WHERE id = 1",
        "UPDATE bottle SET level = 2 WHERE id = 2",
        "INSERT INTO bottle VALUES (3, NULL, 30)",
        "INSERT INTO drink VALUES ('b', 'gin', 1.0)",
        "UPDATE drink SET name = NULL WHERE id = 'a'",
    )
    laptop.sync()
    phone.sync()
    phone.execute("UPDATE bottle SET level = 3 WHERE id = 2")
    phone.sync()
    would = ok(world, "revert", "2", "--dry-run")
    assert phone.sync().pulled.rows == 0
    did = ok(world, "revert", "2")
    assert [line.replace("would bring", "brought") for line in would] == did[:-1]
    assert did[0].startswith("left: bottle {")
    assert did[0].endswith("a later session wrote it")
    assert sorted(did[1:-1]) == ["brought back: 2 of bottle", "brought back: 2 of drink"]
    assert did[-1] == "session 2 is undone by session 4"
    everyone_syncs(phone, laptop)
    for device in bar:
        assert device.rows("SELECT * FROM drink") == [("a", "tea", 0.5)]
        assert device.rows("SELECT * FROM bottle ORDER BY id") == [(1, "a", 10), (2, "a", 3)]
    _, _, undone = as_json(world, "drink", "a")
    assert (undone["operation"], undone["user_id"]) == ("update", "server")


def test_a_deletion_is_undone(world, bar):
    phone, laptop = bar
    phone.execute("DELETE FROM bottle", "DELETE FROM drink")
    phone.sync()
    ok(world, "revert", "2")
    everyone_syncs(laptop, phone)
    assert phone.rows("SELECT * FROM drink") == laptop.rows("SELECT * FROM drink")
    assert phone.rows("SELECT drink_id, level FROM bottle ORDER BY 2") == [("a", 10), ("a", 20)]
    ok(world, "revert", "3")
    everyone_syncs(laptop, phone)
    assert laptop.rows("SELECT * FROM drink") == laptop.rows("SELECT * FROM bottle") == []


def test_what_others_refer_to_stays_when_its_session_is_undone(world, bar):
    phone, laptop = bar
    phone.execute("INSERT INTO drink VALUES ('b', 'gin', 1.0), ('c', 'rum', 1.0)")
    everyone_syncs(phone, laptop)
    laptop.execute("INSERT INTO bottle VALUES (9, 'b', 5)")
    everyone_syncs(laptop, phone)
    left, brought, _ = ok(world, "revert", "2")
    assert left.startswith('left: drink {"id":"b"')
    assert left.endswith("rows of bottle refer to it")
    assert brought == "brought back: 1 of drink"
    everyone_syncs(phone, laptop)
    assert phone.rows("SELECT id FROM drink ORDER BY 1") == [("a",), ("b",)]
    assert phone.rows("SELECT drink_id FROM bottle WHERE level = 5") == [("b",)]
    assert phone.orphans() == laptop.orphans() == []


def test_what_refers_to_a_row_that_is_gone_since_stays_deleted(world, bar):
    phone, laptop = bar
    phone.execute("DELETE FROM bottle")
    phone.sync()
    phone.execute("DELETE FROM drink")
    phone.sync()
    left = ok(world, "revert", "2")
    assert len(left) == 2
    assert all(line.endswith("the row of drink that it refers to is gone") for line in left)
    everyone_syncs(phone, laptop)
    assert phone.rows("SELECT * FROM bottle") == []


def test_a_row_whose_unique_value_another_has_by_now_stays_deleted(world):
    cup = "CREATE TABLE cup (id TEXT PRIMARY KEY, mark TEXT UNIQUE)"
    a = world.device("a.db", cup)
    a.execute("INSERT INTO cup VALUES ('old', 'x'), ('other', 'y')")
    a.sync()
    a.execute("DELETE FROM cup")
    a.sync()
    a.execute("INSERT INTO cup VALUES ('new', 'x')")
    a.sync()
    left, brought, _ = ok(world, "revert", "2")
    assert left.startswith('left: cup {"id":"old"')
    assert left.endswith("another row of cup has the same mark")
    assert brought == "brought back: 1 of cup"
    a.sync()
    assert a.rows("SELECT * FROM cup ORDER BY 1") == [("new", "x"), ("other", "y")]


def test_history_that_is_off_keeps_nothing_and_begins_with_all_rows_again(world, bar):
    phone, _ = bar
    ok(world, "table", "set", "drink", "--history", "off")
    phone.execute("UPDATE drink SET name = 'rum'", "INSERT INTO drink VALUES ('b', 'gin', 1)")
    phone.sync()
    assert len(versions(world, "drink")) == 1
    assert run(world, "as-of", "9999-01-01", "drink").stderr.endswith("[no_history]\n")
    assert ok(world, "revert", "2")[0].endswith("history was off")
    ok(world, "table", "set", "drink", "--history", "on")
    phone.execute("UPDATE drink SET name = 'milk' WHERE id = 'b'")
    phone.sync()
    assert [(key, operation) for key, _, operation, _ in versions(world, "drink")] == [
        *((b"a", "insert"), (b"a", "baseline"), (b"b", "baseline")),
        (b"b", "update"),
    ]
    assert len(ok(world, "as-of", "9999-01-01", "drink")) == 2
    assert run(world, "as-of", "2020-01-01", "drink").stderr.endswith("[no_history]\n")


def test_the_base_of_an_edit_is_found_by_its_session(world, bar):
    phone, _ = bar
    phone.execute("UPDATE drink SET name = 'rum'")
    phone.sync()
    phone.execute("DELETE FROM bottle", "DELETE FROM drink")
    phone.sync()

    def base(key: bytes, session: int) -> object:
        store = world.server.store
        table = {"tenant_id": world.tenant, "table_name": "drink"}
        edited = {"row_key": key, "key_hash": b"", "device_id": "another", "session": session}
        found = world.server.run(store.read(lambda tx: told.base(store, tx, table, edited)))
        return found and found["name"]

    sessions = [(b"a", 1), (b"a", 2), (b"a", 3), (b"a", 4), (b"b", 1)]
    assert [base(*each) for each in sessions] == ["tea", "rum", None, None, None]


def test_what_was_replaced_long_ago_is_removed_and_what_was_so_since_is_known(world, bar):
    phone, _ = bar
    for name in ("rum", "gin", "milk"):
        phone.execute(f"UPDATE drink SET name = '{name}'")
        phone.sync()
    phone.execute("DELETE FROM bottle WHERE id = 1")
    phone.sync()
    times = (("2020-01-01", "1"), ("2020-02-01", "2"), ("2020-03-01", "5"))
    for day, session in times:
        age(world, f"{day}T00:00:00.000Z", int(session))
    since = now_days() - days("2020-02-15")
    keeping = cleanup.Keeping(activity_seconds=1800, retention_days=0, history_days=since)
    before = ok(world, "as-of", "2020-02-16", "drink")
    world.server.run(cleanup.prune_history(world.server.store, keeping))
    assert [image["name"] for *_, image in versions(world, "drink")] == ["rum", "gin", "milk"]
    assert len(versions(world, "bottle")) == 3  # the deletion is of March
    assert ok(world, "as-of", "2020-02-16", "drink") == before
    assert run(world, "as-of", "2020-02-01", "drink").stderr.endswith("[no_history]\n")
    later = cleanup.Keeping(activity_seconds=1800, retention_days=0, history_days=1)
    world.server.run(cleanup.prune_history(world.server.store, later))
    assert len(versions(world, "bottle")) == 1
    assert [image["name"] for *_, image in versions(world, "drink")] == ["rum", "gin", "milk"]


def age(world: World, committed: str, session: int) -> None:
    """Have a session committed at that time."""
    store = world.server.store
    sql = (
        "UPDATE sync_history SET committed_at_utc = :committed"
        " WHERE tenant_id = :tenant_id AND session = :session"
    )
    text = to_pyformat(sql) if store.sql.name == "mysql" else sql
    params = {"committed": committed, "tenant_id": world.tenant, "session": session}
    assert world.server.run(store.run(text, params))


def days(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() / 86_400


def now_days() -> float:
    return datetime.now(UTC).timestamp() / 86_400


def test_a_row_that_is_written_while_its_session_is_undone_is_left(world, monkeypatch):
    a = world.device("a.db", DRINK)
    a.execute("INSERT INTO drink VALUES ('tea', 'Tea', 1.0)")
    a.sync()
    a.execute("UPDATE drink SET name = 'Green tea'")
    a.sync()
    write = revert._Undoing._write

    async def beaten(self, table, layout, rows):
        sql = "UPDATE drink SET sync_session = 99 WHERE tenant_id = :tenant_id"
        text = to_pyformat(sql) if self.store.is_shared else sql
        await self.tx.run(text, {"tenant_id": world.tenant})
        await write(self, table, layout, rows)

    with monkeypatch.context() as patch:
        patch.setattr(revert._Undoing, "_write", beaten)
        done = run(world, "revert", "2")
    assert done.exit_code == 75
    assert "try again" in done.output
    assert [image["name"] for *_, image in versions(world, "drink")] == ["Tea", "Green tea"]
    ok(world, "revert", "2")
    a.sync()
    assert a.value("SELECT name FROM drink") == "Tea"
