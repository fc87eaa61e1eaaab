"""Topics and topic filters: their rules, and the look-ups between them.

The rules are those of MQTT 5.0 section 4.7. `FilterTree` finds the items whose filter matches a topic,
`TopicIndex` the topics that a filter matches. Plain data, for one thread at a time: no I/O, no clock.
"""

from extra.topics.index import TopicIndex
from extra.topics.names import (
    MAX_LEVELS,
    MAX_TOPIC_BYTES,
    check_filter,
    check_topic,
    covers,
    filter_from_url,
    has_wildcard,
    matches,
    overlap,
)
from extra.topics.tree import FilterTree, TreeStatistics
from extra.topics.union import FilterUnion

__all__ = [
    "MAX_LEVELS",
    "MAX_TOPIC_BYTES",
    "FilterTree",
    "FilterUnion",
    "TopicIndex",
    "TreeStatistics",
    "check_filter",
    "check_topic",
    "covers",
    "filter_from_url",
    "has_wildcard",
    "matches",
    "overlap",
]
