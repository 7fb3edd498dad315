"""What is true of the life of every row: the versions that history has of it."""

from collections.abc import Sequence


def check_life(life: Sequence[tuple[int, str]]) -> None:
    """The (number, operation) of each version, oldest first, of a row whose making history saw."""
    assert [number for number, _ in life] == list(range(1, len(life) + 1)), life
    operations = [operation for _, operation in life]
    for before, operation in zip(["delete", *operations], operations, strict=False):
        assert operation in ("delete", "insert" if before == "delete" else "update"), life
