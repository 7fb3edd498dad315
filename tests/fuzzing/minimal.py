"""Makes a failing script short: what it fails without is left out."""

from collections.abc import Callable
from dataclasses import replace

from .script import Script


def shortened(script: Script, fails: Callable[[Script], bool]) -> Script:
    """A script that `fails` too, of which no single step or statement can be left out.

    `script` itself must fail. Delta debugging, over steps first and then the schema:
    https://www.st.cs.uni-saarland.de/papers/tse2002/
    """
    while True:
        before = script
        for part in ("steps", "schema", "pragmas"):
            script = _least(script, part, fails)
        if script == before:
            return script


def _least(script: Script, part: str, fails: Callable[[Script], bool]) -> Script:
    """Leave out half of that part, then quarters, and so on down to single items."""
    size = max(len(getattr(script, part)) // 2, 1)
    while True:
        at = 0
        while at < len(items := getattr(script, part)):
            shorter = replace(script, **{part: [*items[:at], *items[at + size :]]})
            if fails(shorter):
                script = shorter
            else:
                at += size
        if size == 1:
            return script
        size //= 2
