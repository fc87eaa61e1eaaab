"""WebSockets: what a taker hears, what a peer gets, how they end."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from extra.errors import LocalProtocolError
from extra.http import Request, Response, WebSocket, WebSocketResponse, WebSocketTaker
from extra.protocols.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_frame,
    server_frame,
)
from extra.servers.limits import ServerLimits
from extra.servers.websocket import BYTES_PER_TURN, FRAMES_PER_TURN
from tests.fakes.transport import FakeTransport
from tests.unit.servers.serving import Serving, serving, turns

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
MASK = b"\1\2\3\4"


def frame(opcode: int, payload: bytes) -> bytes:
    return client_frame(opcode, payload, MASK)


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


class Taker(WebSocketTaker):
    """Answers each message with the same, and notes what it is called with."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.received: list[bytes] = []
        self.socket: WebSocket | None = None

    def opened(self, socket: WebSocket) -> None:
        self.socket = socket
        self.calls.append("opened")

    def received_text(self, data: bytes) -> None:
        self.received.append(data)
        self.wire.send_text(data)

    def received_binary(self, data: bytes) -> None:
        self.received.append(data)
        self.wire.send_binary(data)

    def writable(self) -> None:
        self.calls.append("writable")

    def closed(self, code: int, reason: str) -> None:
        self.calls.append(("closed", code, reason))

    @property
    def wire(self) -> WebSocket:
        assert self.socket is not None
        return self.socket


class Peer:
    """A client behind its handshake: what it receives is counted from there."""

    def __init__(self, transport: FakeTransport) -> None:
        self.transport = transport
        self._start = transport.received.index(b"\r\n\r\n") + 4

    @property
    def received(self) -> bytes:
        return self.transport.received[self._start :]

    def send(self, *frames: bytes) -> None:
        self.transport.send(b"".join(frames))


@asynccontextmanager
async def websocket(
    taker: WebSocketTaker, *fields: bytes, limits: ServerLimits | None = None, behind: bytes = b""
) -> AsyncIterator[tuple[Serving, Peer]]:
    """Open a WebSocket for `taker`. `fields` are of its handshake, and `behind` is sent together with it."""

    async def answer(request: Request) -> Response:
        return WebSocketResponse(taker, subprotocols=["v1", "v2"], frame_limit_bytes=1000, deflate=True)

    async with serving(answer, limits=limits) as run:
        yield (
            run,
            Peer(run.connect(UPGRADE + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + behind)),
        )


async def test_messages_reach_the_taker_and_answers_the_peer() -> None:
    taker = Taker()
    async with websocket(taker) as (_, peer):
        peer.send(frame(TEXT, b"hi"), frame(BINARY, b"\0\1"))
        assert peer.received == server_frame(TEXT, b"hi") + server_frame(BINARY, b"\0\1")
        for byte in frame(TEXT, b"drip"):
            peer.send(bytes([byte]))
        assert taker.received == [b"hi", b"\0\1", b"drip"]
        assert taker.calls == ["opened"]


async def test_what_was_sent_behind_the_handshake_is_received() -> None:
    taker = Taker()
    async with websocket(taker, behind=frame(TEXT, b"early")) as (run, peer):
        assert peer.received == server_frame(TEXT, b"early")
        assert run.counters.bytes_received == len(UPGRADE) + 2 + len(frame(TEXT, b"early"))


async def test_subprotocol_and_deflate_are_agreed_upon() -> None:
    taker = Taker()
    fields = (b"Sec-WebSocket-Protocol: v9, v2", b"Sec-WebSocket-Extensions: permessage-deflate")
    async with websocket(taker, *fields) as (_, peer):
        assert (taker.wire.subprotocol, taker.wire.deflate) == ("v2", True)
        assert b"Sec-WebSocket-Protocol: v2\r\n" in peer.transport.received
        deflated = frame(TEXT, bytes.fromhex("f248cdc9c90700"))  # RFC 7692 7.2.3.1
        peer.send(bytes([deflated[0] | 0x40]) + deflated[1:])
        assert taker.received == [b"Hello"]
    async with websocket(taker) as (_, peer):
        assert b"Sec-WebSocket-Protocol" not in peer.transport.received
        assert (taker.wire.subprotocol, taker.wire.deflate) == (None, False)


