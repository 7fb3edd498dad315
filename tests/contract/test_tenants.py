"""What one tenant's token opens: neither ids nor names lead to another tenant's rows."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
from support import NO_CERTIFICATES, SECONDS, Server, World, everyone_syncs, serving

from syncsession_client import protocol
from syncsession_client.protocol.batches import Batch, encode
from syncsession_server.settings import Settings
from syncsession_server.stores.sqlite import SqliteStore

SYNC = ("sync",)
BOTH = ("sync", "schema")


class Caller:
    """Requests with one token, from one device."""

    def __init__(self, client: httpx.Client, token: str, device: str | None = None) -> None:
        self._client, self.token = client, token
        self.device = device or str(uuid.uuid4())

    def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return self._client.request(
            method,
            path,
            content=None if body is None else content,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Accept-Encoding": "identity",
                protocol.VERSION_HEADER: str(protocol.VERSION),
                protocol.DEVICE_HEADER: self.device,
            },
        )

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        response = self.ask(method, path, body)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def describe(self, *tables: dict[str, Any]) -> None:
        self.ok("PUT", "/v1/tables", {"tables": list(tables)})

    def begin(self, table: str, session: str | None = None) -> str:
        session = session or str(uuid.uuid4())
        tables = [{"name": table, "rows": 1, "batches": 1}]
        self.ok("PUT", f"/v1/push/{session}", {"tables": tables})
        return session

    def push(self, table: str, *rows: list[Any], session: str | None = None) -> str:
        session = self.begin(table, session)
        self.ok("PUT", f"/v1/push/{session}/batches/1", rows_of(table, *rows))
        assert self.ok("POST", f"/v1/push/{session}/commit")["status"] == "committed"
        return session

    def begin_pull(self, table: str, pull: str | None = None) -> tuple[str, dict[str, Any]]:
        pull = pull or str(uuid.uuid4())
        body = {"processed": [{"tables": [table], "sessions": []}]}
        return pull, self.ok("PUT", f"/v1/pull/{pull}", body)

    def pulled(self, table: str) -> list[list[Any]]:
        """Every row of the table, as (session, at, by, is_deleted, id, v)."""
        pull, answer = self.begin_pull(table)
        rows = []
        for listed in answer["batches"]:
            response = self.ask("GET", f"/v1/pull/{pull}/batches/{listed['number']}")
            rows += msgspec.msgpack.decode(response.content)["rows"]
        return rows


def described(name: str, *more: str) -> dict[str, Any]:
    columns = [{"name": "id", "affinity": "text"}]
    columns += [{"name": column, "affinity": "blob"} for column in ("v", *more)]
    return {"name": name, "key_kind": "global", "key": ["id"], "columns": columns}


def row(key: str, value: Any, by: str | None = None, is_deleted: int = 0) -> list[Any]:
    return [None, None, by, is_deleted, key, value]


def rows_of(table: str, *rows: list[Any]) -> bytes:
    return encode(Batch(table, ("id",), ("v",), list(rows)))


def error_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


@pytest.fixture(scope="module")
def server(new_database: Callable[[], str]) -> Iterator[Server]:
    """A server that holds every pull, so that its batches have to be asked for."""
    settings = Settings(database=new_database(), migrate=True, pull_shared_table_threshold=0)
    with serving(settings) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, verify=NO_CERTIFICATES, timeout=60) as client:
        yield client


@pytest.fixture
def table() -> str:
    """A name that no other test's table has: tenants share the tables."""
    return f"t_{uuid.uuid4().hex}"


@pytest.fixture
def caller(server: Server, client: httpx.Client):
    """Makes callers of tenants that are this test's own."""
    mark = uuid.uuid4().hex

    def make(tenant: str, *scopes: str, user: str = "alice", device: str | None = None) -> Caller:
        return Caller(client, server.token(f"{tenant}-{mark}", user, *(scopes or BOTH)), device)

    return make


@pytest.fixture
def acme(caller, table) -> Caller:
    """A caller whose tenant has the table."""
    made = caller("acme")
    made.describe(described(table))
    return made


