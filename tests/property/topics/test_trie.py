from hypothesis import given, settings
from hypothesis import strategies as st

from extra.topics.trie import Branch, LevelTrie
from tests.property.topics.oracle import filters, oracle, topics


def trie_of(names: list[str]) -> LevelTrie:
    trie = LevelTrie()
    for name in names:
        trie.add(name)
    return trie


def found_in(branch: Branch, is_root: bool = True) -> list[str]:
    names: list[str] = []
    for below in branch.values():
        names.extend(found_in(below, False) if isinstance(below, dict) else [below])
    assert is_root or len(names) > 1, "a branch with fewer than two names"
    return names


@given(st.lists(topics | filters, unique=True), st.data())
@settings(max_examples=60, deadline=None)
def test_the_shape_depends_on_the_names_alone(names: list[str], data: st.DataObject) -> None:
    trie = trie_of(names)
    assert sorted(found_in(trie.root)) == sorted(names)
    gone = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
    for name in gone:
        trie.remove(name)
    kept = data.draw(st.permutations([name for name in names if name not in gone]))
    assert trie.root == trie_of(kept).root


@given(st.lists(filters, unique=True), topics)
@settings(deadline=None)
def test_filters_matching_is_the_specification(names: list[str], topic: str) -> None:
    found = trie_of(names).filters_matching(topic)
    assert sorted(found) == sorted(name for name in names if oracle(name, topic))


@given(st.lists(topics, unique=True), filters)
@settings(deadline=None)
def test_topics_matching_is_the_specification(names: list[str], topic_filter: str) -> None:
    trie = trie_of(names)
    found = trie.topics_matching(topic_filter)
    assert sorted(found) == sorted(name for name in names if oracle(topic_filter, name))
    for limit in range(len(found) + 2):
        some = trie.topics_matching(topic_filter, limit)
        assert len(set(some)) == len(some) == min(limit, len(found))
        assert set(some) <= set(found)
