"""When a watch syncs next: rules without a clock."""

import math

import pytest

from syncsession_client.watch import Schedule


@pytest.fixture
def schedule() -> Schedule:
    """One that has synced at 100."""
    made = Schedule(interval=30.0, delay=0.5)
    made.synced(100.0)
    return made


def test_a_new_one_is_due_at_once():
    assert Schedule(interval=30.0, delay=0.5).due == -math.inf


def test_a_sync_is_due_about_an_interval_after_the_last(schedule):
    assert 127.0 <= schedule.due <= 133.0


def test_a_sync_is_due_a_delay_after_the_last_write_of_a_burst(schedule):
    for now in (110.0, 110.3, 110.6):
        schedule.written(now)
        assert schedule.due == now + 0.5


def test_writes_without_a_pause_are_synced_after_twenty_delays(schedule):
    for tenth in range(200):
        schedule.written(110.0 + tenth / 10)
    assert schedule.due == 120.0
    schedule.synced(120.0)
    assert schedule.due > 146.0


def test_a_write_does_not_put_off_what_is_due_anyway(schedule):
    due = schedule.due
    schedule.written(due - 0.1)
    assert schedule.due == due


def test_pauses_grow_up_to_a_minute_and_are_random(schedule):
    pauses = []
    for _ in range(20):
        schedule.failing(200.0, 0.0)
        pauses.append(schedule.due - 200.0)
    assert all(1.0 <= pause <= 60.0 for pause in pauses)
    assert all(later > sooner for sooner, later in zip(pauses[:4], pauses[2:6], strict=True))
    assert all(pause >= 30.0 for pause in pauses[8:])
    assert len(set(pauses)) == len(pauses)
    schedule.synced(300.0)
    schedule.failing(300.0, 0.0)
    assert schedule.due <= 302.0


def test_a_write_brings_the_next_attempt_forward_but_not_at_once(schedule):
    for _ in range(8):
        schedule.failing(200.0, 0.0)
    schedule.written(200.1)
    assert schedule.due == 205.0
    schedule.written(204.8)
    assert schedule.due == 204.8 + 0.5


def test_nothing_is_due_before_the_server_wants_it(schedule):
    schedule.failing(200.0, 600.0)
    assert 801.0 <= schedule.due <= 802.0
    schedule.written(201.0)
    assert 801.0 <= schedule.due <= 802.0


def test_what_a_change_of_rows_may_mend_is_tried_after_one_and_once_in_a_while(schedule):
    schedule.failed(200.0)
    assert 254.0 <= schedule.due <= 266.0
    schedule.written(210.0)
    assert schedule.due == 210.5
