"""Fixtures for pytest. In `conftest.py`:

    pytest_plugins = ["extra.testing.fixtures"]

    async def test_news_get_old(extra_broker, extra_clock):
        await extra_broker.publish("news", "x", ttl=60)
        await extra_clock.elapse(61)

They need pytest and pytest-asyncio: `extra-broker[testing]`.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from extra.pubsub import Broker
from extra.testing.brokers import broker_by
from extra.testing.clock import FakeClock
from extra.testing.daemon import Daemon

__all__ = ["extra_broker", "extra_clock", "extra_daemon"]


@pytest_asyncio.fixture
async def extra_clock() -> AsyncIterator[FakeClock]:
    """A clock that the test moves. The event loop of the test goes by it."""
    clock = FakeClock()
    with clock.driving():
        yield clock


@pytest_asyncio.fixture
async def extra_broker(extra_clock: FakeClock) -> AsyncIterator[Broker]:
    """An open broker in the process of the test, which goes by `extra_clock`."""
    async with broker_by(extra_clock) as broker:
        yield broker


@pytest.fixture(scope="session")
def extra_daemon() -> Iterator[Daemon]:
    """A real `extra-broker` with its defaults, on a port that it picks; all tests of a run share it."""
    with Daemon() as daemon:
        yield daemon
