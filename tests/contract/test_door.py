"""Everything that comes from a client is hostile: each refusal is told in one shape, nothing of it
is stored, and the next good session works.
"""

import copy
import gzip
import io
import re
import sqlite3
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Any

import httpx
import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import NO_CERTIFICATES, Server, World, everyone_syncs, serving

from syncsession_client import protocol
from syncsession_client.protocol.batches import Batch, encode
from syncsession_client.protocol.errors import SyncError
from syncsession_server.app import ROUTES
from syncsession_server.settings import Settings

fuzzed = settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PACKERS = {"zstd": zstandard.compress, "gzip": gzip.compress}
ENDED = {"committed", "failed"}
LIMIT = 1 << 20
TESTS_A_SERVER = 40
AN_ID = "0192a4e6-3c5f-7d81-9b2e-6f0a4c8e1d37"
"""For what names tests: processes that share them must find the same names."""


@pytest.fixture(scope="module")
def next_server(new_database: Callable[[], str]) -> Iterator[Callable[[], Server]]:
    """Servers of this module's own: what is described here must not meet other tests' tables.

    Each is for so many tests: every one makes tables, and looks at all that there are.
    """
    with ExitStack() as stack:

        @cache
        def nth(_: int) -> Server:
            stack.close()
            settings = Settings(
                database=new_database(),
                migrate=True,
                status_wait_seconds=5.0,
                pull_shared_table_threshold=0,
            )
            return stack.enter_context(serving(settings))

        asked = count()
        yield lambda: nth(next(asked) // TESTS_A_SERVER)


@pytest.fixture
def server(next_server: Callable[[], Server]) -> Server:
    return next_server()


class Door:
    """One tenant's device without a client library, and a table that it may push."""

    def __init__(self, server: Server, client: httpx.Client) -> None:
        self.server, self._client = server, client
        self.tenant = f"t{uuid.uuid4().hex}"
        self.device = str(uuid.uuid4())
        self.headers = {
            "Authorization": f"Bearer {server.token(self.tenant)}",
            protocol.VERSION_HEADER: str(protocol.VERSION),
            protocol.DEVICE_HEADER: self.device,
        }
        self.table = f"plain_{uuid.uuid4().hex}"
        self.local = f"local_{uuid.uuid4().hex}"

    def ask(
        self, method: str, path: str, content: Any = None, **headers: str | bytes | None
    ) -> httpx.Response:
        """A request with good headers, but for those given; None leaves one out."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {n: v for n, v in self.headers.items() if n not in given}
        kept |= {n: v for n, v in given.items() if v is not None}
        return self._client.request(method, path, content=content, headers=kept)

    def json(self, method: str, path: str, body: Any, **headers: str | None) -> httpx.Response:
        return self.ask(method, path, msgspec.json.encode(body), **headers)

    def describe(self, *tables: dict[str, Any]) -> httpx.Response:
        return self.json("PUT", "/v1/tables", {"tables": list(tables)})

    def begin(self, batches: int = 1, table: str | None = None) -> str:
        """A session that is open now."""
        session = str(uuid.uuid4())
        body = {"tables": [{"name": table or self.table, "rows": 1, "batches": batches}]}
        response = self.json("PUT", f"/v1/push/{session}", body)
        assert response.status_code == 200, response.text
        return session

    def send(self, session: str, content: bytes, **headers: str) -> httpx.Response:
        return self.ask("PUT", f"/v1/push/{session}/batches/1", content, **headers)

    def commit(self, session: str) -> dict[str, Any]:
        response = self.ask("POST", f"/v1/push/{session}/commit")
        assert response.status_code == 200, response.text
        return response.json()

    def push(self, *rows: list[Any], table: str | None = None) -> dict[str, Any]:
        """The outcome of a session of one batch."""
        session = self.begin(table=table)
        assert self.send(session, batch(table or self.table, *rows)).status_code == 204
        return self.commit(session)

    def good_session(self) -> None:
        """A row goes up and comes down again."""
        key = uuid.uuid4().hex
        assert self.push(row(key, 1))["status"] == "committed"
        assert [key, 1] in pulled(self, self.table)

    def stored(self) -> dict[str, list[tuple[Any, ...]]]:
        """What the server holds of this tenant, and its schema."""
        ours = "WHERE tenant_id = :tenant"
        tables = ["sync_tenant", "sync_tenant_table", "sync_session", "sync_staging", "sync_pull"]
        tables += ["sync_device", self.table, self.local]
        held = {
            t: self.server.rows(f'SELECT * FROM "{t}" {ours}', tenant=self.tenant) for t in tables
        }
        for table in ("sync_table", "sync_pull_batch"):
            held[table] = self.server.rows(f"SELECT * FROM {table}")
        held["schema"] = self.server.schema()
        return held

    @contextmanager
    def nothing_stored(self) -> Iterator[None]:
        """What happens in the body leaves no trace, and the next good session works."""
        before = self.stored()
        yield
        assert self.stored() == before
        self.good_session()


def described(name: str, **changes: Any) -> dict[str, Any]:
    """A table as a device describes it."""
    table = {
        "name": name,
        "key_kind": "global",
        "key": ["id"],
        "columns": [{"name": "id", "affinity": "text"}, {"name": "v", "affinity": "blob"}],
    }
    return table | changes


def row(key: Any, value: Any, **meta: Any) -> list[Any]:
    """A row of the wire; `meta` are session, at, by and is_deleted."""
    begin = [meta.get("session"), meta.get("at"), meta.get("by"), meta.get("is_deleted", 0)]
    return [*begin, key, value]


def batch(table: str, *rows: Any, key: Any = ("id",), columns: Any = ("v",)) -> bytes:
    return encode(Batch(table, key, columns, list(rows)))


@pytest.fixture
def door(server: Server) -> Iterator[Door]:
    with httpx.Client(base_url=server.url, verify=NO_CERTIFICATES, timeout=60) as client:
        door = Door(server, client)
        local = described(door.local, key_kind="local")
        local["columns"][0]["affinity"] = "integer"
        assert door.describe(described(door.table), local).status_code == 200
        yield door


def refused(response: httpx.Response, status: int, code: str, *words: str) -> None:
    """The answer is a failure in the documented shape, with `words` in its message."""
    assert response.headers["Content-Type"].startswith("application/json"), response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) - {"rejects"} == {"code", "message", "retryable"}
    assert (response.status_code, body["error"]["code"]) == (status, code), response.text
    assert body["error"]["retryable"] is False
    for word in words:
        assert word in body["error"]["message"]


def answered(response: httpx.Response) -> None:
    """The server took it, or refused it in the documented shape; it did not fail."""
    if response.status_code >= 400:
        error = response.json()["error"]
        kind = type(SyncError.from_wire(error))
        assert kind.code == error["code"], error
        assert response.status_code < 500, error
        refused(response, kind.status, kind.code)


def paths() -> list[tuple[str, str]]:
    """Every (method, path) under /v1, with ids that are well-formed."""
    names = {"session_id": str(uuid.uuid4()), "pull_id": str(uuid.uuid4()), "number": "1"}
    return [(r.method, r.path.format(**names)) for r in ROUTES if r.path.startswith("/v1/")]


# Who is asking


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer sst_nobody_has_this_token",
        "Basic YWxpY2U6c2VjcmV0",
        "sst_nobody_has_this_token",
        "Bearer a b c",
        "Bearer " + "x" * 4000,
        "Bearer täglich".encode(),
        b"Bearer \xff\xfe",
        b"\xff",
        "Bearer ' OR 1=1 --",
    ],
)
def test_every_route_refuses_a_caller_without_a_known_token(door: Door, authorization):
    with door.nothing_stored():
        for method, path in paths():
            refused(door.ask(method, path, b"{}", Authorization=authorization), 401, "unauthorized")


@pytest.mark.parametrize("spoken", [None, "", "0", "2", "1.0", "one", "١", b"\xff"])
def test_every_route_refuses_another_version_and_names_what_both_speak(door: Door, spoken):
    with door.nothing_stored():
        for method, path in paths():
            response = door.ask(method, path, b"{}", SyncSession_Protocol=header(spoken))
            refused(response, 426, "protocol_mismatch", "speaks protocol 1 to 1", "the device")


def header(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def test_a_version_that_differs_is_named_in_the_answer(door: Door):
    refused(door.ask("GET", "/v1/me", SyncSession_Protocol="7"), 426, "protocol_mismatch", "7")


@pytest.mark.parametrize("path", sorted({r.path for r in ROUTES if "/v1/" not in r.path}))
def test_what_machines_ask_needs_no_token_and_no_version(door: Door, path):
    response = door.ask("GET", path, Authorization=None, SyncSession_Protocol=None)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v2/me"),
        ("GET", "/v1/me/"),
        ("GET", "/v1/%ff%fe"),
        ("GET", "/v1/../etc/passwd"),
        ("GET", "/v1/push//batches/1"),
        ("POST", "/v1/me"),
        ("DELETE", "/v1/tables"),
        ("PATCH", "/v1/tables"),
        ("GET", f"/v1/pull/{AN_ID}"),
        ("OPTIONS", "/v1/me"),
    ],
)
def test_an_unknown_path_or_method_is_an_unknown_route(door: Door, method, path):
    refused(door.ask(method, path), 404, "unknown_route", method)


# Ids and numbers

NO_UUIDS = [
    "1",
    "x" * 36,
    "%00",
    "..%2f",
    AN_ID.upper(),
    f"{AN_ID}%0a",
    "٣" * 36,
]


@pytest.mark.parametrize("no_uuid", NO_UUIDS)
def test_an_id_that_is_no_uuid_is_refused(door: Door, no_uuid):
    push = {"tables": [{"name": door.table, "rows": 1, "batches": 1}]}
    pull = {"processed": [{"tables": [door.table], "sessions": []}]}
    with door.nothing_stored():
        refused(door.json("PUT", f"/v1/push/{no_uuid}", push), 400, "bad_request", "UUID")
        refused(door.ask("GET", f"/v1/push/{no_uuid}"), 400, "bad_request", "UUID")
        refused(door.ask("POST", f"/v1/push/{no_uuid}/commit"), 400, "bad_request", "UUID")
        content = batch(door.table, row("a", 1))
        response = door.ask("PUT", f"/v1/push/{no_uuid}/batches/1", content)
        refused(response, 400, "bad_request", "UUID")
        refused(door.json("PUT", f"/v1/pull/{no_uuid}", pull), 400, "bad_request", "UUID")
        refused(door.ask("GET", f"/v1/pull/{no_uuid}/batches/1"), 400, "bad_request", "UUID")
        refused(door.ask("DELETE", f"/v1/pull/{no_uuid}"), 400, "bad_request", "UUID")


@pytest.mark.parametrize("device", [None, "", "phone", AN_ID.upper(), b"\xff"])
def test_what_begins_something_needs_the_id_of_a_device(door: Door, device):
    push = {"tables": [{"name": door.table, "rows": 1, "batches": 1}]}
    pull = {"processed": [{"tables": [door.table], "sessions": []}]}
    tables = {"tables": [described(door.table)]}
    with door.nothing_stored():
        for path, body in (
            ("/v1/tables", tables),
            (f"/v1/push/{uuid.uuid4()}", push),
            (f"/v1/pull/{uuid.uuid4()}", pull),
        ):
            response = door.json("PUT", path, body, SyncSession_Device=device)
            refused(response, 400, "bad_request", protocol.DEVICE_HEADER)


NO_NUMBERS = [
    "0",
    "00",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "1000001",
    "9" * 400,
    "١",
    "１",
    "²",
    "x",
    "%20",
    "0x1",
]


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_a_batch_number_that_is_none_is_refused(door: Door, number):
    session = door.begin()
    with door.nothing_stored():
        content = batch(door.table, row("a", 1))
        response = door.ask("PUT", f"/v1/push/{session}/batches/{number}", content)
        refused(response, 400, "bad_request", "batch number")
        response = door.ask("GET", f"/v1/pull/{uuid.uuid4()}/batches/{number}")
        refused(response, 400, "bad_request", "batch number")


def test_a_session_or_pull_that_is_not_there_is_unknown(door: Door):
    other = uuid.uuid4()
    with door.nothing_stored():
        refused(door.ask("GET", f"/v1/push/{other}"), 404, "unknown_session")
        refused(door.ask("POST", f"/v1/push/{other}/commit"), 404, "unknown_session")
        response = door.send(str(other), batch(door.table, row("a", 1)))
        refused(response, 404, "unknown_session")
        refused(door.ask("GET", f"/v1/pull/{other}/batches/1"), 404, "unknown_pull")
        assert door.ask("DELETE", f"/v1/pull/{other}").status_code == 204


# Control messages

MESSAGES = {
    "tables": {
        "tables": [
            {
                "name": "fuzzed",
                "key_kind": "local",
                "key": ["id"],
                "columns": [
                    {"name": "id", "affinity": "integer"},
                    {"name": "v", "affinity": "text", "collation": "NOCASE", "row_id_of": "fuzzed"},
                ],
                "references": [
                    {
                        "columns": ["v"],
                        "parent": "fuzzed",
                        "parent_columns": ["id"],
                        "on_delete": "CASCADE",
                        "on_update": "NO ACTION",
                        "declared": True,
                    }
                ],
                "unique": [["v"]],
                "sql": "CREATE TABLE fuzzed (id INTEGER PRIMARY KEY, v)",
                "indexes": ["CREATE INDEX i ON fuzzed (v)"],
            }
        ]
    },
    "push": {"tables": [{"name": "TABLE", "rows": 3, "batches": 1}]},
    "pull": {"processed": [{"tables": ["TABLE"], "sessions": [[1, 4], [6, 6]]}]},
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64 - 1, 10**6, -1, 0, 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=70),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def path_of(kind: str) -> str:
    return "/v1/tables" if kind == "tables" else f"/v1/{kind}/{uuid.uuid4()}"


def nodes(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every part of a message."""
    yield at
    inner: Any = ()
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        yield from nodes(part, (*at, key))


def replaced(message: Any, at: tuple[Any, ...], part: Any) -> Any:
    """A copy of `message` with another part at a path."""
    if not at:
        return part
    changed = copy.deepcopy(message)
    inner = changed
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = part
    return changed


@st.composite
def nearly_right(draw: st.DrawFn, kind: str) -> Any:
    """A good message, of which one part is anything."""
    message = MESSAGES[kind]
    return replaced(message, draw(st.sampled_from(list(nodes(message)))), draw(JSON))


@pytest.mark.parametrize("kind", MESSAGES)
def test_no_json_makes_the_server_fail(door: Door, kind):
    @fuzzed
    @given(JSON | nearly_right(kind))
    def check(message: Any) -> None:
        text = msgspec.json.encode(message).replace(b'"TABLE"', f'"{door.table}"'.encode())
        answered(door.ask("PUT", path_of(kind), text))

    check()
    door.good_session()


@pytest.mark.parametrize("kind", MESSAGES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b'{"tables": "\\ud800"}',
        b'{"tables": [NaN]}',
        b'{"a": 1}{"a": 1}',
        b"[" * 100_000,
        b'{"tables":' * 50_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"1" * 100_000,
        b'{"tables": [], "tables": []}',
        b"null",
    ],
    ids=lambda body: body[:20].hex(),
)
def test_a_body_that_is_no_such_message_is_a_bad_request(door: Door, kind, body):
    with door.nothing_stored():
        refused(door.ask("PUT", path_of(kind), body), 400, "bad_request")


