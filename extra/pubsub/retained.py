"""Retained messages: the last one kept on a topic for those who come later (MQTT 5.0 section 3.3.1.3).

They are kept apart from the log, so that retention does not evict them. A message that was kept and has
expired is let go when somebody meets it, or by `sweep`.
"""

from typing import final

from mypy_extensions import mypyc_attr

from extra.errors import LimitExceeded
from extra.pubsub.journal import Journal
from extra.pubsub.message import Message
from extra.pubsub.retention import PolicyTable
from extra.pubsub.search import SEARCH_STEPS, Search
from extra.topics import FilterUnion, TopicIndex

__all__ = ["RetainedMessages"]


@final
@mypyc_attr(native_class=True)
class RetainedMessages:
    """The retained messages by topic, bounded in number and in bytes. `size` is the sum of their sizes.

    What is let go of is noted in `journal`, where there is one.
    """

    def __init__(self, *, limit_messages: int = 100_000, limit_bytes: int = 64 * 1024 * 1024) -> None:
        self.limit_messages = limit_messages
        self.limit_bytes = limit_bytes
        self.size = 0
        self.messages: dict[str, Message] = {}
        self.index = TopicIndex()
        self.unswept: list[str] = []
        self.policies: PolicyTable | None = None  # that have not been applied to all topics yet
        self.unapplied: list[str] = []
        self.journal: Journal | None = None

    def __len__(self) -> int:
        return len(self.messages)

    def check_room(self, message: Message) -> None:
        """Raise LimitExceeded when `message` could not be retained. Called before it goes into the log."""
        former = self.messages.get(message.topic)
        if former is None and len(self.messages) >= self.limit_messages:
            raise LimitExceeded(
                f"{self.limit_messages} messages are retained already (broker.retained_limit_messages)"
            )
        size = self.size + message.size - (former.size if former is not None else 0)
        if size > self.limit_bytes:
            raise LimitExceeded(
                f"retained messages would take {size} bytes of {self.limit_bytes}"
                " (broker.retained_limit_bytes)"
            )

    def put(self, message: Message) -> None:
        """Retain a message in place of the one before on its topic."""
        self.clear(message.topic)
        self.messages[message.topic] = message
        self.index.add(message.topic)
        self.size += message.size

    def clear(self, topic: str) -> bool:
        """Let go of what a topic retains; return whether there was anything."""
        message = self.messages.pop(topic, None)
        if message is None:
            return False
        self.index.discard(topic)
        self.size -= message.size
        if self.journal is not None:
            self.journal.unretained.append(message.offset)
        return True

    def matching(self, filters: list[str]) -> "MatchingRetained":
        """Return the search for what is retained on any topic that matches."""
        return MatchingRetained(self, filters)

    def apply(self, policies: PolicyTable) -> None:
        """Let go of what is on topics that are to retain nothing, as `sweep` comes to it."""
        self.policies = policies
        self.unapplied = list(self.messages)

    def sweep(self, time: float, budget: int = 10_000) -> None:
        """Let go of what has expired among the next `budget` topics, going on where the last call ended.

        And of what may not be retained among the next tenth of it, where policies have been applied.
        """
        if self.policies is not None:
            for _ in range(min(budget // 10, len(self.unapplied))):
                topic = self.unapplied.pop()
                if topic in self.messages and not self.policies.policy(topic).retained:
                    self.clear(topic)
            if not self.unapplied:
                self.policies = None
        if not self.unswept:
            self.unswept = list(self.messages)
        for _ in range(min(budget, len(self.unswept))):
            topic = self.unswept.pop()
            message = self.messages.get(topic)
            if message is not None and message.is_expired(time):
                self.clear(topic)


@final
@mypyc_attr(native_class=True)
class MatchingRetained(Search):
    """The search for what is retained on any topic that any of `filters` matches.

    What is retained, or let go of, while it is under way is found or not. Cost: one step per topic that
    matches a filter; one or more per retained message when those are not found soon.
    """

    def __init__(self, retained: RetainedMessages, filters: list[str]) -> None:
        self.retained = retained
        self.union = FilterUnion(filters)
        self.topics: list[str] | None = None  # still to be looked at, unless they are few and found at once
        self.found: dict[int, Message] = {}

    def advance(self, now: float, time: float) -> bool:
        if self.topics is None:
            if self._find_few(time):
                return True
            self.topics = list(self.retained.messages)
        union = self.union
        last_steps = union.steps + SEARCH_STEPS
        while self.topics and union.steps < last_steps:
            topic = self.topics.pop()
            if union.matches(topic):
                self._take(topic, time)
        return not self.topics

    def messages(self) -> list[Message]:
        """Return what was found, in offset order, each once."""
        return [self.found[offset] for offset in sorted(self.found)]

    def _find_few(self, time: float) -> bool:
        """Look the topics up, unless that takes too long."""
        if not self.union.is_few():
            return False
        index = self.retained.index
        for topic_filter in self.union.filters:
            topics = index.matching_within(topic_filter, SEARCH_STEPS, SEARCH_STEPS)
            if topics is None or len(topics) == SEARCH_STEPS:
                return False
            for topic in topics:
                self._take(topic, time)
        return True

    def _take(self, topic: str, time: float) -> None:
        message = self.retained.messages.get(topic)
        if message is None:
            return  # let go of a moment ago
        if message.is_expired(time):
            self.retained.clear(topic)
        else:
            self.found[message.offset] = message
