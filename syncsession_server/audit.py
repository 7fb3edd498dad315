"""History as people read it."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .versions import Version


def lines(life: list[Version]) -> Iterator[str]:
    """The life of a row: each version, and what it changed."""
    yield f"row {_key(life[0].row_key)}"
    for version, before, changed in _changes(life):
        yield _heading(version)
        if version.operation != "delete":
            yield from (f"    {c}: {_change(before, c, v)}" for c, v in changed.items())


def as_json(lives: list[list[Version]]) -> str:
    """The lives of rows as one JSON object."""
    versions = [
        version._asdict() | {"row_key": _key(version.row_key), "changed": sorted(changed)}
        for life in lives
        for version, _, changed in _changes(life)
    ]
    return json.dumps({"versions": versions})


def print_images(versions: Iterable[Version], echo: Callable[[str], None]) -> None:
    """The rows, a line each."""
    for version in versions:
        echo(version.image)


def _changes(life: list[Version]) -> Iterator[tuple[Version, dict[str, Any], dict[str, Any]]]:
    """(version, the row before, what is another now) of each."""
    before: dict[str, Any] = {}
    for version in life:
        image = json.loads(version.image)
        changed = {c: v for c, v in image.items() if c not in before or before[c] != v}
        yield version, before, changed
        before = image


def _heading(version: Version) -> str:
    pushed = f", pushed by {version.user_id}" if version.user_id else ""
    device = f" on {version.device_id}" if version.device_id else ""
    return (
        f"{version.version}  {version.operation}  {version.committed_at_utc}  session "
        f"{version.session}, by {version.modified_by_user_id} at {version.modified_at_utc}"
        f"{pushed}{device}"
    )


def _change(before: dict[str, Any], column: str, value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return f"{json.dumps(before[column], ensure_ascii=False)} -> {shown}" if before else shown


def _key(row_key: bytes) -> str:
    """As text where it is some that can be shown, else in hexadecimal."""
    text = bytes(row_key).decode(errors="replace")
    return text if text.isprintable() and "\ufffd" not in text else bytes(row_key).hex()