@pytest.fixture
def other(caller, table) -> Caller:
    """A caller of another tenant that has the table too."""
    made = caller("other")
    made.describe(described(table))
    return made


# What belongs to another


def test_a_session_that_brings_a_row_twice_meets_the_one_that_is_here_once(caller, table):
    first, second = caller("acme"), caller("acme")
    first.describe(described(table))
    first.push(table, row("k", "of the first"))
    second.push(table, row("k", "of the second"), row("k", "again"))
    rows = [r[4:] for r in second.pulled(table)]
    assert rows == [["k", "again"]]
    lost = [r for r in first.pulled(table) if len(r) > 6]
    assert [json.loads(r[5]) for r in lost] == [{"v": "of the first"}]


def test_values_of_two_tenants_with_the_same_key_stay_apart(acme: Caller, other: Caller, table):
    acme.push(table, row("k", "of acme"), row("only", 1))
    other.push(table, row("k", "of other"))
    assert [r[4:] for r in acme.pulled(table)] == [["k", "of acme"], ["only", 1]]
    assert [r[4:] for r in other.pulled(table)] == [["k", "of other"]]
    other.push(table, row("k", None, is_deleted=1), row("only", None, is_deleted=1))
    assert [r[3:] for r in acme.pulled(table)] == [[0, "k", "of acme"], [0, "only", 1]]
    assert [r[3:5] for r in other.pulled(table)] == [[1, "k"], [1, "only"]]


def test_two_tenants_devices_with_the_same_keys_stay_apart(server, tmp_path):
    schema = "CREATE TABLE kept_apart (id TEXT PRIMARY KEY, v)"
    devices = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        world = World(server, tmp_path / name)
        first = world.device("a.db", schema)
        first.execute(f"INSERT INTO kept_apart VALUES ('k', '{name}'), ('{name}', 1)")
        first.sync()
        devices.append((first, first.clone("b.db")))
    for first, second in devices:
        everyone_syncs(first, second)
    for name, (first, second) in zip(("one", "two"), devices, strict=True):
        expected = [("k", name), (name, 1)]
        assert first.rows("SELECT * FROM kept_apart ORDER BY id") == expected
        assert second.rows("SELECT * FROM kept_apart ORDER BY id") == expected


def test_session_numbers_of_tenants_do_not_meet(acme: Caller, other: Caller, table):
    for _ in range(3):
        acme.push(table, row("k", 1))
    session = other.push(table, row("k", 2))
    assert other.ok("GET", f"/v1/push/{session}")["number"] == 1
    assert other.begin_pull(table)[1]["sessions"] == [[1, 1]]
    assert acme.begin_pull(table)[1]["sessions"] == [[1, 3]]


def test_a_session_of_another_tenant_cannot_be_found_by_its_id(acme: Caller, other: Caller, table):
    session = acme.begin(table)
    batch = rows_of(table, row("k", "smuggled"))
    for method, path, body in (
        ("GET", f"/v1/push/{session}", None),
        ("PUT", f"/v1/push/{session}/batches/1", batch),
        ("POST", f"/v1/push/{session}/commit", None),
    ):
        assert error_of(other.ask(method, path, body)) == (404, "unknown_session")
    shown = acme.ok("GET", f"/v1/push/{session}")
    assert shown["status"] == "open"
    assert acme.pulled(table) == other.pulled(table) == []


def test_the_same_session_id_is_another_session_for_another_tenant(acme, other, table):
    session = acme.push(table, row("k", "of acme"))
    other.push(table, row("k", "of other"), session=session)
    assert [r[5] for r in acme.pulled(table)] == ["of acme"]
    assert [r[5] for r in other.pulled(table)] == ["of other"]


