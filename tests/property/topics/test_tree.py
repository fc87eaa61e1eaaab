from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from extra.topics import FilterTree
from tests.property.topics.oracle import filters, oracle, topics

CACHE_LIMIT = 3
CACHE_LIMIT_ITEMS = 6

items = st.integers(1, 4)


@given(st.lists(st.tuples(filters, items), unique=True), st.lists(topics, min_size=1, max_size=10))
@settings(max_examples=60, deadline=None)
def test_match_is_the_specification(pairs: list[tuple[str, int]], some_topics: list[str]) -> None:
    tree: FilterTree[int] = FilterTree()
    for topic_filter, item in pairs:
        tree.add(topic_filter, item)
    for topic in some_topics:
        assert Counter(tree.match(topic)) == Counter([item for name, item in pairs if oracle(name, topic)])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_so_is_it_whichever_shapes_came_first(data: st.DataObject) -> None:
    every = ["/".join(levels) for depth in range(1, 5) for levels in product("a+", repeat=depth)]
    every += ["#"] + [f"{each}/#" for each in every if each.count("/") < 3]
    chosen = data.draw(st.permutations(every))
    gone = data.draw(st.lists(st.sampled_from(every), unique=True))
    tree: FilterTree[str] = FilterTree(cache_limit=0)
    for topic_filter in chosen:
        tree.add(topic_filter, topic_filter)
    for topic_filter in gone:
        tree.remove(topic_filter, topic_filter)
    for topic_filter in gone[::2]:
        tree.add(topic_filter, topic_filter)
    there = {*every} - {*gone[1::2]}
    for topic in ("a", "b", "a/a", "a/b", "b/a/a", "a/a/a/a", "a/b/a/b", "a/a/a/a/a", "$a/a"):
        assert Counter(tree.match(topic)) == Counter([each for each in there if oracle(each, topic)])


class TreeMachine(RuleBasedStateMachine):
    """Two trees beside a set of pairs: one that has to evict all the time, one that never has to.

    No answer of either is ever stale, and the roomy one computes none that it could have kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tiny: FilterTree[int] = FilterTree(cache_limit=CACHE_LIMIT, cache_limit_items=CACHE_LIMIT_ITEMS)
        self.roomy: FilterTree[int] = FilterTree()
        self.pairs: set[tuple[str, int]] = set()
        self.cached: set[str] = set()
        self.answers: list[tuple[list[int], list[int]]] = []

    @rule(topic_filter=filters, item=items)
    def add(self, topic_filter: str, item: int) -> None:
        self.tiny.add(topic_filter, item)
        self.roomy.add(topic_filter, item)
        if (topic_filter, item) not in self.pairs:
            self.pairs.add((topic_filter, item))
            self.forget(topic_filter)

    @rule(topic_filter=filters, item=items)
    def remove(self, topic_filter: str, item: int) -> None:
        if (topic_filter, item) in self.pairs:
            self.tiny.remove(topic_filter, item)
            self.roomy.remove(topic_filter, item)
            self.pairs.remove((topic_filter, item))
            self.forget(topic_filter)
        else:
            for tree in (self.tiny, self.roomy):
                with pytest.raises(KeyError):
                    tree.remove(topic_filter, item)

    @precondition(lambda self: self.pairs)
    @rule(data=st.data())
    def remove_one_that_is_there(self, data: st.DataObject) -> None:
        self.remove(*data.draw(st.sampled_from(sorted(self.pairs))))

    @rule(topic=topics)
    def match(self, topic: str) -> None:
        expected = Counter([item for name, item in self.pairs if oracle(name, topic)])
        hits = self.roomy.statistics().hits
        for tree in (self.tiny, self.roomy):
            answer = tree.match(topic)
            assert Counter(answer) == expected
            self.answers.append((answer, answer.copy()))
        assert self.roomy.statistics().hits - hits == (topic in self.cached)
        self.cached.add(topic)

    @precondition(lambda self: self.cached)
    @rule(data=st.data())
    def match_one_again(self, data: st.DataObject) -> None:
        self.match(data.draw(st.sampled_from(sorted(self.cached))))

    def forget(self, topic_filter: str) -> None:
        self.cached -= {topic for topic in self.cached if oracle(topic_filter, topic)}

    @invariant()
    def figures_are_right(self) -> None:
        names = {name for name, _ in self.pairs}
        for tree in (self.tiny, self.roomy):
            assert sorted(tree.filters()) == sorted(names)
            assert tree.statistics().filters == len(names)
            assert tree.statistics().items == len(tree) == len(self.pairs)
        assert self.tiny.statistics().cache_size <= CACHE_LIMIT
        assert self.tiny.statistics().cached_items <= CACHE_LIMIT_ITEMS
        assert self.roomy.statistics().cache_size == len(self.cached)

    @invariant()
    def lists_given_out_never_change(self) -> None:
        for answer, copy in self.answers:
            assert answer == copy


TreeMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestTree = pytest.mark.slow(TreeMachine.TestCase)
