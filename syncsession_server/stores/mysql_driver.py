"""What aiomysql lacks: a result read in pages of bounded size, LOAD DATA LOCAL from memory that
answers for nothing else, and TLS that is not given up where the server says that it has none.

It reaches into aiomysql's connection, so pyproject.toml bounds the version.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import aiomysql
from aiomysql.connection import MySQLResult
from pymysql.constants import CLIENT, CR
from pymysql.protocol import MysqlPacket

from .mysql_packets import Row, reader, take_rows

_PACKET = 1 << 20
_PART = 1 << 18
_LARGE = 7 << 20  # in hexadecimal still within the packet of 16 MiB that MariaDB takes at first


class Connection(aiomysql.Connection):  # type: ignore[misc]
    """One connection. A call that is cancelled closes it, since its answer may still come."""

    def __init__(self, **options: Any) -> None:
        # LOCAL_FILES lets LOAD DATA LOCAL be asked for; local_infile would let the database ask.
        super().__init__(**options, client_flag=CLIENT.LOCAL_FILES, charset="utf8mb4")
        self.client_flag &= ~CLIENT.MULTI_STATEMENTS
        self._to_load: bytes | None = None
        self._result: Any

    async def open(self) -> None:
        """Connect.

        Raises:
            aiomysql.Error, OSError: there is no connection to be had.
        """
        await self._connect()

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
        """A value as SQL. Bytes in hexadecimal, which is fast, or as they are, which is shorter.

        aiomysql 0.3 cannot write them with the PyMySQL that it comes with.
        """
        if not isinstance(obj, bytes):
            return str(super().escape(obj))
        if len(obj) < _LARGE:
            return f"x'{obj.hex()}'"
        return f"_binary'{self.escape_string(obj.decode('ascii', 'surrogateescape'))}'"

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
            await super()._read_query_result(unbuffered)
            return
        self._result = None
        result = _Loading(self, self._to_load)
        await result.read()
        self._result = result
        self.server_status = result.server_status

    async def _request_authentication(self) -> None:
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise aiomysql.OperationalError(
                CR.CR_SSL_CONNECTION_ERROR, "TLS is required, and the database server offers none"
            )
        await super()._request_authentication()


class Cursor(aiomysql.Cursor):  # type: ignore[misc]
    """A cursor that leaves warnings to who asks for them: VALUES() is one in MySQL, always."""

    async def _show_warnings(self, conn: Any) -> None:
        pass


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
