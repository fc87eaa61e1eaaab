"""Waiting for the first of several channels and receivers.

A selection looks at its sources in turn, each time beginning after the one that it took from last, so that a
busy one cannot keep the others out. When none has a spare item, one future stands in line at all of them (see
`source.py`). The first source that has an item grants it; the others pass over a future that is done, and the
task leaves their lines when it runs.
"""

import asyncio
from collections import deque
from collections.abc import Generator
from typing import Any, Generic, Self, TypeVar

from mypy_extensions import mypyc_attr

from extra.channels.source import Source, Turn
from extra.errors import ChannelClosed

__all__ = ["Selection", "select"]

T = TypeVar("T")


def select(*sources: Source[T]) -> "Selection[T]":
    """Return a selection over `sources`: await it for one item, or iterate over it for all.

    Of several calls in a row, each begins with the first source again: keep the selection to be fair.

        async for source, item in select(orders, prices):
            if source is orders:
                ...

    Raises:
        ValueError: there are no sources.
    """
    return Selection(sources)


@mypyc_attr(native_class=True)
class Selection(Generic[T]):
    """Takes from whichever of its sources has an item, in turn. An async iterator; tasks may share it.

    A source that is closed and empty leaves the selection. One that ended by overflowing is told first: the
    take that finds it raises `LimitExceeded`, and the next goes on with the others.
    """

    def __init__(self, sources: tuple[Source[T], ...]) -> None:
        if not sources:
            raise ValueError("a selection needs one source or more")
        self._sources: deque[Source[T]] = deque(dict.fromkeys(sources))  # the next to look at comes first

    async def take(self) -> tuple[Source[T], T]:
        """Take one item and return it with its source; wait if there is none, in line like any other task.

        Does not suspend when an item is there. Cancel-safe: a `take` that raised has taken nothing. Cost: one
        step per source passed over; when it waits, two per source.

        Raises:
            ChannelClosed: all sources are closed, and nothing is left in any.
            LimitExceeded: a receiver among them was closed because it overflowed, and is taken empty.
        """
        while True:
            ready = self._next_ready()
            if ready is not None:
                ready._spare -= 1
                return ready, ready._draw()
            waited = list(self._sources)
            turn: Turn = asyncio.get_running_loop().create_future()
            for source in waited:
                source._takers.append(turn)
            try:
                granted = await turn
            except BaseException:
                for source in waited:
                    source._step_out(turn)
                raise
            for source in waited:
                if source is granted:
                    ready = source
                else:
                    source._step_out(turn)
            if ready is not None:
                while self._sources[-1] is not ready:
                    self._sources.rotate(-1)
                return ready, ready._draw()

    def __await__(self) -> Generator[Any, None, tuple[Source[T], T]]:
        return self.take().__await__()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Source[T], T]:
        try:
            return await self.take()
        except ChannelClosed:
            raise StopAsyncIteration from None

    def _next_ready(self) -> Source[T] | None:
        """Return the next source with a spare item, if any; let those go that have ended."""
        for _ in range(len(self._sources)):
            source = self._sources.popleft()
            if source._spare > 0:
                self._sources.append(source)
                return source
            if not source._ended():
                self._sources.append(source)
                continue
            end = source._end()
            if not isinstance(end, ChannelClosed):
                raise end
        if not self._sources:
            raise ChannelClosed("all channels of the selection are closed")
        return None