async def test_shared_frames_are_written_as_they_are() -> None:
    taker = Taker()
    async with websocket(taker) as (_, peer):
        shared = server_frame(TEXT, b"to all")
        taker.wire.write(shared)
        assert peer.received == shared
        assert taker.wire.write_buffer_size() == 0
        peer.transport.stall()
        taker.wire.write(shared)
        assert taker.wire.write_buffer_size() == len(shared)


async def test_pings_are_answered_and_sent() -> None:
    taker = Taker()
    async with websocket(taker) as (_, peer):
        peer.send(frame(PING, b"sign"))
        taker.wire.ping(b"mine")
        assert peer.received == server_frame(PONG, b"sign") + server_frame(PING, b"mine")
        assert taker.received == []


# Closing.


async def test_close_of_the_peer_is_answered_and_ends_the_connection() -> None:
    """RFC 6455 5.5.1 and 7.1.1."""
    taker = Taker()
    async with websocket(taker) as (run, peer):
        peer.send(frame(TEXT, b"last"), close_frame(1001, "bye"), frame(TEXT, b"late"))
        assert peer.received == server_frame(TEXT, b"last") + server_frame(CLOSE, b"\x03\xe9bye")
        assert peer.transport.received_eof
        assert taker.calls == ["opened", ("closed", 1001, "bye")]
        assert taker.received == [b"last"]
        taker.wire.write(b"leads nowhere")
        taker.wire.close()
        peer.transport.send_eof()
        await turns()
        assert peer.transport.lost
        assert run.counters.protocol_errors == 0


async def test_close_frame_without_a_code_is_1005() -> None:
    taker = Taker()
    async with websocket(taker) as (_, peer):
        peer.send(frame(CLOSE, b""))
        assert taker.calls == ["opened", ("closed", 1005, "")]


async def test_close_of_ours_waits_for_the_peers() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        taker.wire.close(4290, "slow")
        taker.wire.close(1000)
        peer.send(frame(TEXT, b"has not seen it"))
        assert peer.received == server_frame(CLOSE, b"\x10\xc2slow")
        assert taker.calls == ["opened", ("closed", 4290, "slow")]
        taker.wire.write(b"leads nowhere")
        run.wait(1)
        assert not peer.transport.received_eof
        peer.send(frame(PING, b""), close_frame(4290, "slow"))
        assert peer.received == server_frame(CLOSE, b"\x10\xc2slow")
        assert peer.transport.received_eof
        assert taker.received == []
        peer.transport.send_eof()
        await turns()
        assert peer.transport.lost


async def test_close_of_ours_that_is_not_answered_ends_all_the_same() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        taker.wire.close(1001)
        run.wait(1)
        await turns()
        assert not peer.transport.lost
        run.wait(1)
        await turns()
        assert peer.transport.lost


async def test_peer_that_does_not_even_take_the_close_frame_is_aborted() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        peer.transport.stall()
        taker.wire.write(b"x" * 100_000)
        taker.wire.close(1001)
        for _ in range(29):
            run.wait(1)
        await turns()
        assert not peer.transport.lost
        for _ in range(3):
            run.wait(1)
        await turns()
        assert peer.transport.lost


async def test_close_frame_is_read_although_the_taker_wants_nothing() -> None:
    taker = Taker()
    async with websocket(taker) as (_, peer):
        taker.wire.pause_reading()
        taker.wire.close(1000)
        peer.send(close_frame(1000))
        await turns()
        assert peer.transport.received_eof


async def test_bad_close_code_is_a_bug() -> None:
    taker = Taker()
    async with websocket(taker):
        with pytest.raises(LocalProtocolError):
            taker.wire.close(1005)


