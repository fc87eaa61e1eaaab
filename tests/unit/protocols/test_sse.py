import pytest

from extra.errors import LocalProtocolError, RemoteProtocolError
from extra.protocols.sse import Event, EventParser, comment, event


def parsed(*pieces: bytes) -> list[tuple[str, str, str, int | None]]:
    parser = EventParser()
    events: list[Event] = []
    for piece in pieces:
        parser.receive_data(piece)
        while (taken := parser.next_event()) is not None:
            events.append(taken)
    return [(taken.event, taken.data, taken.id, taken.retry_ms) for taken in events]


def test_message_has_its_cursor_and_no_event_name() -> None:
    """docs/protocol.md, server-sent events."""
    assert event(b'{"op":"message"}', id="k3f9a0b2-17") == b'id: k3f9a0b2-17\ndata: {"op":"message"}\n\n'


def test_stream_begins_with_retry_and_an_event_without_data() -> None:
    """docs/protocol.md, server-sent events: the first bytes."""
    assert event(None, retry_ms=2000) == b"retry: 2000\n\n"
    assert event(None, id="k3f9a0b2-17") == b"id: k3f9a0b2-17\n\n"


def test_fields_come_before_the_data() -> None:
    assert event(b"{}", id="1", event="gap", retry_ms=0) == b"retry: 0\nevent: gap\nid: 1\ndata: {}\n\n"


@pytest.mark.parametrize("line_break", [b"\n", b"\r", b"\r\n"])
def test_data_is_split_at_line_breaks(line_break: bytes) -> None:
    data = line_break.join([b"a", b"", b" b", b""])
    assert event(data) == b"data: a\ndata: \ndata:  b\ndata: \n\n"


def test_empty_data_is_data() -> None:
    assert event(b"") == b"data: \n\n"
    assert parsed(event(b"")) == [("message", "", "", None)]


@pytest.mark.parametrize("flaw", ["\n", "\r", "\0"])
def test_line_break_or_nul_in_a_field_is_our_mistake(flaw: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^id of an event holds"):
        event(b"", id=f"a{flaw}b")
    with pytest.raises(LocalProtocolError, match=r"^event of an event holds"):
        event(b"", event=f"a{flaw}b")


def test_other_characters_may_stand_in_a_field() -> None:
    assert parsed(event(b"", id=" ü\u2028\t", event=" x")) == [(" x", "", " ü\u2028\t", None)]


def test_comment_is_skipped_whatever_is_in_it() -> None:
    assert comment() == b": \n\n"
    assert comment("data: a\nb\r\nc\r") == b": data: a\n: b\n: c\n: \n\n"
    assert parsed(comment("data: a\ndata: b")) == []


def test_parser_keeps_what_comes_without_data() -> None:
    parser = EventParser()
    assert (parser.last_event_id, parser.retry_ms) == ("", None)
    parser.receive_data(b"retry: 2000\n\nid: e-1\n\n")
    assert parser.next_event() is None
    assert (parser.last_event_id, parser.retry_ms) == ("e-1", 2000)


def test_line_breaks_cut_in_two_are_told_apart() -> None:
    assert parsed(b"data: a\r", b"\ndata: b\r", b"data: c\r", b"", b"\r") == [
        ("message", "a\nb\nc", "", None)
    ]


def test_retry_that_is_no_number_is_ignored() -> None:
    assert parsed(b"retry: 1s\ndata: a\n\n") == [("message", "a", "", None)]


def test_last_event_id_is_taken_when_its_block_ends() -> None:
    parser = EventParser()
    parser.receive_data(b"id: e-1\ndata: x\n")
    assert parser.last_event_id == ""
    parser.receive_data(b"\n")
    assert parser.last_event_id == "e-1"


def test_retry_belongs_to_its_own_event() -> None:
    assert parsed(b"retry: 5\ndata: a\n\ndata: b\n\n") == [
        ("message", "a", "", 5),
        ("message", "b", "", None),
    ]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_line_beyond_the_limit_is_refused_before_it_ends(size: int) -> None:
    parser = EventParser(limit_bytes=20)
    line = b"data: " + b"x" * 14 + b"\r\n\r\n"
    for start in range(0, len(line), size):
        parser.receive_data(line[start : start + size])
    assert parser.next_event() is not None
    parser.receive_data(b"x" * 20)
    with pytest.raises(RemoteProtocolError, match=r"^event stream: a line or event of more than 20 bytes$"):
        parser.receive_data(b"x" * size)


def test_event_beyond_the_limit_is_refused_before_it_ends() -> None:
    parser = EventParser(limit_bytes=20)
    parser.receive_data(b"data: 12345678\ndata: 12345678\n")
    with pytest.raises(RemoteProtocolError):
        parser.receive_data(b"data\n")


def test_limit_holds_in_one_piece_too() -> None:
    with pytest.raises(RemoteProtocolError):
        EventParser(limit_bytes=20).receive_data(b":" + b"x" * 20 + b"\n\n")
    with pytest.raises(RemoteProtocolError):
        EventParser(limit_bytes=20).receive_data(b"\n" + b"x" * 21)


def test_events_one_after_the_other_add_up_to_no_limit() -> None:
    parser = EventParser(limit_bytes=20)
    for _ in range(100):
        parser.receive_data(b"data: 12345678\n\n")


def test_event_shows_itself_without_its_data() -> None:
    assert repr(Event("secret", "e-1", "message", None)) == "<Event 'message' id='e-1' of 6 characters>"
