"""An application that changes its schema while sync is installed."""

from typing import Any

import pytest
from twins import own

WIDE = "CREATE TABLE t (k {} PRIMARY KEY, v, w DEFAULT 5, x UNIQUE)"
CHILD = "CREATE TABLE c (id TEXT PRIMARY KEY, t_k REFERENCES t (k))"
CHANGES = {
    "add column": ["ALTER TABLE t ADD COLUMN y TEXT DEFAULT 'd'", "UPDATE t SET y = 'e'"],
    "drop column": ["ALTER TABLE t DROP COLUMN w", "ALTER TABLE t DROP COLUMN v"],
    "drop a column with an index": ["ALTER TABLE t DROP COLUMN x", "ALTER TABLE t DROP COLUMN k"],
    "rename column": ["ALTER TABLE t RENAME COLUMN v TO value", "UPDATE t SET value = 1"],
    "rename the key": ["ALTER TABLE t RENAME COLUMN k TO op", "UPDATE t SET v = 1 WHERE op = 1"],
    "rename the key there and back": [
        'ALTER TABLE t RENAME COLUMN k TO "new name"',
        'UPDATE t SET "new name" = 5 WHERE "new name" = 1',
        'ALTER TABLE t RENAME COLUMN "new name" TO k',
    ],
    "rename table": ['ALTER TABLE t RENAME TO "other name"', 'UPDATE "other name" SET v = 1'],
    "rename table there and back": ["ALTER TABLE t RENAME TO u", "ALTER TABLE u RENAME TO t"],
    "rebuild": [
        "PRAGMA foreign_keys = OFF",
        "BEGIN",
        "CREATE TABLE t_new (k PRIMARY KEY, v NOT NULL)",
        "INSERT INTO t_new SELECT k, v FROM t",
        "DROP TABLE t",
        "ALTER TABLE t_new RENAME TO t",
        "COMMIT",
    ],
    "rebuild the other way round": [
        "PRAGMA foreign_keys = OFF",
        "ALTER TABLE t RENAME TO t_old",
        "CREATE TABLE t (k PRIMARY KEY, v)",
        "INSERT INTO t SELECT k, v FROM t_old",
        "DROP TABLE t_old",
    ],
    "rebuild with enforced references": [
        "CREATE TABLE t_new (k PRIMARY KEY, v)",
        "INSERT INTO t_new SELECT k, v FROM t",
        "DROP TABLE t",
        "ALTER TABLE t_new RENAME TO t",
    ],
    "drop table": [
        "DROP TABLE t",
        "CREATE TABLE t (k TEXT PRIMARY KEY)",
        "INSERT INTO t VALUES ('z')",
    ],
    "index": [
        "CREATE INDEX i ON t (v)",
        "CREATE UNIQUE INDEX j ON t (w, k)",
        "DROP INDEX i",
        "REINDEX",
    ],
    "upkeep": ["VACUUM", "ANALYZE", "PRAGMA optimize"],
}


@pytest.mark.parametrize("legacy", ["OFF", "ON"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["INTEGER", "TEXT"])
def test_a_change_of_the_schema_works_as_in_a_twin_without_sync(pair, kind, change, legacy):
    p = pair(WIDE.format(kind), CHILD, "INSERT INTO t VALUES (1, 'a', 1, 1), (2, 'b', 2, 2)")
    p.pragmas = (f"legacy_alter_table = {legacy}",)
    with p.programs() as (ours, twin):
        for sql in [*CHANGES[change], "INSERT INTO c (id) VALUES ('after')"]:
            assert ours.run(sql)[0] == twin.run(sql)[0], sql
    assert plain(own(p.device)) == plain(p.twin.schema())
    assert p.device.value("PRAGMA integrity_check") == "ok"


def plain(schema: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """A schema without SQLite's statistics; VACUUM may order the rest anew."""
    return sorted(o for o in schema if not o[1].startswith("sqlite_stat"))
