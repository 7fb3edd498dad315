"""Clean-up: sessions whose device is gone, what they left, and what is older than it is kept.

Every step goes in small transactions and is guarded by the status that it read, so it may stop
anywhere, run in several processes at once, and never touches a session that is alive.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.tables import Table, folded

from . import pulls
from .stores import Store, Transaction
from .tenants import ago, now

_DAY = 86400.0


@dataclass(frozen=True)
class Keeping:
    """How long things are kept: seconds without a sign of life, and days; 0 days are for ever."""

    activity_seconds: float
    retention_days: float
    history_days: float = 0.0


Step = Callable[[Store, Keeping], Awaitable[None]]


async def expire_sessions(store: Store, keeping: Keeping) -> None:
    """End the sessions whose device has given no sign of life, and remove their batches."""
    cutoff = {"cutoff": ago(keeping.activity_seconds)}
    sql = store.sql
    while stale := await _all(store, sql.cleanup.stale_sessions, cutoff):
        for tenant_id, session_id in stale:
            ours = {"tenant_id": tenant_id, "session_id": session_id}
            if await store.run(sql.sessions.to_expired, ours | cutoff | {"now": now()}):
                point("server.session_expired")
                await store.run(sql.sessions.delete_batches, ours)


async def remove_leftovers(store: Store, _: Keeping) -> None:
    """Remove the batches of sessions that ended in a process that was killed just then."""
    while left := await _all(store, store.sql.cleanup.leftover_staging, {}):
        for tenant_id, session_id in left:
            ours = {"tenant_id": tenant_id, "session_id": session_id}
            await store.run(store.sql.sessions.delete_batches, ours)
            point("server.leftovers_removed")


async def expire_pulls(store: Store, keeping: Keeping) -> None:
    """Remove the spools that nobody has read for long, and those that never became a pull."""
    cutoff = {"cutoff": ago(keeping.activity_seconds)}
    sql = store.sql.cleanup
    while stale := await _all(store, sql.stale_pulls, cutoff):
        for tenant_id, pull_id in stale:
            await pulls.complete(store, tenant_id, pull_id)
            point("server.pull_expired")
    while left := await _all(store, sql.leftover_spools, cutoff):
        for (spool_id,) in left:
            await store.run(sql.delete_spool, {"spool_id": spool_id})


async def forget(store: Store, keeping: Keeping) -> None:
    """Forget the sessions and tombstones that are older than they are kept.

    The horizon moves first, so that from then on a device that lacks one of them is told so; what
    lies behind it goes after that.
    """
    if not keeping.retention_days:
        return
    cutoff = ago(keeping.retention_days * _DAY)
    for tenant_id, horizon, purged, last_number in await _all(store, store.sql.cleanup.tenants, {}):
        tenant = {"tenant_id": tenant_id}
        params = tenant | {"after": horizon, "cutoff": cutoff}
        kept = await store.first(store.sql.cleanup.oldest_kept, params)
        reached = last_number if kept is None else kept[0] - 1
        if reached > horizon:
            await store.run(store.sql.cleanup.set_horizon, tenant | {"horizon": reached})
            point("server.horizon_set")
        if reached > purged:
            await _purge(store, tenant_id, purged + 1, reached)


async def _purge(store: Store, tenant_id: str, first: int, last: int) -> None:
    """Remove the tombstones of the sessions `first` to `last`, and these."""
    tenant = {"tenant_id": tenant_id}
    for (definition,) in await _all(store, store.sql.tables.list_tenant_tables, tenant):
        table = msgspec.json.decode(definition, type=Table)
        sql = store.sql.rows.delete_tombstones(**store.layout(table, (), table).names)
        while await store.run(sql, tenant | {"first": first, "last": last}):
            point("server.tombstones_removed")
    while await store.run(store.sql.cleanup.delete_sessions, tenant | {"horizon": last}):
        point("server.sessions_removed")
    await store.run(store.sql.cleanup.set_purged, tenant | {"purged": last})


async def prune_history(store: Store, keeping: Keeping) -> None:
    """Remove the versions that had been replaced for longer than history is kept.

    The version that a row had at that time stays, however old: so what was so since is known. It
    reads all of history, in pieces, and so does it once a day, or ten times in what is kept. What
    one that is killed leaves, the next one removes.
    """
    if not keeping.history_days:
        return
    cutoff = ago(keeping.history_days * _DAY)
    due = ago(keeping.history_days * _DAY + min(_DAY, keeping.history_days * _DAY / 10))
    for tenant_id, known in await _all(store, store.sql.cleanup.history_pruned, {}):
        claim = {"tenant_id": tenant_id, "known": known, "cutoff": cutoff}
        if known < due and await store.run(store.sql.cleanup.set_history_pruned, claim):
            point("server.history_pruning")
            tenant = {"tenant_id": tenant_id}
            for (definition,) in await _all(store, store.sql.tables.list_tenant_tables, tenant):
                name = folded(msgspec.json.decode(definition, type=Table).name)
                await _prune_table(store, tenant | {"table_name": name, "cutoff": cutoff})


async def _prune_table(store: Store, table: dict[str, str]) -> None:
    sql, after = store.sql.cleanup, b""  # no key comes before it; an empty one stays for ever
    while (found := await store.first(sql.history_piece, table | {"after": after})) and found[0]:
        await store.run(sql.delete_history, table | {"after": after, "last": found[0]})
        point("server.history_pruned")
        after = bytes(found[0])


async def _all(store: Store, sql: str, params: dict[str, str]) -> list[tuple]:  # type: ignore[type-arg]
    async def work(tx: Transaction) -> list[tuple]:  # type: ignore[type-arg]
        return await tx.all(sql, params)

    return await store.read(work)


STEPS: tuple[Step, ...] = (
    expire_sessions,
    remove_leftovers,
    expire_pulls,
    forget,
    prune_history,
)
"""What is done each time, in this order."""
