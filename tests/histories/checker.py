"""What is wrong with the histories of many devices: nothing but their records goes in."""

from collections.abc import Iterator, Sequence

from .order import out_of_order
from .records import History, Row, Version
from .replay import Replay, lost, unequal
from .sessions import Violation, written


def violations(
    histories: Sequence[History], at_server: dict[Row, Version] | None = None
) -> list[Violation]:
    """Everything that must not be: see `replay` and `order`. `at_server`: the live rows that it has
    when all are at rest; without it nothing is said about the end.
    """
    return list(_found(histories, at_server))


def _found(
    histories: Sequence[History], at_server: dict[Row, Version] | None
) -> Iterator[Violation]:
    sessions = written(histories, at_server or {})
    yield from sessions.violations
    replays = [Replay(history, sessions).run() for history in histories]
    for replay in replays:
        yield from replay.violations
    yield from out_of_order(sessions, replays)
    if at_server is not None:
        yield from lost(sessions, at_server)
        synced = [r for r in replays if r.new_by_saw and r.history.name == r.history.device]
        yield from unequal(synced, at_server)
