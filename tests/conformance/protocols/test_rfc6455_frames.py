"""RFC 6455, sections 5 to 8: frames, messages and closing. The peer is the client of websockets."""

import struct
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from extra.protocols.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    BytesReceived,
    CloseReceived,
    PongReceived,
    TextReceived,
    WebSocketCodec,
    client_frame,
    server_frame,
)

LIMIT = 200_000
MASK = b"\x37\xfa\x21\x3d"


class Pair:
    """Our codec and a client, with nothing between them."""

    def __init__(self, frame_limit_bytes: int = LIMIT) -> None:
        self.codec = WebSocketCodec(frame_limit_bytes=frame_limit_bytes)
        self.client = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)

    def run(self) -> list[tuple[Any, ...]]:
        """Carry what both have to say until they are silent, and return the codec's events."""
        events = []
        while data := b"".join(self.client.data_to_send()):
            self.codec.receive_data(data)
            events += events_of(self.codec)
            self.client.receive_data(self.codec.data_to_send())
        return events

    def client_events(self) -> list[tuple[Opcode, bytes]]:
        frames = [event for event in self.client.events_received() if isinstance(event, Frame)]
        return [(frame.opcode, bytes(frame.data)) for frame in frames]


def events_of(codec: WebSocketCodec) -> list[tuple[Any, ...]]:
    events: list[tuple[Any, ...]] = []
    while (event := codec.next_event()) is not None:
        if isinstance(event, CloseReceived):
            events.append(("close", event.code, event.reason))
        elif isinstance(event, PongReceived):
            events.append(("pong", event.payload))
        elif isinstance(event, TextReceived):
            events.append(("text", event.data))
        else:
            assert isinstance(event, BytesReceived)
            events.append(("binary", event.data))
    return events


def frame(first: int, payload: bytes = b"") -> bytes:
    """Return a masked frame with any first byte."""
    return bytes([first]) + client_frame(CONTINUATION, payload, MASK)[1:]


def failure(
    data: bytes, frame_limit_bytes: int = LIMIT, *, byte_by_byte: bool = False
) -> tuple[int | None, str]:
    """Feed `data`, all that there is to come, and return how the codec has failed."""
    codec = WebSocketCodec(frame_limit_bytes=frame_limit_bytes)
    for piece in [data[i : i + 1] for i in range(len(data))] if byte_by_byte else [data]:
        codec.receive_data(piece)
        assert events_of(codec) == []
    if codec.close_code is not None:
        assert codec.closed
        payload = struct.pack("!H", codec.close_code) + codec.close_reason.encode()
        assert codec.data_to_send() == server_frame(CLOSE, payload)
        assert codec.data_to_send() == b""
    return codec.close_code, codec.close_reason


# 5.7: the examples


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", ("text", b"Hello")),
        (b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", ("pong", b"Hello")),
    ],
)
def test_examples_of_the_specification_are_read(data: bytes, event: tuple[str, bytes]) -> None:
    """5.7"""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(data)
    assert events_of(codec) == [event]


def test_examples_of_the_specification_are_written() -> None:
    """5.7"""
    assert server_frame(TEXT, b"Hello") == b"\x81\x05Hello"
    assert server_frame(PING, b"Hello") == b"\x89\x05Hello"
    assert server_frame(BINARY, b"x" * 256) == b"\x82\x7e\x01\x00" + b"x" * 256
    assert server_frame(BINARY, b"x" * 65536) == b"\x82\x7f" + bytes([0, 0, 0, 0, 0, 1, 0, 0]) + b"x" * 65536
    assert client_frame(TEXT, b"Hello", MASK) == b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"


# 5.2: the base framing


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 65537])
def test_messages_of_any_length_go_both_ways(length: int) -> None:
    """5.2"""
    pair = Pair()
    pair.client.send_text(b"t" * length)
    pair.client.send_binary(b"\xff" * length)
    assert pair.run() == [("text", b"t" * length), ("binary", b"\xff" * length)]
    pair.client.receive_data(server_frame(TEXT, b"t" * length) + server_frame(BINARY, b"\xff" * length))
    assert pair.client_events() == [(Opcode.TEXT, b"t" * length), (Opcode.BINARY, b"\xff" * length)]


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG])
@pytest.mark.parametrize("bits", [0x40, 0x20, 0x10, 0x70])
def test_reserved_bit_fails_the_connection(opcode: int, bits: int) -> None:
    """5.2: MUST be 0 unless an extension is negotiated."""
    assert failure(frame(0x80 | bits | opcode)) == (1002, "reserved bit is set")


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("fin", [0x80, 0])
def test_unknown_opcode_fails_the_connection(opcode: int, fin: int) -> None:
    """5.2"""
    assert failure(frame(fin | opcode)) == (1002, f"opcode {opcode} is not known")


