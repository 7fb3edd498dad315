"""A second device from nothing: the tenant's tables, made as the first device has them."""

from pathlib import Path

from . import capture
from .identity import prefixes
from .protocol.tables import Table
from .store import STATE, DeviceStore


def create(path: Path, *, server: str, tenant: str, user: str, tables: list[Table]) -> None:
    """Make an empty database with the tables and sync installed, bound to the tenant."""
    with DeviceStore(path, create=True) as store, store.write():
        for table in tables:
            for sql in (table.sql, *table.indexes):
                store.run_definition(sql)
        capture.create_state(store, user=user, server=server)
        named = prefixes(tables, {})
        store.save_tables((t, named[t.name]) for t in tables)
        capture.install(store, store.tables())
        capture.remember_schema(store)
        store.run(STATE.bind_tenant, {"tenant_id": tenant})
        store.run(STATE.set_registered, {"is_registered": 1})
