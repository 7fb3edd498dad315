"""Taking sync out again."""

import pytest
from schemas import FAMILY, KINDS, NAMES, TEXT
from twins import own

from syncsession_client.setup import uninstall

SCHEMAS = {kind: (values[0],) for kind, values in KINDS.items()} | {
    "family": FAMILY,
    "names": tuple(
        f'CREATE TABLE "{n.replace(chr(34), chr(34) * 2)}" (k TEXT PRIMARY KEY)' for n in NAMES
    ),
    "prefixes that meet": tuple(
        f"CREATE TABLE {n} (k TEXT PRIMARY KEY)"
        for n in ("a", "a_rows", "a_log", "a_insert", "A_rows_2")
    ),
    "everything else": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, v)",
        "CREATE TABLE keyless (v)",
        "CREATE INDEX i ON t (v) WHERE v > 1",
        "CREATE UNIQUE INDEX e ON t (lower(v))",
        "CREATE VIEW w AS SELECT * FROM t",
        "CREATE TRIGGER own AFTER INSERT ON t BEGIN UPDATE t SET v = 1; END",
        "CREATE VIRTUAL TABLE fts USING fts5 (body)",
        "CREATE   TABLE  odd_space(k TEXT  PRIMARY KEY /* comment */ )",
    ),
}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_uninstall_restores_the_schema_exactly(pair, schema):
    p = pair(*SCHEMAS[schema])
    assert p.device.schema() != p.twin.schema()
    assert own(p.device) == p.twin.schema()
    p.fold()
    assert uninstall(p.device.path)
    assert p.device.schema() == p.twin.schema()
    assert p.device.value("PRAGMA integrity_check") == "ok"


def test_uninstall_restores_a_schema_whose_tables_and_keys_were_renamed(pair):
    p = pair(TEXT, "CREATE TABLE other (id INTEGER PRIMARY KEY)")
    p.run("ALTER TABLE t RENAME TO moved", "ALTER TABLE other RENAME COLUMN id TO number")
    uninstall(p.device.path)
    assert p.device.schema() == p.twin.schema()
