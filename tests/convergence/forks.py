"""Commands in processes of their own, which begin at once: one that has imported everything is
forked for each.

A Python that starts takes half a second, and a fork a hundredth. So a step of the machine can
afford a device or a server that is really killed. The process that forks has one thread, and holds
nothing: forking the tests' own, with the network's threads in it, would not be safe.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, reload
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
PROGRAMS = ("syncsession_client.cli", "syncsession_server.cli", "syncsession_server.stores.mysql")


@dataclass
class Fork:
    """A command that runs, or has run."""

    forks: "Forks"
    pid: int
    log: Path
    code: int | None = None

    def kill(self) -> None:
        """End it at once, whatever it is doing."""
        self.stop(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal it, and wait for its end."""
        if self.code is None and not self.has_ended():
            os.kill(self.pid, number)
            self.wait()

    def wait(self) -> int:
        """Its exit code, when it has ended; less than 0 where a signal ended it."""
        if self.code is None:
            self.code = self.forks.ask(wait=self.pid, flags=0)
        return int(self.code or 0)

    def has_ended(self) -> bool:
        if self.code is None:
            self.code = self.forks.ask(wait=self.pid, flags=os.WNOHANG)
        return self.code is not None

    def text(self) -> str:
        """What it has written."""
        return self.log.read_text(errors="replace")


class Forks:
    """Starts commands; whoever opens it closes it, and ends with it what still runs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "convergence.forks"],
            cwd=TESTS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, program: str, *args: str, log: Path, **environment: str) -> Fork:
        """Run a command of `syncsession_client` or `syncsession_server`."""
        order = {"program": program, "args": args, "log": str(log), "environment": environment}
        return Fork(self, self.ask(**order), log)

    def ask(self, **order: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@contextmanager
def forking() -> Iterator[Forks]:
    made = Forks()
    try:
        yield made
    finally:
        made.close()


# In the process that forks


def main() -> None:
    for name in PROGRAMS:
        import_module(name)
    running: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = _wait(order["wait"], order["flags"])
            running -= {order["wait"]} if answer is not None else set()
        else:
            answer = _fork(order)
            running.add(answer)
        print(json.dumps(answer), flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)


def _wait(pid: int, flags: int) -> int | None:
    ended, status = os.waitpid(pid, flags)
    return os.waitstatus_to_exitcode(status) if ended else None


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _run(order)
    except BaseException:  # noqa: BLE001  # nothing of this process may go on
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run(order: dict[str, Any]) -> int:
    """The command's exit code; its environment is the one that the order names, and no other."""
    os.environ.clear()
    os.environ.update(order["environment"])
    reload(
        import_module("syncsession_client.protocol.kill_points")
    )  # it looks at the environment when it is imported
    with Path(order["log"]).open("ab", buffering=0) as log, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    try:
        import_module(f"{order['program']}.cli").main(order["args"], prog_name=order["program"])
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    main()
