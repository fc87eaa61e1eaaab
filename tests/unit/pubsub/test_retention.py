import pytest

from extra.errors import InvalidFilter
from extra.pubsub import DEFAULT_POLICY, Policy, PolicyTable


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


def test_of_equals_the_first_wins() -> None:
    assert named("+/b", "a/+").policy("a/b").messages == 1
    assert named("a/+", "+/b").policy("a/b").messages == 1


def test_wildcards_do_not_reach_the_brokers_own_topics() -> None:
    """MQTT 5.0 [MQTT-4.7.2-1]"""
    assert named("#").policy("$SYS/load").messages == 0
    assert named("#", "$SYS/#").policy("$SYS/load").messages == 2


def test_an_entry_has_to_be_a_topic_filter() -> None:
    with pytest.raises(InvalidFilter):
        named("a/#/b")
