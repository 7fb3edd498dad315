"""What tests start in processes of their own: workers that do little."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from syncsession_client.protocol.errors import ServerBusy
from syncsession_server.workers import told_to_stop


def waits(ready: Callable[[], None], directory: Path) -> None:
    """Leaves a file under its process id when it is told to stop."""

    async def wait() -> None:
        stop = told_to_stop()
        ready()
        await stop.wait()

    asyncio.run(wait())
    (directory / f"stopped-{os.getpid()}").touch()


def stays(ready: Callable[[], None], directory: Path) -> None:
    """Does not stop when it is told to."""

    async def stay() -> None:
        told_to_stop()
        ready()
        await asyncio.sleep(3600)

    asyncio.run(stay())


def dies_early(ready: Callable[[], None], directory: Path) -> None:
    """Is ready, and ends by itself."""
    ready()
    sys.exit(3)


def cannot_begin(ready: Callable[[], None], directory: Path) -> None:
    """One of them cannot begin; the others wait."""
    try:
        (directory / "first").touch(exist_ok=False)
    except FileExistsError:
        waits(ready, directory)
    else:
        raise ServerBusy("the database is being moved")


def crashes(ready: Callable[[], None], directory: Path) -> None:
    """Fails in a way that nobody thought of."""
    logging.disable()
    raise ZeroDivisionError