@pytest.mark.parametrize("header", [b"\x81\x00", b"\x81\x01x", b"\x89\x00", b"\x88\x00", b"\x81\x7e\x00\x80"])
@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_frame_that_is_not_masked_fails_the_connection(header: bytes, byte_by_byte: bool) -> None:
    """5.1: a server MUST close the connection."""
    assert failure(header, byte_by_byte=byte_by_byte) == (1002, "frame is not masked")


@pytest.mark.parametrize(
    "header",
    [
        b"\x81\xfe\x00\x00",
        b"\x81\xfe\x00\x7d",
        b"\x81\xff\x00\x00\x00\x00\x00\x00\x00\x01",
        b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff",
    ],
)
@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_length_that_is_not_in_its_shortest_form_fails_the_connection(
    header: bytes, byte_by_byte: bool
) -> None:
    """5.2: the minimal number of bytes MUST be used."""
    assert failure(header, byte_by_byte=byte_by_byte) == (1002, "frame length is not in its shortest form")


@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_length_with_its_highest_bit_set_fails_the_connection(byte_by_byte: bool) -> None:
    """5.2: the most significant bit MUST be 0."""
    for high in (b"\x80", b"\xff"):
        header = b"\x82\xff" + high + b"\x00" * 7
        assert failure(header, byte_by_byte=byte_by_byte) == (1002, "frame length has its highest bit set")


# 5.4: fragmentation


def test_fragments_are_one_message() -> None:
    """5.4"""
    pair = Pair()
    pair.client.send_text("grü".encode()[:3], fin=False)
    pair.client.send_continuation("grü".encode()[3:], fin=False)
    pair.client.send_continuation(b"", fin=False)
    pair.client.send_continuation(b"n", fin=True)
    pair.client.send_binary(b"", fin=False)
    pair.client.send_continuation(b"", fin=True)
    pair.client.send_text(b"next")
    assert pair.run() == [("text", "grün".encode()), ("binary", b""), ("text", b"next")]


def test_control_frames_may_come_between_fragments() -> None:
    """5.4, and 5.5.2: a pong is sent as soon as is practical."""
    pair = Pair()
    pair.client.send_text(b"a", fin=False)
    pair.client.send_ping(b"are you there")
    pair.codec.receive_data(b"".join(pair.client.data_to_send()))
    assert events_of(pair.codec) == []
    assert pair.codec.data_to_send() == server_frame(PONG, b"are you there")
    pair.client.send_pong(b"unasked")
    pair.client.send_continuation(b"b", fin=True)
    assert pair.run() == [("pong", b"unasked"), ("text", b"ab")]


def test_close_may_come_between_fragments() -> None:
    """5.4 and 5.5.1"""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(frame(TEXT, b"a") + frame(0x80 | CLOSE, b"\x03\xe8"))
    assert events_of(codec) == [("close", 1000, "")]


@pytest.mark.parametrize("first", [0x80 | CONTINUATION, CONTINUATION])
def test_continuation_of_no_message_fails_the_connection(first: int) -> None:
    """5.4"""
    assert failure(frame(first, b"a")) == (1002, "continuation of no message")
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(frame(TEXT, b"a") + frame(0x80, b"b") + frame(first, b"c"))
    assert events_of(codec) == [("text", b"ab")]
    assert codec.close_code == 1002


@pytest.mark.parametrize("first", [0x80 | TEXT, 0x80 | BINARY, TEXT, BINARY])
def test_message_within_a_message_fails_the_connection(first: int) -> None:
    """5.4: fragments of one message MUST NOT be interleaved with another's."""
    data = frame(TEXT, b"a") + frame(first, b"b")
    assert failure(data) == (1002, "message begins before the last one has ended")


# 5.5: control frames


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_control_frame_beyond_125_bytes_fails_the_connection(opcode: int, byte_by_byte: bool) -> None:
    """5.5"""
    expected = (1002, "control frame is longer than 125 bytes")
    assert failure(bytes([0x80 | opcode]) + b"\xfe\x00\x7e", byte_by_byte=byte_by_byte) == expected
    assert failure(bytes([0x80 | opcode]) + b"\xff" + b"\x00" * 8, byte_by_byte=byte_by_byte) == expected


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_fragmented_control_frame_fails_the_connection(opcode: int) -> None:
    """5.5"""
    assert failure(frame(opcode)) == (1002, "control frame is fragmented")


@pytest.mark.parametrize("length", [0, 1, 125])
def test_ping_is_answered_with_its_payload(length: int) -> None:
    """5.5.2 and 5.5.3"""
    pair = Pair()
    pair.client.send_ping(b"p" * length)
    assert pair.run() == []
    assert pair.client_events() == [(Opcode.PONG, b"p" * length)]


def test_client_answers_our_ping() -> None:
    """5.5.2"""
    pair = Pair()
    pair.codec.send_ping(b"17")
    pair.client.receive_data(pair.codec.data_to_send())
    assert pair.run() == [("pong", b"17")]


