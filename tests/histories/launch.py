"""Runs every device of a plan in a process of its own: `python -m histories.launch PLAN`.

They are forked, since it would take each of them a second to start. SIGTERM is passed on to them.
At SIGUSR1 one of those that do not edit is killed, and another goes on with its file.
"""

import os
import random
import signal
import sys
import traceback
from pathlib import Path

import msgspec

from .device import Device, Plan, Process


class Launcher:
    """The processes of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._children: dict[int, Device] = {}
        self._killed: set[int] = set()
        self._is_stopping = False

    def run(self) -> bool:
        """Wait for all of them; whether all went well."""
        for device in self._plan.devices:
            self._start(device)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGUSR1, self._kill_one)
        is_well = True
        while self._children:
            pid, status = os.wait()
            device = self._children.pop(pid)
            if pid not in self._killed:
                is_well = is_well and status == 0
            elif not self._is_stopping:
                self._start(device)
            if self._is_stopping and device.is_beside and not self._beside():
                self._stop()
        return is_well

    def _start(self, device: Device) -> None:
        pid = os.fork()
        if pid:
            self._children[pid] = device
            return
        code = 1
        try:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            process = Process(self._plan, device)
            process.live()
            process.close()
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _stop(self, *_: object) -> None:
        """Stop those who edit first, so that the others can push all that was edited."""
        self._is_stopping = True
        for pid in self._beside() or self._children:
            os.kill(pid, signal.SIGTERM)

    def _kill_one(self, *_: object) -> None:
        roles = ("reader", "syncer")
        able = [pid for pid, device in self._children.items() if device.role in roles]
        self._killed.add(pid := random.choice(able))
        os.kill(pid, signal.SIGKILL)

    def _beside(self) -> list[int]:
        return [pid for pid, device in self._children.items() if device.is_beside]


if __name__ == "__main__":
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    sys.exit(0 if Launcher(plan).run() else 1)
