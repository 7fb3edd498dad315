"""Fuzz capture for as long as you like: `python -m tests.fuzz_capture --seconds N --seed S`.

What it does is told in tests/fuzzing. A find is printed as a script that is as short as it can be
made; keep it as a test in tests/scenarios/test_finds.py.
"""

import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))  # as pytest does it

from fuzzing.seeds import fuzz


@click.command()
@click.option("--seconds", default=60.0, show_default=True, help="Stop after so long.")
@click.option("--seed", default=0, show_default=True, help="The first seed; the next ones follow.")
@click.option("--steps", default=60, show_default=True, help="Steps of each script.")
@click.option("--finds", default=1, show_default=True, help="Stop after so many.")
def main(seconds: float, seed: int, steps: int, finds: int) -> None:
    """Run random scripts on a database with sync and on one without, and compare."""
    deadline, first, found = time.monotonic() + seconds, seed, 0
    while time.monotonic() < deadline and found < finds:
        find = fuzz(seed, steps)
        if find:
            found += 1
            click.echo(f"seed {seed}: {find}\n")
        seed += 1
    click.echo(f"{seed - first} seeds, from {first}: {found} finds")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
