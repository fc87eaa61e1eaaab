"""ASGI applications of others, as handlers."""

import asyncio
from asyncio import TaskGroup
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from extra.bridges.asgi_host import ASGIHost
from extra.bridges.asgi_wires import Receive, Scope, Send
from extra.errors import LocalProtocolError
from extra.http import Body, BodySource, Request, Response, WebSocketResponse
from extra.servers import run_eagerly
from tests.fakes.asgi import until
from tests.fakes.wire import FakeWire
from tests.unit.broker.endpoints.driving import body_of

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@asynccontextmanager
async def hosting(application: Application, **options: Any) -> AsyncIterator[ASGIHost]:
    before = asyncio.all_tasks()
    async with ASGIHost(application, **{"lifespan": "off", **options}) as host:
        yield host
    assert asyncio.all_tasks() == before


def asking(method: str = "GET", target: str = "/", body: Body | bytes = b"", **headers: str) -> Request:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request(method, target.encode(), fields, client="192.0.2.1:4000", body=body)


async def say(send: Send, *parts: bytes, status: int = 200, **headers: str) -> None:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1]})


class Source(BodySource):
    def body_wanted(self) -> None: ...


async def test_scope_describes_the_request() -> None:
    seen: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await say(send, b"")

    async with hosting(application, root_path="/app", address=("127.0.0.1", 80)) as host:
        request = asking("GET", "/a%2F%C3%A9?x=%26", accept="*/*")
        await host.handle(request)
        await host.handle(Request("GET", b"/", client="[::1]:5"))
        await host.handle(Request("GET", b"/"))
    scope = seen[0]
    assert scope["path"] == "/app/a/é"
    assert scope["raw_path"] == b"/app/a%2F%C3%A9"
    assert (scope["root_path"], scope["query_string"]) == ("/app", b"x=%26")
    assert scope["headers"] == [(b"accept", b"*/*")]
    assert (scope["client"], scope["server"]) == (("192.0.2.1", 4000), ("127.0.0.1", 80))
    assert (scope["type"], scope["method"], scope["scheme"]) == ("http", "GET", "http")
    assert [each["client"] for each in seen[1:]] == [("::1", 5), None]


async def test_whole_response_is_one() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        body = await receive()
        assert body == {"type": "http.request", "body": b"abc", "more_body": False}
        await say(send, body["body"], status=201, content_length="3", x_y="z", date="never")

    async with hosting(application) as host:
        response = await host.handle(asking("POST", body=b"abc"))
    assert (response.status, response.body, response.headers) == (201, b"abc", [("x-y", "z")])


async def test_parts_wait_for_the_client_to_take_them() -> None:
    sent: list[int] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(5):
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body"})

    async with hosting(application) as host:
        response = await host.handle(asking())
        for _ in range(10):
            await asyncio.sleep(0)
        assert sent == [0]
        assert not isinstance(response.body, bytes)
        assert [part async for part in response.body] == [b"0", b"1", b"2", b"3", b"4"]


async def test_body_of_the_request_comes_as_it_arrives() -> None:
    seen: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            seen.append((message["body"], message["more_body"]))
            if not message["more_body"]:
                break
        await say(send, b"")

    body = Body(Source())
    async with hosting(application) as host:
        call = asyncio.create_task(host.handle(asking("POST", body=body)))
        body.feed(b"a")
        await until(lambda: seen)
        body.feed(b"b")
        body.end()
        await call
    assert seen == [(b"a", True), (b"b", True), (b"", False)]


async def test_body_that_does_not_arrive_is_a_client_that_has_gone() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((await receive())["type"])
        await say(send, b"")

    seen: list[str] = []
    body = Body(Source())
    body.fail(LocalProtocolError("x"))
    async with hosting(application) as host:
        await host.handle(asking("POST", body=body))
    assert seen == ["http.disconnect"]


async def test_client_that_leaves_is_told_of_and_nothing_is_cancelled() -> None:
    seen: list[str] = []
    begun = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        seen.append((await receive())["type"])
        with pytest.raises(OSError, match="has gone"):
            await say(send, b"")
        seen.append("finished")

    async with hosting(application) as host:
        call = asyncio.create_task(host.handle(asking()))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert seen == ["http.disconnect", "finished"]


