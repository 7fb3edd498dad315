"""A network between a device and its server that does to each request what a test says."""

import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from urllib.parse import urlsplit

from support import SECONDS

Fault = Callable[["Exchange"], None]
"""Does with a request what the network does with it."""


@dataclass
class Exchange:
    """A request that has come, whole, and the connection that it came on."""

    request: bytes
    near: socket.socket
    network: "Network"

    @property
    def line(self) -> str:
        """`PUT /v1/push/…`"""
        return self.request.split(b" HTTP/", 1)[0].decode()

    def ask(self, request: bytes | None = None) -> bytes:
        """The server's answer; empty where it hangs up."""
        with socket.create_connection(self.network.server, timeout=SECONDS) as far:
            far.sendall(self.request if request is None else request)
            return read_message(far)

    def ask_in_part(self, part: bytes) -> None:
        """Let only a part of the request reach the server, and hang up."""
        with socket.create_connection(self.network.server, timeout=SECONDS) as far:
            far.sendall(part)

    def answer(self, answer: bytes) -> None:
        """Pass an answer on; where the server has hung up, hang up too."""
        if not answer:
            raise ConnectionAbortedError
        self.near.sendall(answer)

    def reset(self) -> None:
        """End the connection with RST, as a router does that has forgotten it."""
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.near.close()


# What may become of a request


def passes(exchange: Exchange) -> None:
    exchange.answer(exchange.ask())


def is_lost(exchange: Exchange) -> None:
    exchange.reset()


def is_cut(exchange: Exchange) -> None:
    exchange.ask_in_part(exchange.request[: len(exchange.request) * 2 // 3])
    exchange.reset()


def answer_is_lost(exchange: Exchange) -> None:
    exchange.ask()
    exchange.reset()


def answer_is_cut(exchange: Exchange) -> None:
    answer = exchange.ask()
    exchange.answer(answer[: len(answer) * 2 // 3])
    exchange.near.shutdown(socket.SHUT_RDWR)


def head_is_cut(exchange: Exchange) -> None:
    exchange.answer(exchange.ask()[:20])
    exchange.near.shutdown(socket.SHUT_RDWR)


def comes_twice(exchange: Exchange) -> None:
    exchange.ask()
    exchange.answer(exchange.ask())


def comes_twice_at_once(exchange: Exchange) -> None:
    def ask_too() -> None:
        with suppress(OSError):  # the server may be gone
            exchange.ask()

    again = threading.Thread(target=ask_too)
    again.start()
    try:
        exchange.answer(exchange.ask())
    finally:
        again.join(SECONDS)


def comes_again_later(exchange: Exchange) -> None:
    """The answer is lost, and the request comes once more among those that follow."""
    exchange.ask()
    exchange.network.late.append(exchange.request)
    exchange.reset()


def is_slow(exchange: Exchange) -> None:
    """Both directions take their time."""
    half = len(exchange.request) // 2
    with socket.create_connection(exchange.network.server, timeout=SECONDS) as far:
        far.sendall(exchange.request[:half])
        exchange.network.pause(0.02)
        far.sendall(exchange.request[half:])
        answer = read_message(far)
    step = max(1, len(answer) // 5)
    for start in range(0, len(answer) or 1, step):  # where the server hangs up, so does this
        exchange.network.pause(0.01)
        exchange.answer(answer[start : start + step])


def answers(status: str, body: bytes = b"", **headers: str) -> Fault:
    """Somebody before the server answers so."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{named}\r\n"
    return lambda exchange: exchange.answer(head.encode() + body)


FAULTS: tuple[Fault, ...] = (
    is_lost,
    is_cut,
    answer_is_lost,
    answer_is_cut,
    head_is_cut,
    comes_twice,
    comes_twice_at_once,
    comes_again_later,
    is_slow,
    answers("502 Bad Gateway", b"<html>no</html>", Content_Type="text/html"),
    answers("503 Service Unavailable", Retry_After="1"),
    answers("429 Too Many Requests", Retry_After="1"),
    answers("200 OK", b"<html>log in</html>", Content_Type="text/html"),
)


def trickles(head: bytes) -> Fault:
    """An answer begins so, and goes on byte by byte for as long as anybody listens."""

    def trickle(exchange: Exchange) -> None:
        for part in chain([head] if head else [], repeat(b"x")):
            exchange.answer(part)
            exchange.network.pause(0.01)

    return trickle


@dataclass
class Network:
    """Listens on a port of its own, and passes everything on, unless `plan` says otherwise."""

    server: tuple[str, int]
    plan: Callable[[Exchange], Fault] = lambda _: passes
    lines: list[str] = field(default_factory=list)
    late: list[bytes] = field(default_factory=list)
    reads_slowly: bool = False
    _is_over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = "http://{}:{}".format(*self._listener.getsockname())
        self._open: list[socket.socket] = []
        self._start(self._accept)

    def leads_to(self, server: str) -> None:
        """Pass everything on to the server of this URL, from now on."""
        self.server = _address(server)

    def is_well(self) -> None:
        """Let everything pass from now on; what is late comes first."""
        self.plan = lambda _: passes
        for request in self.late:
            Exchange(request, self._listener, self).ask()
        self.late.clear()

    def fails_at(self, pattern: str, fault: Fault) -> None:
        """Let this happen to the next request whose line matches, and to no other."""
        left = [fault]

        def plan(exchange: Exchange) -> Fault:
            return left.pop() if left and re.search(pattern, exchange.line) else passes

        self.plan = plan

    def fails_at_random(self, seed: int, share: float) -> None:
        """Let a share of all requests suffer some fault; what is late comes in between."""
        chance = random.Random(seed)

        def plan(exchange: Exchange) -> Fault:
            if self.late and chance.random() < 0.3:
                exchange.ask(self.late.pop(0))
            return chance.choice(FAULTS) if chance.random() < share else passes

        self.plan = plan

    def pause(self, seconds: float) -> None:
        """Let time pass, but not beyond the end of the test."""
        if self._is_over.wait(seconds):
            raise ConnectionAbortedError

    def close(self) -> None:
        self._is_over.set()
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(SECONDS)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._open.append(near)
                self._start(self._serve, near)

    def _serve(self, near: socket.socket) -> None:
        with suppress(OSError), near:
            while self.reads_slowly and near.recv(1000):
                self.pause(0.01)
            while request := read_message(near):
                exchange = Exchange(request, near, self)
                with self._lock:
                    self.lines.append(exchange.line)
                    fault = self.plan(exchange)
                fault(exchange)


def read_message(connection: socket.socket) -> bytes:
    """A whole request or answer, as it came; empty where the connection ended before."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(1 << 16)
        if not part:
            return b""
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    fields = (line.partition(b":") for line in head.split(b"\r\n"))
    lengths = [int(value) for name, _, value in fields if name.lower() == b"content-length"]
    missing = (lengths[0] if lengths else 0) - len(body)
    while missing > 0:
        part = connection.recv(min(missing, 1 << 16))
        if not part:
            return b""
        received, missing = received + part, missing - len(part)
    return received


def _address(server: str) -> tuple[str, int]:
    found = urlsplit(server)
    assert found.hostname and found.port
    return found.hostname, found.port


@contextmanager
def network(server: str) -> Iterator[Network]:
    """A network before the server of this URL."""
    made = Network(_address(server))
    try:
        yield made
    finally:
        made.close()
