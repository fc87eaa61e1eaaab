"""The endpoints on a loopback socket of this process: a test has the broker's core and clock at hand."""

import asyncio
import socket
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from broker.daemon import server_limits
from broker.endpoints import Hub, build_application, error_response
from broker.settings import Settings
from extra.pubsub import Broker, BrokerLimits, Engine, MemoryEngine, Policy, PolicyTable
from extra.servers import Counters, Server
from tests.fakes.clock import FakeClock

__all__ = ["Place", "serving", "until"]

TURNS_LIMIT = 100_000


@dataclass
class Place:
    """A broker that is served: its core, what stays open, and where it listens."""

    broker: Broker
    clock: FakeClock
    hub: Hub
    server: Server
    port: int


@asynccontextmanager
async def serving(
    settings: Settings | None = None,
    *,
    keep: int = 100,
    total_limit_bytes: int = 1 << 28,
    epoch: str = "e1",
    outbox_limit_bytes: int = 1 << 20,
    send_buffer_bytes: int | None = None,
    wrap: Callable[[MemoryEngine], Engine] = lambda engine: engine,
) -> AsyncIterator[Place]:
    """Serve a broker that keeps `keep` messages of each topic.

    Its engine is what `wrap` makes of one in memory. `send_buffer_bytes` is what the kernel holds for a
    client that does not read, or twice as much.
    """
    settings = settings if settings is not None else Settings()
    clock = FakeClock()
    engine = MemoryEngine(
        PolicyTable(Policy(messages=keep)), clock=clock, epoch=epoch, total_limit_bytes=total_limit_bytes
    )
    limits = BrokerLimits(outbox_limit_bytes=outbox_limit_bytes)
    counters = Counters()
    listener = socket.socket()
    if send_buffer_bytes is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    listener.bind(("127.0.0.1", 0))
    async with Broker(wrap(engine), limits=limits, clock=clock) as broker, TaskGroup() as tasks:
        hub = Hub(broker, settings, tasks)
        async with Server(
            build_application(hub, counters),
            error_response=error_response,
            limits=server_limits(settings),
            counters=counters,
        ) as server:
            (address,) = await server.listen(sock=listener)
            yield Place(broker, clock, hub, server, int(address[1]))


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until something is so; that takes a few turns, unless it never comes."""
    for _ in range(TURNS_LIMIT):
        if condition():
            return
        await asyncio.sleep(0)
    raise TimeoutError("what was waited for has not come")
