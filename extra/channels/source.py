"""The taking half that channels and receivers share: items, and the tasks that wait for them.

How it works. Items stay queued until a task takes them. A task that finds none joins a line of futures, its
*turn*. When an item comes, the first in line is *granted* one: its future gets the source as result, and one
item is its own from then on, but leaves the queue only when that task runs again. If the task is cancelled
instead, the grant goes to the next in line. So between two awaits an item is queued or was returned by
`take`, whatever is cancelled when. Items that are nobody's yet are *spare*; limits count those, since what is
granted is as good as delivered.

Alternatives that lost:

- Wake the first in line and let it look again, as `asyncio.Queue` does. Whoever runs in between takes the
  item, and the one that waited longest waits once more, at the end of the line.
- Put the item into the future. A task cancelled after that holds an item that it cannot return; putting it
  back comes too late for takers that were told meanwhile that the channel has ended.
- Count granted items against the limit. With a limit of 1, each item then costs a switch to its producer and
  back, where now two of them share it.

Invariants between calls, where a turn is live unless its task was cancelled and has not run since:

1. Items queued are `_spare` and the grants that are not used yet.
2. While anybody is in line, `_spare` is 0.
3. While a live turn is in line at a closed source, items are queued, all of them granted.
4. A turn is granted, dismissed or cancelled, one of them, once; a grant is used or passed on, once.

Everything here belongs to the thread of one event loop. Names with an underscore are shared inside
`extra.channels` and promised to nobody else.
"""

import asyncio
from abc import ABCMeta, abstractmethod
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeAlias, TypeVar

from mypy_extensions import mypyc_attr

from extra.errors import ChannelClosed, ChannelEmpty

__all__ = ["Source"]

T_co = TypeVar("T_co", covariant=True)

# What a taker waits on. The result is the source that grants it an item, since a selection stands in several
# lines with one turn, or None from a source that has ended.
Turn: TypeAlias = "asyncio.Future[Source[object] | None]"


@mypyc_attr(native_class=True)
class Source(Generic[T_co], metaclass=ABCMeta):
    """Where items are taken from: a `Channel`, or a `Receiver` of a `Broadcast`.

    An async iterator over its items, which ends when the source is closed and empty; a context manager, which
    closes it; `len()` is the number of items queued.
    """

    def __init__(self) -> None:
        self._spare: int = 0
        self._takers: deque[Turn] = deque()
        self._closed: bool = False

    async def take(self) -> T_co:
        """Take the oldest item; wait for one if there is none. Tasks that wait go in their order.

        Does not suspend when an item is there. Cancel-safe: a `take` that raised has taken nothing.

        Raises:
            ChannelClosed: the source is closed, and nothing is left.
            LimitExceeded: instead of that, from a receiver that was closed because it overflowed.
        """
        if self._spare > 0:
            self._spare -= 1
        else:
            turn = self._line_up()
            try:
                granted = await turn
            except BaseException:
                self._step_out(turn)
                raise
            if granted is None:
                raise self._end()
        return self._draw()

    def take_nowait(self) -> T_co:
        """Take the oldest item, unless all are granted to tasks that waited for them. Never awaits.

        Raises:
            ChannelEmpty: there is none to take.
            ChannelClosed, LimitExceeded: as for `take`.
        """
        if self._spare == 0:
            if self._ended():
                raise self._end()
            raise ChannelEmpty("channel has no item to take")
        self._spare -= 1
        return self._draw()

    def close(self) -> None:
        """Let nothing more in. Takers get what is left, and then the end. Closing twice does nothing."""
        self._closed = True
        if len(self) == 0:
            self._dismiss_takers()

    @property
    def closed(self) -> bool:
        """Whether `close` was called; items may be left."""
        return self._closed

    @abstractmethod
    def __len__(self) -> int: ...

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        try:
            return await self.take()
        except ChannelClosed:
            raise StopAsyncIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _pop(self) -> T_co:
        """Remove the oldest item and return it. `_spare` counts without it already."""

    def _end(self) -> Exception:
        """Return what takers are told once the source is closed and empty."""
        return ChannelClosed("channel is closed")

    def _ended(self) -> bool:
        return self._closed and len(self) == 0

    def _draw(self) -> T_co:
        """Return the oldest item to one to whom it was granted, or who took it off `_spare`."""
        item = self._pop()
        if self._closed and len(self) == 0:
            self._dismiss_takers()
        return item

    def _offer(self) -> None:
        """Grant one item, new or given back, to the first live turn; without any, it is spare."""
        while self._takers:
            turn = self._takers.popleft()
            if not turn.done():
                turn.set_result(self)
                return
        self._spare += 1

    def _line_up(self) -> Turn:
        """Return a new turn at the end of the line. Raises what `_end` returns if nothing can come."""
        if self._ended():
            raise self._end()
        turn: Turn = asyncio.get_running_loop().create_future()
        self._takers.append(turn)
        return turn

    def _step_out(self, turn: Turn) -> None:
        """Undo `_line_up` for a task that will not take here: pass the grant on, or leave the line."""
        if turn.done() and not turn.cancelled() and turn.result() is self:
            self._offer()
        else:
            with suppress(ValueError):  # `_offer` has removed those that it found done
                self._takers.remove(turn)

    def _dismiss_takers(self) -> None:
        for turn in self._takers:
            if not turn.done():
                turn.set_result(None)
        self._takers.clear()
