"""Named points in the code at which a test has the process killed; otherwise they do nothing.

The environment variable SYNCSESSION_KILL_AT names the point, `seal.done`, and which passing of it,
`push.batch_sent:3`. It is not a setting: only the tests know it. Code that writes to a disk or a
network has a point where a kill could hurt; tests/scenarios/test_kills.py, or test_server_kills.py,
kills there.
"""

import os
import signal
import threading


class _Doom:
    """The point at which the process ends, and how often it is still passed before."""

    def __init__(self, text: str) -> None:
        self._name, _, times = text.partition(":")
        self._left = int(times or 1)
        self._lock = threading.Lock()

    def pass_by(self, name: str) -> None:
        if name != self._name:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


_named = os.environ.get("SYNCSESSION_KILL_AT")
_doom = _Doom(_named) if _named else None


def point(name: str) -> None:
    """Pass the point of this name. It is named once in all the code."""
    if _doom is not None:
        _doom.pass_by(name)
