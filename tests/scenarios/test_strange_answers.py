"""Something before the server answers, or never ends to: a sync says so, and loses nothing."""

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from network import Network, answers, is_cut, network, trickles
from processes import until
from support import Device, World, serving

from syncsession_client import transport
from syncsession_client.protocol.errors import (
    BatchDamaged,
    Maintenance,
    ServerBusy,
    ServerUnreachable,
)
from syncsession_client.rejects import list_rejects, retry
from syncsession_server.settings import Settings

ITEM = "CREATE TABLE item (id TEXT PRIMARY KEY, v)"
ROWS = [(f"{n:03}", f"value {n}") for n in range(60)]
HTML = b"<html><body>Please log in to the train's network</body></html>"

REQUESTS = {
    "the tables": "PUT /v1/tables",
    "the session": "PUT /v1/push/[^/]+$",
    "a batch": "PUT /v1/push/.*/batches/2",
    "the commit": "POST /v1/push/.*/commit",
    "the pull": "PUT /v1/pull/",
    "a pulled batch": "GET /v1/pull/.*/batches/4",
}

STRANGERS = {
    "502": answers("502 Bad Gateway", HTML, Content_Type="text/html"),
    "503": answers("503 Service Unavailable", HTML, Content_Type="text/html", Retry_After="7"),
    "429": answers("429 Too Many Requests", Retry_After="7"),
    "404": answers("404 Not Found", b"no such backend", Content_Type="text/plain"),
    "a login page": answers("200 OK", HTML, Content_Type="text/html; charset=utf-8"),
    "JSON of somebody else": answers("200 OK", b"{}", Content_Type="application/json"),
    "an error of somebody else": answers(
        "503 Service Unavailable", b'{"error": {"code": 503, "message": "no"}}'
    ),
    "nothing": answers("204 No Content"),
    "another place": answers("302 Found", Location="http://login.invalid/"),
}


@pytest.fixture(scope="module")
def holding_server(tmp_path_factory):
    """It holds every pull, in small batches."""
    database = f"sqlite:///{tmp_path_factory.mktemp('holding') / 'server.db'}"
    settings = Settings(
        database=database, migrate=True, pull_shared_table_threshold=0, pull_batch_size=10
    )
    with serving(settings) as server:
        yield server


@pytest.fixture
def net(holding_server) -> Iterator[Network]:
    with network(holding_server.url) as made:
        yield made


@pytest.fixture
def pair(holding_server, net, tmp_path) -> tuple[Device, Device]:
    """A device with rows to push and rows to pull, behind the network, and one that is not."""
    world = World(holding_server, tmp_path)
    b = world.device("b.db", ITEM)
    b.put("INSERT INTO item VALUES (?, ?)", ROWS)
    b.sync()
    a = world.bare("a.db", ITEM)
    a.server = net.url
    a.init()
    a.put("INSERT INTO item VALUES (?, ?)", [(f"a{key}", v) for key, v in ROWS])
    return a, b


def check_all_is_well(a: Device, b: Device) -> None:
    a.sync(batch_rows=20)
    b.sync()
    rows = a.rows("SELECT * FROM item ORDER BY id")
    assert rows == b.rows("SELECT * FROM item ORDER BY id")
    assert len(rows) == 2 * len(ROWS)
    assert a.dirty("item") == b.dirty("item") == []


def statuses(server, device: Device) -> list[str]:
    """The states of the tenant's sessions."""
    tenant = device.value("SELECT tenant_id FROM _syncsession_state")
    sql = "SELECT status FROM sync_session WHERE tenant_id = :tenant"
    return [status for (status,) in server.rows(sql, tenant=tenant)]


def check_a_stranger(server, net: Network, pair, request_of: str, stranger: str) -> None:
    a, b = pair
    net.fails_at(REQUESTS[request_of], STRANGERS[stranger])
    with pytest.raises(ServerBusy, match=f"{net.url} answered .* not from a SyncSession") as raised:
        a.sync(batch_rows=20)
    assert raised.value.retry_after == (7.0 if stranger in ("503", "429") else None)
    net.is_well()
    check_all_is_well(a, b)
    assert statuses(server, a) == ["committed"] * 2


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("request_of", ["a batch", "a pulled batch"])
def test_what_is_not_from_the_server_is_taken_for_no_answer(
    holding_server, net, pair, stranger, request_of
):
    check_a_stranger(holding_server, net, pair, request_of, stranger)


@pytest.mark.parametrize("request_of", REQUESTS)
def test_a_login_page_is_taken_for_no_answer_to_any_request(holding_server, net, pair, request_of):
    check_a_stranger(holding_server, net, pair, request_of, "a login page")


def test_a_pull_that_cannot_be_ended_is_applied_all_the_same(net, pair):
    a, b = pair
    net.fails_at("DELETE /v1/pull/", STRANGERS["502"])
    check_all_is_well(a, b)


