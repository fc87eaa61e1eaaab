import pytest

from extra.errors import InvalidCursor
from extra.pubsub import Position, format_cursor, parse_cursor, parse_since
from extra.pubsub.position import LAST_LIMIT

NOT_CURSORS = [
    "",
    "-",
    "e1",
    "e1-",
    "-1",
    "e1-01",
    "e1--1",
    "e1-1-",
    "e1-1-0",
    "e1-1-02",
    "e1-1-2-3",
    "E1-1",
    "e_1-1",
    "e1-1 ",
    " e1-1",
    "e1-1\n",
    "e1-+1",
    "e1-1_0",
    "e1-\u0661",
    "\u0661-1",
    "e" * 33 + "-1",
    "e1-" + "9" * 19,
    "e1-1-" + "9" * 19,
]


@pytest.mark.parametrize(
    ("text", "epoch", "offset", "known"),
    [
        ("e1-0", "e1", 0, 0),
        ("k3f9a0b2-17", "k3f9a0b2", 17, 0),
        ("e1-3-12", "e1", 3, 12),
        ("0-1", "0", 1, 0),
        ("e" * 32 + "-" + "9" * 18 + "-" + "9" * 18, "e" * 32, 10**18 - 1, 10**18 - 1),
    ],
)
def test_a_cursor_is_read(text: str, epoch: str, offset: int, known: int) -> None:
    position = parse_cursor(text)
    assert (position.epoch, position.offset, position.known) == (epoch, offset, known)


@pytest.mark.parametrize("text", NOT_CURSORS)
def test_what_no_broker_gives_out_is_no_cursor(text: str) -> None:
    """docs/protocol.md, errors: `invalid_cursor`."""
    with pytest.raises(InvalidCursor, match="not a cursor"):
        parse_cursor(text)


def test_a_cursor_is_written_as_it_is_read() -> None:
    assert format_cursor("e1", 17) == "e1-17"
    assert format_cursor("e1", 3, 12) == "e1-3-12"


def test_known_is_left_out_unless_it_lies_ahead() -> None:
    """docs/architecture.md, one log, one cursor: loss behind the offset needs no mention."""
    assert format_cursor("e1", 12, 12) == "e1-12"
    assert format_cursor("e1", 12, 3) == "e1-12"
    assert format_cursor("e1", 12, 0) == "e1-12"


def test_a_position_shows_its_cursor() -> None:
    assert repr(Position("e1", 3, 12)) == "Position('e1-3-12')"


@pytest.mark.parametrize("text", ["start", "now"])
def test_since_takes_start_and_now(text: str) -> None:
    """docs/protocol.md, cursors."""
    since = parse_since(text)
    assert (since.kind, since.count, since.position) == (text, 0, None)


@pytest.mark.parametrize(("text", "count"), [("last:0", 0), ("last:17", 17), ("last:10000", LAST_LIMIT)])
def test_since_takes_the_last_messages(text: str, count: int) -> None:
    """docs/protocol.md, cursors."""
    since = parse_since(text)
    assert (since.kind, since.count, since.position) == ("last", count, None)


def test_since_takes_a_cursor() -> None:
    """docs/protocol.md, cursors."""
    since = parse_since("e1-3-12")
    assert since.kind == "cursor"
    assert since.position is not None
    assert (since.position.epoch, since.position.offset, since.position.known) == ("e1", 3, 12)


@pytest.mark.parametrize(
    "text",
    ["last:", "last:-1", "last:+1", "last:1.0", "last: 1", "last:10001", "last:" + "9" * 5000, "last:\u0663"],
)
def test_the_last_messages_are_a_whole_number_within_the_limit(text: str) -> None:
    with pytest.raises(InvalidCursor, match="last:N takes a whole number from 0 to 10000"):
        parse_since(text)


@pytest.mark.parametrize("text", ["", "Start", "now ", "17", "e1"])
def test_since_takes_nothing_else(text: str) -> None:
    with pytest.raises(InvalidCursor, match="a cursor, 'start', 'now' or 'last:N'"):
        parse_since(text)


def test_a_bad_cursor_as_since_is_called_so() -> None:
    with pytest.raises(InvalidCursor, match="not a cursor: 'start-1-0'"):
        parse_since("start-1-0")


def test_what_is_refused_is_shown_cut_short() -> None:
    for refused in (lambda: parse_cursor("x" * 10_000), lambda: parse_since("last:" + "x" * 10_000)):
        with pytest.raises(InvalidCursor) as caught:
            refused()
        assert len(str(caught.value)) < 200
