"""Where a case runs: a directory of its own, a real server process, device work in processes.

A device's work runs in a fresh process, so that its time holds no imports and no other's memory.
"""

import multiprocessing
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START_SECONDS = 20.0


@dataclass(frozen=True)
class Place:
    """A directory, the server that runs in it, and a token for that."""

    directory: Path
    server: str
    token: str
    server_pid: int

    def server_peak_mb(self) -> float:
        """The most memory that the server has used so far, in MB."""
        status = Path(f"/proc/{self.server_pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0


@contextmanager
def place() -> Iterator[Place]:
    """A fresh directory with a fresh server."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        database = f"sqlite:///{directory / 'server.db'}"
        command = [sys.executable, "-m", "syncsession_server", "--database", database]
        token = subprocess.run(
            [*command[:3], "token", "create", "--tenant", "bench", "--user", "bench", *command[3:]],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        log = directory / "server.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [*command[:3], "run", "--port", "0", *command[3:]], stderr=stderr
            )
        try:
            yield Place(directory, _ready(log), token, process.pid)
        finally:
            process.terminate()
            process.wait(_START_SECONDS)


def _ready(log: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        found = re.search(r"ready on (http://\S+)", log.read_text())
        if found:
            return found[1]
        time.sleep(0.02)
    raise TimeoutError(f"the server did not start: {log.read_text()}")


def alone(function: Callable[..., float], *args: Any) -> tuple[float, float]:
    """(the seconds that `function` returns, peak MB) of a run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (function, args))


def _measured(function: Callable[..., float], args: tuple[Any, ...]) -> tuple[float, float]:
    seconds = function(*args)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
