"""From a seed to a run of the machine: some examples."""

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Convergence
from .world import Site


def run(site: Site, number: int, *, examples: int, steps: int) -> None:
    """Let the machine of this seed run at a site; the same seed takes the same steps.

    What fails is not made shorter: that takes many runs, and the machine has printed its steps.
    """
    factory = seed(number)(type("TheMachine", (Convergence,), {"site": site}))
    run_state_machine_as_test(
        factory,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
