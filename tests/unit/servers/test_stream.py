"""Streams: their taker has the connection until one side ends it."""

import asyncio

import pytest

from extra.http import Request, Response, Stream, StreamingResponse, StreamTaker
from extra.servers.limits import ServerLimits
from extra.servers.stream import IGNORED_LIMIT_BYTES
from tests.unit.servers.serving import replies, serving, turns

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Taker(StreamTaker):
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.stream: Stream | None = None

    async def __call__(self, request: Request) -> Response:
        """Answer with a stream of this taker's."""
        if request.path == "/late":
            await asyncio.sleep(0)
        return StreamingResponse(self)

    @property
    def wire(self) -> Stream:
        assert self.stream is not None
        return self.stream

    def opened(self, stream: Stream) -> None:
        self.stream = stream
        self.calls.append("opened")
        stream.write(b"first\n")

    def writable(self) -> None:
        self.calls.append("writable")

    def closed(self) -> None:
        self.calls.append("closed")


@pytest.mark.parametrize("path", [b"/", b"/late"])
async def test_what_the_taker_writes_is_the_body_until_it_closes(path: bytes) -> None:
    taker = Taker()
    async with serving(taker) as run:
        peer = run.connect(GET.replace(b"/ ", path + b" "))
        await turns()
        assert replies(peer.received)[0].body == b"first\n"
        taker.wire.write(b"second\n")
        taker.wire.close()
        await turns()
        assert replies(peer.received)[0].body == b"first\nsecond\n"
        assert peer.lost
        assert taker.calls == ["opened", "closed"]
        taker.wire.write(b"leads nowhere")
        taker.wire.close()
        taker.wire.abort()


@pytest.mark.parametrize("leave", ["send_eof", "reset"])
async def test_stream_ends_when_the_peer_leaves(leave: str) -> None:
    """An EventSource never half-closes: the end of its side is the end."""
    taker = Taker()
    async with serving(taker) as run:
        peer = run.connect(GET)
        getattr(peer, leave)()
        await turns()
        assert peer.lost
        assert taker.calls == ["opened", "closed"]


async def test_what_the_peer_sends_is_dropped_up_to_a_bound() -> None:
    taker = Taker()
    async with serving(taker) as run:
        peer = run.connect(GET)
        peer.send(b"x" * IGNORED_LIMIT_BYTES)
        await turns()
        assert taker.calls == ["opened"]
        peer.send(b"x")
        await turns()
        assert taker.calls == ["opened", "closed"]
        assert run.counters.protocol_errors == 1


async def test_taker_is_told_when_it_may_write_again() -> None:
    taker = Taker()
    async with serving(taker, limits=ServerLimits(write_high_water_bytes=1000)) as run:
        peer = run.connect(GET)
        peer.stall()
        taker.wire.write(b"x" * 2000)
        assert (taker.wire.writable, taker.wire.write_buffer_size()) == (False, 2000)
        peer.take(500)
        assert not taker.wire.writable
        peer.take()
        assert taker.wire.writable
        assert taker.calls == ["opened", "writable"]


async def test_taker_of_a_connection_that_lags_already_is_told_as_well() -> None:
    taker = Taker()

    async def answer(request: Request) -> Response:
        return StreamingResponse(taker, headers=[("X", "y" * 500)])

    async with serving(answer, limits=ServerLimits(write_high_water_bytes=100)) as run:
        peer = run.connect()
        peer.stall()
        peer.send(GET)
        assert not taker.wire.writable
        peer.take()
        assert taker.calls == ["opened", "writable"]


async def test_peer_that_takes_nothing_is_aborted_and_a_slow_one_is_not() -> None:
    taker = Taker()
    async with serving(taker) as run:
        peer = run.connect(GET)
        peer.stall()
        for _ in range(100):
            taker.wire.write(b"xx")
            peer.take(1)
            run.wait(1)
        await turns()
        assert not peer.lost
        run.wait(31)
        await turns()
        assert peer.lost
        assert taker.calls == ["opened", "closed"]
        assert sum(run.counters.timeouts.values()) == 1


async def test_peer_that_takes_as_much_as_there_is_is_not_taken_for_stuck() -> None:
    """The buffer looks the same every time, and yet all of it has gone."""
    taker = Taker()
    async with serving(taker) as run:
        peer = run.connect(GET)
        for _ in range(100):
            peer.stall()
            taker.wire.write(b"tick")
            run.wait(1)
            peer.take()
        await turns()
        assert not peer.lost


async def test_close_waits_for_the_peer_to_take_the_rest_but_not_for_ever() -> None:
    taker = Taker()
    async with serving(taker) as run:
        peer = run.connect(GET)
        peer.stall()
        taker.wire.write(b"rest")
        taker.wire.close()
        run.wait(20)
        await turns()
        assert taker.calls == ["opened"]
        run.wait(20)
        await turns()
        assert taker.calls == ["opened", "closed"]


@pytest.mark.parametrize("method", ["opened", "writable"])
async def test_taker_that_fails_costs_its_own_connection(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Taker):
        pass

    def fail(self: Taker, *arguments: object) -> None:
        raise ZeroDivisionError

    setattr(Failing, method, fail)
    taker = Failing()
    async with serving(taker, limits=ServerLimits(write_high_water_bytes=100)) as run:
        peer = run.connect(GET)
        peer.stall()
        if taker.stream is not None:
            taker.wire.write(b"x" * 200)
        peer.take()
        await turns()
        assert peer.lost
        assert taker.calls[-1] == "closed"
        assert run.counters.handler_failures == 1
    assert [record.message for record in caplog.records] == ["the taker of a stream has failed"]


async def test_reading_can_be_paused_as_on_any_wire() -> None:
    taker = Taker()
    async with serving(taker) as run:
        peer = run.connect(GET)
        taker.wire.pause_reading()
        taker.wire.pause_reading()
        assert not peer.is_reading()
        taker.wire.resume_reading()
        assert peer.is_reading()


async def test_retiring_leaves_it_to_the_taker() -> None:
    taker = Taker()
    async with serving(taker) as run:
        run.connect(GET)
        for connection in run.context.connections:
            connection.retire()
        await turns()
        assert taker.calls == ["opened"]
