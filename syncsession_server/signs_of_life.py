"""Signs of life: said now and then while something lasts, so that nobody takes it for abandoned."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from syncsession_client.protocol.errors import TryLater


@asynccontextmanager
async def given(sign: Callable[[], Awaitable[object]], every_seconds: float) -> AsyncIterator[None]:
    """Call `sign` at this interval while the body runs, but not at its beginning.

    Where the database cannot be had the next one is waited for: who cannot reach it cannot finish
    his work either.
    """

    async def keep() -> None:
        while True:
            await asyncio.sleep(every_seconds)
            with suppress(TryLater):
                await sign()

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        # Not `await task`: who is cancelled here himself could not tell that from the task's end.
        await asyncio.wait([task])