@pytest.mark.parametrize("rows", [2**63, 2**64 - 1, 10**30])
def test_more_rows_than_there_are_numbers_for_are_refused(door: Door, rows):
    tables = [{"name": door.table, "rows": rows, "batches": 1}]
    with door.nothing_stored():
        refused(door.json("PUT", path_of("push"), {"tables": tables}), 400, "bad_request")


def test_row_counts_whose_sum_has_more_than_64_bits_are_refused(door: Door):
    tables = [{"name": name, "rows": 2**62, "batches": 1} for name in (door.table, door.local)]
    with door.nothing_stored():
        refused(door.json("PUT", path_of("push"), {"tables": tables}), 400, "bad_request")


@pytest.mark.parametrize(
    "sessions", [[[0, 1]], [[2, 1]], [[-5, 5]], [[1]], [[1, 2, 3]], [["1", "2"]]]
)
def test_a_processed_set_that_is_none_is_refused(door: Door, sessions):
    body = {"processed": [{"tables": [door.table], "sessions": sessions}]}
    with door.nothing_stored():
        refused(door.json("PUT", path_of("pull"), body), 400, "bad_request", "sessions")


def test_a_processed_set_beyond_all_numbers_is_refused(door: Door):
    door.good_session()
    beyond = [[1, 2**64 - 1]]
    pull = {"processed": [{"tables": [door.table], "sessions": beyond}]}
    push = {"tables": [{"name": door.table, "rows": 1, "batches": 1}], "processed": beyond}
    with door.nothing_stored():
        refused(door.json("PUT", path_of("pull"), pull), 409, "server_restored", "backup")
        refused(door.json("PUT", path_of("push"), push), 409, "server_restored", "backup")


