"""A few requests on their way at a time: one side works on a batch while the next travels."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from .progress import Cancellation

_IN_FLIGHT = 3

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_flight(
    function: Callable[[_T], _R], items: Iterable[_T], cancellation: Cancellation
) -> Iterator[tuple[_T, _R]]:
    """(item, function(item)) in order, with a few calls under way in threads.

    Items are taken in the caller's thread. Whatever ends the iteration, no call is left running.

    Raises:
        Cancelled: asked to stop; the calls under way were waited for.
    """
    with ThreadPoolExecutor(_IN_FLIGHT, "transport") as pool:
        under_way: deque[tuple[_T, Future[_R]]] = deque()
        try:
            for item in items:
                cancellation.check()
                under_way.append((item, pool.submit(function, item)))
                if len(under_way) > _IN_FLIGHT:
                    first, future = under_way.popleft()
                    yield first, future.result()
            while under_way:
                first, future = under_way.popleft()
                yield first, future.result()
        finally:
            for _, future in under_way:
                future.cancel()
