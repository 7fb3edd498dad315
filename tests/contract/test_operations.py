"""What those who run a server ask it: is it up, can it work, what has it done."""

import asyncio
import re
import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest
from mariadb import private_mariadb
from support import NO_CERTIFICATES, SECONDS, Device, Server, World, serving

from syncsession_client import protocol
from syncsession_client.protocol.errors import Maintenance, ServerBusy, SessionFailed
from syncsession_server import health
from syncsession_server.app import ROUTES
from syncsession_server.keys import SESSION_COUNTS
from syncsession_server.settings import Settings

NOTE = "CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)"


@pytest.fixture
def server(new_database: Callable[[], str]) -> Iterator[Server]:
    """A server of the test's own: its numbers begin at 0."""
    with serving(Settings(database=new_database(), migrate=True)) as running:
        yield running


def get(server: Server, path: str, **headers: str) -> httpx.Response:
    return httpx.get(
        f"{server.url}{path}", headers=headers, verify=NO_CERTIFICATES, timeout=SECONDS
    )


def numbers(server: Server) -> dict[str, float]:
    """Every number of /metrics by its name and labels; the counts of sessions are fresh."""
    server.app[SESSION_COUNTS]._ended_until = 0.0
    text = get(server, "/metrics").text
    found = re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", text, re.M)
    assert len(dict(found)) == len(found)
    return {name: float(value) for name, value in found}


def pushed(device: Device, *ids: str) -> None:
    device.put("INSERT INTO note VALUES (?, 'text')", [(i,) for i in ids])
    device.push()


def raise_busy(*_, **__):
    raise ServerBusy("the disk is full")


async def never(*_, **__):
    await asyncio.sleep(SECONDS)


# Up, and ready


