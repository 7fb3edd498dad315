"""A second device from nothing: the tenant's tables, made as the first device has them."""

import os
from pathlib import Path

from . import capture
from .identity import prefixes
from .protocol.errors import AlreadyExists
from .protocol.kill_points import point
from .protocol.tables import Table
from .store import STATE, DeviceStore
from .wire_names import cloned


def create(path: Path, *, server: str, tenant: str, user: str, tables: list[Table]) -> None:
    """Make an empty database with the tables and sync installed, bound to the tenant."""
    with DeviceStore(path, create=True, is_disposable=True) as store, store.write():
        for table in tables:
            made = table.here or table
            for sql in (made.sql, *made.indexes):
                store.run_definition(sql)
        capture.create_state(store, user=user, server=server)
        store.save_registrations(cloned(tables, prefixes([t.here or t for t in tables], {})))
        capture.install(store, store.tables())
        capture.show_pending(store)
        capture.remember_schema(store)
        store.run(STATE.bind_tenant, {"tenant_id": tenant})
        store.run(STATE.set_registered, {"is_registered": 1})


def publish(made: Path, path: Path) -> None:
    """Give the finished file its name, once it is on the disk.

    Raises:
        AlreadyExists: somebody else has made a file of that name meanwhile.
    """
    with made.open("rb+") as file:
        os.fsync(file.fileno())
    if path.exists():
        raise AlreadyExists(f"{path} has been made by somebody else meanwhile")
    made.rename(path)
    point("clone.renamed")
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
