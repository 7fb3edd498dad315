"""Every error this project raises on purpose, and its form on the wire.

    SyncError
    ├── RequestError            the request cannot be taken as it is (4xx)
    │   ├── BadRequest  TooLarge  ProtocolMismatch
    │   ├── Unauthorized  Forbidden ── ForbiddenModifier
    │   ├── UnknownTable  UnknownSession  UnknownPull  UnknownRoute
    │   ├── WrongTenant  SchemaContradiction
    │   ├── SessionState ── SessionExpired  SessionFailed ── RowsRejected
    │   └── ReseedRequired  CopiedDevice  ServerRestored
    ├── TryLater                nothing is wrong; the same call may succeed later (retryable)
    │   ├── ServerUnreachable ── NetworkUnavailable
    │   ├── ServerBusy  Maintenance  StillCommitting
    │   └── DatabaseLocked  DiskFull  SchemaChanging  SidecarDamaged  BatchDamaged
    ├── DatabaseError           the database file in hand
    │   ├── NoSuchFile  NotADatabase  NotWritable  AlreadyExists
    │   ├── NotInitialized  AlreadyInitialized  NoSuchConflict  NoSuchReject
    │   ├── Unsyncable ── NoPrimaryKey  NullKey  OutsideReference  UnknownName  UnsyncableValue
    │   └── Unappliable  MassDelete
    ├── InvalidSetting          a flag or environment variable
    ├── OutOfDate               the server's own tables
    └── NoHistory               what a row was is not known

`code` crosses the wire and appears in the command line's messages; the classes are what an
application catches. Reference: docs/reference/errors.md (generated).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from . import rejects
from .rejects import Reject


class SyncError(Exception):
    """Base of every error this project raises on purpose.

    `rejects` are the rows that are the reason, where the others of the session would be taken.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    _by_code: ClassVar[dict[str, type["SyncError"]]] = {}
    rejects: Sequence[Reject] = ()

    def __init_subclass__(cls) -> None:
        SyncError._by_code.setdefault(cls.code, cls)

    def to_wire(self) -> dict[str, Any]:
        """`{code, message, retryable}`, the body of every failed answer; with `rejects`, if any."""
        told = {"code": self.code, "message": str(self), "retryable": self.retryable}
        return told | ({"rejects": rejects.to_wire(self.rejects)} if self.rejects else {})

    @staticmethod
    def from_wire(body: dict[str, Any]) -> "SyncError":
        """The error the other side raised; a code unknown here becomes a plain SyncError."""
        error = SyncError._by_code.get(str(body.get("code")), SyncError)(str(body.get("message")))
        if "rejects" in body:
            error.rejects = rejects.from_wire(body["rejects"])
        return error


class RequestError(SyncError):
    """The server cannot take the request as it is."""

    code, status = "request_error", 400


class BadRequest(RequestError):
    """A message does not have the documented shape."""

    code = "bad_request"


class TooLarge(RequestError):
    """A body, or what it unpacks to, is over the server's limit."""

    code, status = "too_large", 413


class ProtocolMismatch(RequestError):
    """Client and server share no protocol version."""

    code, status = "protocol_mismatch", 426


class Unauthorized(RequestError):
    """No token, or one that the server does not know."""

    code, status = "unauthorized", 401


class Forbidden(RequestError):
    """The token is known, and lacks the scope that the request needs."""

    code, status = "forbidden", 403


class ForbiddenModifier(Forbidden):
    """A row claims to be modified by a user for whom the token may not act."""

    code = "forbidden_modifier"


class UnknownTable(RequestError):
    """The tenant has no such table."""

    code, status = "unknown_table", 404


class UnknownSession(RequestError):
    """The tenant has no such push session."""

    code, status = "unknown_session", 404


class UnknownPull(RequestError):
    """The pull is not there (any more); begin another."""

    code, status = "unknown_pull", 404


class UnknownRoute(RequestError):
    """No such path or method."""

    code, status = "unknown_route", 404


class WrongTenant(RequestError):
    """The database is bound to one tenant and the token belongs to another."""

    code, status = "wrong_tenant", 403


class SchemaContradiction(RequestError):
    """A table's key or a column's type differs from what the server has."""

    code, status = "schema_contradiction", 409


class SessionState(RequestError):
    """The session is not in a state that allows this."""

    code, status = "session_state", 409


class SessionExpired(SessionState):
    """The session saw no request for longer than the server keeps one open."""

    code, status = "session_expired", 410


