"""A deadline for a whole request: its connection is cut when the time is up."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

_OPENED = ("connect_tcp.complete", "start_tls.complete")


class Deadlines:
    """Knows the sockets of an HTTP client, by its trace of what it does.

    The client itself has deadlines for single reads and writes only, so that an answer which comes
    byte by byte would be waited for without end. Which socket a request has is not known outside of
    the client: all of them are cut, and a sync that has waited for so long is over anyway.
    """

    def __init__(self) -> None:
        self._streams: WeakSet[Any] = WeakSet()
        self._lock = threading.Lock()

    def trace(self, event: str, about: dict[str, Any]) -> None:
        """Notice a new socket: https://www.python-httpx.org/advanced/extensions/#trace."""
        if event.endswith(_OPENED):
            with self._lock:
                self._streams.add(about["return_value"])

    @contextmanager
    def within(self, seconds: float) -> Iterator[threading.Event]:
        """Cut the connections after so long; the event tells whether that was done."""
        is_over = threading.Event()
        timer = threading.Timer(seconds, self._cut, [is_over])
        timer.daemon = True
        timer.start()
        try:
            yield is_over
        finally:
            timer.cancel()

    def _cut(self, is_over: threading.Event) -> None:
        is_over.set()
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            with suppress(OSError):  # it is closed already
                # not SSLSocket's own, which takes the session from under whoever is reading
                socket.socket.shutdown(stream.get_extra_info("socket"), socket.SHUT_RDWR)
