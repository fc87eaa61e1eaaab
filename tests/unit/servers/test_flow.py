"""Flow control, the same contract for connections of every kind: HTTP, streams, WebSockets."""

import asyncio
from collections.abc import Callable

import pytest

from extra.http import (
    Request,
    Response,
    Stream,
    StreamingResponse,
    StreamTaker,
    WebSocket,
    WebSocketResponse,
    WebSocketTaker,
    Wire,
)
from extra.protocols.websocket import TEXT, client_frame
from extra.servers.flow import GONE, Flow
from extra.servers.limits import ServerLimits
from tests.fakes.transport import FakeTransport
from tests.unit.servers.serving import Serving, serving, turns

HIGH = 1000
LIMITS = ServerLimits(write_high_water_bytes=HIGH)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Taker(StreamTaker, WebSocketTaker):
    """Takes anything and does nothing."""

    def opened(self, wire: Stream | WebSocket) -> None: ...
    def received_text(self, data: bytes) -> None: ...
    def received_binary(self, data: bytes) -> None: ...
    def writable(self) -> None: ...
    def closed(self, *why: object) -> None: ...


async def answer(request: Request) -> Response:
    """Wait for a body, begin a stream, or consent to a WebSocket, each with nothing to send of its own."""
    if request.path == "/wait":
        await asyncio.Event().wait()
    return WebSocketResponse(Taker()) if request.path == "/ws" else StreamingResponse(Taker())


REQUESTS = {"http": GET.replace(b"/ ", b"/wait "), "stream": GET, "websocket": UPGRADE}


def connect(run: Serving, kind: str) -> tuple[Flow, FakeTransport]:
    """Return a connection of a kind, with its peer, that has sent what it had to and is at rest."""
    peer = run.connect(REQUESTS[kind])
    connection = peer.get_protocol()
    assert isinstance(connection, Flow)
    return connection, peer


@pytest.fixture(params=sorted(REQUESTS))
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of connection that a test is run with."""
    return str(request.param)


async def test_writable_follows_the_transport(kind: str) -> None:
    async with serving(answer, limits=LIMITS) as run:
        connection, peer = connect(run, kind)
        peer.stall()
        connection.write(b"x" * HIGH)
        assert connection.writable
        connection.write(b"x")
        assert not connection.writable
        assert connection.write_buffer_size() == HIGH + 1
        peer.take(HIGH // 2)
        assert not connection.writable
        peer.take(HIGH // 2)
        assert connection.writable


async def test_drain_waits_until_the_transport_has_caught_up(kind: str) -> None:
    async with serving(answer, limits=LIMITS) as run:
        connection, peer = connect(run, kind)
        await connection.drain()
        peer.stall()
        connection.write(b"x" * 2 * HIGH)
        draining = asyncio.create_task(connection.drain())
        await turns()
        assert not draining.done()
        peer.take()
        await draining


async def test_drain_ends_with_the_connection(kind: str) -> None:
    async with serving(answer, limits=LIMITS) as run:
        connection, peer = connect(run, kind)
        peer.stall()
        connection.write(b"x" * 2 * HIGH)
        draining = asyncio.create_task(connection.drain())
        await turns()
        peer.reset()
        await draining


async def test_drain_can_be_cancelled_and_asked_again(kind: str) -> None:
    async with serving(answer, limits=LIMITS) as run:
        connection, peer = connect(run, kind)
        peer.stall()
        connection.write(b"x" * 2 * HIGH)
        draining = asyncio.create_task(connection.drain())
        await turns()
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
        again = asyncio.create_task(connection.drain())
        await turns()
        peer.take()
        await again


async def test_reading_pauses_and_resumes_once_however_often_it_is_said(kind: str) -> None:
    async with serving(answer, limits=LIMITS) as run:
        connection, peer = connect(run, kind)
        for _ in range(2):
            connection.pause_reading()
            assert not peer.is_reading()
        for _ in range(2):
            connection.resume_reading()
            await turns()
            assert peer.is_reading()


async def test_nothing_is_received_while_reading_is_paused(kind: str) -> None:
    async with serving(answer, limits=LIMITS) as run:
        connection, peer = connect(run, kind)
        before = run.counters.bytes_received
        connection.pause_reading()
        peer.send(client_frame(TEXT, b"x", b"\0\0\0\0"))
        await turns()
        assert run.counters.bytes_received == before
        connection.resume_reading()
        await turns()
        assert run.counters.bytes_received > before


async def test_peer_that_takes_nothing_for_too_long_is_aborted(kind: str) -> None:
    async with serving(answer, limits=ServerLimits(write_timeout_s=5, ping_interval_s=0)) as run:
        connection, peer = connect(run, kind)
        run.wait(100)
        peer.stall()
        connection.write(b"xyz")
        run.wait(4)
        peer.take(1)
        run.wait(5)
        await turns()
        assert not peer.lost
        run.wait(1)
        await turns()
        assert peer.lost
        assert sum(run.counters.timeouts.values()) == 1


async def test_all_that_was_sent_is_counted(kind: str) -> None:
    async with serving(answer, limits=ServerLimits(ping_interval_s=0)) as run:
        connection, peer = connect(run, kind)
        connection.write(b"x" * 100)
        run.wait(1)
        assert run.counters.bytes_sent == len(peer.received)
        connection.write(b"x" * 100)
        connection.abort()
        await turns()
        assert run.counters.bytes_sent == len(peer.received)


async def test_connection_that_is_gone_takes_everything_and_does_nothing(kind: str) -> None:
    async with serving(answer, limits=LIMITS) as run:
        connection, peer = connect(run, kind)
        peer.stall()
        connection.write(b"x" * 2 * HIGH)
        peer.reset()
        await turns()
        assert connection.writable
        uses: list[Callable[[Wire], object]] = [
            lambda wire: wire.write(b"x" * 2 * HIGH),
            lambda wire: wire.pause_reading(),
            lambda wire: wire.resume_reading(),
            lambda wire: wire.abort(),
        ]
        for use in uses:
            use(connection)
        assert connection.write_buffer_size() == 0
        run.wait(100)
        assert connection not in run.context.connections


def test_transport_of_what_is_gone_is_closing() -> None:
    GONE.write_eof()
    GONE.close()
    assert GONE.is_closing()
