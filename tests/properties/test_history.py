"""Random edits on two devices: replaying history gives the table, as it is and as it was."""

import random

import pytest
from lives import check_life
from processes import until
from support import World

from syncsession_client.protocol import images
from syncsession_client.protocol.batches import digest
from syncsession_server import registry, versions
from syncsession_server.history import image_columns, image_start
from syncsession_server.row_keys import row_keys
from syncsession_server.tenants import now

SCHEMA = (
    "CREATE TABLE pantry (id INTEGER PRIMARY KEY, name TEXT, above INTEGER REFERENCES pantry)",
    "CREATE TABLE spice (name TEXT COLLATE NOCASE PRIMARY KEY, heat REAL, v, n NUMERIC)",
    "CREATE TABLE jug (pantry_id INTEGER REFERENCES pantry (id), spice TEXT REFERENCES spice,"
    " v, PRIMARY KEY (pantry_id, spice))",
)
FIRST = (
    "INSERT INTO pantry VALUES (1, 'left', NULL)",
    "INSERT INTO spice VALUES ('z', 1, 2, 3)",
    "INSERT INTO jug VALUES (1, 'z', 4)",
)
TABLES = ("pantry", "spice", "jug")
VALUES = (
    *("NULL", "0", "1", "1.0", "'1'", "''", "x'00ff'", "-0.0", "9e999", "1e300", "0.1"),
    *("9223372036854775807", "'ä\U0001f600'", "'\"''\\'", "char(10, 9, 0)"),
)


def edit(chance: random.Random) -> str:
    key, value = chance.randint(1, 9), chance.choice(VALUES)
    name = f"'{chance.choice('abcDEF')}'"
    return chance.choice(
        [
            f"INSERT OR IGNORE INTO pantry VALUES ({key}, {name}, (SELECT min(id) FROM pantry))",
            f"UPDATE pantry SET name = {value} WHERE id = {key}",
            f"UPDATE pantry SET above = (SELECT max(id) FROM pantry) WHERE id > {key}",
            f"DELETE FROM pantry WHERE id = {key} AND id NOT IN (SELECT pantry_id FROM jug) AND id"
            " NOT IN (SELECT above FROM pantry WHERE above IS NOT NULL)",
            f"INSERT OR REPLACE INTO spice VALUES ({name}, {value}, {value}, {value})",
            f"UPDATE spice SET v = {value}, name = upper(name) WHERE name = {name}",
            f"DELETE FROM spice WHERE name = {name} AND name NOT IN (SELECT spice FROM jug)",
            f"INSERT OR REPLACE INTO jug SELECT p.id, s.name, {value} FROM pantry AS p, spice AS s"
            f" WHERE p.id <= {key} LIMIT 3",
            f"DELETE FROM jug WHERE pantry_id = {key}",
        ]
    )


def rows_here(world: World, name: str) -> dict[bytes, bytes]:
    """The live rows of a table on the server: keys, and digests of the values."""
    store = world.server.store

    async def read(tx):
        table, layout = await registry.find_layout(store, tx, world.tenant, name)
        params = {"tenant_id": world.tenant, "first": 0, "last": 2**62}
        found = layout.decode(await tx.all(store.sql.rows.select_all(**layout.names), params))
        live = [row for row in found if not row[3]]
        values = (digest(*row[image_start(table) :]) for row in live)
        return dict(zip(row_keys(table, live), values, strict=True))

    return world.server.run(store.read(read))


def rows_then(world: World, name: str, at: str) -> dict[bytes, bytes]:
    """The same out of history."""
    found: list[versions.Version] = []
    store = world.server.store
    table = world.server.run(versions.as_of(store, world.tenant, name, at, found.extend))
    columns = image_columns(table)
    rows = {}
    for version in found:
        image = images.decode(version.image)
        assert set(image) <= set(columns)
        rows[bytes(version.row_key)] = digest(*(image[column] for column in columns))
    assert len(rows) == len(found)
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_replaying_the_history_of_a_table_gives_the_table(world: World, seed):
    chance = random.Random(seed)
    first = world.device("d0.db", *SCHEMA)
    first.execute(*FIRST, *(edit(chance) for _ in range(15)))
    first.sync()
    devices = [first, first.clone("d1.db")]
    moments = []
    for _ in range(12):
        device = chance.choice(devices)
        device.execute(*(edit(chance) for _ in range(chance.randint(1, 6))), foreign_keys=False)
        chance.choice([device.sync, device.push])()
        moment = now()
        moments.append((moment, {name: rows_here(world, name) for name in TABLES}))
        until(lambda moment=moment: now() > moment, every=0.001)
    for moment, tables in moments:
        for name in TABLES:
            assert rows_then(world, name, moment) == tables[name]
    assert any(rows for _, tables in moments for rows in tables.values())


def test_each_version_says_what_became_of_the_row(world: World):
    chance = random.Random(99)
    device = world.device("d0.db", *SCHEMA)
    for _ in range(10):
        device.execute(*(edit(chance) for _ in range(5)), foreign_keys=False)
        device.sync()
    sql = (
        "SELECT table_name, row_key, version, operation FROM sync_history"
        " WHERE tenant_id = :tenant_id ORDER BY table_name, row_key, version"
    )
    lives: dict[tuple[str, bytes], list[tuple[int, str]]] = {}
    for name, key, *version in world.server.rows(sql, tenant_id=world.tenant):
        lives.setdefault((name, bytes(key)), []).append((version[0], version[1]))
    assert lives
    for life in lives.values():
        check_life(life)
