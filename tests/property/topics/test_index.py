from hypothesis import given, settings
from hypothesis import strategies as st

from extra.topics import TopicIndex
from tests.property.topics.oracle import filters, oracle, topics

steps = st.lists(st.tuples(st.booleans(), topics), max_size=40)


@given(steps, st.lists(filters, min_size=1, max_size=10))
@settings(max_examples=60, deadline=None)
def test_the_index_is_a_set_of_topics_searched_by_filter(
    steps: list[tuple[bool, str]], topic_filters: list[str]
) -> None:
    index = TopicIndex()
    model: set[str] = set()
    for comes, topic in steps:
        if comes:
            index.add(topic)
            model.add(topic)
        else:
            index.discard(topic)
            model.discard(topic)
        assert (topic in index) is comes
    assert len(index) == len(model)
    assert set(index) == model
    for topic_filter in topic_filters:
        found = sorted(topic for topic in model if oracle(topic_filter, topic))
        assert sorted(index.matching(topic_filter)) == found