@pytest.mark.parametrize("leave", ["send_eof", "reset"])
async def test_connection_lost_without_a_close_frame_is_1006(leave: str) -> None:
    """RFC 6455 7.1.5."""
    taker = Taker()
    async with websocket(taker) as (_, peer):
        getattr(peer.transport, leave)()
        await turns()
        assert taker.calls == ["opened", ("closed", 1006, "")]
        assert peer.transport.lost


async def test_abort_ends_at_once() -> None:
    taker = Taker()
    async with websocket(taker):
        taker.wire.abort()
        await turns()
        assert taker.calls == ["opened", ("closed", 1006, "")]


# What breaks the rules.


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (server_frame(TEXT, b"not masked"), 1002),
        (frame(0x3, b""), 1002),
        (bytes([frame(TEXT, b"")[0] | 0x20]) + frame(TEXT, b"")[1:], 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"x" * 1001), 1009),
        (frame(BINARY, b"x" * 100_000)[:20], 1009),
        (close_frame(1005), 1002),
    ],
)
async def test_breaking_the_rules_is_answered_with_the_code_for_it(data: bytes, code: int) -> None:
    """RFC 6455 7.4.1. The peer may still be sending: what it sends is dropped until it ends."""
    taker = Taker()
    async with websocket(taker) as (run, peer):
        peer.send(frame(TEXT, b"before"), data)
        start = len(server_frame(TEXT, b"before"))
        assert peer.received[start] == 0x80 | CLOSE
        assert int.from_bytes(peer.received[start + 2 : start + 4], "big") == code
        assert peer.transport.received_eof
        (closed,) = taker.calls[1:]
        assert isinstance(closed, tuple)
        assert closed[:2] == ("closed", code)
        assert run.counters.protocol_errors == 1
        peer.send(b"x" * 100_000)
        await turns()
        assert not peer.transport.lost
        run.wait(3)
        await turns()
        assert peer.transport.lost


async def test_connection_of_one_that_breaks_the_rules_is_no_others() -> None:
    bad, good = Taker(), Taker()
    takers = [bad, good]

    async def answer(request: Request) -> Response:
        return WebSocketResponse(takers.pop(0))

    async with serving(answer) as run:
        first, second = (Peer(run.connect(UPGRADE + b"\r\n")) for _ in range(2))
        first.send(server_frame(TEXT, b"x"))
        second.send(frame(TEXT, b"y"))
        assert good.received == [b"y"]


# Flow control.


async def test_taker_that_has_enough_hears_nothing_until_it_wants_more() -> None:
    class Reluctant(Taker):
        def received_text(self, data: bytes) -> None:
            self.received.append(data)
            self.wire.pause_reading()

    taker = Reluctant()
    async with websocket(taker) as (_, peer):
        peer.send(frame(TEXT, b"1"), frame(TEXT, b"2"), frame(TEXT, b"3"))
        peer.send(frame(TEXT, b"4"))
        assert taker.received == [b"1"]
        assert not peer.transport.is_reading()
        for count in (2, 3, 4):
            taker.wire.resume_reading()
            await turns()
            assert len(taker.received) == count
            assert not peer.transport.is_reading()
        assert taker.received == [b"1", b"2", b"3", b"4"]
        taker.wire.resume_reading()
        await turns()
        assert peer.transport.is_reading()


async def test_nothing_more_is_read_while_something_waits_to_be_handed_over() -> None:
    """A taker that pauses often would else have the peer fill the memory."""

    class Busy(Taker):
        def received_text(self, data: bytes) -> None:
            self.received.append(data)
            self.wire.pause_reading()
            asyncio.get_running_loop().call_soon(self.wire.resume_reading)

    taker = Busy()
    async with websocket(taker) as (_, peer):
        peer.send(frame(TEXT, b"x") * 100)
        while len(taker.received) < 100:
            assert not peer.transport.is_reading()
            await asyncio.sleep(0)
        await turns()
        assert peer.transport.is_reading()


