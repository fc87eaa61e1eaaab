"""A named session at a distance: a subscription whose position the broker keeps.

Acknowledging. On the wire every session here acknowledges: what is behind the acknowledged offset comes again
after a lost connection. Without `ack` it is the iteration that says what it has gone past, in a task of its
own, which skips what it has no time for: the last offset says it all.

While a replay runs the broker reads no commands of the connection: an acknowledgement in their way would be
answered when all of the replay had been read, whose consumer waits for that answer. Until then it is a
request over HTTP.

Retained messages that were asked for come first, in the order of offsets, and lie before the position, as in
subscription.py: a replay has older ones still to bring. They move nothing, and once the replay is over they
are not asked for again. (With `since="now"` a new session gets them unasked, and stands behind all of them.)
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from extra.client.dedicated import Dedicated, Place
from extra.errors import ExtraError, InvalidCommand
from extra.protocols.commands import Ack, Subscribe
from extra.protocols.pushes import EndPush
from extra.pubsub import Gap, Message, format_cursor

if TYPE_CHECKING:
    from extra.client.link import Link

__all__ = ["SessionMessages"]

LEAVE_TIMEOUT_S: Final = 2.0

logger = logging.getLogger("extra.client")


class SessionMessages(Dedicated):
    """The messages of a named session: an async context manager that is its own iterator, for one task.

    It goes on where whoever had this name stood. With acknowledgement `ack` moves the position; without, a
    message counts as had when the next one is asked for. Iterating raises SessionTakenOver when another
    connection has claimed the session. Gaps are told as `Messages` tells them.
    """

    def __init__(
        self,
        place: Place,
        subscribe: Subscribe,
        on_gap: Callable[[Gap], None] | None,
        *,
        acknowledges: bool,
    ) -> None:
        super().__init__(place, subscribe, subscribe.filters, on_gap)
        self._acknowledges = acknowledges
        self._resume = subscribe.since  # where a session begins that the broker has not kept
        self._at = 0  # the offset of the last message that was given, but for those that come first
        self._at_epoch = ""
        self._passed = 0  # the offset of the last one that counts as had
        self._passes = asyncio.Event()  # ... and has not been said
        self._ended: set[str] = set()
        self._wants_retained = subscribe.retained is True
        self._is_in_stage = False  # the retained messages are coming ...
        self._stage_offset = 0  # ... up to here so far
        self._kept_until = 0  # the last of them that was given ...
        self._kept_epoch = ""  # ... in this epoch
        self._first: set[int] = set()  # the offsets of those that wait

    async def __anext__(self) -> Message:
        if self._has_passed() and self._passed != self._at:
            self._passed = self._at
            self._passes.set()
        return await super().__anext__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._has_passed() and self._error is None:
            with suppress(ExtraError, TimeoutError):  # then the last one comes again
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await self._acknowledge(self._at)
        await super().__aexit__(kind, error, traceback)

    async def ack(self, message: Message | int) -> None:
        """Say that everything up to a message, or to its offset, has been worked on.

        Raises:
            InvalidCommand: it has not been given, or is from before the broker's log began anew; or the
                session has no acknowledgement.
            BrokerClosed: the connection is lost just now: what was not acknowledged comes again.
            TimeoutError: the broker does not answer.
        """
        if not self._acknowledges:
            raise InvalidCommand("ack: only in a session with ack=True")
        if isinstance(message, int):
            await self._acknowledge(message)
        elif message.epoch != self._epoch:
            raise InvalidCommand(f"offset {message.offset}: the broker's log has begun anew since")
        elif not message.retained or (message.epoch == self._at_epoch and message.offset <= self._at):
            await self._acknowledge(message.offset)

    @property
    def cursor(self) -> str:
        """The cursor of the last message that the iteration gave."""
        return format_cursor(self._at_epoch or self._epoch, self._at)

    @property
    def complete(self) -> bool:
        """Whether everything since where this began is still to be had."""
        return self._is_complete

    @property
    def dropped(self) -> int:
        """How many messages the broker has dropped because this subscriber did not keep up."""
        return self._dropped

    async def _acknowledge(self, offset: int) -> None:
        if self._is_caught_up or self._link is None:
            await self._ask(lambda name: Ack(id=name, offset=offset))
            return
        target = self._place.address.target(
            f"/sessions/{quote(self._command.session or '', safe='')}/ack", []
        )
        answer = await self._place.call("POST", target, msgspec.json.encode({"offset": offset}))
        if answer.status != 200:
            raise answer.error()

    async def _speak(self, link: "Link") -> None:
        """Say what the iteration has gone past, beginning with what could not be said before."""
        if self._passed and self._at_epoch == self._epoch:
            self._passes.set()
        while True:
            await self._passes.wait()
            self._passes.clear()
            if self._is_caught_up:
                await link.send([link.codec.encode(Ack(offset=self._passed))])
                continue
            try:
                await self._acknowledge(self._passed)
            except (ExtraError, TimeoutError) as error:  # the next one says it as well
                logger.debug("session %s has not moved: %s", self._command.session, error)

    def _has_passed(self) -> bool:
        """Return whether the iteration has given what counts as had by now."""
        return not self._acknowledges and self._at > 0 and self._at_epoch == self._epoch

    def _joining(self) -> Subscribe:
        self._is_in_stage = self._wants_retained
        self._stage_offset = 0
        self._first.clear()
        if self._kept_epoch != self._epoch:
            self._kept_epoch, self._kept_until = self._epoch, 0
        retained = self._command.retained
        if retained and not self._wants_retained:
            retained = False
        return msgspec.structs.replace(self._command, since=self._resume, retained=retained)

    def _caught_up(self, cursor: str) -> None:
        self._is_in_stage = self._wants_retained = False
        if not self._at_epoch:
            self._resume = cursor

    def _takes(self, message: Message) -> bool:
        if self._is_in_stage:
            if message.retained and message.offset > self._stage_offset:
                self._stage_offset = message.offset
                if message.offset <= self._kept_until:
                    return False
                self._first.add(message.offset)
                return True
            self._is_in_stage = False
        return message.epoch != self._at_epoch or message.offset > self._at

    def _given(self, message: Message) -> None:
        if message.retained and message.offset in self._first:
            self._first.remove(message.offset)
            self._kept_until = message.offset
            return
        if message.epoch != self._at_epoch:
            self._passed = 0
        self._at, self._at_epoch = message.offset, message.epoch
        self._resume = message.cursor

    def _ends(self, push: EndPush) -> bool:
        self._ended.add(push.topic)
        return self._ended.issuperset(self._command.filters)
