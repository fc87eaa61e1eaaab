import pytest

from extra.errors import InvalidCommand, InvalidFilter, InvalidTopic, LimitExceeded
from extra.pubsub import BrokerLimits

LIMITS = BrokerLimits(
    max_payload_bytes=2,
    max_topic_bytes=4,
    max_topic_levels=2,
    subscriptions_limit=2,
    subscriptions_limit_bytes=5,
)


def test_what_is_within_the_limits_passes() -> None:
    LIMITS.check_topic("ab/c")
    LIMITS.check_payload(b"12")
    LIMITS.check_filters(["a/+", "$a/#"])
    LIMITS.check_room({"ab", "abc"})


@pytest.mark.parametrize("topic", ["", "a/+", "abcde", "a/b/c", "$own"])
def test_what_is_no_topic_for_all_is_refused(topic: str) -> None:
    with pytest.raises(InvalidTopic):
        LIMITS.check_topic(topic)


def test_a_payload_has_so_many_bytes() -> None:
    with pytest.raises(LimitExceeded, match=r"broker\.max_payload_bytes"):
        LIMITS.check_payload(b"123")


@pytest.mark.parametrize(
    ("filters", "error"),
    [
        ([], InvalidCommand),
        (["a"] * 3, LimitExceeded),
        (["a", "b/#/"], InvalidFilter),
        (["abcde"], InvalidFilter),
    ],
)
def test_filters_are_checked_in_number_and_form(filters: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        LIMITS.check_filters(filters)


def test_what_is_subscribed_to_is_bounded_in_number_and_bytes() -> None:
    with pytest.raises(LimitExceeded, match=r"broker\.subscriptions_limit\)"):
        LIMITS.check_room({"a", "b", "c"})
    with pytest.raises(LimitExceeded, match=r"broker\.subscriptions_limit_bytes"):
        LIMITS.check_room({"abc", "abd"})
