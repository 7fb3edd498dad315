"""Random SQL, with sync and without: a few seeds of what tests/fuzz_capture.py does for hours."""

import pytest
from fuzzing.seeds import fuzz

SEEDS, TOGETHER, STEPS = 400, 20, 60


@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
def test_capture_is_exact_and_invisible(first):
    for seed in range(first, first + TOGETHER):
        assert not fuzz(seed, STEPS), f"seed {seed}"
