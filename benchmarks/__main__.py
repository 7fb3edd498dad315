"""Run the cases several times in turn, each beside its floor; print medians and ratios."""

import json
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import apsw
import click

from . import capture, cases, conflicts, floors, history, lock, rules, upkeep
from .place import Place, alone, place
from .staging import staging

Figures = dict[str, float]

_TIMES = 50  # of what is over in milliseconds
_ORIGINAL = {"push": 1_100.0, "pull": 1_400.0}
"""Rows a second that the original publishes of itself, with MySQL on the same machine."""


def measure_push(here: Place, count: int) -> Figures:
    """Push `count` dirty rows; the floors read the same file."""
    device = here.directory / "device.db"
    cases.make_device(device, here.server, count)
    if here.kind == "sqlite":
        found = {
            name: alone(floors.sqlite_push, device, here.directory / f"{name}.db", count, name)
            for name in ("by_batch", "at_once")
        }
    else:
        found = {"": alone(floors.mariadb_push, device, here.database, count)}
    seconds, peak = alone(cases.push, device, here.token, count)
    return compared("push", seconds, found, count) | memory(here, peak)


def measure_pull(here: Place, count: int) -> Figures:
    """Pull `count` rows into a new device; the floors read the table that the server reads.

    The server has been asked for one such pull before, as one that serves devices has.
    """
    device, clone = here.directory / "device.db", here.directory / "clone.db"
    cases.make_device(device, here.server, count)
    alone(cases.push, device, here.token, count)
    here.restart()
    alone(cases.pull, here.directory / "first.db", here.server, here.token, count)
    if here.kind == "sqlite":
        found = {
            name: alone(floors.sqlite_pull, here.database, here.directory / name, count, name)
            for name in ("by_batch", "at_once")
        }
    else:
        found = {"": alone(floors.mariadb_pull, here.database, here.directory / "floor", count)}
    seconds, peak = alone(cases.pull, clone, here.server, here.token, count)
    return compared("pull", seconds, found, count) | memory(here, peak)


def measure_idle(here: Place, count: int) -> Figures:
    """A sync with nothing to do on `count` rows; the floor is the same on ten rows."""
    seconds = {}
    for rows in (10, count):
        device = here.directory / f"device-{rows}.db"
        cases.make_device(device, here.server, rows)
        alone(cases.push, device, here.token, rows)
        seconds[rows], _ = alone(cases.idle, device, here.token)
    return {
        "seconds": seconds[count],
        "floor_seconds": seconds[10],
        "ratio": seconds[count] / seconds[10],
    }


def measure_visible(here: Place, _: int) -> Figures:
    """One row, from push to another device's pull; beside it a request that does nothing, of which
    there are eight on the way.
    """
    device, other = here.directory / "device.db", here.directory / "other.db"
    cases.make_device(device, here.server, 1000)
    alone(cases.push, device, here.token, 1000)
    cases.pull(other, here.server, here.token, 1000)
    seconds, _ = alone(cases.visible, device, other, here.token, _TIMES)
    floor, _ = alone(cases.round_trip, here.server, _TIMES)
    return {"seconds": seconds, "floor_seconds": floor, "ratio": seconds / floor}


def measure_sessions(here: Place, _: int) -> Figures:
    """A pull that has nothing new, with 10 sessions on the server (the floor) and with 100,000."""
    device = here.directory / "device.db"
    cases.make_device(device, here.server, 10)
    alone(cases.push, device, here.token, 10)
    seconds = {}
    for sessions in (10, 100_000):
        floors.add_sessions(here.database, "bench", sessions)
        seconds[sessions], _ = alone(cases.nothing_new, device, here.token, _TIMES)
    return {
        "seconds": seconds[100_000],
        "floor_seconds": seconds[10],
        "ratio": seconds[100_000] / seconds[10],
    }


def measure_staging(here: Place, _: int) -> Figures:
    """Milliseconds of each way into MariaDB, by the number of rows."""
    if here.kind == "sqlite":
        return {}
    found = staging(here.database, 5)
    return {f"{size} rows: {way}": seconds * 1e3 for (size, way), seconds in found.items()}


def memory(here: Place, device_peak: float) -> Figures:
    return {"device_peak_mb": device_peak, "server_peak_mb": here.server_peak_mb()}


def compared(
    case: str, seconds: float, found: dict[str, tuple[float, float]], count: int
) -> Figures:
    """The figures of a case beside its floors.

    Of SQLite there are two, a commit for each batch, and one for all: a push must survive a kill
    between two batches, and also be all or nothing.
    """
    figures = {"seconds": seconds}
    for name, (floor, _) in found.items():
        end = f"_{name}" if name else ""
        figures |= {f"floor_seconds{end}": floor, f"ratio{end}": seconds / floor}
    return figures | {
        "rows_per_second": count / seconds,
        "original_rows_per_second": _ORIGINAL[case],
    }


CASES: dict[str, Callable[[Place, int], Figures]] = {
    "push": measure_push,
    "pull": measure_pull,
    "idle": measure_idle,
    "visible": measure_visible,
    "sessions": measure_sessions,
    "staging": measure_staging,
    "lock": lock.measure,
    "conflicts": conflicts.measure,
    "history": history.measure,
    "rules": rules.measure,
}

LOCAL: dict[str, Callable[[Path, int], Figures]] = {
    "capture": capture.measure,
    **upkeep.CASES,
}
"""Cases of one device's file, in a directory, without a server."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(CASES | LOCAL)))
@click.option("--rows", "count", default=100_000, show_default=True, help="Rows in a case.")
@click.option("--runs", default=5, show_default=True, help="Runs of each case.")
@click.option(
    "--store",
    "kinds",
    multiple=True,
    type=click.Choice(["sqlite", "mariadb"]),
    default=("sqlite", "mariadb"),
    show_default=True,
    help="Where the server keeps the rows; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line per case.")
def main(
    names: tuple[str, ...], count: int, runs: int, kinds: tuple[str, ...], as_json: bool
) -> None:
    """Measure what a sync takes, and what it costs the programs that write to the file."""
    chosen = names or (*LOCAL, *CASES)
    for name in (n for n in chosen if n in LOCAL):
        measured = []
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as made:
                measured.append(LOCAL[name](Path(made), count))
        report(name, count, measured, as_json=as_json)
    for kind in kinds:
        for name in (n for n in chosen if n in CASES):
            measured = []
            for _ in range(runs):
                with place(kind) as here:
                    measured.append(CASES[name](here, count))
            report(f"{name} ({kind})", count, measured, as_json=as_json)


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
        click.echo(f"  {key:32} " + " ".join(f"{value:12.3f}" for value in values))


if __name__ == "__main__":
    main()
