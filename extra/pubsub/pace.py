"""How much is published before the event loop turns, so that outboxes are written before they overflow.

Publishing never waits for subscribers, but who publishes much in one stretch, or many who publish in one
turn of the loop, would fill the outboxes of subscribers that do read, as those are written once per turn.
So everything that is published spends from one allowance. Once that is used up publishers wait in a queue;
each turn lets as many go on as the allowance is for, in the order in which they came.

The allowance is renewed ahead of that, as soon as a part of it is spent: publishers who spread over many
turns never wait. Of 64 that publish by turns over HTTP a third did, each at the cost of a task.
"""

import asyncio
from collections import deque
from typing import Final, final

from mypy_extensions import mypyc_attr

__all__ = ["STRETCH_BYTES", "Pace"]

STRETCH_BYTES: Final = 128 * 1024
"""So much is published in one stretch at most, and one message more: a fraction of an outbox."""
OUTBOX_PARTS: Final = 4
"""And no more than this part of an outbox, where that is small."""
AHEAD_PARTS: Final = 4
"""When this part of the allowance is spent, it is going to be renewed."""


@final
@mypyc_attr(native_class=True)
class Pace:
    """The allowance of one broker. `spent` counts bytes, of what was published since the loop turned last."""

    def __init__(self, outbox_limit_bytes: int) -> None:
        self.limit_bytes = min(STRETCH_BYTES, outbox_limit_bytes // OUTBOX_PARTS)
        self.ahead_bytes = self.limit_bytes // AHEAD_PARTS
        self.spent = 0
        self.is_granting = False
        self.queue: deque[Waiter] = deque()

    def is_spent(self) -> bool:
        """Return whether who wants to publish has to await `turn` before."""
        return self.spent >= self.limit_bytes or len(self.queue) > 0

    def spend(self, size: int) -> None:
        """Note that `size` bytes were published."""
        self.spent += size
        if self.spent >= self.ahead_bytes and not self.is_granting:
            self._grant_later()

    async def turn(self, size: int) -> None:
        """Wait until the loop has turned and `size` bytes may be published. Cancel-safe."""
        waiter = Waiter(asyncio.get_running_loop().create_future(), size)
        self.queue.append(waiter)
        if not self.is_granting:
            self._grant_later()
        try:
            await waiter.turned
        finally:
            if waiter.turned.done() and not waiter.turned.cancelled():
                self.spent -= size  # it was set aside, and is spent, or not, from here on

    def _grant_later(self) -> None:
        """One turn writes what was woken in the turn before: grant after two."""
        self.is_granting = True
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._grant)

    def _grant(self) -> None:
        self.spent = 0
        self.is_granting = False
        while self.queue and self.spent < self.limit_bytes:
            waiter = self.queue.popleft()
            if not waiter.turned.done():
                self.spent += waiter.size
                waiter.turned.set_result(None)
        if self.queue:
            self._grant_later()


@final
@mypyc_attr(native_class=True)
class Waiter:
    """A publisher in the queue."""

    __slots__ = ("size", "turned")

    def __init__(self, turned: asyncio.Future[None], size: int) -> None:
        self.turned = turned
        self.size = size
