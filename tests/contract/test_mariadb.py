"""The MariaDB that tests get is real, theirs alone, and gone when they are."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import mariadb as module
import psutil
import pymysql
import pytest
from mariadb import CannotStart, private_mariadb

TESTS = Path(__file__).parents[1]
DEADLINE_SECONDS = 60

PARENT = """
import sys, time
from pathlib import Path
from mariadb import private_mariadb

with private_mariadb(Path(sys.argv[1]), durable=False) as server:
    print(server.pid, server.socket.parent, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def durable(tmp_path_factory):
    """A second server beside the one all tests share, with MariaDB's own settings and a port."""
    directory = tmp_path_factory.mktemp("durable")
    with private_mariadb(directory, "--local-infile=0", durable=True, tcp=True) as server:
        yield server


def connect(url):
    """A connection to a URL, by what the URL says and nothing else."""
    parts = urlsplit(url)
    places = {name: value for name, (value,) in parse_qs(parts.query).items()}
    if parts.port is not None:
        places["port"] = parts.port
    return pymysql.connect(
        host=parts.hostname, user=parts.username, database=unquote(parts.path[1:]), **places
    )


def ask(url, sql):
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def runs(pid):
    """Whether there is such a process; one that waits to be reaped has ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(is_so):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_url_of_a_new_database_leads_to_it(mariadb):
    url = mariadb.create_database()
    assert ask(url, "SHOW TABLES") == ()
    assert ask(url, "SELECT DATABASE()") == ((urlsplit(url).path[1:],),)


def test_no_two_databases_have_one_name(mariadb):
    assert mariadb.create_database() != mariadb.create_database()


def test_text_of_every_plane_comes_back(mariadb):
    assert ask(mariadb.create_database(), "SELECT @@character_set_database") == (("utf8mb4",),)
    assert mariadb.execute("SELECT %s", "Émile 🎻") == (("Émile 🎻",),)


def test_files_can_be_loaded_from_the_client(mariadb):
    assert mariadb.execute("SELECT @@local_infile") == ((1,),)


def test_an_option_beats_the_default(durable):
    assert durable.execute("SELECT @@local_infile") == ((0,),)


def test_only_a_durable_server_waits_for_the_disk(mariadb, durable):
    sql = "SELECT @@innodb_flush_log_at_trx_commit, @@innodb_doublewrite"
    assert durable.execute(sql) == ((1, 1),)
    assert mariadb.execute(sql) == ((0, 0),)


def test_two_servers_run_at_the_same_time_and_share_nothing(mariadb, durable):
    mariadb.execute("CREATE DATABASE here")
    durable.execute("CREATE DATABASE there")
    sql = "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE '%%here'"
    assert mariadb.execute(sql) == (("here",),)
    assert durable.execute(sql) == (("there",),)


def test_without_a_port_it_listens_on_its_socket_only(mariadb):
    assert psutil.Process(mariadb.pid).net_connections("inet") == []


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_committed_is_there_after_a_restart(durable, end):
    name = urlsplit(durable.create_database()).path[1:]
    durable.execute(f"CREATE TABLE {name}.note (body TEXT)")
    durable.execute(f"INSERT INTO {name}.note VALUES ('milk')")
    before = durable.pid
    getattr(durable, end)()
    assert not runs(before)
    durable.restart()
    assert durable.execute(f"SELECT body FROM {name}.note") == (("milk",),)


def test_a_restart_keeps_the_port_and_the_options(durable):
    name = urlsplit(durable.create_database()).path[1:]
    url, before = durable.tcp_url(name), durable.pid
    assert ask(url, "SELECT DATABASE()") == ((name,),)
    durable.restart()
    assert not runs(before)
    assert ask(url, "SELECT DATABASE(), @@local_infile") == ((name, 0),)


def test_a_server_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STOP_SECONDS", 0.1)
    with private_mariadb(tmp_path, durable=False) as server:
        os.kill(server.pid, signal.SIGSTOP)
        server.stop()
        assert not runs(server.pid)


def test_nothing_is_left_of_a_server_that_is_no_longer_needed(tmp_path):
    with private_mariadb(tmp_path, durable=False) as server:
        pid, near = server.pid, server.socket.parent
        assert runs(pid)
        assert near.exists()
    assert not runs(pid)
    assert not near.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_of_a_server_whose_tests_were_ended_by(number, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path],
        env=dict(os.environ, PYTHONPATH=str(TESTS)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        pid, near = parent.stdout.readline().split()
        assert runs(int(pid))
        parent.send_signal(number)
        assert parent.wait(DEADLINE_SECONDS) != 0
    wait_until(lambda: not (runs(int(pid)) or Path(near).exists() or list(tmp_path.iterdir())))


def test_a_server_that_cannot_start_is_told_with_its_log(tmp_path):
    with (
        pytest.raises(CannotStart, match=r"(?s)did not start.*unknown option '--no-such'"),
        private_mariadb(tmp_path, "--no-such", durable=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_mariadb_is_told_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "SBIN", ())
    with (
        pytest.raises(CannotStart, match=r"is missing.*`make test` as root, or apt-get install"),
        private_mariadb(tmp_path, durable=False),
    ):
        pass


def test_mariadbd_is_found_where_an_ordinary_users_path_does_not_look(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "sbin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(module, "SBIN", (str(tmp_path / "sbin"),))
    program = tmp_path / "sbin" / "mariadbd"
    program.touch(mode=0o755)
    assert module._find("mariadbd") == str(program)
