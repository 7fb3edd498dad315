"""History: who changed what, when and where, and what it was before."""

import json

DRINK = "CREATE TABLE drink (id TEXT PRIMARY KEY, name TEXT, litres REAL)"
VERSIONS = (
    "SELECT row_key, session, operation, user_id, modified_by_user_id, device_id, image"
    "  FROM sync_history WHERE tenant_id = :tenant_id AND table_name = :table_name"
    " ORDER BY session, row_key"
)


def versions(world, table):
    """(key, session, operation, image) of each, in order."""
    name = table.encode() if world.server.store.sql.name == "mysql" else table
    rows = world.server.rows(VERSIONS, tenant_id=world.tenant, table_name=name)
    return [(bytes(r[0]), r[1], r[2], json.loads(r[-1])) for r in rows]


def test_each_session_leaves_a_version_of_what_it_changed(world):
    phone = world.device("phone.db", DRINK)
    phone.execute("INSERT INTO drink VALUES ('a', 'tea', 0.5), ('b', NULL, 1.0)")
    phone.sync()
    laptop = phone.clone("laptop.db")
    laptop.execute("UPDATE drink SET name = 'milk' WHERE id = 'b'")
    laptop.sync()
    phone.sync()
    phone.execute("DELETE FROM drink WHERE id = 'a'")
    phone.sync()
    phone.execute("INSERT INTO drink VALUES ('a', 'rum', 0.25)")
    phone.sync()
    assert versions(world, "drink") == [
        (b"a", 1, "insert", {"id": "a", "name": "tea", "litres": 0.5}),
        (b"b", 1, "insert", {"id": "b", "name": None, "litres": 1.0}),
        (b"b", 2, "update", {"id": "b", "name": "milk", "litres": 1.0}),
        (b"a", 3, "delete", {"id": "a", "name": "tea", "litres": 0.5}),
        (b"a", 4, "insert", {"id": "a", "name": "rum", "litres": 0.25}),
    ]
