"""What a check finds: a level, a code that stays, the reason and the way out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..protocol.tables import KeyKind

Level = Literal["note", "amber", "red"]
Verdict = Literal["green", "amber", "red"]


@dataclass(frozen=True)
class Finding:
    """One thing to know. `flags` are those of `init` that settle it, ready to be given."""

    level: Level
    code: str
    reason: str
    way_out: str = ""
    columns: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it: docs/reference/json.md."""
        return {
            "level": self.level,
            "code": self.code,
            "reason": self.reason,
            "way_out": self.way_out,
            "columns": list(self.columns),
            "flags": list(self.flags),
        }


@dataclass(frozen=True)
class CheckedTable:
    """One table. `key` and `rows` are None where it cannot be used or has no key."""

    name: str
    is_synced: bool
    key: KeyKind | None
    rows: int | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        return worst(self.findings)

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "is_synced": self.is_synced,
            "key": self.key,
            "rows": self.rows,
            "findings": [f.as_json() for f in self.findings],
        }


@dataclass(frozen=True)
class Checkup:
    """A database. `findings` are about all of it; `init` is the command to set it up as things
    stand, and None where there is nothing to set up.
    """

    database: str
    is_initialized: bool
    tables: tuple[CheckedTable, ...]
    left_out: tuple[str, ...]
    findings: tuple[Finding, ...]
    init: tuple[str, ...] | None

    @property
    def verdict(self) -> Verdict:
        return worst([*self.findings, *(f for t in self.tables for f in t.findings)])

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "database": self.database,
            "verdict": self.verdict,
            "is_initialized": self.is_initialized,
            "tables": [t.as_json() for t in self.tables],
            "left_out": list(self.left_out),
            "findings": [f.as_json() for f in self.findings],
            "init": None if self.init is None else list(self.init),
        }


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict that the findings make: notes change nothing."""
    levels = {f.level for f in findings}
    return "red" if "red" in levels else "amber" if "amber" in levels else "green"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names)


def counted(rows: int) -> str:
    """How many rows have something, as a sentence begins."""
    return "1 row has" if rows == 1 else f"{rows} rows have"
