"""What a subscriber at a distance iterates over: the same as in process."""

import logging
from collections.abc import Callable, Iterable
from types import TracebackType

from extra.client.subscription import State, Subscription
from extra.errors import BrokerClosed
from extra.pubsub import Gap, GapTeller, Message, Position, format_cursor

__all__ = ["Messages"]

logger = logging.getLogger("extra.client")


class Messages:
    """The messages of a subscription: an async context manager that is its own async iterator, for one task.

    Entering returns when the broker has confirmed the subscription, or earlier, with the first message that
    it replays: a replay may be larger than what is buffered. Messages come in offset order, each once,
    however often the connection is lost. A gap is told by `on_gap`, in order. Without `on_gap` the iteration
    raises UnrecoverablePosition, and may go on afterwards; a subscriber that chose to lose messages
    ("drop-oldest", "latest") finds them in `dropped` instead, and one line in the log. Leaving the context or
    closing the client ends the iteration.

    Cancel-safe: a message is still buffered, or has been returned.
    """

    def __init__(
        self,
        subscribe: Callable[[], Subscription],
        taken: Callable[[Subscription], None],
        leave: Callable[[Subscription], None],
        filters: Iterable[str],
        overflow: str | None,
        on_gap: Callable[[Gap], None] | None,
    ) -> None:
        self._subscribe = subscribe
        self._taken = taken
        self._leave = leave
        self._teller = GapTeller(list(filters), overflow, on_gap, logger)
        self._subscription: Subscription | None = None
        self._at = Position("", 0)
        self._was_entered = False
        self._is_taken_from = False

    async def __aenter__(self) -> "Messages":
        if self._was_entered:
            raise RuntimeError("a subscription is entered once: subscribe again for another")
        self._was_entered = True
        subscription = self._subscribe()
        try:
            while not subscription.has_begun and subscription.state is not State.CLOSED:
                subscription.changed.clear()
                await subscription.changed.wait()
        except BaseException:
            self._leave(subscription)
            raise
        if not subscription.has_begun or subscription.began is None:
            raise subscription.error or BrokerClosed("the client was closed")
        subscription.is_entered = True
        self._at = subscription.began
        self._subscription = subscription
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._subscription is not None:
            self._leave(self._subscription)

    @property
    def complete(self) -> bool:
        """Whether everything since where this began is still to be had.

        Final once the log has been caught up with.
        """
        return self._subscription is None or self._subscription.complete

    @property
    def cursor(self) -> str:
        """Where to resume: after the last message that the iteration gave, or where it began.

        Raises RuntimeError before the subscription is entered.
        """
        self._entered()
        return format_cursor(self._at.epoch, self._at.offset, self._at.known)

    @property
    def dropped(self) -> int:
        """How many messages were dropped because this subscriber did not keep up.

        What the broker dropped for this connection, whichever subscription it was for, counts as well.
        """
        subscription = self._subscription
        if subscription is None:
            return 0
        return subscription.inbox.dropped + subscription.dropped_before

    def __aiter__(self) -> "Messages":
        return self

    async def __anext__(self) -> Message:
        subscription = self._entered()
        if self._is_taken_from:
            raise RuntimeError("one task iterates over a subscription, and another does already")
        while True:
            entry = subscription.inbox.take()
            if entry is not None:
                self._taken(subscription)
            if isinstance(entry, Message):
                if entry.epoch != self._at.epoch or entry.offset > self._at.offset:
                    self._at = Position(entry.epoch, entry.offset, self._known(entry.epoch))
                return entry
            if entry is not None:
                self._tell(entry)
            elif subscription.state is not State.CLOSED:
                subscription.changed.clear()
                self._is_taken_from = True
                try:
                    await subscription.changed.wait()
                finally:
                    self._is_taken_from = False
            elif subscription.error is not None:
                raise subscription.error
            else:
                raise StopAsyncIteration

    def _entered(self) -> Subscription:
        if self._subscription is None:
            raise RuntimeError("enter the subscription first: async with client.subscribe(...) as messages")
        return self._subscription

    def _known(self, epoch: str) -> int:
        return self._at.known if self._at.epoch == epoch else 0

    def _tell(self, gap: Gap) -> None:
        subscription = self._entered()
        if gap.reason == "epoch" and subscription.position is not None:
            self._at = Position(subscription.position.epoch, 0)
        else:
            self._at = Position(self._at.epoch, self._at.offset, max(self._at.known, gap.until))
        self._teller.tell(gap)
