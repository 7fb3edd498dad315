"""A real server and a real MariaDB for all tests; each has a tenant or a database of its own."""

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mariadb import Mariadb, private_mariadb
from support import Server, World, serving
from twins import Pair

from syncsession_server.settings import Settings

MEMORY = Path("/dev/shm")  # noqa: S108  # pytest makes a directory of its own in it
ENOUGH_BYTES = 4 << 30


def pytest_configure() -> None:
    """Let tests write where nothing waits for the disk, if there is room: that is half their time.

    Nothing is tried less: whoever is killed leaves behind what it has written, flushed or not, and
    no test cuts the power. PYTEST_DEBUG_TEMPROOT=/tmp has them write to the disk.
    """
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ENOUGH_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(autouse=True)
def warnings_are_not_logged() -> Iterator[None]:
    """A command that runs in this process sends warnings to its log, and would leave it so."""
    yield
    logging.captureWarnings(False)


@pytest.fixture(scope="session", params=["sqlite", "mariadb"])
def new_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], str]:
    """Makes the URL of a fresh database. Whatever uses it runs once over each kind of store."""
    if request.param == "mariadb":
        mariadb: Mariadb = request.getfixturevalue("mariadb")
        return mariadb.create_database
    directory = tmp_path_factory.mktemp("databases")
    return lambda: f"sqlite:///{directory / uuid.uuid4().hex}.db"


@pytest.fixture(scope="session")
def server(new_database: Callable[[], str]) -> Iterator[Server]:
    """A real server on a free loopback port, over a fresh database."""
    with serving(Settings(database=new_database(), migrate=True)) as running:
        yield running


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server over SQLite only."""
    database = f"sqlite:///{tmp_path_factory.mktemp('embedded') / 'server.db'}"
    with serving(Settings(database=database, migrate=True)) as running:
        yield running


@pytest.fixture
def world(server: Server, tmp_path: Path) -> World:
    """A tenant and a directory of the test's own. Application tables are shared by all tenants, so
    tests of different shapes use different table names."""
    return World(server, tmp_path)


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., Pair]:
    """Makes a database of this schema in which sync is installed, and its twin without."""

    def make(*schema: str, **choices: Any) -> Pair:
        return Pair(tmp_path, schema, **choices)

    return make


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mariadb]:
    """A real mariadbd. It does not wait for the disk: a test that kills one starts its own."""
    with private_mariadb(tmp_path_factory.mktemp("mariadb"), durable=False) as running:
        yield running
