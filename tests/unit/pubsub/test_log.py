from collections.abc import Iterable
from itertools import product

import pytest

from extra.pubsub import Log, Message, Policy, PolicyTable, Slice
from extra.pubsub.journal import Journal
from extra.pubsub.log import (
    BLOCK,
    LOSERS_LIMIT,
    LOSS_STEPS,
    MERGE_LIMIT_TOPICS,
)
from extra.pubsub.search import SEARCH_STEPS
from extra.pubsub.topic_log import NAME_UNIT_CHARACTERS, NAME_UNIT_LEVELS
from tests.unit.pubsub.material import a_message

NOW = 5_000.0
TIME = 1_900_000_000.0
ALL = 1 << 62
KEEP_ALL = Policy(messages=1 << 30, age_s=1e9, topic_limit_bytes=1 << 40)
BARE = a_message("a").size
"""The size of a message without a payload on a topic of one character."""


def a_log(
    policy: Policy = KEEP_ALL,
    entries: list[tuple[str, Policy]] | None = None,
    *,
    total_limit_bytes: int = 1 << 40,
    topics_limit: int = 1_000_000,
) -> Log:
    return Log(
        "e1", PolicyTable(policy, entries), total_limit_bytes=total_limit_bytes, topics_limit=topics_limit
    )


def append(log: Log, *topics: str, after_s: float = 0.0, ttl: float | None = None) -> None:
    """Append a message to each topic, `after_s` seconds into the test."""
    for topic in topics:
        expires_at = 0.0 if ttl is None else TIME + after_s + ttl
        log.append(a_message(topic, expires_at=expires_at), NOW + after_s, TIME + after_s)


def read(
    log: Log,
    *filters: str,
    after: int = 0,
    until: int = ALL,
    limit: int = ALL,
    limit_bytes: int = ALL,
    after_s: float = 0.0,
) -> Slice:
    return log.read(
        list(filters), after, until, limit, NOW + after_s, TIME + after_s, limit_bytes=limit_bytes
    )


def before_last(log: Log, filters: list[str], count: int, after_s: float = 0.0) -> int:
    search = log.before_last(filters, count)
    while not search.advance(NOW + after_s, TIME + after_s):
        pass
    return search.offset


def offsets(messages: Slice | Iterable[Message]) -> list[int]:
    return [each.offset for each in (messages.messages if isinstance(messages, Slice) else messages)]


def read_all(log: Log, *filters: str, limit: int = ALL, limit_bytes: int = ALL) -> list[int]:
    """Read page by page."""
    found: list[int] = []
    position = 0
    while position < log.head:
        piece = read(log, *filters, after=position, limit=limit, limit_bytes=limit_bytes)
        assert piece.position > position, "every read comes further"
        found += offsets(piece)
        position = piece.position
    return found


def crowded(log: Log, *, count: int = MERGE_LIMIT_TOPICS + 1) -> list[str]:
    """Append to as many topics under `c/` as are walked rather than merged."""
    topics = [f"c/{number}" for number in range(count)]
    append(log, *topics)
    return topics


# Appending


def test_offsets_count_from_one_over_all_topics() -> None:
    """STYLE section 2: offset counts from 1, over all topics."""
    log = a_log()
    assert log.head == 0
    appended = [log.append(a_message(topic), NOW, TIME) for topic in ("a", "b", "a")]
    assert appended == [1, 2, 3]
    assert log.head == 3


def test_a_message_is_given_its_place() -> None:
    log = a_log()
    message = a_message("a")
    log.append(message, NOW, TIME)
    assert (message.epoch, message.offset, message.appended_at, message.time) == ("e1", 1, NOW, TIME)


def test_messages_and_bytes_are_counted() -> None:
    log = a_log()
    log.append(a_message("a", b"12345"), NOW, TIME)
    log.append(a_message("b"), NOW, TIME)
    assert len(log) == 2
    assert log.size == 2 * BARE + 5


# Retention


def test_a_topic_keeps_so_many_messages() -> None:
    log = a_log(Policy(messages=2))
    append(log, "a", "b", "a", "a", "b")
    assert offsets(read(log, "a")) == [3, 4]
    assert offsets(read(log, "#")) == [2, 3, 4, 5]
    assert (len(log), log.evicted, log.size) == (4, 1, 4 * BARE)


def test_a_topic_keeps_so_many_bytes() -> None:
    log = a_log(Policy(topic_limit_bytes=2 * BARE + 10))
    log.append(a_message("a", b"1234567890"), NOW, TIME)
    log.append(a_message("a"), NOW, TIME)
    assert len(log) == 2
    log.append(a_message("a", b"1"), NOW, TIME)
    assert offsets(read(log, "a")) == [2, 3]


