"""A bounded first-in-first-out channel: many producers, many consumers, one event loop.

The taking half is in `source.py`; the putting half mirrors it. What is granted to a putter is a *place*
within the limits. A putter that finds none joins the line; whoever takes an item grants the place to the
first in line; the item goes in when that task runs again. If it is cancelled instead, the place goes to the
next. So a `put` that raised has put nothing, and one that returned has put its item once. Had the taker moved
the waiting item in itself, a putter cancelled just then could not tell whether to put it again.

Places are granted strictly in line: a small item does not overtake a large one that waits for room, since a
steady stream of small ones would keep the large one out for ever.

Invariants between calls, until the channel is closed:

1. Spare items and granted places do not exceed `limit`, but for items that cancelled takers gave back. The
   sizes of all items queued and of granted places do not exceed `size_limit`.
2. The first live putter in line would break that, or an item is granted to a taker that has not run since: it
   will look at the line when it takes the item.

After closing, places mean nothing any more: every putter in line or granted is told, and no item comes in.
"""

import asyncio
from abc import ABCMeta, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

from mypy_extensions import mypyc_attr

from extra.channels.source import Source
from extra.errors import ChannelFull, LimitExceeded

__all__ = ["Channel", "ChannelStatistics"]

T = TypeVar("T")


class ChannelStatistics(NamedTuple):
    """A channel at one moment. Sizes are in the unit of its `size_of`; without one, `size` is 0."""

    items: int
    limit: int
    size: int
    size_limit: int | None
    waiting_putters: int
    waiting_takers: int
    put_total: int
    taken_total: int
    closed: bool