async def test_nothing_is_read_while_the_peer_does_not_take_what_is_written() -> None:
    taker = Taker()
    async with websocket(taker, limits=ServerLimits(write_high_water_bytes=1000)) as (_, peer):
        peer.transport.stall()
        message = frame(TEXT, b"x" * 400)
        peer.send(message * 5)
        assert not taker.wire.writable
        assert len(taker.received) == 3
        assert not peer.transport.is_reading()
        peer.send(frame(PING, b"") * 100)
        peer.transport.take()
        assert taker.wire.writable
        assert taker.calls == ["opened", "writable"]
        await turns()
        assert len(taker.received) == 5
        assert peer.received.endswith(server_frame(PONG, b"") * 100)


async def test_reading_goes_on_only_when_both_the_taker_and_the_peer_let_it() -> None:
    taker = Taker()
    async with websocket(taker, limits=ServerLimits(write_high_water_bytes=1000)) as (_, peer):
        peer.transport.stall()
        taker.wire.write(b"x" * 2000)
        taker.wire.pause_reading()
        taker.wire.resume_reading()
        assert not peer.transport.is_reading()
        taker.wire.pause_reading()
        peer.transport.take()
        assert not peer.transport.is_reading()
        taker.wire.resume_reading()
        await turns()
        assert peer.transport.is_reading()


async def test_too_large_a_frame_is_told_the_name_of_the_limit() -> None:
    taker = Taker()
    async with websocket(taker, limits=ServerLimits(names={"frame_limit_bytes": "websocket.frame"})) as (
        run,
        peer,
    ):
        peer.send(frame(TEXT, b"x" * 1001))
        assert taker.calls[-1] == ("closed", 1009, "frame larger than websocket.frame=1000")
        assert run.counters.limits_met == {"websocket.frame": 1}


# Turns.


async def test_many_messages_are_handed_over_in_several_turns() -> None:
    taker = Taker()
    async with websocket(taker) as (_, peer):
        peer.send(*[frame(BINARY, b"%d" % number) for number in range(2 * FRAMES_PER_TURN + 1)])
        assert len(taker.received) == FRAMES_PER_TURN
        assert not peer.transport.is_reading()
        peer.send(frame(BINARY, b"last"))
        await turns(1)
        assert len(taker.received) == 2 * FRAMES_PER_TURN
        assert not peer.transport.is_reading()
        await turns()
        assert peer.transport.is_reading()
        assert taker.received == [b"%d" % number for number in range(2 * FRAMES_PER_TURN + 1)] + [b"last"]


async def test_bytes_of_a_turn_are_those_after_inflating() -> None:
    taker = Taker()
    async with websocket(taker, b"Sec-WebSocket-Extensions: permessage-deflate") as (_, peer):
        deflater = zlib.compressobj(wbits=-12)
        data = deflater.compress(b"x" * 1000) + deflater.flush(zlib.Z_SYNC_FLUSH)
        bomb = frame(BINARY, data.removesuffix(b"\0\0\xff\xff"))
        peer.send((bytes([bomb[0] | 0x40]) + bomb[1:]) * 300)
        assert len(taker.received) == BYTES_PER_TURN // 1000 + 1
        await turns()
        assert len(taker.received) == 300


async def test_taker_and_turns_both_have_to_let_it_go_on() -> None:
    class Pausing(Taker):
        def received_binary(self, data: bytes) -> None:
            super().received_binary(data)
            self.wire.pause_reading()
            self.wire.resume_reading()

    taker = Pausing()
    async with websocket(taker) as (_, peer):
        peer.send(*[frame(BINARY, b"x") for _ in range(FRAMES_PER_TURN + 10)])
        await turns()
        assert len(taker.received) == FRAMES_PER_TURN + 10
        assert peer.transport.is_reading()


async def test_connection_may_end_while_others_have_their_turn() -> None:
    taker = Taker()
    async with websocket(taker) as (_, peer):
        peer.send(*[frame(BINARY, b"x") for _ in range(FRAMES_PER_TURN + 10)])
        taker.wire.close()
        await turns()
        assert len(taker.received) == FRAMES_PER_TURN
        assert taker.calls == ["opened", ("closed", 1000, "")]


