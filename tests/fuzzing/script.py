"""A script: a schema, and the steps that programs take on it; enough to run the same again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Driver = Literal["apsw", "sqlite3"]

CONNECTIONS = 2
"""Connections that programs have to the file at the same time."""


@dataclass(frozen=True)
class Step:
    """A statement that one of the connections runs; without one, a sync's look at the file."""

    sql: str = ""
    connection: int = 0

    @property
    def is_check(self) -> bool:
        return not self.sql


CHECK = Step()


@dataclass(frozen=True)
class Script:
    """`schema` runs before sync is installed, `pragmas` on each connection when it is opened."""

    driver: Driver
    schema: Sequence[str]
    pragmas: Sequence[str] = ()
    steps: Sequence[Step] = field(default=())
    is_defensive: bool = False

    def __str__(self) -> str:
        """As a program for the sqlite3 shell, but for what the comments say."""
        lines = [f"-- driver: {self.driver}{', defensive' if self.is_defensive else ''}"]
        lines += [f"PRAGMA {pragma}; -- on each connection" for pragma in self.pragmas]
        lines += [f"{sql};" for sql in self.schema]
        lines.append("-- sync is installed")
        for step in self.steps:
            if step.is_check:
                lines.append("-- sync looks at the file")
            else:
                other = f" -- connection {step.connection}" if step.connection else ""
                lines.append(f"{step.sql};{other}")
        return "\n".join(lines)
