"""Topics with names."""

import pytest

from extra.errors import InvalidFilter
from extra.services.topics import TopicPattern
from extra.topics import matches


@pytest.mark.parametrize(
    ("text", "topic_filter", "topic", "values"),
    [
        ("a/b", "a/b", "a/b", {}),
        ("rooms/{room}/+", "rooms/+/+", "rooms/1/x", {"room": "1"}),
        ("rooms/{room:int}/#", "rooms/+/#", "rooms/1/x/y", {"room": 1}),
        ("{a}/{b}", "+/+", "/é", {"a": "", "b": "é"}),
        ("files/{path:path}", "files/#", "files/a/b", {"path": "a/b"}),
        ("files/{any}", "files/#", "files", {"any": ""}),
        ("{any}", "#", "a//b", {"any": "a//b"}),
    ],
)
def test_levels_have_names(text: str, topic_filter: str, topic: str, values: dict[str, object]) -> None:
    pattern = TopicPattern(text)
    assert pattern.filter == topic_filter
    assert matches(topic_filter, topic)
    assert pattern.values_of(topic) == values
    assert pattern.names == tuple(values)


def test_topic_of_another_kind_is_not_for_it() -> None:
    assert TopicPattern("rooms/{room:int}").values_of("rooms/x") is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", InvalidFilter),
        ("a/#/b", InvalidFilter),
        ("a+/b", InvalidFilter),
        ("{a}-{b}", ValueError),
        ("{a:nothing}", ValueError),
        ("{any}/b", ValueError),
        ("{a}/{a}", ValueError),
        ("{", ValueError),
    ],
)
def test_what_is_no_pattern_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        TopicPattern(text)
