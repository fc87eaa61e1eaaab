"""What a client has published and has no receipt for.

How it works. A publication keeps its command, already encoded, until it is answered. When the connection is
lost, what was not answered is sent again over the next one, in the same order. Each carries an idempotency
key, so that the broker publishes it once, whichever of its answers was lost.

Room is granted strictly in line, and by whoever makes it: a large command is not overtaken for ever by small
ones.

Invariants between calls: what is unsent is unanswered; `_count` and `_size` are those of what is unanswered
or has been granted room; the first in line has no room.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from extra.errors import BrokerClosed, ExtraError
from extra.pubsub import Receipt

__all__ = ["Publications"]


class Publications:
    """Publishing with receipts, over one connection after the other.

    At most `limit` commands are under way, of `limit_bytes` in all, unless it is a single one; whoever
    publishes beyond that waits. `wake` is called when there are commands to send.
    """

    def __init__(self, limit: int, limit_bytes: int, wake: Callable[[], None]) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._wake = wake
        self._count = 0
        self._size = 0
        self._unanswered: dict[int, _Publication] = {}
        self._unsent: dict[int, _Publication] = {}
        self._line: OrderedDict[asyncio.Future[ExtraError | None], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._unanswered)

    async def publish(self, identifier: int, command: bytes) -> Receipt:
        """Send a command, again and again if need be, until its answer comes.

        Cancel-safe: when this is cancelled, the command has been sent or never will be.

        Raises:
            ExtraError: what the broker, or `close`, answered instead.
        """
        size = len(command)
        await self._wait_for_room(size)
        publication = _Publication(command)
        self._unanswered[identifier] = self._unsent[identifier] = publication
        self._wake()
        try:
            answer = await publication.answered
        finally:
            del self._unanswered[identifier]
            self._unsent.pop(identifier, None)
            self._give_back(size)
        if isinstance(answer, ExtraError):
            raise answer
        return answer

    def commands_to_send(self) -> list[bytes]:
        """Return the commands that have not been sent over this connection, in order."""
        commands = [publication.command for publication in self._unsent.values()]
        self._unsent.clear()
        return commands

    def answer(self, identifier: int, answer: Receipt | ExtraError) -> None:
        """Take what the broker answered; to what has been given up meanwhile, nothing happens."""
        publication = self._unanswered.get(identifier)
        if publication is not None:
            publication.answer(answer)

    def lost(self) -> None:
        """Note that the connection is gone: everything without an answer has to be sent again."""
        self._unsent = dict(self._unanswered)

    def refuse_largest(self, error: ExtraError) -> None:
        """Give up the largest of those that were sent: the connection was closed because of its size."""
        sent = [each for identifier, each in self._unanswered.items() if identifier not in self._unsent]
        if sent:
            max(sent, key=lambda each: len(each.command)).answer(error)

    def close(self) -> None:
        """Answer all of them, and those who wait for room, with BrokerClosed."""
        for publication in self._unanswered.values():
            publication.answer(BrokerClosed("the client is closed"))
        for waiter in self._line:
            if not waiter.done():
                waiter.set_result(BrokerClosed("the client is closed"))
        self._line.clear()

    async def _wait_for_room(self, size: int) -> None:
        if not self._line and self._has_room(size):
            self._grant(size)
            return
        waiter: asyncio.Future[ExtraError | None] = asyncio.get_running_loop().create_future()
        self._line[waiter] = size
        try:
            error = await waiter
        except asyncio.CancelledError:
            self._line.pop(waiter, None)
            if waiter.cancelled():
                self._admit()
            elif waiter.result() is None:  # granted just before
                self._give_back(size)
            raise
        if error is not None:
            raise error

    def _has_room(self, size: int) -> bool:
        return self._count == 0 or (self._count < self._limit and self._size + size <= self._limit_bytes)

    def _grant(self, size: int) -> None:
        self._count += 1
        self._size += size

    def _give_back(self, size: int) -> None:
        self._count -= 1
        self._size -= size
        self._admit()

    def _admit(self) -> None:
        """Grant room to the first in line, as far as there is any."""
        while self._line:
            waiter, size = next(iter(self._line.items()))
            if not self._has_room(size):
                break
            del self._line[waiter]
            if not waiter.done():
                self._grant(size)
                waiter.set_result(None)


class _Publication:
    """A command under way, and the future of its answer."""

    __slots__ = ("answered", "command")

    def __init__(self, command: bytes) -> None:
        self.command = command
        self.answered: asyncio.Future[Receipt | ExtraError] = asyncio.get_running_loop().create_future()

    def answer(self, answer: Receipt | ExtraError) -> None:
        if not self.answered.done():
            self.answered.set_result(answer)
