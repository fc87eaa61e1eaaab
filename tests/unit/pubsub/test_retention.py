import pytest

from extra.errors import InvalidCommand, InvalidFilter, LimitExceeded
from extra.pubsub import DEFAULT_POLICY, Message, Policy, PolicyTable
from extra.pubsub.retention import check_policy


def named(*filters: str) -> PolicyTable:
    """Return a table whose policies are told apart by how many messages they keep: the first keeps 1."""
    entries = [(topic_filter, Policy(messages=number)) for number, topic_filter in enumerate(filters, 1)]
    return PolicyTable(Policy(messages=0), entries)


def test_by_default_a_topic_keeps_a_hundred_messages_for_ten_minutes() -> None:
    assert (DEFAULT_POLICY.messages, DEFAULT_POLICY.age_s) == (100, 600.0)
    assert DEFAULT_POLICY.topic_limit_bytes == 16 * 1024 * 1024


def test_without_entries_every_topic_has_the_default() -> None:
    default = Policy(messages=7)
    assert PolicyTable(default).policy("a/b") is default


def test_a_topic_that_no_entry_matches_has_the_default() -> None:
    table = named("a/#")
    assert table.policy("b").messages == 0
    assert table.policy("a/b").messages == 1


@pytest.mark.parametrize(
    ("topic", "winner"),
    [
        ("site/a/temp", 5),  # four levels do not match; of three, the one with the fewest wildcards
        ("site/b/temp", 4),
        ("site/b/x", 3),
        ("site/b", 3),  # `#` matches its parent level
        ("site", 2),
        ("other", 1),
        ("site/a/temp/raw", 6),
    ],
)
def test_the_longest_match_wins_and_then_the_one_spelt_out_most(topic: str, winner: int) -> None:
    table = named("#", "site/#", "site/+/#", "site/+/temp", "site/a/temp", "site/+/temp/raw")
    assert table.policy(topic).messages == winner


def test_the_order_of_entries_does_not_matter_where_one_is_longer() -> None:
    assert named("a/b/c", "a/#").policy("a/b/c").messages == 1
    assert named("a/#", "a/b/c").policy("a/b/c").messages == 2


@pytest.mark.parametrize(
    ("topic", "longer", "shorter"),
    [
        ("a/b", "a/+", "+/b"),  # as many levels spelt out: the narrower one at the first that differs
        ("a/b", "a/b", "a/b/#"),
        ("a/b", "a/+", "a/#"),
        ("a/b", "a/+", "a/+/#"),
        ("a/b/c", "a/+/#", "a/#"),
        ("a/b/c", "a/#", "+/+/+"),  # more levels, but none is spelt out
        ("a/b/c", "+/b/c", "a/#"),
        ("/b", "/b", "/+"),  # an empty level is spelt out
        ("/b", "/+", "+/b"),
    ],
)
def test_longer_is_what_spells_out_more_and_then_what_is_narrower(
    topic: str, longer: str, shorter: str
) -> None:
    assert named(longer, shorter).policy(topic).messages == 1
    assert named(shorter, longer).policy(topic).messages == 2
    assert named(shorter, longer).winner(topic) == longer


def test_without_a_match_nobody_wins() -> None:
    assert named("a").winner("b") == ""


def test_a_payload_has_the_size_that_its_topic_allows() -> None:
    policy = Policy(max_payload_bytes=3)
    check_policy(policy, Message("a", b"123"))
    with pytest.raises(LimitExceeded, match=r"4 bytes is more than the 3 of topic 'a' \(policies.max_"):
        check_policy(policy, Message("a", b"1234"))


def test_nothing_is_retained_where_the_policy_says_so() -> None:
    policy = Policy(retained=False)
    check_policy(policy, Message("a", b""))
    with pytest.raises(InvalidCommand, match=r"topic 'a' retains nothing \(policies.retained\)"):
        check_policy(policy, Message("a", b"", retained=True))


@pytest.mark.parametrize(
    ("topic_filter", "overflow"),
    [
        ("a/c", "latest"),
        ("a/b", "drop-oldest"),  # more levels spelt out
        ("a/+", "latest"),  # all that it matches has that policy
        ("a/#", "disconnect"),  # not all of it has: `a` itself
        ("a/b/#", "drop-oldest"),
        ("#", "disconnect"),
    ],
)
def test_the_overflow_of_a_filter_is_that_of_the_longest_policy_that_covers_it(
    topic_filter: str, overflow: str
) -> None:
    entries = [("a/+", Policy(overflow="latest")), ("a/b/#", Policy(overflow="drop-oldest"))]
    assert PolicyTable(Policy(), entries).overflow(topic_filter) == overflow


def test_wildcards_do_not_reach_the_brokers_own_topics() -> None:
    """MQTT 5.0 [MQTT-4.7.2-1]"""
    assert named("#").policy("$SYS/load").messages == 0
    assert named("#", "$SYS/#").policy("$SYS/load").messages == 2


def test_an_entry_has_to_be_a_topic_filter() -> None:
    with pytest.raises(InvalidFilter):
        named("a/#/b")