async def test_client_that_leaves_within_the_response_is_told_of() -> None:
    seen: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        except OSError:
            seen.append("told")

    async with hosting(application) as host:
        response = await host.handle(asking())
        assert isinstance(response.body, AsyncGenerator)
        assert await anext(response.body) == b"x"
        await response.body.aclose()
    assert seen == ["told"]


async def test_response_is_there_while_the_application_goes_on() -> None:
    go = asyncio.Event()
    seen: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await say(send, b"x")
        await go.wait()
        seen.append("background")

    async with hosting(application) as host:
        assert (await host.handle(asking())).body == b"x"
        go.set()
    assert seen == ["background"]


async def test_what_goes_on_for_too_long_is_cancelled_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await say(send, b"x")
        await asyncio.Event().wait()

    async with hosting(application, stop_timeout_s=0.001) as host:
        await host.handle(asking())
    assert "have been cancelled" in caplog.text


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"type": "http.response.start", "status": 200, "headers": []}],
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "nonsense"}],
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.body", "body": "text"}],
        [ZeroDivisionError("secret")],
    ],
)
async def test_broken_application_is_500(messages: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            if isinstance(message, Exception):
                raise message
            await send(message)

    async with hosting(application) as host:
        response = await host.handle(asking())
    assert response.status == 500
    assert b"secret" not in body_of(response)
    assert "the application has failed" in caplog.text


async def test_failure_within_the_response_breaks_it_off() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise ZeroDivisionError

    async with hosting(application) as host:
        response = await host.handle(asking())
        assert isinstance(response.body, AsyncGenerator)
        assert await anext(response.body) == b"x"
        with pytest.raises(ZeroDivisionError):
            await anext(response.body)
        await response.body.aclose()


async def test_failure_after_the_response_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await say(send, b"x")
        with pytest.raises(RuntimeError, match="after the response"):
            await say(send, b"x")
        raise ZeroDivisionError

    async with hosting(application) as host:
        assert (await host.handle(asking())).body == b"x"
    assert "has failed after its response" in caplog.text


async def test_head_leaves_the_length_to_the_application() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await say(send, b"a", b"b", b"c")

    async with hosting(application) as host:
        response = await host.handle(asking("HEAD"))
        assert not isinstance(response.body, bytes)
        assert response.status == 200


async def test_calls_may_be_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[str] = []
    tasks_seen: list[object] = []

    def spawn(coroutine: Coroutine[Any, Any, None], tasks: TaskGroup) -> object:
        spawned.append("spawned")
        return run_eagerly(coroutine, tasks)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        tasks_seen.append(asyncio.current_task())
        if scope["path"] == "/slow":
            await asyncio.sleep(0)
        await say(send, b"x")

    async with hosting(application, spawn=spawn) as host:
        monkeypatch.setitem(__import__("sys").modules, "anyio", object())
        assert (await host.handle(asking(target="/slow"))).status == 200
        assert spawned == []
        assert tasks_seen.pop() is not asyncio.current_task()
        monkeypatch.delitem(__import__("sys").modules, "anyio")
        assert (await host.handle(asking())).status == 200
        assert spawned == []
        assert tasks_seen.pop() is asyncio.current_task()
        assert (await host.handle(asking(target="/slow"))).status == 200
        assert spawned == ["spawned"]
    assert not host.calls


# Lifespan


async def test_lifespan_is_run_and_its_state_is_shared() -> None:
    seen: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            seen.append(scope["state"])
            return await say(send, b"")
        scope["state"]["pool"] = 7
        seen.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        seen.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})

    async with hosting(application, lifespan="on") as host:
        await host.handle(asking())
    assert seen == ["lifespan.startup", {"pool": 7}, "lifespan.shutdown"]


async def test_application_may_refuse_to_start() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    for lifespan in ("auto", "on"):
        with pytest.raises(RuntimeError, match="no database"):
            async with hosting(application, lifespan=lifespan):
                raise AssertionError


async def test_application_need_not_know_the_lifespan() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await say(send, b"x")

    async with hosting(application, lifespan="auto") as host:
        assert (await host.handle(asking())).body == b"x"
    with pytest.raises(RuntimeError, match="AssertionError"):
        async with hosting(application, lifespan="on"):
            raise AssertionError


