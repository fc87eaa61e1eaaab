"""Requests over topics."""

import asyncio

import pytest

from extra.errors import BrokerClosed, Forbidden, LimitExceeded
from extra.http import Request
from extra.pubsub import Message
from extra.services import (
    NobodyServes,
    RequestFailed,
    Service,
    ServiceLimits,
    Services,
    TimedOut,
    on,
)
from extra.testing import TestClient
from tests.fakes.asgi import until


class Sums(Service):
    @on(REQUEST="rpc/add")
    async def add(self, a: int, b: int = 0) -> int:
        return a + b

    @on(REQUEST="rpc/echo/{name}", quick=True)
    def echo(self, message: Message, name: str) -> dict[str, object]:
        return {"name": name, "data": message.data}

    @on(REQUEST="rpc/thread")
    def in_a_thread(self) -> bytes:
        return b"\xff"

    @on(REQUEST="rpc/fail")
    async def fail(self) -> None:
        raise ZeroDivisionError("secret")

    @on(REQUEST="rpc/refuse")
    async def refuse(self) -> None:
        raise Forbidden("not for you")

    @on(REQUEST="rpc/hang", timeout_s=0.001)
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @on(REQUEST="rpc/unwritable")
    async def unwritable(self) -> object:
        return object()


async def test_reply_is_what_the_method_returns() -> None:
    service = Sums()
    async with Services(service):
        assert (await service.ask("rpc/add", {"a": 1, "b": 2})).data == 3
        assert (await service.ask("rpc/add", {"a": 1})).data == 1
        assert (await service.ask("rpc/echo/ann", [1])).data == {"name": "ann", "data": [1]}
        assert (await service.ask("rpc/thread")).data == b"\xff"
        several = [service.ask("rpc/add", {"a": number}) for number in range(20)]
        assert [reply.data for reply in await asyncio.gather(*several)] == list(range(20))


@pytest.mark.parametrize(
    ("topic", "reason", "told"),
    [
        ("rpc/add", "invalid_arguments", r"a \(data\): is missing"),
        ("rpc/fail", "internal", "^internal error$"),
        ("rpc/refuse", "forbidden", "not for you"),
        ("rpc/hang", "timed_out", "no answer within"),
        ("rpc/unwritable", "internal", "^internal error$"),
    ],
)
async def test_failure_is_a_reply_with_a_code(topic: str, reason: str, told: str) -> None:
    service = Sums()
    async with Services(service):
        with pytest.raises(RequestFailed, match=told) as caught:
            await service.ask(topic)
    assert caught.value.reason == reason


async def test_who_asks_where_nobody_serves_is_told_at_once() -> None:
    service = Sums()
    async with Services(service):
        with pytest.raises(NobodyServes, match="nobody serves 'rpc/nothing'"):
            await service.ask("rpc/nothing", timeout_s=1000)


async def test_reply_that_does_not_come_is_given_up() -> None:
    service = Sums()
    async with Services(service) as services, services.broker.subscribe("rpc/silent"):
        with pytest.raises(TimedOut, match=r"no reply from 'rpc/silent' within timeout_s=0\.001"):
            await service.ask("rpc/silent", timeout_s=0.001)


async def test_who_asks_in_vain_has_not_passed_its_own_limit(caplog: pytest.LogCaptureFixture) -> None:
    class Relay(Service):
        @on(POST="/relay")
        async def relay(self, request: Request) -> object:
            return (await self.ask("rpc/silent", timeout_s=0.001)).data

    async with TestClient(Services(Relay)) as client, client.broker.subscribe("rpc/silent"):
        response = await client.post("/relay", json=1)
    assert (response.status, response.json()["code"]) == (503, "timed_out")
    assert "no reply from 'rpc/silent' within timeout_s=0.001" in response.json()["detail"]
    assert "cancelled" not in caplog.text


async def test_requests_without_a_reply_are_bounded() -> None:
    service = Sums()
    async with (
        Services(service, limits=ServiceLimits(asking_limit=1)) as services,
        services.broker.subscribe("rpc/silent") as messages,
    ):
        first = asyncio.create_task(service.ask("rpc/silent", timeout_s=1000))
        await anext(messages)
        with pytest.raises(LimitExceeded, match="asking_limit=1"):
            await service.ask("rpc/add")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await service.ask("rpc/add", {"a": 1})).data == 1


async def test_answers_under_way_are_bounded() -> None:
    begun: list[int] = []
    go = asyncio.Event()

    class Slow(Service):
        @on(REQUEST="rpc/slow")
        async def slow(self) -> None:
            begun.append(1)
            await go.wait()

    service = Slow()
    async with Services(service, limits=ServiceLimits(requests_limit=2)):
        asking = [asyncio.create_task(service.ask("rpc/slow", timeout_s=1000)) for _ in range(3)]
        await until(lambda: len(begun) == 2)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(begun) == 2
        go.set()
        await asyncio.gather(*asking)


async def test_reply_goes_to_topics_for_replies_alone() -> None:
    async with Services(Sums) as services:
        broker = services.broker
        async with broker.subscribe("#", "replies/#") as messages:
            for reply_to in ("alarm/off", "$internal", "replies/mine"):
                headers = {"reply-to": reply_to, "correlation-id": "7"}
                await broker.publish("rpc/add", {"a": 1}, headers=headers)
            topics = [(await anext(messages)).topic for _ in range(4)]
    assert topics == ["rpc/add", "rpc/add", "rpc/add", "replies/mine"]


async def test_service_that_does_not_run_cannot_ask() -> None:
    service = Sums()
    Services(service)
    with pytest.raises(BrokerClosed):
        await service.ask("rpc/add")


async def test_nothing_is_left_behind() -> None:
    before = asyncio.all_tasks()
    service = Sums()
    async with Services(service):
        await service.ask("rpc/add", {"a": 1})
    assert asyncio.all_tasks() == before
