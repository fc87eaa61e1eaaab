"""A member's share of a group, at a distance: the same as in process."""

from collections.abc import Callable

from extra.client.dedicated import JOIN, Dedicated, Place
from extra.errors import BrokerClosed, NotDelivered
from extra.protocols.commands import Ack, Command, Nack, Subscribe
from extra.pubsub import Gap, GroupOptions, Message, check_delay

__all__ = ["Share"]


class Share(Dedicated):
    """A share of a group's messages: an async context manager that is its own async iterator, for one task.

    Each message is to be acknowledged with `ack` once it has been worked on; leaving the context gives back
    those that were not, and so does losing the connection, which is made again. `message.deliveries` counts
    how often a message has been handed out. Gaps are told as `Messages` tells them.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        filters: list[str],
        since: str,
        member: str | None,
        options: GroupOptions,
        on_gap: Callable[[Gap], None] | None,
    ) -> None:
        subscribe = Subscribe(
            filter=filters,
            id=JOIN,
            since=since,
            member=member,
            group=name,
            ack_wait=options.ack_wait,
            max_unacknowledged=options.max_unacknowledged,
            max_deliveries=options.max_deliveries,
            dead_letters=options.dead_letters,
            order=options.order,
            expires=options.expires,
        )
        super().__init__(place, subscribe, filters, on_gap)
        self.name = name

    async def ack(self, *messages: Message) -> None:
        """Say that messages are done, and wait until the broker knows.

        Raises:
            NotDelivered: some of them are not this member's any more, for one as its time was over or the
                connection was lost; `offsets` has which, and the others are done.
        """
        await self._settle(messages, lambda name, offsets: Ack(id=name, group=self.name, offsets=offsets))

    async def nack(self, *messages: Message, delay: float = 0.0) -> None:
        """Give messages back, to be handed out again: after `delay` seconds. Raises as `ack` does."""
        check_delay(delay)
        await self._settle(
            messages,
            lambda name, offsets: Nack(group=self.name, id=name, offsets=offsets, delay=delay),
        )

    def _takes(self, message: Message) -> bool:
        return True

    async def _settle(self, messages: tuple[Message, ...], make: Callable[[str, list[int]], Command]) -> None:
        """Say what has become of messages. Those of another life of the log are nobody's any more."""
        offsets = [message.offset for message in messages if message.epoch == self._epoch]
        others = [message.offset for message in messages if message.epoch != self._epoch]
        if offsets:
            try:
                await self._ask(lambda name: make(name, offsets))
            except BrokerClosed:
                raise self._lost_error(offsets + others) from None
        if others:
            raise self._lost_error(others)

    def _lost_error(self, offsets: list[int]) -> NotDelivered:
        return NotDelivered(
            f"group {self.name[:80]!r}: the connection was lost: what this member held is handed out again",
            offsets,
        )