def test_a_processed_set_of_a_push_that_is_none_is_refused(door: Door):
    tables = [{"name": door.table, "rows": 1, "batches": 1}]
    for sessions in ([[2, 1]], [[0, 1]], [[1]], [["1", 2]], "all"):
        body = {"tables": tables, "processed": sessions}
        refused(door.json("PUT", path_of("push"), body), 400, "bad_request", "processed")


def test_a_push_or_pull_of_a_table_that_nobody_described_is_refused(door: Door):
    door.good_session()
    push = {"tables": [{"name": "nobody", "rows": 1, "batches": 1}]}
    pull = {"processed": [{"tables": ["nobody"], "sessions": []}]}
    with door.nothing_stored():
        refused(door.json("PUT", path_of("push"), push), 404, "unknown_table", "nobody")
        refused(door.json("PUT", path_of("pull"), pull), 404, "unknown_table", "nobody")


# Batches

NOT_A_MAP = [
    None,
    1,
    "text",
    b"blob",
    [],
    [1, 2],
    {1: 2},
    {"table": "t"},
    datetime(2026, 1, 1, tzinfo=UTC),
]


@pytest.mark.parametrize("value", NOT_A_MAP, ids=repr)
def test_messagepack_that_is_no_batch_is_refused(door: Door, value):
    session = door.begin()
    with door.nothing_stored():
        refused(door.send(session, msgspec.msgpack.encode(value)), 400, "bad_request")


