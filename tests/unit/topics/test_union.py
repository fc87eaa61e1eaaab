"""extra.topics.union"""

import pytest

from extra.errors import InvalidFilter
from extra.topics import FilterUnion, matches

TOPICS = ["a", "a/b", "a/b/c", "b", "$SYS/a", "/", "x/y"]
FILTERS = ["a", "a/+", "a/#", "+", "#", "b/c", "$SYS/#", "/+", "+/y", "q/#", "r", "s"]


@pytest.mark.parametrize("count", range(len(FILTERS) + 1))
def test_a_topic_matches_when_any_filter_does(count: int) -> None:
    filters = FILTERS[:count]
    union = FilterUnion(filters)
    for topic in TOPICS:
        assert union.matches(topic) == any(matches(each, topic) for each in filters)


def test_few_filters_are_looked_up_one_by_one() -> None:
    assert FilterUnion(FILTERS[:8]).is_few()
    assert not FilterUnion(FILTERS[:9]).is_few()


def test_a_filter_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidFilter):
        FilterUnion([*FILTERS, "a/#/b"])
