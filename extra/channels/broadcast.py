"""One producer side, many receivers: each sees every item put since it joined, within a bound of its own.

Every receiver has its own queue, filled in one synchronous loop. A shared ring with a cursor per receiver
would make `put` cheaper by that loop, but its memory is what the slowest receiver holds back, and neither a
bound nor an overflow policy of one receiver's own fits in.

`put` is all or nothing: it waits until no receiver is full whose policy is to block, then gives the item to
all of them without suspending. Putters wait in one line. The first gets its *turn* when the last full
receiver has room again, and until that task has run nobody else puts: one that joins in between cannot be
overrun, since a receiver has room for one item at least. A putter that is cancelled hands its turn on and has
put nothing.

Invariants between calls, until the broadcast is closed:

1. `_full` counts the blocking receivers that hold as many spare items as their limit, or more.
2. If a live putter is in line, `_full` is above 0 or a turn is given.
3. While a turn is given, `_full` is 0.
4. Items that a receiver was given = items taken from it + items queued in it + `dropped`.
"""

import asyncio
from abc import abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from types import TracebackType
from typing import Generic, Literal, NamedTuple, Self, TypeAlias, TypeVar

from mypy_extensions import mypyc_attr

from extra.channels.source import Source
from extra.errors import ChannelClosed, ChannelFull, LimitExceeded

__all__ = ["Broadcast", "BroadcastStatistics", "OverflowPolicy", "Receiver", "ReceiverStatistics"]

T = TypeVar("T")

OverflowPolicy: TypeAlias = Literal["block", "drop-oldest", "latest", "close"]


class BroadcastStatistics(NamedTuple):
    """A broadcast at one moment. The totals cover receivers that are gone as well."""

    receivers: int
    receiver_limit: int
    full_receivers: int
    waiting_putters: int
    put_total: int
    dropped_total: int
    overflowed_total: int
    closed: bool


class ReceiverStatistics(NamedTuple):
    """A receiver at one moment."""

    items: int
    limit: int
    overflow: OverflowPolicy
    waiting_takers: int
    dropped_total: int
    overflowed: bool
    closed: bool


