"""Messages over a connection of their own: shares of groups, and named sessions.

What the broker keeps for a connection, and takes from it when it ends, cannot be shared with other
subscriptions of a client. So each of these has a connection, which comes back by itself: it joins again, and
what it had and nobody has acknowledged comes again.

Flow control. Reading stops while more than `limit_bytes` waits for the consumer, and never while a command
waits for its answer, which comes behind messages: the consumer that waits for it takes none of them.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from asyncio import Future, TaskGroup
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Self

from extra.client.address import Address
from extra.client.backoff import Backoff
from extra.client.caller import Answer
from extra.client.problems import error_from_code
from extra.client.subscriptions import message_of
from extra.client.surroundings import Surroundings
from extra.errors import BrokerClosed, ExtraError, SessionTakenOver
from extra.protocols.commands import Command, Subscribe
from extra.protocols.pushes import (
    Acknowledged,
    EndPush,
    ErrorPush,
    GapPush,
    Goodbye,
    MessagePush,
    Push,
    Subscribed,
)
from extra.pubsub import Gap, GapTeller, Message

if TYPE_CHECKING:
    from extra.client.link import Link, LinkSettings

__all__ = ["Dedicated", "Place"]

JOIN: str = "join"
STABLE_S = 10.0
"""A connection that lasts so long resets the back-off."""
TAKEN_OVER = 4409
"""What the broker closes a connection with whose place another has taken."""

logger = logging.getLogger("extra.client")


@dataclass(frozen=True, slots=True)
class Place:
    """Where such a connection goes, and what it has of its client."""

    address: Address
    settings: Callable[[], "LinkSettings"]  # raises BrokerClosed when the client is not open
    tasks: TaskGroup
    surroundings: Surroundings
    backoff: Callable[[], Backoff]
    streams: "set[Dedicated]"
    call: Callable[[str, str, bytes], Awaitable[Answer]]  # a request: method, target and body
    limit_bytes: int


class Dedicated(ABC):
    """An async context manager that is its own async iterator, for one task. Cancel-safe."""

    def __init__(
        self, place: Place, subscribe: Subscribe, filters: Iterable[str], on_gap: Callable[[Gap], None] | None
    ) -> None:
        self._place = place
        self._command = subscribe
        self._teller = GapTeller(list(filters), None, on_gap, logger)
        self._backoff = place.backoff()
        self._waiting: deque[Message | Gap] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()  # there is something to take, or it is over
        self._room = asyncio.Event()
        self._answers: dict[str, Future[Push]] = {}
        self._numbers = count(1)
        self._link: Link | None = None
        self._epoch = ""
        self._runner: asyncio.Task[None] | None = None
        self._error: ExtraError | None = None
        self._was_entered = False
        self._has_joined = False
        self._is_refused = False  # for good: not to be asked for again
        self._is_caught_up = False  # the replay of this connection is over
        self._is_complete = True
        self._dropped = 0
        self._newest_gap: Gap | None = None
        self._has_ended = False  # nothing more will come
        self._is_over = False
        self._is_taken_from = False

    async def __aenter__(self) -> Self:
        if self._was_entered:
            raise RuntimeError("it is entered once: ask the client for another")
        self._was_entered = True
        link = await self._open()
        try:
            self._place.settings()  # the client may have been left meanwhile
        except BrokerClosed:
            await link.close()
            raise
        self._place.streams.add(self)
        name = f"extra client of {self._place.address.url}, {type(self).__name__}"
        self._runner = self._place.tasks.create_task(self._run(link), name=name)
        try:
            await asyncio.sleep(0)  # a task that is cancelled before it begins would leave the link open
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        if self._runner is not None:
            await asyncio.wait((self._runner,))

    def close(self) -> None:
        """End it: the iteration stops, and what has not been acknowledged is the broker's again."""
        self._place.streams.discard(self)
        self._is_over = True
        self._waiting.clear()
        self._waiting_bytes = 0
        self._changed.set()
        if self._runner is not None:
            self._runner.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        if self._runner is None:
            raise RuntimeError("enter it first: async with ... as messages")
        if self._is_taken_from:
            raise RuntimeError("one task iterates over it, and another does already")
        while True:
            if self._waiting:
                entry = self._waiting.popleft()
                if isinstance(entry, Message):
                    self._waiting_bytes -= entry.size
                    self._room.set()
                    self._given(entry)
                    return entry
                self._teller.tell(entry)
            elif self._error is not None:
                raise self._error
            elif self._is_over or self._has_ended:
                raise StopAsyncIteration
            else:
                self._changed.clear()
                self._is_taken_from = True
                try:
                    await self._changed.wait()
                finally:
                    self._is_taken_from = False

    # What differs

    @abstractmethod
    def _takes(self, message: Message) -> bool:
        """Return whether a message that has come is to be given."""

    def _given(self, message: Message) -> None:  # noqa: B027 - shares keep no count
        """The iteration has given a message."""

    def _joining(self) -> Subscribe:
        """Return the command that joins."""
        return self._command

    async def _speak(self, link: "Link") -> None:  # noqa: B027 - shares have nothing to say
        """Say what is to be said over a connection without being asked to."""

    def _caught_up(self, cursor: str) -> None:  # noqa: B027 - shares have no position
        """The replay is over, and from `cursor` nothing will be missed."""

    def _ends(self, push: EndPush) -> bool:
        """Return whether nothing more will come behind the end of a topic."""
        return False

    # Commands

    async def _ask(self, make: Callable[[str], Command]) -> None:
        """Send a command, and wait for its answer.

        Raises what the broker answers; BrokerClosed when the connection is lost, or is not there just now.
        """
        link = self._link
        if link is None:
            raise _lost()
        name = f"c{next(self._numbers)}"
        answer: Future[Push] = asyncio.get_running_loop().create_future()
        self._answers[name] = answer
        self._room.set()
        try:
            await link.send([link.codec.encode(make(name))])
            await answer
        finally:
            self._answers.pop(name, None)

    # The connection

    async def _open(self) -> "Link":
        """Connect, and join. Raises as entering does."""
        from extra.client.link import Link  # websockets takes a while to import

        link = await Link.open(self._place.address, self._place.settings())
        try:
            self._epoch = link.welcome.epoch
            self._has_joined = self._is_caught_up = False
            await link.send([link.codec.encode(self._joining())])
            while not self._has_joined:
                pushes = await link.receive()
                if pushes is None:
                    self._check_place(link)
                    raise BrokerClosed(f"the broker has hung up: {link.ending}")
                for push in pushes:
                    if isinstance(push, Goodbye):
                        self._part(push)
                        raise BrokerClosed(f"the broker has said goodbye ({push.reason})")
                    self._receive(push)
        except BaseException:
            self._drop()
            await link.close()
            raise
        self._link = link
        return link

    async def _run(self, link: "Link") -> None:
        """Serve one connection after the other, until it is cancelled or the broker refuses."""
        try:
            while True:
                delay_s = await self._serve(link)
                link = await self._again(delay_s)
        except ExtraError as error:
            self._error = error
        finally:
            self._is_over = True
            self._link = None
            self._place.streams.discard(self)
            self._changed.set()
            await link.close()

    async def _serve(self, link: "Link") -> float | None:
        """Read until the connection is over; return how long the broker asks to wait, None if it does not.

        Raises what the broker refuses for good.
        """
        clock = self._place.surroundings.clock
        began_at = clock()
        speaker = self._place.tasks.create_task(self._speak(link))
        try:
            return await self._read(link)
        except ExtraError as error:
            if self._is_refused:
                raise
            logger.warning("lost the connection to %s: %s", self._place.address.url, error)
            return None
        finally:
            self._link = None
            speaker.cancel()
            self._drop()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(_lost())
            self._answers.clear()
            if clock() - began_at >= STABLE_S:
                self._backoff.reset()
            await link.close()

    async def _read(self, link: "Link") -> float | None:
        while (pushes := await link.receive()) is not None:
            for push in pushes:
                if isinstance(push, Goodbye):
                    return self._part(push)
                self._receive(push)
            while self._waiting_bytes > self._place.limit_bytes and not self._answers:
                self._room.clear()
                await self._room.wait()
        self._check_place(link)
        logger.warning("lost the connection to %s: %s", self._place.address.url, link.ending)
        return None

    async def _again(self, delay_s: float | None) -> "Link":
        """Connect and join again, however often it takes. Raises what the broker refuses for good."""
        while True:
            await self._place.surroundings.sleep(self._backoff.next_delay() if delay_s is None else delay_s)
            delay_s = None
            try:
                link = await self._open()
            except ExtraError as error:
                if self._is_refused:
                    raise
                logger.debug("cannot connect to %s: %s", self._place.address.url, error)
            else:
                return link

    def _part(self, goodbye: Goodbye) -> float | None:
        """Return how long to wait after a goodbye, None to leave that to the back-off.

        Raises SessionTakenOver: this is not to come back.
        """
        if goodbye.reason == "session_taken_over":
            raise self._taken_over()
        return None if goodbye.reason == "slow" else max(0.0, goodbye.reconnect_after)

    def _check_place(self, link: "Link") -> None:
        """Raise SessionTakenOver when a connection that is over was closed for that."""
        if link.close_code == TAKEN_OVER:
            raise self._taken_over()

    def _taken_over(self) -> SessionTakenOver:
        self._is_refused = True
        return SessionTakenOver("another connection has taken this one's place")

    def _drop(self) -> None:
        """Forget the messages that wait, which come again, and keep what is to be told of losses."""
        self._waiting = deque(entry for entry in self._waiting if isinstance(entry, Gap))
        self._waiting_bytes = 0

    def _receive(self, push: Push) -> None:
        """Take a push. Raises the error that joining is answered with."""
        if isinstance(push, MessagePush):
            self._has_joined = True
            message = message_of(push, self._epoch)
            message.deliveries = push.deliveries
            if self._takes(message):
                self._waiting.append(message)
                self._waiting_bytes += message.size
                self._changed.set()
        elif isinstance(push, GapPush):
            self._has_joined = True
            self._is_complete = self._is_complete and push.reason == "overflow"
            self._dropped += push.dropped
            gap = Gap(push.after, push.until, push.reason, push.dropped, push.filter)
            if push.reason == "overflow" or gap != self._newest_gap:  # which every connection tells again
                self._waiting.append(gap)
                self._newest_gap = gap
            self._changed.set()
        elif isinstance(push, Subscribed):
            self._has_joined = self._is_caught_up = True
            self._is_complete = self._is_complete and push.complete
            self._caught_up(push.cursor)
        elif isinstance(push, EndPush):
            if self._ends(push):
                self._has_ended = True
                self._changed.set()
        elif isinstance(push, ErrorPush):
            error = error_from_code(push.code, push.message, push.offset, push.cursor, push.offsets)
            if push.id == JOIN:
                self._has_joined = True
                self._is_refused = not error.temporary
                raise error
            answer = self._answers.get(str(push.id))
            if answer is not None and not answer.done():
                answer.set_exception(error)
            elif push.id is None:
                logger.error("the broker at %s reports %s", self._place.address.url, push.message)
        elif isinstance(push, Acknowledged):
            answer = self._answers.get(str(push.id))
            if answer is not None and not answer.done():
                answer.set_result(push)


def _lost() -> BrokerClosed:
    return BrokerClosed("the connection is lost: what was not acknowledged comes again")
