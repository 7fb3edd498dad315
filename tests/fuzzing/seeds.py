"""From a seed to a script, run as it is made up; and to the shortest that fails, if it does."""

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path

from .differential import REFUSALS, Run, run
from .minimal import shortened
from .schemas import SchemaMaker
from .script import Script, Step
from .statements import StatementMaker

_MEMORY = "/dev/shm"  # noqa: S108


def fuzz(seed: int, steps: int) -> str:
    """Nothing, or what is wrong, and the shortest script that shows something wrong."""
    script, fault = _tried(seed, steps)
    if not fault:
        return ""
    short = shortened(script, lambda candidate: bool(_run(candidate)))
    return f"{_run(short) or fault}\n{short}"


def _tried(seed: int, steps: int) -> tuple[Script, str]:
    """The script of a seed, as far as it went, and what was wrong."""
    chance = random.Random(seed)
    schema = SchemaMaker(chance)
    script = Script(
        driver=chance.choice(["apsw", "apsw", "sqlite3"]),
        schema=schema.schema(),
        pragmas=_pragmas(chance),
        is_defensive=chance.random() < 0.2,
    )
    statements = StatementMaker(chance, schema)
    taken: list[Step] = []
    with _directory() as made:
        try:
            with Run(script, Path(made)) as started:
                for _ in range(steps):
                    taken.append(statements.next(started.twin))
                    started.take(taken[-1])
                started.finish()
        except REFUSALS:
            return script, ""
        except Exception as error:  # noqa: BLE001  # whatever it is, a script that raises is a find
            return replace(script, steps=taken), f"{type(error).__name__}: {error}"
    return script, ""


def _pragmas(chance: random.Random) -> list[str]:
    return [
        f"journal_mode = {chance.choice(['WAL', 'WAL', 'DELETE'])}",
        f"recursive_triggers = {chance.choice(['ON', 'OFF'])}",
        f"foreign_keys = {chance.choice(['ON', 'ON', 'OFF'])}",
        f"trusted_schema = {chance.choice(['ON', 'OFF'])}",
    ]


def _directory() -> tempfile.TemporaryDirectory[str]:
    """In memory where there is such a place: a script waits for the disk again and again."""
    return tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)


def _run(script: Script) -> str:
    with _directory() as made:
        return run(script, Path(made))
