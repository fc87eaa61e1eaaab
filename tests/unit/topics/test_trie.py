from extra.topics.trie import LevelTrie


def trie_of(*names: str) -> LevelTrie:
    trie = LevelTrie()
    for name in names:
        trie.add(name)
    return trie


def test_a_lone_name_is_one_entry_however_deep() -> None:
    assert trie_of("a/b/c/d").root == {"a": "a/b/c/d"}


def test_names_branch_where_they_part() -> None:
    trie = trie_of("a/b", "a/c/d", "a/c/e/f", "x/y/z")
    assert trie.root == {"a": {"b": "a/b", "c": {"d": "a/c/d", "e": "a/c/e/f"}}, "x": "x/y/z"}


def test_a_name_that_ends_where_others_go_on_stands_under_the_separator() -> None:
    shape = {"a": {"b": {"/": "a/b", "c": "a/b/c"}}}
    assert trie_of("a/b", "a/b/c").root == shape
    assert trie_of("a/b/c", "a/b").root == shape


def test_empty_levels_are_levels() -> None:
    assert trie_of("/", "//", "/a").root == {"": {"": {"/": "/", "": "//"}, "a": "/a"}}


def test_a_branch_left_with_one_name_gives_way_to_it() -> None:
    trie = trie_of("a/b/c/d", "a/b/c/e", "x")
    trie.remove("a/b/c/e")
    assert trie.root == {"a": "a/b/c/d", "x": "x"}


def test_a_branch_stays_while_names_share_it() -> None:
    trie = trie_of("a/b/c", "a/b/d", "a/e")
    trie.remove("a/e")
    assert trie.root == {"a": {"b": {"c": "a/b/c", "d": "a/b/d"}}}


def test_removing_the_name_that_ends_at_a_branch_leaves_the_others() -> None:
    trie = trie_of("a", "a/b")
    trie.remove("a")
    assert trie.root == {"a": "a/b"}


def test_nothing_is_left_of_the_last_name() -> None:
    trie = trie_of("a/b", "a/c")
    trie.remove("a/b")
    trie.remove("a/c")
    assert trie.root == {}


def test_filters_are_found_as_leaves_and_at_branches() -> None:
    trie = trie_of("a/#", "a/+", "a/+/#", "a/+/c", "+/b/c", "#", "a/b/+", "b/#")
    assert sorted(trie.filters_matching("a/b/c")) == ["#", "+/b/c", "a/#", "a/+/#", "a/+/c", "a/b/+"]
    assert sorted(trie.filters_matching("a/b")) == ["#", "a/#", "a/+", "a/+/#"]
    assert sorted(trie.filters_matching("a")) == ["#", "a/#"]
    assert sorted(trie.filters_matching("$a")) == []


def test_dollar_counts_at_the_first_level_only() -> None:
    """[MQTT-4.7.2-1]"""
    filters = trie_of("+/b", "#", "a/+", "a/b", "$a/+", "$a/#")
    assert sorted(filters.filters_matching("$a/b")) == ["$a/#", "$a/+"]
    assert sorted(filters.filters_matching("a/$b")) == ["#", "a/+"]
    topics = trie_of("$a/b", "$a/c", "a/$b", "a/b")
    assert sorted(topics.topics_matching("+/b")) == ["a/b"]
    assert sorted(topics.topics_matching("a/+")) == ["a/$b", "a/b"]
    assert sorted(topics.topics_matching("$a/#")) == ["$a/b", "$a/c"]


def test_the_search_for_topics_ends_with_the_limit() -> None:
    topics = trie_of("a", "a/b", "a/b/c", "a/d", "$a/b", "e/b", "e/f/g")
    for topic_filter, count in (("#", 6), ("a/#", 4), ("+/b", 2), ("+/+/#", 5), ("a/b", 1), ("x", 0)):
        for limit in range(count + 2):
            assert len(topics.topics_matching(topic_filter, limit)) == min(limit, count)


def test_the_deepest_names_are_within_reach() -> None:
    deepest = "/".join("x" * 128)
    others = ["+/" * 127 + "+", "x/" * 127 + "+", "x/" * 127 + "#", "x/" * 127 + "y"]
    trie = trie_of(deepest, *others)
    assert len(trie.filters_matching(deepest)) == 4
    for name in others:
        trie.remove(name)
    assert trie.topics_matching("x/" * 127 + "+") == [deepest]
    assert trie.root == {"x": deepest}


def test_topics_are_found_as_leaves_and_at_branches() -> None:
    trie = trie_of("a", "a/b", "a/b/c", "a/d", "$a/b", "e/b", "e/f")
    assert sorted(trie.topics_matching("#")) == ["a", "a/b", "a/b/c", "a/d", "e/b", "e/f"]
    assert sorted(trie.topics_matching("a/#")) == ["a", "a/b", "a/b/c", "a/d"]
    assert sorted(trie.topics_matching("a/+/#")) == ["a/b", "a/b/c", "a/d"]
    assert sorted(trie.topics_matching("+/b")) == ["a/b", "e/b"]
    assert sorted(trie.topics_matching("+")) == ["a"]
    assert sorted(trie.topics_matching("$a/+")) == ["$a/b"]
    assert sorted(trie.topics_matching("x/+")) == []