def test_a_server_that_can_work_is_healthy_and_ready(server):
    assert get(server, "/health").json() == {"status": "ok"}
    answer = get(server, "/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "faults": []})


def test_a_server_whose_database_fails_is_healthy_and_not_ready(server, monkeypatch):
    monkeypatch.setattr(server.store, "first", raise_busy)
    assert get(server, "/health").status_code == 200
    answer = get(server, "/ready")
    assert (answer.status_code, answer.json()) == (
        503,
        {"status": "not_ready", "faults": ["the database cannot be had: the disk is full"]},
    )


def test_a_server_whose_database_is_silent_says_so_in_time(server, monkeypatch):
    monkeypatch.setattr(health, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(server.store, "first", never)
    answer = get(server, "/ready")
    assert answer.status_code == 503
    assert answer.json()["faults"] == ["the database has not answered in 0.2 seconds"]


def test_a_server_is_ready_again_when_its_database_is_back(tmp_path):
    with private_mariadb(tmp_path, durable=False) as mariadb:
        settings = Settings(database=mariadb.create_database(), migrate=True)
        with serving(settings) as server:
            assert get(server, "/ready").status_code == 200
            mariadb.stop()
            answer = get(server, "/ready")
            assert (answer.status_code, len(answer.json()["faults"])) == (503, 1)
            assert get(server, "/health").status_code == 200
            mariadb.start()
            assert get(server, "/ready").json() == {"status": "ready", "faults": []}


# Maintenance


@pytest.fixture
def maintained(new_database: Callable[[], str]) -> Iterator[Server]:
    """A server that is on maintenance."""
    settings = Settings(database=new_database(), migrate=True, maintenance=True)
    with serving(settings) as running:
        yield running


def test_a_server_on_maintenance_is_healthy_and_not_ready(maintained):
    assert get(maintained, "/health").status_code == 200
    assert get(maintained, "/metrics").status_code == 200
    answer = get(maintained, "/ready")
    assert (answer.status_code, answer.json()["faults"]) == (503, ["maintenance is on"])


def test_a_server_on_maintenance_tells_every_device_to_try_later(maintained):
    token = maintained.token("acme")
    headers = {
        "Authorization": f"Bearer {token}",
        protocol.VERSION_HEADER: str(protocol.VERSION),
    }
    for route in ROUTES:
        if not route.path.startswith("/v1/"):
            continue
        path = route.path.format(session_id=uuid.uuid4(), pull_id=uuid.uuid4(), number=1)
        answer = httpx.request(route.method, f"{maintained.url}{path}", headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["retryable"]) == (503, "maintenance", True)


def test_a_device_meets_maintenance_as_an_error_and_loses_no_edit(new_database, tmp_path):
    settings = Settings(database=new_database(), migrate=True)
    with serving(settings) as server:
        world = World(server, tmp_path)
        device = world.device("a.db", NOTE)
        pushed(device, "before")
        device.put("INSERT INTO note VALUES (?, 'text')", [("meanwhile",)])
        with serving(Settings(database=settings.database, maintenance=True)) as maintained:
            with pytest.raises(Maintenance):
                device.push(server=maintained.url)
            assert device.dirty("note") == [("meanwhile",)]
        assert device.push().pushed.rows == 1


def test_a_server_on_maintenance_commits_nothing(new_database, tmp_path):
    settings = Settings(database=new_database(), migrate=True)
    with serving(settings) as server:
        pushed(World(server, tmp_path).device("a.db", NOTE), "x")
        requeue = "UPDATE sync_session SET status = 'processing'"
        server.run(server.store.run(requeue, {}))
    with serving(Settings(database=settings.database, maintenance=True)) as maintained:
        assert maintained.rows("SELECT status FROM sync_session") == [("processing",)]


# Numbers


def test_rows_and_sessions_are_counted(server, tmp_path):
    world = World(server, tmp_path)
    device = world.device("a.db", NOTE)
    pushed(device, "a", "b", "c")
    pushed(device, "d")
    device.clone("b.db")
    found = numbers(server)
    assert found["syncsession_rows_pushed_total"] == 4
    assert found["syncsession_rows_pulled_total"] == 4
    assert found['syncsession_commit_seconds_count{outcome="committed"}'] == 2
    assert 0 < found['syncsession_commit_seconds_sum{outcome="committed"}'] < SECONDS
    assert found['syncsession_sessions{status="committed"}'] == 2
    assert found['syncsession_sessions{status="open"}'] == 0
    assert found["syncsession_queue_depth"] == 0
    assert found["syncsession_database_up"] == 1


def test_a_session_that_fails_is_counted_as_such_and_its_rows_are_not(server, tmp_path):
    world = World(server, tmp_path)
    device = world.device("a.db", NOTE)
    device.sync()
    server.run(server.store.run('ALTER TABLE note RENAME TO "elsewhere"', {}))
    with pytest.raises(SessionFailed):
        pushed(device, "a")
    found = numbers(server)
    assert found['syncsession_commit_seconds_count{outcome="failed"}'] == 1
    assert found['syncsession_sessions{status="failed"}'] == 1
    assert found["syncsession_rows_pushed_total"] == 0


@pytest.mark.parametrize("status", ["open", "staged", "queued", "processing", "expired"])
def test_sessions_are_counted_by_state(new_database, tmp_path, status):
    settings = Settings(database=new_database(), migrate=True)
    with serving(settings) as server:
        pushed(World(server, tmp_path).device("a.db", NOTE), "a")
    # One on maintenance leaves the session where it is put.
    with serving(Settings(database=settings.database, maintenance=True)) as server:
        server.run(server.store.run(f"UPDATE sync_session SET status = '{status}'", {}))
        found = numbers(server)
    counts = {name: n for name, n in found.items() if name.startswith("syncsession_sessions")}
    assert len(counts) == 7
    assert counts.pop(f'syncsession_sessions{{status="{status}"}}') == 1
    assert set(counts.values()) == {0}
    assert found["syncsession_queue_depth"] == (status == "queued")


def test_requests_are_counted_by_the_template_of_their_path(server, tmp_path):
    for _ in range(3):
        get(server, f"/v1/push/{uuid.uuid4()}")
    for path in ("/made/up", "/v1/push"):
        get(server, path)
    httpx.request("PATCH", f"{server.url}/health")
    found = numbers(server)
    name = "syncsession_request_seconds_count"
    counts = {n[len(name) + 1 : -1]: v for n, v in found.items() if n.startswith(name)}
    assert counts == {
        'method="GET",route="/v1/push/{session_id}",status="426"': 3,
        'method="other",route="other",status="426"': 2,
        'method="other",route="other",status="404"': 1,
    }


def test_no_number_names_a_tenant_a_user_or_an_id(server, tmp_path):
    world = World(server, tmp_path)
    device = world.device("a.db", NOTE)
    pushed(device, "a")
    text = get(server, "/metrics").text
    ids = device.rows("SELECT device_id FROM _syncsession_state")[0]
    for hidden in (world.tenant, "alice", *ids):
        assert hidden not in text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", text)


def test_two_servers_in_one_process_have_numbers_of_their_own(server, new_database):
    get(server, "/v1/me")
    with serving(Settings(database=new_database(), migrate=True)) as other:
        assert not any("/v1/me" in name for name in numbers(other))
    assert any("/v1/me" in name for name in numbers(server))


def test_numbers_are_told_without_the_database_too(server, monkeypatch):
    get(server, "/v1/me")
    monkeypatch.setattr(server.store, "first", raise_busy)
    found = numbers(server)
    assert found["syncsession_database_up"] == 0
    assert not any(name.startswith(("syncsession_sessions", "syncsession_queue")) for name in found)
    assert any("/v1/me" in name for name in found)


def test_sessions_that_have_ended_are_not_counted_for_every_reader(server, tmp_path):
    device = World(server, tmp_path).device("a.db", NOTE)
    pushed(device, "a")
    committed = 'syncsession_sessions{status="committed"}'
    assert numbers(server)[committed] == 1
    pushed(device, "b")
    assert f"{committed} 1.0" in get(server, "/metrics").text
    assert numbers(server)[committed] == 2
