"""What waits for the writer, and how those who wait for it learn what has become of it."""

import asyncio
from collections import deque
from typing import TypeAlias, final

from broker.engines.batch import Placed
from extra.errors import ExtraError
from extra.pubsub import Message

__all__ = ["Clearing", "Entry", "KeyWindow", "Queued", "Refused", "Ticket"]


@final
class Ticket:
    """The wait for what becomes of one or more requests. For one task.

    `forgetting` is a state, by kind and name, that goes in one piece with the message.
    """

    __slots__ = ("_left", "_turn", "answers", "forgetting")

    def __init__(self, count: int, forgetting: tuple[str, str] | None = None) -> None:
        self.forgetting = forgetting
        self.answers: list[int | ExtraError] = [0] * count
        self._left = count
        self._turn: asyncio.Future[None] | None = None

    def decide(self, number: int, answer: int | ExtraError) -> None:
        """Say what has become of one of them: to how many subscribers it went, or why it was refused."""
        self.answers[number] = answer
        self._left -= 1
        if self._left == 0 and self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def answer(self) -> int:
        """Return what has become of the one request, or raise why it was refused."""
        answer = self.answers[0]
        if isinstance(answer, ExtraError):
            raise answer
        return answer

    async def decided(self) -> None:
        """Wait until all are decided. Cancelled, it waits for that all the same, and then says so."""
        cancelled: asyncio.CancelledError | None = None
        while self._left > 0:
            self._turn = asyncio.get_running_loop().create_future()
            try:
                await self._turn
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


@final
class Queued(Placed):
    """A message on its way to the file."""

    __slots__ = ("number", "ticket")

    def __init__(
        self,
        message: Message,
        offset: int,
        now: float,
        time: float,
        key: bytes,
        is_kept: bool,
        is_durable: bool,
        ticket: Ticket,
        number: int,
    ) -> None:
        super().__init__(message, offset, now, time, key, is_kept, is_durable)
        self.ticket = ticket
        self.number = number

    @property
    def topic(self) -> str:
        return self.message.topic


@final
class Clearing:
    """A retained message, by topic and offset, that is on its way out of the file."""

    __slots__ = ("offset", "ticket", "topic")

    def __init__(self, topic: str, offset: int, ticket: Ticket) -> None:
        self.topic = topic
        self.offset = offset
        self.ticket = ticket


@final
class Refused:
    """A message that was not to have its place in the queue, and why: for what stands before it there.

    Its publisher is told when that has taken effect: until then it may be refused itself.
    """

    __slots__ = ("error", "number", "ticket")

    def __init__(self, error: ExtraError, ticket: Ticket, number: int) -> None:
        self.error = error
        self.ticket = ticket
        self.number = number


Entry: TypeAlias = Queued | Clearing | Refused


@final
class KeyWindow:
    """Up to which offset idempotency keys no longer count, by age and by number: as the broker forgets
    them.
    """

    def __init__(self, window_s: float, limit: int) -> None:
        self.window_s = window_s
        self.limit = limit
        self.count = 0
        self.owed_until = 0
        self._steps: deque[tuple[float, int, int]] = deque()

    def add(self, offset: int, time: float, count: int) -> None:
        """Say that so many keys more have been written, the last one at this offset and time."""
        self._steps.append((time, offset, count))
        self.count += count

    def has_old(self, time: float) -> bool:
        """Return whether any keys need not be kept any longer."""
        if not self._steps:
            return self.owed_until > 0
        made_at, _, count = self._steps[0]
        return self.owed_until > 0 or made_at <= time - self.window_s or self.count - count >= self.limit > 0

    def drop_old(self, time: float) -> int:
        """Let go of old keys; return the highest offset of those, or 0."""
        until, self.owed_until = self.owed_until, 0
        while self._steps and self.has_old(time):
            _, until, count = self._steps.popleft()
            self.count -= count
        return until

    def owe(self, until: int) -> None:
        """Say that what `drop_old` has returned is still to be done."""
        self.owed_until = max(self.owed_until, until)