def test_a_message_larger_than_its_topic_may_be_is_not_kept() -> None:
    log = a_log(Policy(topic_limit_bytes=BARE))
    log.append(a_message("a", b"1"), NOW, TIME)
    assert len(log) == 0
    assert read(log, "a").evicted_until == 1


def test_a_topic_keeps_messages_for_so_long() -> None:
    log = a_log(Policy(age_s=10.0))
    append(log, "a")
    append(log, "a", after_s=5.0)
    assert offsets(read(log, "a", after_s=9.9)) == [1, 2]
    piece = read(log, "a", after_s=10.0)
    assert offsets(piece) == [2]
    assert piece.evicted_until == 1
    assert len(log) == 1


def test_a_topic_that_keeps_nothing_counts_and_tells() -> None:
    """`Policy.messages` 0: subscribers that are there get the message, nobody can resume over it."""
    log = a_log(Policy(messages=0))
    append(log, "a", "a")
    assert (log.head, len(log), log.size) == (2, 0, 0)
    piece = read(log, "a")
    assert (offsets(piece), piece.position, piece.evicted_until) == ([], 2, 2)


def test_the_policy_of_the_topic_counts() -> None:
    log = a_log(Policy(messages=1), [("b/#", Policy(messages=3))])
    append(log, *["a", "b/x"] * 4)
    assert offsets(read(log, "a")) == [7]
    assert offsets(read(log, "b/x")) == [4, 6, 8]


def test_in_total_the_oldest_go_whatever_their_topic() -> None:
    log = a_log(total_limit_bytes=3 * BARE)
    append(log, "a", "b", "a", "b", "c")
    assert offsets(read(log, "#")) == [3, 4, 5]
    assert log.size == 3 * BARE


def test_a_message_larger_than_the_whole_log_leaves_it_empty() -> None:
    log = a_log(total_limit_bytes=3 * BARE)
    append(log, "a", "b")
    log.append(a_message("c", b"." * 3 * BARE), NOW, TIME)
    assert (len(log), log.size, log.evicted) == (0, 0, 3)
    assert read(log, "c").evicted_until == 3
    append(log, "a")
    assert offsets(read(log, "#")) == [4]


# Sweeping


def test_sweeping_gives_back_what_is_too_old() -> None:
    log = a_log(Policy(age_s=10.0))
    append(log, "a", "b", "c")
    log.sweep(NOW + 10.0, TIME + 10.0)
    assert (len(log), log.size) == (0, 0)


def test_a_sweep_looks_at_so_many_topics_and_the_next_goes_on() -> None:
    """A sweep is bounded work."""
    log = a_log(Policy(age_s=10.0))
    append(log, *[f"t/{number}" for number in range(10)])
    left = []
    for _ in range(4):
        log.sweep(NOW + 10.0, TIME + 10.0, budget=3)
        left.append(len(log))
    assert left == [7, 4, 1, 0]


def test_sweeping_begins_anew_when_all_have_been_looked_at() -> None:
    log = a_log(Policy(age_s=10.0))
    append(log, "a")
    log.sweep(NOW, TIME)
    append(log, "b", after_s=5.0)
    log.sweep(NOW + 10.0, TIME + 10.0)
    assert len(log) == 1
    log.sweep(NOW + 15.0, TIME + 15.0)
    assert len(log) == 0


def test_a_topic_forgotten_in_the_middle_of_a_sweep_is_passed_over() -> None:
    log = a_log(Policy(messages=0), topics_limit=2)
    append(log, "a", "b")
    log.sweep(NOW, TIME, budget=1)
    append(log, "c")
    log.sweep(NOW, TIME, budget=1)
    assert sorted(log.topics) == ["b", "c"]


# Reading


def test_reading_gives_what_matches_in_offset_order() -> None:
    log = a_log()
    append(log, "a/x", "b", "a/y", "a", "a/x/z")
    assert offsets(read(log, "a/x")) == [1]
    assert offsets(read(log, "a/+")) == [1, 3]
    assert offsets(read(log, "a/#")) == [1, 3, 4, 5]
    assert offsets(read(log, "nowhere")) == []


def test_a_message_that_several_filters_match_is_given_once() -> None:
    log = a_log()
    append(log, "a", "b", "a")
    assert offsets(read(log, "a", "#", "+", "a")) == [1, 2, 3]


