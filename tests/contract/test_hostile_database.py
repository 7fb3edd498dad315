"""A database server that is not what it seems gets no file and no password out of us."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiomysql
import pytest

from syncsession_client.protocol.errors import InvalidSetting
from syncsession_server.databases import parse
from syncsession_server.stores.mysql import MysqlStore
from syncsession_server.stores.mysql_driver import Connection

SECONDS = 30.0
PASSWORD = "geheim"  # noqa: S105
LINES = b"1\t2\n" * 1_000_000
OK = b"\0\0\0\2\0\0\0"
A_FILE = b"\xfb" + b"/etc/passwd"
GREETING = b"".join(
    [
        b"\x0a8.0.0\0" + struct.pack("<I", 1),  # version 10 of the protocol, the server's, an id
        b"12345678\0",  # the first half of the salt
        struct.pack("<HBHH", 0x8288, 45, 2, 0x0008),  # no TLS; LOCAL; names of plugins
        b"\x15" + bytes(10) + b"123456789012\0",
    ]
)
"""https://mariadb.com/kb/en/connection/#initial-handshake-packet"""


class Hostile:
    """Says `greeting`, lets everyone in, and answers a command as `answer` says."""

    def __init__(self, answer: Callable[[bytes], bytes], plugin: bytes, switch: bytes = OK) -> None:
        self._answer, self._greeting, self._switch = answer, GREETING + plugin + b"\0", switch
        self.heard = b""
        self.loaded = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            send(writer, 0, self._greeting)
            number, _ = await self._packet(reader)
            send(writer, number + 1, self._switch)
            while True:
                number, command = await self._packet(reader)
                answer = self._answer(command)
                send(writer, number + 1, answer)
                if answer == A_FILE:
                    await self._take_file(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _take_file(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            number, part = await self._packet(reader)
            self.loaded += part
            if not part:
                send(writer, number + 1, OK)
                return

    async def _packet(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = await reader.readexactly(4)
        payload = await reader.readexactly(int.from_bytes(head[:3], "little"))
        self.heard += payload
        return head[3], payload


def send(writer: asyncio.StreamWriter, number: int, payload: bytes) -> None:
    writer.write(len(payload).to_bytes(3, "little") + bytes([number % 256]) + payload)


def against(hostile: Hostile, work: Callable[[int], Awaitable[Any]]) -> Any:
    """What `work` makes of the port that the hostile server listens on."""

    async def main() -> Any:
        server = await asyncio.start_server(hostile, "127.0.0.1", 0)
        async with asyncio.timeout(SECONDS), server:
            return await work(server.sockets[0].getsockname()[1])

    return asyncio.run(main())


async def connected(port: int) -> Connection:
    connection = Connection(
        host="127.0.0.1", port=port, user="u", password=PASSWORD, db="d", autocommit=True
    )
    await connection.open()
    return connection


def asks_when(beginning: bytes) -> Hostile:
    """Asks for a file in answer to commands that begin so."""
    return Hostile(
        lambda command: A_FILE if command[1:].startswith(beginning) else OK,
        b"mysql_native_password",
    )


def test_who_asks_for_a_file_when_rows_are_loaded_gets_the_rows():
    hostile = asks_when(b"LOAD DATA")

    async def work(port):
        connection = await connected(port)
        await connection.load("LOAD DATA LOCAL INFILE 'rows' INTO TABLE t", LINES)
        assert connection.is_idle
        connection.close()

    against(hostile, work)
    assert hostile.loaded == LINES


@pytest.mark.parametrize("call", ["execute", "begin_rows"])
def test_who_asks_for_a_file_in_answer_to_anything_else_gets_an_error_and_no_file(call):
    hostile = asks_when(b"SELECT")

    async def work(port):
        connection = await connected(port)
        with pytest.raises(aiomysql.OperationalError, match="asked for a file"):
            await getattr(connection, call)("SELECT 1", {})
        assert not connection.is_usable
        connection.close()

    against(hostile, work)
    assert hostile.loaded == b""
    assert Path("/etc/passwd").read_bytes()[:20] not in hostile.heard


def test_rows_are_given_for_their_own_statement_only():
    hostile = asks_when(b"SELECT")

    async def work(port):
        connection = await connected(port)
        await connection.load("LOAD DATA LOCAL INFILE 'rows' INTO TABLE t", LINES)
        with pytest.raises(aiomysql.OperationalError, match="asked for a file"):
            await connection.execute("SELECT 1", {})
        connection.close()

    against(hostile, work)
    assert hostile.loaded == b""


CLEAR = b"mysql_clear_password"
OLD = b"mysql_old_password"


@pytest.mark.parametrize(
    "hostile",
    [
        Hostile(lambda _: OK, CLEAR),
        Hostile(lambda _: OK, b"mysql_native_password", b"\xfe" + CLEAR + b"\0"),
        Hostile(lambda _: OK, b"mysql_native_password", b"\xfe" + OLD + b"\0" + b"12345678"),
    ],
    ids=["at once", "then", "in the hash of old"],
)
def test_a_password_is_not_sent_readable_without_tls(hostile):
    def store(port):
        return MysqlStore(parse(f"mysql://u:{PASSWORD}@127.0.0.1:{port}/d"))

    async def work(port):
        with pytest.raises(InvalidSetting, match="use tls=verify-full"):
            async with store(port):
                pass

    against(hostile, work)
    assert PASSWORD.encode() not in hostile.heard


@pytest.mark.parametrize("tls", ["required", "verify-full"])
def test_nothing_is_sent_to_a_server_that_has_no_tls_where_it_is_wanted(tls):
    hostile = Hostile(lambda _: OK, b"mysql_native_password")

    async def work(port):
        with pytest.raises(InvalidSetting, match="TLS is required, and the database server offers"):
            async with MysqlStore(parse(f"mysql://u:{PASSWORD}@127.0.0.1:{port}/d?tls={tls}")):
                pass

    against(hostile, work)
    assert hostile.heard == b""
