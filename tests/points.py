"""The named points in the code at which tests kill a process."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
POINT = re.compile(r'\bpoint\(\s*"([a-z_.]+)"\s*\)')


def points(side: str) -> list[str]:
    """The points in the code of the client, or of the server; the server's begin with `server.`."""
    files = sorted((ROOT / f"syncsession_{side}").rglob("*.py"))
    return sorted(name for path in files for name in POINT.findall(path.read_text()))
