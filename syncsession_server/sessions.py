"""Push sessions: the states they pass through, and which numbers a device may call processed.

    open -> staged -> queued -> processing -> committed | failed
    open | staged -> expired

Transitions are guarded where they are made (`UPDATE ... WHERE status = ...`); a session that has
ended stays as it is. No I/O.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from syncsession_client.protocol.errors import (
    CopiedDevice,
    ServerRestored,
    SessionExpired,
    SessionFailed,
    SessionState,
)
from syncsession_client.protocol.session_set import SessionSet

ENDED = frozenset({"committed", "failed", "expired"})

DEVICE_SIGN_OF_LIFE = 1.0
"""Seconds after which another sign of life of a device is written down."""


class Session(NamedTuple):
    """A row of `sessions.find`."""

    number: int
    user_id: str
    status: str
    count_batches: int
    is_corrected: int
    error: str | None
    alive_at_utc: str
    worker_id: str | None
    device_id: str

    @property
    def is_open(self) -> bool:
        """Whether its device has still something to do for it."""
        return self.status in ("open", "staged")


def settled(last_number: int, live: Iterable[int]) -> SessionSet:
    """The numbers given out whose sessions have ended.

    Numbers are dense and given out in the transaction that begins a session, so one that is not
    live and not above `last_number` has ended, and everything it wrote is in the same snapshot.
    """
    return SessionSet.up_to(last_number) - SessionSet.of(*live)


def is_behind(processed: SessionSet, horizon: int) -> bool:
    """Whether a device may have missed a deletion that the server has forgotten.

    Up to the horizon it has to have heard of every session, or of none: then it holds no row of
    that time either, and gets those that are left.
    """
    forgotten = SessionSet.up_to(horizon)
    missed = forgotten - processed
    return bool(missed) and missed != forgotten


def check_not_ahead(processed: SessionSet, last_number: int) -> None:
    """Refuse a device that has processed what this server has not given out yet.

    Raises:
        ServerRestored: the numbers that come would be missed by it.
    """
    if processed.last > last_number:
        raise ServerRestored(
            f"this database has processed session {processed.last}, and the server has come to "
            f"{last_number}: the server's database was restored from an older backup. Bring back a "
            "newer one; or begin again with a new tenant: take sync out of the database that has "
            "most, init and sync it, and clone the others from there"
        )


def check_not_copied(processed: SessionSet, last_of_device: int) -> None:
    """Refuse a push of a device that has forgotten, or never knew, what it pushed before.

    Raises:
        CopiedDevice: its file is a copy, or came back from a backup.
    """
    if last_of_device and last_of_device not in processed:
        raise CopiedDevice(
            f"session {last_of_device} was pushed by another copy of this database, or before it "
            "came back from a backup: pull first, under a device id of its own"
        )


def check_receiving(status: str, session_id: str) -> None:
    """Refuse a batch of a session that has ended; one that is further on has the batch already.

    Raises:
        SessionExpired, SessionFailed: the session has ended without a commit.
    """
    if status == "expired":
        raise SessionExpired(f"session {session_id} has expired; seal the rows again")
    if status == "failed":
        raise SessionFailed(f"session {session_id} has failed; seal the rows again")


def check_complete(session_id: str, received: int, expected: int) -> None:
    """Refuse to queue a session before every batch is here.

    Raises:
        SessionState: batches are missing.
    """
    if received != expected:
        raise SessionState(
            f"session {session_id} has {received} of its {expected} batches; send the others first"
        )


def describe(tenant_id: str, session: Session) -> dict[str, Any]:
    """A session as an answer shows it."""
    return {
        "tenant_id": tenant_id,
        "number": session.number,
        "status": session.status,
        "corrected": bool(session.is_corrected),
        "error": json.loads(session.error) if session.error else None,
    }
