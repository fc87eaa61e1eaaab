"""RFC 7692, permessage-deflate without context takeover. The peer is the extension of websockets."""

import tracemalloc
import zlib

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from extra.protocols.websocket import (
    BINARY,
    CONTINUATION,
    DEFLATE_WINDOW_BITS,
    TEXT,
    BytesReceived,
    TextReceived,
    WebSocketCodec,
    client_frame,
    deflated_frame,
    server_frame,
)

LIMIT = 100_000
MASK = b"\x37\xfa\x21\x3d"
RSV1 = 0x40
FIN = 0x80


def client_of(*, window_bits: int = 15) -> Protocol:
    """Return a client that has agreed upon deflate, and compresses all that it sends."""
    client = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    client.extensions = [PerMessageDeflate(True, True, DEFLATE_WINDOW_BITS, window_bits)]
    return client


def messages_of(codec: WebSocketCodec) -> list[bytes]:
    messages = []
    while (event := codec.next_event()) is not None:
        assert isinstance(event, TextReceived | BytesReceived)
        messages.append(event.data)
    return messages


def frame(first: int, payload: bytes = b"") -> bytes:
    return bytes([first]) + client_frame(CONTINUATION, payload, MASK)[1:]


def deflated(payload: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


@pytest.mark.parametrize("window_bits", [9, 12, 15])
def test_client_of_any_window_is_understood(window_bits: int) -> None:
    """7.1.2.2: the server inflates with a window that is no smaller."""
    client = client_of(window_bits=window_bits)
    payload = b"".join(b"%d," % number for number in range(10_000))
    client.send_text(payload)
    client.send_binary(payload)
    client.send_text(b"")
    codec = WebSocketCodec(frame_limit_bytes=LIMIT, deflate=True)
    codec.receive_data(b"".join(client.data_to_send()))
    assert messages_of(codec) == [payload, payload, b""]


def test_fragments_of_a_compressed_message_are_inflated_together() -> None:
    """6.2: RSV1 stands on the first fragment alone."""
    client = client_of()
    client.send_text(b"abc" * 100, fin=False)
    client.send_ping(b"")
    client.send_continuation(b"def" * 100, fin=False)
    client.send_continuation(b"", fin=True)
    codec = WebSocketCodec(frame_limit_bytes=LIMIT, deflate=True)
    codec.receive_data(b"".join(client.data_to_send()))
    assert messages_of(codec) == [b"abc" * 100 + b"def" * 100]


def test_messages_that_are_not_compressed_go_through_as_well() -> None:
    """6: compressing is the sender's choice, message by message."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT, deflate=True)
    codec.receive_data(
        frame(FIN | TEXT, b"a")
        + frame(FIN | RSV1 | TEXT, deflated(b"b"))
        + frame(TEXT, b"c")
        + frame(FIN, b"d")
    )
    assert messages_of(codec) == [b"a", b"b", b"cd"]


@pytest.mark.parametrize("payload", [b"", b"short", b"x" * 64, b"to be or not to be, " * 5000])
def test_client_understands_what_we_compress(payload: bytes) -> None:
    """7.2.1, and 7.1.2.1: within the window agreed upon."""
    client = client_of()
    client.receive_data(
        deflated_frame(TEXT, payload) + server_frame(TEXT, payload) + deflated_frame(BINARY, payload)
    )
    frames = [event for event in client.events_received() if isinstance(event, Frame)]
    assert [(each.opcode, bytes(each.data)) for each in frames] == [
        (Opcode.TEXT, payload),
        (Opcode.TEXT, payload),
        (Opcode.BINARY, payload),
    ]


def test_block_marked_as_final_is_understood() -> None:
    """7.2.3.4: a DEFLATE block with BFINAL set."""
    deflater = zlib.compressobj(wbits=-15)
    final = deflater.compress(b"hello") + deflater.flush(zlib.Z_FINISH)
    codec = WebSocketCodec(frame_limit_bytes=LIMIT, deflate=True)
    codec.receive_data(frame(FIN | RSV1 | TEXT, final))
    codec.receive_data(frame(FIN | RSV1 | TEXT, final + b"\x00"))
    assert messages_of(codec) == [b"hello", b"hello"]


def test_example_of_the_specification_is_understood() -> None:
    """7.2.3.1 and 7.2.3.2: one frame, and the same in two fragments, twice since nothing is carried over."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT, deflate=True)
    compressed = b"\xf2\x48\xcd\xc9\xc9\x07\x00"
    codec.receive_data(frame(FIN | RSV1 | TEXT, compressed))
    codec.receive_data(frame(RSV1 | TEXT, compressed[:3]) + frame(FIN, compressed[3:]))
    assert messages_of(codec) == [b"Hello", b"Hello"]


def failure(data: bytes, limit: int = LIMIT) -> int | None:
    codec = WebSocketCodec(frame_limit_bytes=limit, deflate=True)
    codec.receive_data(data)
    assert messages_of(codec) == []
    assert codec.closed
    return codec.close_code


@pytest.mark.parametrize("size", [1001, 1000 * 1000, 5_000_000])
def test_bomb_is_refused_when_it_exceeds_the_limit(size: int) -> None:
    """RFC 6455 10.4: the limit holds after inflating."""
    bomb = deflated(bytes(size))
    assert failure(frame(FIN | RSV1 | BINARY, bomb), limit=max(1000, len(bomb))) == 1009


def test_bomb_takes_no_more_memory_than_the_limit() -> None:
    """RFC 6455 10.4"""
    data = frame(FIN | RSV1 | BINARY, deflated(bytes(5_000_000)))
    tracemalloc.start()
    try:
        assert failure(data, limit=10_000) == 1009
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_bomb_in_fragments_is_refused_when_it_exceeds_the_limit() -> None:
    bomb = deflated(bytes(1_000_000))
    stream = frame(RSV1 | BINARY, bomb[:1])
    stream += b"".join(frame(CONTINUATION, bomb[i : i + 1]) for i in range(1, len(bomb)))
    assert failure(stream, limit=1000) == 1009


@pytest.mark.parametrize("size", [999, 1000])
def test_message_may_inflate_to_the_limit(size: int) -> None:
    codec = WebSocketCodec(frame_limit_bytes=1000, deflate=True)
    whole = deflated(bytes(size))
    codec.receive_data(frame(FIN | RSV1 | BINARY, whole))
    codec.receive_data(frame(RSV1 | BINARY, whole) + frame(CONTINUATION) + frame(FIN))
    assert messages_of(codec) == [bytes(size)] * 2


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(FIN | RSV1 | TEXT, b"\xff\xff"), id="no deflate"),
        pytest.param(frame(TEXT) + frame(FIN | RSV1), id="RSV1 on a continuation"),
        pytest.param(frame(RSV1 | TEXT, deflated(b"a")) + frame(FIN | RSV1), id="RSV1 on a second fragment"),
        pytest.param(frame(FIN | RSV1 | 0x9), id="RSV1 on a ping"),
        pytest.param(frame(FIN | RSV1 | 0x8), id="RSV1 on a close frame"),
        pytest.param(frame(FIN | RSV1 | 0x20 | TEXT), id="RSV2"),
        pytest.param(frame(FIN | RSV1 | 0x10 | TEXT), id="RSV3"),
        pytest.param(frame(FIN | RSV1 | 0x3), id="RSV1 on an unknown opcode"),
    ],
)
def test_what_breaks_the_extension_fails_the_connection(data: bytes) -> None:
    """6.1 and 6.2"""
    assert failure(data) == 1002


def test_inflated_text_has_to_be_utf_8() -> None:
    """RFC 6455 8.1"""
    assert failure(frame(FIN | RSV1 | TEXT, deflated(b"\xff"))) == 1007


def test_nothing_is_inflated_unless_agreed_upon() -> None:
    """6: RSV1 without the extension."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT)
    codec.receive_data(frame(FIN | RSV1 | TEXT, deflated(b"a")))
    assert messages_of(codec) == []
    assert codec.close_code == 1002