def test_a_body_that_a_proxy_finds_too_large_is_sealed_anew_in_smaller_batches(net, pair):
    a, b = pair
    net.fails_at(REQUESTS["a batch"], answers("413 Request Entity Too Large", HTML))
    a.sync(batch_rows=30)
    check_all_is_well(a, b)
    sent = [line.split("/")[3] for line in net.lines if re.search("PUT .*/batches/", line)]
    refused, taken = dict.fromkeys(sent)
    assert sent.count(refused) < sent.count(taken)


def test_a_row_that_a_proxy_finds_too_large_alone_stays_and_says_so(net, pair):
    a, b = pair
    net.fails_at(REQUESTS["a batch"], answers("413 Request Entity Too Large", HTML))
    assert a.sync(batch_rows=1).pushed.rejected_rows == 1
    (found,) = list_rejects(a.path)
    assert found["code"] == "too_large"
    assert "from a proxy before the server" in found["message"]
    retry(a.path)
    check_all_is_well(a, b)


def test_an_answer_of_the_servers_that_was_changed_is_asked_for_again(net, pair):
    a, b = pair
    changed = answers("200 OK", b'{"tenant_id": "t', SyncSession_Protocol="1")
    for request_of in ("the tables", "the session", "the commit", "the pull"):
        net.fails_at(REQUESTS[request_of], changed)
        with pytest.raises(ServerBusy):
            a.sync(batch_rows=20)
    net.is_well()
    check_all_is_well(a, b)


def test_a_batch_that_was_changed_on_its_way_does_not_stay(net, pair):
    a, b = pair
    changed = answers("200 OK", HTML, SyncSession_Protocol="1", Content_Encoding="zstd")
    net.fails_at(REQUESTS["a pulled batch"], changed)
    with pytest.raises(BatchDamaged, match="batch 4 of the pull came damaged"):
        a.sync(batch_rows=20)
    check_all_is_well(a, b)


def test_an_error_of_the_servers_own_carries_how_long_to_wait(net, pair):
    a, _ = pair
    body = b'{"error": {"code": "maintenance", "message": "moving", "retryable": true}}'
    net.fails_at("/v1/", answers("503 No", body, SyncSession_Protocol="1", Retry_After="120"))
    with pytest.raises(Maintenance, match="moving") as raised:
        a.sync()
    assert raised.value.retry_after == 120


@pytest.mark.parametrize(
    ("text", "at_least", "at_most"),
    [
        pytest.param(
            *(format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True), 80_000, 86_400),
            id="tomorrow",
        ),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("0", 0, 0),
    ],
)
def test_how_long_to_wait_may_be_told_as_a_date(net, pair, text, at_least, at_most):
    net.fails_at("/v1/", answers("503 No", Retry_After=text))
    with pytest.raises(ServerBusy) as raised:
        pair[0].sync()
    assert at_least <= raised.value.retry_after <= at_most


@pytest.mark.parametrize("text", ["soon", "-5", "1.5", "²", ""])
def test_what_cannot_be_read_as_a_time_to_wait_says_nothing(net, pair, text):
    net.fails_at("/v1/", answers("503 No", Retry_After=text))
    with pytest.raises(ServerBusy) as raised:
        pair[0].sync()
    assert raised.value.retry_after is None


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nSyncSession-Protocol: 1\r\nContent-Length: 1000000\r\n\r\n",
    ],
    ids=["from the beginning", "in the head", "in the body"],
)
@pytest.mark.parametrize("request_of", ["a batch", "the pull", "a pulled batch"])
def test_an_answer_that_trickles_without_end_is_ended(net, pair, request_of, head, monkeypatch):
    a, b = pair
    net.fails_at(REQUESTS[request_of], trickles(head))
    with monkeypatch.context() as patch, pytest.raises(ServerUnreachable) as raised:
        patch.setattr(transport, "_REQUEST_SECONDS", 0.5)
        a.sync(batch_rows=20)
    if head:
        assert "in full after 0.5 seconds" in str(raised.value)
    net.is_well()
    check_all_is_well(a, b)


def test_a_device_that_hangs_up_is_no_fault_of_the_server(holding_server, net, pair, caplog):
    a, b = pair
    caplog.set_level(logging.INFO)
    for request_of in ("the tables", "the session", "a batch", "the pull"):
        net.fails_at(REQUESTS[request_of], is_cut)
        with pytest.raises(ServerUnreachable):
            a.sync(batch_rows=20)
    check_all_is_well(a, b)
    until(lambda: [r for r in caplog.records if getattr(r, "status", 0) == 400])
    assert [r.getMessage() for r in caplog.records if r.levelno > logging.INFO] == []


def test_a_server_that_takes_the_body_ever_so_slowly_is_given_up(net, monkeypatch):
    monkeypatch.setattr(transport, "_REQUEST_SECONDS", 0.5)
    net.reads_slowly = True
    with (
        transport.Transport(net.url, "a token") as sending,
        pytest.raises(ServerUnreachable, match=r"batches/1 in full after 0\.5 seconds"),
    ):
        sending.send_batch("s", 1, bytes(32 << 20), "identity")