def test_wildcards_do_not_reach_the_brokers_own_topics() -> None:
    """MQTT 5.0 [MQTT-4.7.2-1]"""
    log = a_log()
    append(log, "$SYS/load", "a")
    assert offsets(read(log, "#")) == [2]
    assert offsets(read(log, "$SYS/#")) == [1]


@pytest.mark.parametrize("filters", [("a",), ("a", "b"), ("#",)])
def test_reading_keeps_between_after_and_until(filters: tuple[str, ...]) -> None:
    log = a_log()
    append(log, *"aaaaabb")
    piece = read(log, *filters, after=2, until=4)
    assert (offsets(piece), piece.position) == ([3, 4], 4)


def test_the_position_is_how_far_everything_is_there() -> None:
    log = a_log()
    append(log, "a", "b", "b")
    assert read(log, "a").position == 3
    assert read(log, "a", until=2).position == 2
    assert read(log, "nowhere", after=1).position == 3
    assert read(log, "a", after=3).position == 3
    assert read(log, "a", after=3, until=2).position == 3


@pytest.mark.parametrize("filters", [("a",), ("a", "b"), ("#",)])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_make_up_the_whole(filters: tuple[str, ...], limit: int) -> None:
    log = a_log()
    append(log, *"abababa")
    whole = offsets(read(log, *filters))
    assert read_all(log, *filters, limit=limit) == whole
    assert read_all(log, *filters, limit_bytes=limit * BARE) == whole


def test_a_full_page_ends_with_its_last_message() -> None:
    log = a_log()
    append(log, "a", "b", "a", "a")
    piece = read(log, "a", limit=2)
    assert (offsets(piece), piece.position) == ([1, 3], 3)


def test_a_page_of_bytes_ends_before_it_has_too_many() -> None:
    log = a_log()
    append(log, "a", "b", "a", "a")
    piece = read(log, "a", limit_bytes=2 * BARE)
    assert (offsets(piece), piece.position) == ([1, 3], 3)
    piece = read(log, "a", limit_bytes=2 * BARE - 1)
    assert (offsets(piece), piece.position) == ([1], 1)


def test_the_first_message_is_given_however_large() -> None:
    log = a_log()
    log.append(a_message("a", b"." * 10_000), NOW, TIME)
    append(log, "a")
    piece = read(log, "a", limit_bytes=1)
    assert (offsets(piece), piece.position) == ([1], 1)


def test_expired_messages_are_left_out() -> None:
    """docs/protocol.md, publish: after its ttl a message is no longer given to anybody."""
    log = a_log()
    append(log, "a", ttl=5.0)
    append(log, "a")
    append(log, "a", ttl=5.0)
    assert offsets(read(log, "a", after_s=4.9)) == [1, 2, 3]
    piece = read(log, "a", after_s=5.0)
    assert (offsets(piece), piece.position, piece.evicted_until) == ([2], 3, 0)


def test_a_page_of_expired_messages_is_empty_and_comes_further() -> None:
    log = a_log()
    append(log, "a", "a", ttl=5.0)
    append(log, "a")
    piece = read(log, "a", limit=2, after_s=5.0)
    assert (offsets(piece), piece.position) == ([], 2)


# What has been lost


def test_evicted_until_is_the_highest_offset_that_a_matching_topic_has_lost() -> None:
    """docs/architecture.md, one log, one cursor: the answer is exact."""
    log = a_log(Policy(messages=1))
    append(log, "a", "b", "a", "b", "c", "a")  # a has lost 1 and 3, b has lost 2
    assert read(log, "a").evicted_until == 3
    assert read(log, "b").evicted_until == 2
    assert read(log, "c").evicted_until == 0
    assert read(log, "b", "c").evicted_until == 2
    assert read(log, "+").evicted_until == 3


def test_what_was_lost_before_is_not_told() -> None:
    log = a_log(Policy(messages=1))
    append(log, "a", "b", "a", "b", "a")
    assert read(log, "a", after=2).evicted_until == 3
    assert read(log, "a", after=3).evicted_until == 0
    assert read(log, "b", after=2).evicted_until == 0
    assert read(log, "+", after=2).evicted_until == 3


def test_what_was_lost_above_the_end_of_a_read_is_told() -> None:
    """`Slice.evicted_until` may lie above where the read was to end."""
    log = a_log(Policy(messages=1))
    append(log, "a", "a", "a")
    piece = read(log, "a", until=1)
    assert (piece.position, piece.evicted_until) == (1, 2)


