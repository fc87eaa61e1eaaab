"""WebSockets as methods hold them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from extra.errors import ChannelClosed, Forbidden
from extra.http import Request
from extra.services import Service, ServiceLimits, Services, Socket, on, pre
from extra.testing import TestClient, TestSocket


def refuse_strangers(request: Request) -> None:
    if request.query_value("bug"):
        raise ZeroDivisionError
    if request.query_value("stranger"):
        raise Forbidden("not for you")


def answer_instead(request: Request) -> object:
    return {"instead": True} if request.query_value("instead") else None


class Echo(Service):
    def __init__(self) -> None:
        self.events: list[object] = []
        self.begun = asyncio.Event()

    @on(WEBSOCKET="/echo/{times:int}", subprotocols=["b", "a"])
    @pre(refuse_strangers, answer_instead)
    async def echo(self, socket: Socket, times: int, request: Request) -> None:
        async for message in socket:
            if message == "enough":
                return
            for _ in range(times):
                await socket.send(message)
        self.events.append((socket.close_code, request.path))
        with pytest.raises(ChannelClosed):
            await socket.send("late")

    @on(GET="/echo/{times:int}")
    async def plain(self) -> str:
        return "plain"

    @on(WEBSOCKET="/json")
    async def add(self, socket: Socket) -> None:
        while True:
            numbers = await socket.receive_json(list[int])
            await socket.send({"sum": sum(numbers)})

    @on(WEBSOCKET="/fail/{how}")
    async def fail(self, socket: Socket, how: str) -> None:
        if how == "bug":
            raise ZeroDivisionError
        if how == "refuse":
            raise Forbidden("é" * 200)
        socket.close(4000, "x")
        await socket.send("y")

    @on(WEBSOCKET="/hang")
    async def hang(self, socket: Socket) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.events.append("cancelled")

    @on(WEBSOCKET="/slow")
    async def slow(self, socket: Socket) -> None:
        self.begun.set()
        await asyncio.Event().wait()


@asynccontextmanager
async def connected(path: str, **limits: float) -> AsyncIterator[tuple[Echo, TestSocket]]:
    service = Echo()
    options = ServiceLimits(**limits)  # type: ignore[arg-type]  # whole numbers are among them
    async with TestClient(Services(service, limits=options)) as client, client.websocket(path) as socket:
        yield service, socket


async def test_messages_go_both_ways() -> None:
    async with connected("/echo/2") as (service, socket):
        await socket.send("é")
        await socket.send(b"\xff")
        assert [await socket.receive() for _ in range(4)] == ["é", "é", b"\xff", b"\xff"]
        await socket.send("enough")
        with pytest.raises(ChannelClosed):
            await socket.receive()
        assert socket.close_code == 1000
    assert service.events == []


async def test_iteration_ends_when_the_client_leaves() -> None:
    async with connected("/echo/1") as (service, socket):
        await socket.send("a")
        assert await socket.receive() == "a"
        await socket.close(4001)
    assert service.events == [(4001, "/echo/1")]


async def test_subprotocol_is_settled_on() -> None:
    service = Echo()
    async with TestClient(Services(service)) as client:
        async with client.websocket("/echo/1", subprotocols=["a", "b"]) as socket:
            assert socket.subprotocol == "a"
        async with client.websocket("/echo/1", subprotocols=["x"]) as socket:
            assert socket.subprotocol is None


async def test_json_is_checked() -> None:
    async with connected("/json") as (_, socket):
        await socket.send_json([1, 2])
        assert await socket.receive_json() == {"sum": 3}
        await socket.send('["x"]')
        with pytest.raises(ChannelClosed, match="message is not what it has to be"):
            await socket.receive()
        assert socket.close_code == 1008


async def test_handshake_may_be_refused_or_answered() -> None:
    async with TestClient(Services(Echo)) as client:
        for path, status in (("/echo/1?stranger=1", 403), ("/echo/1?instead=1", 200), ("/echo/x", 404)):
            with pytest.raises(ConnectionRefusedError) as caught:
                async with client.websocket(path):
                    raise AssertionError
            assert caught.value.args[0].status == status
        assert (await client.get("/echo/1")).text == "plain"
        plain = await client.get("/json")
        assert (plain.status, plain.header("upgrade")) == (426, "websocket")


async def test_bug_before_the_handshake_is_logged_with_its_route(caplog: pytest.LogCaptureFixture) -> None:
    async with TestClient(Services(Echo)) as client:
        with pytest.raises(ConnectionRefusedError) as caught:
            async with client.websocket("/echo/1?bug=1"):
                raise AssertionError
    assert caught.value.args[0].status == 500
    assert "WEBSOCKET /echo/{times:int} (Echo.echo) has failed before the handshake" in caplog.text


@pytest.mark.parametrize(
    ("how", "code", "reason"),
    [("bug", 1011, "internal error"), ("refuse", 1008, "é" * 60), ("close", 4000, "x")],
)
async def test_end_of_the_method_is_that_of_the_websocket(
    how: str, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(f"/fail/{how}") as (_, socket):
        with pytest.raises(ChannelClosed):
            await socket.receive()
        assert (socket.close_code, socket.close_reason) == (code, reason)
    assert ("WEBSOCKET /fail/{how} (Echo.fail) has failed" in caplog.text) == (how == "bug")


async def test_method_that_goes_on_after_its_client_is_cancelled() -> None:
    before = asyncio.all_tasks()
    async with connected("/hang", leave_timeout_s=0.001) as (service, socket):
        await service.begun.wait()
        await socket.close()
    assert service.events == ["cancelled"]
    assert asyncio.all_tasks() == before


async def test_websockets_are_closed_when_the_application_stops(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    service = Echo()
    client = TestClient(Services(service, limits=ServiceLimits(stop_timeout_s=0.001)))
    async with client:
        echo = await client._stack.enter_async_context(client.websocket("/echo/1"))
        hang = await client._stack.enter_async_context(client.websocket("/hang"))
        await service.begun.wait()
        client.services.drain()
        assert (echo.close_code, hang.close_code) == (1001, 1001)
    assert set(service.events) == {"cancelled", (1001, "/echo/1")}
    assert "WEBSOCKET /hang (Echo.hang): cancelled" in caplog.text


async def test_client_has_to_wait_for_a_method_that_does_not_receive() -> None:
    async with connected("/slow", socket_waiting_limit=3, leave_timeout_s=0.001) as (service, socket):
        await service.begun.wait()
        for _ in range(3):
            await socket.send("x")
        assert not socket.wire.wanted.is_set()
        late = asyncio.create_task(socket.send("x"))
        await asyncio.sleep(0)
        assert not late.done()
        await socket.close()
        with pytest.raises(ChannelClosed):
            await late


async def test_method_has_to_wait_for_a_client_that_does_not_take() -> None:
    async with connected("/echo/1") as (_, socket):
        socket.wire.writable = False
        for text in "ab":
            await socket.send(text)
        assert await socket.receive() == "a"
        for _ in range(10):
            await asyncio.sleep(0)
        assert not socket._received
        socket.wire.writable = True
        socket._taker.writable()
        assert await socket.receive() == "b"


def test_method_has_to_be_async() -> None:
    class Wrong(Service):
        @on(WEBSOCKET="/")
        def hold(self, socket: Socket) -> None: ...

    with pytest.raises(TypeError, match="has to be async"):
        Services(Wrong)
