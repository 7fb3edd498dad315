"""Golden messages: what crosses the wire, byte for byte, checked against each side alone.

`conversation.json` is one device that pushes and another that pulls, `spooled.json` the same where
the server takes the pull for a large one. A change of them is a change of the protocol. To record
them anew: SYNCSESSION_RECORD_WIRE=1 pytest tests/wire
"""

import json
import os
import sqlite3
import uuid
from contextlib import closing
from itertools import count
from pathlib import Path

import httpx
import pytest
from support import Device, Server, serving

from syncsession_client import protocol, pull, push
from syncsession_client.protocol import bodies
from syncsession_client.protocol.batches import Batch, decode, encode
from syncsession_client.protocol.errors import SyncError, UnknownTable
from syncsession_client.transport import Transport
from syncsession_server.settings import Settings

GOLDEN = {"conversation.json": 10_000, "spooled.json": 0}
"""Each file, and up to how many rows the server answers a pull at once."""

DEVICES = ("00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b")
SCHEMA = (
    "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE album (id INTEGER PRIMARY KEY, artist_id INTEGER REFERENCES artist (id), v)",
    "CREATE TABLE note (id TEXT PRIMARY KEY, v) WITHOUT ROWID",
)
ROWS = (
    "INSERT INTO artist VALUES (7, 'Björk')",
    "INSERT INTO album VALUES (1, 7, 9223372036854775807)",
    "INSERT INTO note VALUES ('blob', x'00ff'), ('int', 1), ('real', 1.0), ('text', '1'), "
    "('null', NULL), ('minus zero', -0.0), ('infinite', 9e999)",
    "DELETE FROM note WHERE id = 'gone'",
)


@pytest.fixture(params=GOLDEN)
def file(request) -> Path:
    return Path(__file__).with_name(request.param)


@pytest.fixture
def wire_server(new_database, file):
    settings = Settings(
        database=new_database(), migrate=True, pull_shared_table_threshold=GOLDEN[file.name]
    )
    with serving(settings) as server:
        yield server


@pytest.fixture
def fixed_ids(monkeypatch):
    """Session and pull ids come out the same every time, and batches travel in order."""
    numbers = count(1)

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=next(numbers), version=4)

    monkeypatch.setattr(push.uuid, "uuid4", uuid4)
    monkeypatch.setattr(pull.uuid, "uuid4", uuid4)
    monkeypatch.setattr("syncsession_client.transport.ENCODINGS", ("identity",))
    monkeypatch.setattr("syncsession_client.flight._IN_FLIGHT", 1)
    monkeypatch.setattr(push, "SEALED", "identity")
    monkeypatch.setattr("syncsession_client.protocol.bodies.choose", lambda _: "identity")


def make(path: Path, url: str, token: str, device_id: str) -> Device:
    device = Device(path, url, token)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(";".join((*SCHEMA, "INSERT INTO note VALUES ('gone', 0)")))
    device.init()
    device.execute(f"UPDATE _syncsession_state SET device_id = '{device_id}'")
    return device


def edit(device: Device) -> None:
    device.execute(*ROWS)
    for table in ("artist", "album", "note"):
        device.execute(f"UPDATE _sync_{table}_log SET at = 2461367.0")
    device.execute("UPDATE _sync_note_rows SET modified_at_utc = '2026-11-22T11:59:00.000Z'")


def converse(directory: Path, url: str, token: str) -> None:
    """One device pushes a row of each kind, another pulls them."""
    writer = make(directory / "writer.db", url, token, DEVICES[0])
    edit(writer)
    writer.push()
    reader = make(directory / "reader.db", url, token, DEVICES[1])
    reader.pull()


def shown(method: str, path: str, body: bytes | None, status: int, answer: bytes) -> dict:
    return {
        "request": f"{method} {path}",
        "body": readable(body),
        "status": status,
        "answer": readable(answer),
    }


