import pytest

from extra.errors import LimitExceeded
from extra.pubsub import Policy, PolicyTable, RetainedMessages
from extra.pubsub.journal import Journal
from extra.pubsub.search import SEARCH_STEPS
from tests.unit.pubsub.material import a_message, placed

BARE = a_message("a").size


def holding(*topics: str) -> RetainedMessages:
    """Retain a message on each topic; its offset is its number, from 1."""
    retained = RetainedMessages()
    for offset, topic in enumerate(topics, 1):
        retained.put(placed(offset, topic))
    return retained


def offsets(retained: RetainedMessages, *filters: str, time: float = 0.0) -> list[int]:
    search = retained.matching(list(filters))
    while not search.advance(0.0, time):
        pass
    return [message.offset for message in search.messages()]


def expiring(retained: RetainedMessages, offset: int, topic: str, expires_at: float) -> None:
    message = a_message(topic, expires_at=expires_at)
    message.place("e1", offset, 0.0, 0.0)
    retained.put(message)


def test_what_matches_is_given_in_offset_order() -> None:
    retained = holding("b", "a/x", "a", "a/y")
    assert offsets(retained, "#") == [1, 2, 3, 4]
    assert offsets(retained, "a/#") == [2, 3, 4]
    assert offsets(retained, "a/y", "a/x") == [2, 4]
    assert offsets(retained, "nowhere") == []


def test_what_several_filters_match_is_given_once() -> None:
    assert offsets(holding("a", "b"), "a", "#", "+") == [1, 2]


def test_many_filters_find_what_few_do() -> None:
    retained = holding("b", "a/x", "c", "a/y")
    expiring(retained, 5, "a/z", 100.0)
    many = ["a/+", *[f"nowhere/{number}/#" for number in range(20)], "c", "#"]
    assert offsets(retained, *many, time=99.0) == [1, 2, 3, 4, 5]
    assert offsets(retained, *many[:-1], time=100.0) == [2, 3, 4]
    assert len(retained) == 4


def test_very_many_are_looked_through_in_bounded_pieces() -> None:
    retained = holding(*[f"{number}/x" for number in range(SEARCH_STEPS + 10)], "1/y")
    search = retained.matching(["+/y"])
    assert not search.advance(0.0, 0.0)
    assert search.advance(0.0, 0.0)
    assert [message.topic for message in search.messages()] == ["1/y"]


def test_what_is_let_go_of_during_a_search_is_not_missed() -> None:
    retained = holding(*[f"{number}/x" for number in range(SEARCH_STEPS + 10)], "1/y", "2/y")
    search = retained.matching(["+/y"])
    search.advance(0.0, 0.0)
    retained.clear("1/y")
    retained.clear("1/x")
    while not search.advance(0.0, 0.0):
        pass
    assert len(search.messages()) in (1, 2)


def test_a_topic_retains_its_last_message() -> None:
    """MQTT 5.0 section 3.3.1.3 [MQTT-3.3.1-5]: it replaces the one before."""
    retained = holding("a", "b", "a")
    assert offsets(retained, "#") == [2, 3]
    assert len(retained) == 2
    assert retained.size == 2 * BARE


def test_clearing_a_topic_leaves_nothing() -> None:
    retained = holding("a", "b")
    assert retained.clear("a")
    assert not retained.clear("a")
    assert offsets(retained, "#") == [2]
    assert (len(retained), retained.size) == (1, BARE)


def test_an_expired_message_is_let_go_when_it_is_met() -> None:
    retained = holding("b")
    expiring(retained, 2, "a", 100.0)
    assert offsets(retained, "#", time=99.0) == [1, 2]
    assert offsets(retained, "#", "a", time=100.0) == [1]
    assert len(retained) == 1


def test_sweeping_lets_go_of_what_has_expired() -> None:
    retained = holding("b")
    expiring(retained, 2, "a", 100.0)
    retained.sweep(99.0)
    assert len(retained) == 2
    retained.sweep(100.0)
    assert len(retained) == 1
    assert retained.size == BARE


def test_a_sweep_looks_at_so_many_and_the_next_goes_on() -> None:
    """A sweep is bounded work."""
    retained = RetainedMessages()
    for offset in range(1, 11):
        expiring(retained, offset, f"t/{offset}", 100.0)
    left = []
    for _ in range(4):
        retained.sweep(100.0, budget=3)
        left.append(len(retained))
    assert left == [7, 4, 1, 0]


def test_a_sweep_passes_over_what_was_cleared_meanwhile() -> None:
    retained = holding("a", "b")
    retained.sweep(0.0, budget=1)
    retained.clear("a")
    retained.sweep(0.0, budget=1)
    assert offsets(retained, "#") == [2]


def test_there_is_room_for_so_many_messages() -> None:
    retained = RetainedMessages(limit_messages=2)
    for offset, topic in enumerate("ab", 1):
        retained.check_room(a_message(topic))
        retained.put(placed(offset, topic))
    with pytest.raises(LimitExceeded, match="2 messages are retained already"):
        retained.check_room(a_message("c"))
    retained.check_room(a_message("b"))


def test_there_is_room_for_so_many_bytes() -> None:
    retained = RetainedMessages(limit_bytes=2 * BARE + 10)
    retained.check_room(a_message("a", b"." * 10))
    retained.put(placed(1, "a", b"." * 10))
    with pytest.raises(LimitExceeded, match="retained_limit_bytes"):
        retained.check_room(a_message("b", b"."))
    retained.put(placed(2, "b"))
    retained.check_room(a_message("a", b"." * 10))
    with pytest.raises(LimitExceeded, match="retained_limit_bytes"):
        retained.check_room(a_message("a", b"." * 11))


def test_what_is_let_go_of_is_noted_where_somebody_wants_to_know() -> None:
    retained = holding("a", "b")
    retained.journal = Journal()
    retained.put(placed(3, "a"))
    retained.clear("b")
    retained.clear("c")
    expiring(retained, 4, "x", 10.0)
    expiring(retained, 5, "y", 10.0)
    assert offsets(retained, "x", time=10.0) == []
    retained.sweep(10.0)
    assert retained.journal.unretained == [1, 2, 4, 5]


def test_what_may_not_be_retained_goes_as_the_sweep_comes_to_it() -> None:
    retained = holding("a", "b/x", "b/y", "c")
    retained.journal = journal = Journal()
    retained.apply(PolicyTable(Policy(), [("b/+", Policy(retained=False))]))
    assert offsets(retained, "#") == [1, 2, 3, 4]
    retained.clear("b/x")
    for _ in range(4):
        retained.sweep(0.0, budget=10)
    assert offsets(retained, "#") == [1, 4]
    assert journal.unretained == [2, 3]
