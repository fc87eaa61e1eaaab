"""The log in memory: one order over all topics, retention by topic and in total, and an honest answer to "is
anything missing?".

How it works. Messages live twice: in the `TopicLog` of their topic, and in blocks of `BLOCK` consecutive
offsets, so that eviction from anywhere costs one step and reading on from any offset skips what is gone a
block at a time. A topic remembers `evicted_until`, the highest offset that it has lost. A topic that has lost
everything stays known by that number alone, until more than `topics_limit` topics are known; then the one
that ran empty first is forgotten and its number goes into `forgotten_until`, which counts against every
filter: forgetting errs towards telling of a loss.

Reading a filter takes the cheaper of two ways: merging the topics that match, when those are few, or walking
the blocks. Neither does unbounded work in one call: a read stops after `limit` messages or `SCAN_LIMIT`
offsets and says how far it came.

Alternatives that lost: a list per log with holes (one quiet topic with long retention keeps every hole behind
it), a linked list through the messages (seeking an offset walks it), only per-topic logs (reading `#` merges
a million).

Invariants between calls: a message is in its topic's log if and only if it is in its block; offsets rise in
both; `size` is the sum of the messages' sizes; an empty topic is in `empty`, any other is not; time never
enters but as `now`.
"""

import heapq
from collections import OrderedDict
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.pubsub.message import Message
from extra.pubsub.retention import DEFAULT_POLICY, Policy, PolicyTable
from extra.topics import TopicIndex, has_wildcard, matches

__all__ = ["Log", "Slice"]

BLOCK: Final = 1024
MERGE_LIMIT_TOPICS: Final = 1000
"""Up to so many matching topics are merged; beyond, the blocks are walked."""
SCAN_LIMIT: Final = 16_384
"""So many offsets are walked in one read at most: about 5 ms."""


@final
@mypyc_attr(native_class=True)
class Slice:
    """What one read found: `messages` in offset order, all there is up to `position`.

    `evicted_until` is the highest offset above the one asked for that a matching topic has lost, or 0.
    """

    __slots__ = ("evicted_until", "messages", "position")

    def __init__(self, messages: list[Message], position: int, evicted_until: int) -> None:
        self.messages = messages
        self.position = position
        self.evicted_until = evicted_until


@final
@mypyc_attr(native_class=True)
class TopicLog:
    """The messages of one topic, oldest first: `messages[first:]`.

    What is before `first` is None, and cut off in time.
    """

    __slots__ = ("evicted_until", "first", "messages", "policy", "size", "topic")

    def __init__(self, topic: str, policy: Policy) -> None:
        self.topic = topic
        self.policy = policy
        self.messages: list[Message | None] = []
        self.first = 0
        self.size = 0
        self.evicted_until = 0

    def __len__(self) -> int:
        return len(self.messages) - self.first

    def oldest(self) -> Message:
        message = self.messages[self.first]
        assert message is not None
        return message

    def append(self, message: Message) -> None:
        self.messages.append(message)
        self.size += message.size

    def evict(self) -> Message:
        """Take out the oldest message."""
        message = self.oldest()
        self.messages[self.first] = None
        self.first += 1
        if self.first > 32 and self.first * 2 > len(self.messages):
            del self.messages[: self.first]
            self.first = 0
        self.size -= message.size
        self.evicted_until = message.offset
        return message

    def index_after(self, offset: int) -> int:
        """Return where the first message above `offset` stands in `messages`. Cost: log of their number."""
        low = self.first
        high = len(self.messages)
        while low < high:
            middle = (low + high) // 2
            message = self.messages[middle]
            assert message is not None
            if message.offset > offset:
                high = middle
            else:
                low = middle + 1
        return low


