"""A network between a server and its database that loses what a test wants it to lose."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

_PART = 1 << 16


@dataclass
class Loss:
    """The connection that sends what holds `after`, one after the other, is cut in the answer to
    the last: `keep` bytes of it still come through.
    """

    after: tuple[bytes, ...]
    keep: int = 0
    happened: threading.Event = field(default_factory=threading.Event)


class FlakySocket:
    """Passes on what is sent to it, to the socket of a database, and back."""

    def __init__(self, target: Path, path: Path) -> None:
        self.path, self._target = path, target
        self._loss: Loss | None = None
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def url(self, database: str) -> str:
        """The URL of a database, by way of this socket."""
        return f"mysql://root@localhost/{database}?unix_socket={quote(str(self.path))}"

    def lose(self, *after: bytes, keep: int = 0) -> Loss:
        """Lose an answer, the next time."""
        self._loss = Loss(after, keep)
        return self._loss

    def close(self) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(self._target))
            self._open += [near, far]
            losses: list[Loss] = []
            for work in (self._pass_on, self._pass_back):
                thread = threading.Thread(target=work, args=(near, far, losses))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, near: socket.socket, far: socket.socket, losses: list[Loss]) -> None:
        matched = 0
        with suppress(OSError):
            while data := near.recv(_PART):
                with self._lock:
                    loss = self._loss
                    if loss and matched < len(loss.after) and loss.after[matched] in data:
                        matched += 1
                    if loss and matched == len(loss.after):
                        losses.append(loss)
                        self._loss = None
                far.sendall(data)
        _end(far)

    def _pass_back(self, near: socket.socket, far: socket.socket, losses: list[Loss]) -> None:
        kept = 0
        with suppress(OSError):
            while data := far.recv(_PART):
                if losses:
                    data = data[: losses[0].keep - kept]
                    kept += len(data)
                near.sendall(data)
                if losses and kept == losses[0].keep:
                    losses[0].happened.set()
                    _end(far)
                    break
        _end(near)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def flaky_socket(target: Path) -> Iterator[FlakySocket]:
    """A socket beside the one that it leads to."""
    made = FlakySocket(target, target.with_name("flaky"))
    try:
        yield made
    finally:
        made.close()
        made.path.unlink()
