"""Worker processes: a parent starts them, replaces those that die, and sees that all of them stop.

What a worker does is a function that it is given; see serving.py for the one that serves devices.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from syncsession_client.protocol.errors import SyncError

logger = logging.getLogger(__name__)

Target = Callable[..., None]
"""Called in the worker as target(ready, *arguments); it calls `ready()` once, and returns when
`told_to_stop` is set."""

_SPAWN = multiprocessing.get_context("spawn")  # a fork would take the parent's event loop along
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_SETTLED_SECONDS = 10.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_DEATH_SECONDS = 10.0
_LAST_SECONDS = 0.5


def told_to_stop() -> asyncio.Event:
    """Set by SIGTERM or SIGINT; in a worker, also when its parent is gone."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel

        def parent_is_gone() -> None:
            loop.remove_reader(sentinel)
            logger.warning("the parent of worker %d is gone; it stops", os.getpid())
            stop.set()

        loop.add_reader(sentinel, parent_is_gone)
    return stop


async def _nothing(_: int) -> None:
    """What is done about a dead worker unless the caller says otherwise."""


@dataclass
class Workers:
    """Keeps `count` processes at work. `on_ready` is called once, when all of them are.

    `on_death` is awaited with the process id of each that died before another takes its place: here
    what it had claimed can be given back. It has ten seconds; what it raises is logged.
    """

    target: Target
    arguments: tuple[Any, ...]
    count: int
    on_ready: Callable[[], None]
    on_death: Callable[[int], Awaitable[None]] = _nothing
    stop_seconds: float = 45.0
    _running: set["_Worker"] = field(default_factory=set)
    _not_ready: int = 0

    async def run(self) -> None:
        """Return when told to stop and no worker is left.

        Raises:
            SyncError: a worker could not begin, the first time that they were started.
        """
        self._not_ready = self.count
        stop = asyncio.create_task(told_to_stop().wait())
        tasks = [stop, *(asyncio.create_task(self._keep()) for _ in range(self.count))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_all()

    async def _keep(self) -> None:
        """One worker after another in the same place."""
        early_deaths, is_first = 0, True
        while True:
            worker, started = _Worker(self.target, self.arguments), time.monotonic()
            self._running.add(worker)
            await self._see_begin(worker, is_first)
            await worker.end()
            self._running.discard(worker)
            is_first = False
            is_early = time.monotonic() - started < _SETTLED_SECONDS
            pause = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2**early_deaths) if is_early else 0.0
            early_deaths = early_deaths + 1 if is_early else 0
            logger.warning(
                "worker %d has died (%s); another starts in %g seconds",
                worker.pid,
                worker.close(),
                pause,
            )
            await self._tell_death(worker.pid)
            await asyncio.sleep(pause)

    async def _see_begin(self, worker: "_Worker", is_first: bool) -> None:
        failure = await worker.begin()
        if failure is not None and is_first:
            raise failure
        if failure is not None:
            logger.error("worker %d cannot begin: %s", worker.pid, failure)
        elif is_first:
            self._not_ready -= 1
            if self._not_ready == 0:
                self.on_ready()

    async def _tell_death(self, pid: int) -> None:
        try:
            async with asyncio.timeout(_DEATH_SECONDS):
                await self.on_death(pid)
        except Exception:
            logger.exception("what worker %d left cannot be seen to now", pid)

    async def _stop_all(self) -> None:
        for worker in self._running:
            worker.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.stop_seconds):
                for worker in self._running:
                    await worker.end()
        for worker in self._running:
            if worker.kill():
                logger.error(
                    "worker %d did not stop in %g seconds, and is killed",
                    worker.pid,
                    self.stop_seconds,
                )
            worker.close()


class _Worker:
    """One process, from its start to its end."""

    def __init__(self, target: Target, arguments: tuple[Any, ...]) -> None:
        self._said, saying = _SPAWN.Pipe(duplex=False)
        self._process = _SPAWN.Process(
            target=_work, args=(target, arguments, saying), name="syncsession-worker", daemon=True
        )
        with _held_signals():
            self._process.start()
        saying.close()
        self.pid = self._process.pid or 0

    async def begin(self) -> SyncError | None:
        """Return when the worker is ready; why it cannot be, where it cannot."""
        await _readable(self._said.fileno())
        try:
            error = self._said.recv()
        except EOFError:
            return SyncError("a worker ended before it was ready; the log says why")
        return None if error is None else SyncError.from_wire(error)

    async def end(self) -> None:
        """Return when the process is gone."""
        await _readable(self._process.sentinel)

    def stop(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def kill(self) -> bool:
        """End it; whether it was there."""
        self._process.join(_LAST_SECONDS)  # the end of one that stops is seen before it is gone
        is_alive = self._process.is_alive()
        if is_alive:
            self._process.kill()
        return is_alive

    def close(self) -> str:
        """Let go of a process that has ended, or is about to; how it ended."""
        self._said.close()
        self._process.join(_DEATH_SECONDS)
        code = self._process.exitcode
        if code is None:
            return "it cannot be killed"
        self._process.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _work(target: Target, arguments: tuple[Any, ...], said: Connection) -> None:
    """All that a worker process does."""
    try:
        target(lambda: said.send(None), *arguments)
    except SyncError as error:
        with suppress(BrokenPipeError):  # the parent is gone, and nobody else asks
            said.send(error.to_wire())
        sys.exit(1)
    except Exception:
        logger.exception("worker %d failed", os.getpid())
        sys.exit(1)


@contextmanager
def _held_signals() -> Iterator[None]:
    """Keep signals to stop for later: a process that is started inside is not ready for them yet,
    and takes them when it calls `told_to_stop`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _readable(descriptor: int) -> None:
    """Return when there is something to read, or nobody left to write it."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
