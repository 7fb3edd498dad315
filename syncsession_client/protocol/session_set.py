"""The processed set: which sessions a device has applied, as a watermark and ranges."""

from collections.abc import Iterable, Iterator

Range = tuple[int, int]


class SessionSet:
    """An immutable set of session numbers (from 1), kept as sorted, disjoint, inclusive ranges.

    Numbers are dense per tenant and sessions commit in any order, so a device's set is one range
    from 1 (its end is the watermark) and a few short ones above the holes. Its size depends on the
    holes, not on how many sessions there were. Why this loses no row: docs/explanation/sessions.md.
    """

    __slots__ = ("ranges",)

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self.ranges: tuple[Range, ...] = tuple(_merged(ranges))

    @staticmethod
    def of(*numbers: int) -> "SessionSet":
        """The set of exactly these numbers."""
        return SessionSet((number, number) for number in numbers)

    @staticmethod
    def up_to(last: int) -> "SessionSet":
        """The set of the numbers from 1 to `last`; empty when that is 0."""
        return SessionSet([(1, last)] if last else ())

    @property
    def watermark(self) -> int:
        """The largest number up to which nothing is missing; 0 when 1 is missing."""
        return self.ranges[0][1] if self.ranges and self.ranges[0][0] == 1 else 0

    @property
    def last(self) -> int:
        """The largest number; 0 where there is none."""
        return self.ranges[-1][1] if self.ranges else 0

    def __contains__(self, number: int) -> bool:
        return any(first <= number <= last for first, last in self.ranges)

    def __or__(self, other: "SessionSet") -> "SessionSet":
        return SessionSet((*self.ranges, *other.ranges))

    def __sub__(self, other: "SessionSet") -> "SessionSet":
        return SessionSet(_without(self.ranges, other.ranges))

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionSet) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"SessionSet({list(self.ranges)})"

    def to_wire(self) -> list[list[int]]:
        """`[[first, last], …]`, in order."""
        return [list(pair) for pair in self.ranges]

    @staticmethod
    def from_wire(ranges: Iterable[Iterable[int]]) -> "SessionSet":
        """The inverse of `to_wire`.

        Raises:
            ValueError: a range is empty, reversed or begins below 1.
        """
        return SessionSet((first, last) for first, last in ranges)


def _merged(ranges: Iterable[Range]) -> Iterator[Range]:
    current: Range | None = None
    for first, last in sorted(ranges):
        if first < 1 or last < first:
            raise ValueError(f"not a range of session numbers: {first}..{last}")
        if current is None:
            current = (first, last)
        elif first <= current[1] + 1:
            current = (current[0], max(current[1], last))
        else:
            yield current
            current = (first, last)
    if current is not None:
        yield current


def _without(ranges: tuple[Range, ...], taken: tuple[Range, ...]) -> Iterator[Range]:
    for first, last in ranges:
        start = first
        for taken_first, taken_last in taken:
            if taken_last < start or taken_first > last:
                continue
            if taken_first > start:
                yield (start, taken_first - 1)
            start = max(start, taken_last + 1)
        if start <= last:
            yield (start, last)