@final
@mypyc_attr(native_class=True)
class Log:
    """One life of a log, in memory. Nothing here awaits, reads a clock or draws at random.

    Every call that depends on the moment takes it: `now` in monotonic seconds, by which messages age, and
    `time` in Unix seconds, by which they expire. `head` is the offset of the newest message, `size` counts
    bytes.
    """

    def __init__(
        self,
        epoch: str,
        policies: PolicyTable | None = None,
        *,
        total_limit_bytes: int = 256 * 1024 * 1024,
        topics_limit: int = 1_000_000,
    ) -> None:
        self.epoch = epoch
        self.policies = policies if policies is not None else PolicyTable(DEFAULT_POLICY)
        self.total_limit_bytes = total_limit_bytes
        self.topics_limit = topics_limit
        self.head = 0
        self.size = 0
        self.length = 0
        self.evicted = 0
        self.last_evicted = 0
        self.forgotten_until = 0
        self.topics: dict[str, TopicLog] = {}
        self.empty: OrderedDict[str, None] = OrderedDict()
        self.index = TopicIndex()
        self.blocks: dict[int, dict[int, Message]] = {}
        self.oldest_block = 0
        self.unswept: list[str] = []

    def __len__(self) -> int:
        return self.length

    def append(self, message: Message, now: float, time: float) -> int:
        """Put a message at the end, evict what is then too much, and return its offset.

        Cost: constant, plus what is evicted.
        """
        self.head += 1
        offset = self.head
        message.place(self.epoch, offset, now, time)
        topic_log = self.topics.get(message.topic)
        if topic_log is None:
            topic_log = TopicLog(message.topic, self.policies.policy(message.topic))
            self.topics[message.topic] = topic_log
            self.index.add(message.topic)
        elif len(topic_log) == 0:
            del self.empty[message.topic]
        topic_log.append(message)
        number = offset // BLOCK
        block = self.blocks.get(number)
        if block is None:
            block = {}
            self.blocks[number] = block
        block[offset] = message
        self.length += 1
        self.size += message.size
        self._trim(topic_log, now, time)
        while self.size > self.total_limit_bytes:
            self._evict(self.topics[self._oldest().topic], time)
        while len(self.topics) > self.topics_limit:
            self._forget(time)
        return offset

    def read(
        self,
        filters: list[str],
        after: int,
        until: int,
        limit: int,
        now: float,
        time: float,
        *,
        limit_bytes: int = 1 << 62,
    ) -> Slice:
        """Read what any of `filters` matches, above offset `after` and up to `until`, in offset order.

        Stops after `limit` messages, when the next would pass `limit_bytes` (the first is always given), or
        when it has walked far enough for one call: go on from `position` while it is below `until`. Expired
        messages are left out.
        """
        until = min(until, self.head)
        topic_logs = self._matching(filters, MERGE_LIMIT_TOPICS)
        if topic_logs is not None:
            for topic_log in topic_logs:
                self._trim(topic_log, now, time)
            messages, position = _merge(topic_logs, after, until, limit)
        else:
            messages, position = self._walk(filters, after, until, limit, now, time)
        evicted_until = self._evicted_until(filters, after, topic_logs)
        taken: list[Message] = []
        size = 0
        for message in messages:
            if message.is_expired(time):
                continue
            size += message.size
            if size > limit_bytes and taken:
                position = taken[-1].offset
                break
            taken.append(message)
        return Slice(taken, max(position, after), evicted_until)

    def before_last(self, filters: list[str], count: int, now: float, time: float) -> int:
        """Return the offset after which the last `count` matching messages lie; 0 when there are not so many.

        Cost: as many steps as messages lie behind the answer, or one per matching topic.
        """
        if count <= 0:
            return self.head
        topic_logs = self._matching(filters, MERGE_LIMIT_TOPICS)
        offsets: list[int] = []
        if topic_logs is not None:
            for topic_log in topic_logs:
                self._trim(topic_log, now, time)
                for message in topic_log.messages[max(topic_log.first, len(topic_log.messages) - count) :]:
                    assert message is not None
                    offsets.append(message.offset)
            offsets.sort()
            return offsets[-count] - 1 if len(offsets) >= count else 0
        for number in range(self.head // BLOCK, self.oldest_block - 1, -1):
            block = self.blocks.get(number)
            if block is None:
                continue
            for message in reversed(block.values()):
                if self._is_aged(message, now) or not _matches_any(filters, message.topic):
                    continue
                count -= 1
                if count == 0:
                    return message.offset - 1
        return 0

    def sweep(self, now: float, time: float, budget: int = 10_000) -> None:
        """Evict by age in up to `budget` topics, going on where the last call ended.

        To be called every second or so.

        Readers never see a message that is too old, swept or not: this gives the memory back.
        """
        if not self.unswept:
            self.unswept = list(self.topics)
        for _ in range(min(budget, len(self.unswept))):
            topic_log = self.topics.get(self.unswept.pop())
            if topic_log is not None:
                self._trim(topic_log, now, time)

    def _matching(self, filters: list[str], limit: int) -> list[TopicLog] | None:
        """Return the logs of the topics that match, each once, or None when there are more than `limit`."""
        names: dict[str, None] = {}
        for topic_filter in filters:
            if has_wildcard(topic_filter):
                for name in self.index.matching(topic_filter):
                    names[name] = None
            elif topic_filter in self.topics:
                names[topic_filter] = None
            if len(names) > limit:
                return None
        return [self.topics[name] for name in names]

    def _walk(
        self, filters: list[str], after: int, until: int, limit: int, now: float, time: float
    ) -> tuple[list[Message], int]:
        """Read by walking the blocks. What is found too old on the way is evicted, and not given."""
        found: list[Message] = []
        aged: list[Message] = []
        walked = 0
        offset = max(after, self.oldest_block * BLOCK - 1)
        position = until
        for number in range((offset + 1) // BLOCK, until // BLOCK + 1):
            block = self.blocks.get(number)
            if block is None:
                continue
            for message in block.values():
                if message.offset <= after:
                    continue
                if message.offset > until:
                    break
                walked += 1
                if self._is_aged(message, now):
                    aged.append(message)
                elif _matches_any(filters, message.topic):
                    found.append(message)
                if len(found) == limit or walked == SCAN_LIMIT:
                    position = message.offset
                    break
            if len(found) == limit or walked == SCAN_LIMIT:
                break
        for message in aged:
            self._trim(self.topics[message.topic], now, time)
        return found, position

    def _evicted_until(self, filters: list[str], after: int, topic_logs: list[TopicLog] | None) -> int:
        if after >= self.last_evicted:
            return 0
        found = self.forgotten_until
        if topic_logs is not None:
            for topic_log in topic_logs:
                found = max(found, topic_log.evicted_until)
        else:
            for topic_filter in filters:
                for name in self.index.matching(topic_filter):
                    found = max(found, self.topics[name].evicted_until)
        return found if found > after else 0

    def _is_aged(self, message: Message, now: float) -> bool:
        return message.appended_at + self.topics[message.topic].policy.age_s <= now

    def _trim(self, topic_log: TopicLog, now: float, time: float) -> None:
        """Evict what the topic's policy no longer keeps."""
        policy = topic_log.policy
        while len(topic_log) > 0 and (
            len(topic_log) > policy.messages
            or topic_log.size > policy.topic_limit_bytes
            or topic_log.oldest().appended_at + policy.age_s <= now
        ):
            self._evict(topic_log, time)

    def _evict(self, topic_log: TopicLog, time: float) -> None:
        """Evict the oldest message of a topic. One that has expired is no loss, and does not count as one."""
        lost_before = topic_log.evicted_until
        message = topic_log.evict()
        if message.is_expired(time):
            topic_log.evicted_until = lost_before
        else:
            self.last_evicted = max(self.last_evicted, message.offset)
        number = message.offset // BLOCK
        block = self.blocks[number]
        del block[message.offset]
        if not block:
            del self.blocks[number]
        self.length -= 1
        self.size -= message.size
        self.evicted += 1
        if len(topic_log) == 0:
            self.empty[topic_log.topic] = None

    def _oldest(self) -> Message:
        while self.oldest_block not in self.blocks:
            self.oldest_block += 1
        return next(iter(self.blocks[self.oldest_block].values()))

    def _forget(self, time: float) -> None:
        """Make the log know one topic less."""
        if not self.empty:
            self._evict(self.topics[self._oldest().topic], time)
            return
        name, _ = self.empty.popitem(last=False)
        topic_log = self.topics.pop(name)
        self.index.discard(name)
        self.forgotten_until = max(self.forgotten_until, topic_log.evicted_until)


def _merge(topic_logs: list[TopicLog], after: int, until: int, limit: int) -> tuple[list[Message], int]:
    """Read by merging the logs of a few topics."""
    if len(topic_logs) == 1:
        topic_log = topic_logs[0]
        found: list[Message] = []
        for index in range(topic_log.index_after(after), len(topic_log.messages)):
            message = topic_log.messages[index]
            assert message is not None
            if message.offset > until:
                break
            found.append(message)
            if len(found) == limit:
                return found, message.offset
        return found, until
    heap: list[tuple[int, int, TopicLog]] = []
    for topic_log in topic_logs:
        index = topic_log.index_after(after)
        if index < len(topic_log.messages):
            message = topic_log.messages[index]
            assert message is not None
            heap.append((message.offset, index, topic_log))
    heapq.heapify(heap)
    merged: list[Message] = []
    while heap:
        offset, index, topic_log = heap[0]
        if offset > until:
            break
        message = topic_log.messages[index]
        assert message is not None
        merged.append(message)
        if len(merged) == limit:
            return merged, offset
        if index + 1 < len(topic_log.messages):
            following = topic_log.messages[index + 1]
            assert following is not None
            heapq.heapreplace(heap, (following.offset, index + 1, topic_log))
        else:
            heapq.heappop(heap)
    return merged, until


def _matches_any(filters: list[str], topic: str) -> bool:
    return any(matches(topic_filter, topic) for topic_filter in filters)
