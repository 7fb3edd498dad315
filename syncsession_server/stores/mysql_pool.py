"""The connections to MySQL and MariaDB, their deadlines, and what the driver's errors mean here."""

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomysql

from syncsession_client.protocol.errors import InvalidSetting, ServerBusy, TooLarge

from ..databases import MysqlUrl
from . import Dialect
from .mysql_driver import Connection

_CONNECT_SECONDS = 10.0
_ACQUIRE_SECONDS = 30.0
_PING_SECONDS = 3.0
_CLOSE_SECONDS = 1.0
_STATEMENT_SECONDS = 1800.0
_LOCK_SECONDS = 10  # after which a statement that waits for a lock is given up
_READ_SECONDS = 120  # after which a result that nobody takes is given up

_AGAIN = frozenset(
    {
        1062,  # another has added the same meanwhile, and is seen the next time
        1020,  # the row has changed since it was read (innodb_snapshot_isolation)
        1205,  # lock wait timeout
        1213,  # deadlock; in a cluster, a conflict with another node
        1412,  # the table has changed since the snapshot
        *(1317, 1969, 3024),  # somebody, or a time limit, has ended the statement
        *(1180, 1206, 1637),  # the commit failed; too many locks, or transactions, at a time
    }
)
_LOST = frozenset(
    {
        *(1040, 1203, 1226),  # too many connections
        *(1053, 1077, 1078, 1079, 1080),  # shutting down
        *(1152, 1158, 1159, 1160, 1161, 1184, 1927, 3169, 4031),  # the connection was cut
        *(1129, 1135),  # no more connections from here, or no thread for one
        *(1047, 3100),  # a cluster's node that is not ready
        *(2002, 2003, 2006, 2013, 2014, 2055),  # no connection, or no more
        *(1290, 1836),  # read-only, as while another server takes over
        *(1021, 1026, 1030, 1037, 1038, 1041, 1114, 3185),  # no room on its disk, or in its memory
    }
)
_DENIED = frozenset({1044, 1045, 1049, 1142, 1143, 1227, 1698, 2026, 2059, 2061})
ALREADY = frozenset({1050, 1060, 1061})
"""Numbers of errors: the table, column or index is there."""
_PACKET_TOO_LARGE = 1153


class Again(Exception):
    """The same may succeed the next time."""


class Lost(Again):
    """There is no connection, or no more."""


class Pool:
    """The connections of one process: at most `most`, opened as they are needed."""

    def __init__(self, url: MysqlUrl, sql: Dialect, most: int, silence_seconds: int) -> None:
        self._url, self._sql, self._most = url, sql.connection, most
        self._silence_seconds = silence_seconds
        self._free: list[tuple[Connection, float]] = []
        self._places = asyncio.Semaphore(most)
        self._is_closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection that nobody else uses meanwhile."""
        try:
            async with asyncio.timeout(_ACQUIRE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise ServerBusy(
                f"all {self._most} connections to the database are busy; try again"
            ) from None
        try:
            connection = await self._take()
            try:
                yield connection
            finally:
                self._put(connection)
        finally:
            self._places.release()

    def doubt(self) -> None:
        """Ask every free connection whether it is still there before it is used."""
        self._free = [(connection, -math.inf) for connection, _ in self._free]

    async def close(self) -> None:
        """Close what is not in use now, and what is when it comes back."""
        self._is_closed = True
        while self._free:
            connection, _ = self._free.pop()
            try:
                async with bounded(_CLOSE_SECONDS):
                    await connection.ensure_closed()
            except Again:
                connection.close()  # the database was gone before

    async def _take(self) -> Connection:
        while self._free:
            connection, since = self._free.pop()
            if await self._is_there(connection, since):
                return connection
            connection.close()
        return await self._open()

    async def _is_there(self, connection: Connection, since: float) -> bool:
        if not connection.is_idle:
            return False
        if time.monotonic() - since < self._silence_seconds / 3:
            return True
        try:
            async with bounded(_PING_SECONDS):
                await connection.ping(reconnect=False)
        except Again:
            return False
        return True

    def _put(self, connection: Connection) -> None:
        """Keep it, unless something of its last use may still be under way."""
        if connection.is_idle and not self._is_closed:
            self._free.append((connection, time.monotonic()))
        else:
            connection.close()

    async def _open(self) -> Connection:
        url = self._url
        connection = Connection(
            host=url.host,
            port=url.port,
            unix_socket=url.unix_socket,
            user=url.user,
            password=url.password.encode().decode("latin1"),  # the driver sends it as Latin-1
            db=url.name,
            autocommit=True,
            connect_timeout=None,  # its `wait_for` could swallow a cancellation
            ssl=await asyncio.to_thread(_tls, url),
        )
        patience = {
            "lock_seconds": _LOCK_SECONDS,
            "read_seconds": _READ_SECONDS,
            "silence_seconds": self._silence_seconds,
        }
        try:
            async with bounded(_CONNECT_SECONDS):
                await connection.open()
                for sql in (self._sql.mode, self._sql.isolation, self._sql.patience):
                    await connection.execute(sql, patience)
                cursor = await connection.execute(self._sql.abilities, {})
                _, _, connection.most_packet = await cursor.fetchone()
        except BaseException:
            connection.close()
            raise
        return connection


def _tls(url: MysqlUrl) -> ssl.SSLContext | None:
    """The TLS of the connections, by the URL.

    Raises:
        InvalidSetting: a file that it names cannot be used.
    """
    if url.tls == "off":
        return None
    try:
        context = ssl.create_default_context(cafile=url.tls_ca)
        if url.tls_cert and url.tls_key:
            context.load_cert_chain(url.tls_cert, url.tls_key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(filter(None, (url.tls_ca, url.tls_cert, url.tls_key)))
        raise InvalidSetting(f"its TLS files ({files}): {error}") from error
    if url.tls == "required":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@asynccontextmanager
async def bounded(seconds: float = _STATEMENT_SECONDS) -> AsyncIterator[None]:
    """A deadline, and the driver's errors as what they mean here."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Lost(f"no answer within {seconds:.0f} s") from error
    except (aiomysql.InterfaceError, OSError) as error:
        raise Lost(str(error)) from error
    except aiomysql.MySQLError as error:
        code, text = error_code(error), _text(error)
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise InvalidSetting(text) from error
        if code in _AGAIN:
            raise Again(text) from error
        if code in _LOST or (code == 0 and isinstance(error, aiomysql.InternalError)):
            raise Lost(text) from error  # without a code: the driver, of packets out of order
        if code in _DENIED:
            raise InvalidSetting(text) from error
        if code == _PACKET_TOO_LARGE:
            raise TooLarge(
                f"this is more than the database takes at once ({error.args[-1]}): "
                "raise its max_allowed_packet"
            ) from error
        raise


def _text(error: Exception) -> str:
    """What a driver's error says, its number, and what the system said of it."""
    text = f"{error.args[1]} ({error.args[0]})" if len(error.args) == 2 else str(error)
    return f"{text}: {error.__cause__}" if isinstance(error.__cause__, OSError) else text


def error_code(error: BaseException | None) -> int:
    """The number of a driver's error, or 0."""
    arguments = getattr(error, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0
