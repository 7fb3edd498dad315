"""The processed set behaves as a set of numbers, and is kept in one form."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncsession_client.protocol.session_set import SessionSet

numbers = st.sets(st.integers(1, 40))
ranges = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 6)).map(lambda r: (r[0], r[0] + r[1])), max_size=8
)
checked = settings(deadline=None, max_examples=100, derandomize=True, database=None)


def members(of: SessionSet) -> set[int]:
    """What is in it, as Python's own set."""
    return {number for first, last in of.ranges for number in range(first, last + 1)}


def spread(listed: list[tuple[int, int]]) -> set[int]:
    return {number for first, last in listed for number in range(first, last + 1)}


def is_normal(of: SessionSet) -> bool:
    """Sorted, disjoint, not touching, none empty."""
    return all(first <= last for first, last in of.ranges) and all(
        last + 1 < first for (_, last), (first, _) in pairwise(of.ranges)
    )


@checked
@given(ranges)
def test_any_ranges_are_kept_as_the_numbers_in_them_in_normal_form(listed):
    made = SessionSet(listed)
    assert members(made) == spread(listed)
    assert is_normal(made)


@checked
@given(numbers)
def test_a_set_of_numbers_holds_exactly_these(given_numbers):
    made = SessionSet.of(*given_numbers)
    assert members(made) == given_numbers
    assert is_normal(made)
    assert bool(made) == bool(given_numbers)
    assert {n for n in range(-2, 60) if n in made} == given_numbers


@checked
@given(ranges, ranges)
def test_union_and_difference_are_those_of_sets(left, right):
    a, b = SessionSet(left), SessionSet(right)
    assert members(a | b) == spread(left) | spread(right)
    assert members(a - b) == spread(left) - spread(right)
    assert is_normal(a | b)
    assert is_normal(a - b)
    assert a - a == SessionSet()
    assert (a - b) | b == a | b


@checked
@given(ranges, ranges)
def test_sets_are_equal_where_their_numbers_are(left, right):
    a, b = SessionSet(left), SessionSet(right)
    assert (a == b) == (spread(left) == spread(right))
    assert SessionSet(reversed(left)) == a
    assert hash(SessionSet(reversed(left))) == hash(a)
    assert a != spread(left)


@checked
@given(ranges)
def test_operations_leave_their_operands_as_they_were(listed):
    a = SessionSet(listed)
    before = a.ranges
    _ = a | SessionSet.of(100), a - SessionSet.of(1)
    assert a.ranges == before


@checked
@given(ranges)
def test_a_set_survives_the_wire(listed):
    a = SessionSet(listed)
    wire = a.to_wire()
    assert all(type(pair) is list and len(pair) == 2 for pair in wire)
    assert SessionSet.from_wire(wire) == a


@checked
@given(numbers)
def test_the_watermark_is_the_last_number_before_the_first_hole(given_numbers):
    watermark = SessionSet.of(*given_numbers).watermark
    assert set(range(1, watermark + 1)) <= given_numbers
    assert watermark + 1 not in given_numbers


def test_a_million_numbers_without_a_hole_are_one_range():
    made = SessionSet([(1, 10**6)]) - SessionSet.of(500)
    assert made.ranges == ((1, 499), (501, 10**6))
    assert (made | SessionSet.of(500)).to_wire() == [[1, 10**6]]
    assert (2**63 in made, 10**6 in made) == (False, True)


BAD = [(0, 1), (-1, 5), (2, 1), (0, 0), (5, -5), (1, 0)]


@pytest.mark.parametrize("bad", BAD)
def test_a_range_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="not a range"):
        SessionSet([(1, 3), bad])
    with pytest.raises(ValueError, match="not a range"):
        SessionSet.from_wire([[7, 8], list(bad)])


@pytest.mark.parametrize("bad", [[1], [1, 2, 3], []])
def test_a_range_of_more_or_less_than_two_numbers_is_refused(bad):
    with pytest.raises(ValueError, match="unpack"):
        SessionSet.from_wire([bad])