class SessionFailed(SessionState):
    """The server could not commit the session; nothing of it was applied."""

    code = "session_failed"


class RowsRejected(SessionFailed):
    """The server does not take some rows of the session; nothing of it was applied."""

    code = "rows_rejected"


class ReseedRequired(RequestError):
    """The device lacks sessions that the server has forgotten; only a full copy is of use."""

    code, status = "reseed_required", 410


class CopiedDevice(RequestError):
    """Another copy of this database has pushed as the same device; this one has to pull first."""

    code, status = "copied_device", 409


class ServerRestored(RequestError):
    """The device is ahead of the server, whose database came back from an older backup."""

    code, status = "server_restored", 409


class TryLater(SyncError):
    """Nothing is wrong with the request; the same call may succeed later.

    `retry_after` is how many seconds the answer asked to wait, in its header `Retry-After`; None
    where it did not say.
    """

    code, status, retryable = "try_later", 503, True
    retry_after: float | None = None


class ServerUnreachable(TryLater):
    """No connection to the server, or none that lasted until its answer."""

    code = "server_unreachable"


class NetworkUnavailable(ServerUnreachable):
    """The server cannot be connected to: this device is offline, or nobody listens there."""

    code = "network_unavailable"


class ServerBusy(TryLater):
    """The server cannot take the request now."""

    code = "server_busy"


class Maintenance(TryLater):
    """The server is being worked on, and takes nothing until that is done."""

    code = "maintenance"


class StillCommitting(TryLater):
    """The server has all of a push, and had not committed it when the wait for that ended."""

    code = "still_committing"


class DatabaseLocked(TryLater):
    """Another program holds the database file's write lock."""

    code = "database_locked"


class DiskFull(TryLater):
    """There is no room for the database, or for what stands beside it."""

    code = "disk_full"


class SchemaChanging(TryLater):
    """Another program changed the tables while they were being synced."""

    code = "schema_changing"


class SidecarDamaged(TryLater):
    """The file beside the database, which keeps what is on its way, was damaged and is anew."""

    code = "sidecar_damaged"


class BatchDamaged(TryLater):
    """A batch of a pull was cut or changed on its way; it is asked for again."""

    code = "batch_damaged"


class DatabaseError(SyncError):
    """Something about the database file in hand."""

    code = "database_error"


class NoSuchFile(DatabaseError):
    """There is no file of that name."""

    code = "no_such_file"


class NotADatabase(DatabaseError):
    """The file is not an SQLite database."""

    code = "not_a_database"


class NotWritable(DatabaseError):
    """The file, or its directory, cannot be written."""

    code = "not_writable"


class NotInitialized(DatabaseError):
    """Sync is not installed in the database."""

    code = "not_initialized"


class NoSuchConflict(DatabaseError):
    """There is no lost version of that number, or its row cannot be written back."""

    code = "no_such_conflict"


class NoSuchReject(DatabaseError):
    """There is no row of that number that the server has refused."""

    code = "no_such_reject"


class AlreadyInitialized(DatabaseError):
    """Sync is installed already, with other settings."""

    code = "already_initialized"


class AlreadyExists(DatabaseError):
    """The file that would be created is there already."""

    code = "already_exists"


class Unsyncable(DatabaseError):
    """The database, or a table of it, cannot be synced as it is."""

    code = "unsyncable"


class NoPrimaryKey(Unsyncable):
    """A table has no primary key, so nothing identifies its rows."""

    code = "no_primary_key"


class NullKey(Unsyncable):
    """A row has NULL in its primary key."""

    code = "null_key"


class OutsideReference(Unsyncable):
    """A synced table references one that is not synced."""

    code = "outside_reference"


class UnknownName(Unsyncable):
    """A table or column that was named does not exist."""

    code = "unknown_name"


class UnsyncableValue(Unsyncable):
    """A value cannot be carried exactly."""

    code = "unsyncable_value"


class Unappliable(DatabaseError):
    """A pulled session does not fit this database; nothing of it was applied."""

    code = "unappliable"


class MassDelete(DatabaseError):
    """A sync would delete a large share of a table that no program was seen to delete."""

    code = "mass_delete"


class InvalidSetting(SyncError):
    """A flag or environment variable that is needed and not there, or has a value of no use."""

    code, status = "invalid_setting", 400


class OutOfDate(SyncError):
    """The server's database has the tables of another version: migrate it, or run that one."""

    code = "out_of_date"


class NoHistory(SyncError):
    """What a row or table was then is not known: history was off, or is kept no longer."""

    code, status = "no_history", 404