@mypyc_attr(native_class=True)
class Channel(Source[T]):
    """A conduit for items of one type, bounded by their number and, if wished, by their total size.

    Items come out in the order in which they went in, each once. For the thread of one event loop; others go
    through a `ThreadInlet` or a `ThreadOutlet`. `put` and `take` suspend only when they must: two tasks
    alternate because the limit makes them, and one that always finds room or an item does not let the others
    run.
    """

    def __init__(
        self,
        limit: int,
        *,
        size_limit: int | None = None,
        size_of: Callable[[T], int] | None = None,
    ) -> None:
        """Make an open, empty channel that holds `limit` items, 1 or more, for takers yet to come.

        An item that goes to a task already waiting is on its way out and does not count. `size_limit` bounds
        the sum of `size_of(item)` as well, over all items, usually in bytes with `size_of=len`. `size_of` is
        called once per item, in the thread of whoever puts it.
        """
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit}")
        if (size_limit is None) != (size_of is None):
            raise ValueError("size_limit and size_of need each other")
        if size_limit is not None and size_limit < 1:
            raise ValueError(f"size_limit must be 1 or more, not {size_limit}")
        super().__init__()
        self._limit: int = limit
        self._size_limit: int | None = size_limit
        self._size_of: Callable[[T], int] | None = size_of
        self._items: deque[T] = deque()
        self._sizes: deque[int] = deque()  # of the items, in step with them; empty without `size_of`
        self._size: int = 0
        self._putters: deque[tuple[asyncio.Future[None], int]] = deque()
        self._granted: int = 0  # places granted to putters that have not run since ...
        self._granted_size: int = 0  # ... and the sizes of their items
        self._feeders: list[Feeder] = []
        self._put_total: int = 0

    async def put(self, item: T) -> None:
        """Put `item` at the end; wait for a place if there is none. Tasks that wait go in their order.

        Does not suspend when there is a place. Cancel-safe: a `put` that raised, whatever it raised, has put
        nothing.

        Raises:
            ChannelClosed: the channel is closed, or was closed while waiting.
            LimitExceeded: the item alone is larger than `size_limit`.
        """
        size = 0 if self._size_of is None else self._measure(item)
        if self._closed:
            raise self._end()
        if not self._has_place(size):
            turn = self._line_up_to_put(size)
            try:
                await turn
            except BaseException:
                self._step_out_of_putting(turn, size)
                raise
            if self._closed:
                raise self._end()
            self._give_back(size)
        self._store(item, size)

    def put_nowait(self, item: T) -> None:
        """Put `item` at the end, if there is a place that nobody waits for. Never awaits.

        Raises:
            ChannelFull: there is none.
            ChannelClosed, LimitExceeded: as for `put`.
        """
        size = 0 if self._size_of is None else self._measure(item)
        if self._closed:
            raise self._end()
        if not self._has_place(size):
            raise ChannelFull(f"channel is full: {self._bounds()}")
        self._store(item, size)

    def close(self) -> None:
        """End the channel: putters get `ChannelClosed`, takers what is left and then `ChannelClosed`.

        What threads have put through a `ThreadInlet` counts as put and goes in first, beyond the limit if
        need be (by no more than the inlets' own). Closing twice does nothing.
        """
        for feeder in self._feeders:
            feeder.flush()
        for turn, _ in self._putters:
            if not turn.done():
                turn.set_result(None)
        self._putters.clear()
        super().close()

    def statistics(self) -> ChannelStatistics:
        """Count what is in the channel, who waits, and what went through it.

        A task that is cancelled counts as waiting until it runs.
        """
        return ChannelStatistics(
            items=len(self._items),
            limit=self._limit,
            size=self._size,
            size_limit=self._size_limit,
            waiting_putters=len(self._putters),
            waiting_takers=len(self._takers),
            put_total=self._put_total,
            taken_total=self._put_total - len(self._items),
            closed=self._closed,
        )

    def __len__(self) -> int:
        return len(self._items)

    def _pop(self) -> T:
        item = self._items.popleft()
        if self._size_of is not None:
            self._size -= self._sizes.popleft()
        if self._putters:
            self._admit()
        return item

    def _bounds(self) -> str:
        return f"limit={self._limit}" + (
            "" if self._size_limit is None else f", size_limit={self._size_limit}"
        )

    def _measure(self, item: T) -> int:
        """Return the size of `item`, in any thread. Raises `LimitExceeded` if it can never fit."""
        if self._size_of is None or self._size_limit is None:
            return 0
        size = self._size_of(item)
        if size < 0:
            raise ValueError(f"size_of must return 0 or more, not {size}")
        if size > self._size_limit:
            raise LimitExceeded(f"item of size {size} is larger than size_limit={self._size_limit}")
        return size

    def _fits(self, size: int) -> bool:
        return self._spare + self._granted < self._limit and (
            self._size_limit is None or self._size + self._granted_size + size <= self._size_limit
        )

    def _has_place(self, size: int) -> bool:
        """Whether there is a place for a newcomer: one that nobody in line waits for."""
        if self._putters:
            self._admit()  # removes those at the head that are cancelled
        return not self._putters and self._fits(size)

    def _store(self, item: T, size: int) -> None:
        """Append `item`, for which there is a place, and grant it to the first taker in line."""
        self._items.append(item)
        if self._size_of is not None:
            self._sizes.append(size)
            self._size += size
        self._put_total += 1
        self._offer()

    def _admit(self) -> None:
        """Grant places to the first in line, as far as they go."""
        while self._putters:
            turn, size = self._putters[0]
            if not turn.done():
                if not self._fits(size):
                    return
                self._granted += 1
                self._granted_size += size
                turn.set_result(None)
            self._putters.popleft()

    def _give_back(self, size: int) -> None:
        """Turn a granted place into a free one, which the caller uses or grants at once."""
        self._granted -= 1
        self._granted_size -= size

    def _line_up_to_put(self, size: int) -> asyncio.Future[None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._putters.append((turn, size))
        return turn

    def _step_out_of_putting(self, turn: asyncio.Future[None], size: int) -> None:
        """Undo `_line_up_to_put` for a task that will not put: leave the line, or give the place back."""
        if not turn.done() or turn.cancelled():
            with suppress(ValueError):  # `_admit` removes the cancelled ones that it meets
                self._putters.remove((turn, size))
        else:
            self._give_back(size)
        self._admit()  # a large item that left the head may have held up smaller ones


@mypyc_attr(native_class=True)
class Feeder(metaclass=ABCMeta):
    """What holds items that count as put already: a `ThreadInlet`."""

    @abstractmethod
    def flush(self) -> None:
        """Put all of them at once, for the channel is closing, and accept no more."""