def test_a_pull_of_another_tenant_cannot_be_found_by_its_id(acme: Caller, other: Caller, table):
    acme.push(table, row("k", "of acme"))
    other.push(table, row("k", "of other"))
    pull, answer = acme.begin_pull(table)
    path = f"/v1/pull/{pull}/batches/1"
    assert len(answer["batches"]) == 1
    assert error_of(other.ask("GET", path)) == (404, "unknown_pull")
    other.ok("DELETE", f"/v1/pull/{pull}")
    assert b"of acme" in acme.ask("GET", path).content
    _, theirs = other.begin_pull(table, pull)
    assert (theirs["tenant_id"], len(theirs["batches"])) != (answer["tenant_id"], 0)
    assert b"of other" in other.ask("GET", path).content
    assert b"of acme" in acme.ask("GET", path).content


def test_tables_of_another_tenant_are_unknown(acme: Caller, caller, table):
    stranger, own = caller("stranger"), f"{table}_own"
    acme.push(table, row("k", 1))
    assert stranger.ok("GET", "/v1/tables")["tables"] == []
    stranger.describe(described(own))
    stranger.push(own, row("k", 2))
    push = {"tables": [{"name": table, "rows": 1, "batches": 1}]}
    pull = {"processed": [{"tables": [table], "sessions": []}]}
    for path, body in ((f"/v1/push/{uuid.uuid4()}", push), (f"/v1/pull/{uuid.uuid4()}", pull)):
        assert error_of(stranger.ask("PUT", path, body)) == (404, "unknown_table")


def test_a_batch_of_a_table_that_only_another_tenant_has_is_refused(acme, caller, table):
    stranger, own = caller("stranger"), f"{table}_own"
    stranger.describe(described(own))
    session = stranger.begin(own)
    path = f"/v1/push/{session}/batches/1"
    response = stranger.ask("PUT", path, rows_of(table, row("k", "smuggled")))
    assert error_of(response) == (404, "unknown_table")
    assert acme.pulled(table) == []


def test_the_description_that_another_tenant_gave_is_not_shown(acme: Caller, caller, table):
    wide = caller("wide")
    wide.describe(described(table, "secret") | {"sql": "CREATE TABLE secret"})
    assert acme.ok("GET", "/v1/tables")["tables"][0]["columns"] == described(table)["columns"]
    assert b"secret" not in acme.ask("GET", "/v1/tables").content


def test_a_pull_names_no_column_that_only_another_tenant_has(acme: Caller, caller, table):
    acme.push(table, row("k", "v"))
    caller("wide").describe(described(table, "secret"))
    pull, _ = acme.begin_pull(table)
    batch = msgspec.msgpack.decode(acme.ask("GET", f"/v1/pull/{pull}/batches/1").content)
    assert batch["columns"] == ["v"]
    assert [r[4:] for r in batch["rows"]] == [["k", "v"]]


def test_a_device_of_one_tenant_is_refused_for_another(acme: Caller, caller, table):
    acme.push(table, row("k", 1))
    thief = caller("thief", device=acme.device)
    push = {"tables": [{"name": table, "rows": 1, "batches": 1}]}
    pull = {"processed": [{"tables": [table], "sessions": []}]}
    for path, body in (
        ("/v1/tables", {"tables": [described(table)]}),
        (f"/v1/push/{uuid.uuid4()}", push),
        (f"/v1/pull/{uuid.uuid4()}", pull),
    ):
        assert error_of(thief.ask("PUT", path, body)) == (403, "wrong_tenant")
    assert thief.ok("GET", "/v1/tables")["tables"] == []
    assert len(acme.pulled(table)) == 1


# Scopes


def test_me_says_what_a_token_may_do(caller):
    for scopes in (("schema",), SYNC, ("act_for_others", "schema", "sync")):
        assert caller("acme", *scopes).ok("GET", "/v1/me")["scopes"] == list(scopes)


