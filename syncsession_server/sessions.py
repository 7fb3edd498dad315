"""Push sessions: the states they pass through, and which numbers a device may call processed.

    open -> staged -> queued -> processing -> committed | failed
    open | staged -> expired

Transitions are guarded where they are made (`UPDATE ... WHERE status = ...`); a session that has
ended stays as it is. No I/O.
"""

from collections.abc import Iterable
from typing import Any

from syncsession_client.protocol.errors import SessionExpired, SessionFailed, SessionState
from syncsession_client.protocol.session_set import SessionSet

ENDED = frozenset({"committed", "failed", "expired"})


def settled(last_number: int, live: Iterable[int]) -> SessionSet:
    """The numbers given out whose sessions have ended.

    Numbers are dense and given out in the transaction that begins a session, so one that is not
    live and not above `last_number` has ended, and everything it wrote is in the same snapshot.
    """
    given = SessionSet([(1, last_number)]) if last_number else SessionSet()
    return given - SessionSet.of(*live)


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


def describe(tenant_id: str, row: tuple[Any, ...]) -> dict[str, Any]:
    """A session as an answer shows it, from a row of `sessions.find`."""
    number, _, _, status, _, is_corrected, error = row
    return {
        "tenant_id": tenant_id,
        "number": number,
        "status": status,
        "corrected": bool(is_corrected),
        "error": error,
    }
