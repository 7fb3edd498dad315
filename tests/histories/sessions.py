"""What the sessions were, as the histories tell: which transactions each holds, and when."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from .records import History, Row, Version, Wrote, all_saw, all_wrote, is_kept

NEVER = 1 << 62


@dataclass(frozen=True)
class Violation:
    """Something that must not be: its kind, and a sentence about it."""

    kind: str
    text: str


@dataclass
class Session:
    """A session that somebody has seen: the transactions of it, and what they came to.

    It was committed after `begun`, when the last of its transactions began, and before `known`,
    when somebody first saw it.
    """

    number: int
    device: str
    begun: int = 0
    known: int = NEVER
    txns: list[str] = field(default_factory=list)
    rows: dict[Row, str | None] = field(default_factory=dict)

    @property
    def kept(self) -> list[Row]:
        return [row for row in self.rows if is_kept(row)]

    def add(self, wrote: Wrote) -> None:
        self.begun = max(self.begun, wrote.begun)
        self.txns.append(wrote.txn)
        self.rows.update(wrote.rows)


@dataclass
class Written:
    """Everything that was written, and the sessions in which it went to the server."""

    txns: dict[str, tuple[str, Wrote]]
    sessions: dict[int, Session] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    def gave(self, txn: str, row: Row) -> bool:
        """Whether this transaction gave the row its name."""
        return txn in self.txns and self.txns[txn][1].rows.get(row) == txn


def written(histories: Sequence[History], at_server: dict[Row, Version]) -> Written:
    """Which transactions were pushed in which session: an entry bears its number wherever it is."""
    found = Written({w.txn: (device, w) for device, w in all_wrote(histories)})
    numbers, known = _numbers(histories, at_server)
    for txn, (device, wrote) in found.txns.items():
        for number in sorted(numbers[txn]):
            session = found.sessions.setdefault(number, Session(number, device))
            if session.device != device:
                text = f"session {number} is of {session.device}, and holds {txn} of {device}"
                found.violations.append(Violation("mixed", text))
            session.known = known.get(number, NEVER)
            session.add(wrote)
        if len(numbers[txn]) > 1:
            text = f"{txn} was seen in sessions {', '.join(map(str, sorted(numbers[txn])))}"
            found.violations.append(Violation("twice", text))
    return found


def _numbers(
    histories: Sequence[History], at_server: dict[Row, Version]
) -> tuple[dict[str, set[int]], dict[int, int]]:
    """The sessions of each transaction, and when each session was first seen."""
    numbers: dict[str, set[int]] = defaultdict(set)
    known: dict[int, int] = {}
    seen = [(saw.at, saw.rows) for _, saw in all_saw(histories)]
    for at, rows in (*seen, (NEVER, at_server)):
        for row, (txn, number) in rows.items():
            if number is not None:
                known[number] = min(at, known.get(number, NEVER))
                if row.startswith("entry/") and txn is not None:
                    numbers[txn].add(number)
    return numbers, known
