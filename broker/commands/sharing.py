"""`extra-broker sub` with `--group` or `--session`: subscribers whose position the broker keeps."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Self

from extra.client import Client
from extra.client.shares import Share
from extra.errors import NotDelivered
from extra.pubsub import Gap, Message

__all__ = ["GroupSubscriber", "SessionSubscriber"]


class SessionSubscriber:
    """Subscribes in a named session."""

    def __init__(self, client: Client, session: str) -> None:
        self.client = client
        self.session = session

    def subscribe(
        self, *filters: str, since: str, overflow: str, on_gap: Callable[[Gap], None]
    ) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Subscribe, as `Client.subscribe` does."""
        return self.client.subscribe(
            *filters, since=since, overflow=overflow, on_gap=on_gap, session=self.session
        )


class GroupSubscriber:
    """Subscribes as a member of a group. Nothing overflows there, so that `overflow` says nothing."""

    def __init__(self, client: Client, group: str) -> None:
        self.client = client
        self.group = group

    def subscribe(
        self, *filters: str, since: str, overflow: str, on_gap: Callable[[Gap], None]
    ) -> AbstractAsyncContextManager[AsyncIterator[Message]]:
        """Join the group; a message counts as done when the next one is asked for, or on leaving in order."""
        return Acknowledging(self.client.group(self.group, *filters, since=since, on_gap=on_gap))


class Acknowledging:
    """A share that acknowledges by itself."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.given: Message | None = None

    async def __aenter__(self) -> Self:
        await self.share.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._acknowledge()
        finally:
            await self.share.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        await self._acknowledge()
        self.given = await anext(self.share)
        return self.given

    async def _acknowledge(self) -> None:
        given, self.given = self.given, None
        if given is not None:
            with suppress(NotDelivered):  # it has taken too long, and goes to another
                await self.share.ack(given)
