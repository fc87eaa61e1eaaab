import os
import tracemalloc
import zlib

import pytest

from extra.errors import LocalProtocolError
from extra.protocols.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFLATE_WINDOW_BITS,
    PING,
    PONG,
    TEXT,
    BytesReceived,
    CloseReceived,
    PongReceived,
    TextReceived,
    WebSocketCodec,
    WebSocketEvent,
    client_frame,
    deflated_frame,
    server_frame,
)

MASK = b"\x01\x02\x03\x04"
LIMIT = 100_000


def taken(codec: WebSocketCodec) -> list[WebSocketEvent]:
    events = []
    while (event := codec.next_event()) is not None:
        events.append(event)
    return events


def texts(codec: WebSocketCodec) -> list[bytes]:
    return [event.data for event in taken(codec) if isinstance(event, TextReceived)]


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x81\x00"),
        (1, b"\x81\x01"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_frame_says_its_length_in_the_shortest_form(length: int, header: bytes) -> None:
    """RFC 6455 5.2."""
    payload = os.urandom(length)
    assert server_frame(TEXT, payload) == header + payload
    masked = client_frame(TEXT, payload, MASK)
    assert masked[: len(header)] == bytes([header[0], header[1] | 0x80]) + header[2:]
    assert masked[len(header) :][:4] == MASK
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(client_frame(BINARY, payload, MASK))
    [event] = taken(codec)
    assert isinstance(event, BytesReceived)
    assert event.data == payload


def test_codec_begins_open_with_nothing_to_do() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    assert codec.next_event() is None
    assert codec.data_to_send() == b""
    assert (codec.closing, codec.closed, codec.close_code, codec.close_reason) == (False, False, None, "")


def test_burst_is_one_event_a_frame_in_order() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(b"".join(client_frame(TEXT, b"%d" % number, os.urandom(4)) for number in range(100)))
    assert texts(codec) == [b"%d" % number for number in range(100)]


def test_frame_cut_in_pieces_is_an_event_when_it_is_whole() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    frame = client_frame(TEXT, b"x" * 300, MASK)
    for byte in frame[:-1]:
        codec.receive_data(bytes([byte]))
        assert codec.next_event() is None
    codec.receive_data(frame[-1:] + frame[:1])
    assert texts(codec) == [b"x" * 300]
    codec.receive_data(frame[1:])
    assert texts(codec) == [b"x" * 300]


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_frame_may_be_cut_anywhere_in_its_header(length: int) -> None:
    frame = client_frame(TEXT, b"x" * length, MASK)
    for place in range(16):
        codec = WebSocketCodec(frame_limit_bytes=LIMIT)
        codec.receive_data(frame[:place])
        received = texts(codec)
        codec.receive_data(frame[place:])
        assert received + texts(codec) == [b"x" * length]


def test_data_received_before_events_were_taken_waits() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    for number in range(10):
        frame = client_frame(TEXT, b"%d" % number, MASK)
        codec.receive_data(frame[:3])
        codec.receive_data(b"")
        codec.receive_data(frame[3:])
    first = codec.next_event()
    assert isinstance(first, TextReceived)
    assert first.data == b"0"
    codec.receive_data(client_frame(TEXT, b"10", MASK))
    assert texts(codec) == [b"%d" % number for number in range(1, 11)]


def test_ping_is_answered_and_pong_is_told() -> None:
    """RFC 6455 5.5.2 and 5.5.3."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(client_frame(PING, b"hello", MASK) + client_frame(PONG, b"there", MASK))
    [event] = taken(codec)
    assert isinstance(event, PongReceived)
    assert event.payload == b"there"
    assert codec.data_to_send() == server_frame(PONG, b"hello")
    assert codec.data_to_send() == b""


def test_ping_of_ours_carries_its_payload() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.send_ping()
    codec.send_ping(b"x" * 125)
    assert codec.data_to_send() == server_frame(PING, b"") + server_frame(PING, b"x" * 125)
    with pytest.raises(LocalProtocolError, match=r"^ping of 126 bytes, at most 125$"):
        codec.send_ping(b"x" * 126)


def test_control_frame_limit_holds_whatever_the_frame_limit() -> None:
    codec = WebSocketCodec(frame_limit_bytes=10)
    codec.receive_data(client_frame(PING, b"x" * 10, MASK))
    assert taken(codec) == []
    assert not codec.closing


def test_close_is_answered_with_its_code() -> None:
    """RFC 6455 5.5.1."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(client_frame(CLOSE, b"\x03\xe9bye", MASK) + client_frame(TEXT, b"late", MASK))
    [event] = taken(codec)
    assert isinstance(event, CloseReceived)
    assert (event.code, event.reason) == (1001, "bye")
    assert codec.data_to_send() == server_frame(CLOSE, b"\x03\xe9bye")
    assert (codec.closing, codec.closed, codec.close_code, codec.close_reason) == (True, True, 1001, "bye")


def test_close_without_a_code_is_1005() -> None:
    """RFC 6455 7.1.5."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(client_frame(CLOSE, b"", MASK))
    [event] = taken(codec)
    assert isinstance(event, CloseReceived)
    assert event.code == 1005
    assert codec.data_to_send() == server_frame(CLOSE, b"")


def test_close_of_ours_waits_for_the_answer() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.send_close(4290, "slow")
    assert codec.data_to_send() == server_frame(CLOSE, b"\x10\xc2slow")
    assert (codec.closing, codec.closed, codec.close_code, codec.close_reason) == (True, False, 4290, "slow")
    codec.receive_data(client_frame(TEXT, b"on its way", MASK) + client_frame(PING, b"", MASK))
    assert texts(codec) == [b"on its way"]
    assert codec.data_to_send() == server_frame(PONG, b"")
    codec.receive_data(client_frame(CLOSE, b"\x03\xe8", MASK))
    [event] = taken(codec)
    assert isinstance(event, CloseReceived)
    assert event.code == 1000
    assert codec.data_to_send() == b""
    assert (codec.closed, codec.close_code, codec.close_reason) == (True, 4290, "slow")


def test_only_the_first_close_is_sent() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.send_close(1001)
    codec.send_close(1000)
    assert codec.data_to_send() == server_frame(CLOSE, b"\x03\xe9")
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(client_frame(CLOSE, b"", MASK))
    taken(codec)
    codec.data_to_send()
    codec.send_close(1000)
    assert codec.data_to_send() == b""


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 70_000])
def test_close_code_that_is_not_to_be_sent_is_our_mistake(code: int) -> None:
    """RFC 6455 7.4."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    with pytest.raises(LocalProtocolError, match=rf"^close code {code} is not one to be sent$"):
        codec.send_close(code)
    assert not codec.closing


def test_close_reason_is_123_bytes_at_most() -> None:
    """RFC 6455 5.5."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    with pytest.raises(LocalProtocolError, match=r"^close reason of 124 bytes, at most 123$"):
        codec.send_close(1000, "ü" * 62)
    codec.send_close(1000, "x" * 123)
    assert len(codec.data_to_send()) == 127


def test_nothing_is_read_or_pinged_when_closed() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(client_frame(CLOSE, b"", MASK))
    taken(codec)
    codec.data_to_send()
    codec.receive_data(client_frame(PING, b"", MASK))
    assert taken(codec) == []
    assert codec.data_to_send() == b""
    with pytest.raises(LocalProtocolError, match=r"^ping on a closed connection$"):
        codec.send_ping()


def test_failure_is_told_to_the_peer_and_ends_the_connection() -> None:
    """RFC 6455 7.1.7."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(client_frame(TEXT, b"good", MASK) + server_frame(TEXT, b"bad"))
    assert texts(codec) == [b"good"]
    assert codec.data_to_send() == server_frame(CLOSE, b"\x03\xeaframe is not masked")
    assert (codec.closing, codec.closed) == (True, True)
    assert (codec.close_code, codec.close_reason) == (1002, "frame is not masked")


def test_failure_while_closing_sends_no_second_close() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.send_close(1001)
    codec.data_to_send()
    codec.receive_data(server_frame(TEXT, b""))
    assert taken(codec) == []
    assert codec.data_to_send() == b""
    assert (codec.closed, codec.close_code) == (True, 1001)


def frame(first: int, payload: bytes = b"") -> bytes:
    """Return a masked frame with any first byte."""
    return bytes([first]) + client_frame(CONTINUATION, payload, MASK)[1:]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x00", 1002),  # not masked
        (b"\x81\xfe\x00\x7d", 1002),  # not the shortest length
        (b"\x81\xff\x80" + b"\x00" * 7, 1002),  # the length's highest bit
        (b"\x89\xfe\x00\x7e", 1002),  # a long control frame
        (frame(0x91), 1002),  # a reserved bit
        (frame(0x83), 1002),  # an unknown opcode
        (frame(0x09), 1002),  # a fragmented control frame
        (frame(0x80), 1002),  # a continuation of nothing
        (frame(0x01) + frame(0x81), 1002),  # a message within a message
        (frame(0xC1, b"\xff"), 1002),  # what cannot be inflated
        (frame(0x88, b"\x00"), 1002),  # half a close code
        (frame(0x88, b"\x03\xe8\xff"), 1007),  # a reason that is not UTF-8
        (frame(0x81, b"\xff"), 1007),  # a text that is not UTF-8
        (b"\x82\xff\x00\x00\x00\x00\x00\x01\x86\xa1", 1009),  # a large frame
        (frame(0x02, b"x" * LIMIT) + frame(0x80, b"x"), 1009),  # a large message
    ],
)
def test_peer_that_breaks_the_rules_is_told_which(data: bytes, code: int) -> None:
    """The clauses are tested one by one in the conformance tests."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT, deflate=True)
    codec.receive_data(data)
    assert taken(codec) == []
    assert (codec.closed, codec.close_code) == (True, code)
    payload = code.to_bytes(2, "big") + codec.close_reason.encode()
    assert codec.data_to_send() == server_frame(CLOSE, payload)


def test_message_of_fragments_is_one_event() -> None:
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(frame(TEXT, b"a") + frame(CONTINUATION) * 3)
    assert taken(codec) == []
    codec.receive_data(frame(0x80, b"b") + frame(0x81, b"c"))
    assert texts(codec) == [b"ab", b"c"]


def inflated(frame: bytes) -> bytes:
    """Return the payload of a compressed frame of the server's, by nothing but zlib and RFC 7692 7.2.2."""
    assert frame[0] == 0xC1
    offset = 4 if frame[1] == 126 else 2
    inflater = zlib.decompressobj(wbits=-DEFLATE_WINDOW_BITS)
    return inflater.decompress(frame[offset:] + b"\x00\x00\xff\xff")


