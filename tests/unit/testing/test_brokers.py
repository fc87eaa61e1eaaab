"""A broker that goes by the clock of the test."""

import asyncio
import socket
from contextlib import AsyncExitStack

import broker
from extra.bridges import hosting
from extra.client import Client
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


async def test_time_limits_of_the_faces_go_by_the_clock() -> None:
    clock = FakeClock()
    with clock.driving():
        async with Broker(clock=clock) as core, TestClient(broker.asgi(core)) as client:
            polling = asyncio.create_task(client.get("/t/news", query={"wait": "25", "since": "now"}))
            await clock.elapse(20)
            assert not polling.done()
            await clock.elapse(6)
            assert (await polling).status == 204


async def test_back_off_of_a_client_goes_by_the_clock() -> None:
    clock = FakeClock()
    with clock.driving(), socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with Broker(clock=clock) as core, AsyncExitStack() as stack:
            async with hosting(broker.asgi(core), drain_timeout_s=0) as host:
                await host.listen(listening.dup())
                client = await stack.enter_async_context(Client(f"http://127.0.0.1:{port}"))
                messages = await stack.enter_async_context(client.subscribe("news"))
                await core.publish("news", "before")
                assert (await anext(messages)).data == "before"
            await core.publish("news", "meanwhile")
            async with hosting(broker.asgi(core), drain_timeout_s=0) as host:
                await host.listen(listening.dup())
                waiting = asyncio.ensure_future(anext(messages))
                while not waiting.done():
                    await clock.elapse(0.1)
                    await asyncio.to_thread(lambda: None)  # sockets take their own time
                assert (await waiting).data == "meanwhile"
                await stack.aclose()