def test_a_batch_that_is_cut_off_anywhere_is_refused(door: Door):
    session, whole = door.begin(), batch(door.table, row("a", "value"), row("b", 2.5))
    with door.nothing_stored():
        for length in range(len(whole)):
            refused(door.send(session, whole[:length]), 400, "bad_request")
        refused(door.send(session, whole + b"\x00"), 400, "bad_request")


@pytest.mark.parametrize(
    "content",
    [b"\x91" * 100_000, b"\x81\xa1k" * 50_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"],
    ids=["nested arrays", "nested maps", "array of 2**32", "map of 2**32"],
)
def test_messagepack_made_to_exhaust_the_server_is_refused(door: Door, content):
    session = door.begin()
    inside = batch(door.table, row("a", 0))[:-1] + content
    with door.nothing_stored():
        refused(door.send(session, content), 400, "bad_request")
        refused(door.send(session, inside), 400, "bad_request")


def test_text_that_is_not_utf_8_is_refused(door: Door):
    session = door.begin()
    with door.nothing_stored():
        content = batch(door.table, row("abcd", 1)).replace(b"abcd", b"ab\xff\xfe")
        refused(door.send(session, content), 400, "bad_request")


BAD_ROWS = {
    "too short": [None, None, None, 0, "a"],
    "too long": [None, None, None, 0, "a", 1, 2],
    "empty": [],
    "no array": "text",
    "a map": {"id": "a"},
    "null": None,
    "an integer over 64 bits": row("a", 2**63),
    "an unsigned 64-bit integer": row("a", 2**64 - 1),
    "a key over 64 bits": row(2**63, 1),
    "a session over 64 bits": row("a", 1, session=2**63),
    "NaN": row("a", float("nan")),
    "NaN in the key": row(float("nan"), 1),
    "a nested array": row("a", [1, 2]),
    "a nested map": row("a", {"b": 1}),
    "an extension type": row("a", msgspec.msgpack.Ext(5, b"data")),
    "a timestamp": row("a", datetime(2026, 1, 1, tzinfo=UTC)),
    "true": row("a", True),
    "a key that is true": row(True, 1),
    "a key that is an array": row(["a"], 1),
    "NULL in the key": row(None, 1),
    "is_deleted is 2": row("a", 1, is_deleted=2),
    "is_deleted is -1": row("a", 1, is_deleted=-1),
    "is_deleted is true": row("a", 1, is_deleted=True),
    "is_deleted is a real": row("a", 1, is_deleted=1.0),
    "is_deleted is null": row("a", 1, is_deleted=None),
    "is_deleted is a text": row("a", 1, is_deleted="1"),
    "the session is a text": row("a", 1, session="1"),
    "the session is true": row("a", 1, session=True),
    "the time is a number": row("a", 1, at=5),
    "the time is a blob": row("a", 1, at=b"2026"),
    "the user is a number": row("a", 1, by=5),
    "the user is a blob": row("a", 1, by=b"alice"),
}


@pytest.mark.parametrize("bad", BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_row_that_cannot_be_kept_is_refused_with_its_position(door: Door, bad):
    session = door.begin()
    with door.nothing_stored():
        content = batch(door.table, row("good", 1), bad)
        response = door.send(session, content)
        refused(response, 400, "bad_request")
        assert re.search(r"row 1\b|rows\[1\]", response.json()["error"]["message"])


@pytest.mark.parametrize("row_id", [b"", b"x" * 15, b"x" * 17, "x" * 16, 16, 1.5, None])
def test_a_row_id_that_is_not_16_bytes_is_refused(door: Door, row_id):
    session = door.begin()
    with door.nothing_stored():
        rows = [[None, None, None, 0, row_id, 1, "v"]]
        content = batch(door.local, *rows, key=("row_id",), columns=("id", "v"))
        refused(door.send(session, content), 400, "bad_request", door.local)


@pytest.mark.parametrize(
    ("key", "columns"),
    [
        (("id",), ("nothing",)),
        (("id",), ("v", "v")),
        (("id",), ("v", "V")),
        (("id",), ("id",)),
        (("id",), ("tenant_id",)),
        (("id",), ("is_deleted",)),
        (("id",), ("sync_session",)),
        (("id",), ('v" = 1 --',)),
        (("v",), ("v",)),
        ((), ("v",)),
        (("id", "v"), ()),
        (("tenant_id",), ("v",)),
    ],
)
def test_a_column_or_key_that_the_table_has_not_is_refused(door: Door, key, columns):
    session = door.begin()
    with door.nothing_stored():
        bad = [None, None, None, 0, *("k" for _ in key), *(1 for _ in columns)]
        content = batch(door.table, bad, key=key, columns=columns)
        refused(door.send(session, content), 400, "bad_request", door.table)


@pytest.mark.parametrize(
    "name", ["nobody", "sync_token", "sqlite_master", "", "x\0y", "x" * 10_000]
)
def test_a_batch_of_a_table_that_nobody_described_is_refused(door: Door, name):
    session = door.begin()
    with door.nothing_stored():
        refused(door.send(session, batch(name, row("a", 1))), 404, "unknown_table")


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=20)
)
PARTS = (
    VALUES | st.lists(VALUES, max_size=7) | st.dictionaries(st.text(max_size=5), VALUES, max_size=2)
)


