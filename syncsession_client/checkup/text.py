"""A check in lines for people."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence

import click

from .findings import CheckedTable, Checkup, Finding, Verdict

_COLOURS = {"green": "green", "amber": "yellow", "red": "red"}
_ORDER: tuple[Verdict, ...] = ("green", "amber", "red")
_INDENT = " " * 7
_WIDEST_NAME = 30


def lines(checkup: Checkup, *, width: int = 0) -> Iterator[str]:
    """The check; the worst tables last, next to the summary. Wrapped at `width`, unless it is 0."""
    names = min(max((len(t.name) for t in checkup.tables), default=0), _WIDEST_NAME)
    for verdict in _ORDER:
        for table in (t for t in checkup.tables if t.verdict == verdict):
            word = _coloured(verdict, padding=len("green"))
            yield f"{word}  {table.name:<{names}}  {_about(table)}".rstrip()
            yield from _findings(table.findings, width)
    if checkup.findings:
        yield ""
        yield from _findings(checkup.findings, width)
    yield ""
    yield _summary(checkup)
    if checkup.left_out:
        yield f"Left out by the options: {', '.join(checkup.left_out)}"
    if checkup.init:
        yield f"To set it up as it stands: {shlex.join(checkup.init)}"


def _about(table: CheckedTable) -> str:
    parts = []
    if table.rows is not None:
        parts.append(f"{table.rows} row{'s' * (table.rows != 1)}")
    if table.key:
        parts.append(f"{table.key} key")
    if table.is_synced:
        parts.append("synced")
    return ", ".join(parts)


def _findings(findings: Sequence[Finding], width: int) -> Iterator[str]:
    for finding in sorted(findings, key=_severity):
        yield from _wrapped(f"{finding.level}: " if finding.level == "note" else "", finding, width)


def _severity(finding: Finding) -> int:
    return ("red", "amber", "note").index(finding.level)


def _wrapped(mark: str, finding: Finding, width: int) -> Iterator[str]:
    yield from _paragraph(f"{_INDENT}{mark}", f"{finding.reason} [{finding.code}]", width)
    if finding.way_out:
        yield from _paragraph(f"{_INDENT}-> ", finding.way_out, width)


def _paragraph(first: str, text: str, width: int) -> list[str]:
    if not width:
        return [f"{first}{text}"]
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary(checkup: Checkup) -> str:
    counts = {v: sum(t.verdict == v for t in checkup.tables) for v in _ORDER}
    number = len(checkup.tables)
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    tables = f"{number} table{'s' * (number != 1)}"
    return (
        f"{checkup.database} is {_coloured(checkup.verdict)}: {tables}{': ' * bool(parts)}{parts}"
    )


def _coloured(word: str, padding: int = 0) -> str:
    return click.style(f"{word:<{padding}}", fg=_COLOURS[word], bold=word == "red" or None)
