"""The broker inside other applications: every face of it as one ASGI application.

    import broker

    app = FastAPI()
    app.mount("/realtime", broker.asgi())       # GET /realtime/t/{filter}, /realtime/ws, and so on

The application's own process is the broker then: what it publishes with the `extra.Broker` that it passes
here reaches every client. Several workers of a host are separate brokers, while no engine connects them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from broker.daemon import build_broker
from broker.endpoints import Hub, build_application, error_response
from broker.settings import Settings
from extra.bridges import ASGIApplication
from extra.errors import BrokerClosed
from extra.http import Handler, Request, Response
from extra.pubsub import Broker
from extra.servers import Counters

__all__ = ["asgi"]

TICK_S: Final = 1.0


def asgi(
    broker: Broker | None = None,
    *,
    settings: Settings | None = None,
    allow_hosts: Sequence[str] = (),
    allow_origins: Sequence[str] = (),
) -> ASGIApplication:
    """Return an ASGI application with all faces of `broker`, to be mounted anywhere or served by itself.

    `broker` is kept open by the caller; None is one of its own, made from `settings`. Besides addresses and
    localhost, it answers under the names in `allow_hosts`, and pages of `allow_origins` may read and publish
    besides those of the host itself: the same as the settings of these names in section `server`.
    """
    chosen = settings if settings is not None else Settings()
    server = replace(
        chosen.server,
        allow_hosts=(*chosen.server.allow_hosts, *allow_hosts),
        allow_origins=(*chosen.server.allow_origins, *allow_origins),
    )
    hosted = _Hosted(broker, replace(chosen, server=server))
    return ASGIApplication(hosted.handle, hosted.life(), error_response=error_response, drain=hosted.drain)


class _Hosted:
    """A broker and its endpoints, for as long as the host lives."""

    def __init__(self, broker: Broker | None, settings: Settings) -> None:
        self._broker = broker
        self._settings = settings
        self._hub: Hub | None = None
        self._handler: Handler | None = None

    @asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """Run the broker, if it is our own, and what its endpoints need."""
        async with contextlib.AsyncExitStack() as stack:
            broker = self._broker
            if broker is None:
                broker = await stack.enter_async_context(build_broker(self._settings))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            hub = self._hub = Hub(broker, self._settings, tasks)
            self._handler = build_application(hub, Counters())
            ticking = tasks.create_task(_tick(hub))
            try:
                yield
            finally:
                self._handler = None
                ticking.cancel()
                hub.drain()

    async def handle(self, request: Request) -> Response:
        """Answer a request."""
        if self._handler is None:
            raise BrokerClosed("the broker has not been started, or has ended")
        return await self._handler(request)

    def drain(self) -> None:
        """Tell every client where to resume, and when: the host shuts down."""
        if self._hub is not None:
            self._hub.drain()


async def _tick(hub: Hub) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        hub.tick()
