"""Whether one order of all sessions explains what everyone saw.

A graph has the sessions, the pulls and some moments as nodes; an edge goes to what must have come
later:

- to a session from those that it was seen to overwrite;
- to a session from the earlier ones of its device;
- to a pull from every session that it brought, and from it to every session that the device still
  lacked, and to the device's next pull: a pull is one snapshot of the server;
- in real time: to what began after something else was known to be over.

If these go round in a circle there is no such order: two devices saw the versions of rows, or the
sessions, in different orders, one was shown what had been overwritten before, or two sessions were
mixed.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from .replay import Replay
from .sessions import NEVER, Session, Violation, Written

Node = Hashable
Edge = tuple[Node, Node, str]

_INVOKED, _BEGUN, _OVER = range(3)  # at the same moment nothing that begins comes after an end


def out_of_order(written: Written, replays: Sequence[Replay]) -> Iterator[Violation]:
    """Circles in what must have come before what; one at most."""
    reasons: dict[tuple[Node, Node], str] = {}
    before: dict[Node, list[Node]] = defaultdict(list)
    for earlier, later, reason in _edges(written, replays):
        if (earlier, later) not in reasons:
            reasons[earlier, later] = reason
            before[later].append(earlier)
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        circle = error.args[1]
        steps = [reasons[pair] for pair in pairwise(circle)]
        yield Violation("order", "; ".join(step for step in steps if step))


def _edges(written: Written, replays: Sequence[Replay]) -> Iterator[Edge]:
    for replay in replays:
        for (earlier, later), row in replay.overwritten.items():
            yield earlier, later, f"{replay.history.name} saw {later} overwrite {row} of {earlier}"
        yield from _snapshots(replay)
    yield from _sequences(written)
    yield from _real_time(written, replays)


def _snapshots(replay: Replay) -> Iterator[Edge]:
    """What a pull brought came before it, and what it did not bring comes after it."""
    name, last = replay.history.name, None
    since: set[int] = set()
    for n, (saw, new) in enumerate(replay.new_by_saw):
        if last is not None:
            for number in new:
                yield last, number, f"{last} had not brought {number}"
        since |= new
        if saw.synced is not None and saw.synced.has_pulled:
            pull = f"pull {n} of {name}"
            for number in since:
                yield number, pull, f"{pull} had brought {number}"
            if last is not None:
                yield last, pull, f"{last} came before {pull}"
            last, since = pull, set()


def _sequences(written: Written) -> Iterator[Edge]:
    last: dict[str, Session] = {}
    for session in written.sessions.values():  # in the order of each device's transactions
        if before := last.get(session.device):
            yield before.number, session.number, f"{session.device} pushed {before.number} before"
        last[session.device] = session


def _real_time(written: Written, replays: Sequence[Replay]) -> Iterator[Edge]:
    """A chain of a moment for each end, instead of an edge to all that began after it."""
    events: list[tuple[int, int, Node]] = []
    for session in written.sessions.values():
        events.append((session.begun, _BEGUN, session.number))
        if session.known != NEVER:
            events.append((session.known, _OVER, session.number))
    for replay in replays:
        for n, (saw, _) in enumerate(replay.new_by_saw):
            if saw.synced is not None and saw.synced.has_pulled:
                pull = f"pull {n} of {replay.history.name}"
                events.append((saw.synced.invoked, _INVOKED, pull))
                events.append((saw.synced.returned, _OVER, pull))
    moment: Node = None
    for at, kind, node in sorted(events, key=lambda event: event[:2]):
        if kind == _OVER:
            if moment is not None:
                yield moment, ("moment", at, node), ""
            moment = ("moment", at, node)
            yield node, moment, f"{node} was over"
        elif moment is not None:
            yield moment, node, f"and then {node} began"
