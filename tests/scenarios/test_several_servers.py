"""Several server processes share one database: any of them will do, and none is missed."""

import itertools
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mariadb import Mariadb
from processes import ServerProcess, Servers, servers, until
from support import SECONDS, Device, World, everyone_syncs

from syncsession_client import engine
from syncsession_client.engine import Synced
from syncsession_client.protocol.errors import ServerUnreachable
from syncsession_client.transport import Transport

NOTE = "CREATE TABLE note (id TEXT PRIMARY KEY, body TEXT)"
INSERT = "INSERT INTO note VALUES (?, ?)"
LARGE = 30_000
MIDDLE = f"row {LARGE // 2:06}"
LOCK = "SELECT sync_key FROM note WHERE id = %s FOR UPDATE"

CLAIM_SECONDS = 2
SOON = 8.0
"""Seconds in which a process stops that is told to."""

FLAGS = (
    *("--claim-timeout-seconds", str(CLAIM_SECONDS)),
    *("--queue-poll-interval-seconds", "0.2"),
    *("--cleanup-interval-seconds", "0.5"),
    *("--pull-shared-table-threshold", "0"),
    *("--pull-batch-size", "200"),
)


@pytest.fixture
def cluster(mariadb: Mariadb, tmp_path: Path) -> Iterator[Servers]:
    with servers(mariadb, tmp_path, *FLAGS) as made:
        yield made


@pytest.fixture
def world(cluster: Servers, tmp_path: Path) -> World:
    """A tenant of the first server."""
    cluster.start()
    return World(cluster, tmp_path)  # type: ignore[arg-type]


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture
def small(world: World) -> Device:
    """A device that has pushed the row in the middle, as session 1."""
    device = world.device("small.db", NOTE)
    device.put(INSERT, [(MIDDLE, "small")])
    assert device.sync().pushed.rows == 1
    return device


@pytest.fixture
def large(small: Device, world: World) -> Device:
    """A device with many rows to push, one of which `small` has too."""
    device = world.device("large.db", NOTE)
    device.put(INSERT, rows(LARGE))
    return device


def rows(count: int) -> list[tuple[str, str]]:
    return [(f"row {n:06}", f"body {n}") for n in range(count)]


def stop_in_the_middle(
    cluster: Servers, large: Device, victim: ServerProcess, beside: ThreadPoolExecutor
) -> Future[Synced]:
    """Have `large` push to `victim`, and wait until that waits for the row in the middle."""
    pushing = beside.submit(large.push, server=victim.url, push_status_timeout=40.0)
    cluster.wait_for_a_lock("INSERT INTO")
    assert cluster.statuses()[1] == "processing"
    return pushing


def worker(cluster: Servers, number: int) -> str | None:
    return cluster.value("SELECT worker_id FROM sync_session WHERE number = %s", number)


def is_unused(cluster: Servers) -> bool:
    """Whether nothing is left of what came and went."""
    tables = ("sync_staging", "sync_pull", "sync_pull_batch")
    return not any(cluster.value(f"SELECT count(*) FROM {table}") for table in tables)


def check_large(cluster: Servers, *others: int) -> None:
    """Session 2 is there, whole and once; `others` are how many rows the other sessions have."""
    assert set(cluster.statuses()) == {"committed"}
    sql = "SELECT sync_session, count(*) FROM note GROUP BY sync_session ORDER BY sync_session"
    assert dict(cluster.rows(sql)) == {2: LARGE} | dict(enumerate(others, 3))
    until(lambda: is_unused(cluster))


def test_every_request_of_a_push_and_of_a_pull_may_go_to_another_process(
    cluster, world, monkeypatch
):
    urls = [server.url for server in (*cluster.all, cluster.start(), cluster.start())]
    asked = []

    class RoundRobin(Transport):
        turns = itertools.cycle(urls)

        def _request(self, method: str, path: str, **rest: Any) -> Any:
            self.server = next(self.turns)
            asked.append((self.server, path.split("/")[2], path.count("batches")))
            return super()._request(method, path, **rest)

    monkeypatch.setattr(engine, "Transport", RoundRobin)
    device = world.device("a.db", NOTE)
    device.put(INSERT, rows(2000))
    assert device.push(batch_rows=200).pushed.rows == 2000
    assert device.clone("b.db").rows("SELECT * FROM note ORDER BY id") == rows(2000)
    for kind in ("push", "pull"):
        assert {url for url, *what in asked if what == [kind, 1]} == set(urls)
    assert cluster.statuses() == ["committed"]
    assert sum(cluster.ended()) == 1
    written = cluster.rows("SELECT sync_session, count(*) FROM note GROUP BY sync_session")
    assert written == ((1, 2000),)
    until(lambda: is_unused(cluster))


def test_a_session_that_is_begun_at_two_processes_at_once_begins_once(
    cluster, world, small, beside
):
    session, device = str(uuid.uuid4()), str(uuid.uuid4())

    def begin(url: str) -> dict[str, Any]:
        with Transport(url, world.token, device) as transport:
            return transport.begin_push(session, [{"name": "note", "rows": 1, "batches": 1}])

    urls = [server.url for server in (*cluster.all, cluster.start())]
    with cluster.held("SELECT tenant_id FROM sync_tenant FOR UPDATE"):
        begun = [beside.submit(begin, url) for url in urls]
        cluster.wait_for_a_lock("UPDATE sync_tenant", count=2)
    answers = [each.result(SECONDS) for each in begun]
    assert answers[0] == answers[1]
    assert (answers[0]["number"], answers[0]["status"]) == (2, "open")
    assert cluster.value("SELECT last_number FROM sync_tenant") == 2