async def test_what_comes_after_our_close_frame_is_dropped_in_turns_as_well() -> None:
    taker = Taker()
    async with websocket(taker) as (_, peer):
        taker.wire.close()
        peer.send(frame(BINARY, b"x" * 1000) * 300, close_frame(1000))
        assert not peer.transport.is_reading()
        peer.transport.send_eof()
        await turns()
        assert peer.transport.lost
        assert taker.received == []


# What arrives in parts.


async def test_unfinished_messages_of_all_connections_are_bounded_together() -> None:
    first = Taker()
    limits = ServerLimits(receive_limit_bytes=1000, names={"receive_limit_bytes": "server.receive"})
    async with websocket(first, limits=limits) as (run, peer):
        peer.send(frame(TEXT, b"x" * 900)[:-1])
        other = run.connect(UPGRADE + b"\r\n")
        assert run.counters.buffered_bytes_now == 907
        # The handler of these tests gives every connection the same taker: the first is told of both.
        other.send(frame(TEXT, b"y" * 900)[:-1])
        reason = "unfinished messages of all connections exceed server.receive"
        assert other.received.endswith(server_frame(CLOSE, b"\x03\xf5" + reason.encode()))
        assert first.calls[-1] == ("closed", 1013, reason)
        peer.send(frame(TEXT, b"x" * 900)[-1:])
        assert first.received == [b"x" * 900]
        assert run.counters.buffered_bytes_now == 0
        assert run.counters.limits_met == {"server.receive": 1}


async def test_fragments_count_as_long_as_their_message_is_not_complete() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        peer.send(bytes([frame(TEXT, b"x")[0] & 0x7F]) + frame(TEXT, b"x" * 500)[1:])
        assert run.counters.buffered_bytes_now == 500
        peer.send(frame(CONTINUATION, b"x" * 500))
        assert taker.received == [b"x" * 1000]
        assert run.counters.buffered_bytes_now == 0


async def test_peer_that_still_sends_when_closed_from_here_is_bounded_too() -> None:
    taker = Taker()
    async with websocket(taker, limits=ServerLimits(receive_limit_bytes=500)) as (run, peer):
        taker.wire.close()
        peer.send(frame(TEXT, b"x" * 900)[:-1])
        await turns()
        assert peer.transport.lost
        assert run.counters.buffered_bytes_now == 0


async def test_message_has_to_arrive_in_time_though_pings_are_answered() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        run.wait(10)
        peer.send(bytes([frame(TEXT, b"x")[0] & 0x7F]) + frame(TEXT, b"x")[1:])
        for _ in range(29):
            run.wait(1)
            peer.send(frame(PING, b""))
        assert taker.calls == ["opened"]
        run.wait(1)
        assert taker.calls == ["opened", ("closed", 4408, "message not received within body_timeout_s=30")]
        assert sum(run.counters.timeouts.values()) == 1


async def test_each_message_has_its_own_time() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        data = frame(TEXT, b"hello")
        peer.send(data[:3])
        for _ in range(4):
            run.wait(20)
            peer.send(data[3:] + data[:3])
        assert taker.received == [b"hello"] * 4


async def test_time_in_which_nothing_is_read_is_not_the_message_s() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        peer.send(frame(TEXT, b"hello")[:3])
        taker.wire.pause_reading()
        run.wait(60)
        taker.wire.resume_reading()
        await turns()
        run.wait(29)
        assert taker.calls == ["opened"]
        peer.send(frame(TEXT, b"hello")[3:])
        assert taker.received == [b"hello"]


# Silence.