def test_an_expired_message_that_is_evicted_is_no_loss() -> None:
    log = a_log(Policy(messages=1))
    append(log, "a", ttl=5.0)
    append(log, "a", after_s=5.0)
    assert read(log, "a", after_s=5.0).evicted_until == 0
    assert log.evicted == 1


def test_a_loss_is_remembered_when_an_expired_message_goes_after_it() -> None:
    log = a_log(Policy(messages=1))
    append(log, "a")
    append(log, "a", ttl=5.0)
    append(log, "a", after_s=5.0)
    assert read(log, "a", after_s=5.0).evicted_until == 1


def test_a_topic_that_has_lost_everything_still_tells() -> None:
    log = a_log(Policy(age_s=10.0))
    append(log, "a", "b")
    log.sweep(NOW + 10.0, TIME + 10.0)
    assert read(log, "a").evicted_until == 1
    append(log, "a", after_s=10.0)
    assert read(log, "a", after=1, after_s=10.0).evicted_until == 0


# Forgetting topics


def test_beyond_the_limit_the_topic_that_ran_empty_first_is_forgotten() -> None:
    log = a_log(Policy(messages=1), [("gone/#", Policy(messages=0))], topics_limit=3)
    append(log, "gone/1", "a", "gone/2", "gone/3")
    assert sorted(log.topics) == ["a", "gone/2", "gone/3"]
    assert offsets(read(log, "#")) == [2]


def test_a_topic_that_has_messages_again_is_not_forgotten() -> None:
    log = a_log(Policy(age_s=10.0), topics_limit=2)
    append(log, "a")
    log.sweep(NOW + 10.0, TIME + 10.0)
    append(log, "a", "b", after_s=10.0)
    log.sweep(NOW + 20.0, TIME + 20.0)
    append(log, "c", after_s=20.0)
    assert len(log.topics) == 2
    assert "c" in log.topics


def test_what_a_forgotten_topic_lost_counts_against_every_filter() -> None:
    """docs/architecture.md: the answer errs towards telling of a loss."""
    log = a_log(KEEP_ALL, [("gone/#", Policy(messages=0))], topics_limit=2)
    append(log, "a", "gone/1", "b")
    assert read(log, "a").evicted_until == 2
    assert read(log, "nowhere").evicted_until == 2
    assert read(log, "a", after=2).evicted_until == 0


def test_a_topic_that_only_let_expired_messages_go_is_forgotten_without_a_trace() -> None:
    log = a_log(Policy(age_s=10.0), topics_limit=1)
    append(log, "a", ttl=5.0)
    log.sweep(NOW + 10.0, TIME + 10.0)
    append(log, "b", after_s=10.0)
    assert list(log.topics) == ["b"]
    assert read(log, "#", after_s=10.0).evicted_until == 0


def test_when_no_topic_is_empty_one_makes_room_and_the_others_keep_all() -> None:
    """One topic too many does not cost what the others have, however the messages are interleaved."""
    log = a_log(topics_limit=3)
    append(log, *["a", "b", "c"] * 5, "d")
    assert sorted(log.topics) == ["b", "c", "d"]
    assert offsets(read(log, "b")) == [2, 5, 8, 11, 14]
    assert offsets(read(log, "c")) == [3, 6, 9, 12, 15]
    assert read(log, "b").evicted_until == 13


def test_a_long_name_counts_as_several_topics() -> None:
    """What is known of topics is bounded in bytes, too."""
    log = a_log(Policy(messages=0), topics_limit=10)
    append(log, *[f"t/{number}" for number in range(10)])
    assert len(log.topics) == 10
    append(log, "x" * 5 * NAME_UNIT_CHARACTERS)
    assert len(log.topics) == 5
    append(log, "y" * 20 * NAME_UNIT_CHARACTERS)
    assert len(log.topics) == 0
    append(log, "a")
    assert list(log.topics) == ["a"]


# More topics than are merged


def test_walking_gives_what_merging_would() -> None:
    log = a_log()
    topics = crowded(log)
    append(log, "other", topics[0])
    wanted = [*range(1, len(topics) + 1), len(topics) + 2]
    assert offsets(read(log, "c/#")) == wanted
    assert read_all(log, "c/+", limit=100) == wanted
    assert read_all(log, "c/+", "c/0", limit_bytes=100 * BARE) == wanted
    assert read(log, "c/#").position == log.head


def test_walking_keeps_between_after_and_until() -> None:
    log = a_log()
    crowded(log)
    piece = read(log, "#", after=10, until=20)
    assert (offsets(piece), piece.position) == (list(range(11, 21)), 20)
    piece = read(log, "#", after=10, until=20, limit=3)
    assert (offsets(piece), piece.position) == ([11, 12, 13], 13)
    assert read(log, "#", after=20, until=10).position == 20


