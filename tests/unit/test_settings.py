"""Settings: flags beat the environment, all faults are told together, and no secret is shown."""

from dataclasses import fields

import pytest
from click.testing import CliRunner

from syncsession_client.protocol.errors import InvalidSetting
from syncsession_server import cli
from syncsession_server.settings import Settings, described, read
from syncsession_server.stores import mysql

HIDDEN = "hunter2secret"
MYSQL = f"mysql://sync:{HIDDEN}@db/rows"


def run(*args: str, **environment: str):
    return CliRunner(env=environment).invoke(cli.main, ["run", *args])


def served(monkeypatch, *args: str, **environment: str) -> Settings:
    """The settings that `run` begins to serve with."""
    seen = []

    monkeypatch.setattr(cli, "serve", lambda settings, _: seen.append(settings))
    monkeypatch.setattr(cli.logs, "configure", lambda *_: None)
    done = run(*args, **environment)
    assert (done.exit_code, done.output) == (0, "syncsession-server has stopped\n")
    return seen[0]


def test_without_flags_and_environment_every_setting_has_its_default(monkeypatch):
    assert served(monkeypatch) == Settings() == read({})


def test_a_flag_beats_the_environment_and_the_environment_beats_the_default(monkeypatch):
    environment = {"SYNCSESSION_PORT": "1", "SYNCSESSION_PULL_BATCH_SIZE": "2"}
    settings = served(monkeypatch, "--port", "3", **environment)
    assert (settings.port, settings.pull_batch_size) == (3, 2)


@pytest.mark.parametrize(
    ("text", "is_on"), [("1", True), ("true", True), ("0", False), ("", False)]
)
def test_a_flag_is_switched_on_by_its_variable_too(monkeypatch, text, is_on):
    assert served(monkeypatch, SYNCSESSION_MAINTENANCE=text).maintenance is is_on
    assert served(monkeypatch, "--maintenance").maintenance is True


def test_all_faults_of_flags_and_environment_are_told_in_one_message():
    done = run(
        *("--pull-batch-size", "0", "--database", "nonsense", "--log-level", "loud"),
        SYNCSESSION_PORT="abc",
        SYNCSESSION_MIGRATE="maybe",
    )
    assert done.exit_code == 2
    assert done.output == (
        "Error: --database (SYNCSESSION_DATABASE): the database URL must be sqlite:///path or "
        "mysql://user:password@host:3306/name; --migrate (SYNCSESSION_MIGRATE) is 'maybe' and must "
        "be true or false; --port (SYNCSESSION_PORT) is 'abc' and must be a whole number, 0 to "
        "65,535; --pull-batch-size (SYNCSESSION_PULL_BATCH_SIZE) is '0' and must be a whole "
        "number, 1 to 10,000; --log-level (SYNCSESSION_LOG_LEVEL) is 'loud' and must be one of "
        "debug, info, warning, error [invalid_setting]\n"
    )


RANGES = {
    "push_shared_table_threshold": (0, 10**9),
    "pull_shared_table_threshold": (0, 10**9),
    "pull_batch_size": (1, 10_000),
    "database_connections": (1, 1000),
    "port": (0, 65535),
    "session_retention_days": (0, 36500),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_range_holds_its_ends_and_nothing_beyond(name):
    least, most = RANGES[name]
    for value in (least, most):
        assert getattr(read({name: str(value)}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(InvalidSetting, match=f"is '{value}' and must be a .*number"):
            read({name: str(value)})


@pytest.mark.parametrize(
    "name",
    [
        "session_activity_timeout_minutes",
        "queue_poll_interval_seconds",
        "cleanup_interval_seconds",
        "request_timeout_seconds",
    ],
)
@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan", "1e400", ""])
def test_a_duration_that_must_pass_is_a_finite_number_above_zero(name, value):
    with pytest.raises(InvalidSetting, match="must be a number, above 0 to "):
        read({name: value})
    assert getattr(read({name: "0.25"}), name) == 0.25


@pytest.mark.parametrize("value", ["1.5", "1e3", "0x10", " ", "٣x"])
def test_a_whole_number_is_nothing_else(value):
    with pytest.raises(InvalidSetting, match="must be a whole number"):
        read({"port": value})


def test_several_workers_of_one_file_are_refused():
    with pytest.raises(InvalidSetting, match="an SQLite file is served by one process"):
        read({"workers": "2"})
    assert read({"workers": "2", "database": MYSQL}).workers == 2


def test_a_fault_of_the_database_is_not_taken_for_one_of_the_workers():
    with pytest.raises(InvalidSetting) as caught:
        read({"workers": "2", "database": "nonsense"})
    assert "one process" not in str(caught.value)


def test_settings_show_no_password():
    settings = Settings(database=MYSQL)
    assert settings.masked()["database"] == "mysql://sync@db:3306/rows"
    assert set(settings.masked()) == {f.name for f in fields(Settings)}
    assert "mysql://sync@db:3306/rows" in repr(settings)
    for shown in (repr(settings), str(settings), f"{settings}", repr(settings.database_url())):
        assert HIDDEN not in shown
    assert HIDDEN not in repr(Settings(database=f"mysql://sync:{HIDDEN}"))


@pytest.mark.parametrize("url", [f"mysql://sync:{HIDDEN}", f"mysql://sync:{HIDDEN}@db:x/y"])
def test_run_prints_no_password(url):
    done = run(SYNCSESSION_DATABASE=url)
    assert done.exit_code == 2
    assert "[invalid_setting]" in done.output
    assert HIDDEN not in done.output


def test_run_that_cannot_reach_its_database_prints_no_password(monkeypatch):
    monkeypatch.setattr(mysql, "_RETRY_SECONDS", 0.2)
    done = run(SYNCSESSION_DATABASE=f"mysql://sync:{HIDDEN}@127.0.0.1:1/rows")
    assert done.exit_code == 75
    assert "[server_busy]" in done.output
    assert HIDDEN not in done.output


def test_every_default_is_allowed():
    assert read({each.name: str(each.default) for each in described()}) == Settings()