@mypyc_attr(native_class=True)
class Broadcast(Generic[T]):
    """Gives each item to every receiver. For the thread of one event loop. A context manager that closes it.

    Items reach each receiver in the order in which they were put. One put while nobody is subscribed is gone.
    """

    def __init__(self, *, key: Callable[[T], Hashable] | None = None, receiver_limit: int = 1000) -> None:
        """Make an open broadcast without receivers.

        `key` says which items supersede each other, for receivers that keep the latest; it is called once per
        item. `receiver_limit` bounds how many receivers may be subscribed at once.
        """
        if receiver_limit < 1:
            raise ValueError(f"receiver_limit must be 1 or more, not {receiver_limit}")
        self._key: Callable[[T], Hashable] | None = key
        self._receiver_limit: int = receiver_limit
        self._receivers: list[Receiver[T]] = []  # replaced when one leaves, so that a loop over it goes on
        self._full: int = 0
        self._putters: deque[asyncio.Future[None]] = deque()
        self._turn_given: bool = False
        self._closed: bool = False
        self._put_total: int = 0
        self._dropped_total: int = 0
        self._overflowed_total: int = 0

    def subscribe(self, limit: int, overflow: OverflowPolicy) -> "Receiver[T]":
        """Return a new receiver of all items from now on. Close it when done, best by `with`.

        It holds `limit` items, 1 or more, for takers yet to come. Beyond that:

        - `block`: `put` waits. One such receiver that nobody takes from holds up the producer, so everybody.
        - `drop-oldest`: the oldest item makes room.
        - `latest`: the same; besides, an item replaces the one of equal `key` in the queue, and goes last.
        - `close`: the receiver is closed; its taker gets what is queued and then `LimitExceeded`.

        Raises:
            ChannelClosed: the broadcast is closed.
            LimitExceeded: `receiver_limit` receivers are subscribed.
        """
        if limit < 1:
            raise ValueError(f"limit must be 1 or more, not {limit}")
        receiver: Receiver[T]
        if overflow == "block":
            receiver = _Blocking(self, limit, overflow)
        elif overflow == "drop-oldest":
            receiver = _DropOldest(self, limit, overflow)
        elif overflow == "latest":
            if self._key is None:
                raise ValueError("overflow 'latest' needs a broadcast with a key")
            receiver = _Latest(self, limit, overflow)
        elif overflow == "close":
            receiver = _Closing(self, limit, overflow)
        else:
            raise ValueError(f"overflow must be block, drop-oldest, latest or close, not {overflow!r}")
        if self._closed:
            raise self._end()
        if len(self._receivers) >= self._receiver_limit:
            raise LimitExceeded(f"broadcast is full: receiver_limit={self._receiver_limit}")
        self._receivers.append(receiver)
        return receiver

    async def put(self, item: T) -> None:
        """Give `item` to every receiver; wait while one is full that blocks. Waiting tasks go in their order.

        Does not suspend when it need not. Cancel-safe: a `put` that raised, whatever it raised, has given the
        item to nobody; one that returned has given it to all.

        Raises:
            ChannelClosed: the broadcast is closed, or was closed while waiting.
        """
        key = None if self._key is None else self._key_of(item)
        if self._closed:
            raise self._end()
        if self._full == 0 and not self._turn_given:
            self._deliver(item, key)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._putters.append(turn)
        try:
            await turn
        except BaseException:
            self._step_out(turn)
            raise
        if self._closed:
            raise self._end()
        self._turn_given = False
        self._deliver(item, key)
        self._admit()

    def put_nowait(self, item: T) -> None:
        """Give `item` to every receiver, or to none. Never awaits.

        Raises:
            ChannelFull: a receiver that blocks is full, or a task that waited for it comes first.
            ChannelClosed: the broadcast is closed.
        """
        key = None if self._key is None else self._key_of(item)
        if self._closed:
            raise self._end()
        if self._full > 0 or self._turn_given:
            raise ChannelFull(f"broadcast is held up: full_receivers={self._full}")
        self._deliver(item, key)

    def close(self) -> None:
        """End the broadcast: putters get `ChannelClosed`, receivers what they hold and then the end."""
        self._closed = True
        for turn in self._putters:
            if not turn.done():
                turn.set_result(None)
        self._putters.clear()
        receivers, self._receivers = self._receivers, []
        for receiver in receivers:
            receiver.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called; receivers may hold items yet."""
        return self._closed

    def statistics(self) -> BroadcastStatistics:
        """Count who receives, who waits, and what went through."""
        return BroadcastStatistics(
            receivers=len(self._receivers),
            receiver_limit=self._receiver_limit,
            full_receivers=self._full,
            waiting_putters=len(self._putters),
            put_total=self._put_total,
            dropped_total=self._dropped_total,
            overflowed_total=self._overflowed_total,
            closed=self._closed,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self) -> Exception:
        return ChannelClosed("broadcast is closed")

    def _key_of(self, item: T) -> Hashable:
        """Return the key of `item`, known to be hashable: nothing may fail half-way through the receivers."""
        assert self._key is not None
        key = self._key(item)
        hash(key)
        return key

    def _deliver(self, item: T, key: Hashable) -> None:
        self._put_total += 1
        for receiver in self._receivers:
            receiver._receive(item, key)

    def _admit(self) -> None:
        """Give the turn to the first live putter in line, if it can put."""
        while self._putters and self._full == 0 and not self._turn_given:
            turn = self._putters.popleft()
            if not turn.done():
                self._turn_given = True
                turn.set_result(None)

    def _step_out(self, turn: asyncio.Future[None]) -> None:
        """Leave the line, or hand the turn on, for a task that will not put."""
        if not turn.done() or turn.cancelled():
            with suppress(ValueError):  # `_admit` removes the cancelled ones that it meets
                self._putters.remove(turn)
        else:
            self._turn_given = False
            self._admit()

    def _remove(self, receiver: "Receiver[T]") -> None:
        self._receivers = [other for other in self._receivers if other is not receiver]

    def _count_full(self, change: int) -> None:
        self._full += change
        self._admit()


@mypyc_attr(native_class=True)
class Receiver(Source[T]):
    """One subscriber's end of a `Broadcast`, made by `subscribe`. Several tasks may share the items of one.

    Loss is never silent: `missed` says how many items were lost directly before the one taken last (for
    `latest`: that it replaced, or that were dropped before it), `dropped` how many in all. Once everything
    queued is taken, the `missed` seen along the way add up to `dropped`, but for the item that made an
    `overflow="close"` receiver overflow: the `LimitExceeded` at its end tells that one. `close` leaves the
    broadcast and keeps what is queued.
    """

    def __init__(self, broadcast: Broadcast[T], limit: int, overflow: OverflowPolicy) -> None:
        super().__init__()
        self.missed: int = 0
        self.dropped: int = 0
        self.overflowed: bool = False
        self._broadcast: Broadcast[T] = broadcast
        self._limit: int = limit
        self._overflow: OverflowPolicy = overflow

    def close(self) -> None:
        """Leave the broadcast. Takers get what is queued, and then the end. Closing twice does nothing."""
        if not self._closed:
            super().close()
            self._broadcast._remove(self)

    def statistics(self) -> ReceiverStatistics:
        """Count what is queued, who waits, and what was lost."""
        return ReceiverStatistics(
            items=len(self),
            limit=self._limit,
            overflow=self._overflow,
            waiting_takers=len(self._takers),
            dropped_total=self.dropped,
            overflowed=self.overflowed,
            closed=self._closed,
        )

    @abstractmethod
    def _receive(self, item: T, key: Hashable) -> None:
        """Queue `item`, within the limit."""

    def _count_dropped(self) -> None:
        self.dropped += 1
        self._broadcast._dropped_total += 1


@mypyc_attr(native_class=True)
class _Queued(Receiver[T]):
    """A receiver whose items wait in the order in which they were put."""

    def __init__(self, broadcast: Broadcast[T], limit: int, overflow: OverflowPolicy) -> None:
        super().__init__(broadcast, limit, overflow)
        self._items: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def _pop(self) -> T:
        return self._items.popleft()

    def _receive(self, item: T, key: Hashable) -> None:
        self._items.append(item)
        self._offer()


@mypyc_attr(native_class=True)
class _Blocking(_Queued[T]):
    def __init__(self, broadcast: Broadcast[T], limit: int, overflow: OverflowPolicy) -> None:
        super().__init__(broadcast, limit, overflow)
        self._is_full: bool = False

    def close(self) -> None:
        super().close()
        self._tell()

    def _pop(self) -> T:
        item = self._items.popleft()
        if self._is_full:
            self._tell()
        return item

    def _offer(self) -> None:
        super()._offer()
        if self._spare >= self._limit:
            self._tell()

    def _tell(self) -> None:
        """Tell the broadcast when this receiver has become full, or has stopped being so."""
        is_full = self._spare >= self._limit and not self._closed
        if is_full != self._is_full:
            self._is_full = is_full
            self._broadcast._count_full(1 if is_full else -1)


@mypyc_attr(native_class=True)
class _DropOldest(_Queued[T]):
    def __init__(self, broadcast: Broadcast[T], limit: int, overflow: OverflowPolicy) -> None:
        super().__init__(broadcast, limit, overflow)
        self._lost: int = 0  # dropped from before the oldest item, since the last was taken

    def _pop(self) -> T:
        self.missed = self._lost
        self._lost = 0
        return self._items.popleft()

    def _receive(self, item: T, key: Hashable) -> None:
        while self._spare >= self._limit:
            self._items.popleft()
            self._spare -= 1
            self._lost += 1
            self._count_dropped()
        self._items.append(item)
        self._offer()


@mypyc_attr(native_class=True)
class _Latest(Receiver[T]):
    def __init__(self, broadcast: Broadcast[T], limit: int, overflow: OverflowPolicy) -> None:
        super().__init__(broadcast, limit, overflow)
        # By key: the item, and how many it has replaced. A dict would do, but finding its first entry costs a
        # step per entry removed before: taking 10,000 out in order, 3.1 us each instead of 0.1.
        self._items: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lost: int = 0  # dropped from before the oldest item, since the last was taken

    def __len__(self) -> int:
        return len(self._items)

    def _pop(self) -> T:
        _, (item, missed) = self._items.popitem(last=False)
        self.missed = self._lost + missed
        self._lost = 0
        return item

    def _receive(self, item: T, key: Hashable) -> None:
        replaced = self._items.pop(key, None)
        if replaced is not None:
            self._items[key] = (item, replaced[1] + 1)
            self._count_dropped()
            return
        while self._spare >= self._limit:
            _, (_, missed) = self._items.popitem(last=False)
            self._spare -= 1
            self._lost += missed + 1
            self._count_dropped()
        self._items[key] = (item, 0)
        self._offer()


@mypyc_attr(native_class=True)
class _Closing(_Queued[T]):
    def _receive(self, item: T, key: Hashable) -> None:
        if self._spare < self._limit:
            self._items.append(item)
            self._offer()
        else:
            self.overflowed = True
            self._count_dropped()
            self._broadcast._overflowed_total += 1
            self.close()

    def _end(self) -> Exception:
        if self.overflowed:
            return LimitExceeded(f"receiver fell behind and was closed: limit={self._limit}")
        return super()._end()