@st.composite
def odd_batches(draw: st.DrawFn) -> Any:
    """A good batch, of which one part is anything that MessagePack can say."""
    message = {
        "table": "TABLE",
        "key": ["id"],
        "columns": ["v"],
        "rows": [row("a", 1), row("b", 2)],
    }
    return replaced(message, draw(st.sampled_from(list(nodes(message)))), draw(PARTS))


def test_no_bytes_make_the_server_fail(door: Door):
    session = door.begin()

    @fuzzed
    @given(st.binary(max_size=200), st.sampled_from(["identity", "zstd", "gzip", "br", "", "ZSTD"]))
    def check(content: bytes, encoding: str) -> None:
        response = door.send(session, content, Content_Encoding=encoding)
        refused(response, 400, "bad_request")

    with door.nothing_stored():
        check()


def test_a_batch_that_is_taken_can_be_committed(door: Door):
    @fuzzed
    @given(odd_batches())
    def check(message: Any) -> None:
        session = door.begin()
        if isinstance(message, dict) and message.get("table") == "TABLE":
            message = message | {"table": door.table}
        response = door.send(session, msgspec.msgpack.encode(message))
        answered(response)
        if response.status_code == 204:
            assert door.commit(session)["status"] in ENDED

    check()
    door.good_session()


def test_a_batch_is_kept_only_while_its_session_is_open(door: Door):
    session = door.begin()
    assert door.send(session, batch(door.table, row("first", 1))).status_code == 204
    assert door.commit(session)["status"] == "committed"
    with door.nothing_stored():
        response = door.ask(
            "PUT", f"/v1/push/{session}/batches/2", batch(door.table, row("second", 2))
        )
        answered(response)


def test_a_session_that_sent_more_batches_than_it_said_is_not_committed(door: Door):
    session = door.begin(batches=1)
    assert door.send(session, batch(door.table, row("a", 1))).status_code == 204
    second = batch(door.table, row("b", 1))
    response = door.ask("PUT", f"/v1/push/{session}/batches/2", second)
    if response.status_code == 204:
        response = door.ask("POST", f"/v1/push/{session}/commit")
    assert 400 <= response.status_code < 500
    answered(response)
    door.good_session()


# Compressed bodies


