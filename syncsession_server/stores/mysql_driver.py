"""What aiomysql lacks: a result read in pages of bounded size, LOAD DATA LOCAL from memory that
answers for nothing else, and TLS that is not given up where the server says that it has none.

It reaches into aiomysql's connection, so pyproject.toml bounds the version.
"""

import asyncio
import base64
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiomysql
from aiomysql.connection import MySQLResult
from pymysql.constants import CLIENT, CR, ER
from pymysql.protocol import MysqlPacket

from .mysql_packets import Row, reader, take_rows

_CLOSE_SECONDS = 5.0
_PACKET = 1 << 18
_PART = 1 << 18
_STATEMENT = 1_000_000  # bytes of an INSERT of many rows
_READABLE = frozenset({b"mysql_clear_password", b"mysql_old_password"})
_ROOM = 1 << 16  # of a packet, for what stands beside a large value


class Connection(aiomysql.Connection):  # type: ignore[misc]
    """One connection. A call that is cancelled closes it, since its answer may still come."""

    def __init__(self, **options: Any) -> None:
        # LOCAL_FILES lets LOAD DATA LOCAL be asked for; local_infile would let the database ask.
        super().__init__(**options, client_flag=CLIENT.LOCAL_FILES, charset="utf8mb4")
        self.client_flag &= ~CLIENT.MULTI_STATEMENTS
        self.most_packet = 1 << 20  # of the database, @@max_allowed_packet; the least there is
        self._to_load: bytes | None = None
        self._awaits_outcome = False
        self._result: Any

    async def open(self) -> None:
        """Connect.

        Raises:
            aiomysql.Error, OSError: there is no connection to be had.
        """
        await self._connect()

    async def ensure_closed(self) -> None:
        """Take leave of the database, if it still listens, and wait until nothing is left."""
        writer = self._writer
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await super().ensure_closed()
                if writer is not None:
                    await writer.wait_closed()
        self.close()

    @property
    def is_usable(self) -> bool:
        """Whether nothing is known that would make the next call fail."""
        return not (self.closed or self._reader.at_eof() or self._reader.exception())

    @property
    def is_reading(self) -> bool:
        """Whether rows of a result are still to come."""
        return self._result is not None and bool(self._result.unbuffered_active)

    @property
    def is_idle(self) -> bool:
        """Whether it can be used for anything, by anyone."""
        return self.is_usable and not self.is_reading and not self.get_transaction_status()

    def escape(self, obj: Any) -> str:
        """A value as SQL, as short as it takes to fit a packet: quoted, or base64 where most of it
        would have to be escaped. Bytes in hexadecimal while that fits, which is fastest.

        aiomysql 0.3 cannot write bytes with the PyMySQL that it comes with.
        """
        if isinstance(obj, bytes):
            return self._escape_bytes(obj)
        text = str(super().escape(obj))
        if not isinstance(obj, str) or len(text) < self.most_packet // 16:
            return text
        data = obj.encode()
        is_shorter = len(data) * 4 // 3 < len(text.encode()) - _ROOM
        return f"convert({_from_base64(data)} using utf8mb4)" if is_shorter else text

    def _escape_bytes(self, data: bytes) -> str:
        if len(data) * 2 < self.most_packet // 4:
            return f"x'{data.hex()}'"
        if len(data) * 4 // 3 < self.most_packet - _ROOM:
            return _from_base64(data)
        return f"_binary'{self.escape_string(data.decode('ascii', 'surrogateescape'))}'"

    async def query(self, sql: str | bytes | bytearray, unbuffered: bool = False) -> Any:
        """Run a statement. One that the database would cut the connection for is not sent.

        Raises:
            aiomysql.OperationalError: it is larger than the database takes (1153), or fails.
        """
        data = sql.encode(self.encoding, "surrogateescape") if isinstance(sql, str) else sql
        if len(data) + 1 >= self.most_packet:
            raise aiomysql.OperationalError(
                ER.NET_PACKET_TOO_LARGE, f"{len(data)} bytes, of {self.most_packet} at most"
            )
        return await super().query(data, unbuffered=unbuffered)

    async def execute(self, sql: str, params: Mapping[str, Any]) -> "Cursor":
        """Run a statement; the cursor has its outcome, all of it."""
        cursor = Cursor(self)
        await cursor.execute(sql, params)
        return cursor

    async def execute_many(
        self, sql: str, rows: Iterable[Sequence[Any] | Mapping[str, Any]]
    ) -> None:
        """Run a statement for each row; rows of an INSERT go together."""
        await Cursor(self).executemany(sql, list(rows))

    async def load(self, sql: str, lines: bytes) -> tuple[int, int]:
        """Run a LOAD DATA LOCAL over `lines`: (rows loaded, warnings)."""
        self._to_load = lines
        try:
            await self.query(sql)
            return int(self._result.affected_rows), int(self._result.warning_count)
        finally:
            self._to_load = None

    async def begin_rows(self, sql: str, params: Mapping[str, Any]) -> None:
        """Run a query whose rows `next_rows` reads."""
        await self.query(Cursor(self).mogrify(sql, params), unbuffered=True)
        self._unread, self._at = b"", 0
        self._readers = [reader(*each) for each in getattr(self._result, "converters", ())]

    async def next_rows(self, most: int, most_bytes: int) -> list[Row]:
        """The next rows of the query: at most `most`, fewer where they are large; then none."""
        rows: list[Row] = []
        size = 0
        while self.is_reading and len(rows) < most and size < most_bytes:
            taken = take_rows(self._unread, self._at, self._readers, most - len(rows))
            rows += taken.rows
            size += taken.position - self._at
            self._at = taken.position
            if taken.last is not None:
                self._end_rows(taken.last)
            elif taken.missing:
                await self._read_more(taken.missing)
        return rows

    async def _read_more(self, least: int) -> None:
        try:
            if least > _PART:
                more = await self._reader.readexactly(least)
            else:
                more = await self._reader.read(_PART)
        except asyncio.CancelledError:
            self.close()
            raise
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise aiomysql.OperationalError(CR.CR_SERVER_LOST, str(error)) from error
        if not more:
            self.close()
            raise aiomysql.OperationalError(CR.CR_SERVER_LOST, "the connection was closed")
        self._unread, self._at = self._unread[self._at :] + more, 0

    def _end_rows(self, last: bytes) -> None:
        result, packet = self._result, MysqlPacket(last, self.encoding)
        result.unbuffered_active, result.connection = False, None
        packet.check_error()
        result._check_packet_is_eof(packet)

    async def _read_query_result(self, unbuffered: bool = False) -> None:
        if self._to_load is None:
            self._awaits_outcome = True
            await super()._read_query_result(unbuffered)
            return
        self._result = None
        result = _Loading(self, self._to_load)
        await result.read()
        self._result = result
        self.server_status = result.server_status

    async def _read_packet(self, packet_type: Any = MysqlPacket) -> Any:
        packet = await super()._read_packet(packet_type)
        is_outcome, self._awaits_outcome = self._awaits_outcome, False
        if is_outcome and packet.is_load_local_packet():
            self.close()
            raise aiomysql.OperationalError(
                CR.CR_MALFORMED_PACKET, "the database server asked for a file, and got none"
            )
        return packet

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        self._check_plugin(plugin_name)
        return await super()._process_auth(plugin_name, auth_packet)

    def _check_plugin(self, name: bytes) -> None:
        """Give a password to nobody who could read it from the network."""
        if not self._secure and name in _READABLE:
            raise aiomysql.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                "the database server wants the password in a form that others could read: "
                "use tls=verify-full",
            )

    async def _request_authentication(self) -> None:
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise aiomysql.OperationalError(
                CR.CR_SSL_CONNECTION_ERROR, "TLS is required, and the database server offers none"
            )
        if not self._ssl_context:
            self._check_plugin(self._server_auth_plugin.encode())
        await super()._request_authentication()


class Cursor(aiomysql.Cursor):  # type: ignore[misc]
    """A cursor that leaves warnings to who asks for them: VALUES() is one in MySQL, always."""

    max_stmt_length = _STATEMENT

    async def _show_warnings(self, conn: Any) -> None:
        pass


def _from_base64(data: bytes) -> str:
    return f"from_base64('{base64.b64encode(data).decode()}')"


class _Loading(MySQLResult):  # type: ignore[misc]
    """The outcome of a LOAD DATA LOCAL: whatever is asked for, what the caller gave is sent."""

    def __init__(self, connection: Connection, lines: bytes) -> None:
        super().__init__(connection)
        self._lines = lines

    async def _read_load_local_packet(self, _: Any) -> None:
        connection = self.connection
        try:
            for start in range(0, len(self._lines), _PACKET):
                connection.write_packet(self._lines[start : start + _PACKET])
                await connection._writer.drain()
            connection.write_packet(b"")
        except asyncio.CancelledError:
            connection.close()
            raise
        except OSError as error:
            connection.close()
            raise aiomysql.OperationalError(CR.CR_SERVER_LOST, str(error)) from error
        self._read_ok_packet(await connection._read_packet())
