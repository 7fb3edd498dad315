"""The checker of histories sees each thing that must not be; and nothing, where all is well."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from histories.checker import violations
from histories.records import History, Recorder, Row, Saw, Synced, Version, Wrote, read

TABLES = ("entry", "line", "seat", "meter")


def wrote(txn: str, begun: int, **others: str | None) -> Wrote:
    """A transaction with an entry, a line and these seats; None gives a seat up."""
    rows = {f"entry/{txn}": txn, f"line/{txn}/0": txn}
    return Wrote(txn=txn, begun=begun, rows=rows | {f"seat/{s}": t for s, t in others.items()})


def held(*txns: tuple[str, int | None], **seats: Version) -> dict[Row, Version]:
    """These transactions whole, each with its session, and these seats."""
    rows: dict[Row, Version] = {}
    for txn, session in txns:
        rows |= dict.fromkeys((f"entry/{txn}", f"line/{txn}/0"), (txn, session))
    return rows | {f"seat/{name}": version for name, version in seats.items()}


def saw(at: int, rows: dict[Row, Version], call: str | None = "pull", **changes: Any) -> Saw:
    """All that a device holds after a call of 10 from `at - 11` to `at - 1`."""
    numbers = sorted({number for _, number in rows.values() if number})
    ranges = [(number, number) for number in numbers]
    synced = None
    if call is not None:
        answer = {key: changes.pop(key) for key in ("session", "error") if key in changes}
        synced = Synced(call=call, invoked=at - 11, returned=at - 1, **answer)
    fields = {"processed": dict.fromkeys(TABLES, ranges), "synced": synced, "is_all": True}
    return Saw(at=at, rows=rows, **fields | changes)


A, B, C = ("a.1", 1), ("b.1", 2), ("a.2", 3)


@dataclass
class Story:
    """Two writers, who both take the same seat, the one again, and two readers. All is well."""

    a: list[Any] = field(
        default_factory=lambda: [
            wrote("a.1", 100, s="a.1"),
            saw(120, held(A, s=A), "sync", session=1),
            wrote("a.2", 300, s=None, t="a.2"),
            saw(301, held(A, B, ("a.2", None), s=(None, None), t=("a.2", None)), None),
            saw(320, held(A, B, C, s=(None, 3), t=C), "sync", session=3),
        ]
    )
    b: list[Any] = field(
        default_factory=lambda: [
            wrote("b.1", 110, s="b.1"),
            saw(130, held(B, s=B), "push", session=2),
            saw(150, held(A, B, s=B)),
            saw(400, held(A, B, C, s=(None, 3), t=C)),
        ]
    )
    r: list[Any] = field(
        default_factory=lambda: [
            saw(10, {}, "clone"),
            saw(145, held(A, B, s=B)),
            saw(380, held(A, B, C, t=C)),  # it has made no note of what it had no more
        ]
    )
    q: list[Any] = field(default_factory=lambda: [saw(410, held(A, B, C, s=(None, 3), t=C))])
    at_server: dict[Row, Version] = field(default_factory=lambda: held(A, B, C, t=C))

    def found(self) -> list[tuple[str, str]]:
        histories = [History(n, n, getattr(self, n)) for n in "abrq"]
        return [(v.kind, v.text) for v in violations(histories, self.at_server)]

    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.found()}


@pytest.fixture
def story() -> Story:
    return Story()


def test_where_all_is_well_nothing_is_found(story):
    assert story.found() == []


def test_a_pull_that_lacks_what_was_seen_before_it_began_is_found(story):
    story.r[1] = saw(145, held(A, s=A))
    missed = [text for kind, text in story.found() if kind == "missed"]
    assert missed == ["r: session 2 was seen elsewhere before the pull began, and is not here"]


def test_what_somebody_saw_while_a_pull_was_under_way_need_not_be_in_it(story):
    story.r[1] = saw(135, held(A, s=A))
    assert story.found() == []


def test_a_pull_that_failed_or_a_push_need_not_bring_anything(story):
    story.r[1:1] = [saw(143, {}, error="server_busy"), saw(144, {}, "push")]
    assert story.found() == []


def test_a_session_that_is_called_processed_and_is_not_there_is_found(story):
    """As where a device remembers only the highest number that it has seen."""
    story.r[1] = saw(135, held(B, s=B), processed={t: [(1, 2)] for t in TABLES})
    assert ("missed", "r: entry calls session 1 processed, of which nothing is here") in (
        story.found()
    )


@pytest.mark.parametrize("row", ["entry/b.1", "line/b.1/0", "seat/s"])
def test_a_session_that_is_seen_without_one_of_its_rows_is_found(story, row):
    story.r[1] = saw(145, {r: v for r, v in held(A, B, s=B).items() if r != row})
    assert "half" in story.kinds()


def test_a_session_that_is_seen_with_an_old_row_is_found(story):
    story.r[1] = saw(145, held(A, B, s=A))
    assert "order" in story.kinds()


def test_a_session_that_only_some_tables_have_processed_is_found(story):
    story.r[1].processed["seat"] = [(1, 1)]
    assert ("half", "r: session 2 is here; seat calls it unprocessed") in story.found()


def test_an_observer_that_sees_half_a_session_while_it_comes_is_found(story):
    story.q[0:0] = [saw(126, held(B), None)]
    assert ("half", "q: sessions [2] are here, but seat/s, which they wrote, is not") in (
        story.found()
    )


def test_a_device_that_loses_a_row_it_had_is_found(story):
    story.r.append(saw(390, held(A, C, t=C)))
    assert "backwards" in story.kinds()


def test_a_device_whose_row_goes_back_to_what_it_was_is_found(story):
    story.b[2:2] = [saw(148, held(A, B, s=B), None), saw(149, held(A, B, s=A), None)]
    assert ("backwards", "b: seat/s was of session 2, and is of 1 again") in story.found()


def test_a_deleted_row_that_comes_back_is_found(story):
    story.q.append(saw(420, held(A, B, C, s=B, t=C)))
    assert ("backwards", "q: seat/s was of session 3, and is of 2 again") in story.found()


def test_a_processed_set_that_shrinks_is_found(story):
    story.b[3].processed["line"] = [(2, 3)]
    assert ("backwards", "b: line had processed 1 to 1, and no longer has") in story.found()


def test_two_devices_that_see_two_sessions_in_opposite_orders_are_found():
    """Each is sound by itself, and neither push was over when the other began."""
    story = Story(
        a=[wrote("a.1", 100, s="a.1"), saw(200, held(A, B, s=A), "sync", session=1)],
        b=[wrote("b.1", 100, s="b.1"), saw(200, held(A, B, s=B), "sync", session=2)],
        r=[],
        q=[],
    )
    assert "order" in story.kinds()


def test_two_sessions_that_each_won_a_row_of_the_other_are_found():
    now = held(A, B, s=A, t=B)
    story = Story(
        a=[wrote("a.1", 100, s="a.1", t="a.1"), saw(200, now, "sync", session=1)],
        b=[wrote("b.1", 100, s="b.1", t="b.1"), saw(200, now, "sync", session=2)],
        r=[],
        q=[],
        at_server=now,
    )
    assert story.kinds() == {"order"}


def test_two_pulls_of_which_each_brought_what_the_other_lacked_are_found():
    """Both sessions were under way, so neither pull had to bring them; but then one came first."""
    story = Story(
        a=[wrote("a.1", 100), saw(200, held(A, B), "sync", session=1)],
        b=[wrote("b.1", 100), saw(200, held(A, B), "sync", session=2)],
        r=[saw(130, held(A)), saw(300, held(A, B))],
        q=[saw(130, held(B)), saw(300, held(A, B))],
        at_server=held(A, B),
    )
    assert story.kinds() == {"order"}


def test_a_value_that_won_over_one_that_was_written_after_it_had_been_seen_is_found(story):
    """Session 2 was seen before a.2 was written, so it cannot come after session 3."""
    for late in (story.a[4], story.b[3], story.r[2], story.q[0]):
        late.rows["seat/s"] = B
    story.at_server["seat/s"] = B
    assert story.kinds() == {"order"}


def test_a_value_that_nobody_wrote_is_found(story):
    story.r[1].rows["seat/s"] = ("c.1", 2)
    story.r[1].rows["entry/c.1"] = ("c.1", 2)
    texts = [text for kind, text in story.found() if kind == "invented"]
    assert "r: entry/c.1 is c.1 of session 2, and nobody wrote that" in texts


def test_a_value_in_a_row_that_it_was_not_written_to_is_found(story):
    story.r[1].rows["seat/t"] = B
    assert ("invented", "r: seat/t is b.1 of session 2, and nobody wrote that") in story.found()


def test_an_edit_that_waits_on_a_device_that_did_not_make_it_is_found(story):
    story.r[1].rows["seat/s"] = ("b.1", None)
    assert ("invented", "r: seat/s is b.1 (edited here), which b wrote") in story.found()


def test_a_session_that_was_acknowledged_and_is_gone_is_found(story):
    story.b[1] = saw(130, {}, "push", session=2)
    assert ("lost", "b: session 2 is said to be pushed, and nothing of it is here") in (
        story.found()
    )


def test_what_is_not_at_the_server_in_the_end_is_found(story):
    story.b.append(wrote("b.2", 500))
    assert ("lost", "entry/b.2, which b wrote, is not at the server") in story.found()


def test_a_device_that_does_not_hold_what_the_server_holds_in_the_end_is_found(story):
    del story.at_server["seat/t"]
    text = "at rest seat/t is a.2 of session 3, and at the server absent"
    assert ("unequal", f"r: {text}") in story.found()


def test_a_transaction_that_was_pushed_twice_is_found(story):
    story.at_server |= held(("b.1", 4))
    assert ("twice", "b.1 was seen in sessions 2, 4") in story.found()


def test_a_session_that_holds_what_two_devices_wrote_is_found(story):
    story.at_server |= held(("b.1", 1))
    assert ("mixed", "session 1 is of a, and holds b.1 of b") in story.found()


def test_what_was_written_down_is_read_as_it_was(story, tmp_path):
    recorder = Recorder(tmp_path / "a.history")
    for record in story.a:
        recorder.add(record)
    recorder.close()
    with (tmp_path / "a.history").open("a") as file:
        file.write('{"type":"Saw","rows":{"entry/a')  # who wrote this was killed
    Recorder(tmp_path / "a.history").close()
    assert read(tmp_path / "a.history", "a") == History("a", "a", story.a)