def readable(body: bytes | None):
    """JSON as it is; anything else in hexadecimal."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        return {"hex": body.hex()}


def unreadable(body) -> bytes | None:
    if body is None:
        return None
    return bytes.fromhex(body["hex"]) if "hex" in body else json.dumps(body).encode()


@pytest.fixture
def golden(file) -> list[dict]:
    return json.loads(file.read_text())


def test_a_device_and_a_server_say_what_the_golden_conversation_says(
    tmp_path, wire_server, file, fixed_ids, monkeypatch
):
    said, request = [], Transport._request

    def recording(self, method, path, *, content=None, **rest):
        response = request(self, method, path, content=content, **rest)
        body = response.extensions["packed"] if rest.get("is_packed") else response.content
        said.append(shown(method, path, content, response.status_code, body))
        return response

    monkeypatch.setattr(Transport, "_request", recording)
    converse(tmp_path, wire_server.url, wire_server.token("wire"))
    if os.environ.get("SYNCSESSION_RECORD_WIRE"):
        file.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    assert said == json.loads(file.read_text())


def test_the_server_alone_answers_as_the_golden_conversation_says(wire_server: Server, golden):
    token = wire_server.token("wire")
    with httpx.Client(base_url=wire_server.url) as client:
        for exchange, device_id in zip(golden, device_of_each(golden), strict=True):
            method, path = exchange["request"].split()
            response = client.request(
                method,
                path,
                content=unreadable(exchange["body"]),
                headers={
                    "Authorization": f"Bearer {token}",
                    "Content-Type": "application/json",
                    "Accept-Encoding": "identity",
                    protocol.VERSION_HEADER: "1",
                    protocol.DEVICE_HEADER: device_id,
                },
            )
            assert response.status_code == exchange["status"]
            assert response.headers[protocol.VERSION_HEADER] == "1"
            assert readable(response.content) == exchange["answer"]


def device_of_each(golden: list[dict]) -> list[str]:
    """The second device begins where the tables are described again."""
    described = [n for n, e in enumerate(golden) if e["request"] == "PUT /v1/tables"]
    return [DEVICES[n >= described[1]] for n in range(len(golden))]


def test_the_device_alone_asks_as_the_golden_conversation_says(
    tmp_path, fixed_ids, golden, monkeypatch
):
    waiting = iter(golden)

    def answer(request: httpx.Request) -> httpx.Response:
        exchange = next(waiting)
        assert f"{request.method} {request.url.path}" == exchange["request"]
        assert readable(request.content) == exchange["body"]
        assert request.headers[protocol.VERSION_HEADER] == "1"
        answered = unreadable(exchange["answer"]) or b""
        ours = {protocol.VERSION_HEADER: "1"}
        return httpx.Response(exchange["status"], headers=ours, stream=httpx.ByteStream(answered))

    client = httpx.Client
    monkeypatch.setattr(
        "syncsession_client.transport.httpx.Client",
        lambda **options: client(transport=httpx.MockTransport(answer), **options),
    )
    converse(tmp_path, "http://golden", "a token")
    assert next(waiting, None) is None
    device = Device(tmp_path / "reader.db", "", "")
    assert device.rows("SELECT id, typeof(v), v FROM note WHERE id <> 'gone' ORDER BY id") == [
        ("blob", "blob", b"\x00\xff"),
        ("infinite", "real", float("inf")),
        ("int", "integer", 1),
        ("minus zero", "real", -0.0),
        ("null", "null", None),
        ("real", "real", 1.0),
        ("text", "text", "1"),
    ]


def test_a_batch_is_the_documented_messagepack():
    batch = Batch(
        "t", ("id",), ("v",), [(None, "2026", "al", 0, "k", 1.0), (3, None, None, 1, "l", None)]
    )
    packed = bytes.fromhex(
        "84a57461626c65a174a36b657991a26964a7636f6c756d6e7391a176a4726f7773"
        "9296c0a432303236a2616c00a16bcb3ff0000000000000"
        "9603c0c001a16cc0"
    )
    assert encode(batch) == packed
    assert decode(packed) == batch


def test_an_error_crosses_the_wire_as_its_class():
    wire = UnknownTable("no table t").to_wire()
    assert wire == {"code": "unknown_table", "message": "no table t", "retryable": False}
    back = SyncError.from_wire(wire)
    assert (type(back), str(back)) == (UnknownTable, "no table t")
    unknown = SyncError.from_wire({"code": "from_the_future", "message": "m"})
    assert (type(unknown), str(unknown)) == (SyncError, "m")


@pytest.mark.parametrize("encoding", bodies.ENCODINGS)
def test_a_body_survives_every_encoding(encoding):
    data = b"row " * 10_000
    assert bodies.decompress(bodies.compress(data, encoding), encoding, len(data)) == data
