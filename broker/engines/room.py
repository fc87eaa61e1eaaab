"""Room in a queue that is bounded in number and in bytes, and who waits for it.

First come, first served: while anybody waits, nobody passes. One that is larger than the whole queue enters
when that is empty.
"""

import asyncio
from collections import deque
from typing import final

__all__ = ["Room"]


@final
class Room:
    """How much is in a queue. `messages` and `bytes` have entered and not left; for one event loop."""

    def __init__(self, limit_messages: int, limit_bytes: int) -> None:
        self.limit_messages = limit_messages
        self.limit_bytes = limit_bytes
        self.messages = 0
        self.bytes = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self, size: int) -> bool:
        """Enter if there is room and nobody waits; return whether it did."""
        if self._waiting or not self._fits(size):
            return False
        self.messages += 1
        self.bytes += size
        return True

    async def enter(self, size: int) -> None:
        """Wait for room and enter. Cancel-safe: it has not entered then. Raises what `refuse` is given."""
        if self.take(size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(1, size)  # its turn had come
            elif turn.cancelled():
                self._waiting = deque([each for each in self._waiting if each[0] is not turn])
                self._admit()
            raise

    def leave(self, messages: int, size: int) -> None:
        """Say that something has left the queue, and let in who waits for that."""
        self.messages -= messages
        self.bytes -= size
        self._admit()

    def refuse(self, error: Exception) -> None:
        """Send away all who wait."""
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

    def _fits(self, size: int) -> bool:
        return self.messages == 0 or (
            self.messages < self.limit_messages and self.bytes + size <= self.limit_bytes
        )

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][1]):
            turn, size = self._waiting.popleft()
            if not turn.done():
                self.messages += 1
                self.bytes += size
                turn.set_result(None)
