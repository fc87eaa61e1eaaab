"""A broker that goes by the clock of the test."""

import asyncio

import broker
from extra.pubsub import Broker, BrokerLimits
from extra.services import Service, Services, every
from extra.testing import FakeClock, TestClient, broker_by


async def test_retention_goes_by_the_clock() -> None:
    clock = FakeClock()
    with clock.driving():
        async with broker_by(clock) as core:
            await core.publish("news", "old", ttl=60)
            await clock.elapse(61)
            await core.publish("news", "new")
            assert [message.data for message in (await core.history("news")).messages] == ["new"]


async def test_scheduled_messages_come_when_the_clock_says() -> None:
    clock = FakeClock()
    with clock.driving():
        async with broker_by(clock, limits=BrokerLimits()) as core, core.subscribe("news") as messages:
            await core.publish("news", "later", deliver_at=clock.time() + 30)
            await clock.elapse(31)
            assert (await anext(messages)).data == "later"


async def test_heartbeats_of_the_faces_go_by_the_clock() -> None:
    clock = FakeClock()
    with clock.driving():
        async with (
            Broker(clock=clock) as core,
            TestClient(broker.asgi(core)) as client,
            client.stream("GET", "/t/news", headers={"accept": "text/event-stream"}) as answer,
        ):
            parts = answer.parts()
            assert await anext(parts)
            waiting = asyncio.ensure_future(anext(parts))
            await clock.elapse(16)
            assert (await waiting).startswith(b":")
            await parts.aclose()


async def test_schedules_of_services_go_by_the_clock() -> None:
    clock = FakeClock()
    calls: list[float] = []

    class Ticking(Service):
        @every(seconds=5)
        async def tick(self) -> None:
            calls.append(clock.elapsed_s)

    with clock.driving():
        async with TestClient(Services(Ticking)):
            await clock.elapse(16)
    assert len(calls) in (3, 4)
