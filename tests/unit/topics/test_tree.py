from collections.abc import Hashable

import pytest

from extra.errors import InvalidFilter, InvalidTopic
from extra.topics import FilterTree, TreeStatistics


class Shy:
    """An item that counts how often any of its kind is compared."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Shy.comparisons += 1
        return self is other

    def __hash__(self) -> int:
        return id(self)


def tree_of(*filters: str, cache_limit: int = 4096, cache_limit_items: int = 100) -> FilterTree[str]:
    """A tree in which each filter holds itself as its item."""
    tree: FilterTree[str] = FilterTree(cache_limit=cache_limit, cache_limit_items=cache_limit_items)
    for topic_filter in filters:
        tree.add(topic_filter, topic_filter)
    return tree


def test_match_returns_the_items_of_all_filters_that_match() -> None:
    tree = tree_of("a/b", "a/+", "+/b", "#", "a/b/#", "a", "b/#")
    assert sorted(tree.match("a/b")) == ["#", "+/b", "a/+", "a/b", "a/b/#"]
    assert tree.match("c/d") == ["#"]


def test_one_filter_holds_many_items() -> None:
    tree: FilterTree[int] = FilterTree()
    for number in range(1, 6):
        tree.add("a/+", number)
        tree.add("a/b", -number)
    assert sorted(tree.match("a/b")) == [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5]
    assert len(tree) == 10
    assert sorted(tree.filters()) == ["a/+", "a/b"]


@pytest.mark.parametrize("others", [[], ["x"], ["x", "y"]])
def test_adding_a_pair_again_changes_nothing(others: list[str]) -> None:
    tree: FilterTree[str] = FilterTree()
    for item in ["item", *others]:
        tree.add("a", item)
    tree.match("a")
    before = tree.statistics()
    tree.add("a", "item")
    assert tree.statistics() == before
    assert sorted(tree.match("a")) == ["item", *others]


def test_items_are_told_apart_as_in_a_set() -> None:
    tree: FilterTree[Hashable] = FilterTree()
    nan = float("nan")
    for item in (1, 1.0, True, nan, nan, "", 0):
        tree.add("a", item)
    assert tree.match("a") == [1, nan, "", 0]
    for _ in range(2):
        tree.add("b", nan)
    assert tree.match("b") == [nan]
    tree.remove("b", nan)
    assert tree.filters() == ["a"]


def test_removing_the_last_item_removes_the_filter() -> None:
    tree: FilterTree[str] = FilterTree()
    for topic_filter in ("a/b", "a/+"):
        tree.add(topic_filter, "x")
        tree.add(topic_filter, "y")
        tree.remove(topic_filter, "x")
        assert tree.match("a/b") == ["y"]
        tree.remove(topic_filter, "y")
        assert tree.match("a/b") == []
    assert tree.filters() == []
    assert len(tree) == 0


@pytest.mark.parametrize("topic_filter", ["a", "a/+", "a/#/b", ""])
@pytest.mark.parametrize("held", [0, 1, 2, 3])
def test_removing_what_is_not_there_raises_key_error_and_changes_nothing(
    topic_filter: str, held: int
) -> None:
    tree: FilterTree[int] = FilterTree()
    for number in range(held):
        tree.add("a", number)
        tree.add("a/+", number)
    before = tree.statistics()
    with pytest.raises(KeyError, match="99"):
        tree.remove(topic_filter, 99)
    assert tree.statistics() == before


def test_items_come_and_go_without_looking_at_the_others() -> None:
    """Ten thousand subscribers of one topic that leave one by one must not cost fifty million steps."""
    tree: FilterTree[Shy] = FilterTree()
    items = [Shy() for _ in range(500)]
    Shy.comparisons = 0
    for item in items:
        tree.add("a", item)
        tree.add("a/+", item)
    for item in items[::2] + items[1::2]:
        tree.remove("a", item)
        tree.remove("a/+", item)
    assert Shy.comparisons < 10


def test_an_invalid_filter_is_refused_and_not_held() -> None:
    tree = tree_of()
    for topic_filter in ("", "a/#/b", "a+", "a\0"):
        with pytest.raises(InvalidFilter):
            tree.add(topic_filter, "item")
    assert tree.filters() == []
    assert len(tree) == 0


def test_an_invalid_topic_is_refused_and_not_counted() -> None:
    tree = tree_of("#")
    for topic in ("", "a/+", "#", "a\0"):
        with pytest.raises(InvalidTopic):
            tree.match(topic)
    assert tree.statistics().misses == 0
    assert tree.statistics().cache_size == 0


def test_statistics_count() -> None:
    tree = tree_of("a", "a/+", "#", cache_limit=2)
    tree.add("#", "other")
    for topic in ("a", "a", "b", "c", "c"):
        tree.match(topic)
    tree.add("c", "c")
    assert tree.statistics() == TreeStatistics(
        filters=4,
        items=5,
        cache_size=1,
        cached_items=2,
        hits=2,
        misses=3,
        invalidations=1,
        evictions=1,
    )


def test_a_cached_answer_is_given_again() -> None:
    tree = tree_of("a/+")
    assert tree.match("a/b") is tree.match("a/b")
    assert tree.statistics().hits == 1


def test_topics_that_nobody_wants_are_cached_too() -> None:
    tree = tree_of("a")
    assert tree.match("x") == tree.match("x") == []
    assert tree.statistics().hits == 1


@pytest.mark.parametrize(
    ("changed", "dropped"),
    [
        ("a/b", {"a/b"}),
        ("a/x", set()),
        ("a/+", {"a/b", "a/c"}),
        ("a/#", {"a", "a/b", "a/c", "a/b/c"}),
        ("+/b", {"a/b", "d/b"}),
        ("+", {"a"}),
        ("#", {"a", "a/b", "a/c", "a/b/c", "d/b"}),
        ("$SYS/+", {"$SYS/b"}),
        ("+/+/+", {"a/b/c"}),
    ],
)
def test_a_change_drops_the_cached_topics_that_its_filter_matches_and_no_others(
    changed: str, dropped: set[str]
) -> None:
    topics = ["a", "a/b", "a/c", "a/b/c", "d/b", "$SYS/b"]
    tree = tree_of("#", "$SYS/#")
    for change in (tree.add, tree.remove):
        answers = {topic: tree.match(topic) for topic in topics}
        before = tree.statistics()
        change(changed, "new")
        assert tree.statistics().invalidations == before.invalidations + len(dropped)
        assert tree.statistics().cache_size == len(topics) - len(dropped)
        assert {topic for topic in topics if tree.match(topic) is not answers[topic]} == dropped
        assert tree.statistics().hits == before.hits + len(topics) - len(dropped)


def test_a_list_in_use_stays_as_it_is_when_items_come_and_go() -> None:
    tree = tree_of("a/+")
    answer = tree.match("a/b")
    seen = []
    for item in answer:
        seen.append(item)
        tree.add("a/b", "new")
        tree.add("a/+", "more")
        tree.remove("a/+", "a/+")
    assert seen == answer == ["a/+"]
    assert sorted(tree.match("a/b")) == ["more", "new"]


def test_the_least_recently_used_topic_is_evicted_first() -> None:
    tree = tree_of("#", cache_limit=3)
    for topic in ("a", "b", "c", "a", "d"):
        tree.match(topic)
    assert tree.statistics().evictions == 1
    hits = tree.statistics().hits
    for topic in ("c", "a", "d"):
        tree.match(topic)
    assert tree.statistics().hits == hits + 3
    tree.match("b")
    assert tree.statistics().hits == hits + 3


def test_an_evicted_topic_is_not_counted_as_invalidated_later() -> None:
    tree = tree_of("#", cache_limit=1)
    tree.match("a")
    tree.match("b")
    tree.add("a", "new")
    assert tree.statistics().invalidations == 0
    assert tree.statistics().cache_size == 1


def test_without_a_cache_every_answer_is_computed() -> None:
    tree = tree_of("#", cache_limit=0)
    assert tree.match("a") == tree.match("a") == ["#"]
    statistics = tree.statistics()
    assert (statistics.cache_size, statistics.hits, statistics.misses) == (0, 0, 2)


def test_cached_answers_are_bounded_in_items() -> None:
    """Many topics and many subscribers of all: the lists, not the topics, are what takes the memory."""
    tree: FilterTree[int] = FilterTree(cache_limit_items=10)
    for number in range(1, 5):
        tree.add("#", number)
    for topic in ("a", "b", "c"):
        tree.match(topic)
    assert tree.statistics().cache_size == 2
    assert tree.statistics().cached_items == 8
    assert tree.statistics().evictions == 1


def test_an_answer_beyond_the_bound_is_given_and_not_cached() -> None:
    tree: FilterTree[int] = FilterTree(cache_limit_items=3)
    for number in range(1, 5):
        tree.add("a", number)
    tree.match("b")
    assert tree.match("a") == [1, 2, 3, 4]
    assert tree.statistics().cache_size == 1
    assert tree.statistics().evictions == 0


def test_long_topics_are_not_cached() -> None:
    """4,096 topics of 64 KiB would be 256 MiB."""
    tree = tree_of("#")
    tree.match("x" * 1024)
    assert tree.statistics().cache_size == 1
    assert tree.match("x" * 1025) == ["#"]
    assert tree.statistics().cache_size == 1


def test_a_filter_that_may_concern_very_many_cached_answers_drops_them_all() -> None:
    """To tell which would take longer than to match them again."""
    tree: FilterTree[str] = FilterTree()
    tree.add("x", "one")
    for number in range(2000):
        tree.match(f"{number}/x")
    tree.add("+/y", "two")
    statistics = tree.statistics()
    assert (statistics.cache_size, statistics.cached_items, statistics.invalidations) == (0, 0, 2000)
    assert tree.match("1/y") == ["two"]
    tree.add("1/+", "three")
    assert sorted(tree.match("1/y")) == ["three", "two"]
