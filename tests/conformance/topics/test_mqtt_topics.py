"""MQTT 5.0 sections 4.7 and 1.5.4, clause by clause, examples of the non-normative comments included."""

import pytest

from extra.errors import InvalidFilter, InvalidTopic
from extra.topics import FilterTree, TopicIndex, check_filter, check_topic, matches

VALID_FILTERS = [
    # 4.7.1.2, multi-level wildcard
    "sport/tennis/player1/#",
    "sport/#",
    "#",
    "sport/tennis/#",
    # 4.7.1.3, single-level wildcard
    "sport/tennis/+",
    "sport/+",
    "+",
    "+/tennis/#",
    "sport/+/player1",
    "+/+",
    "/+",
    # 4.7.2
    "$SYS/#",
    "$SYS/monitor/+",
    "+/monitor/Clients",
]

INVALID_FILTERS = [
    ("sport/tennis#", "4.7.1-1"),
    ("sport/tennis/#/ranking", "4.7.1-1"),
    ("#/", "4.7.1-1"),
    ("##", "4.7.1-1"),
    ("sport+", "4.7.1-2"),
    ("+sport", "4.7.1-2"),
    ("sport/++/player1", "4.7.1-2"),
    ("+#", "4.7.1-2"),
]

VALID_NAMES = [
    "/",  # 4.7.3: names of '/' alone are valid
    "//",
    "/finance",
    "finance/",
    "Accounts payable",
    "$SYS/monitor/Clients",
    "\ufeffbom",  # [MQTT-1.5.4-3]: U+FEFF is a character like any other
    "\U0001d11e/é/日本",
    "x" * 65_535,
]

INVALID_NAMES = [
    ("", "4.7.3-1"),
    ("a\0b", "4.7.3-2, 1.5.4-2"),
    ("x" * 65_536, "4.7.3-3"),
    ("é" * 32_768, "4.7.3-3"),
    ("a/\ud800/b", "1.5.4-1"),
    ("\udfff", "1.5.4-1"),
]