def test_without_the_scope_sync_nothing_is_allowed(acme: Caller, caller, table):
    session, (pull, _) = acme.begin(table), acme.begin_pull(table)
    blind = caller("acme", "schema", "act_for_others")
    push = {"tables": [{"name": table, "rows": 1, "batches": 1}]}
    processed = {"processed": [{"tables": [table], "sessions": []}]}
    for method, path, body in (
        ("GET", "/v1/tables", None),
        ("PUT", "/v1/tables", {"tables": [described(f"{table}_new")]}),
        ("PUT", f"/v1/push/{uuid.uuid4()}", push),
        ("GET", f"/v1/push/{session}", None),
        ("PUT", f"/v1/push/{session}/batches/1", rows_of(table, row("k", 1))),
        ("POST", f"/v1/push/{session}/commit", None),
        ("PUT", f"/v1/pull/{uuid.uuid4()}", processed),
        ("GET", f"/v1/pull/{pull}/batches/1", None),
        ("DELETE", f"/v1/pull/{pull}", None),
    ):
        assert error_of(blind.ask(method, path, body)) == (403, "forbidden"), (method, path)
    assert acme.ok("GET", f"/v1/push/{session}")["status"] == "open"


def test_without_the_scope_schema_a_known_table_is_fine_and_a_new_one_is_not(acme, caller, table):
    plain = caller("acme", *SYNC)
    new = described(f"{table}_new")
    plain.describe(described(table))
    plain.push(table, row("k", 1))
    for tables in ([new], [described(table), new], [described(table, "w")]):
        response = plain.ask("PUT", "/v1/tables", {"tables": tables})
        assert error_of(response) == (403, "forbidden")
    shown = acme.ok("GET", "/v1/tables")["tables"]
    assert [(t["name"], len(t["columns"])) for t in shown] == [(table, 2)]


def test_without_the_scope_schema_a_table_that_only_another_tenant_has_is_new(acme, caller, table):
    stranger = caller("stranger", *SYNC)
    response = stranger.ask("PUT", "/v1/tables", {"tables": [described(table)]})
    assert error_of(response) == (403, "forbidden")


def test_a_row_of_another_user_needs_the_scope_to_act_for_others(acme: Caller, caller, table):
    session = acme.begin(table)
    path = f"/v1/push/{session}/batches/1"
    theirs = rows_of(table, row("mine", 1, "alice"), row("theirs", 2, "bob"), row("none", 3))
    response = acme.ask("PUT", path, theirs)
    assert error_of(response) == (403, "forbidden_modifier")
    told = response.json()["error"]
    assert "bob" in told["message"]
    (named,) = told["rejects"]
    assert (named["table"], named["code"]) == (table, "forbidden_modifier")
    assert named["key"] == {"id": "theirs"}
    assert acme.begin_pull(table)[1]["batches"] == []
    agent = caller("acme", "sync", "act_for_others", user="agent")
    agent.push(table, row("of bob", 2, "bob"), row("own", 3, "agent"), row("unsaid", 4))
    assert [(r[2], r[4]) for r in acme.pulled(table)] == [
        ("bob", "of bob"),
        ("agent", "own"),
        ("agent", "unsaid"),
    ]


def test_a_token_that_may_act_for_others_may_not_act_in_another_tenant(acme, caller, table):
    session = acme.begin(table)
    agent = caller("other", "sync", "schema", "act_for_others")
    agent.describe(described(table))
    batch = rows_of(table, row("k", 1, "alice"))
    response = agent.ask("PUT", f"/v1/push/{session}/batches/1", batch)
    assert error_of(response) == (404, "unknown_session")


# Tokens


def test_a_token_is_nowhere_in_the_servers_files(
    server: Server, acme: Caller, table, request: pytest.FixtureRequest
):
    acme.push(table, row("k", "a value to be found"))
    if isinstance(server.store, SqliteStore):
        directory = server.store.path.parent
    else:
        directory = request.getfixturevalue("mariadb").directory
    deadline = time.monotonic() + SECONDS
    held = b""
    while b"a value to be found" not in held:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        held = b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())
    secret = acme.token.removeprefix("sst_").encode()
    assert secret not in held
    assert acme.token.encode().hex().encode() not in held


def test_two_tokens_of_one_user_are_two_secrets_of_256_bits(server: Server):
    tokens = {server.token("acme") for _ in range(20)}
    assert len(tokens) == 20
    assert {len(token) for token in tokens} == {len("sst_") + 43}
