"""Our applications under an ASGI host."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import pytest

from extra import Request, Response, Service, on, server
from extra.bridges import ASGIApplication
from extra.bridges.asgi import path_of
from extra.http import (
    ResponseCut,
    Stream,
    StreamingResponse,
    StreamTaker,
    WebSocket,
    WebSocketResponse,
    WebSocketTaker,
)
from extra.services import Services
from tests.fakes.asgi import FakeHost, lifespan, until

LENGTH = {"content-length": "3"}


class Mirror(Service):
    """Answers with what it is asked."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def start(self) -> None:
        self.events.append("start")

    async def stop(self) -> None:
        self.events.append("stop")

    @on(GET="/{any}")
    async def show(self, request: Request, any: str) -> dict[str, object]:
        return {
            "any": any,
            "query": request.query,
            "client": request.client,
            "scheme": request.scheme,
            "root_path": request.root_path,
        }

    @on(POST="/body")
    async def body(self, request: Request) -> bytes:
        return await request.body()

    @on(POST="/ignore")
    async def ignore(self) -> bytes:
        return b"ignored"

    @on(GET="/wait")
    async def wait(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.events.append("cancelled")

    @on(GET="/cut")
    async def cut(self) -> AsyncIterator[str]:
        yield "first\n"
        raise ResponseCut("the source is gone")

    @on(GET="/endless")
    async def endless(self) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            self.events.append("closed")

    @on(GET="/empty")
    async def empty(self) -> None: ...


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


async def ask(mirror: Mirror, target: str, **options: Any) -> FakeHost:
    host = FakeHost(server(mirror), target=target, **options)
    await host.task
    return host


async def test_request_is_that_of_the_scope(mirror: Mirror) -> None:
    host = await ask(mirror, "/a%2Fb/%C3%A9?x=%26&y", scheme="https")
    assert host.status == 200
    assert host.headers == {"content-type": "application/json", "content-length": str(len(host.body))}
    assert host.body == (
        b'{"any":"a/b/\xc3\xa9","query":[["x","&"],["y",""]],"client":"192.0.2.1:4000",'
        b'"scheme":"https","root_path":""}'
    )
    assert host.is_complete
    assert host.received == 0, "who never suspends needs nobody to look for the client"


@pytest.mark.parametrize(
    ("path", "raw_path", "root_path", "expected"),
    [
        ("/a b", b"/a%20b", "", b"/a%20b"),
        ("/a b", None, "", b"/a%20b"),
        ("/a/b", b"/a%2Fb", "", b"/a%2Fb"),
        ("/app/x", b"/app/x", "/app", b"/x"),
        ("/app", b"/app", "/app", b"/"),
        ("/x", b"/app/x", "/app", b"/x"),
        ("/application/x", b"/application/x", "/app", b"/application/x"),
        ("/\u00e9/x", b"/%c3%a9/x", "/\u00e9", b"/x"),
        ("/a", b"/a?b", "", b"/a"),
        ("", b"", "", b"/"),
    ],
)
def test_path_is_below_where_it_is_mounted(
    path: str, raw_path: bytes | None, root_path: str, expected: bytes
) -> None:
    """Hosts and frameworks differ in what they put where; see the specification's HTTP connection scope."""
    assert path_of({"path": path, "raw_path": raw_path, "root_path": root_path}) == expected


async def test_body_comes_as_it_is_wanted(mirror: Mirror) -> None:
    parts = (
        {"type": "http.request", "body": b"ab", "more_body": True},
        {"type": "http.request", "body": b"c"},
    )
    host = await ask(mirror, "/body", method="POST", headers=LENGTH, give=parts)
    assert host.body == b"abc"
    host = await ask(mirror, "/ignore", method="POST", headers=LENGTH, give=parts)
    assert (host.body, host.received) == (b"ignored", 0)


async def test_client_that_leaves_within_its_body_gets_no_answer(mirror: Mirror) -> None:
    parts = ({"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.disconnect"})
    host = await ask(mirror, "/body", method="POST", headers=LENGTH, give=parts)
    assert host.sent == []


async def test_handler_is_cancelled_when_the_client_leaves(mirror: Mirror) -> None:
    host = FakeHost(server(mirror), target="/wait")
    await until(lambda: host.received)
    host.give({"type": "http.disconnect"})
    await host.task
    assert (mirror.events, host.sent) == (["start", "cancelled"], [])


async def test_host_may_cancel_too(mirror: Mirror) -> None:
    host = FakeHost(server(mirror), target="/wait")
    await until(lambda: host.received)
    host.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await host.task
    assert mirror.events == ["start", "cancelled"]


async def test_parts_are_sent_as_they_come_and_closed_when_the_client_leaves(mirror: Mirror) -> None:
    host = FakeHost(server(mirror), target="/endless")
    await until(lambda: host.body)
    assert (host.headers, host.body) == ({"content-type": "application/octet-stream"}, b"first")
    host.give({"type": "http.disconnect"})
    await host.task
    assert mirror.events == ["start", "closed"]
    assert not host.is_complete


async def test_response_that_is_cut_is_not_completed(
    mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    host = FakeHost(server(mirror), target="/cut?x=1")
    await host.task
    assert (host.status, host.body, host.is_complete) == (200, b"first\n", False)
    assert [record.getMessage() for record in caplog.records] == ["GET /cut: cut: the source is gone"]


async def test_parts_end_in_order_when_the_host_shuts_down(mirror: Mirror) -> None:
    application = server(mirror)
    host = FakeHost(application, target="/endless")
    await until(lambda: host.body)
    application.drain()
    await host.task
    assert mirror.events == ["start", "closed"]
    assert host.is_complete
    late = FakeHost(application, target="/endless")
    await late.task
    assert late.is_complete


@pytest.mark.parametrize(("target", "status"), [("/empty", 204), ("/endless", 200), ("/x", 200)])
async def test_head_and_204_have_no_body(mirror: Mirror, target: str, status: int) -> None:
    host = await ask(mirror, target, method="HEAD")
    assert (host.status, host.body, host.is_complete) == (status, b"", True)
    assert ("content-length" in host.headers) == (target == "/x")


async def test_lifespan_starts_and_stops(mirror: Mirror) -> None:
    host = await lifespan(server(mirror))
    assert (host.sent, mirror.events) == ([{"type": "lifespan.startup.complete"}], ["start"])
    host.give({"type": "lifespan.shutdown"})
    await host.task
    assert (host.sent[1:], mirror.events) == ([{"type": "lifespan.shutdown.complete"}], ["start", "stop"])


class Failing(Service):
    """Fails at one of these."""

    phase = ""

    async def start(self) -> None:
        if self.phase == "startup":
            raise ZeroDivisionError("x")

    async def stop(self) -> None:
        if self.phase == "shutdown":
            raise ZeroDivisionError("x")

    @on(GET="/")
    async def answer(self) -> str:
        return "x"


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_failure_of_the_life_is_told_to_the_host(phase: str, caplog: pytest.LogCaptureFixture) -> None:
    service = Failing()
    service.phase = phase
    host = await lifespan(server(service))
    if phase == "shutdown":
        host.give({"type": "lifespan.shutdown"})
    await host.task
    assert host.sent[-1]["type"] == f"lifespan.{phase}.failed"
    assert f"has failed at {phase}" in caplog.text


async def test_first_request_starts_what_has_no_lifespan(mirror: Mirror) -> None:
    application = server(mirror)
    hosts = [FakeHost(application, target="/x") for _ in range(3)]
    for host in hosts:
        await host.task
        assert host.status == 200
    assert mirror.events == ["start"]
    await application.stop()
    await application.stop()
    assert mirror.events == ["start", "stop"]


async def test_what_cannot_be_started_fails_every_request(caplog: pytest.LogCaptureFixture) -> None:
    service = Failing()
    service.phase = "startup"
    application = server(service)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await FakeHost(application).task
    assert caplog.text.count("the application has failed") == 1


def without_life() -> AbstractAsyncContextManager[object]:
    return nullcontext()


async def test_bug_that_nobody_answers_is_500(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(request: Request) -> Response:
        raise ZeroDivisionError("secret")

    async def inject(request: Request) -> Response:
        return Response(headers=[("X", "a\r\nSet-Cookie: b")])

    for handler in (fail, inject):
        host = FakeHost(ASGIApplication(handler, without_life()))
        await host.task
        assert host.status == 500
        assert b"secret" not in host.body
    assert caplog.text.count("a handler has failed") == 2


async def test_unknown_scopes_are_refused() -> None:
    with pytest.raises(Exception, match="unknown scope 'other'"):
        await FakeHost(server(Failing), "other").task


class Ticker(StreamTaker):
    """Writes when it is told to."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.events: list[str] = []

    def opened(self, stream: Stream) -> None:
        self.stream = stream
        stream.write(b"opened ")

    def writable(self) -> None:
        self.events.append("writable")

    def closed(self) -> None:
        self.events.append("closed")


def streaming(taker: StreamTaker) -> ASGIApplication:
    async def handle(request: Request) -> Response:
        return StreamingResponse(taker, content_type="text/event-stream")

    return ASGIApplication(handle, without_life())


async def test_stream_is_written_by_its_taker() -> None:
    taker = Ticker()
    host = FakeHost(streaming(taker))
    await until(lambda: host.body)
    assert host.headers == {"content-type": "text/event-stream"}
    assert taker.stream is not None
    taker.stream.write(b"a")
    taker.stream.write(b"b")
    taker.stream.close()
    await host.task
    assert (host.body, host.is_complete, taker.events) == (b"opened ab", True, ["closed"])


async def test_taker_is_told_when_the_client_leaves_or_the_host_is_slow() -> None:
    taker = Ticker()
    host = FakeHost(streaming(taker))
    await until(lambda: host.body)
    host.can_send.clear()
    assert taker.stream is not None
    taker.stream.write(b"x" * 100_000)
    assert not taker.stream.writable
    assert taker.stream.write_buffer_size() == 100_000
    host.can_send.set()
    await until(lambda: taker.events)
    assert (taker.stream.writable, taker.stream.write_buffer_size()) == (True, 0)
    host.give({"type": "http.disconnect"})
    await host.task
    assert taker.events == ["writable", "closed"]


async def test_stream_is_not_opened_for_head() -> None:
    taker = Ticker()
    host = FakeHost(streaming(taker), method="HEAD")
    await host.task
    assert (host.status, host.body, taker.stream, taker.events) == (200, b"", None, ["closed"])


class Echo(WebSocketTaker):
    """Sends back what comes."""

    def __init__(self) -> None:
        self.socket: WebSocket | None = None
        self.events: list[object] = []

    def opened(self, socket: WebSocket) -> None:
        self.socket = socket
        self.events.append(("opened", socket.subprotocol))

    def received_text(self, data: bytes) -> None:
        assert self.socket is not None
        if data == b"fail":
            raise ZeroDivisionError
        self.socket.send_text(data * 2)

    def received_binary(self, data: bytes) -> None:
        assert self.socket is not None
        self.socket.send_binary(data)
        self.socket.send_binary(data)

    def writable(self) -> None:
        self.events.append("writable")

    def closed(self, code: int, reason: str) -> None:
        self.events.append((code, reason))


CONNECT = {"type": "websocket.connect"}


def echoing(taker: WebSocketTaker, **options: Any) -> ASGIApplication:
    async def handle(request: Request) -> Response:
        assert (request.method, request.header("upgrade")) == ("GET", "websocket")
        return WebSocketResponse(taker, subprotocols=["b", "a"], headers=[("X-Y", "z")], **options)

    return ASGIApplication(handle, without_life())


async def test_websocket_carries_messages_both_ways() -> None:
    taker = Echo()
    host = FakeHost(echoing(taker), "websocket", give=(CONNECT,), subprotocols=["x", "a", "b"])
    for size in (1, 200, 70_000):
        host.give({"type": "websocket.receive", "text": "é" * size})
        host.give({"type": "websocket.receive", "bytes": b"\x00" * size})
    await until(lambda: len(host.sent) == 10)
    assert host.sent[0] == {"type": "websocket.accept", "subprotocol": "a", "headers": [(b"x-y", b"z")]}
    assert host.sent[1] == {"type": "websocket.send", "text": "éé"}
    assert host.sent[2] == host.sent[3] == {"type": "websocket.send", "bytes": b"\x00"}
    assert host.sent[7]["text"] == "é" * 140_000
    host.give({"type": "websocket.disconnect", "code": 1001, "reason": "bye"})
    await host.task
    assert taker.events[0] == ("opened", "a")
    assert taker.events[-1] == (1001, "bye")


async def test_websocket_may_be_closed_from_this_side() -> None:
    taker = Echo()
    host = FakeHost(echoing(taker), "websocket", give=(CONNECT,))
    await until(lambda: taker.socket)
    assert taker.socket is not None
    taker.socket.ping()
    taker.socket.send_text(b"last")
    taker.socket.close(4000, "enough")
    assert taker.events[-1] == (4000, "enough")
    taker.socket.send_text(b"leads nowhere")
    await host.task
    assert host.sent[1:] == [
        {"type": "websocket.send", "text": "last"},
        {"type": "websocket.close", "code": 4000, "reason": "enough"},
    ]


async def test_websocket_is_aborted_without_a_word() -> None:
    taker = Echo()
    host = FakeHost(echoing(taker), "websocket", give=(CONNECT,))
    await until(lambda: taker.socket)
    assert taker.socket is not None
    taker.socket.abort()
    await host.task
    assert taker.events[-1] == (1006, "")
    assert len(host.sent) == 1


async def test_taker_that_fails_closes_the_websocket(caplog: pytest.LogCaptureFixture) -> None:
    taker = Echo()
    host = FakeHost(
        echoing(taker), "websocket", give=(CONNECT, {"type": "websocket.receive", "text": "fail"})
    )
    await host.task
    assert host.sent[-1] == {"type": "websocket.close", "code": 1011, "reason": "internal error"}
    assert "the taker of a WebSocket has failed" in caplog.text


async def test_message_that_is_too_big_closes_the_websocket() -> None:
    taker = Echo()
    big = {"type": "websocket.receive", "text": "x" * 127}
    host = FakeHost(echoing(taker, frame_limit_bytes=126), "websocket", give=(CONNECT, big))
    await host.task
    assert host.sent[-1]["code"] == 1009


async def test_taker_that_wants_nothing_is_given_nothing() -> None:
    taker = Echo()
    host = FakeHost(echoing(taker), "websocket", give=(CONNECT,))
    await until(lambda: taker.socket)
    assert taker.socket is not None
    await until(lambda: host.received == 2)
    taker.socket.pause_reading()
    host.give({"type": "websocket.receive", "text": "a"})  # it is being waited for already
    host.give({"type": "websocket.receive", "text": "b"})
    await until(lambda: len(host.sent) == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert host.received == 2
    taker.socket.resume_reading()
    await until(lambda: len(host.sent) == 3)
    host.give({"type": "websocket.disconnect"})
    await host.task
    assert taker.events[-1] == (1006, "")


async def test_refused_handshake_is_a_response_where_the_host_can(mirror: Mirror) -> None:
    can: dict[str, object] = {"websocket.http.response": {}}
    host = FakeHost(server(Failing), "websocket", "/nowhere", give=(CONNECT,), extensions=can)
    await host.task
    assert [message["type"] for message in host.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert host.status == 404
    host = FakeHost(server(Failing), "websocket", "/nowhere", give=(CONNECT,))
    await host.task
    assert host.sent == [{"type": "websocket.close", "code": 1008, "reason": "Not Found"}]


async def test_websocket_over_plain_http_is_refused() -> None:
    async def handle(request: Request) -> Response:
        return WebSocketResponse(taker)

    taker = Echo()
    host = FakeHost(ASGIApplication(handle, without_life()))
    await host.task
    assert (host.status, taker.events) == (426, [(1006, "")])


def test_server_takes_what_services_take() -> None:
    application = server(Mirror, Failing, debug=True)
    assert isinstance(application.services, Services)
    assert application.services.debug
