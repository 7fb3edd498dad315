"""Random edits on several devices, synced in random order: at rest all hold the same rows."""

import random

import pytest
from support import Device, World, everyone_syncs

SCHEMA = (
    "CREATE TABLE area (id INTEGER PRIMARY KEY, name TEXT, parent_id INTEGER REFERENCES area (id))",
    "CREATE TABLE member (id INTEGER PRIMARY KEY, area_id INTEGER REFERENCES area (id), v)",
    "CREATE TABLE label (name TEXT PRIMARY KEY, color TEXT)",
    "CREATE TABLE member_label (member_id INTEGER REFERENCES member (id), label TEXT REFERENCES "
    "label (name), weight REAL, PRIMARY KEY (member_id, label))",
    "CREATE TABLE profile (id INTEGER PRIMARY KEY REFERENCES member (id), bio TEXT) ",
    "CREATE TABLE setting (scope TEXT, name TEXT, v, PRIMARY KEY (scope, name)) WITHOUT ROWID",
)
VALUES = ["NULL", "1", "1.0", "'1'", "''", "x'00'", "-0.0", "9223372036854775807", "'ä\U0001f600'"]


def edit(chance: random.Random) -> str:
    """A statement as an application might run it; some change nothing."""
    key, other, value = chance.randint(1, 12), chance.randint(1, 12), chance.choice(VALUES)
    name = f"'{chance.choice('abcdefgh')}'"
    return chance.choice(
        [
            f"INSERT OR IGNORE INTO area VALUES ({key}, {name}, NULL)",
            f"INSERT INTO area (name) VALUES ({name})",
            f"UPDATE area SET name = {name} WHERE id = {key}",
            f"UPDATE area SET parent_id = (SELECT min(id) FROM area WHERE id >= {other}) "
            f"WHERE id = {key}",
            f"INSERT INTO member (area_id, v) SELECT max(id), {value} FROM area WHERE id <= {key}",
            f"UPDATE member SET v = {value} WHERE id % 5 = {key % 5}",
            f"UPDATE member SET id = (SELECT max(id) + 1 FROM member) WHERE id = {key} AND NOT "
            f"EXISTS (SELECT 1 FROM member_label WHERE member_id = {key}) AND NOT EXISTS "
            f"(SELECT 1 FROM profile WHERE profile.id = {key})",
            f"INSERT INTO member VALUES ({key}, NULL, {value}) ON CONFLICT (id) DO UPDATE "
            "SET v = excluded.v",
            f"INSERT OR REPLACE INTO label VALUES ({name}, {value})",
            f"UPDATE label SET color = {value}",
            f"INSERT OR IGNORE INTO member_label SELECT m.id, l.name, {key} FROM member AS m, "
            f"label AS l WHERE m.id = {key} AND l.name = {name}",
            f"DELETE FROM member_label WHERE member_id = {key}",
            f"UPDATE member_label SET weight = {other} WHERE label = {name}",
            f"INSERT OR IGNORE INTO profile SELECT id, {name} FROM member WHERE id = {key}",
            f"DELETE FROM profile WHERE id = {key}",
            f"INSERT OR REPLACE INTO setting VALUES ({name}, {name}, {value})",
            f"UPDATE OR IGNORE setting SET name = name || 'x' WHERE scope = {name}",
            f"DELETE FROM setting WHERE scope = {name}",
        ]
    )


@pytest.mark.parametrize("seed", range(12))
def test_devices_that_edit_and_sync_in_any_order_hold_the_same_rows_at_rest(world: World, seed):
    chance = random.Random(seed)
    first = world.device("d0.db", *SCHEMA)
    first.execute(*(edit(chance) for _ in range(20)))
    first.sync()
    devices = [first, first.clone("d1.db"), first.clone("d2.db")]
    for _ in range(25):
        device = chance.choice(devices)
        action = chance.random()
        if action < 0.6:
            device.execute(*(edit(chance) for _ in range(chance.randint(1, 6))))
        elif action < 0.8:
            device.sync()
        elif action < 0.9:
            device.push()
        else:
            device.pull()
    everyone_syncs(*devices)
    check_rest(devices)


def check_rest(devices: list[Device]) -> None:
    first, *others = devices
    for other in others:
        assert other.identities() == first.identities()
    for device in devices:
        assert device.orphans() == []
        assert device.value("PRAGMA integrity_check") == "ok"
        assert device.sync().pushed.rows == 0
