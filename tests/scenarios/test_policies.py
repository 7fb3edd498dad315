"""Policies and settings out of a file, and what the commands print of conflicts."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from processes import ServerProcess
from support import Device, World, everyone_syncs

from syncsession_client.cli import main as client
from syncsession_server import cli
from syncsession_server.keys import SETTINGS
from syncsession_server.settings import Settings

CONFLICT = "CREATE TABLE bloom (id BLOB PRIMARY KEY, name TEXT, v)"


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'server.db'}"


def server(database: str, *command: str) -> Result:
    return CliRunner().invoke(cli.main, command, env={"SYNCSESSION_DATABASE": database})


def test_policies_are_set_listed_and_taken_back(database):
    assert server(database, "policy", "list").output == "all others: last_in_wins\n"
    assert (
        server(database, "policy", "set", "Bloom", "server_wins").output == "Bloom: server_wins\n"
    )
    assert server(database, "policy", "set", "stem", "newest_wins").exit_code == 0
    assert server(database, "policy", "set", "bloom", "newest_wins").exit_code == 0
    assert server(database, "policy", "list").output == (
        "bloom: newest_wins\nstem: newest_wins\nall others: last_in_wins\n"
    )
    assert server(database, "policy", "set", "BLOOM", "last_in_wins").exit_code == 0
    assert server(database, "policy", "list").output.startswith("stem: newest_wins\nall others")


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("first_wins", "there is no policy first_wins: it is one of last_in_wins, server_wins"),
        ("python:no_such_module.f", "ModuleNotFoundError"),
        ("python:own_policies.no_such", "AttributeError"),
        ("python:own_policies.__name__", "TypeError"),
        ("python:", "cannot be used"),
    ],
)
def test_a_policy_that_is_none_is_refused(database, policy, said):
    done = server(database, "policy", "set", "bloom", policy)
    assert done.exit_code == 2
    assert said in done.output
    assert server(database, "policy", "list").output == "all others: last_in_wins\n"


# A settings file


def served(monkeypatch, *args: str, **environment: str) -> Settings:
    """The settings that `run` begins to serve with."""
    seen: list[Settings] = []
    monkeypatch.setattr(cli, "serve", lambda settings, _: seen.append(settings))
    monkeypatch.setattr(cli.logs, "configure", lambda *_: None)
    done = CliRunner(env=environment).invoke(cli.main, ["run", *args])
    assert done.exit_code == 0, done.output
    return seen[0]


def test_a_file_beats_the_default_and_is_beaten_by_the_environment_and_flags(monkeypatch, tmp_path):
    file = tmp_path / "server.toml"
    file.write_text("port = 1\npull_batch_size = 1\nlog_format = 'json'\nmaintenance = true\n")
    found = served(
        monkeypatch, "--config", str(file), "--port", "3", SYNCSESSION_PULL_BATCH_SIZE="2"
    )
    assert (found.port, found.pull_batch_size, found.log_format) == (3, 2, "json")
    assert found.maintenance
    assert served(monkeypatch, SYNCSESSION_CONFIG=str(file)).port == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prt = 1", "there is no setting prt"),
        ("port = ", "cannot be read"),
        ("port = 70000", "--port (SYNCSESSION_PORT) is '70000' and must be"),
        ("policies = 1", "policies is a table of names"),
        ("[policies]\nbloom = 'x'", "policy of bloom: there is no policy x"),
        ("[policies]\nbloom = 1", "policy of bloom: there is no policy 1"),
    ],
)
def test_a_file_that_says_what_is_no_setting_is_refused(tmp_path, text, said):
    file = tmp_path / "server.toml"
    file.write_text(text)
    done = CliRunner().invoke(cli.main, ["run", "--config", str(file)])
    assert done.exit_code == 2
    assert said in done.output


def test_the_policies_of_a_file_are_set_when_the_server_starts(database, tmp_path):
    file = tmp_path / "server.toml"
    file.write_text("[policies]\nbloom = 'newest_wins'\n")
    running = ServerProcess(database, tmp_path / "log", "--config", str(file))
    try:
        assert running.url
        assert server(database, "policy", "list").output.startswith("bloom: newest_wins\n")
    finally:
        running.kill()


# What a person reads


@pytest.fixture
def pair(world: World) -> tuple[Device, Device]:
    a, b = world.device("a.db", CONFLICT), world.device("b.db", CONFLICT)
    a.execute("INSERT INTO bloom VALUES (x'00ff', 'old', 1), (x'01', 'old', 1)")
    everyone_syncs(a, b)
    a.execute(
        "UPDATE bloom SET name = 'of a', v = 2.5 WHERE id = x'00ff'",
        "DELETE FROM bloom WHERE id = x'01'",
    )
    b.execute("UPDATE bloom SET name = 'of b'")
    everyone_syncs(a, b)
    return a, b


def test_the_list_of_a_device_says_what_lost_and_what_stands(pair):
    a, b = pair
    shown = CliRunner().invoke(client, ["conflicts", str(a.path)]).output
    assert "1  bloom: an edit of 2" in shown
    assert "lost to alice's (session 3, last_in_wins)" in shown
    assert "   where id x'00ff'\n" in shown
    assert '   name: lost "of a", now "of b"\n   v: lost 2.5, now 1\n' in shown
    assert "2  bloom: a deletion of 2" in shown
    assert "   the row was deleted, and is id x'01', name \"of b\", v 1 now" in shown
    assert (
        "no edit of this database" in CliRunner().invoke(client, ["conflicts", str(b.path)]).output
    )
    done = CliRunner().invoke(client, ["conflicts", str(a.path), "restore", "1", "2"])
    assert done.output == "2 edits written back: the next sync pushes what changed\n"
    assert a.rows("SELECT name, v FROM bloom") == [("of a", 2.5)]


@pytest.mark.parametrize("arguments", [["restore"], ["7"], ["list", "7"]])
def test_the_list_is_used_wrongly(pair, arguments):
    assert CliRunner().invoke(client, ["conflicts", str(pair[0].path), *arguments]).exit_code == 2


def test_the_list_of_the_server_says_what_came_and_what_was_there(world, pair):
    options = ("--tenant", world.tenant, "--database", world.server.app[SETTINGS].database)
    shown = CliRunner().invoke(cli.main, ["conflicts", *options]).output
    lines = [line for line in shown.splitlines() if "x'00ff'" in line or "of" in line]
    assert lines[0].endswith("bloom id x'00ff': update/update, what came stands (last_in_wins)")
    assert lines[1].startswith("   came    alice, 2")
    assert lines[1].endswith(': name "of b", v 1')
    assert lines[2].endswith(': name "of a", v 2.5')
    assert "alice, 2" in shown
    assert ": deleted" in shown
