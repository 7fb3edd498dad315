"""One process syncs a file at a time: a lock, and who holds it."""

import fcntl
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from .protocol.errors import DatabaseLocked, NotWritable
from .protocol.kill_points import point


class Holder(msgspec.Struct, frozen=True):
    """Who syncs a file: what it does, its process, and since when."""

    act: str
    pid: int
    since_utc: str


class SyncLock:
    """The lock beside a database, `app.db-sync.lock`. Whoever takes it lets go, by `with`.

    The system lets go of it when the process ends, however it does; what stands in the file is only
    for whoever is turned away. It is not taken by a library: what these open they empty.

    Raises, on entry:
        DatabaseLocked: another process syncs the file; who, and since when.
        NotWritable: there can be no file beside the database.
    """

    def __init__(self, database: Path, act: str) -> None:
        self._database, self._act = database, act
        self._path = database.with_name(database.name + "-sync.lock")

    def __enter__(self) -> "SyncLock":
        while True:
            self._file = self._open()
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._turn_away(error)
            if self._is_there():
                break
            os.close(self._file)  # its holder has just let go, and has removed it
        point("lock.taken")
        holder = Holder(self._act, os.getpid(), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        os.ftruncate(self._file, 0)
        with suppress(OSError):  # on a full disk it is locked all the same, and names no holder
            os.pwrite(self._file, msgspec.json.encode(holder) + b"\n", 0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_there():
            self._path.unlink(missing_ok=True)  # while it is held: nobody else holds one meanwhile
        os.close(self._file)

    def _open(self) -> int:
        try:
            mode = self._database.stat().st_mode & 0o666  # whoever may write the one may the other
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        except OSError as error:
            raise NotWritable(f"{self._path} cannot be written: {error.strerror}") from error

    def _is_there(self) -> bool:
        """Whether the file that was locked is still the one of that name."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        return False

    def _turn_away(self, error: OSError) -> None:
        """Raise why the lock cannot be had."""
        with os.fdopen(self._file, "rb") as file:
            told = file.read()
        if not isinstance(error, BlockingIOError):
            raise NotWritable(f"{self._path} cannot be locked: {error.strerror}") from error
        try:
            holder = msgspec.json.decode(told, type=Holder)
            who = f"process {holder.pid} ({holder.act}) has done so since {holder.since_utc}"
        except msgspec.MsgspecError:
            who = "it has only just begun"
        raise DatabaseLocked(
            f"another process syncs {self._database}: {who}; end it, or try again when it is done"
        ) from error
