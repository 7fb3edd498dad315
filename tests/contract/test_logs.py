"""What a server logs of requests and sessions, and under which ids."""

import io
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from support import World

from syncsession_client import protocol
from syncsession_server import jobs, logs

NOTE = "CREATE TABLE logged_note (id TEXT PRIMARY KEY, body TEXT)"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What the server has logged meanwhile."""
    stream, logger = io.StringIO(), logging.getLogger("syncsession_server")
    handler, level = logs.handler(stream, "json"), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(level)
    handler.close()


def ask(world: World, path: str, **headers: str | bytes) -> httpx.Response:
    usual = {
        "Authorization": f"Bearer {world.token}",
        protocol.VERSION_HEADER: str(protocol.VERSION),
    }
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{world.server.url}{path}", headers=usual | given)


def test_a_request_is_one_line_with_its_id_tenant_and_outcome(world, lines):
    session = str(uuid.uuid4())
    answer = ask(world, f"/v1/push/{session}", X_Request_Id="of-a-proxy.1")
    assert answer.headers["X-Request-Id"] == "of-a-proxy.1"
    (line,) = lines()
    assert 0 < line.pop("seconds") < 60
    assert line.pop("timestamp")
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "syncsession_server.middleware",
        "method": "GET",
        "path": f"/v1/push/{session}",
        "status": 404,
        "request_id": "of-a-proxy.1",
        "session_id": session,
        "tenant_id": world.tenant,
    }


@pytest.mark.parametrize("brought", ["", "a b", "-x", "x" * 65, 'a"b', b"\xe9"])
def test_an_id_that_is_not_fit_for_a_log_is_replaced(world, lines, brought):
    answer = ask(world, "/v1/me", X_Request_Id=brought)
    given = answer.headers["X-Request-Id"]
    assert uuid.UUID(given).hex == given
    assert lines()[0]["request_id"] == given


def test_requests_on_one_connection_have_ids_of_their_own(world, lines):
    with httpx.Client() as client:
        for _ in range(3):
            client.get(f"{world.server.url}/v1/me")
    assert len({line["request_id"] for line in lines()}) == 3
    assert all("tenant_id" not in line for line in lines())


def test_a_path_cannot_forge_a_line_and_only_ids_are_taken_for_ids(world, lines):
    ask(world, "/v1/push/a%0Ab" + "x" * 500)
    (line,) = lines()
    assert line["path"].startswith("/v1/push/a%0Abxxx")
    assert len(line["path"]) == 200
    assert "session_id" not in line


def test_what_machines_ask_all_the_time_is_logged_at_debug_only(world, lines):
    httpx.get(f"{world.server.url}/health")
    assert [(line["path"], line["level"]) for line in lines()] == [("/health", "debug")]


def test_a_fault_is_logged_under_the_id_of_its_request(world, lines, monkeypatch):
    async def broken(*_):
        raise ZeroDivisionError("a fault of the server")

    monkeypatch.setattr("syncsession_server.middleware.identify", broken)
    answer = ask(world, "/v1/me", X_Request_Id="asked")
    assert answer.status_code == 500
    fault, request = lines()
    assert (fault["level"], fault["event"]) == ("error", "GET /v1/me failed")
    assert "a fault of the server" in fault["exception"]
    assert fault["request_id"] == request["request_id"] == "asked"
    assert request["status"] == 500


def test_what_is_logged_while_committing_is_about_the_session(world, lines, monkeypatch):
    commit_session = jobs.commit_session

    async def told(*args):
        logging.getLogger("syncsession_server.commit").warning("committing")
        return await commit_session(*args)

    monkeypatch.setattr(jobs, "commit_session", told)
    device = world.device("a.db", NOTE)
    device.put("INSERT INTO logged_note VALUES (?, ?)", [("x", "y")])
    device.push()
    line = next(line for line in lines() if line["event"] == "committing")
    begun = next(line for line in lines() if "session_id" in line)
    assert line["tenant_id"] == world.tenant
    assert line["session_id"] == begun["session_id"]


def test_no_token_is_in_any_line(world, lines):
    device = world.device("a.db", NOTE)
    device.sync()
    ask(world, f"/v1/me?token={world.token}&password=hunter2secret")
    ask(world, "/v1/me", Authorization=f"Basic {world.token}")
    assert len(lines()) > 3
    assert world.token not in json.dumps(lines())
    assert "hunter2secret" not in json.dumps(lines())