def test_walking_evicts_what_it_finds_too_old() -> None:
    log = a_log(KEEP_ALL, [("old/#", Policy(age_s=10.0))])
    append(log, "old/1", "old/2")
    topics = crowded(log)
    piece = read(log, "#", after_s=10.0)
    assert len(piece.messages) == len(topics)
    assert piece.evicted_until == 2
    assert len(log) == len(topics)


def test_walking_leaves_out_what_has_expired() -> None:
    log = a_log()
    topics = crowded(log)
    append(log, "c/0", ttl=5.0)
    assert len(read(log, "#", after_s=4.0).messages) == len(topics) + 1
    assert len(read(log, "#", after_s=5.0).messages) == len(topics)


def test_a_walk_that_finds_nothing_ends_after_so_many_steps() -> None:
    """Neither way of reading does unbounded work in one call."""
    log = a_log(Policy(messages=0), [("much", KEEP_ALL)])
    crowded(log)
    append(log, *["much"] * (SEARCH_STEPS + 10))
    piece = read(log, "c/#", after=log.head - SEARCH_STEPS - 10)
    assert offsets(piece) == []
    assert log.head - BLOCK < piece.position < log.head
    assert read(log, "c/#", after=piece.position).position == log.head


def test_blocks_that_are_gone_are_walked_over_a_limited_number_at_a_time() -> None:
    """Neither way of reading does unbounded work in one call."""
    log = a_log(KEEP_ALL, [("c/#", Policy(messages=1))])
    crowded(log)
    log.head = 3 * SEARCH_STEPS * BLOCK  # as if very much had come and gone
    append(log, "c/0")
    first = read(log, "#")
    assert len(first.messages) == MERGE_LIMIT_TOPICS
    assert first.position < log.head
    pieces = [first]
    while pieces[-1].position < log.head:
        pieces.append(read(log, "#", after=pieces[-1].position))
    assert len(pieces) == 4
    assert offsets(pieces[-1]) == [log.head]


def test_walking_begins_with_the_oldest_message() -> None:
    """What is gone at the front costs nothing."""
    log = a_log()
    log.head = 3 * SEARCH_STEPS * BLOCK
    crowded(log)
    piece = read(log, "#")
    assert len(piece.messages) == MERGE_LIMIT_TOPICS + 1
    assert piece.position == log.head


def test_what_many_topics_have_lost_is_exact() -> None:
    log = a_log(KEEP_ALL, [("c/#", Policy(messages=1)), ("x/#", Policy(messages=1))])
    topics = crowded(log)
    append(
        log, "x/1", "c/5", "x/1", "c/3", "x/1"
    )  # x/1 has lost 1002 and 1004, c/5 has lost 6, c/3 has lost 4
    assert len(topics) == 1001
    assert read(log, "c/#").evicted_until == 6
    assert read(log, "#").evicted_until == 1004
    assert read(log, "c/#", "x/1").evicted_until == 1004
    assert read(log, "c/#", after=4).evicted_until == 6
    assert read(log, "c/#", after=6).evicted_until == 0


def test_what_a_topic_loses_again_is_found_first() -> None:
    log = a_log(KEEP_ALL, [("c/#", Policy(messages=1))])
    crowded(log)
    append(log, "c/0", "c/1", "c/2", "c/0")
    assert read(log, "c/#").evicted_until == MERGE_LIMIT_TOPICS + 2


def test_what_many_topics_have_lost_is_exact_behind_very_many_later_losses() -> None:
    log = a_log(KEEP_ALL, [("c/#", Policy(messages=1)), ("x/#", Policy(messages=0))])
    topics = crowded(log)
    append(log, topics[7])
    append(log, *[f"x/{number}" for number in range(LOSERS_LIMIT + 1)])
    assert read(log, "c/#").evicted_until == 8
    assert read(log, "c/#", after=8).evicted_until == 0


# Many filters

MANY = ["c/+", *[f"nowhere/{number}/+" for number in range(20)]]


def test_many_filters_are_read_as_few_are() -> None:
    log = a_log()
    append(log, "c/1", "other", "c/2", "c/1")
    assert offsets(read(log, *MANY)) == [1, 3, 4]
    assert read_all(log, *MANY, limit=1) == [1, 3, 4]
    assert offsets(read(log, *[f"c/{number}" for number in range(20)])) == [1, 3, 4]
    assert before_last(log, MANY, 2) == 2