def test_what_a_killed_process_was_committing_another_commits_and_nothing_waits_for_it(
    cluster, small, large, beside
):
    victim = cluster.start()
    with cluster.held(LOCK, MIDDLE):
        pushing = stop_in_the_middle(cluster, large, victim, beside)
        victim.kill()
        with pytest.raises(ServerUnreachable):
            pushing.result(SECONDS)
        small.put(INSERT, [("another", "row")])
        assert small.sync(push_status_timeout=20.0).pushed.rows == 1
        assert cluster.statuses()[1:] == ["processing", "committed"]
        waiting = beside.submit(large.push, push_status_timeout=40.0)
        cluster.wait_for_a_lock("INSERT INTO")
    assert waiting.result(SECONDS).pushed.rows == LARGE
    assert cluster.ended() == [3]
    check_large(cluster, 1)
    small.sync()
    large.sync()
    everything = "SELECT * FROM note ORDER BY id"
    assert small.rows(everything) == large.rows(everything) == [("another", "row"), *rows(LARGE)]


def test_what_a_killed_process_was_committing_it_commits_when_it_is_back(
    cluster, small, large, beside
):
    with cluster.held(LOCK, MIDDLE):
        pushing = stop_in_the_middle(cluster, large, cluster.all[0], beside)
        cluster.all[0].kill()
        with pytest.raises(ServerUnreachable):
            pushing.result(SECONDS)
    assert large.push(server=cluster.start().url).pushed.rows == LARGE
    assert cluster.ended() == [1]
    check_large(cluster)


def test_a_commit_that_takes_long_stays_with_its_process(cluster, small, large, beside):
    other = cluster.start()
    assert other.url
    alive = "SELECT timestampdiff(SECOND, changed_at_utc, alive_at_utc) FROM sync_session"
    with cluster.held(LOCK, MIDDLE):
        pushing = stop_in_the_middle(cluster, large, cluster.all[0], beside)
        claimed_by = worker(cluster, 2)
        until(lambda: cluster.value(f"{alive} WHERE number = 2") > CLAIM_SECONDS)
    assert pushing.result(SECONDS).pushed.rows == LARGE
    assert worker(cluster, 2) == claimed_by
    assert other.ended() == 0
    check_large(cluster)


def test_a_process_that_only_seemed_dead_changes_nothing_when_it_goes_on(
    cluster, small, large, beside
):
    sleeper = cluster.start()
    with cluster.held(LOCK, MIDDLE):
        pushing = stop_in_the_middle(cluster, large, sleeper, beside)
        claimed_by = worker(cluster, 2)
        sleeper.signal(signal.SIGSTOP)
        until(lambda: worker(cluster, 2) not in (None, claimed_by))
        taken_by = worker(cluster, 2)
        sleeper.signal(signal.SIGCONT)
    assert pushing.result(SECONDS).pushed.rows == LARGE
    assert worker(cluster, 2) == taken_by
    assert cluster.ended() == [2, 0]
    check_large(cluster)


def test_the_locks_of_a_process_that_only_seems_dead_are_in_nobodys_way_for_long(
    cluster, small, large, beside
):
    sleeper = cluster.start()
    with cluster.held(LOCK, MIDDLE):
        pushing = stop_in_the_middle(cluster, large, sleeper, beside)
        sleeper.signal(signal.SIGSTOP)
    small.execute(f"UPDATE note SET body = 'changed' WHERE id = '{MIDDLE}'")
    assert small.push(push_status_timeout=SECONDS).pushed.rows == 1
    until(lambda: cluster.statuses() == ["committed"] * 3)
    sleeper.signal(signal.SIGCONT)
    assert pushing.result(SECONDS).pushed.rows == LARGE
    assert cluster.ended() == [3, 0]
    until(lambda: is_unused(cluster))


def test_a_process_that_is_told_to_stop_gives_back_what_it_was_committing_and_is_gone_soon(
    cluster, small, large, beside
):
    with cluster.held(LOCK, MIDDLE):
        pushing = stop_in_the_middle(cluster, large, cluster.all[0], beside)
        cluster.all[0].signal(signal.SIGTERM)
        assert cluster.all[0].wait(SOON) == 0
        assert cluster.statuses()[1] == "queued"
        with pytest.raises(ServerUnreachable):
            pushing.result(SECONDS)
    assert "Traceback" not in cluster.all[0].text()
    assert large.push(server=cluster.start().url).pushed.rows == LARGE
    check_large(cluster)


def test_a_process_killed_while_it_gives_a_table_a_column_keeps_nobody_from_syncing(
    cluster, small, beside
):
    other, victim = small.clone("other.db"), cluster.start()
    small.execute("ALTER TABLE note ADD COLUMN extra", "UPDATE note SET extra = 'extra'")
    with cluster.held(LOCK, MIDDLE):
        registering = beside.submit(small.sync, server=victim.url)
        until(lambda: altering(cluster))
        victim.kill()
        for number in altering(cluster):
            cluster.mariadb.execute(f"KILL {number}")
        until(lambda: not altering(cluster))
    with pytest.raises(ServerUnreachable):
        registering.result(SECONDS)
    other.put(INSERT, [("another", "row")])
    assert other.sync().pushed.rows == 1
    third = other.clone("third.db")
    assert third.rows("SELECT * FROM note") == [("another", "row", None), (MIDDLE, "small", None)]
    everyone_syncs(small, third)
    assert third.rows("SELECT * FROM note") == small.rows("SELECT * FROM note ORDER BY id")
    assert third.value("SELECT extra FROM note WHERE body = 'small'") == "extra"


def altering(cluster: Servers) -> list[int]:
    """The connections that wait to give a table a column."""
    sql = "SELECT id FROM information_schema.processlist WHERE info LIKE 'ALTER TABLE%'"
    return [number for (number,) in cluster.rows(sql)]
