"""The server's own tables are brought up to this version: once, by whoever comes, and told so."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from mariadb import Mariadb
from support import SECONDS, Device, serving

from syncsession_client.protocol.errors import OutOfDate
from syncsession_client.protocol.tables import Column, Table, to_json
from syncsession_server.app import open_store
from syncsession_server.cli import main
from syncsession_server.settings import Settings
from syncsession_server.stores import Store
from syncsession_server.stores import mysql as module
from syncsession_server.stores.mysql import MysqlStore
from syncsession_server.tenants import create_token

SCRIPTS = [
    "0001_bookkeeping",
    "0002_shared_database",
    "0003_copied_devices",
    "0004_conflicts",
    "0005_history",
    "0006_references",
]
PASSWORD = "geheim"  # noqa: S105
ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
BEFORE = "2020-01-01T00:00:00.000Z"
NOTE = Table(
    "note", "global", ("id",), (Column("id", "text"), Column("body", "text")),
    sql="CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)",
)  # fmt: skip


@pytest.fixture
def database(new_database, request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, with a password where the kind of store has one."""
    url = new_database()
    return url if url.startswith("sqlite:") else admitted(request.getfixturevalue("mariadb"), url)


@pytest.fixture
def mysql_database(mariadb: Mariadb) -> str:
    """One where each change of the schema is a transaction of its own."""
    return admitted(mariadb, mariadb.create_database())


def admitted(mariadb: Mariadb, url: str) -> str:
    """The URL for a user who needs a password."""
    mariadb.execute(f"CREATE USER IF NOT EXISTS migrator@localhost IDENTIFIED BY '{PASSWORD}'")
    mariadb.execute("GRANT ALL ON *.* TO migrator@localhost")
    return url.replace("mysql://root@", f"mysql://migrator:{PASSWORD}@")


