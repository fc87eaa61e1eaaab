"""A named session at a distance: a subscription whose position the broker keeps."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final

from extra.client.dedicated import Dedicated, Place
from extra.errors import BrokerClosed, ExtraError, InvalidCommand
from extra.protocols.commands import Ack, Subscribe
from extra.protocols.pushes import EndPush
from extra.pubsub import Gap, Message, format_cursor

__all__ = ["SessionMessages"]

LEAVE_TIMEOUT_S: Final = 2.0


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
        self._at = 0  # the offset of the last message that was given
        self._passed = 0  # the offset of the last one that counts as had
        self._at_epoch = ""
        self._ended: set[str] = set()

    async def __anext__(self) -> Message:
        if self._has_passed():
            self._passed = self._at
            self._tell(Ack(offset=self._at))
        return await super().__anext__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None and self._has_passed() and self._error is None:
            with suppress(ExtraError, TimeoutError):  # then the last one comes again
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await self._ask(lambda name: Ack(id=name, offset=self._at))
        await super().__aexit__(kind, error, traceback)

    async def ack(self, message: Message | int) -> None:
        """Say that everything up to a message, or to its offset, has been worked on.

        Raises:
            InvalidCommand: it has not been given, or the session has no acknowledgement.
            BrokerClosed: the connection is lost just now: what was not acknowledged comes again.
        """
        if not self._acknowledges:
            raise InvalidCommand("ack: only in a session with ack=True")
        offset = message.offset if isinstance(message, Message) else message
        await self._ask(lambda name: Ack(id=name, offset=offset))

    @property
    def cursor(self) -> str:
        """The cursor of the last message that the iteration gave."""
        return format_cursor(self._at_epoch or self._epoch, self._at)

    def _has_passed(self) -> bool:
        """Return whether the iteration has given what counts as had by now."""
        return not self._acknowledges and self._at > 0 and self._at_epoch == self._epoch

    def _takes(self, message: Message) -> bool:
        return message.epoch != self._at_epoch or message.offset > self._at

    def _given(self, message: Message) -> None:
        self._at, self._at_epoch = message.offset, message.epoch

    def _joined(self) -> None:
        if self._passed and self._at_epoch == self._epoch:
            self._tell(Ack(offset=self._passed))  # what could not be said while there was no connection

    def _ends(self, push: EndPush) -> bool:
        self._ended.add(push.topic)
        return self._ended.issuperset(self._command.filters)

    def _lost_error(self) -> ExtraError:
        return BrokerClosed("the connection is lost: what was not acknowledged comes again")
