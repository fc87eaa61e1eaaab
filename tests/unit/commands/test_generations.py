"""Swapping applications, without a server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from extra import Message, Request, Service, Services, Socket, on
from extra.commands.generations import Generations
from extra.commands.loading import Loaded, host
from extra.http import Response, WebSocket, WebSocketResponse
from extra.pubsub import Broker


class Numbered(Service):
    def __init__(self, number: int, events: list[object]) -> None:
        self.number = number
        self.events = events
        self.let_go = asyncio.Event()
        self.begun = asyncio.Event()

    async def start(self) -> None:
        self.events.append(("start", self.number))

    async def stop(self) -> None:
        self.events.append(("stop", self.number))

    @on(GET="/")
    async def show(self) -> int:
        return self.number

    @on(GET="/slow")
    async def slow(self) -> int:
        self.begun.set()
        await self.let_go.wait()
        return self.number

    @on(GET="/parts")
    async def parts(self) -> AsyncIterator[str]:
        yield str(self.number)
        await self.let_go.wait()
        yield str(self.number)

    @on(GET="/fails")
    async def fail(self) -> None:
        raise ZeroDivisionError

    @on(WEBSOCKET="/echo")
    async def echo(self, socket: Socket) -> None: ...

    @on(TOPIC="news")
    async def hear(self, message: Message) -> None:
        self.events.append((message.data, self.number))
        if message.data == "wait":
            await self.let_go.wait()


class Failing(Service):
    async def start(self) -> None:
        raise ZeroDivisionError


def loaded(service: Service) -> Loaded:
    return host(Services(service))


async def ask(generations: Generations, target: bytes, method: str = "GET") -> Response:
    headers = [(b"upgrade", b"websocket")] if target == b"/echo" else []
    return await generations.handle(Request(method, target, headers))


async def settle(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  # what is waited for is anything
        await asyncio.sleep(0)


async def test_requests_go_to_the_newest_and_the_old_one_is_stopped() -> None:
    events: list[object] = []
    async with Generations(loaded(Numbered(1, events))) as generations:
        assert (await ask(generations, b"/")).body == b"1"
        await generations.replace(loaded(Numbered(2, events)))
        assert (await ask(generations, b"/")).body == b"2"
        await settle(lambda: generations.living == 1)
        assert events == [("start", 1), ("start", 2), ("stop", 1)]
    assert events[-1] == ("stop", 2)


async def test_old_one_lives_until_its_last_request_has_ended() -> None:
    events: list[object] = []
    old = Numbered(1, events)
    async with Generations(loaded(old)) as generations:
        asking = asyncio.create_task(ask(generations, b"/slow"))
        await old.begun.wait()
        parts = await ask(generations, b"/parts")
        socket = await ask(generations, b"/echo")
        await generations.replace(loaded(Numbered(2, events)))
        assert generations.living == 2
        old.let_go.set()
        assert (await asking).body == b"1"
        body = cast("AsyncIterator[bytes]", parts.body)
        assert [part async for part in body] == [b"1", b"1"]
        assert generations.living == 2
        assert isinstance(socket, WebSocketResponse)
        socket.taker.closed(1006, "")
        await settle(lambda: generations.living == 1)
        assert events[-1] == ("stop", 1)


async def test_what_has_no_body_or_fails_has_ended() -> None:
    events: list[object] = []
    async with Generations(loaded(Numbered(1, events))) as generations:
        assert (await ask(generations, b"/parts", "HEAD")).status == 200
        assert (await ask(generations, b"/fails")).status == 500
        closed = await ask(generations, b"/parts")
        await cast("Any", closed.body).aclose()
        await generations.replace(loaded(Numbered(2, events)))
        await settle(lambda: generations.living == 1)


async def test_one_that_does_not_start_leaves_the_old_one_serving_and_reacting() -> None:
    events: list[object] = []
    async with Generations(loaded(Numbered(1, events))) as generations:
        with pytest.raises(ZeroDivisionError):
            await generations.replace(loaded(Failing()))
        assert generations.living == 1
        assert (await ask(generations, b"/")).body == b"1"
        services = generations._current.loaded.services
        assert services is not None
        await services.broker.publish("news", "a")
        await settle(lambda: ("a", 1) in events)


async def test_one_that_is_given_up_while_it_starts_leaves_the_old_one_serving_and_reacting() -> None:
    events: list[object] = []

    class Hanging(Numbered):
        async def start(self) -> None:
            events.append("starting")
            await asyncio.Event().wait()

    async with Generations(loaded(Numbered(1, events))) as generations:
        replacing = asyncio.create_task(generations.replace(loaded(Hanging(2, events))))
        await settle(lambda: "starting" in events)
        replacing.cancel()
        await asyncio.wait([replacing])
        assert generations.living == 1
        assert ("stop", 2) in events
        services = generations._current.loaded.services
        assert services is not None
        await services.broker.publish("news", "a")
        await settle(lambda: ("a", 1) in events)


async def test_start_that_nobody_waits_for_any_more_is_given_up() -> None:
    class Waiting(Service):
        async def start(self) -> None:
            await asyncio.Event().wait()

    async with asyncio.timeout(5), Generations(loaded(Numbered(1, []))) as generations:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await generations.replace(loaded(Waiting()))
        assert (await ask(generations, b"/")).body == b"1"


async def test_reactions_change_over_without_a_message_missed_or_doubled() -> None:
    events: list[object] = []
    old = Numbered(1, events)
    async with Broker() as broker, Generations(loaded(old), broker) as generations:
        await broker.publish("news", "wait")
        await settle(lambda: ("wait", 1) in events)
        for data in ("a", "b"):  # behind the one that is at work, so that they wait in the outbox
            await broker.publish("news", data)
        await generations.replace(loaded(Numbered(2, events)))
        await broker.publish("news", "c")
        await settle(lambda: ("c", 2) in events)
        old.let_go.set()
        await settle(lambda: generations.living == 1)
        heard = [event for event in events if event[0] not in ("start", "stop")]  # type: ignore[index]  # pairs
        assert heard == [("wait", 1), ("a", 2), ("b", 2), ("c", 2)]


async def test_services_that_have_a_broker_keep_it_unless_they_are_put_on_one() -> None:
    async with Broker() as own, Broker() as given:
        services = Services(Numbered(1, []), broker=own)
        async with Generations(host(services)):
            assert services.broker is own
        services = Services(Numbered(1, []), broker=own)
        async with Generations(host(services), given):
            assert services.broker is given


async def test_drain_ends_every_generation_and_first_failure_is_raised() -> None:
    events: list[object] = []
    old = Numbered(1, events)
    async with Generations(loaded(old)) as generations:
        parts = await ask(generations, b"/parts")
        body = cast("AsyncIterator[bytes]", parts.body)
        assert await anext(body) == b"1"
        await generations.replace(loaded(Numbered(2, events)))
        generations.loaded.drain()
        assert [part async for part in body] == []
    with pytest.raises(ZeroDivisionError):
        async with Generations(loaded(Failing())):
            pass


class Wire:
    """No more than what a taker is given."""


async def test_taker_hears_what_the_connection_says() -> None:
    async with Generations(loaded(Numbered(1, []))) as generations:
        response = await ask(generations, b"/echo")
        assert isinstance(response, WebSocketResponse)
        inner = cast("Any", response.taker)._taker
        calls: list[tuple[object, ...]] = []
        cast("Any", response.taker)._taker = Recorder(calls)
        taker = response.taker
        taker.opened(cast("WebSocket", Wire()))
        taker.received_text(b"a")
        taker.received_binary(b"b")
        taker.writable()
        taker.closed(1000, "c")
        assert [call[0] for call in calls] == [
            "opened",
            "received_text",
            "received_binary",
            "writable",
            "closed",
        ]
        inner.closed(1000, "")


class Recorder:
    def __init__(self, calls: list[tuple[object, ...]]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._calls.append((name, *arguments))
