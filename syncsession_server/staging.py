"""Staging: where a push waits until it is committed."""

from dataclasses import asdict, dataclass
from typing import Any

from syncsession_client.protocol.errors import UnknownSession
from syncsession_client.protocol.kill_points import point
from syncsession_client.protocol.session_set import SessionSet

from . import sessions
from .registry import find_table
from .stores import Store, Transaction
from .tenants import Caller, admit_device, ago, now


@dataclass(frozen=True)
class StagedBatch:
    """A batch as it came, checked."""

    number: int
    table_name: str
    count_rows: int
    encoding: str
    payload: bytes


@dataclass(frozen=True)
class PushRequest:
    """A session that a device begins. `processed`: all that it has, where it says so."""

    session_id: str
    device_id: str
    tables: list[dict[str, Any]]
    processed: SessionSet | None


async def begin(store: Store, caller: Caller, request: PushRequest) -> dict[str, Any]:
    """Open a session under the tenant's next number; one that is there already is only shown.

    Raises:
        WrongTenant: the device is bound to another tenant.
        UnknownTable: the tenant has no such table.
        CopiedDevice: another copy of the device has pushed what this one has not processed.
        ServerRestored: the device has processed what this server has not given out.
    """
    ours = {"tenant_id": caller.tenant_id, "session_id": request.session_id}
    await admit_device(store, caller, request.device_id)

    async def work(tx: Transaction) -> dict[str, Any]:
        if await tx.first(store.sql.sessions.find, ours) is None:
            for table in request.tables:
                await find_table(store, tx, caller.tenant_id, table["name"])
            device = ours | {"device_id": request.device_id}
            if request.processed is not None:
                await _check_processed(store, tx, device, request.processed)
            await _open(store, tx, caller, device, request.tables)
        session = await _show(store, tx, ours)
        numbers = await tx.all(store.sql.sessions.batch_numbers, ours)
        return session | {"received": SessionSet.of(*(n for (n,) in numbers)).to_wire()}

    try:
        shown = await store.write(work)
    except _BegunMeanwhile:
        shown = await store.write(work)
    point("server.session_begun")
    await _keep_alive(store, ours)
    return shown


class _BegunMeanwhile(Exception):
    """The same session was begun by another request, before this one could take a number."""


async def _check_processed(
    store: Store, tx: Transaction, device: dict[str, Any], processed: SessionSet
) -> None:
    last, _ = await tx.first(store.sql.sessions.last_number, device) or (0, 0)
    sessions.check_not_ahead(processed, last)
    pushed = await tx.first(store.sql.sessions.last_of_device, device)
    sessions.check_not_copied(processed, pushed[0] if pushed else 0)


async def _open(
    store: Store,
    tx: Transaction,
    caller: Caller,
    session: dict[str, Any],
    tables: list[dict[str, Any]],
) -> None:
    """The number is taken in this transaction, so a visible one means that all smaller ones are.

    Whoever takes one has to wait until those who took one before have committed.
    """
    await tx.run(store.sql.sessions.next_number, {"tenant_id": caller.tenant_id})
    if await tx.first(store.sql.sessions.find, session) is not None:
        raise _BegunMeanwhile
    number = await tx.first(store.sql.sessions.last_number, {"tenant_id": caller.tenant_id})
    assert number is not None  # noqa: S101  # a token's tenant is there
    await tx.run(
        store.sql.sessions.open,
        session
        | {
            "number": number[0],
            "user_id": caller.user_id,
            "count_batches": sum(table["batches"] for table in tables),
            "count_rows": sum(table["rows"] for table in tables),
            "now": now(),
        },
    )
    point("server.session_opening")


async def add(store: Store, tenant_id: str, session_id: str, batch: StagedBatch) -> None:
    """Keep a batch; one that is there already changes nothing.

    Raises:
        SessionExpired, SessionFailed: the session has ended without a commit.
    """
    ours = {"tenant_id": tenant_id, "session_id": session_id}
    if not await store.run(store.sql.sessions.add_batch, ours | asdict(batch), durable=False):
        session = await _show(store, store, ours)
        sessions.check_receiving(session["status"], session_id)
    point("server.batch_stored")
    await _keep_alive(store, ours)


async def queue(store: Store, tenant_id: str, session_id: str) -> None:
    """Put a session that is wholly here into the queue; one that is further on stays there.

    Raises:
        SessionState: batches are missing.
    """
    ours = {"tenant_id": tenant_id, "session_id": session_id}

    async def work(tx: Transaction) -> None:
        session = await _find(store, tx, ours)
        if session.status == "open":
            received = await tx.all(store.sql.sessions.batch_numbers, ours)
            sessions.check_complete(session_id, len(received), session.count_batches)
            await tx.run(store.sql.sessions.to_staged, ours | {"now": now()})
            point("server.session_staging")
        await tx.run(store.sql.sessions.to_queued, ours | {"now": now()})

    await store.write(work)
    point("server.session_queued")


async def find(store: Store, tenant_id: str, session_id: str) -> dict[str, Any]:
    """Where a session stands; who asks keeps it alive.

    Raises:
        UnknownSession: the tenant has none of that id.
    """
    ours = {"tenant_id": tenant_id, "session_id": session_id}
    shown = await _show(store, store, ours)
    await _keep_alive(store, ours)
    return shown


async def _find(store: Store, tx: Transaction | Store, ours: dict[str, Any]) -> sessions.Session:
    row = await tx.first(store.sql.sessions.find, ours)
    if row is None:
        raise UnknownSession(f"there is no session {ours['session_id']}; begin it first")
    return sessions.Session(*row)


async def _show(store: Store, tx: Transaction | Store, ours: dict[str, Any]) -> dict[str, Any]:
    return sessions.describe(ours["tenant_id"], await _find(store, tx, ours))


async def _keep_alive(store: Store, ours: dict[str, Any]) -> None:
    """Note that the device is still there; not for every batch, that would cost a write each."""
    session = await _find(store, store, ours)
    if session.is_open and session.alive_at_utc < ago(sessions.DEVICE_SIGN_OF_LIFE):
        await store.run(store.sql.sessions.keep_open, ours | {"now": now()}, durable=False)
