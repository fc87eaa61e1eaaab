"""The HTML standard, section 9.2.6: how an event stream is interpreted, by its examples and as a table."""

import pytest

from extra.protocols.sse import EventParser

Dispatched = tuple[str, str, str]


def events_of(stream: bytes, size: int) -> tuple[list[Dispatched], str, int | None]:
    """Feed the stream in pieces of `size` bytes; return event type, data and last event ID of each event."""
    parser = EventParser()
    events = []
    for start in range(0, len(stream), size):
        parser.receive_data(stream[start : start + size])
        while (event := parser.next_event()) is not None:
            events.append((event.event, event.data, event.id))
    return events, parser.last_event_id, parser.retry_ms


STREAMS = [
    pytest.param(b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10", "")], id="one event"),
    pytest.param(
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        [("message", "first event", "1"), ("message", "second event", "")],
        id="comment, three blocks, the last of which is not ended",
    ),
    pytest.param(
        b"data\n\ndata\ndata\n\ndata:", [("message", "", ""), ("message", "\n", "")], id="empty data"
    ),
    pytest.param(
        b"data:test\n\ndata: test\n\n",
        [("message", "test", ""), ("message", "test", "")],
        id="space after colon",
    ),
    pytest.param(
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        [("add", "73857293", ""), ("remove", "2153", ""), ("add", "113411", "")],
        id="named events",
    ),
    pytest.param(b"data:\ta\n\n", [("message", "\ta", "")], id="a tab after the colon stays"),
    pytest.param(b"data: a:b\n\n", [("message", "a:b", "")], id="further colons stay"),
    pytest.param(b"data : a\n\n", [], id="a space before the colon is another field"),
    pytest.param(b"DATA: a\n\n", [], id="names are case-sensitive"),
    pytest.param(b"other: a\ndata: b\nother\n\n", [("message", "b", "")], id="unknown fields are ignored"),
    pytest.param(b":\n:data: a\ndata: b\n\n", [("message", "b", "")], id="comments are ignored"),
    pytest.param(
        b"data: a\r\rdata: b\r\n\r\ndata: c\n\n", [("message", text, "") for text in "abc"], id="line ends"
    ),
    pytest.param(b"data: a\n\r", [("message", "a", "")], id="LF CR is two line ends"),
    pytest.param(b"data: a\r\ndata: b\r\n\r\n", [("message", "a\nb", "")], id="CRLF is one line end"),
    pytest.param(
        b"\xef\xbb\xbfdata: a\n\n", [("message", "a", "")], id="one leading byte order mark is dropped"
    ),
    pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", [], id="a second one is not"),
    pytest.param(b"\n\xef\xbb\xbfdata: a\n\n", [], id="nor is one further on"),
    pytest.param(
        b"event: x\n\ndata: a\n\n", [("message", "a", "")], id="event type is reset by an empty block"
    ),
    pytest.param(b"event: x\nevent\ndata: a\n\n", [("message", "a", "")], id="empty event type is message"),
    pytest.param(
        b"id: 1\ndata: a\n\ndata: b\n\n", [("message", "a", "1"), ("message", "b", "1")], id="id stays"
    ),
    pytest.param(b"id: 1\n\ndata: b\n\n", [("message", "b", "1")], id="id without data counts"),
    pytest.param(b"id: 1\nid: 2\0\ndata: a\n\n", [("message", "a", "1")], id="id with NUL is ignored"),
    pytest.param("data: grün \U0001f600\n\n".encode(), [("message", "grün \U0001f600", "")], id="UTF-8"),
    pytest.param(b"data: a\xffb\xc3\n\n", [("message", "a\ufffdb\ufffd", "")], id="not UTF-8 is replaced"),
    pytest.param(b"data: a\n", [], id="a block that is not ended is discarded"),
    pytest.param(b"", [], id="nothing"),
]


@pytest.mark.parametrize(("stream", "events"), STREAMS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_stream_is_interpreted_as_the_standard_says(
    stream: bytes, events: list[Dispatched], size: int
) -> None:
    """9.2.6"""
    assert events_of(stream, size)[0] == events


@pytest.mark.parametrize(
    ("stream", "last_event_id"),
    [(b"id: 1\n", ""), (b"id: 1\n\n", "1"), (b"id: 1\n\nid\n\n", ""), (b"id: 1\n\ndata: a\n\n", "1")],
)
def test_last_event_id_is_set_by_the_end_of_a_block(stream: bytes, last_event_id: str) -> None:
    """9.2.6, dispatch the event, 1."""
    assert events_of(stream, 1)[1] == last_event_id


@pytest.mark.parametrize(
    ("stream", "retry_ms"),
    [
        (b"retry: 2000\n", 2000),
        (b"retry: 0\n", 0),
        (b"retry: 5\nretry: 7\n", 7),
        (b"retry: \n", None),
        (b"retry\n", None),
        (b"retry: -1\n", None),
        (b"retry: 1.5\n", None),
        (b"retry: 10 \n", None),
        ("retry: ٣\n".encode(), None),
        (b"retry: " + b"9" * 400 + b"\n", None),
    ],
)
def test_reconnection_time_is_ascii_digits(stream: bytes, retry_ms: int | None) -> None:
    """9.2.6: anything else is ignored."""
    assert events_of(stream, 3)[2] == retry_ms