async def test_silent_peer_is_pinged_and_closed_when_it_stays_silent() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        run.wait(24)
        assert peer.received == b""
        run.wait(1)
        assert peer.received == server_frame(PING, b"")
        run.wait(19)
        assert taker.calls == ["opened"]
        run.wait(1)
        assert peer.received == server_frame(PING, b"") + server_frame(CLOSE, b"\x11\x38no answer to pings")
        assert taker.calls == ["opened", ("closed", 4408, "no answer to pings")]
        run.wait(2)
        await turns()
        assert peer.transport.lost
        assert run.counters.timeouts == {"ping_timeout_s": 1, "close_timeout_s": 1}


async def test_peer_that_answers_is_pinged_at_every_interval() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        for count in range(1, 5):
            run.wait(25)
            assert peer.received == server_frame(PING, b"") * count
            peer.send(frame(PONG, b""))


async def test_anything_is_a_sign_of_life() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        for _ in range(10):
            run.wait(20)
            peer.send(frame(TEXT, b"x")[:1], frame(TEXT, b"x")[1:])
        assert server_frame(PING, b"") not in peer.received
        assert taker.calls == ["opened"]


async def test_peer_whose_pongs_are_not_read_is_pinged_and_not_held_to_them() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        taker.wire.pause_reading()
        run.wait(80)
        count = peer.received.count(server_frame(PING, b""))
        assert peer.received == server_frame(PING, b"") * count
        assert 3 <= count <= 4
        assert taker.calls == ["opened"]
        taker.wire.resume_reading()
        await turns()
        run.wait(25)
        assert peer.received == server_frame(PING, b"") * (count + 1)


async def test_no_interval_is_no_pings() -> None:
    async with websocket(Taker(), limits=ServerLimits(ping_interval_s=0)) as (run, peer):
        run.wait(500)
        assert peer.received == b""


async def test_peer_that_takes_nothing_is_aborted() -> None:
    taker = Taker()
    async with websocket(taker) as (run, peer):
        peer.transport.stall()
        for _ in range(29):
            taker.wire.write(b"x")
            run.wait(1)
        await turns()
        assert not peer.transport.lost
        run.wait(1)
        await turns()
        assert peer.transport.lost
        assert taker.calls[-1] == ("closed", 1006, "")


async def test_retiring_leaves_it_to_the_taker() -> None:
    taker = Taker()
    async with websocket(taker) as (run, _):
        for connection in run.context.connections:
            connection.retire()
        await turns()
        assert taker.calls == ["opened"]


# Takers that fail.


@pytest.mark.parametrize("method", ["opened", "received_text", "received_binary", "writable"])
async def test_taker_that_fails_costs_its_own_connection(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 6455 7.4.1: 1011."""

    class Failing(Taker):
        pass

    def fail(self: Taker, *arguments: object) -> None:
        raise ZeroDivisionError

    setattr(Failing, method, fail)
    taker = Failing()
    async with websocket(taker, limits=ServerLimits(write_high_water_bytes=100)) as (run, peer):
        peer.send(frame(TEXT, b"a"), frame(BINARY, b"b"))
        peer.transport.stall()
        if taker.socket is not None:
            taker.wire.write(b"x" * 200)
        peer.transport.take()
        assert peer.received.endswith(server_frame(CLOSE, b"\x03\xf3internal error"))
        assert taker.calls[-1] == ("closed", 1011, "internal error")
        assert run.counters.handler_failures == 1
    (record,) = caplog.records
    assert record.message == "the taker of a WebSocket has failed"


async def test_slow_peer_is_given_its_last_frames_before_it_is_waited_for() -> None:
    """What says why it is cut off stands behind all that it has not read yet."""
    taker = Taker()
    async with websocket(taker) as (run, peer):
        peer.transport.stall()
        taker.wire.write(b"x" * 1000)
        taker.wire.close(4429, "slow")
        for _ in range(5):
            run.wait(2)
            peer.transport.take(100)
        assert not peer.transport.is_closing()
        peer.transport.take()
        assert peer.received.endswith(server_frame(CLOSE, (4429).to_bytes(2, "big") + b"slow"))
        run.wait(3)
        run.wait(3)
        await turns()
        assert peer.transport.lost