MATCHES = [
    # 4.7.1.2: "sport/tennis/player1/#" receives ...
    ("sport/tennis/player1/#", "sport/tennis/player1", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
    ("sport/tennis/player1/#", "sport/tennis/player2", False),
    ("sport/tennis/player1/#", "sport/tennis/player10", False),
    ("sport/#", "sport", True),  # "#" includes the parent level
    ("sport/#", "sport/", True),
    ("sport/#", "sports", False),
    ("#", "sport/tennis/player1", True),
    ("#", "/", True),
    # 4.7.1.3: "sport/tennis/+" matches player1 and player2, but no level below
    ("sport/tennis/+", "sport/tennis/player1", True),
    ("sport/tennis/+", "sport/tennis/player2", True),
    ("sport/tennis/+", "sport/tennis/player1/ranking", False),
    ("sport/+", "sport", False),
    ("sport/+", "sport/", True),
    ("+/tennis/#", "sport/tennis", True),
    ("+/tennis/#", "sport/tennis/player1", True),
    ("sport/+/player1", "sport/tennis/player1", True),
    ("sport/+/player1", "sport//player1", True),
    ("sport/+/player1", "sport/player1", False),
    # 4.7.1.3: "/finance" matches "+/+" and "/+", but not "+"
    ("+/+", "/finance", True),
    ("/+", "/finance", True),
    ("+", "/finance", False),
    ("+", "finance", True),
    ("/+", "finance", False),
    # 4.7.2, [MQTT-4.7.2-1]
    ("#", "$SYS/", False),
    ("#", "$SYS", False),
    ("+", "$SYS", False),
    ("+/#", "$SYS/monitor", False),
    ("+/monitor/Clients", "$SYS/monitor/Clients", False),
    ("$SYS/#", "$SYS/", True),
    ("$SYS/#", "$SYS", True),
    ("$SYS/#", "$SYS/monitor/Clients", True),
    ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
    ("sport/+", "sport/$player", True),  # only the beginning of the topic counts
    ("sport/#", "sport/$player", True),
    ("/+", "/$SYS", True),
    # 4.7.3: case-sensitive, spaces kept, a leading or trailing '/' makes another topic
    ("ACCOUNTS", "ACCOUNTS", True),
    ("ACCOUNTS", "Accounts", False),
    ("Accounts payable", "Accounts payable", True),
    ("Accounts payable", "Accountspayable", False),
    ("/finance", "/finance", True),
    ("/finance", "finance", False),
    ("finance/", "finance", False),
    ("a//b", "a//b", True),
    ("a//b", "a/b", False),
    ("/", "/", True),
    ("/", "//", False),
    # [MQTT-4.7.3-4]: no normalization (e with acute, composed and not), no substitution
    ("caf\u00e9", "caf\u00e9", True),
    ("caf\u00e9", "cafe\u0301", False),
    ("\ufeffa", "a", False),
    ("a", "a\u200b", False),
]


@pytest.mark.parametrize("topic_filter", [*VALID_FILTERS, *VALID_NAMES])
def test_valid_topic_filters_pass(topic_filter: str) -> None:
    """Sections 4.7.1.2, 4.7.1.3 and 4.7.3."""
    check_filter(topic_filter)


@pytest.mark.parametrize(("topic_filter", "clause"), [*INVALID_FILTERS, *INVALID_NAMES])
def test_invalid_topic_filters_are_refused(topic_filter: str, clause: str) -> None:
    """[MQTT-4.7.1-1], [MQTT-4.7.1-2], and what holds for topics and filters alike."""
    with pytest.raises(InvalidFilter):
        check_filter(topic_filter)


@pytest.mark.parametrize("topic", VALID_NAMES)
def test_valid_topics_pass(topic: str) -> None:
    """Section 4.7.3, [MQTT-1.5.4-3]."""
    check_topic(topic)


@pytest.mark.parametrize(("topic", "clause"), INVALID_NAMES)
def test_invalid_topics_are_refused(topic: str, clause: str) -> None:
    """[MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-4.7.3-3], [MQTT-1.5.4-1]."""
    with pytest.raises(InvalidTopic):
        check_topic(topic)


@pytest.mark.parametrize("topic", ["sport/+", "#", "a+b", "a#", "sport/#/x", "+"])
def test_wildcards_are_refused_in_topics(topic: str) -> None:
    """[MQTT-4.7.0-1]: wildcards in topic filters only."""
    with pytest.raises(InvalidTopic):
        check_topic(topic)


@pytest.mark.parametrize(("topic_filter", "topic", "expected"), MATCHES)
def test_matching_follows_the_specification(topic_filter: str, topic: str, expected: bool) -> None:
    """Sections 4.7.1 to 4.7.3, asked in the three ways that the package has."""
    tree: FilterTree[str] = FilterTree()
    tree.add(topic_filter, "subscriber")
    index = TopicIndex()
    index.add(topic)
    assert matches(topic_filter, topic) is expected
    assert tree.match(topic) == (["subscriber"] if expected else [])
    assert index.matching(topic_filter) == ([topic] if expected else [])


def test_ordinary_and_dollar_topics_take_two_subscriptions() -> None:
    """4.7.2: to receive topics that start with `$SYS/` and others, subscribe to `#` and to `$SYS/#`."""
    tree: FilterTree[str] = FilterTree()
    tree.add("#", "all")
    tree.add("$SYS/#", "system")
    assert tree.match("$SYS/uptime") == ["system"]
    assert tree.match("sport") == ["all"]


def test_one_subscriber_appears_for_each_of_its_overlapping_filters() -> None:
    """3.3.4: a client's subscriptions may overlap; each is matched by itself."""
    tree: FilterTree[str] = FilterTree()
    for topic_filter in ("a/b", "a/+", "a/#", "+/b", "#"):
        tree.add(topic_filter, "subscriber")
    assert tree.match("a/b") == ["subscriber"] * 5
