"""Devices and a server that edit, sync, fail and die in any order: nothing is lost, and at rest all
hold the same.

What is made up is told in tests/convergence. A seed is a run of a few examples; what fails prints
its steps. For longer, and from a seed of your own: `make soak SOAK_SECONDS=3600 SOAK_SEED=7`.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from convergence import seeds
from convergence.forks import Forks, forking
from convergence.world import Site, directory, mariadb_database, site, sqlite_database

SEEDS, EXAMPLES, STEPS = 2, 5, 20
FIRST_SEED = int(os.environ.get("SYNCSESSION_SOAK_SEED", "1"))
SOAK_SECONDS = float(os.environ.get("SYNCSESSION_SOAK_SECONDS", "0"))
"""How long it lasts, at least; then seed follows seed."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with forking() as made:
        yield made


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def a_site(request: pytest.FixtureRequest, forks: Forks) -> Iterator[Site]:
    with directory() as place, ExitStack() as stack:
        if request.param == "mariadb":
            opened = mariadb_database(request.getfixturevalue("mariadb"))
        else:
            opened = sqlite_database(place)
        yield stack.enter_context(site(stack.enter_context(opened), forks))


def test_whatever_happens_no_edit_is_lost_and_all_come_to_hold_the_same(a_site: Site):
    over_at = time.monotonic() + SOAK_SECONDS
    for seed in count(FIRST_SEED):
        if seed >= FIRST_SEED + SEEDS and time.monotonic() > over_at:
            break
        print(f"seed {seed}", flush=True)
        seeds.run(a_site, seed, examples=EXAMPLES, steps=STEPS)
