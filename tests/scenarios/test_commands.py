"""The command line, run as a user runs it: what it prints, where, and with which exit code."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from support import SECONDS, World

HOME = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"}


class Shell:
    """Commands run in one directory, with one environment."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory, self.environment = directory, HOME | environment

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        side, *rest = args
        return subprocess.run(
            [sys.executable, "-m", f"syncsession_{side}", *rest],
            cwd=self.directory,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def ok(self, *args: str, **environment: str) -> str:
        done = self.run(*args, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def sql(self, name: str, *statements: str) -> list[tuple]:
        with closing(sqlite3.connect(self.directory / name)) as db:
            rows = [db.execute(sql).fetchall() for sql in statements][-1]
            db.commit()
            return rows


@pytest.fixture
def shell(world: World) -> Shell:
    return Shell(
        world.directory, SYNCSESSION_SERVER=world.server.url, SYNCSESSION_TOKEN=world.token
    )


@pytest.fixture
def notes(shell: Shell) -> Shell:
    shell.sql(
        "notes.db",
        "CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)",
        "INSERT INTO note VALUES ('a', 'first')",
    )
    return shell


def test_a_server_says_when_it_is_ready_and_stops_cleanly_on_sigterm(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "syncsession_server", "run", "--port", "0"],
        cwd=tmp_path,
        env=HOME,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        ready = server.stderr.readline()
        assert re.match(r"syncsession-server is ready on http://127\.0\.0\.1:\d+ ", ready)
        assert (tmp_path / "syncsession.db").exists()
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=SECONDS)
    assert (server.returncode, out, err) == (0, "", "syncsession-server has stopped\n")


def test_token_create_prints_the_token_and_nothing_else(tmp_path):
    token = Shell(tmp_path).ok("server", "token", "create", "--tenant", "acme", "--user", "al")
    assert re.fullmatch(r"sst_[A-Za-z0-9_-]{43}\n", token)


def test_the_main_job_by_commands_alone(notes):
    assert notes.ok("client", "init", "notes.db") == "notes.db is set up: 1 table, 1 row to push\n"
    assert notes.ok("client", "sync", "notes.db") == "notes.db: 1 row pushed, 0 rows pulled\n"
    assert notes.ok("client", "clone", "copy.db") == "copy.db is made: 1 row pulled\n"
    notes.sql("copy.db", "INSERT INTO note VALUES ('b', 'second')", "DELETE FROM note WHERE id='a'")
    assert notes.ok("client", "push", "copy.db") == "copy.db: 2 rows pushed, 0 rows pulled\n"
    assert notes.ok("client", "pull", "notes.db") == "notes.db: 0 rows pushed, 2 rows pulled\n"
    assert notes.sql("notes.db", "SELECT * FROM note") == [("b", "second")]


def test_the_server_is_remembered_and_the_token_may_be_in_a_file(notes, world):
    (notes.directory / "token").write_text(world.token + "\n")
    bare = Shell(notes.directory)
    bare.ok("client", "init", "notes.db", "--server", world.server.url, "--token-file", "token")
    assert "1 row pushed" in bare.ok("client", "sync", "notes.db", "--token-file", "token")


def test_init_again_changes_nothing(notes):
    notes.ok("client", "init", "notes.db")
    before = (notes.directory / "notes.db").read_bytes()
    schema = "SELECT * FROM sqlite_master"
    shape = notes.sql("notes.db", schema)
    again = json.loads(notes.ok("client", "init", "notes.db", "--json"))
    assert (again["is_new"], again["dirty_rows"]) == (False, 1)
    assert notes.sql("notes.db", schema) == shape
    assert len((notes.directory / "notes.db").read_bytes()) == len(before)


def test_a_dry_run_prints_the_sql_and_changes_nothing(notes):
    before = (notes.directory / "notes.db").read_bytes()
    printed = notes.ok("client", "init", "notes.db", "--dry-run", SYNCSESSION_TOKEN="")
    assert 'CREATE TRIGGER "_sync_note_insert" AFTER INSERT ON "note"' in printed
    assert (notes.directory / "notes.db").read_bytes() == before
    with closing(sqlite3.connect(notes.directory / "notes.db")) as db:
        db.executescript(printed)


def test_uninstall_leaves_the_schema_byte_for_byte_as_it_was(notes):
    schema = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master"
    before = notes.sql("notes.db", schema)
    notes.ok("client", "init", "notes.db")
    notes.ok("client", "sync", "notes.db")
    notes.ok("client", "uninstall", "notes.db")
    assert notes.sql("notes.db", schema) == before
    assert sorted(p.name for p in notes.directory.iterdir()) == ["notes.db"]
    notes.ok("client", "init", "notes.db")


def test_status_tells_of_tables_that_came_and_went(notes):
    notes.ok("client", "init", "notes.db")
    notes.sql("notes.db", "CREATE TABLE kept (id TEXT PRIMARY KEY)", "DROP TABLE note")
    told = notes.ok("client", "status", "notes.db")
    assert "new       kept: not synced; init notes.db --table kept" in told
    assert "the table note is gone from notes.db" in told


def test_status_and_user_tell_and_set(notes, world):
    notes.ok("client", "init", "notes.db", "--user", "alice")
    status = json.loads(notes.ok("client", "status", "notes.db", "--json"))
    assert status["tenant_id"] is None
    assert status["tables"] == [
        {
            "name": "note",
            "key": "global",
            "dirty_rows": 1,
            "rejected_rows": 0,
            "processed_watermark": 0,
        }
    ]
    assert "note: global keys, 1 dirty rows" in notes.ok("client", "status", "notes.db")
    notes.ok("client", "sync", "notes.db")
    assert (
        json.loads(notes.ok("client", "status", "notes.db", "--json"))["tenant_id"] == world.tenant
    )
    assert notes.ok("client", "user", "notes.db") == "alice\n"
    assert notes.ok("client", "user", "notes.db", "bob") == "bob\n"
    notes.sql("notes.db", "UPDATE note SET body = 'by bob'")
    assert notes.sql("notes.db", "SELECT modified_by_user_id, is_dirty FROM _sync_note") == [
        ("bob", 1)
    ]


def fails(shell: Shell, *args: str, code: int, line: str, **environment: str) -> None:
    """The command ends with `code`, and says one line that matches; stdout stays empty."""
    done = shell.run(*args, **environment)
    assert done.stdout == ""
    assert re.fullmatch(line + r" \[\w+\]\n", done.stderr), done.stderr
    assert done.returncode == code


def unchanged(path: Path):
    """A check that the file is, byte for byte, what it is now."""
    before = path.read_bytes()
    return lambda: path.read_bytes() == before


SCHEMAS = {
    "no key": (
        ["CREATE TABLE loose (v)"],
        [],
        "Error: loose has no primary key, so nothing identifies its rows: give it one, or "
        "--exclude loose",
    ),
    "a named table has no key": (
        ["CREATE TABLE loose (v)", "CREATE TABLE fine (id TEXT PRIMARY KEY)"],
        ["--table", "fine", "--table", "loose"],
        "Error: loose has no primary key.*",
    ),
    "NULL in a key": (
        ["CREATE TABLE holes (id TEXT PRIMARY KEY)", "INSERT INTO holes VALUES (NULL)"],
        [],
        "Error: holes has a row with NULL in its primary key.*--exclude holes",
    ),
    "a reference to a table that is left out": (
        [
            "CREATE TABLE parent (id INTEGER PRIMARY KEY)",
            "CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent)",
        ],
        ["--exclude", "parent"],
        "Error: child references parent, which is not synced: sync parent too, or --exclude child",
    ),
    "a table that is not there": (
        ["CREATE TABLE here (id TEXT PRIMARY KEY)"],
        ["--table", "gone"],
        "Error: there is no table 'gone'; the tables are: here",
    ),
    "a column that is not there": (
        ["CREATE TABLE here (id TEXT PRIMARY KEY)"],
        ["--ref", "here.gone=here"],
        "Error: here has no column 'gone'; its columns are: id",
    ),
    "no table at all": ([], [], "Error: there is no table to sync: create one first"),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_init_refuses_what_cannot_be_synced_and_changes_nothing(shell, case):
    statements, flags, line = SCHEMAS[case]
    shell.sql("app.db", "PRAGMA user_version = 1", *statements)
    same = unchanged(shell.directory / "app.db")
    fails(shell, "client", "init", "app.db", *flags, code=1, line=line)
    assert same()


def test_init_names_a_table_without_a_key_and_goes_on_with_the_others(shell):
    shell.sql("app.db", "CREATE TABLE loose (v)", "CREATE TABLE fine (id TEXT PRIMARY KEY)")
    done = shell.run("client", "init", "app.db")
    assert done.returncode == 0
    assert done.stdout == "app.db is set up: 1 table, 0 rows to push\n"
    assert done.stderr.startswith("Left out: loose has no primary key")


def test_a_file_that_is_no_database_is_left_as_it_is(shell):
    path = shell.directory / "text.db"
    path.write_text("dear diary\n" * 100)
    same = unchanged(path)
    for command in ("init", "sync", "status", "uninstall"):
        fails(
            shell,
            "client",
            command,
            "text.db",
            code=1,
            line="Error: text.db is not an SQLite database: .*",
        )
    assert same()


def test_a_file_that_is_not_there_is_not_made(shell):
    for command in ("init", "sync", "push", "pull", "status", "user", "uninstall"):
        fails(shell, "client", command, "no.db", code=1, line="Error: there is no file no.db; .*")
    assert list(shell.directory.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "directory_mode"), [(0o444, 0o755), (0o644, 0o700), (0o644, 0o755)]
)
def test_a_file_that_may_not_be_written_is_named(notes, mode, directory_mode):
    """The file is read only; or its directory is closed; or both belong to somebody else."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "notes.db"
        shutil.copy(notes.directory / "notes.db", path)
        path.chmod(mode)
        Path(made).chmod(directory_mode if os.getuid() == 0 else 0o755)
        if os.getuid() != 0:
            path.chmod(0o444)
        same = unchanged(path)
        # root may write everything, so the command becomes somebody who may not; what it needs is
        # loaded before, since that one may not read it either
        become = "os.getuid() or os.setuid(65534); "
        loaded = "os, sqlite_utils.db, syncsession_client.setup, syncsession_client.transport"
        code = f"import {loaded}, syncsession_client.cli as c; {become}"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}c.main(['init', {str(path)!r}])"],
            env=notes.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 1
        assert re.fullmatch(rf"Error: {path} cannot be .* \[not_writable\]\n", done.stderr)
        assert same()


def test_a_server_that_is_not_there_is_named_and_may_be_tried_later(notes):
    same = unchanged(notes.directory / "notes.db")
    fails(
        notes,
        "client",
        "init",
        "notes.db",
        "--server",
        "http://127.0.0.1:9",
        code=75,
        line="Error: no answer from http://127.0.0.1:9: .*is the server running.*",
    )
    assert same()
    fails(
        notes,
        "client",
        "clone",
        "new.db",
        "--server",
        "http://127.0.0.1:9",
        code=75,
        line="Error: no answer from http://127.0.0.1:9: .*",
    )
    assert not (notes.directory / "new.db").exists()


def test_a_sync_without_its_server_keeps_every_edit(notes):
    notes.ok("client", "init", "notes.db")
    fails(
        notes,
        "client",
        "sync",
        "notes.db",
        code=75,
        line="Error: no answer from .*",
        SYNCSESSION_SERVER="http://127.0.0.1:9",
    )
    assert "1 row pushed" in notes.ok("client", "sync", "notes.db")


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "/path"])
def test_a_url_that_is_none_is_wrong_usage(notes, url):
    line = f"Error: '{url}' is no URL.*"
    fails(notes, "client", "init", "notes.db", "--server", url, code=2, line=line)


def test_a_missing_or_wrong_token_is_told_with_the_way_out(notes):
    same = unchanged(notes.directory / "notes.db")
    fails(
        notes,
        "client",
        "init",
        "notes.db",
        code=2,
        SYNCSESSION_TOKEN="",
        line="Error: no token: put one in SYNCSESSION_TOKEN, or in a file named by --token-file",
    )
    fails(
        notes,
        "client",
        "init",
        "notes.db",
        code=1,
        SYNCSESSION_TOKEN="wrong",
        line="Error: the server does not know this token: create one with .*",
    )
    assert same()


def test_a_database_bound_to_one_tenant_is_refused_by_another(notes, world):
    notes.ok("client", "init", "notes.db")
    notes.ok("client", "sync", "notes.db")
    notes.sql("notes.db", "INSERT INTO note VALUES ('secret', 'of the first tenant')")
    other = f"{world.tenant}-other"
    before = notes.sql("notes.db", "SELECT * FROM note")
    for command in ("sync", "push", "pull"):
        fails(
            notes,
            "client",
            command,
            "notes.db",
            code=1,
            line=f"Error: notes.db is bound to tenant {world.tenant}, and the token is of .*",
            SYNCSESSION_TOKEN=world.server.token(other),
        )
    count = "SELECT count(*) FROM sync_session WHERE tenant_id = :tenant"
    assert world.server.rows(count, tenant=other) == [(0,)]
    assert notes.sql("notes.db", "SELECT * FROM note") == before
    assert "1 row pushed" in notes.ok("client", "sync", "notes.db")


def test_a_row_modified_by_somebody_else_needs_a_token_that_may_act_for_others(notes, world):
    notes.ok("client", "init", "notes.db", "--user", "bob")
    done = notes.run("client", "sync", "notes.db")
    assert (done.returncode, done.stdout) == (0, "notes.db: 0 rows pushed, 0 rows pulled\n")
    assert "1 rows; look at them with syncsession-client rejects notes.db" in done.stderr
    assert "modified by bob, and the token is alice's" in notes.ok("client", "rejects", "notes.db")
    assert notes.ok("client", "retry", "notes.db").startswith("1 row will be tried again")
    allowed = world.server.token(world.tenant, "alice", "sync", "schema", "act_for_others")
    assert "1 row pushed" in notes.ok("client", "sync", "notes.db", SYNCSESSION_TOKEN=allowed)
    table = world.server.rows(
        "SELECT modified_by_user_id FROM note WHERE tenant_id = :tenant", tenant=world.tenant
    )
    assert table == [("bob",)]


def test_rows_that_the_server_does_not_take_are_told_and_tried_again_by_id(notes):
    assert notes.ok("client", "init", "notes.db", "--user", "bob")
    assert notes.ok("client", "rejects", "notes.db").startswith("the server has refused no row")
    notes.run("client", "sync", "notes.db")
    head, why, way_out = notes.ok("client", "rejects", "notes.db").splitlines()
    assert re.fullmatch(r'1  note: id "a" \[forbidden_modifier\], since \S+Z', head)
    assert "modified by bob" in why
    assert "retry it with a token that may act for others" in way_out
    status = notes.ok("client", "status", "notes.db")
    assert "note: global keys, 1 dirty rows, 1 of them held back, sessions" in status
    assert "refused   1 row cannot go to the server: syncsession-client rejects notes.db" in status
    line = "Error: notes.db holds no row 9 back: .*"
    fails(notes, "client", "retry", "notes.db", "1", "9", code=1, line=line)
    tried = json.loads(notes.ok("client", "retry", "notes.db", "1", "--json"))
    assert [each["id"] for each in tried["rejects"]] == [1]
    assert json.loads(notes.ok("client", "rejects", "notes.db", "--json")) == {"rejects": []}


@pytest.mark.parametrize("variable", ["SYNCSESSION_PUSH_STATUS_TIMEOUT", "SYNCSESSION_BATCH_ROWS"])
def test_a_client_setting_out_of_its_range_is_wrong_usage(notes, variable):
    notes.ok("client", "init", "notes.db")
    done = notes.run("client", "push", "notes.db", **{variable: "0"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "0 is not in the range" in done.stderr
    assert "1 row pushed" in notes.ok("client", "push", "notes.db", **{variable: "7"})


def test_a_clone_does_not_touch_a_file_that_is_there(notes):
    same = unchanged(notes.directory / "notes.db")
    fails(notes, "client", "clone", "notes.db", code=1, line="Error: notes.db is there already.*")
    assert same()


def test_a_key_that_is_neither_global_nor_local_is_wrong_usage(notes):
    done = notes.run("client", "init", "notes.db", "--key", "note=other")
    assert done.returncode == 2
    assert "'note=other' is not TABLE=global or TABLE=local" in done.stderr


def test_any_name_that_sqlite_takes_can_be_synced(shell):
    names = (
        *("two words", 'a "quoted" name', "a 'name'", "[brackets]"),
        *("select", "größe 🗝", "a;b--c", "x.y"),
    )
    tables = ['"' + name.replace('"', '""') + '"' for name in names]
    for quoted in tables:
        shell.sql(
            "app.db",
            f'CREATE TABLE {quoted} ({quoted} INTEGER PRIMARY KEY, "a ""b"" c", "group" '
            f"REFERENCES {quoted})",
            f"INSERT INTO {quoted} VALUES (1, 'v', NULL), (2, x'00', 1)",
        )
    assert "8 tables, 16 rows to push" in shell.ok("client", "init", "app.db")
    assert "16 rows pushed" in shell.ok("client", "sync", "app.db")
    shell.ok("client", "clone", "copy.db")
    for quoted in tables:
        rows = shell.sql("copy.db", f"SELECT * FROM {quoted}")
        assert rows == [(1, "v", None), (2, b"\0", 1)], quoted
    shell.ok("client", "uninstall", "app.db")


def test_nothing_but_the_result_is_printed_when_output_is_piped(notes):
    notes.ok("client", "init", "notes.db")
    done = notes.run("client", "sync", "notes.db", "--json")
    assert done.stderr == ""
    assert json.loads(done.stdout)["pushed_rows"] == 1


@pytest.mark.parametrize("arguments", [["--help"], ["status", "notes.db"]])
def test_what_asks_no_server_does_not_wait_for_what_others_need(notes, arguments):
    notes.ok("client", "init", "notes.db")
    code = (
        "import sys, syncsession_client.cli as c; "
        f"c.main({arguments!r}, standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=notes.directory,
        env=notes.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    loaded = set(done.stderr.split())
    assert "syncsession_client.cli" in loaded
    assert not loaded & {"httpx", "rich", "sqlite_utils", "tenacity", "watchfiles"}
