import pytest

from extra.errors import InvalidFilter, InvalidTopic
from extra.topics import TopicIndex


def index_of(*topics: str) -> TopicIndex:
    index = TopicIndex()
    for topic in topics:
        index.add(topic)
    return index


def test_it_is_a_set_of_topics() -> None:
    index = index_of("a", "a/b", "a")
    assert len(index) == 2
    assert "a/b" in index
    assert "b" not in index
    assert None not in index
    assert sorted(index) == ["a", "a/b"]


def test_discarding_leaves_nothing_and_can_be_repeated() -> None:
    index = index_of("a/b", "a/c")
    index.discard("a/b")
    index.discard("a/b")
    index.discard("a")
    assert list(index) == ["a/c"]
    assert index.matching("a/+") == ["a/c"]
    index.discard("a/c")
    assert len(index) == 0
    assert index.matching("#") == []


def test_a_filter_without_wildcards_finds_itself() -> None:
    index = index_of("a/b")
    assert index.matching("a/b") == ["a/b"]
    assert index.matching("a") == []
    assert index.matching("a/b/c") == []


@pytest.mark.parametrize("topic_filter", ["#", "a/#", "+/+", "a/+", "a/b"])
def test_with_a_limit_so_many_are_found_at_most(topic_filter: str) -> None:
    index = index_of("a", "a/b", "a/c", "a/d", "b/c")
    found = index.matching(topic_filter)
    for limit in range(len(found) + 2):
        some = index.matching(topic_filter, limit)
        assert len(some) == min(limit, len(found))
        assert set(some) <= set(found)


@pytest.mark.parametrize("topic_filter", ["#", "a/#", "+/+", "+/b", "a/+", "a/b", "+/nothing", "nothing"])
def test_with_so_many_steps_all_is_found_or_nothing_said(topic_filter: str) -> None:
    index = index_of("a", "a/b", "a/c", "a/d", "b/c", "c/b")
    found = sorted(index.matching(topic_filter))
    answers = [index.matching_within(topic_filter, 10, steps) for steps in range(20)]
    needed = answers.count(None)
    assert all(answer is None for answer in answers[:needed])
    assert all(answer is not None and sorted(answer) == found for answer in answers[needed:])
    assert needed <= len(index) + 3


def test_steps_are_counted_when_they_are_not_enough_too() -> None:
    index = index_of(*[f"{number}/x" for number in range(100)])
    assert index.matching_within("+/y", 10, 50) is None
    assert 50 <= index.steps() <= 52
    assert index.matching_within("+/y", 10, 500) == []
    assert index.steps() > 150


def test_the_list_is_the_callers() -> None:
    index = index_of("a", "b")
    index.matching("#").clear()
    assert sorted(index.matching("#")) == ["a", "b"]


def test_topics_can_be_discarded_while_going_through_a_match() -> None:
    index = index_of("a/1", "a/2", "b")
    for topic in index.matching("a/#"):
        index.discard(topic)
    assert list(index) == ["b"]


def test_wildcards_are_refused_as_topics() -> None:
    """[MQTT-4.7.0-1]"""
    index = TopicIndex()
    with pytest.raises(InvalidTopic):
        index.add("a/+")
    assert len(index) == 0


@pytest.mark.parametrize("topic_filter", ["", "a/#/b", "a+"])
def test_invalid_filters_are_refused(topic_filter: str) -> None:
    with pytest.raises(InvalidFilter):
        index_of("a/x/b").matching(topic_filter)
