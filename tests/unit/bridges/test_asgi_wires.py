"""What takers write to, over ASGI: collected, and sent as the host takes it."""

import asyncio
from collections.abc import Callable

import pytest

from extra.bridges import asgi_wires
from extra.bridges.asgi_wires import HIGH_WATER_BYTES, ASGIStream, ASGIWebSocket, Message
from extra.http import Stream, StreamTaker, WebSocket, WebSocketTaker
from extra.protocols.websocket import BINARY, TEXT, server_frame
from tests.fakes.asgi import until


class Host:
    """The other side: takes what is sent while it may, and gives what is to be received."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.taking = asyncio.Event()
        self.taking.set()
        self.queue: asyncio.Queue[Message] = asyncio.Queue()

    async def send(self, message: Message) -> None:
        await self.taking.wait()
        self.sent.append(message)

    async def receive(self) -> Message:
        return await self.queue.get()


class Taker(StreamTaker):
    def __init__(self, opening: Callable[[Stream], None] = lambda stream: None) -> None:
        self.opening = opening
        self.events: list[str] = []

    def opened(self, stream: Stream) -> None:
        self.opening(stream)

    def writable(self) -> None:
        self.events.append("writable")

    def closed(self) -> None:
        self.events.append("closed")


class Speaker(WebSocketTaker):
    def __init__(self) -> None:
        self.events: list[object] = []

    def opened(self, socket: WebSocket) -> None:
        self.events.append("opened")

    def received_text(self, data: bytes) -> None:
        self.events.append(data.decode())

    def received_binary(self, data: bytes) -> None:
        self.events.append(data)

    def writable(self) -> None:
        self.events.append("writable")

    def closed(self, code: int, reason: str) -> None:
        self.events.append((code, reason))


async def test_stream_is_ended_by_its_taker_with_all_that_was_written() -> None:
    host, taker = Host(), Taker(lambda stream: (stream.write(b"a"), stream.close())[0])
    await ASGIStream(host.send, taker).run()
    assert host.sent == [
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ]
    assert taker.events == ["closed"]


async def test_stream_that_is_aborted_sends_nothing_more() -> None:
    host, taker = Host(), Taker(lambda stream: (stream.write(b"a"), stream.abort())[0])
    await ASGIStream(host.send, taker).run()
    assert (host.sent, taker.events) == ([], ["closed"])


async def test_taker_that_fails_ends_its_stream(caplog: pytest.LogCaptureFixture) -> None:
    def fail(stream: Stream) -> None:
        raise ZeroDivisionError

    host, taker = Host(), Taker(fail)
    await ASGIStream(host.send, taker).run()
    assert (host.sent, taker.events) == ([], ["closed"])
    assert "the taker of a stream has failed" in caplog.text


async def test_wire_is_writable_again_when_the_host_has_caught_up() -> None:
    host, taker = Host(), Taker()
    stream = ASGIStream(host.send, taker)
    running = asyncio.create_task(stream.run())
    host.taking.clear()
    stream.write(b"x" * (HIGH_WATER_BYTES + 1))
    assert (stream.writable, stream.write_buffer_size()) == (False, HIGH_WATER_BYTES + 1)
    host.taking.set()
    await until(lambda: taker.events == ["writable"])
    assert (stream.writable, stream.write_buffer_size()) == (True, 0)
    stream.close()
    await running


async def test_host_that_takes_no_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi_wires, "CLOSE_TIMEOUT_S", 0.001)
    host, taker, speaker = Host(), Taker(), Speaker()
    host.taking.clear()
    stream = ASGIStream(host.send, taker)
    stream.close()
    await stream.run()
    assert taker.events == ["closed"]
    socket = ASGIWebSocket(host.send, speaker, None, 1000)
    running = asyncio.create_task(socket.run(host.receive))
    await until(lambda: speaker.events)
    socket.close(1000)
    await running
    assert (host.sent, speaker.events) == ([], ["opened", (1000, "")])


async def test_frames_are_messages_whatever_their_size() -> None:
    host, speaker = Host(), Speaker()
    socket = ASGIWebSocket(host.send, speaker, "a", 1000)
    assert (socket.subprotocol, socket.deflate) == ("a", False)
    running = asyncio.create_task(socket.run(host.receive))
    frames = b""
    for size in (0, 125, 126, 65_536):
        frames += server_frame(TEXT, b"t" * size) + server_frame(BINARY, b"b" * size)
    socket.write(frames)
    socket.send_text(b"last")
    assert not socket.writable
    await until(lambda: len(host.sent) == 9)
    assert [len(each.get("text") or each.get("bytes") or "") for each in host.sent] == [
        *(0, 0, 125, 125, 126, 126, 65_536, 65_536),
        4,
    ]
    await until(lambda: "writable" in speaker.events)
    socket.close(4000, "x")
    socket.close(4001, "y")
    socket.abort()
    await running
    assert speaker.events[-1] == (4000, "x")


async def test_messages_are_handed_over_while_they_are_wanted() -> None:
    host, speaker = Host(), Speaker()
    socket = ASGIWebSocket(host.send, speaker, None, 3)
    running = asyncio.create_task(socket.run(host.receive))
    socket.ping()
    for message in ({"text": "abc"}, {"bytes": b"\xff"}, {"text": None, "bytes": None}, {"text": "abcd"}):
        host.queue.put_nowait({"type": "websocket.receive", **message})
    await running
    assert speaker.events == ["opened", "abc", b"\xff", (1009, "message too big")]
    assert host.sent[-1]["code"] == 1009
