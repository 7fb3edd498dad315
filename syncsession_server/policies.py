"""The policies that tables have: by name, or a function of the application's own."""

import importlib
import logging
from functools import lru_cache

from syncsession_client.protocol.errors import InvalidSetting
from syncsession_client.protocol.tables import folded

from . import conflicts
from .conflicts import BUILT_IN, DEFAULT, Conflict, Decision, Policy
from .stores import Store, Transaction

logger = logging.getLogger(__name__)

_OWN = "python:"


def check_policy(name: str) -> None:
    """Refuse a policy that there is not, or whose function cannot be imported here.

    Raises:
        InvalidSetting: says which there are.
    """
    if name in BUILT_IN:
        return
    if not name.startswith(_OWN):
        raise InvalidSetting(
            f"there is no policy {name}: it is one of {', '.join(BUILT_IN)}, or "
            f"{_OWN}module.function"
        )
    try:
        _function(name)
    except Exception as error:
        raise InvalidSetting(f"{name} cannot be used: {_told(error)}") from error


async def find_policy(store: Store, tx: Transaction | Store, table: str) -> str:
    """The name of a table's policy."""
    row = await tx.first(store.sql.conflicts.find_policy, {"table_name": folded(table)})
    return str(row[0]) if row else DEFAULT


async def set_policy(store: Store, table: str, policy: str) -> None:
    """Give a table a policy, for every tenant; the default one takes away what it had.

    Raises:
        InvalidSetting: there is no such policy.
    """
    check_policy(policy)
    params = {"table_name": folded(table), "policy": policy}
    sql = store.sql.conflicts
    await store.run(sql.delete_policy if policy == DEFAULT else sql.set_policy, params)


async def list_policies(store: Store) -> dict[str, str]:
    """The policies of the tables that have another than the default, by table."""

    async def work(tx: Transaction) -> dict[str, str]:
        return dict(await tx.all(store.sql.conflicts.list_policies, {}))

    return await store.read(work)


def decide(name: str, conflict: Conflict) -> Decision:
    """What the policy makes of a conflict; where it fails the default does, and a note says why."""
    try:
        return _policy(name)(conflict)
    except Exception as error:  # noqa: BLE001  # the application's own code: whatever it raises
        logger.warning("policy %s of %s failed: %s", name, conflict.table, _told(error))
        found = BUILT_IN[DEFAULT](conflict)
        return Decision(found.outcome, found.row, found.loser, f"{name} failed: {_told(error)}")


def _policy(name: str) -> Policy:
    return BUILT_IN[name] if name in BUILT_IN else _own(name)


def _own(name: str) -> Policy:
    function = _function(name)
    return lambda conflict: conflicts.from_answer(conflict, function(conflict))


@lru_cache
def _function(name: str):  # type: ignore[no-untyped-def]
    """The application's function; the module is imported once."""
    path, _, attribute = name.removeprefix(_OWN).rpartition(".")
    function = getattr(importlib.import_module(path), attribute)
    if not callable(function):
        raise TypeError(f"{attribute} of {path} is no function")
    return function


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
