"""A broker in the process of the test, which goes by the clock of the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from extra.pubsub import Broker, Clock

__all__ = ["broker_by"]

SWEEP_INTERVAL_S: Final = 1.0


@asynccontextmanager
async def broker_by(clock: Clock, **options: Any) -> AsyncIterator[Broker]:
    """Give an open broker that goes by `clock`; `options` are others of `Broker`.

    It is swept every second, as the daemon does it: a second of the clock within `FakeClock.driving`.
    """
    async with Broker(clock=clock, **options) as broker, asyncio.TaskGroup() as tasks:
        sweeping = tasks.create_task(_sweep(broker))
        try:
            yield broker
        finally:
            sweeping.cancel()


async def _sweep(broker: Broker) -> None:
    while True:
        await asyncio.sleep(SWEEP_INTERVAL_S)
        broker.sweep()