@pytest.mark.parametrize("later_losses", [1, LOSERS_LIMIT + 1])
def test_what_the_topics_of_many_filters_have_lost_is_exact(later_losses: int) -> None:
    log = a_log(Policy(messages=1), [("x/#", Policy(messages=0))])
    append(log, "c/1", "c/2", "c/1", "c/2", "c/3")  # lost: 1 and 2
    append(log, *[f"x/{number}" for number in range(later_losses)])
    assert read(log, *MANY).evicted_until == 2
    assert read(log, *MANY, after=2).evicted_until == 0


# The last messages


@pytest.mark.parametrize(
    ("count", "after"), [(0, 7), (1, 6), (2, 5), (3, 3), (4, 2), (5, 0), (6, 0), (10_000, 0)]
)
def test_before_last_is_where_the_last_messages_begin(count: int, after: int) -> None:
    log = a_log()
    append(log, "a", "b", "a", "a", "b", "a", "a")
    assert before_last(log, ["a"], count) == after
    assert len(read(log, "a", after=after).messages) == min(count, 5)


def test_before_last_counts_a_message_once_and_over_all_filters() -> None:
    log = a_log()
    append(log, "a", "b", "c", "a", "b")
    assert before_last(log, ["a", "b", "+"], 2) == 3
    assert before_last(log, ["a", "b"], 3) == 1
    assert before_last(log, ["nowhere"], 3) == 0


def test_before_last_passes_over_what_is_not_given_any_more() -> None:
    log = a_log(Policy(age_s=10.0))
    append(log, "a")
    append(log, "a", after_s=6.0)
    append(log, "a", after_s=6.0, ttl=1.0)
    append(log, "a", after_s=6.0)
    assert before_last(log, ["a"], 2, after_s=6.0) == 2
    assert before_last(log, ["a"], 2, after_s=7.0) == 1
    assert before_last(log, ["a"], 3, after_s=7.0) == 0
    assert before_last(log, ["a"], 3, after_s=10.0) == 0


def test_before_last_walks_back_when_very_many_topics_match() -> None:
    log = a_log(KEEP_ALL, [("old", Policy(age_s=10.0))])
    topics = crowded(log)
    append(log, "other", "c/1", "old", "c/2")
    append(log, "c/3", ttl=5.0)
    assert before_last(log, ["c/#"], 2) == len(topics) + 3
    assert before_last(log, ["c/#"], 2, after_s=5.0) == len(topics) + 1
    assert before_last(log, ["#"], 4, after_s=5.0) == len(topics)
    assert before_last(log, ["#"], 4, after_s=10.0) == len(topics) - 1
    assert before_last(log, ["c/#"], 10_000) == 0


# Filters that are made to be hard: every mix of `+` and names that matches one topic

HARD = ["/".join(levels) for levels in product(*[("+", str(depth)) for depth in range(9)])]
NEARLY = "/".join([*[str(depth) for depth in range(8)], "other"])
"""Leads through every branch of half of them."""


def a_hard_log() -> Log:
    log = a_log(Policy(messages=1))
    append(log, *[f"{NEARLY}/{number}" for number in range(200)])
    append(log, "0/1/2/3/4/5/6/7/8")
    append(log, *[f"{NEARLY}/{number}" for number in range(200)])
    append(log, "0/1/2/3/4/5/6/7/8")
    return log


def test_reading_with_hard_filters_stops_after_bounded_work() -> None:
    log = a_hard_log()
    piece = read(log, *HARD)
    assert piece.messages == []
    assert 200 < piece.position < 260
    assert read_all(log, *HARD) == [402]


def test_before_last_with_hard_filters_goes_in_bounded_pieces() -> None:
    log = a_hard_log()
    search = log.before_last(HARD, 2)
    pieces = 0
    while not search.advance(NOW, TIME):
        pieces += 1
    assert search.offset == 0
    assert pieces > 3


def test_what_hard_filters_have_lost_is_exact() -> None:
    log = a_hard_log()
    assert read(log, *HARD).evicted_until == 201
    assert read(log, *HARD, after=201).evicted_until == 0


@pytest.mark.slow
def test_a_loss_is_assumed_when_it_takes_long_to_tell() -> None:
    """Loss is never silent: rather one is told of that was none."""
    log = a_log(Policy(messages=0), [("1/y", KEEP_ALL)])
    append(log, "1/y", *[f"{number}/x" for number in range(LOSS_STEPS)])
    assert read(log, "1/y").evicted_until == 0
    assert log.head - LOSERS_LIMIT - 1 <= read(log, "+/y").evicted_until <= log.head
    assert offsets(read(log, "+/y", limit=1)) == [1]


