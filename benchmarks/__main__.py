"""Run the cases several times in turn, each beside its floor; print medians and ratios."""

import json
import platform
import shutil
from collections.abc import Callable
from statistics import median

import apsw
import click

from . import cases
from .place import Place, alone, place

Figures = dict[str, float]


def measure_push(here: Place, count: int) -> Figures:
    """Push `count` dirty rows; the floor reads the same file."""
    device = here.directory / "device.db"
    cases.make_device(device, here.server, count)
    floor, _ = alone(cases.push_floor, device, here.directory / "floor.db", count)
    seconds, peak = alone(cases.push, device, here.token, count)
    return {
        "seconds": seconds,
        "floor": floor,
        "ratio": seconds / floor,
        "rows_per_second": count / seconds,
        "client_peak_mb": peak,
        "server_peak_mb": here.server_peak_mb(),
    }


def measure_pull(here: Place, count: int) -> Figures:
    """Pull `count` rows into an empty device; the floor reads the device that pushed them."""
    device = here.directory / "device.db"
    cases.make_device(device, here.server, count)
    alone(cases.push, device, here.token, count)
    floor, _ = alone(cases.pull_floor, device, here.directory / "floor.db", count)
    clone = here.directory / "clone.db"
    seconds, peak = alone(cases.pull, clone, here.server, here.token, count)
    return {
        "seconds": seconds,
        "floor": floor,
        "ratio": seconds / floor,
        "rows_per_second": count / seconds,
        "client_peak_mb": peak,
        "server_peak_mb": here.server_peak_mb(),
    }


def measure_idle(here: Place, count: int) -> Figures:
    """A sync with nothing to do, on `count` rows; the floor is the same on ten rows."""
    small, large = here.directory / "small.db", here.directory / "large.db"
    cases.make_device(large, here.server, count)
    alone(cases.push, large, here.token, count)
    shutil.copy(large, small)
    seconds, peak = alone(cases.idle, large, here.token)
    return {"seconds": seconds, "client_peak_mb": peak}


CASES: dict[str, Callable[[Place, int], Figures]] = {
    "push": measure_push,
    "pull": measure_pull,
    "idle": measure_idle,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(CASES)))
@click.option("--rows", "count", default=100_000, show_default=True, help="Rows in a case.")
@click.option("--runs", default=5, show_default=True, help="Runs of each case.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per case.")
def main(names: tuple[str, ...], count: int, runs: int, as_json: bool) -> None:
    """Measure push, pull and an idle sync against the embedded server."""
    for name in names or tuple(CASES):
        measured = []
        for _ in range(runs):
            with place() as here:
                measured.append(CASES[name](here, count))
        report(name, count, measured, as_json=as_json)


def report(name: str, count: int, measured: list[Figures], *, as_json: bool) -> None:
    """Print the minimum, median and maximum of every figure."""
    spread = {
        key: [min(values), median(values), max(values)]
        for key in measured[0]
        for values in [[run[key] for run in measured]]
    }
    if as_json:
        versions = {"python": platform.python_version(), "sqlite": apsw.sqlite_lib_version()}
        click.echo(
            json.dumps({"case": name, "rows": count, "runs": len(measured)} | versions | spread)
        )
        return
    click.echo(f"{name}: {count} rows, {len(measured)} runs (minimum, median, maximum)")
    for key, values in spread.items():
        click.echo(f"  {key:16} " + " ".join(f"{value:12.3f}" for value in values))


if __name__ == "__main__":
    main()