async def test_failure_to_stop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "it hurts"})
        raise ZeroDivisionError

    async with hosting(application, lifespan="auto"):
        pass
    assert "failed to stop: it hurts" in caplog.text
    assert "the lifespan of the application has failed" in caplog.text


# WebSockets


class Wire(FakeWire):
    """A WebSocket that notes what is sent."""

    subprotocol = None
    deflate = False

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[object] = []

    def send_text(self, data: bytes) -> None:
        self.sent.append(data.decode())

    def send_binary(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.sent.append((code, reason))


def upgrading(target: str = "/") -> Request:
    return asking("GET", target, upgrade="websocket", sec_websocket_protocol="a, b")


async def accepted(host: ASGIHost, wire: Any) -> WebSocketResponse:
    response = await host.handle(upgrading())
    assert isinstance(response, WebSocketResponse)
    response.taker.opened(wire)
    return response


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert (scope["type"], scope["scheme"], scope["subprotocols"]) == ("websocket", "ws", ["a", "b"])
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-y", b"z")]})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


async def test_websocket_carries_messages_both_ways() -> None:
    wire = Wire()
    async with hosting(echo) as host:
        response = await accepted(host, wire)
        assert (response.subprotocols, response.headers) == (["b"], [("x-y", "z")])
        response.taker.received_text("é".encode())
        response.taker.received_binary(b"\xff")
        await until(lambda: len(wire.sent) == 2)
        response.taker.closed(1000, "")
    assert wire.sent == ["é", b"\xff"]


async def test_websocket_waits_for_who_is_slow() -> None:
    wire = Wire()
    async with hosting(echo) as host:
        response = await accepted(host, wire)
        wire.writable = False
        for _ in range(40):
            response.taker.received_text(b"x")
        assert not wire.is_reading
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(wire.sent) == 1
        wire.writable = True
        response.taker.writable()
        await until(lambda: len(wire.sent) == 40)
        assert wire.is_reading
        response.taker.closed(1000, "")


@pytest.mark.parametrize(
    ("messages", "status", "body"),
    [
        ([{"type": "websocket.close"}], 403, b""),
        ([], 403, b""),
        ([ZeroDivisionError()], 500, b""),
        ([{"type": "websocket.send", "text": "x"}], 500, b""),
        (
            [
                {"type": "websocket.http.response.start", "status": 418, "headers": []},
                {"type": "websocket.http.response.body", "body": b"a", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"b"},
            ],
            418,
            b"ab",
        ),
    ],
)
async def test_websocket_may_be_refused(messages: list[Any], status: int, body: bytes) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            if isinstance(message, Exception):
                raise message
            await send(message)

    async with hosting(application) as host:
        response = await host.handle(upgrading())
    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(("ending", "code"), [("return", 1000), ("raise", 1011), ("close", 4001)])
async def test_end_of_the_application_is_that_of_the_websocket(ending: str, code: int) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        if ending == "raise":
            raise ZeroDivisionError
        if ending == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "x"})

    wire = Wire()
    async with hosting(application) as host:
        await accepted(host, wire)
        await until(lambda: wire.sent)
    assert isinstance(wire.sent[0], tuple)
    assert wire.sent[0][0] == code


async def test_client_that_leaves_is_told_of_again_and_again() -> None:
    seen: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.extend([await receive(), await receive()])
        await send({"type": "websocket.send", "text": "x"})

    async with hosting(application) as host:
        response = await accepted(host, Wire())
        response.taker.closed(4000, "bye")
    assert seen == [{"type": "websocket.disconnect", "code": 4000, "reason": "bye"}] * 2


async def test_handshake_that_fails_is_a_client_that_has_gone() -> None:
    async with hosting(echo) as host:
        response = await host.handle(upgrading())
        assert isinstance(response, WebSocketResponse)
        response.taker.closed(1006, "")


async def test_draining_closes_websockets_and_ends_streams() -> None:
    wire = Wire()
    async with hosting(echo) as host:
        response = await accepted(host, wire)
        host.drain()
        assert wire.sent == [(1001, "the server ends")]
        response.taker.closed(1001, "")

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    async with hosting(endless) as host:
        answer: Response = await host.handle(asking())
        host.drain()
        assert not isinstance(answer.body, bytes)
        assert [part async for part in answer.body] == [b"x"]