def test_a_filter_that_many_topics_nearly_match_is_read_by_walking() -> None:
    log = a_log()
    append(log, *[f"{number}/x" for number in range(SEARCH_STEPS + 10)], "1/y")
    assert SEARCH_STEPS - 100 < read(log, "+/y").position < SEARCH_STEPS
    assert read_all(log, "+/y") == [SEARCH_STEPS + 11]
    assert before_last(log, ["+/y"], 1) == SEARCH_STEPS + 10


# Inside


def test_a_topic_that_has_lost_everything_keeps_no_list() -> None:
    """There may be a million of them."""
    log = a_log(Policy(age_s=10.0))
    append(log, *["a"] * 30)
    log.sweep(NOW + 10.0, TIME + 10.0)
    assert log.topics["a"].messages == []


def test_nothing_is_left_of_what_was_evicted() -> None:
    log = a_log(Policy(messages=3))
    append(log, *["a", "b"] * 5_000)
    assert len(log) == 6
    assert sum(len(block) for block in log.blocks.values()) == 6
    assert len(log.blocks) == 1
    assert sum(len(topic_log.messages) for topic_log in log.topics.values()) < 100


# What an engine keeps elsewhere


def test_what_goes_is_noted_where_somebody_wants_to_know() -> None:
    log = a_log(Policy(messages=2), topics_limit=2)
    log.journal = Journal()
    append(log, *"aaaa")
    assert (log.journal.evicted, log.journal.losses) == ([1, 2], {"a": 2})
    append(log, "b", ttl=5.0)
    append(log, "b", "b", after_s=5.0)
    assert log.journal.evicted == [1, 2, 5]
    assert log.journal.losses == {"a": 2}, "what has expired is no loss"
    append(log, "c")
    assert log.journal.forgotten == {"a": None}
    assert log.journal.losses == {}
    assert log.journal.evicted == [1, 2, 5, 3, 4]


def restored(
    log: Log,
    policy: Policy = KEEP_ALL,
    *,
    after_s: float = 0.0,
    total_limit_bytes: int = 1 << 40,
    topics_limit: int = 1_000_000,
) -> Log:
    """Return a log that is made of what another one holds, as an engine does it on starting again."""
    again = a_log(policy, total_limit_bytes=total_limit_bytes, topics_limit=topics_limit)
    for topic_log in sorted(log.topics.values(), key=lambda each: each.evicted_until):
        again.restore_topic(topic_log.topic, topic_log.evicted_until, TIME + after_s)
    for block in log.blocks.values():
        for message in block.values():
            copy = a_message(message.topic, expires_at=message.expires_at)
            again.restore(
                copy, message.offset, message.appended_at, message.time, NOW + after_s, TIME + after_s
            )
    again.restore_head(log.head, log.forgotten_until)
    return again


def test_a_restored_log_answers_as_it_did_before() -> None:
    log = a_log(Policy(messages=2))
    append(log, *"abacabadabacaba")
    again = restored(log, Policy(messages=2))
    for filters in ("a", "b", "c", "d", "#", "nowhere"):
        for after in range(16):
            one, other = read(log, filters, after=after), read(again, filters, after=after)
            assert (offsets(one), one.position) == (offsets(other), other.position)
            assert one.evicted_until == other.evicted_until
    assert (again.head, again.size, len(again), len(again.topics)) == (15, log.size, len(log), 4)
    append(again, "a")
    assert read(again, "a").messages[-1].offset == 16


def test_a_restored_log_lets_go_of_what_its_limits_no_longer_allow() -> None:
    log = a_log()
    append(log, *"abab")
    append(log, *"ab", after_s=10.0)
    fewer = restored(log, Policy(messages=2))
    assert offsets(read(fewer, "#")) == [3, 4, 5, 6]
    assert read(fewer, "a").evicted_until == 1
    younger = restored(log, Policy(age_s=10.0), after_s=10.0)
    assert offsets(read(younger, "#", after_s=10.0)) == [5, 6]
    smaller = restored(log, total_limit_bytes=BARE * 3)
    assert offsets(read(smaller, "#")) == [4, 5, 6]
    unknown = restored(log, topics_limit=1)
    assert offsets(read(unknown, "#")) == [6]
    assert read(unknown, "a").evicted_until == 5


