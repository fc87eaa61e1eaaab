"""What a subscriber in this process iterates over.

There is no task behind it: the consumer itself takes the steps of catching up with the log, when it asks for
the next message and the outbox is empty. A consumer that falls behind further than its outbox goes back to
the log in the same way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand
from extra.pubsub.gaps import GapTeller
from extra.pubsub.message import Gap, Message
from extra.pubsub.named import NamedSession, taken_over
from extra.pubsub.position import format_cursor, parse_since
from extra.pubsub.session import CLOSED, HELD, Consumer, Replay, Session

if TYPE_CHECKING:
    from extra.pubsub.broker import Broker

__all__ = ["Messages"]

NOT_ENTERED: Final = "enter the subscription first: async with broker.subscribe(...) as messages"

logger: Final = logging.getLogger("extra.pubsub")


@final
@mypyc_attr(native_class=True)
class Messages(Consumer):
    """The messages of a subscription: an async context manager that is its own async iterator, for one task.

    Messages come in offset order, each once; retained ones, if asked for, before them. A gap is told by
    `on_gap`, in order. Without `on_gap` the iteration raises UnrecoverablePosition, and may go on afterwards;
    a subscriber that chose to lose messages ("drop-oldest", "latest") finds them in `dropped` instead, and
    one line in the log. Leaving the context or closing the broker ends the iteration.

    Cancel-safe: a message is still queued, or has been returned.
    """

    def __init__(
        self,
        broker: Broker,
        filters: list[str],
        since: str,
        overflow: str | None,
        retained: bool | None,
        on_gap: Callable[[Gap], None] | None,
        shown: bytes | None = None,
        member: str = "",
        name: str = "",
        ack: bool | None = None,
        expires_s: float | None = None,
    ) -> None:
        self.broker = broker
        self.filters = filters
        self.since = since
        self.overflow = overflow
        self.retained = retained
        self.shown = shown  # where it is present: as JSON
        self.member = member
        self.name = name  # of the named session that it holds, if any
        self.explicit = ack
        self.expires_s = expires_s
        self.teller = GapTeller(filters, overflow, on_gap, logger)
        self.session: Session | None = None
        self.replay: Replay | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.offset = 0
        self.known = 0
        self.has_begun = False
        self.was_entered = False
        self.is_taken_from = False
        self.was_taken_over = False
        self.may_have_ended = True  # looked at when nothing is left to take

    async def __aenter__(self) -> Messages:
        if self.was_entered:
            raise RuntimeError("a subscription is entered once: subscribe again for another")
        self.was_entered = True
        since = parse_since(self.since)
        broker = self.broker
        session = broker.open_session(self, overflow=self.overflow)
        try:
            named: NamedSession | None = None
            if self.name:
                broker.check_claim(session, self.name, self.filters, since)
                named = broker.claim(session, self.name, self.explicit, self.expires_s)
                since = since if named.is_new else parse_since(named.since)
            attendance = (self.shown, self.member) if self.shown is not None else None
            self.replay = await broker.add_filters(
                session, self.filters, since, retained=self.retained, attendance=attendance
            )
            self.offset = self.replay.after
            self.known = max(self.replay.known, 0)
            if named is not None:
                broker.named.begin(named, self.replay.after)
            if session.state == HELD:
                await self._advance(session)  # the first look at the log, which tells whether it is complete
        except BaseException:
            broker.close_session(session, at_once=True)
            raise
        self.session = session
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.session is not None:
            self.broker.close_session(self.session, at_once=True)
            self.wake()

    @property
    def complete(self) -> bool:
        """Whether everything since where this began is still to be had.

        Final once the log has been caught up with.
        """
        return self.replay is None or self.replay.complete

    @property
    def cursor(self) -> str:
        """Where to resume: after the last message that the iteration gave, or where it began.

        Raises RuntimeError before the subscription is entered.
        """
        if self.session is None:
            raise RuntimeError(NOT_ENTERED)
        if not self.has_begun and "-" in self.since:
            return self.since
        return format_cursor(self.broker.epoch(), self.offset, self.known)

    @property
    def dropped(self) -> int:
        """How many messages were dropped because this subscriber did not keep up."""
        return self.session.outbox.dropped if self.session is not None else 0

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> Message:
        session = self.session
        if session is None:
            raise RuntimeError(NOT_ENTERED)
        if self.is_taken_from:
            raise RuntimeError("one task iterates over a subscription, and another does already")
        while True:
            session.let_go(self.broker.clock)
            entry = session.outbox.take()
            if isinstance(entry, Message):
                self.has_begun = True
                # A retained message can come before others that are older.
                self.offset = max(self.offset, min(entry.offset, session.reached(entry.offset)))
                return entry
            if entry is not None:
                self.has_begun = True
                self._tell(entry)
            elif self.was_taken_over:
                raise taken_over(self.name)
            elif session.state == CLOSED:
                raise StopAsyncIteration
            elif self.may_have_ended and session.state != HELD and self.broker.have_ended(self.filters):
                self.broker.close_session(session)
            else:
                self.is_taken_from = True
                try:
                    if session.state == HELD:
                        await self._advance(session)
                    else:
                        self.may_have_ended = False
                        session.sleep()
                        await self._wait()
                finally:
                    self.is_taken_from = False

    def ack(self, message: Message) -> None:
        """Acknowledge a message and all before it: the named session goes on behind it.

        Raises:
            InvalidCommand: this has no named session, or no longer, or the message was not given by it.
        """
        session = self.session
        named = self.broker.named.held.get(session.id) if session is not None else None
        if named is None:
            raise InvalidCommand("ack: this subscription has no named session, or another has taken it over")
        self.broker.named.acknowledge(named, message.offset)

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def overflowed(self) -> None:
        """Nothing to do: the session is held, and `__anext__` catches up when the outbox is empty."""

    def topic_ended(self) -> None:
        self.may_have_ended = True

    def broker_closed(self) -> None:
        self.wake()

    def taken_over(self) -> None:
        self.was_taken_over = True
        if self.session is not None:
            self.broker.close_session(self.session)
        self.wake()

    async def _advance(self, session: Session) -> None:
        await self.broker.advance(session)
        if self.replay is not None:
            self.known = max(self.known, self.replay.gone)

    async def _wait(self) -> None:
        self.waiter = asyncio.get_running_loop().create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def _tell(self, gap: Gap) -> None:
        self.known = max(self.known, gap.until)
        self.teller.tell(gap)
