"""The messages of one topic, and reading a few topics in one order."""

import pytest

from extra.pubsub import DEFAULT_POLICY, PolicyTable
from extra.pubsub.topic_log import TopicLog, before_last, merge
from tests.unit.pubsub.material import a_message, placed


def topic_log(topic: str, *offsets: int) -> TopicLog:
    log = TopicLog(topic, PolicyTable(DEFAULT_POLICY))
    for offset in offsets:
        log.append(placed(offset, topic))
    return log


def test_a_name_weighs_more_the_longer_and_deeper_it_is() -> None:
    weights = [topic_log(topic).weight for topic in ("a", "a" * 256, "a/b/c/d/e", "a/" * 8)]
    assert weights == [1, 2, 2, 3]


def test_what_is_evicted_is_cut_off_in_time() -> None:
    log = topic_log("a", *range(1, 101))
    size = log.size
    assert [log.evict().offset for _ in range(60)] == list(range(1, 61))
    assert len(log) == 40
    assert len(log.messages) < 100
    assert log.size == size * 40 // 100
    assert log.oldest().offset == 61
    assert log.at(log.index_after(80)).offset == 81
    assert log.last_offset == 100


def test_the_newest_message_says_whether_it_is_the_last() -> None:
    log = topic_log("a", 1)
    log.append(a_message("a", close=True))
    assert log.is_closed
    log.append(placed(3))
    assert not log.is_closed


@pytest.mark.parametrize(
    ("after", "until", "limit", "expected", "position"),
    [(0, 9, 9, [1, 2, 3, 5, 8], 9), (1, 5, 9, [2, 3, 5], 5), (1, 9, 2, [2, 3], 3), (8, 9, 9, [], 9)],
)
def test_topics_are_merged_by_offset(
    after: int, until: int, limit: int, expected: list[int], position: int
) -> None:
    logs = [topic_log("a", 1, 5), topic_log("b", 2, 8), topic_log("c", 3), topic_log("d")]
    messages, reached = merge(logs, after, until, limit)
    assert ([message.offset for message in messages], reached) == (expected, position)


@pytest.mark.parametrize(("count", "expected"), [(1, 7), (2, 4), (5, 0), (6, 0)])
def test_the_last_messages_of_several_topics_are_counted_from_the_end(count: int, expected: int) -> None:
    logs = [topic_log("a", 1, 5), topic_log("b", 2, 8), topic_log("c", 3), topic_log("d")]
    assert before_last(logs, count, 0.0) == expected
