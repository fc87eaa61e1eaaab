"""Event streams: what is written is read, cut anywhere; any bytes are events or nothing."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from extra.protocols.sse import EventParser, comment, event
from tests.property.protocols.cuts import cuts, pieces

fields = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=10)
texts = st.text(st.characters(codec="utf-8"), max_size=30) | st.text("\r\n a:", max_size=12)

Outcome = tuple[list[tuple[str, str, str, int | None]], str, int | None]


def outcome(chunks: list[bytes]) -> Outcome:
    parser = EventParser()
    events = []
    for chunk in chunks:
        parser.receive_data(chunk)
        while (taken := parser.next_event()) is not None:
            events.append((taken.event, taken.data, taken.id, taken.retry_ms))
    return events, parser.last_event_id, parser.retry_ms


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(texts, st.none() | fields, st.none() | fields, st.none() | st.integers(0, 10**6)),
        max_size=4,
    ),
    texts,
    cuts(),
)
def test_events_come_through_cut_anywhere(
    sent: list[tuple[str, str | None, str | None, int | None]], remark: str, places: list[int]
) -> None:
    stream = comment(remark)
    expected = []
    last_id = ""
    for data, identifier, name, retry_ms in sent:
        stream += event(data.encode(), id=identifier, event=name, retry_ms=retry_ms) + comment(remark)
        last_id = last_id if identifier is None else identifier
        normal = data.replace("\r\n", "\n").replace("\r", "\n")
        expected.append((name or "message", normal, last_id, retry_ms))
    events, _, _ = outcome(pieces(stream, places))
    assert events == expected


soup = st.lists(
    st.sampled_from(
        [
            b"data",
            b"id",
            b"event",
            b"retry",
            b":",
            b" ",
            b"\r",
            b"\n",
            b"\r\n",
            b"7",
            b"\xef\xbb\xbf",
            b"\xff",
        ]
    ),
    max_size=40,
).map(b"".join)


@settings(deadline=None)
@given(soup | st.binary(max_size=60), cuts())
@example(b"\xef\xbb\xbfdata:a\r\n\r\n", [1, 2, 8, 9])
@example(b"data:a\r\r\ndata:b\n\n", [7, 8, 9])
@example("data:ü€\n\n".encode(), [6, 8])
def test_cut_anywhere_a_stream_is_the_same(stream: bytes, places: list[int]) -> None:
    assert outcome(pieces(stream, places)) == outcome([stream])
