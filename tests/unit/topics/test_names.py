import re

import pytest

from extra.errors import InvalidFilter, InvalidTopic
from extra.topics import (
    MAX_LEVELS,
    MAX_TOPIC_BYTES,
    check_filter,
    check_topic,
    covers,
    filter_from_url,
    has_wildcard,
    matches,
)
from extra.topics.names import levels_match


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("", "topic '' is empty"),
        ("a\0b", r"topic 'a\x00b' holds the character NUL"),
        ("a/\udcff", r"topic 'a/\udcff' holds the lone surrogate U+DCFF, which UTF-8 cannot carry"),
        ("a/+", "topic 'a/+' holds the wildcard '+', which only a topic filter can"),
        ("a#", "topic 'a#' holds the wildcard '#', which only a topic filter can"),
        ("/" * 1_499, f"topic '{'/' * 76}... has 1,500 levels, more than 128 (broker.max_topic_levels)"),
        ("x" * 65_536, f"topic '{'x' * 76}... is longer than 65,535 bytes (broker.max_topic_bytes)"),
        ("é" * 32_768, f"topic '{'é' * 76}... is longer than 65,535 bytes (broker.max_topic_bytes)"),
        ("\n\0" * 40, "topic '" + (r"\n\x00" * 13)[:76] + "... holds the character NUL"),
    ],
)
def test_topic_errors_name_the_topic_and_what_is_wrong(topic: str, message: str) -> None:
    with pytest.raises(InvalidTopic, match=f"^{re.escape(message)}$"):
        check_topic(topic)


@pytest.mark.parametrize(
    ("topic_filter", "message"),
    [
        ("", "topic filter '' is empty"),
        ("+\0", r"topic filter '+\x00' holds the character NUL"),
        (
            "a/b+/c",
            "topic filter 'a/b+/c' has a wildcard inside level 2, 'b+': it has to be the whole level",
        ),
        ("#a", "topic filter '#a' has a wildcard inside level 1, '#a': it has to be the whole level"),
        ("a/#/c", "topic filter 'a/#/c' has '#' as level 2 of 3: it has to be the last"),
        ("#/#", "topic filter '#/#' has '#' as level 1 of 2: it has to be the last"),
    ],
)
def test_filter_errors_name_the_filter_and_what_is_wrong(topic_filter: str, message: str) -> None:
    with pytest.raises(InvalidFilter, match=f"^{re.escape(message)}$"):
        check_filter(topic_filter)


def test_the_largest_names_pass_and_the_next_larger_do_not() -> None:
    """[MQTT-4.7.3-3]; the limit of levels is ours."""
    deepest = "/".join("x" * MAX_LEVELS)
    longest = "é" * (MAX_TOPIC_BYTES // 2) + "x"
    for name in (deepest, longest):
        check_topic(name)
        check_filter(name)
    for name in (deepest + "/", longest + "x"):
        with pytest.raises(InvalidTopic):
            check_topic(name)
        with pytest.raises(InvalidFilter):
            check_filter(name)


def test_hash_counts_as_a_level() -> None:
    check_filter("x/" * (MAX_LEVELS - 1) + "#")
    with pytest.raises(InvalidFilter, match=r"has 129 levels, more than 128 \(broker\.max_topic_levels\)"):
        check_filter("x/" * MAX_LEVELS + "#")


def test_limits_can_be_tightened() -> None:
    check_topic("abcd", max_bytes=4)
    check_filter("a/b/#", max_levels=3)
    with pytest.raises(InvalidTopic, match="'abcé' is longer than 4 bytes"):
        check_topic("abcé", max_bytes=4)
    with pytest.raises(InvalidTopic, match="'a/b/c' has 3 levels, more than 2"):
        check_topic("a/b/c", max_levels=2)
    with pytest.raises(InvalidFilter, match=r"'a/\+/#' is longer than 4 bytes"):
        check_filter("a/+/#", max_bytes=4)
    with pytest.raises(InvalidFilter, match="'a/b/#' has 3 levels, more than 2"):
        check_filter("a/b/#", max_levels=2)


def test_limits_cannot_be_widened() -> None:
    """Everything in the package counts on them."""
    with pytest.raises(InvalidTopic, match="more than 128"):
        check_topic("/" * MAX_LEVELS, max_levels=1_000)
    with pytest.raises(InvalidFilter, match="longer than 65,535 bytes"):
        check_filter("x" * (MAX_TOPIC_BYTES + 1), max_bytes=1_000_000)


@pytest.mark.parametrize(
    ("topic_filter", "expected"), [("a/b", False), ("*", False), ("a/+", True), ("#", True)]
)
def test_has_wildcard(topic_filter: str, expected: bool) -> None:
    assert has_wildcard(topic_filter) is expected


def test_levels_match_leaves_out_the_levels_before_the_start() -> None:
    assert levels_match(["a", "b", "+"], ["x", "y", "c"], 2)
    assert not levels_match(["a", "b", "+"], ["x", "y", "c"], 1)
    assert levels_match(["a", "#"], ["x"], 1)


def test_matching_takes_as_many_levels_as_there_can_be() -> None:
    deepest = "/".join("x" * MAX_LEVELS)
    assert matches("+/" * (MAX_LEVELS - 1) + "+", deepest)
    assert matches("#", deepest)
    assert not matches("+/" * (MAX_LEVELS - 2) + "+", deepest)


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/+", "a/b", True),
        ("a/b", "a/+", False),
        ("a/#", "a", True),
        ("a/#", "a/+/#", True),
        ("a/+/#", "a/#", False),  # "a" itself
        ("+/+", "+/#", False),
        ("#", "a/b/#", True),
        ("#", "$SYS/#", False),  # [MQTT-4.7.2-1]
        ("+/uptime", "$SYS/uptime", False),
        ("$SYS/#", "$SYS/+", True),
        ("$SYS/#", "#", False),
        ("+/#", "#", True),  # no topic is empty ...
        ("+/+/#", "/#", True),  # ... so all that "/#" matches have two levels at least
        ("+", "#", False),
    ],
)
def test_covers(wide: str, narrow: str, expected: bool) -> None:
    assert covers(wide, narrow) is expected


@pytest.mark.parametrize(
    ("text", "topic_filter"),
    [
        ("site/a/temp", "site/a/temp"),
        ("site/*/temp", "site/+/temp"),
        ("*", "+"),
        ("*/*", "+/+"),
        ("**", "#"),
        ("site/**", "site/#"),
        ("*/**", "+/#"),
        ("/*/", "/+/"),
        # whole levels, and "**" only as the last: anything else is text
        ("site/**/temp", "site/**/temp"),
        ("**/", "**/"),
        ("a*/*b/c*d", "a*/*b/c*d"),
        ("site/***", "site/***"),
        # decoded from %2B and %23
        ("site/+/#", "site/+/#"),
        ("", ""),
    ],
)
def test_stars_in_urls_are_read_as_wildcards(text: str, topic_filter: str) -> None:
    assert filter_from_url(text) == topic_filter