def test_deflated_frame_inflates_to_the_payload() -> None:
    payload = b'{"op":"message","topic":"site/kitchen/temp"}' * 200
    frame = deflated_frame(TEXT, payload)
    assert len(frame) < len(payload) / 10
    assert inflated(frame) == payload
    assert inflated(deflated_frame(TEXT, b"x" * 64)) == b"x" * 64


@pytest.mark.parametrize("payload", [b"", b"x" * 63, bytes(range(256))])
def test_what_does_not_shrink_is_sent_as_it_is(payload: bytes) -> None:
    assert deflated_frame(BINARY, payload) == server_frame(BINARY, payload)


def test_idle_codec_is_small_whatever_went_through_it() -> None:
    """Memory per connection counts: 145 bytes, and nothing of what it has read or sent."""
    deflated = deflated_frame(TEXT, b"a" * 1000)[2:]
    begin = frame(0x40 | TEXT, deflated[:5])
    end = frame(0x80, deflated[5:])
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        codecs = [WebSocketCodec(frame_limit_bytes=LIMIT, deflate=True) for _ in range(1000)]
        for codec in codecs:
            codec.receive_data(begin + client_frame(PING, b"x", MASK) + end[:4])
            assert taken(codec) == []
            codec.receive_data(end[4:])
            assert len(taken(codec)) == 1
            codec.data_to_send()
        assert (tracemalloc.get_traced_memory()[0] - before) / len(codecs) < 190
    finally:
        tracemalloc.stop()
