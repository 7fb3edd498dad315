"""`syncsession-client watch` as a process of its own, as in earnest."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from processes import WITH_PARENT, until
from support import SECONDS, Device

HOME = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"}


class WatchProcess:
    """One watch of a device's file; what it tells is read as it comes."""

    def __init__(self, device: Device, *flags: str, token: str | None, is_json: bool) -> None:
        self._device = device
        count = len(list(device.path.parent.glob(f"{device.path.name}.watch*.out")))
        self.out = device.path.with_name(f"{device.path.name}.watch{count}.out")
        self.err = self.out.with_suffix(".err")
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [
                    *(*WITH_PARENT, sys.executable, "-m", "syncsession_client", "watch"),
                    *(str(device.path), *(["--json"] if is_json else []), *flags),
                ],
                env=HOME | {"SYNCSESSION_TOKEN": token or device.token},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def events(self) -> list[dict[str, Any]]:
        """What it has told so far."""
        lines = self.out.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def told(self, event: str) -> list[dict[str, Any]]:
        return [e for e in self.events() if e["event"] == event]

    def until(self, event: str, *, times: int = 1) -> dict[str, Any]:
        """Wait until it has told of an event so many times; the last one."""
        until(lambda: len(self.told(event)) >= times or self._ended())
        assert len(self.told(event)) >= times, self.all()
        return self.told(event)[times - 1]

    def all(self) -> str:
        """All that it has printed."""
        return self.out.read_text() + self.err.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)

    def _ended(self) -> bool:
        return self.process.poll() is not None


@contextmanager
def watching(
    device: Device, *flags: str, token: str | None = None, is_json: bool = True
) -> Iterator[WatchProcess]:
    """A watch; it is killed at the end, where it has not ended by then."""
    watch = WatchProcess(device, *flags, token=token, is_json=is_json)
    try:
        yield watch
    finally:
        watch.kill()