# 5.5.1 and 7: closing


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]
)
def test_close_code_that_may_be_sent_is_taken_and_echoed(code: int) -> None:
    """7.4"""
    pair = Pair()
    pair.client.send_close(code, "grün")
    assert pair.run() == [("close", code, "grün")]
    assert pair.codec.closed
    assert pair.client.close_rcvd == pair.client.close_sent


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_close_code_that_must_not_be_sent_fails_the_connection(code: int) -> None:
    """7.4.1 and 7.4.2"""
    code_received, reason = failure(frame(0x80 | CLOSE, struct.pack("!H", code)))
    assert code_received == 1002
    assert reason.startswith("close frame: ")


def test_close_frame_of_one_byte_fails_the_connection() -> None:
    """5.5.1: the first two bytes are the code."""
    code, reason = failure(frame(0x80 | CLOSE, b"\x03"))
    assert code == 1002
    assert reason.startswith("close frame: ")


def test_close_reason_that_is_not_utf_8_fails_the_connection() -> None:
    """5.5.1 and 8.1"""
    assert failure(frame(0x80 | CLOSE, b"\x03\xe8\xff")) == (1007, "close frame: reason is not UTF-8")


def test_client_ends_the_handshake_that_we_start() -> None:
    """7.1.2"""
    pair = Pair()
    pair.codec.send_close(4290, "slow")
    pair.client.receive_data(pair.codec.data_to_send())
    assert pair.run() == [("close", 4290, "slow")]
    assert (pair.codec.closed, pair.codec.close_code) == (True, 4290)
    assert pair.codec.data_to_send() == b""


def test_closes_that_cross_are_enough() -> None:
    """5.5.1: after both have sent and received a close frame the connection is closed."""
    pair = Pair()
    pair.client.send_close(1000, "done")
    pair.codec.send_close(1001, "shutdown")
    pair.client.receive_data(pair.codec.data_to_send())
    assert pair.run() == [("close", 1000, "done")]
    assert (pair.codec.closed, pair.codec.close_code) == (True, 1001)


def test_client_sees_why_it_was_failed() -> None:
    """7.1.7"""
    pair = Pair(frame_limit_bytes=10)
    pair.client.send_text(b"x" * 11)
    assert pair.run() == []
    assert pair.client.close_rcvd is not None
    assert (pair.client.close_rcvd.code, pair.client.close_rcvd.reason) == (
        1009,
        "frame larger than frame_limit_bytes=10",
    )


# 8.1: UTF-8

NOT_UTF_8 = [
    pytest.param(b"\xff", id="no such byte"),
    pytest.param(b"\xc0\x80", id="overlong NUL"),
    pytest.param(b"\xe0\x80\xaf", id="overlong slash"),
    pytest.param(b"\xed\xa0\x80", id="surrogate"),
    pytest.param(b"\xf4\x90\x80\x80", id="beyond Unicode"),
    pytest.param(b"\xc3", id="cut short"),
    pytest.param(b"a\x80", id="no beginning"),
]


@pytest.mark.parametrize("payload", NOT_UTF_8)
def test_text_that_is_not_utf_8_fails_the_connection(payload: bytes) -> None:
    """8.1"""
    code, reason = failure(frame(0x80 | TEXT, payload))
    assert code == 1007
    assert reason.startswith("text is not UTF-8: ")
    code, _ = failure(frame(TEXT, payload[:1]) + frame(0x80, payload[1:]))
    assert code == 1007


def test_binary_is_anything() -> None:
    """5.6"""
    pair = Pair()
    pair.client.send_binary(bytes(range(256)))
    assert pair.run() == [("binary", bytes(range(256)))]


# 10.4: limits


@pytest.mark.parametrize("byte_by_byte", [False, True])
@pytest.mark.parametrize(
    "header",
    [b"\x82\xfe\x03\xe9", b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00", b"\x02\xff\x7f" + b"\xff" * 7],
)
def test_frame_beyond_the_limit_is_refused_by_its_header(header: bytes, byte_by_byte: bool) -> None:
    """10.4: before the payload, and even the mask, are there."""
    expected = (1009, "frame larger than frame_limit_bytes=1000")
    assert failure(header, 1000, byte_by_byte=byte_by_byte) == expected


def test_message_may_be_as_large_as_the_limit() -> None:
    pair = Pair(frame_limit_bytes=1000)
    pair.client.send_binary(b"x" * 1000)
    pair.client.send_binary(b"y" * 400, fin=False)
    pair.client.send_continuation(b"y" * 600, fin=True)
    assert pair.run() == [("binary", b"x" * 1000), ("binary", b"y" * 1000)]


def test_fragments_beyond_the_limit_are_refused() -> None:
    """10.4"""
    data = frame(BINARY, b"x" * 600) + frame(CONTINUATION, b"x" * 401)
    assert failure(data, 1000) == (1009, "message larger than frame_limit_bytes=1000")
