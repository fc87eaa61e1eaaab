"""What a member of a group in this process iterates over."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand, SessionTakenOver
from extra.pubsub.gaps import GapTeller
from extra.pubsub.group_member import GroupMember
from extra.pubsub.group_options import GroupOptions, check_delay
from extra.pubsub.message import Gap, Message
from extra.pubsub.position import parse_since

if TYPE_CHECKING:
    from extra.pubsub.broker import Broker

__all__ = ["GroupMessages"]

logger: Final = logging.getLogger("extra.pubsub")


@final
@mypyc_attr(native_class=True)
class GroupMessages(GroupMember):
    """A share of a group's messages: an async context manager that is its own async iterator, for one task.

    Each message is to be acknowledged with `ack` once it has been worked on; leaving the context gives back
    those that were not. What waits until its time is over goes to another, and does not come any more. Gaps
    are told as `Messages` tells them.

    Cancel-safe: a message is still queued, or has been returned.
    """

    def __init__(
        self,
        broker: Broker,
        name: str,
        filters: list[str],
        since: str,
        options: GroupOptions,
        member: str,
        on_gap: Callable[[Gap], None] | None,
    ) -> None:
        super().__init__(member)
        self.broker = broker
        self.name = name
        self.filters = filters
        self.since = since
        self.options = options
        self.teller = GapTeller(filters, None, on_gap, logger)
        self.waiting: deque[Message | Gap] = deque()
        self.waiter: asyncio.Future[None] | None = None
        self.was_entered = False
        self.was_replaced = False
        self.is_closed = False
        self.is_crowded = False

    async def __aenter__(self) -> GroupMessages:
        if self.was_entered:
            raise RuntimeError("a share is entered once: ask the broker for another")
        self.was_entered = True
        since = parse_since(self.since)
        await self.broker.groups.join(self.name, self.filters, self.options, since, self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.broker_closed()
        self.leave()

    def __aiter__(self) -> GroupMessages:
        return self

    async def __anext__(self) -> Message:
        if self.joined is None:
            raise RuntimeError("enter the share first: async with broker.group(...) as messages")
        if self.waiter is not None:
            raise RuntimeError("one task iterates over a share, and another does already")
        while True:
            if self.waiting:
                entry = self.waiting.popleft()
                if self.is_crowded and self.has_room():
                    self.joined.has_room_again(self)
                if isinstance(entry, Message):
                    job = self.unacknowledged.get(entry.offset)
                    if job is not None and job.deliveries == entry.deliveries:
                        return entry
                    continue
                self.teller.tell(entry)
            elif self.was_replaced:
                raise SessionTakenOver(
                    f"another has come to group {self.name[:80]!r} as member {self.id[:80]!r}"
                )
            elif self.is_closed:
                raise StopAsyncIteration
            else:
                self.waiter = asyncio.get_running_loop().create_future()
                try:
                    await self.waiter
                finally:
                    self.waiter = None

    async def ack(self, *messages: Message) -> None:
        """Say that messages are done.

        Raises:
            NotDelivered: some of them are not this member's any more, for one as its time was over; the
                others are done. InvalidCommand: the share has not been entered.
        """
        self._check_has_joined("ack")
        self.broker.groups.acknowledge(self.name, self.id, [message.offset for message in messages])

    async def nack(self, *messages: Message, delay: float = 0.0) -> None:
        """Give messages back, to be handed out again: after `delay` seconds. Raises as `ack` does."""
        self._check_has_joined("nack")
        check_delay(delay)
        self.broker.groups.give_back(self.name, self.id, [message.offset for message in messages], delay)

    def has_room(self) -> bool:
        group = self.joined
        assert group is not None, "it has joined"
        self.is_crowded = len(self.waiting) >= group.terms.max_unacknowledged
        return not self.is_closed and not self.is_crowded

    def hand(self, message: Message, deliveries: int) -> None:
        self.waiting.append(message if deliveries == 1 else message.delivered_again(deliveries))
        self._wake()

    def tell_gap(self, gap: Gap) -> None:
        self.waiting.append(gap)
        self._wake()

    def replaced(self) -> None:
        self.was_replaced = True
        self.waiting.clear()
        self._wake()

    def broker_closed(self) -> None:
        self.is_closed = True
        self.waiting.clear()
        self._wake()

    def _check_has_joined(self, what: str) -> None:
        if self.joined is None:
            raise InvalidCommand(f"{what}: enter the share first")

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)