@pytest.mark.parametrize("claimed", ["zstd", "gzip", "br", "deflate", "", "zstd, gzip", b"\xff"])
def test_a_body_that_is_not_in_its_encoding_is_refused(door: Door, claimed):
    session = door.begin()
    with door.nothing_stored():
        content = batch(door.table, row("a", 1))
        refused(door.send(session, content, Content_Encoding=claimed), 400, "bad_request")
        response = door.ask("PUT", "/v1/tables", b'{"tables": []}', Content_Encoding=claimed)
        refused(response, 400, "bad_request")


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_packed_body_with_a_wrong_byte_or_a_missing_end_never_makes_the_server_fail(
    door: Door, encoding
):
    session = door.begin()
    packed = PACKERS[encoding](batch(door.table, *(row(f"{n:050}", n) for n in range(20))))
    with door.nothing_stored():
        for at in range(0, len(packed), 7):
            response = door.send(session, packed[:at], Content_Encoding=encoding)
            refused(response, 400, "bad_request")
    for at in range(0, len(packed), 3):
        wrong = packed[:at] + bytes([packed[at] ^ 0xFF]) + packed[at + 1 :]
        answered(door.send(session, wrong, Content_Encoding=encoding))
    door.good_session()


def zstd_bomb(size: int, *, tells_size: bool) -> bytes:
    if tells_size:
        return zstandard.compress(bytes(size))
    target = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(target, closefd=False) as writer:
        for _ in range(size >> 20):
            writer.write(bytes(1 << 20))
    return target.getvalue()


def gzip_bomb(size: int) -> bytes:
    """Many members one after another, each of a megabyte."""
    return gzip.compress(bytes(1 << 20)) * (size >> 20)


BOMBS = {
    "zstd that tells its size": ("zstd", zstd_bomb(64 << 20, tells_size=True)),
    "zstd that does not": ("zstd", zstd_bomb(64 << 20, tells_size=False)),
    "gzip": ("gzip", gzip_bomb(64 << 20)),
}


@pytest.fixture(scope="module")
def small(new_database: Callable[[], str]) -> Iterator[Server]:
    """A server that takes little."""
    settings = Settings(
        database=new_database(),
        migrate=True,
        max_body_bytes=LIMIT,
        pull_shared_table_threshold=0,
    )
    with serving(settings) as running:
        yield running


