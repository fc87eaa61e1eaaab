"""What requests ask for, and what is said of a bad one."""

import pytest

from broker.endpoints.parameters import filters_of, flag_of, number_of, overflow_of, since_of, topic_of
from extra.errors import InvalidCommand, InvalidCursor, InvalidFilter
from tests.unit.broker.endpoints.driving import make_request


@pytest.mark.parametrize(
    ("target", "filters"),
    [
        ("/t/a/b", ["a/b"]),
        ("/t/a/*/**", ["a/+/#"]),
        ("/t/%2B/%23", ["+/#"]),
        ("/t/a/+", ["a/+"]),
        ("/t/a%2Fb/%C3%A9%20", ["a/b/é "]),
        ("/t/", [""]),
        ("/poll?topic=a/%2B&topic=b&topic=a/*", ["a/+", "b"]),
        ("/poll?topic=a+b&since=start", ["a+b"]),
    ],
)
def test_filters_are_of_the_path_or_of_the_query(target: str, filters: list[str]) -> None:
    assert filters_of(make_request("GET", target)) == filters


@pytest.mark.parametrize(
    ("target", "topic"), [("/t/a/b", "a/b"), ("/t/a*/%C3%A9", "a*/é"), ("/t/a/*", "a/+"), ("/t/%2A%2A", "#")]
)
def test_a_topic_of_the_path_is_read_as_a_filter_is(target: str, topic: str) -> None:
    """Otherwise `/t/a/*` would publish where `/t/a/*` does not read alone."""
    assert topic_of(make_request("POST", target)) == topic


@pytest.mark.parametrize("path", ["a/**/b", "**/b", "a/**/**"])
def test_two_stars_are_the_last_level(path: str) -> None:
    for read in (
        lambda: topic_of(make_request("POST", f"/t/{path}")),
        lambda: filters_of(make_request("GET", f"/t/{path}")),
        lambda: filters_of(make_request("GET", f"/poll?topic={path}")),
    ):
        with pytest.raises(InvalidFilter, match=r"'\*\*' before the last level"):
            read()


def test_a_query_without_topic_is_refused() -> None:
    with pytest.raises(InvalidCommand, match="'topic' is missing"):
        filters_of(make_request("GET", "/poll?since=start"))


def test_since_has_a_default() -> None:
    assert since_of(make_request("GET", "/sse?topic=a"), "now").kind == "now"
    assert since_of(make_request("GET", "/sse?topic=a&since=last:3"), "now").count == 3


def test_the_header_wins_over_since() -> None:
    """An EventSource repeats its URL when it reconnects."""
    request = make_request("GET", "/sse?since=start", {"Last-Event-ID": "e1-7"})
    position = since_of(request, "now").position
    assert position is not None
    assert position.offset == 7


def test_a_bad_cursor_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        since_of(make_request("GET", "/sse?since=e1-"), "now")


def test_overflow_is_named_or_left_to_the_policies() -> None:
    assert overflow_of(make_request("GET", "/sse")) is None
    assert overflow_of(make_request("GET", "/sse?overflow=latest")) == "latest"


@pytest.mark.parametrize(
    ("query", "flag"), [("", None), ("?f=1", True), ("?f=TRUE", True), ("?f=0", False), ("?f=false", False)]
)
def test_a_flag_is_yes_no_or_not_given(query: str, flag: bool | None) -> None:
    assert flag_of(make_request("GET", f"/{query}"), "f") is flag


@pytest.mark.parametrize("query", ["?f=", "?f", "?f=yes", "?f=2"])
def test_a_flag_that_is_something_else_is_refused(query: str) -> None:
    with pytest.raises(InvalidCommand, match=r"parameter 'f' is .*: 1 or 0"):
        flag_of(make_request("GET", f"/{query}"), "f")


def test_numbers_lie_within_their_bounds() -> None:
    assert number_of("n", None, 1, 10) is None
    assert number_of("n", "1", 1, 10) == 1
    assert number_of("n", "2.5", 1, 10) == 2.5
    for text in ("0", "11", "", "ten", "nan", "inf", "1" * 400):
        with pytest.raises(InvalidCommand, match=r"n is '.{0,40}': a number from 1 to 10"):
            number_of("n", text, 1, 10)
