"""The messages on their way to being retained, and whether there is room for one more.

What is retained is bounded, and a message is refused before it gets an offset. Whether those on their way
come in place of others cannot be told for all of them at once: near the limit, one waits for the rest.
"""

import asyncio
from typing import final

from broker.engines.queued import Queued
from extra.pubsub import Message, RetainedMessages

__all__ = ["Retaining"]


@final
class Retaining:
    """What is to be retained and has not taken effect yet. `newest` has the last of each topic."""

    def __init__(self) -> None:
        self.newest: dict[str, Queued] = {}
        self.messages = 0
        self.bytes = 0
        self._none = asyncio.Event()

    def has_room(self, kept: RetainedMessages, message: Message) -> bool:
        """Return whether there is room to retain a message, whatever those on their way come to replace.

        False when that cannot be told before they have arrived. Raises LimitExceeded when there is none.
        """
        if self.messages == 0:
            kept.check_room(message)
            return True
        return (
            len(kept) + self.messages < kept.limit_messages
            and kept.size + self.bytes + message.size <= kept.limit_bytes
        )

    async def none_left(self) -> None:
        """Wait until all that are on their way have arrived or been refused."""
        self._none.clear()
        await self._none.wait()

    def add(self, queued: Queued) -> None:
        self.newest[queued.topic] = queued
        self.messages += 1
        self.bytes += queued.message.size

    def discard(self, queued: Queued) -> None:
        """One has arrived or been refused."""
        if self.newest.get(queued.topic) is queued:
            del self.newest[queued.topic]
        self.messages -= 1
        self.bytes -= queued.message.size
        if self.messages == 0:
            self._none.set()
