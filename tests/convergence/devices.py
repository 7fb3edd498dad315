"""What is known of a device: its edits, which the server has of them, and what it holds. No I/O."""

from dataclasses import dataclass, field

from .tables import Content, Held, Row, Values
from .uniques import turned


@dataclass(frozen=True)
class Edit:
    before: Content
    after: Content


@dataclass
class DeviceModel:
    """What is known of a device. `base` is, of each row, the newest version that it is known to
    have had, and `had` the look up to which it has had all of them; `again` is None, or what the
    server has and the device may take for dirty still, since what it had sealed is lost; `lost`
    tells of rows that it may not have as the server has them, since its push lost or was merged: at
    which look.

    `held_back` are the rows that the server does not take, by the reason; `kept_back` edits before
    the cut that did not go along; `became` rows that are others at the server, and not yet here;
    `unseen` rows that went without a trigger, which a push finds; `refused` what was held back at
    the last look, and why.
    """

    rows: dict[Row, Values] = field(default_factory=dict)
    transactions: list[dict[Row, Edit]] = field(default_factory=list)
    cut: int = 0
    acknowledged: int = 0
    base: dict[Row, int] = field(default_factory=dict)
    had: dict[Row, int] = field(default_factory=dict)
    lost: dict[Row, int] = field(default_factory=dict)
    again: dict[Row, Content] | None = None
    held_back: dict[Row, str] = field(default_factory=dict)
    kept_back: dict[Row, Edit] = field(default_factory=dict)
    became: dict[Row, Row] = field(default_factory=dict)
    unseen: set[Row] = field(default_factory=set)
    refused: dict[Row, tuple[str, Values]] = field(default_factory=dict)

    def net(self, until: int | None = None) -> dict[Row, Edit]:
        """What its transactions from the cut on have come to."""
        net = dict(self.kept_back)
        for edits in self.transactions[self.cut : until]:
            for row, edit in edits.items():
                net[row] = Edit(net[row].before if row in net else edit.before, edit.after)
        return net

    def edited(self, row: Row, until: int) -> Edit | None:
        """How a row came to what it is, since it last was as the server gave it; None where no
        program has edited it.
        """
        found = self.kept_back.get(row)
        for edits in self.transactions[self.cut : until]:
            if row in edits:
                is_next = found is not None and found.after == edits[row].before
                before = found.before if found and is_next else edits[row].before
                found = Edit(before, edits[row].after)
        return found

    def pending(self) -> dict[Row, Edit]:
        """The edits that the server has not. One that was set back is none."""
        return {row: edit for row, edit in self.net().items() if edit.before != edit.after}

    def follow(self, held: Held) -> None:
        """Where rows have become others here: edits of them, and of what refers to them, are of
        those. An edit of a row cannot go otherwise, unless it is sent.
        """
        for gone, stays in self.became.items():
            for row, edit in self.pending().items():
                named, after = turned(row, edit.after, gone, stays)
                is_gone = row not in held.rows and row not in held.dirty
                if edit.after is None:
                    is_gone = is_gone and named in held.dirty
                if is_gone if named != row else held.rows.get(row) == after != edit.after:
                    self.turn(row, gone, stays)

    def turn(self, row: Row, gone: Row, stays: Row) -> None:
        """Let edits of a row be of what it is since one has become another."""

        def content(values: Content) -> Content:
            return turned(row, values, gone, stays)[1]

        named = turned(row, None, gone, stays)[0]
        values = content(self.rows.pop(row, None))
        if values is not None:
            self.rows[named] = values
        for edits in (*self.transactions, self.kept_back):
            if row in edits:
                edit = edits.pop(row)
                edits[named] = Edit(content(edit.before), content(edit.after))
