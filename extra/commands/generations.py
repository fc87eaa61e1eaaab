"""Swapping an application for a newer one while it serves.

Each version of it is a *generation*. Requests go to the current one; those that an older one has begun, with
their streams and WebSockets, stay with it to their end, on the old code. Then it is stopped. What it shares
with the others is the broker: a subscriber that an old generation serves hears of what a new one publishes.

Methods that react to topics change over at once: see `Services.succeed`. An application of our own that was
given a broker by its own code keeps to that one, and so does one that is no `Services`: those begin anew.

Tasks: one for each generation, which enters its life and leaves it.
"""

import asyncio
import logging
from asyncio import Event, Future, TaskGroup
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from types import TracebackType
from typing import Any, Final, Self

from extra.commands.loading import Loaded
from extra.http import (
    Request,
    Response,
    Stream,
    StreamingResponse,
    StreamTaker,
    WebSocket,
    WebSocketResponse,
    WebSocketTaker,
    begin_of,
)
from extra.pubsub import Broker
from extra.services import Services

__all__ = ["Generations"]

logger = logging.getLogger("extra.commands")

BODILESS: Final = (204, 304)


class Generations:
    """An application that can be replaced. Entered as a life, with a handler and a drain, as `Loaded` has."""

    def __init__(self, first: Loaded, broker: Broker | None = None) -> None:
        """Begin with `first`.

        All services are put on `broker`, which the caller keeps open. With None, those that were not given
        one are put on one that is made for them.
        """
        self._current = _Generation(first)
        self._all = {self._current}
        self._broker = broker
        self._owns_broker = broker is None
        self._tasks = TaskGroup()

    @property
    def loaded(self) -> Loaded:
        """What a server needs to serve whichever generation is the current one."""
        return Loaded(self.handle, begin_of(self.handle), self, self.drain, self._current.loaded.interface)

    @property
    def living(self) -> int:
        """How many generations have not been stopped: the current one, and those that serve somebody."""
        return len(self._all)

    async def __aenter__(self) -> Self:
        """Start the first generation. Raises what that raises."""
        await self._tasks.__aenter__()
        try:
            await self._start(self._current)
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave()

    async def handle(self, request: Request) -> Response:
        """Answer `request` by the current generation, which it stays with."""
        generation = self._current
        generation.under_way += 1
        try:
            response = await generation.loaded.handler(request)
        except BaseException:
            generation.end_one()
            raise
        follow(request, response, generation.end_one)
        return response

    async def replace(self, loaded: Loaded) -> None:
        """Start `loaded`, and serve it from then on. One call at a time.

        Raises what starting it raises; the current generation goes on then, and so it does when this is
        cancelled.
        """
        previous, new = self._current, _Generation(loaded)
        theirs, ours = previous.loaded.services, loaded.services
        if theirs is not None and ours is not None and self._is_on_our_broker(ours):
            ours.succeed(theirs)
        self._all.add(new)
        try:
            await self._start(new)
        except BaseException:
            self._all.discard(new)
            raise
        self._current = new
        previous.retire()

    def drain(self) -> None:
        """End what goes on in every generation: the host shuts down. Idempotent."""
        for generation in self._all:
            generation.loaded.drain()

    async def _start(self, generation: "_Generation") -> None:
        services = generation.loaded.services
        if services is not None and self._is_on_our_broker(services):
            if self._broker is None:
                self._broker = Broker()
                await self._broker.start()
            services.attach(self._broker)
        started: Future[None] = asyncio.get_running_loop().create_future()
        living = self._tasks.create_task(self._keep(generation, started))
        try:
            await started
        except asyncio.CancelledError:
            living.cancel()
            await asyncio.wait([living])
            raise

    def _is_on_our_broker(self, services: Services) -> bool:
        return services.owns_broker or not self._owns_broker

    async def _keep(self, generation: "_Generation", started: "Future[None]") -> None:
        """Run the life of a generation, until it is retired and serves nobody any more."""
        try:
            async with generation.loaded.life:
                if not started.done():  # nobody waits for it any more
                    started.set_result(None)
                await generation.over.wait()
        except Exception as error:
            if not started.done():
                started.set_exception(error)
            else:
                logger.exception("the application has failed to stop")
        finally:
            self._all.discard(generation)

    async def _leave(self) -> None:
        for generation in self._all:
            generation.over.set()
        await self._tasks.__aexit__(None, None, None)
        if self._owns_broker and self._broker is not None:
            await self._broker.close()


class _Generation:
    """One version of an application, and how many requests it has under way."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.under_way = 0
        self.over = Event()
        self._is_retired = False

    def end_one(self) -> None:
        """A request has come to its end, with all that followed from it."""
        self.under_way -= 1
        if self._is_retired and not self.under_way:
            self.over.set()

    def retire(self) -> None:
        """Take no new requests."""
        self._is_retired = True
        if not self.under_way:
            self.over.set()


def follow(request: Request, response: Response, ended: Callable[[], None]) -> None:
    """Have `ended` called once, when `response` has been sent to its end, or nobody takes it any more."""
    if isinstance(response, WebSocketResponse):
        response.taker = _FollowedWebSocket(response.taker, ended)
    elif isinstance(response, StreamingResponse):
        response.taker = _FollowedStream(response.taker, ended)
    elif isinstance(response.body, bytes) or request.method == "HEAD" or response.status in BODILESS:
        ended()
    else:
        response.body = _FollowedParts(response.body, ended)


class _FollowedWebSocket(WebSocketTaker):
    def __init__(self, taker: WebSocketTaker, ended: Callable[[], None]) -> None:
        self._taker = taker
        self._on_end = ended

    def opened(self, socket: WebSocket) -> None:
        self._taker.opened(socket)

    def received_text(self, data: bytes) -> None:
        self._taker.received_text(data)

    def received_binary(self, data: bytes) -> None:
        self._taker.received_binary(data)

    def writable(self) -> None:
        self._taker.writable()

    def closed(self, code: int, reason: str) -> None:
        self._taker.closed(code, reason)
        self._on_end()


class _FollowedStream(StreamTaker):
    def __init__(self, taker: StreamTaker, ended: Callable[[], None]) -> None:
        self._taker = taker
        self._on_end = ended

    def opened(self, stream: Stream) -> None:
        self._taker.opened(stream)

    def writable(self) -> None:
        self._taker.writable()

    def closed(self) -> None:
        self._taker.closed()
        self._on_end()


class _FollowedParts(AsyncGenerator[bytes, None]):
    def __init__(self, parts: AsyncIterable[bytes], ended: Callable[[], None]) -> None:
        self._parts = aiter(parts)
        self._on_end: Callable[[], None] | None = ended

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._parts)
        except BaseException:
            self._end()
            raise

    async def asend(self, value: None) -> bytes:
        return await self.__anext__()

    async def athrow(self, kind: Any, value: Any = None, traceback: Any = None) -> bytes:
        await self.aclose()
        raise kind

    async def aclose(self) -> None:
        """Close the parts, if they can be. Idempotent."""
        try:
            if isinstance(self._parts, AsyncGenerator):
                await self._parts.aclose()
        finally:
            self._end()

    def _end(self) -> None:
        ended, self._on_end = self._on_end, None
        if ended is not None:
            ended()
