"""Publishing later: taking messages in, publishing them when their time has come, and taking them back.

A message is accepted when the engine has it as safe as one with a receipt: as a state of the kind
"scheduled". When its time has come it is appended, and the state goes in one piece with that, so that however
the process ends it is published once. Where the engine fails meanwhile, it waits again for the next try.

Whoever sweeps the broker starts the publishing, once a second. With an engine that waits for nothing it is
done then and there, as far as the allowance of publishers goes; what is left goes on in a task of this
module's own, one at a time, which `close` waits for.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import BrokerClosed, EngineUnavailable, ExtraError
from extra.pubsub.clock import Clock
from extra.pubsub.engine import Engine
from extra.pubsub.message import Message, Receipt
from extra.pubsub.schedule import Entry, Schedule

__all__ = ["KIND", "Scheduler"]

logger: Final = logging.getLogger("extra.broker")

KIND: Final = "scheduled"
"""The kind of the states that keep what is scheduled, by id."""

RUN_LIMIT: Final = 256
"""So many are published together: an engine that writes in batches takes them as one."""


@final
@mypyc_attr(native_class=True)
class Scheduler:
    """The schedule of one broker, and its publishing.

    `place_at_once` publishes an entry if that needs no waiting, and returns whether it did; `place` waits.
    Both let go of its state, and raise what keeps it from being published.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        schedule: Schedule,
        place_at_once: Callable[[Entry], bool],
        place: Callable[[Entry], Awaitable[None]],
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.schedule = schedule
        self.place_at_once = place_at_once
        self.place = place
        self.task: asyncio.Task[None] | None = None
        self.published_total = 0
        self.refused_total = 0
        self.cancelled_total = 0

    def restore(self) -> None:
        """Take in what the engine has kept; once, after its start."""
        for id, value in self.engine.states(KIND):
            try:
                self.schedule.restore(Entry.decode(id, value))
            except ValueError as error:
                self.refused_total += 1
                logger.error("%s", error)

    async def accept(self, message: Message, deliver_at: float, name: bytes) -> Receipt:
        """Take a message in, to be published at `deliver_at`. Cancelled, it is not.

        Raises:
            LimitExceeded: there is no room.
            EngineUnavailable: it cannot be kept just now.
        """
        schedule = self.schedule
        entry = Entry(os.urandom(8).hex(), message, deliver_at, name, schedule.enter(message))
        self.engine.keep_state(KIND, entry.id, entry.encode())
        try:
            await self.engine.settled()
        except BaseException:
            self.engine.keep_state(KIND, entry.id, b"")
            schedule.leave(message)
            raise
        schedule.put(entry)
        return receipt_of(entry)

    async def cancel(self, id: str) -> bool:
        """Take a message back that waits; return whether there was one.

        Raises:
            EngineUnavailable: that cannot be kept just now. It stays scheduled.
        """
        entry = self.schedule.take(id)
        if entry is None:
            return False
        self.engine.keep_state(KIND, id, b"")
        try:
            await self.engine.settled()
        except BaseException:
            self._wait_again(entry)
            raise
        self.schedule.leave(entry.message)
        self.cancelled_total += 1
        return True

    def deliver(self) -> None:
        """Publish what is due, or begin with it, unless that is under way."""
        if self.task is not None and not self.task.done():
            return
        schedule = self.schedule
        while schedule.has_due(self.clock.time()):
            [entry] = schedule.take_due(self.clock.time(), 1)
            try:
                is_placed = self.place_at_once(entry)
            except ExtraError as error:
                if not self._failed(entry, error):
                    return
                continue
            if not is_placed:
                schedule.put(entry)
                self.task = asyncio.ensure_future(self._deliver())
                return
            self._done(entry)

    def figures(self) -> dict[str, int]:
        """Return counts for metrics, by name."""
        return {
            "scheduled_messages": len(self.schedule),
            "scheduled_bytes": self.schedule.size,
            "scheduled_published": self.published_total,
            "scheduled_refused": self.refused_total,
            "scheduled_cancelled": self.cancelled_total,
        }

    async def close(self) -> None:
        """End the publishing that is under way: what has not been published stays scheduled."""
        task = self.task
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _deliver(self) -> None:
        """Publish what is due, many together, until nothing is or the engine fails."""
        while self.schedule.has_due(self.clock.time()):
            due = self.schedule.take_due(self.clock.time(), RUN_LIMIT)
            outcomes = await asyncio.gather(*[self._place(entry) for entry in due], return_exceptions=True)
            goes_on = True
            for entry, outcome in zip(due, outcomes, strict=True):
                if outcome is None:
                    self._done(entry)
                elif isinstance(outcome, ExtraError):
                    goes_on &= self._failed(entry, outcome)
                else:
                    self._wait_again(entry)
                    goes_on = False
                    if not isinstance(outcome, asyncio.CancelledError):
                        logger.error("publishing a scheduled message has failed", exc_info=outcome)
            if not goes_on:
                return

    async def _place(self, entry: Entry) -> None:
        await self.place(entry)

    def _done(self, entry: Entry) -> None:
        self.schedule.leave(entry.message)
        self.published_total += 1

    def _failed(self, entry: Entry, error: ExtraError) -> bool:
        """Let an entry wait again, or give it up; return whether others may be tried."""
        if isinstance(error, (EngineUnavailable, BrokerClosed)):
            self._wait_again(entry)
            return False
        self.engine.keep_state(KIND, entry.id, b"")
        self.schedule.leave(entry.message)
        self.refused_total += 1
        logger.warning(
            "scheduled message %s for topic %r is not published: %s",
            entry.id,
            entry.message.topic[:80],
            error,
        )
        return True

    def _wait_again(self, entry: Entry) -> None:
        """Let an entry wait that could not be published. What failed may have let go of its state."""
        if entry.message.offset != 0:
            self._done(entry)  # it has its place: only who waited for that has gone
            return
        self.schedule.put(entry)
        self.engine.keep_state(KIND, entry.id, entry.encode())


def receipt_of(entry: Entry) -> Receipt:
    """Return the receipt of a message that has been accepted and not published."""
    return Receipt(entry.message.topic, 0, "", 0, entry.id, entry.deliver_at)
