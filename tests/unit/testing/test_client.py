"""The client that needs no sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import broker
from extra.errors import ChannelClosed
from extra.http import (
    Request,
    Response,
    Stream,
    StreamingResponse,
    StreamTaker,
    WebSocket,
    WebSocketTaker,
)
from extra.protocols.websocket import BINARY, TEXT, server_frame
from extra.pubsub import Broker
from extra.services import Service, Services, on
from extra.testing import TestClient, TestSocket


class Mirror(Service):
    @on(POST="/{any}", GET="/{any}")
    async def mirror(self, request: Request, any: str) -> dict[str, object]:
        return {
            "path": any,
            "query": request.query,
            "headers": {name.decode(): value.decode() for name, value in request.headers},
            "body": (await request.body()).decode(),
        }

    @on(GET="/cookie/{value}")
    async def cookie(self, request: Request, value: str) -> Response:
        response = request.json(request.cookies)
        return response.delete_cookie("a") if value == "none" else response.set_cookie("a", value)


async def test_request_is_what_was_asked_for() -> None:
    async with TestClient(Services(Mirror)) as client:
        answer = await client.get("/é b?x=1", query={"y": "a b"}, headers={"X-Y": "z"})
        assert answer.json() == {
            "path": "é b",
            "query": [["x", "1"], ["y", "a b"]],
            "headers": {"host": "localhost", "x-y": "z"},
            "body": "",
        }
        assert (await client.post("/", content="é")).json()["body"] == "é"
        sent = (await client.post("/", json=[1])).json()
        assert (sent["body"], sent["headers"]["content-type"]) == ("[1]", "application/json")
        assert (await client.post("/", form={"a": "b c"})).json()["body"] == "a=b+c"


async def test_what_has_no_body_on_the_wire_has_none_here() -> None:
    class Endless(Service):
        @on(GET="/endless")
        async def endless(self, request: Request) -> Response:
            async def parts() -> AsyncIterator[bytes]:
                while True:
                    yield b"x"

            return Response(200, parts())

        @on(GET="/empty")
        async def empty(self) -> Response:
            return Response(204, b"not to be sent")

    async with TestClient(Services(Mirror, Endless)) as client, asyncio.timeout(5):
        for method, path, status in (("HEAD", "/a", 200), ("HEAD", "/endless", 200), ("GET", "/empty", 204)):
            answer = await client.request(method, path)
            assert (answer.status, answer.body) == (status, b"")


async def test_answer_shows_what_it_is() -> None:
    async with TestClient(Services(Mirror)) as client:
        assert repr(await client.get("/cookie/1")) == "<Answer 200 b'{}'>"


async def test_cookies_are_kept() -> None:
    async with TestClient(Services(Mirror)) as client:
        assert (await client.get("/cookie/1")).json() == {}
        assert client.cookies == {"a": "1"}
        assert (await client.get("/cookie/none")).json() == {"a": "1"}
        assert client.cookies == {}


async def test_body_may_come_in_parts() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async with TestClient(Services(Mirror)) as client:
        assert (await client.post("/", content=parts())).json()["body"] == "ab"


async def test_body_that_is_not_read_is_let_go_of() -> None:
    seen: list[str] = []

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            seen.append("closed")

    class Impatient(Service):
        @on(POST="/")
        async def take_one(self, request: Request) -> bytes:
            return await anext(request.stream())

    before = asyncio.all_tasks()
    async with TestClient(Services(Impatient)) as client:
        assert (await client.post("/", content=parts())).body == b"a"
    assert seen == ["closed"]
    assert asyncio.all_tasks() == before


async def test_bug_of_middleware_is_the_test_s_to_see() -> None:
    async def fail(request: Request, following: object) -> Response:
        raise ZeroDivisionError

    async with TestClient(Services(Mirror, middleware=[fail])) as client:
        with pytest.raises(ZeroDivisionError):
            await client.get("/")


class Streams(Service):
    @on(GET="/ticks")
    async def ticks(self) -> Response:
        return StreamingResponse(Ticks(), content_type="text/event-stream")


class Ticks(StreamTaker):
    closed_count = 0

    def opened(self, stream: Stream) -> None:
        stream.write(b"a")
        stream.write(b"b")
        asyncio.get_running_loop().call_soon(stream.write, b"c")
        asyncio.get_running_loop().call_soon(stream.close)

    def writable(self) -> None: ...

    def closed(self) -> None:
        Ticks.closed_count += 1


async def test_streams_are_read_to_their_end_or_left() -> None:
    Ticks.closed_count = 0
    async with TestClient(Services(Streams)) as client:
        answer = await client.get("/ticks")
        assert (answer.body, answer.header("content-type")) == (b"abc", "text/event-stream")
        async with client.stream("GET", "/ticks") as answer:
            assert await anext(answer.parts()) == b"a"
        async with client.stream("GET", "/ticks"):
            pass
    assert Ticks.closed_count == 3


async def test_events_are_read_as_a_browser_reads_them() -> None:
    class Feed(Service):
        @on(GET="/feed")
        async def feed(self, request: Request) -> Response:
            async def numbers() -> AsyncIterator[object]:
                for number in range(2):
                    yield {"number": number}

            return request.sse(numbers())

        @on(GET="/none")
        async def none(self) -> str:
            return "x"

    async with TestClient(Services(Feed)) as client:
        async with client.events("/feed") as events:
            assert await events.receive_json() == {"number": 0}
            assert [event.data async for event in events] == ['{"number":1}']
        with pytest.raises(ConnectionRefusedError):
            async with client.events("/none"):
                pass


async def test_faces_of_a_broker_need_no_sockets() -> None:
    async with Broker() as core, TestClient(broker.asgi(core)) as client:
        assert (await client.post("/t/news/a", json={"number": 1})).status == 201
        assert (await client.get("/t/news/a")).json()["messages"][0]["data"] == {"number": 1}
        async with client.events("/t/news/+", query={"since": "start"}) as events:
            assert (await events.receive_json())["data"] == {"number": 1}
            await core.publish("news/b", {"number": 2})
            assert (await events.receive_json())["topic"] == "news/b"
            cursor = events.last_event_id
        await core.publish("news/c", {"number": 3})
        async with client.events("/t/news/+", last_event_id=cursor) as events:
            assert (await events.receive_json())["topic"] == "news/c"
        async with client.websocket("/ws") as socket:
            assert (await socket.receive_json())["op"] == "welcome"
            await socket.send_json({"op": "subscribe", "id": 1, "filter": "news/#"})
            assert (await socket.receive_json())["op"] == "subscribed"
            await socket.send_json({"op": "publish", "topic": "news/d", "data": 4})
            assert (await socket.receive_json())["data"] == 4
        with pytest.raises(LookupError):
            _ = client.broker


async def test_frames_of_the_broker_are_messages() -> None:
    socket = TestSocket(_Nothing(), None)
    for size in (0, 125, 126, 70_000):
        socket.wire.write(server_frame(TEXT, b"x" * size) + server_frame(BINARY, b"y" * size))
        assert await socket.receive() == "x" * size
        assert await socket.receive() == b"y" * size
    socket.wire.ping()
    assert socket.wire.write_buffer_size() == 0
    socket.wire.abort()
    assert socket.close_code == 1006
    socket.wire.send_text(b"leads nowhere")
    with pytest.raises(ChannelClosed):
        await socket.receive()


class _Nothing(WebSocketTaker):
    def opened(self, socket: WebSocket) -> None: ...
    def received_text(self, data: bytes) -> None: ...
    def received_binary(self, data: bytes) -> None: ...
    def writable(self) -> None: ...
    def closed(self, code: int, reason: str) -> None: ...
