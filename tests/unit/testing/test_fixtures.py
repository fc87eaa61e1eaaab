"""The fixtures, as users of pytest get them."""

import pytest

from extra.client.blocking import publish
from extra.pubsub import Broker
from extra.testing import Daemon, FakeClock
from extra.testing.fixtures import extra_broker, extra_clock, extra_daemon

__all__ = ["extra_broker", "extra_clock", "extra_daemon"]


async def test_broker_goes_by_the_clock(extra_broker: Broker, extra_clock: FakeClock) -> None:
    await extra_broker.publish("news", "x", ttl=60)
    await extra_clock.elapse(61)
    assert (await extra_broker.history("news")).messages == []


@pytest.mark.e2e
@pytest.mark.slow
def test_daemon_is_a_real_one(extra_daemon: Daemon) -> None:
    assert extra_daemon.is_running
    assert publish(extra_daemon.url, "news", "x").offset == 1
