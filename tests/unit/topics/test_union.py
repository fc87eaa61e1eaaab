"""extra.topics.union"""

from itertools import product

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


@pytest.mark.parametrize("count", [2, 12])
def test_questions_are_counted_by_what_they_cost(count: int) -> None:
    union = FilterUnion(FILTERS[:count])
    steps = [union.steps]
    for topic in ("a", "a/b/c/d", "q"):
        union.matches(topic)
        steps.append(union.steps)
    assert steps[0] == 0
    assert steps == sorted(set(steps))


def test_filters_made_to_be_hard_cost_a_step_for_each_branch() -> None:
    union = FilterUnion(["/".join(levels) for levels in product("a+", repeat=8)])
    assert not union.matches("/".join(["a"] * 7 + ["b", "c"]))
    assert 2**7 < union.steps < 2**10


def test_a_filter_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidFilter):
        FilterUnion([*FILTERS, "a/#/b"])
