"""Devices sync over a network that loses, cuts, repeats and delays by a seeded plan: nothing is
lost or done twice, and all are in step when it is well again.

More seeds: SYNCSESSION_NETWORK_SEEDS=200 pytest tests/scenarios/test_faulty_network.py
"""

import os
import random
from collections.abc import Iterator

import pytest
from network import Network, network
from support import Device, Server, World, everyone_syncs, serving

from syncsession_client.protocol.errors import TryLater
from syncsession_server.settings import Settings

SEEDS = range(int(os.environ.get("SYNCSESSION_NETWORK_SEEDS", "5")))
ROUNDS = 8
BATCH_ROWS = 5
SCHEMA = (
    "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE album (id TEXT PRIMARY KEY, artist_id INTEGER REFERENCES artist (id), v)",
)
INTEGRITY = ("PRAGMA integrity_check", "PRAGMA foreign_key_check")


@pytest.fixture(scope="module", params=["sqlite", "sqlite, pulls held", "mariadb, pulls held"])
def faulty_server(request, tmp_path_factory) -> Iterator[Server]:
    if request.param.startswith("mariadb"):
        database = request.getfixturevalue("mariadb").create_database()
    else:
        database = f"sqlite:///{tmp_path_factory.mktemp('faulty') / 'server.db'}"
    settings = Settings(
        database=database,
        migrate=True,
        pull_shared_table_threshold=0 if "held" in request.param else 10_000,
        pull_batch_size=BATCH_ROWS,
    )
    with serving(settings) as server:
        yield server


@pytest.fixture
def net(faulty_server) -> Iterator[Network]:
    with network(faulty_server.url) as made:
        yield made


class Writer:
    """An application on a device. It changes rows of its own only, and only clean ones: so it is
    known what is to be there in the end, and how many rows are to be pushed in all.
    """

    def __init__(self, device: Device, name: str, chance: random.Random) -> None:
        self.device, self._name, self._chance = device, name, chance
        self.edits = 0
        self.values: dict[str, str] = {}  # of its albums

    def write(self) -> None:
        """In one transaction: an artist with albums, changes and deletions of earlier ones."""
        made = [f"{self._name} {self.edits}.{n}" for n in range(self._chance.randrange(1, 20))]
        clean = sorted(set(self.values) - {key for (key,) in self.device.dirty("album")})
        old = self._chance.sample(clean, min(len(clean), 4))
        changed, deleted = old[::2], old[1::2]
        artist = "(SELECT max(id) FROM artist)"
        self.device.execute(
            f"INSERT INTO artist (name) VALUES ('{self._name} {self.edits}')",
            *(f"INSERT INTO album VALUES ('{key}', {artist}, 'new')" for key in made),
            *(f"UPDATE album SET v = 'at {self.edits}' WHERE id = '{key}'" for key in changed),
            *(f"DELETE FROM album WHERE id = '{key}'" for key in deleted),
        )
        self.values |= dict.fromkeys(made, "new") | dict.fromkeys(changed, f"at {self.edits}")
        for key in deleted:
            del self.values[key]
        self.edits += 1 + len(made) + len(old)


@pytest.mark.parametrize("seed", SEEDS)
def test_over_a_faulty_network_nothing_is_lost_and_nothing_done_twice(
    faulty_server, net, tmp_path, seed
):
    chance = random.Random(seed)
    world = World(faulty_server, tmp_path)
    writers = []
    for name in ("a", "b"):
        device = world.bare(f"{name}.db", *SCHEMA)
        device.server = net.url
        device.init()
        writers.append(Writer(device, name, chance))
    devices = [writer.device for writer in writers]
    net.fails_at_random(seed, share=chance.choice((0.1, 0.25, 0.5)))
    for _ in range(ROUNDS):
        for writer in chance.sample(writers, 2):
            if chance.random() < 0.6:
                writer.write()
            sync_or_try_later(writer.device)
    net.is_well()
    everyone_syncs(*devices)
    check_in_step(world, writers)


def sync_or_try_later(device: Device) -> None:
    """A sync succeeds, or fails with an error that says to try again; the file is sound."""
    try:
        device.sync(batch_rows=BATCH_ROWS)
    except TryLater as error:
        assert device.server in str(error)
    assert [device.rows(sql) for sql in INTEGRITY] == [[("ok",)], []]


def check_in_step(world: World, writers: list[Writer]) -> None:
    devices = [writer.device for writer in writers]
    expected = {key: v for writer in writers for key, v in writer.values.items()}
    for device in devices:
        assert dict(device.rows("SELECT id, v FROM album")) == expected
        assert device.dirty("artist") == device.dirty("album") == []
    assert devices[0].identities() == devices[1].identities()
    for writer in writers:
        device_id = writer.device.value("SELECT device_id FROM _syncsession_state")
        sessions = world.server.rows(
            "SELECT status, count_rows FROM sync_session WHERE device_id = :device",
            device=device_id,
        )
        assert {status for status, _ in sessions} <= {"committed"}
        assert sum(rows for _, rows in sessions) == writer.edits
