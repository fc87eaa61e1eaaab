from collections.abc import Callable
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extra.errors import InvalidFilter, InvalidTopic
from extra.topics import (
    MAX_LEVELS,
    check_filter,
    check_topic,
    covers,
    filter_from_url,
    has_wildcard,
    matches,
    overlap,
)
from tests.property.topics.oracle import filter_names, filters, names, oracle, topics

any_text = st.text(st.characters(exclude_categories=())) | st.text("/+#$a\0\n\ud800é\u2028")
limits = st.integers(0, 12)


def encodes_within(name: str, max_bytes: int) -> bool:
    try:
        return len(name.encode()) <= max_bytes
    except UnicodeEncodeError:
        return False


def is_name(name: str, max_bytes: int, max_levels: int) -> bool:
    """Section 4.7.3, and the limit of levels."""
    return (
        name != ""
        and "\0" not in name
        and encodes_within(name, max_bytes)
        and len(name.split("/")) <= max_levels
    )


def is_topic(name: str, max_bytes: int, max_levels: int) -> bool:
    """[MQTT-4.7.0-1]"""
    return is_name(name, max_bytes, max_levels) and not set(name) & {"+", "#"}


def is_filter(name: str, max_bytes: int, max_levels: int) -> bool:
    """[MQTT-4.7.1-1], [MQTT-4.7.1-2]"""
    *levels, last = name.split("/")
    return (
        is_name(name, max_bytes, max_levels)
        and all(level == "+" or not set(level) & {"+", "#"} for level in levels)
        and (last in ("+", "#") or not set(last) & {"+", "#"})
    )


@given(topics, filters)
def test_the_names_tried_elsewhere_are_valid(topic: str, topic_filter: str) -> None:
    check_topic(topic)
    check_filter(topic_filter)


@pytest.mark.parametrize(
    ("check", "is_valid", "error"),
    [(check_topic, is_topic, InvalidTopic), (check_filter, is_filter, InvalidFilter)],
)
@given(name=any_text, max_bytes=st.just(65_535) | limits, max_levels=st.just(MAX_LEVELS) | limits)
@example(name="\ud800" * 70_000, max_bytes=65_535, max_levels=MAX_LEVELS)
@example(name="\0" * 100, max_bytes=65_535, max_levels=MAX_LEVELS)
@example(name="+" * 60_000, max_bytes=65_535, max_levels=MAX_LEVELS)
@settings(deadline=None)
def test_any_text_passes_or_raises_the_documented_error(
    check: Callable[..., None],
    is_valid: Callable[[str, int, int], bool],
    error: type[Exception],
    name: str,
    max_bytes: int,
    max_levels: int,
) -> None:
    try:
        check(name, max_bytes=max_bytes, max_levels=max_levels)
    except error as refusal:
        assert not is_valid(name, max_bytes, max_levels)
        message = str(refusal)
        assert message.isprintable()
        assert len(message) < 250
        assert message.startswith("topic ")
        assert not message.endswith(".")
    else:
        assert is_valid(name, max_bytes, max_levels)


@given(filters, topics)
@settings(deadline=None)
def test_matches_is_the_specification(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic) is oracle(topic_filter, topic)


@given(topics)
def test_a_topic_matches_itself(topic: str) -> None:
    assert not has_wildcard(topic)
    assert matches(topic, topic)


def reach_of_filters() -> dict[str, frozenset[str]]:
    """Return which topics each filter matches."""
    every_topic = names(["a", "", "$", "b"], 4)
    return {
        topic_filter: frozenset([topic for topic in every_topic if oracle(topic_filter, topic)])
        for topic_filter in filter_names(["a", "", "$"], 3)
    }


def test_covers_is_exact() -> None:
    """Every pair of filters of up to three levels against every topic of up to four, over a small alphabet.

    The topics have a level that no filter spells, `b`, and a level more than the filters.
    """
    reach = reach_of_filters()
    wrong = [
        (wide, narrow)
        for wide, narrow in product(reach, repeat=2)
        if covers(wide, narrow) is not (reach[narrow] <= reach[wide])
    ]
    assert wrong == []


def test_overlap_is_exact() -> None:
    """The same pairs of filters: whether some topic is matched by both. Two of three levels meet in three."""
    reach = reach_of_filters()
    wrong = [
        (one, other)
        for one, other in product(reach, repeat=2)
        if overlap(one, other) is reach[one].isdisjoint(reach[other])
    ]
    assert wrong == []


@given(filters, filters)
def test_a_topic_is_covered_by_what_matches_it(wide: str, narrow: str) -> None:
    assert covers(wide, wide)
    assert covers("#", wide) is not wide.startswith("$")
    if not has_wildcard(narrow):
        assert covers(wide, narrow) is matches(wide, narrow)


@given(filters)
def test_every_filter_without_stars_can_be_written_in_a_url(topic_filter: str) -> None:
    spelled = ["*" if level == "+" else "**" if level == "#" else level for level in topic_filter.split("/")]
    assert filter_from_url("/".join(spelled)) == topic_filter


@given(any_text)
def test_text_without_stars_stands_for_itself(text: str) -> None:
    text = text.replace("*", "")
    assert filter_from_url(text) == text
