"""Rows that the server does not take: marked when it says so, listed, and tried again on demand.

A marked row stays dirty, and stays here until it changes. Why: docs/explanation/outbox.md.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import held_back, reconcile
from .fold import fold
from .held_back import REJECTS
from .identity import SyncTable
from .protocol import images
from .protocol.errors import MassDelete, NoSuchReject
from .protocol.rejects import Reject
from .protocol.tables import folded
from .store import STATE, DeviceStore

_ANY = 2**63 - 1  # no generation is later


def mark(
    store: DeviceStore, rejects: Iterable[Reject], generation: int, *, is_final: bool = False
) -> int:
    """Mark the rows of a session that was sealed at `generation`; how many will not go again as
    they were.

    One that was edited since counts, and is not marked: it may have become another. With `is_final`
    it is, until `held_back.let_edited_go`. The caller holds the write transaction.
    """
    tables = store.tables()
    links = held_back.links_between(tables)
    grouped: dict[str, list[Reject]] = {}
    for reject in rejects:
        grouped.setdefault(folded(reject.table), []).append(reject)
    named = [t for t in tables if folded(t.wire_name) in grouped]
    settled = sum(
        _mark(store, t, grouped[folded(t.wire_name)], generation, is_final=is_final) for t in named
    )
    for table in named:  # all are marked: a row waits for one of another table that is
        pairs = [(link.reference, link.parent) for link in links if link.child.name == table.name]
        if pairs:
            store.run(REJECTS.find_waiting(t=table, links=pairs), {"table_name": table.name})
    return settled


def _mark(
    store: DeviceStore,
    table: SyncTable,
    rejects: Sequence[Reject],
    generation: int,
    *,
    is_final: bool,
) -> int:
    mark_one, add_one, settle_one, has_changed = (
        statement(t=table)
        for statement in (REJECTS.mark, REJECTS.add, REJECTS.settle_gone, REJECTS.has_changed)
    )
    columns = json.dumps(table.key)
    settled = 0
    for reject in rejects:
        identity = _identity(table, reject)
        if identity is None:
            continue
        sealed = (generation, *identity)
        if reject.code == "key_too_long" and store.run(settle_one, sealed):
            settled += 1
        elif store.run(mark_one, (_ANY if is_final else generation, *identity)):
            why = (reject.code, reject.message)
            store.run(add_one, (table.name, columns, *why, *sealed))
            settled += 1
        elif store.first(has_changed, sealed):
            settled += 1
    return settled


def _identity(table: SyncTable, reject: Reject) -> tuple[Any, ...] | None:
    """What identifies the row for everyone; None where the key is not one of the table."""
    with suppress(KeyError, TypeError, ValueError):
        named = {folded(name): value for name, value in reject.key.items()}
        return tuple(images.values([named[folded(name)] for name in table.wire_key]))
    return None


def list_rejects(path: Path) -> list[dict[str, Any]]:
    """The rows that are held back, by the number of their entry, oldest first.

    Raises:
        NotInitialized: sync is not installed.
    """
    with DeviceStore(path) as store:
        _look(store)
        with store.read():
            return _listed(store)


def retry(path: Path, numbers: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Let the next sync try rows again, all or those of these numbers; which.

    Raises:
        NoSuchReject: there is none of that number; nothing has changed.
        NotInitialized: sync is not installed.
    """
    with DeviceStore(path) as store:
        _look(store)
        with store.write():
            found = {each["id"]: each for each in _listed(store)}
            for number in numbers:
                if number not in found:
                    raise NoSuchReject(
                        f"{path} holds no row {number} back: syncsession-client rejects lists them"
                    )
            for number in numbers:
                store.run(STATE.forget_reject, {"id": number})
            if not numbers:
                store.run(STATE.forget_rejects)
            held_back.find(store)
            return [found[number] for number in dict.fromkeys(numbers or found)]


def _look(store: DeviceStore) -> None:
    """See what the application has changed since."""
    with suppress(MassDelete), store.write():
        store.state()
        reconcile.refresh(store, allow_mass_delete=False)
    with store.write():
        if store.state().schema_version == store.schema_version():
            fold(store, store.tables())
            held_back.find(store)


def _listed(store: DeviceStore) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "table": table,
            "key": json.loads(key),
            "code": code,
            "message": message,
            "waits_for": waits_for,
            "rejected_at_utc": at,
        }
        for number, table, key, code, message, waits_for, at in store.rows(STATE.list_rejects)
    ]