@pytest.fixture
def small_door(small: Server) -> Iterator[Door]:
    with httpx.Client(base_url=small.url, verify=NO_CERTIFICATES, timeout=60) as client:
        door = Door(small, client)
        assert door.describe(described(door.table), described(door.local)).status_code == 200
        yield door


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """The body allocates no more than `size` bytes at any moment, in all threads."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("encoding", "bomb"), BOMBS.values(), ids=BOMBS)
def test_a_body_that_unpacks_far_over_the_limit_is_too_large_and_takes_no_memory(
    small_door: Door, encoding, bomb
):
    assert len(bomb) < LIMIT
    session = small_door.begin()
    with small_door.nothing_stored():
        for path in (f"/v1/push/{session}/batches/1", "/v1/tables", path_of("pull")):
            with at_most(8 * LIMIT):
                response = small_door.ask("PUT", path, bomb, Content_Encoding=encoding)
            refused(response, 413, "too_large")


def test_a_frame_that_claims_to_be_small_and_is_not_is_refused(small_door: Door):
    honest = zstandard.ZstdCompressor(write_checksum=False).compress(bytes(200))
    frame = zstandard.get_frame_parameters(honest)
    assert frame.content_size == 200
    liar = honest[:5] + b"\x05" + honest[6:]  # the one byte of the size in a short frame's header
    session = small_door.begin()
    with small_door.nothing_stored():
        response = small_door.send(session, liar, Content_Encoding="zstd")
        refused(response, 400, "bad_request")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_too_large(small_door: Door, is_chunked):
    session = small_door.begin()
    content = batch(small_door.table, row("a", bytes(LIMIT)))
    with small_door.nothing_stored():
        for path in (f"/v1/push/{session}/batches/1", "/v1/tables"):
            body = iter([content[: LIMIT // 2], content[LIMIT // 2 :]]) if is_chunked else content
            refused(small_door.ask("PUT", path, body), 413, "too_large")


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_body_of_just_the_limit_is_taken(small_door: Door, encoding):
    session = small_door.begin()
    room = LIMIT - len(batch(small_door.table, row("a", bytes(1 << 16)))) + (1 << 16)
    content = batch(small_door.table, row("a", bytes(room)))
    assert len(content) == LIMIT
    packed = PACKERS[encoding](content)
    assert small_door.send(session, packed, Content_Encoding=encoding).status_code == 204
    assert small_door.commit(session)["status"] == "committed"


# Descriptions

HOSTILE = [
    'quo"te',
    "apo's",
    "semi;colon",
    'x"); DROP TABLE sync_token; --',
    "[brackets]",
    "`back`",
    "select",
    "  ",
    "ünïcode 名前 \U0001f600",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "%(x)s :y ?1 $z @w",
    "line\nbreak",
    "-- name: x",
    "x" * 64,
    "ix_session_number",
    "ix_sync_x",
    "sync_session",
    "Sync_Token",
    "sqlite_master",
    "sqlite_sequence",
    "app_sync_session",
    "_sync_staged",
    "excluded",
    "rowid",
    "tenant_id",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_of_any_name_takes_rows_and_gives_them_back(door: Door, name):
    schema = door.server.schema()
    assert door.describe(described(name)).status_code == 200
    assert door.push(row("a", b"1"), row("gone", 1, is_deleted=1), table=name)["error"] is None
    assert door.push(row("a", "one"), table=name)["status"] == "committed"
    assert pulled(door, name) == [["a", "one"]]
    assert set(schema) <= set(door.server.schema())
    door.good_session()


def pulled(door: Door, name: str) -> list[list[Any]]:
    """The live rows of a table as a device that has nothing gets them: key and values."""
    pull = path_of("pull")
    body = {"processed": [{"tables": [name], "sessions": []}]}
    answer = door.json("PUT", pull, body).json()
    rows = []
    for number in range(1, len(answer["batches"]) + 1):
        response = door.ask("GET", f"{pull}/batches/{number}", Accept_Encoding="identity")
        rows += msgspec.msgpack.decode(response.content)["rows"]
    return [r[4:] for r in rows if not r[3]]


OURS = [
    "tenant_id",
    "is_deleted",
    "sync_session",
    "modified_at_utc",
    "modified_by_user_id",
    "row_id",
]
OURS += [
    "app_is_deleted",
    "APP_APP_ROW_ID",
    "sync_overflow",
    "Tenant_ID",
    *HOSTILE[:16],
    "excluded",
]


@pytest.mark.parametrize("name", OURS)
def test_a_key_or_a_column_of_any_name_takes_values_and_gives_them_back(door: Door, name):
    columns = [{"name": name, "affinity": "blob"}, {"name": "other", "affinity": "blob"}]
    table = described(f"named_{uuid.uuid4().hex}", key=["other"], columns=columns)
    keyed = table | {"name": f"keyed_{uuid.uuid4().hex}", "key": [name]}
    assert door.describe(table, keyed).status_code == 200
    for described_table, column in ((table, name), (keyed, "other")):
        key, title = described_table["key"], described_table["name"]
        session = door.begin(table=title)
        content = batch(title, row("k", 1.5), row("l", None), key=key, columns=[column])
        assert door.send(session, content).status_code == 204
        assert door.commit(session)["status"] == "committed"
        assert pulled(door, title) == [["k", 1.5], ["l", None]]


def table_with(count: int) -> dict[str, Any]:
    columns = [{"name": "id", "affinity": "text"}]
    columns += [{"name": f"c{n}", "affinity": "blob"} for n in range(count - 1)]
    return described(f"wide_{uuid.uuid4().hex}", columns=columns)


@pytest.mark.parametrize("count", [1990, 1995, 1996, 2000, 2001])
def test_a_table_with_very_many_columns_is_taken_or_refused(door: Door, count):
    table = table_with(count)
    response = door.describe(table)
    answered(response)
    if response.status_code == 200:
        names = [c["name"] for c in table["columns"][1:]]
        session = door.begin(table=table["name"])
        wide = [None, None, None, 0, "k", *range(count - 1)]
        content = batch(table["name"], wide, columns=names)
        assert door.send(session, content).status_code == 204
        assert door.commit(session)["status"] == "committed"
    door.good_session()


def test_columns_that_make_a_table_too_wide_later_are_refused(door: Door):
    first = table_with(1500)
    others = [{"name": f"d{n}", "affinity": "blob"} for n in range(1500)]
    assert door.describe(first).status_code == 200
    with door.nothing_stored():
        response = door.describe(first | {"columns": [first["columns"][0], *others]})
        assert 400 <= response.status_code < 500, response.text
        answered(response)


BAD_DESCRIPTIONS = {
    "a name with NUL": {"name": "x\0y"},
    "an empty name": {"name": ""},
    "a name of 65 characters": {"name": "x" * 65},
    "a column with NUL": {
        "columns": [{"name": "id", "affinity": "text"}, {"name": "\0", "affinity": "text"}]
    },
    "a column of 65 characters": {
        "columns": [{"name": "id", "affinity": "text"}, {"name": "x" * 65, "affinity": "text"}]
    },
    "no columns": {"columns": []},
    "no key": {"key": []},
    "a key that is no column": {"key": ["other"]},
    "a key twice": {"key": ["id", "id"]},
    "a column twice": {
        "columns": [{"name": "id", "affinity": "text"}, {"name": "ID", "affinity": "text"}]
    },
    "an affinity that is none": {"columns": [{"name": "id", "affinity": "text)"}]},
    "a collation that is none": {"columns": [{"name": "id", "affinity": "text", "collation": "x"}]},
    "a key kind that is none": {"key_kind": "universal"},
    "a local key of two columns": {"key_kind": "local", "key": ["id", "v"]},
    "something unknown": {"tenant_id": "another"},
}


@pytest.mark.parametrize("change", BAD_DESCRIPTIONS.values(), ids=BAD_DESCRIPTIONS)
def test_a_description_that_contradicts_itself_is_refused_with_all_beside_it(door: Door, change):
    good = described(f"good_{uuid.uuid4().hex}")
    bad = described(f"bad_{uuid.uuid4().hex}") | change
    with door.nothing_stored():
        refused(door.describe(good, bad), 400, "bad_request")


@pytest.mark.parametrize("missing", ["name", "key", "key_kind", "columns"])
def test_what_a_description_lacks_is_named(door: Door, missing):
    table = {k: v for k, v in described("incomplete").items() if k != missing}
    with door.nothing_stored():
        refused(door.describe(table), 400, "bad_request", missing)


@pytest.mark.parametrize(
    "change",
    [
        {"key_kind": "local"},
        {"key": ["v"]},
        {"key": ["id", "v"]},
        {"columns": [{"name": "id", "affinity": "integer"}, {"name": "v", "affinity": "blob"}]},
        {"columns": [{"name": "id", "affinity": "text"}, {"name": "V", "affinity": "text"}]},
    ],
)
def test_a_description_that_contradicts_what_is_here_is_refused(door: Door, change):
    new = described(f"new_{uuid.uuid4().hex}")
    with door.nothing_stored():
        response = door.describe(new, described(door.table) | change)
        refused(response, 409, "schema_contradiction", door.table)


# End to end, by devices

COLUMNS = (
    "tenant_id, is_deleted, sync_session, row_id, modified_at_utc, modified_by_user_id, "
    "APP_is_deleted, hint, position, session, digest, generation, is_dirty, value_1, key_1, rowid"
)
WIDTH = COLUMNS.count(",") + 1
EXACT = [
    (n, *values)
    for n, values in enumerate(zip(*[[None, 1, 1.5, "1", b"1"]] * WIDTH, strict=True), 1)
]


@pytest.mark.parametrize(
    "key", ["pk INTEGER PRIMARY KEY", "pk TEXT PRIMARY KEY", "pk BLOB, PRIMARY KEY (pk, key_1)"]
)
def test_columns_that_are_called_as_ours_sync_with_their_exact_values(world: World, key):
    name = f"taken_{uuid.uuid4().hex}"
    first, *rest = key.split(", ", 1)
    schema = f"CREATE TABLE {name} ({', '.join([first, COLUMNS, *rest])})"
    a = world.device("a.db", schema)
    rows = [r for r in EXACT if "key_1)" not in key or r[-2] is not None]
    a.put(f"INSERT INTO {name} VALUES (?{', ?' * WIDTH})", rows)
    a.sync()
    b = a.clone("b.db")
    read = f"SELECT * FROM {name} ORDER BY pk"
    assert b.rows(read) == a.rows(read)
    assert len(b.rows(read)) == len(rows)
    b.execute(f"UPDATE {name} SET tenant_id = 'other', is_deleted = 1, row_id = 'r', hint = 7")
    everyone_syncs(b, a)
    assert a.rows(read) == b.rows(read)
    assert set(a.rows(f"SELECT tenant_id, is_deleted, row_id, hint FROM {name}")) == {
        ("other", 1, "r", 7)
    }


@pytest.mark.parametrize(
    "key",
    ["row_id", "tenant_id", "sync_session", "is_deleted", "APP_row_id", "hint", "key_1", "seq"],
)
@pytest.mark.parametrize("kind", ["INTEGER", "TEXT"])
def test_a_key_that_is_called_as_ours_syncs(world: World, key, kind):
    name = f"key_{uuid.uuid4().hex}"
    a = world.device("a.db", f"CREATE TABLE {name} ({key} {kind} PRIMARY KEY, v)")
    a.execute(f"INSERT INTO {name} VALUES (5, 'five'), (7, 'gone')")
    a.sync()
    b = a.clone("b.db")
    b.execute(
        f"UPDATE {name} SET v = 'changed' WHERE {key} = 5", f"DELETE FROM {name} WHERE {key} = 7"
    )
    everyone_syncs(b, a)
    expected = [(5 if kind == "INTEGER" else "5", "changed")]
    assert a.rows(f"SELECT * FROM {name}") == b.rows(f"SELECT * FROM {name}") == expected


def test_a_column_called_hint_does_not_change_which_integer_a_new_row_gets(world: World):
    a = world.device("a.db", "CREATE TABLE hinted (id INTEGER PRIMARY KEY, hint)")
    a.execute("INSERT INTO hinted VALUES (1, 1)")
    a.sync()
    b = a.clone("b.db")
    a.execute("INSERT INTO hinted VALUES (10, 5)")
    everyone_syncs(a, b)
    assert b.rows("SELECT * FROM hinted ORDER BY id") == [(1, 1), (10, 5)]


TABLES = [
    "sync_session",
    "sync_tenant",
    "Sync_Staging",
    "app_sync_token",
    "excluded",
    "ix_session_live",
]
TABLES += ["ix_sync_note", "new", "old", "temp", "main", "r", "incoming", "outgoing", "sync"]


@pytest.mark.parametrize("key", ["INTEGER", "TEXT"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_called_as_ours_syncs(new_database, tmp_path, name, key):
    settings = Settings(database=new_database(), migrate=True, status_wait_seconds=5.0)
    with serving(settings) as server:
        world = World(server, tmp_path)
        a = world.device("a.db", f'CREATE TABLE "{name}" (id {key} PRIMARY KEY, v)')
        a.execute(f"INSERT INTO \"{name}\" VALUES (1, 'one'), (2, x'00'), (3, NULL)")
        a.sync()
        b = a.clone("b.db")
        b.execute(f'UPDATE "{name}" SET v = 9.5 WHERE id = 1', f'DELETE FROM "{name}" WHERE id = 3')
        everyone_syncs(b, a)
    with closing(sqlite3.connect(a.path)) as db:
        values = [v for (v,) in db.execute(f'SELECT v FROM "{name}" ORDER BY id')]
    assert values == [9.5, b"\x00"]
    assert a.rows(f'SELECT * FROM "{name}" ORDER BY id') == b.rows(
        f'SELECT * FROM "{name}" ORDER BY id'
    )
