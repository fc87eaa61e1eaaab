"""Between other threads and the event loop: an inlet into a channel, an outlet from a channel or receiver.

Channels belong to their loop's thread and take no lock. So a thread leaves its item, or its request for one,
in a small place of the inlet's or outlet's own, under a lock, and wakes the loop, which does the rest. It is
woken once per burst: not again until it has seen to all that is there. Where it must wait for the channel, it
stands in the channel's own line, as one task would, and so neither overtakes nor starves those who are in it.

What `ThreadInlet.put` has accepted counts as put. Closing the channel moves it in first, so that it is taken
before the end is told. An item leaves the channel for a thread only when the request for it is there still: a
thread whose time is up has either got its item or withdrawn its request, and the lock decides which.

Event loops do not tell when they are closed. A thread that waits therefore looks every `LOOK_AGAIN_S` whether
its loop is, besides waiting for what it waits for.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from mypy_extensions import mypyc_attr

from extra.channels.channel import Channel, Feeder
from extra.channels.source import Source, Turn
from extra.errors import ChannelClosed, ChannelEmpty, ChannelFull

__all__ = ["ThreadInlet", "ThreadOutlet"]

T = TypeVar("T")

LOOK_AGAIN_S: Final = 0.2


@mypyc_attr(native_class=True)
class ThreadInlet(Feeder, Generic[T]):
    """Lets other threads put into a channel. Make and close it in the loop's thread, best by `with`.

    Items of one thread arrive in their order. `len()` is how many are accepted and not in the channel yet.
    What threads have for a `Broadcast` goes through a channel and a task.
    """

    def __init__(self, channel: Channel[T], limit: int) -> None:
        """Make an inlet into `channel`, which may have several.

        `limit` items, 1 or more, may be on their way at once, besides those in the channel: so many can be
        accepted before the loop's next turn, and while the channel is full.
        """
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit}")
        if channel.closed:
            raise channel._end()
        self._channel: Channel[T] = channel
        self._limit: int = limit
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._changed: threading.Condition = threading.Condition()  # its lock guards the attributes below
        self._accepted: deque[tuple[T, int]] = deque()
        self._is_loop_busy: bool = False  # woken, or in line for a place: it will see to what is accepted
        self._closed: bool = False
        channel._feeders.append(self)

    def put(self, item: T, timeout_s: float | None = None) -> None:
        """Put `item`, from any thread but the loop's; block while `limit` items are on their way.

        Raises:
            ChannelFull: that was still so after `timeout_s` seconds.
            ChannelClosed: the channel, the inlet or the loop is closed.
            LimitExceeded: the item alone is larger than the channel's `size_limit`.
        """
        if asyncio._get_running_loop() is self._loop:
            raise RuntimeError("put would block the event loop: await the channel's own put there")
        size = self._channel._measure(item)
        left = timeout_s
        with self._changed:
            while not self._changed.wait_for(self._need_not_wait, _next_wait_s(left)):
                left = None if left is None else left - LOOK_AGAIN_S
                if left is not None and left <= 0:
                    raise ChannelFull(f"inlet is still full after {timeout_s} s: limit={self._limit}")
            self._accept(item, size)

    def put_nowait(self, item: T) -> None:
        """Put `item`, from any thread, if fewer than `limit` are on their way.

        Raises:
            ChannelFull: there are `limit`.
            ChannelClosed, LimitExceeded: as for `put`.
        """
        size = self._channel._measure(item)
        with self._changed:
            if not self._need_not_wait():
                raise ChannelFull(f"inlet is full: limit={self._limit}")
            self._accept(item, size)

    def close(self) -> None:
        """Accept nothing more; what is on its way still arrives. Threads in `put` get `ChannelClosed`."""
        with self._changed:
            self._closed = True
            if not self._accepted:
                self._leave()
            self._changed.notify_all()

    def flush(self) -> None:
        with self._changed:
            self._closed = True
            for item, size in self._accepted:
                self._channel._store(item, size)
            self._accepted.clear()
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._accepted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _need_not_wait(self) -> bool:
        return self._closed or len(self._accepted) < self._limit or self._loop.is_closed()

    def _accept(self, item: T, size: int) -> None:
        """With the lock, and room: take `item` over, and see to it that the loop comes."""
        if self._closed:
            raise ChannelClosed("channel is closed" if self._channel.closed else "inlet is closed")
        if not self._is_loop_busy or self._loop.is_closed():
            _wake(self._loop, self._move)
            self._is_loop_busy = True
        self._accepted.append((item, size))

    def _move(self) -> None:
        """In the loop: put all that has a place, and stand in line with the rest."""
        with self._changed:
            while self._accepted:
                item, size = self._accepted[0]
                if not self._channel._has_place(size):
                    self._channel._line_up_to_put(size).add_done_callback(self._move_granted)
                    break
                self._accepted.popleft()
                self._channel._store(item, size)
            else:
                self._is_loop_busy = False
                if self._closed:
                    self._leave()
            self._changed.notify_all()

    def _move_granted(self, turn: asyncio.Future[None]) -> None:
        """In the loop: the first item has been granted a place, or the channel was closed, after a flush."""
        with self._changed:
            if self._channel.closed:
                return
            item, size = self._accepted.popleft()
            self._channel._give_back(size)
            self._channel._store(item, size)
        self._move()

    def _leave(self) -> None:
        with suppress(ValueError):  # it has left before
            self._channel._feeders.remove(self)


@mypyc_attr(native_class=True)
class ThreadOutlet(Generic[T]):
    """Lets other threads take from a channel or receiver. Make and close it in the loop's thread.

    An iterator, for other threads, that ends when the source is closed and empty or the outlet is closed. A
    context manager that closes it.
    """

    def __init__(self, source: Source[T]) -> None:
        self._source: Source[T] = source
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._turn: Turn | None = None  # in line at the source, for the first request
        self._lock: threading.Lock = threading.Lock()  # guards the attributes below
        self._requests: deque[Future[T]] = deque()
        self._is_loop_busy: bool = False  # woken, or in line for an item: it will see to the requests
        self._closed: bool = False

    def take(self, timeout_s: float | None = None) -> T:
        """Take the oldest item, from any thread but the loop's; block while there is none.

        Raises:
            ChannelEmpty: none came within `timeout_s` seconds.
            ChannelClosed: the source is closed and nothing is left, or the outlet or the loop is closed.
            LimitExceeded: the source was closed because it overflowed, and nothing is left.
        """
        if asyncio._get_running_loop() is self._loop:
            raise RuntimeError("take would block the event loop: await the channel's own take there")
        request = self._request()
        left = timeout_s
        try:
            while True:
                with suppress(TimeoutError):
                    return request.result(_next_wait_s(left))
                left = None if left is None else left - LOOK_AGAIN_S
                if self._loop.is_closed() or (left is not None and left <= 0):
                    break
        finally:
            withdrawn = self._withdraw(request)
        if not withdrawn:
            return request.result()
        if self._loop.is_closed():
            raise ChannelClosed("event loop is closed")
        raise ChannelEmpty(f"channel had no item to take for {timeout_s} s")

    def close(self) -> None:
        """Hand out nothing more; what is in the source stays. Threads in `take` get `ChannelClosed`."""
        with self._lock:
            self._closed = True
            self._refuse_requests()
        if self._turn is not None:
            self._source._step_out(self._turn)
            self._turn = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self.take()
        except ChannelClosed:
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(self) -> Future[T]:
        """Ask for an item, and see to it that the loop comes."""
        with self._lock:
            if self._closed:
                raise self._refusal()
            if not self._is_loop_busy or self._loop.is_closed():
                _wake(self._loop, self._serve)
                self._is_loop_busy = True
            request: Future[T] = Future()
            self._requests.append(request)
        return request

    def _withdraw(self, request: Future[T]) -> bool:
        """Take `request` back, unless it has been answered."""
        with self._lock:
            if request.done():
                return False
            self._requests.remove(request)
        return True

    def _serve(self) -> None:
        """In the loop: answer all requests that have an item, and stand in line for the rest."""
        with self._lock:
            while self._requests and self._source._spare > 0:
                self._source._spare -= 1
                self._requests.popleft().set_result(self._source._draw())
            if not self._requests:
                self._is_loop_busy = False
            elif self._source._ended():
                self._refuse_requests()
                self._is_loop_busy = False
            else:
                self._turn = self._source._line_up()
                self._turn.add_done_callback(self._serve_granted)

    def _serve_granted(self, turn: Turn) -> None:
        """In the loop: an item has been granted to the first request, or the source has ended."""
        if turn is not self._turn:
            return  # closed meanwhile: the grant has been passed on
        self._turn = None
        if turn.result() is not None:
            with self._lock:
                if self._requests:
                    self._requests.popleft().set_result(self._source._draw())
                else:
                    self._source._offer()
        self._serve()

    def _refuse_requests(self) -> None:
        while self._requests:
            self._requests.popleft().set_exception(self._refusal())

    def _refusal(self) -> Exception:
        return ChannelClosed("outlet is closed") if self._closed else self._source._end()


def _wake(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Have `loop` call `callback`. Raises `ChannelClosed` if it is closed."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        raise ChannelClosed("event loop is closed") from None


def _next_wait_s(left: float | None) -> float:
    """Return how long to wait before looking whether the loop is closed, with `left` seconds to go in all."""
    return LOOK_AGAIN_S if left is None else max(0.0, min(left, LOOK_AGAIN_S))