def test_a_log_can_go_on_behind_what_nobody_knows_any_more() -> None:
    """An engine that cannot tell how far its copy is behind says that all of it may be lost."""
    log = a_log()
    append(log, *"ab")
    again = restored(log)
    again.restore_head(1_000_000, 1_000_000)
    piece = read(again, "a", after=1)
    assert (offsets(piece), piece.position, piece.evicted_until) == ([], 1_000_000, 1_000_000)
    assert read(again, "nowhere", after=999_999).evicted_until == 1_000_000
    append(again, "a")
    piece = read(again, "a", after=1_000_000)
    assert (offsets(piece), piece.evicted_until) == ([1_000_001], 0)


def test_deep_names_count_as_several_topics() -> None:
    """Each level that two of them share is a table of its own."""
    log = a_log()
    append(log, "/".join(["a"] * (NAME_UNIT_LEVELS * 3 + 1)))
    assert log.weight == 4


# Other policies


def test_other_policies_hold_when_somebody_comes_to_a_topic_and_loss_is_told() -> None:
    log = a_log()
    append(log, *"aaabbb")
    log.set_policies(PolicyTable(KEEP_ALL, [("a", Policy(messages=1))]))
    assert (log.policy("a").messages, log.policy("never seen").messages) == (1, KEEP_ALL.messages)
    piece = read(log, "a")
    assert ([each.offset for each in piece.messages], piece.evicted_until) == ([3], 2)
    assert len(read(log, "b").messages) == 3


def test_a_sweep_gives_back_what_other_policies_no_longer_keep() -> None:
    log = a_log()
    append(log, *"aaabbb")
    log.sweep(NOW, TIME, budget=1)
    log.set_policies(PolicyTable(Policy(messages=1)))
    log.sweep(NOW, TIME)
    assert (len(log), log.evicted) == (2, 4)


def test_what_is_too_old_by_other_policies_is_not_found_by_walking() -> None:
    log = a_log()
    append(log, *[f"t/{number}" for number in range(MERGE_LIMIT_TOPICS + 1)])
    log.set_policies(PolicyTable(Policy(age_s=1.0)))
    assert read(log, "t/#", after_s=1.0).messages == []


def test_policies_that_keep_more_bring_nothing_back() -> None:
    log = a_log(Policy(messages=1))
    append(log, *"aaa")
    log.set_policies(PolicyTable(KEEP_ALL))
    append(log, "a")
    piece = read(log, "a")
    assert ([each.offset for each in piece.messages], piece.evicted_until) == ([3, 4], 2)


def test_what_a_restart_has_lost_is_not_forgotten_when_something_older_goes() -> None:
    """A topic can have lost its newest messages, and keep older ones, when it was durable once."""
    log = a_log(Policy(messages=1))
    log.journal = journal = Journal()
    log.restore_topic("a", 5, TIME)
    for offset in (1, 2):
        log.restore(a_message("a"), offset, NOW, TIME, NOW, TIME)
    log.restore_head(5, 0)
    assert read(log, "a").evicted_until == 5
    assert journal.losses == {"a": 5}


# The last message


def test_the_last_offset_of_a_topic_only_rises() -> None:
    log = a_log(Policy(messages=1))
    append(log, *"aab")
    append(log, "c", ttl=1.0)
    append(log, "c", ttl=1.0)
    assert [log.last_offset(topic) for topic in "abcd"] == [2, 3, 5, 0]
    log.sweep(NOW + 1e9, TIME + 1e9)
    assert len(log) == 0
    assert [log.last_offset(topic) for topic in "abcd"] == [2, 3, 5, 0]


def test_the_last_offset_is_known_after_a_restart() -> None:
    log = a_log(Policy(messages=2))
    log.restore_topic("lost", 4, TIME)
    log.restore_topic("kept", 1, TIME)
    log.restore(a_message("kept"), 3, NOW, TIME, NOW, TIME)
    log.restore_head(5, 0)
    assert [log.last_offset(topic) for topic in ("lost", "kept")] == [4, 3]


def test_a_last_message_that_expired_and_went_is_noted_until_its_topic_is_forgotten() -> None:
    log = a_log(Policy(messages=1), topics_limit=2)
    log.journal = journal = Journal()
    append(log, "a", ttl=1.0)
    append(log, "b", ttl=1.0)
    append(log, "b", after_s=2.0, ttl=1.0)
    log.sweep(NOW + 1e9, TIME + 1e9)
    assert (journal.lasts, journal.losses) == ({"a": 1, "b": 3}, {})
    append(log, "c", after_s=1e9)  # the one that ran empty first is forgotten
    assert journal.lasts == {"a": 1}
    assert log.restore_last("a", 0)
    assert log.last_offset("a") == 1
    assert not log.restore_last("b", 2)
