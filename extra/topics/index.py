"""The reverse look-up: which of the topics that we know does a filter match?"""

from collections.abc import Iterator
from typing import final

from mypy_extensions import mypyc_attr

from extra.topics.names import check_filter, check_topic, has_wildcard
from extra.topics.trie import LevelTrie

__all__ = ["TopicIndex"]


@final
@mypyc_attr(native_class=True)
class TopicIndex:
    """A set of topics that knows which of them a filter matches.

    In a set of a million, a topic takes some 125 bytes besides its own.
    """

    def __init__(self) -> None:
        self._topics: set[str] = set()
        self._trie = LevelTrie()

    def __len__(self) -> int:
        return len(self._topics)

    def __contains__(self, topic: object) -> bool:
        return topic in self._topics

    def __iter__(self) -> Iterator[str]:
        return iter(self._topics)

    def add(self, topic: str) -> None:
        """Add `topic`; where it is there already, nothing changes.

        Raises:
            InvalidTopic: `topic` is none, see `check_topic`.
        """
        if topic in self._topics:
            return
        check_topic(topic)
        self._topics.add(topic)
        self._trie.add(topic)

    def discard(self, topic: str) -> None:
        """Remove `topic`, if it is there, and all that was kept for it."""
        if topic in self._topics:
            self._topics.remove(topic)
            self._trie.remove(topic)

    def matching(self, topic_filter: str, limit: int | None = None) -> list[str]:
        """Return the topics that `topic_filter` matches, in no particular order. The list is the caller's.

        With a `limit` it stops at so many: which ones is not said. Cost: one look-up without wildcards; else
        a step per topic found and per branch that `+` has to try.

        Raises:
            InvalidFilter: `topic_filter` is none, see `check_filter`.
        """
        if topic_filter in self._topics:
            return [topic_filter] if limit is None or limit > 0 else []
        check_filter(topic_filter)
        return self._trie.topics_matching(topic_filter, limit) if has_wildcard(topic_filter) else []

    def steps(self) -> int:
        """Return how many steps all calls of `matching_within` so far have taken."""
        return self._trie.steps

    def matching_within(self, topic_filter: str, limit: int, steps: int) -> list[str] | None:
        """Do what `matching` does, if `steps` are enough for it; None when they are not.

        Many topics are many steps: a filter such as `+/x` has to look at every first level. Raises as
        `matching` does.
        """
        if topic_filter in self._topics or not has_wildcard(topic_filter):
            return self.matching(topic_filter, limit)
        if not self._topics:
            return []
        check_filter(topic_filter)
        return self._trie.topics_matching_within(topic_filter, limit, steps)
