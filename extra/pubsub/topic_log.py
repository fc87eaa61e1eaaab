"""The messages of one topic, oldest first, and reading a few topics in one order.

Plain data: what a topic keeps, and what counts as lost, the log says.
"""

import heapq
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.pubsub.message import Message
from extra.pubsub.retention import PolicyTable

__all__ = ["TopicLog", "before_last", "merge"]

NAME_UNIT_CHARACTERS: Final = 256
NAME_UNIT_LEVELS: Final = 4
"""A name counts as one topic more for each of these: a level that two names share takes some 230 bytes."""


@final
@mypyc_attr(native_class=True)
class TopicLog:
    """The messages of one topic, oldest first: `messages[first:]`.

    What is before `first` is None, and cut off in time. `last_offset` is that of the newest message that
    there ever was, as far as that is known, or 0. `evicted_until` is the highest offset that the topic has
    lost, `any_evicted_until` the highest that any topic had lost by then. `is_closed` says that the newest
    message is the topic's last.
    """

    __slots__ = (
        "any_evicted_until",
        "evicted_until",
        "first",
        "is_closed",
        "last_offset",
        "messages",
        "policies",
        "policy",
        "size",
        "topic",
        "weight",
    )

    def __init__(self, topic: str, policies: PolicyTable) -> None:
        self.topic = topic
        self.policies = policies
        self.policy = policies.policy(topic)
        self.messages: list[Message | None] = []
        self.first = 0
        self.size = 0
        self.weight = 1 + len(topic) // NAME_UNIT_CHARACTERS + topic.count("/") // NAME_UNIT_LEVELS
        self.last_offset = 0
        self.is_closed = False
        self.evicted_until = 0
        self.any_evicted_until = 0

    def __len__(self) -> int:
        return len(self.messages) - self.first

    def at(self, index: int) -> Message:
        """Return the message that stands at `index` of `messages`: not below `first`."""
        message = self.messages[index]
        assert message is not None
        return message

    def oldest(self) -> Message:
        return self.at(self.first)

    def append(self, message: Message) -> None:
        self.messages.append(message)
        self.last_offset = max(self.last_offset, message.offset)
        self.is_closed = message.close is True
        self.size += message.size

    def evict(self) -> Message:
        """Take out the oldest message."""
        message = self.oldest()
        self.messages[self.first] = None
        self.first += 1
        if self.first == len(self.messages) or (self.first > 32 and self.first * 2 > len(self.messages)):
            del self.messages[: self.first]
            self.first = 0
        self.size -= message.size
        return message

    def index_after(self, offset: int) -> int:
        """Return where the first message above `offset` stands in `messages`. Cost: log of their number."""
        low = self.first
        high = len(self.messages)
        while low < high:
            middle = (low + high) // 2
            if self.at(middle).offset > offset:
                high = middle
            else:
                low = middle + 1
        return low


def merge(topic_logs: list[TopicLog], after: int, until: int, limit: int) -> tuple[list[Message], int]:
    """Read by merging the logs of a few topics."""
    merged: list[Message] = []
    if len(topic_logs) == 1:
        topic_log = topic_logs[0]
        for index in range(topic_log.index_after(after), len(topic_log.messages)):
            message = topic_log.at(index)
            if message.offset > until:
                break
            merged.append(message)
            if len(merged) == limit:
                return merged, message.offset
        return merged, until
    heap: list[tuple[int, int, TopicLog]] = []
    for topic_log in topic_logs:
        index = topic_log.index_after(after)
        if index < len(topic_log.messages):
            heap.append((topic_log.at(index).offset, index, topic_log))
    heapq.heapify(heap)
    while heap:
        offset, index, topic_log = heap[0]
        if offset > until:
            break
        merged.append(topic_log.at(index))
        if len(merged) == limit:
            return merged, offset
        if index + 1 < len(topic_log.messages):
            heapq.heapreplace(heap, (topic_log.at(index + 1).offset, index + 1, topic_log))
        else:
            heapq.heappop(heap)
    return merged, until


def before_last(topic_logs: list[TopicLog], count: int, time: float) -> int:
    """Return the offset after which the last `count` messages of a few topics lie, or 0."""
    heap = [  # negative offsets: the newest comes first
        (-topic_log.at(-1).offset, len(topic_log.messages) - 1, topic_log)
        for topic_log in topic_logs
        if len(topic_log) > 0
    ]
    heapq.heapify(heap)
    while heap:
        _, index, topic_log = heap[0]
        message = topic_log.at(index)
        if not message.is_expired(time):
            count -= 1
            if count == 0:
                return message.offset - 1
        if index > topic_log.first:
            heapq.heapreplace(heap, (-topic_log.at(index - 1).offset, index - 1, topic_log))
        else:
            heapq.heappop(heap)
    return 0
