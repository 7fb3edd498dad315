"""The policies that tables have: by name, or a function of the application's own."""

import importlib
import json
import logging
import re
from functools import lru_cache

from syncsession_client.protocol.errors import InvalidSetting
from syncsession_client.protocol.tables import folded

from . import conflicts
from .conflicts import BUILT_IN, DEFAULT, Conflict, Decision, Policy
from .stores import Store, Transaction
from .unique_keys import POLICIES as UNIQUE_POLICIES
from .unique_keys import Unique, columns_id

logger = logging.getLogger(__name__)

_OWN = "python:"
_COLUMNS = re.compile(r"(.+?)\s*\(([^()]+)\)", re.DOTALL)


def check_policy(table: str, name: str) -> None:
    """Refuse a policy that there is not, or whose function cannot be imported here.

    `table` names a table, or columns of it that are unique: `customers`, `customers(email)`.

    Raises:
        InvalidSetting: says which there are.
    """
    if _split(table)[1]:
        if name not in UNIQUE_POLICIES:
            raise InvalidSetting(
                f"there is no policy {name} of what is unique: it is one of "
                f"{', '.join(UNIQUE_POLICIES)}"
            )
        return
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


async def find_unique_policy(store: Store, tx: Transaction, unique: Unique) -> str:
    """The name of the policy of columns that are unique."""
    named = {"table_name": folded(unique.table.name), "columns": columns_id(unique.columns)}
    row = await tx.first(store.sql.unique.find_policy, named)
    return str(row[0]) if row else unique.default_policy


async def set_policy(store: Store, table: str, policy: str) -> None:
    """Give a table, or columns of it that are unique, a policy, for every tenant; the default one
    takes away what the table had.

    Raises:
        InvalidSetting: there is no such policy.
    """
    check_policy(table, policy)
    name, columns = _split(table)
    params = {"table_name": folded(name), "policy": policy}
    if columns:
        named = params | {"columns": columns_id(columns)}
        await store.run(store.sql.unique.set_policy, named)
        return
    sql = store.sql.conflicts
    await store.run(sql.delete_policy if policy == DEFAULT else sql.set_policy, params)


async def list_policies(store: Store) -> dict[str, str]:
    """The policies that are others than the default, by table, or by table and columns."""

    async def work(tx: Transaction) -> dict[str, str]:
        found = dict(await tx.all(store.sql.conflicts.list_policies, {}))
        for table, columns, policy in await tx.all(store.sql.unique.list_policies, {}):
            found[f"{table}({','.join(json.loads(columns))})"] = policy
        return found

    return await store.read(work)


def _split(table: str) -> tuple[str, tuple[str, ...]]:
    """A table, and the columns of it that are named with it."""
    found = _COLUMNS.fullmatch(table)
    return (found[1], tuple(found[2].split(","))) if found else (table, ())


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
