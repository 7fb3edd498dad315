"""What MariaDB's max_allowed_packet is too small for is refused, by name; all else goes on."""

import random
from collections.abc import Iterator

import pytest
from mariadb import private_mariadb
from support import Device, Server, World, serving

from syncsession_client.rejects import list_rejects
from syncsession_server.settings import Settings

SCHEMA = "CREATE TABLE paper (id TEXT PRIMARY KEY, t TEXT, b BLOB)"
PUT = "INSERT INTO paper VALUES (?, ?, ?)"
ROWS = "SELECT * FROM paper ORDER BY id"
MEGABYTES = 3 << 20
PACKETS = 17 << 20  # more than one packet of the protocol: MariaDB loses its way in the next


@pytest.fixture(scope="module", params=["--local-infile=1", "--local-infile=0"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server whose database takes 1 MiB at once, and that spools every pull.

    By TCP, where what the database says before it hangs up may be lost.
    """
    options = (request.param, "--max-allowed-packet=1M")
    directory = tmp_path_factory.mktemp("packets")
    with private_mariadb(directory, *options, durable=False, tcp=True) as mariadb:
        mariadb.execute("CREATE DATABASE packets")
        database = mariadb.tcp_url("packets")
        wanted = Settings(database=database, migrate=True, pull_shared_table_threshold=0)
        with serving(wanted) as running:
            yield running


@pytest.fixture
def phone(world: World) -> Device:
    return world.device("phone.db", SCHEMA)


def put(device: Device, key: str, text: str | None, blob: bytes | None = None) -> None:
    device.put(PUT, [(key, text, blob)])


def goes_on(world: World, phone: Device) -> None:
    """Other devices sync, and this one as well once the value is gone."""
    laptop = world.device("laptop.db", SCHEMA)
    put(laptop, "of the laptop", "x")
    assert laptop.sync().pushed.rows == 1
    phone.execute("UPDATE paper SET t = 'short', b = NULL")
    assert phone.sync().pushed.rows == 1
    laptop.sync()
    assert laptop.rows(ROWS) == phone.rows(ROWS)
    assert laptop.value("SELECT count(*) FROM paper") == 2


def only_the_large_row_stays(phone: Device) -> None:
    """A push takes a small row, and says of the large one why it stays."""
    put(phone, "small", "taken at once")
    assert (phone.push().pushed.rows, phone.dirty("paper")) == (1, [("large",)])
    (found,) = list_rejects(phone.path)
    assert (found["code"], found["key"]) == ("too_large", {"id": "large"})
    assert "raise its max_allowed_packet" in found["message"]
    phone.execute("DELETE FROM paper WHERE id = 'small'")
    phone.push()


@pytest.mark.parametrize("size", [MEGABYTES, PACKETS])
def test_a_row_that_is_too_large_to_be_sent_stays_and_all_else_goes_on(world, phone, size):
    put(phone, "large", None, random.Random(1).randbytes(size))
    only_the_large_row_stays(phone)
    goes_on(world, phone)


@pytest.mark.parametrize("column", ["t", "b"])
def test_a_row_that_is_too_large_is_loaded_or_refused_and_all_else_goes_on(world, phone, column):
    """Packed it is small, so it is only found out when it is unpacked for the table."""
    put(phone, "large", None, b"a" * MEGABYTES)
    if column == "t":
        phone.execute("UPDATE paper SET t = CAST(b AS TEXT), b = NULL")
    if world.server.store.may_load:
        phone.push()
        assert phone.clone("third.db").rows(ROWS) == phone.rows(ROWS)
    else:
        only_the_large_row_stays(phone)
    goes_on(world, phone)


def test_rows_that_fit_one_by_one_come_back_together(world, phone):
    chance = random.Random(2)
    phone.put(PUT, [(str(n), None, chance.randbytes(30_000)) for n in range(100)])
    phone.push(batch_rows=10)
    assert phone.clone("laptop.db").rows(ROWS) == phone.rows(ROWS)


def test_a_text_of_quotes_that_fits_comes_back(world, phone):
    put(phone, "quotes", "'\\" * 350_000)
    phone.push()
    assert phone.clone("laptop.db").rows(ROWS) == phone.rows(ROWS)