def start(*command: str, database: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "syncsession_server", *command],
        env=ENVIRONMENT | {"SYNCSESSION_DATABASE": database},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(*command: str, database: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command, none of which holds the password."""
    done = CliRunner().invoke(main, command, env={"SYNCSESSION_DATABASE": database})
    assert PASSWORD not in done.stdout + done.stderr
    return done.exit_code, done.stdout, done.stderr


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    with process:
        out, err = process.communicate(timeout=SECONDS)
    assert PASSWORD not in out + err
    return process.returncode, out, err


def label(database: str) -> str:
    return Settings(database=database).database_url().label


def with_store(database: str, work: Any) -> Any:
    """What `work` makes of the store, whatever its version."""

    async def run() -> Any:
        async with open_store(Settings(database=database)) as store:
            return await work(store)

    return asyncio.run(run())


def has_ended_well(database: str) -> None:
    async def work(store: Store) -> None:
        assert await store.is_current()
        assert await store.migrate() == []

    with_store(database, work)


async def run_first_script(store: Store) -> None:
    """The tables of version 1."""
    script = store.sql.migrations[0]
    for name in script:
        await store.run(getattr(script, name), {})
    await set_version(store, 1)


async def set_version(store: Store, version: int) -> None:
    if isinstance(store, MysqlStore):
        sql = store.sql.connection
        await store.run(sql.create_schema_table, {})
        await store.run(sql.create_version, {})
        await store.run(f"UPDATE sync_schema SET version = {version}", {})
    else:
        await store.run(f"PRAGMA user_version = {version}", {})


def test_an_empty_database_is_migrated_once(database):
    name = label(database)
    ran = "".join(f"{name}: ran {script}\n" for script in SCRIPTS)
    assert told("migrate", database=database) == (0, f"{ran}{name} is up to date\n", "")
    assert told("migrate", database=database) == (0, f"{name} is up to date\n", "")
    has_ended_well(database)


def test_of_processes_that_migrate_at_once_each_script_is_run_by_one(new_database, database):
    for _ in range(2):
        database = database.replace(urlsplit(database).path, urlsplit(new_database()).path)
        processes = [start("migrate", database=database) for _ in range(3)]
        outcomes = [ended(process) for process in processes]
        assert [(code, err) for code, _, err in outcomes] == [(0, "")] * 3
        ran = re.findall(r": ran (\w+)", "".join(out for _, out, _ in outcomes))
        assert sorted(ran) == SCRIPTS
        has_ended_well(database)


@pytest.mark.parametrize(
    "command", [("run", "--port", "0"), ("token", "create", "--tenant", "acme", "--user", "alice")]
)
def test_an_older_schema_is_refused_with_the_way_out(database, command):
    with_store(database, run_first_script)
    code, out, err = told(*command, database=database)
    assert (code, out) == (1, "")
    assert err == (
        f"Error: {label(database)} has the tables of an older version: run syncsession-server "
        "migrate with the same --database first, or syncsession-server run --migrate "
        "[out_of_date]\n"
    )


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--port", "0"),
        ("run", "--migrate", "--port", "0"),
        ("migrate",),
        ("token", "create", "--tenant", "acme", "--user", "alice"),
    ],
)
def test_a_newer_schema_is_refused(database, command):
    with_store(database, lambda store: set_version(store, 99))
    code, out, err = told(*command, database=database)
    assert (code, out) == (1, "")
    assert err == (
        f"Error: {label(database)} was migrated by a newer syncsession-server; run that version "
        "[out_of_date]\n"
    )
    with pytest.raises(OutOfDate):
        with_store(database, lambda store: store.is_current())


def test_a_shared_database_without_tables_is_refused_until_it_is_migrated(database):
    if database.startswith("sqlite:"):
        assert told("token", "create", "--tenant", "a", "--user", "a", database=database)[0] == 0
        return
    code, _, err = told("token", "create", "--tenant", "a", "--user", "a", database=database)
    assert (code, "has none of the server's tables: run syncsession-server migrate" in err) == (
        1,
        True,
    )


async def fill_older(store: Store) -> str:
    """A version 1 with a tenant, a table, rows, and a session under way; alice's token."""
    await run_first_script(store)
    token = await create_token(store, tenant="acme", user="alice", scopes=frozenset({"sync"}))
    text = to_json([NOTE]).decode()[1:-1]
    definitions = {"definition": text, "known": text, "introduced": "{}"}
    await store.run(
        f"INSERT INTO sync_table (name, definition) VALUES ('note', {_quoted(text)})", {}
    )
    await store.run(
        store.sql.tables.add_tenant_table,
        definitions | {"tenant_id": "acme", "name": "note", "position": 0},
    )
    await store.run("UPDATE sync_tenant SET last_number = 2", {})
    for number, status in ((1, "committed"), (2, "open")):
        await store.run(
            "INSERT INTO sync_session (tenant_id, session_id, number, device_id, user_id, status, "
            "count_batches, count_rows, created_at_utc, changed_at_utc) VALUES ('acme', "
            f"'{uuid.uuid4()}', {number}, 'd', 'alice', '{status}', 1, 1, '{BEFORE}', '{BEFORE}')",
            {},
        )
    await store.build(NOTE)
    stamp = {"tenant_id": "acme", "number": 1, "user_id": "alice", "now": BEFORE}

    async def put(tx: Any) -> None:
        layout = store.layout(NOTE, ("body",), NOTE)
        staged = await tx.stage(layout, stamp, 2)
        await staged.add(layout.encode([(None, None, None, 0, key, "old") for key in "ab"]))
        await tx.run(store.sql.rows.insert_new(**staged.names), stamp)
        await staged.clear()

    await store.write(put)
    return token


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@pytest.mark.parametrize("is_by_run", [False, True])
def test_an_older_schema_is_upgraded_with_its_rows(database, tmp_path, is_by_run):
    token = with_store(database, fill_older)
    if not is_by_run:
        assert told("migrate", database=database) == (
            0,
            "".join(f"{label(database)}: ran {script}\n" for script in SCRIPTS[1:])
            + f"{label(database)} is up to date\n",
            "",
        )
    with serving(Settings(database=database, migrate=is_by_run)) as server:
        phone = Device(tmp_path / "phone.db", server.url, token).clone("phone.db")
        assert phone.rows("SELECT * FROM note ORDER BY id") == [("a", "old"), ("b", "old")]
        phone.execute("UPDATE note SET body = 'new' WHERE id = 'a'")
        assert phone.sync().pushed.session == 3
        rows = phone.clone("laptop.db").rows("SELECT * FROM note ORDER BY id")
        assert rows == [("a", "new"), ("b", "old")]
        expired = "SELECT alive_at_utc, status FROM sync_session WHERE number = 2"
        wait_for(lambda: server.rows(expired) == [(BEFORE, "expired")])


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def waiting(mariadb: Mariadb, database: str) -> tuple[Any, ...]:
    """The connections to a database that wait until a table may be altered."""
    return mariadb.execute(
        "SELECT id FROM information_schema.processlist"
        " WHERE db = %s AND state = 'Waiting for table metadata lock'",
        urlsplit(database).path[1:],
    )


@contextmanager
def in_use(mariadb: Mariadb, database: str) -> Iterator[Any]:
    """Somebody's transaction that keeps a table from being altered until it is rolled back."""
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT count(*) FROM {urlsplit(database).path[1:]}.sync_session")
        yield connection


def test_a_migration_whose_process_was_killed_is_finished_by_the_next(
    mysql_database, mariadb, monkeypatch
):
    with_store(mysql_database, fill_older)
    with in_use(mariadb, mysql_database):
        with start("migrate", database=mysql_database) as killed:
            wait_for(lambda: waiting(mariadb, mysql_database))
            killed.send_signal(signal.SIGKILL)
        assert with_store(mysql_database, lambda store: store.is_current()) is False
    wait_for(lambda: not waiting(mariadb, mysql_database))
    monkeypatch.setattr(module, "_ABANDONED_SECONDS", 0.5)
    assert with_store(mysql_database, lambda store: store.migrate()) == SCRIPTS[1:]
    has_ended_well(mysql_database)


def test_a_migration_that_takes_long_is_not_taken_for_abandoned(
    mysql_database, mariadb, monkeypatch
):
    monkeypatch.setattr(module, "_ABANDONED_SECONDS", 0.6)
    monkeypatch.setattr(module, "_SIGN_OF_LIFE_SECONDS", 0.1)
    with_store(mysql_database, fill_older)
    alive = f"SELECT alive_at_utc FROM {urlsplit(mysql_database).path[1:]}.sync_schema"

    def outlive_the_claim() -> None:
        for _ in range(10):
            before = mariadb.execute(alive)
            wait_for(lambda: mariadb.execute(alive) != before)  # noqa: B023
        assert len(waiting(mariadb, mysql_database)) == 1

    async def both(store: Store) -> list[list[str]]:
        with in_use(mariadb, mysql_database):
            first = asyncio.create_task(store.migrate())
            await asyncio.to_thread(wait_for, lambda: waiting(mariadb, mysql_database))
            second = asyncio.create_task(store.migrate())
            await asyncio.to_thread(outlive_the_claim)
        return await asyncio.gather(first, second)

    assert with_store(mysql_database, both) == [SCRIPTS[1:], []]
    has_ended_well(mysql_database)
