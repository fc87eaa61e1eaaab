"""Frames in any cut give the same events; any bytes give events or a close frame."""

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extra.protocols.websocket import (
    BytesReceived,
    CloseReceived,
    PongReceived,
    TextReceived,
    WebSocketCodec,
    client_frame,
)
from tests.property.protocols.cuts import cuts, pieces

pytestmark = pytest.mark.slow

LIMIT = 400

masks = st.binary(min_size=4, max_size=4)
payloads = (
    st.binary(max_size=20)
    | st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))
    | st.sampled_from([b"x" * 125, b"x" * 126, b"x" * LIMIT, b"x" * (LIMIT + 1)])
)


def frame_of(first: int, payload: bytes, mask: bytes) -> bytes:
    return bytes([first]) + client_frame(0, payload, mask)[1:]


good_first = st.sampled_from([0x81, 0x82, 0x89, 0x8A, 0x01, 0x00, 0x80])
good = st.builds(frame_of, good_first, payloads, masks)
any_frame = st.builds(frame_of, st.integers(0, 255), payloads, masks)
streams = st.lists(good, max_size=8) | st.lists(good | any_frame | st.binary(max_size=8), max_size=8)


def outcome(chunks: list[bytes], deflate: bool) -> tuple[list[tuple[Any, ...]], bytes, Any]:
    """Return all that a codec makes of a stream: events, what it sends, how it ends."""
    codec = WebSocketCodec(frame_limit_bytes=LIMIT, deflate=deflate)
    events: list[tuple[Any, ...]] = []
    sent = b""
    for chunk in chunks:
        codec.receive_data(chunk)
        while (event := codec.next_event()) is not None:
            if isinstance(event, TextReceived):
                event.data.decode()
                assert len(event.data) <= LIMIT
                events.append(("text", event.data))
            elif isinstance(event, BytesReceived):
                assert len(event.data) <= LIMIT
                events.append(("binary", event.data))
            elif isinstance(event, PongReceived):
                events.append(("pong", event.payload))
            else:
                assert isinstance(event, CloseReceived)
                events.append(("close", event.code, event.reason))
        sent += codec.data_to_send()
    assert codec.closing == codec.closed == (codec.close_code is not None)
    return events, sent, (codec.closed, codec.close_code, codec.close_reason)


@settings(max_examples=200, deadline=None)
@given(streams, cuts(), st.booleans())
def test_cut_anywhere_a_stream_is_the_same(frames: list[bytes], places: list[int], deflate: bool) -> None:
    stream = b"".join(frames)
    assert outcome(pieces(stream, places), deflate) == outcome([stream], deflate)


@settings(deadline=None)
@given(st.binary(max_size=300), cuts())
def test_any_bytes_are_events_or_a_close_frame(stream: bytes, places: list[int]) -> None:
    assert outcome(pieces(stream, places), True) == outcome([stream], True)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0x81, 0x82]), st.text(max_size=200)), max_size=10), cuts())
def test_messages_come_through(messages: list[tuple[int, str]], places: list[int]) -> None:
    encoded = [(first, text.encode("utf-8", "replace")[:LIMIT]) for first, text in messages]
    encoded = [(first if is_utf_8(data) else 0x82, data) for first, data in encoded]
    stream = b"".join(frame_of(first, data, os.urandom(4)) for first, data in encoded)
    events, sent, _ = outcome(pieces(stream, places), False)
    assert events == [("text" if first == 0x81 else "binary", data) for first, data in encoded]
    assert sent == b""


def is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
