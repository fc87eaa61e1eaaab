"""What is wrong with an argument is told with its name."""

import pytest

from extra.errors import InvalidCommand
from extra.pubsub.arguments import check_history, check_publication, check_subscription, check_ttl

GOOD = {"topic": "a", "retain": False, "ttl": None, "key": None, "content_type": None, "headers": None}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("topic", 5, "topic has to be a string, not int"),
        ("topic", b"a", "topic has to be a string, not bytes"),
        ("retain", "yes", "retain has to be a bool, not str"),
        ("ttl", "5", "ttl has to be a number of seconds or None, not str"),
        ("key", 5, "key has to be a string or None, not int"),
        ("content_type", 5, "content_type has to be a string or None, not int"),
        ("headers", [("a", "b")], "headers has to be a dict of strings or None, not list"),
        ("headers", {"a": 1}, "headers has to be a dict of strings, not int"),
        ("headers", {1.5: "a"}, "headers has to be a dict of strings, not float"),
    ],
)
def test_what_is_published_is_of_its_type(name: str, value: object, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        check_publication(**{**GOOD, name: value})
    assert str(caught.value) == words


@pytest.mark.parametrize("key", ["", "k" * 256, "é" * 128, "\ud800" * 86])
def test_a_key_has_1_to_255_bytes(key: str) -> None:
    """docs/protocol.md, "Commands"."""
    with pytest.raises(InvalidCommand, match=r"key of \d+ bytes: it has 1 to 255"):
        check_publication(**{**GOOD, "key": key})
    check_publication(**{**GOOD, "key": "é" * 127, "headers": {"a": "b"}, "content_type": "x", "ttl": 1})


@pytest.mark.parametrize("ttl", [0, -1, 0.000_999, 1.1e9, float("inf"), float("nan")])
def test_a_time_to_live_is_in_range(ttl: float) -> None:
    with pytest.raises(InvalidCommand, match=r"ttl .*: a number of seconds from 0\.001 to 1e\+09"):
        check_ttl(ttl)
    check_ttl(0.001)
    check_ttl(1e9)


@pytest.mark.parametrize(
    ("filters", "since", "retained", "words"),
    [
        ((["a", "b"],), "now", None, "filter has to be a string: pass several one by one, not list"),
        (("a", 5), "now", None, "filter has to be a string, not int"),
        (("a",), 3, None, "since has to be a cursor, 'start', 'now' or 'last:N', not int"),
        (("a",), "now", 1, "retained has to be a bool or None, not int"),
    ],
)
def test_what_is_read_is_asked_for_in_its_types(
    filters: tuple[object, ...], since: object, retained: object, words: str
) -> None:
    with pytest.raises(TypeError) as caught:
        check_subscription(filters, since, "disconnect", retained)
    assert str(caught.value) == words
    with pytest.raises(TypeError) as caught:
        check_history(filters, since, 1, retained)
    assert str(caught.value) == words


def test_overflow_and_limit_are_of_their_types() -> None:
    with pytest.raises(TypeError, match="overflow has to be a string or None, not int"):
        check_subscription(("a",), "now", 3, None)
    with pytest.raises(TypeError, match="limit has to be a whole number, not str"):
        check_history(("a",), "now", "3", None)


@pytest.mark.parametrize("limit", [0, -1, 10_001])
def test_a_page_has_so_many_messages(limit: int) -> None:
    """docs/protocol.md, "Read and long-poll"."""
    with pytest.raises(InvalidCommand, match="a whole number from 1 to 10000"):
        check_history(("a",), "now", limit, None)
    check_history(("a",), "now", 10_000, None)


def test_there_is_a_filter() -> None:
    with pytest.raises(InvalidCommand, match="at least one topic filter"):
        check_subscription((), "now", "disconnect", None)
    with pytest.raises(InvalidCommand, match="at least one topic filter"):
        check_history((), "now", 1, None)
