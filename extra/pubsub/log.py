"""The log in memory: one order over all topics, retention by topic and in total, and an honest answer to "is
anything missing?".

How it works. Messages live twice: in the `TopicLog` of their topic, and in blocks of `BLOCK` consecutive
offsets, so that eviction from anywhere costs one step and reading on from any offset skips what is gone a
block at a time. A topic remembers `evicted_until`, the highest offset that it has lost. A topic that has lost
everything stays known by that number alone, until more than `topics_limit` topics are known; then the one
that ran empty first is forgotten and its number goes into `forgotten_until`, which counts against every
filter: forgetting errs towards telling of a loss. When none is empty, the topic of the oldest message is made
so. A long or deep name counts as several topics, so that what is known is bounded in bytes too.

Reading a filter takes the cheaper of two ways: merging the topics that match, when those are few, or walking
the blocks. Neither does unbounded work in one call: a read stops after `limit` messages or `SEARCH_STEPS`
steps and says how far it came.

Alternatives that lost: a list per log with holes (one quiet topic with long retention keeps every hole behind
it), a linked list through the messages (seeking an offset walks it), only per-topic logs (reading `#` merges
a million).

Invariants between calls: a message is in its topic's log if and only if it is in its block; offsets rise in
both; `size` is the sum of the messages' sizes, `weight` that of the topics' weights; an empty topic is in
`empty`, any other is not; a topic that has lost something is in `losers`; time never enters but as `now` and
`time`.
"""

from collections import OrderedDict
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.pubsub.ends import End
from extra.pubsub.journal import Journal
from extra.pubsub.message import Message
from extra.pubsub.retention import DEFAULT_POLICY, Policy, PolicyTable
from extra.pubsub.search import SEARCH_STEPS, Search
from extra.pubsub.topic_log import TopicLog, before_last, merge
from extra.topics import FilterUnion, TopicIndex, has_wildcard

__all__ = ["Log", "Slice"]

BLOCK: Final = 1024
MERGE_LIMIT_TOPICS: Final = 1000
"""Up to so many matching topics are merged; beyond, the blocks are walked."""
LOSS_STEPS: Final = 65_536
"""So many steps are taken to find out what a filter's topics have lost: then a loss is assumed."""
LOSERS_LIMIT: Final = 4096
"""So many topics are looked at in the order of their losses, before all that match are."""
NO_BLOCK: Final[dict[int, Message]] = {}
ALL_TOPICS: Final = 1 << 62


@final
@mypyc_attr(native_class=True)
class Slice:
    """What one read found: `messages` in offset order, all there is up to `position`.

    `evicted_until` is the highest offset above the one asked for that a matching topic has lost, or 0. It may
    lie above `position`, and above where the read was to end.
    """

    __slots__ = ("evicted_until", "messages", "position")

    def __init__(self, messages: list[Message], position: int, evicted_until: int) -> None:
        self.messages = messages
        self.position = position
        self.evicted_until = evicted_until


@final
@mypyc_attr(native_class=True)
class Log:
    """One life of a log, in memory. Nothing here awaits, reads a clock or draws at random.

    Every call that depends on the moment takes it: `now` in monotonic seconds, by which messages age, and
    `time` in Unix seconds, by which they expire. `head` is the offset of the newest message, `size` counts
    bytes. `losers` has the topics that have lost something, in the order of their last loss. What goes is
    noted in `journal`, where there is one.
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
        self.weight = 0
        self.length = 0
        self.evicted = 0
        self.evicted_until = 0
        self.forgotten_until = 0
        self.topics: dict[str, TopicLog] = {}
        self.empty: OrderedDict[str, None] = OrderedDict()
        self.losers: OrderedDict[str, TopicLog] = OrderedDict()
        self.index = TopicIndex()
        self.blocks: OrderedDict[int, dict[int, Message]] = OrderedDict()
        self.unswept: list[str] = []
        self.journal: Journal | None = None

    def __len__(self) -> int:
        return self.length

    def append(self, message: Message, now: float, time: float) -> int:
        """Put a message at the end, evict what is then too much, and return its offset.

        Cost: constant, plus what is evicted.
        """
        self.head += 1
        message.place(self.epoch, self.head, now, time)
        self._put(message, now, time)
        return self.head

    def restore_topic(self, topic: str, evicted_until: int, time: float) -> None:
        """Know a topic of a former life of the process, and what it had lost.

        To be called by rising `evicted_until`, before any message is restored.
        """
        topic_log = self._know(topic)
        self.empty[topic] = None
        if evicted_until > 0:
            topic_log.last_offset = evicted_until
            topic_log.evicted_until = evicted_until
            topic_log.any_evicted_until = evicted_until
            self.evicted_until = evicted_until
            self.losers[topic] = topic_log
        while self.weight > self.topics_limit:
            self._forget(time)

    def restore(
        self, message: Message, offset: int, appended_at: float, sent_at: float, now: float, time: float
    ) -> None:
        """Put back a message of a former life of the process, and evict what is then too much.

        To be called by rising `offset` and `appended_at`: `now` and `time` of when it was appended.
        """
        self.head = offset
        message.place(self.epoch, offset, appended_at, sent_at)
        self._put(message, now, time)

    def restore_last(self, topic: str, offset: int) -> bool:
        """Know that a topic has had a message at this offset; return whether the topic is known at all."""
        topic_log = self.topics.get(topic)
        if topic_log is None:
            return False
        topic_log.last_offset = max(topic_log.last_offset, offset)
        return True

    def restore_end(self, topic: str, offset: int) -> None:
        """Know that a topic ended with the message at this offset, if nothing came after it."""
        topic_log = self.topics.get(topic)
        if topic_log is not None and topic_log.last_offset == offset:
            topic_log.is_closed = True

    def restore_head(self, head: int, forgotten_until: int) -> None:
        """Go on after `head`, with what is up to `forgotten_until` lost to every filter. Called last."""
        self.head = max(self.head, head)
        self.forgotten_until = max(self.forgotten_until, forgotten_until)
        self.evicted_until = max(self.evicted_until, forgotten_until)

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

        Stops after `limit` messages (1 or more), when the next would pass `limit_bytes` (the first is always
        given), or when it has walked far enough for one call: go on from `position` while it is below
        `until`. Expired messages are left out.
        """
        until = min(until, self.head)
        union = FilterUnion(filters)
        topic_logs = self.trimmed(union, now, time)
        if topic_logs is not None:
            messages, position = merge(topic_logs, after, until, limit)
        else:
            messages, position = self._walk(union, after, until, limit, now, time)
        evicted_until = self._lost(union, after, topic_logs)
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

    def before_last(self, filters: list[str], count: int) -> "BeforeLast":
        """Return the search for the offset after which the last `count` matching messages lie."""
        return BeforeLast(self, filters, count)

    def walk_back(
        self, union: FilterUnion, head: int, count: int, now: float, time: float
    ) -> tuple[int, int]:
        """Look for messages that match at `head` and below, up to `count` of them, from the end.

        Takes a piece of the way. Returns how many are still to be found, and the offset below which to go on.
        """
        left = SEARCH_STEPS + union.steps
        oldest = next(iter(self.blocks), 0)
        number = head // BLOCK
        while number >= oldest:
            left -= 1  # a block that is gone is a step, too
            for message in reversed(self.blocks.get(number, NO_BLOCK).values()):
                if message.offset > head:
                    continue
                if message.is_expired(time) or self._is_aged(message, now):
                    left -= 1
                elif union.matches(message.topic):
                    count -= 1
                if count == 0 or left <= union.steps:
                    return count, message.offset - 1
            number -= 1
            if left <= union.steps:
                return count, number * BLOCK + BLOCK - 1
        return count, 0

    def last_offset(self, topic: str) -> int:
        """Return the offset of a topic's last message, whether the log still has it or not; 0 when none is
        known.
        """
        topic_log = self.topics.get(topic)
        return 0 if topic_log is None else topic_log.last_offset

    def is_closed(self, topic: str) -> bool:
        """Return whether a topic's last message said that it is the last."""
        topic_log = self.topics.get(topic)
        return topic_log is not None and topic_log.is_closed

    def end(self, topic: str, time: float) -> End | None:
        """Return where a topic has ended, None when it has not."""
        topic_log = self.topics.get(topic)
        if topic_log is None or not topic_log.is_closed:
            return None
        is_kept = len(topic_log) > 0 and not topic_log.at(len(topic_log.messages) - 1).is_expired(time)
        return End(topic, self.epoch, topic_log.last_offset, is_kept)

    def policy(self, topic: str) -> Policy:
        """Return the policy of a topic. Cost: one step for a topic that is known."""
        topic_log = self.topics.get(topic)
        return self.policies.policy(topic) if topic_log is None else self._policy(topic_log)

    def set_policies(self, policies: PolicyTable) -> None:
        """Put other policies in place of those that there are.

        A topic takes its own when somebody comes to it, and gives back what is too much by that: the sweep
        begins anew, to come to all of them.
        """
        self.policies = policies
        self.unswept.clear()

    def sweep(self, now: float, time: float, budget: int = 10_000) -> None:
        """Evict by age in up to `budget` topics, going on where the last call ended.

        To be called every second or so. Readers never see a message that is too old, swept or not: this gives
        the memory back.
        """
        if not self.unswept:
            self.unswept = list(self.topics)
        for _ in range(min(budget, len(self.unswept))):
            topic_log = self.topics.get(self.unswept.pop())
            if topic_log is not None:
                self._trim(topic_log, now, time)

    def _put(self, message: Message, now: float, time: float) -> None:
        """Take in a message that has the highest offset, and evict what is then too much."""
        topic_log = self.topics.get(message.topic)
        if topic_log is None:
            topic_log = self._know(message.topic)
        elif len(topic_log) == 0:
            del self.empty[message.topic]
        topic_log.append(message)
        offset = message.offset
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
            self._evict(self._oldest_topic(), time)
        while self.weight > self.topics_limit:
            self._forget(time)

    def _know(self, topic: str) -> TopicLog:
        topic_log = TopicLog(topic, self.policies)
        self.topics[topic] = topic_log
        self.weight += topic_log.weight
        self.index.add(topic)
        return topic_log

    def trimmed(self, union: FilterUnion, now: float, time: float) -> list[TopicLog] | None:
        """Return the logs of the topics that match, rid of what is too old; None when they are too many."""
        topic_logs = self._matching(union)
        if topic_logs is not None:
            for topic_log in topic_logs:
                self._trim(topic_log, now, time)
        return topic_logs

    def _matching(self, union: FilterUnion) -> list[TopicLog] | None:
        """Return the logs of the topics that match, each once, or None when they are too many to merge.

        None as well when they are not found soon, and when wildcards are among many filters, which could all
        match the same topics.
        """
        names: dict[str, None] = {}
        for topic_filter in union.filters:
            if has_wildcard(topic_filter):
                if not union.is_few():
                    return None
                found = self.index.matching_within(topic_filter, MERGE_LIMIT_TOPICS + 1, SEARCH_STEPS)
                if found is None:
                    return None
                for name in found:
                    names[name] = None
            elif topic_filter in self.topics:
                names[topic_filter] = None
            if len(names) > MERGE_LIMIT_TOPICS:
                return None
        return [self.topics[name] for name in names]

    def _walk(
        self, union: FilterUnion, after: int, until: int, limit: int, now: float, time: float
    ) -> tuple[list[Message], int]:
        """Read by walking the blocks. What is found too old on the way is evicted, and not given."""
        found: list[Message] = []
        aged: list[Message] = []
        walked = 0
        position = until
        oldest = next(iter(self.blocks), 0)
        for number in range(max(oldest, (after + 1) // BLOCK), until // BLOCK + 1):
            walked += 1  # a block that is gone is a step, too
            for message in self.blocks.get(number, NO_BLOCK).values():
                if message.offset <= after:
                    continue
                if message.offset > until:
                    break
                if self._is_aged(message, now):
                    walked += 1
                    aged.append(message)
                elif union.matches(message.topic):
                    found.append(message)
                if len(found) == limit or walked + union.steps >= SEARCH_STEPS:
                    position = message.offset
                    break
            if len(found) == limit or walked + union.steps >= SEARCH_STEPS:
                position = min(position, number * BLOCK + BLOCK - 1)
                break
        for message in aged:
            self._trim(self.topics[message.topic], now, time)
        return found, position

    def _lost(self, union: FilterUnion, after: int, topic_logs: list[TopicLog] | None) -> int:
        """Return the highest offset above `after` that a matching topic has lost, or 0."""
        if after >= self.evicted_until:
            return 0
        highest = max(after, self.forgotten_until)
        if topic_logs is not None:
            for topic_log in topic_logs:
                highest = max(highest, topic_log.evicted_until)
        else:
            highest = self._highest_loss(union, highest)
        return highest if highest > after else 0

    def _highest_loss(self, union: FilterUnion, highest: int) -> int:
        """Return the highest offset that a matching topic has lost, or `highest` when that is higher.

        Beginning with the topic that lost something last, this ends where no topic can have lost what is
        higher: soon, as a rule. Where it does not, the topics are looked up; and where even that would take
        too long, they may have lost all that has not been ruled out yet.
        """
        last_steps = union.steps + LOSS_STEPS
        for looked_at, topic_log in enumerate(reversed(self.losers.values())):
            if topic_log.any_evicted_until <= highest:
                return highest
            if looked_at == LOSERS_LIMIT or union.steps >= last_steps:
                return self._highest_loss_of_topics(union, highest, topic_log.any_evicted_until)
            if topic_log.evicted_until > highest and union.matches(topic_log.topic):
                highest = topic_log.evicted_until
        return highest

    def _highest_loss_of_topics(self, union: FilterUnion, highest: int, at_most: int) -> int:
        """Return what `_highest_loss` does, by looking topics up; `at_most` when that takes too long."""
        last_steps = self.index.steps() + LOSS_STEPS
        for topic_filter in union.filters:
            names = self.index.matching_within(topic_filter, ALL_TOPICS, last_steps - self.index.steps())
            if names is None:
                return max(highest, at_most)
            for name in names:
                highest = max(highest, self.topics[name].evicted_until)
        return highest

    def _is_aged(self, message: Message, now: float) -> bool:
        return message.appended_at + self._policy(self.topics[message.topic]).age_s <= now

    def _policy(self, topic_log: TopicLog) -> Policy:
        """Return the policy of a topic that is known, looked up anew where there are others by now."""
        if topic_log.policies is not self.policies:
            topic_log.policies = self.policies
            topic_log.policy = self.policies.policy(topic_log.topic)
        return topic_log.policy

    def _trim(self, topic_log: TopicLog, now: float, time: float) -> None:
        """Evict what the topic's policy no longer keeps."""
        policy = self._policy(topic_log)
        while len(topic_log) > 0 and (
            len(topic_log) > policy.messages
            or topic_log.size > policy.topic_limit_bytes
            or topic_log.oldest().appended_at + policy.age_s <= now
        ):
            self._evict(topic_log, time)

    def _evict(self, topic_log: TopicLog, time: float) -> None:
        """Evict the oldest message of a topic. One that has expired is no loss, and does not count as one."""
        message = topic_log.evict()
        if self.journal is not None:
            self.journal.evicted.append(message.offset)
        if not message.is_expired(time):
            # What has not survived a restart may be newer than what has.
            evicted_until = max(topic_log.evicted_until, message.offset)
            if self.journal is not None:
                self.journal.losses[topic_log.topic] = evicted_until
            self.evicted_until = max(self.evicted_until, evicted_until)
            topic_log.evicted_until = evicted_until
            topic_log.any_evicted_until = self.evicted_until
            self.losers[topic_log.topic] = topic_log
            self.losers.move_to_end(topic_log.topic)
        elif self.journal is not None and message.offset == topic_log.last_offset:
            self.journal.lasts[topic_log.topic] = message.offset
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

    def _oldest_topic(self) -> TopicLog:
        """Return the topic of the oldest message."""
        block = next(iter(self.blocks.values()))
        return self.topics[next(iter(block.values())).topic]

    def _forget(self, time: float) -> None:
        """Forget a topic that is empty; where none is, the topic of the oldest message loses all it has."""
        if not self.empty:
            topic_log = self._oldest_topic()
            while len(topic_log) > 0:
                self._evict(topic_log, time)
        name, _ = self.empty.popitem(last=False)
        topic_log = self.topics.pop(name)
        self.weight -= topic_log.weight
        self.losers.pop(name, None)
        self.index.discard(name)
        if self.journal is not None:
            self.journal.losses.pop(name, None)
            self.journal.lasts.pop(name, None)
            self.journal.forgotten[name] = None
        self.forgotten_until = max(self.forgotten_until, topic_log.evicted_until)


@final
@mypyc_attr(native_class=True)
class BeforeLast(Search):
    """The search for the offset after which the last `count` messages lie that any of `filters` matches.

    `offset` is the answer, once the search is over: 0 when there are not so many. Expired messages do not
    count. Cost: as many steps as messages lie behind the answer, or, where few topics match, one per topic
    and per message of theirs.
    """

    def __init__(self, log: Log, filters: list[str], count: int) -> None:
        self.log = log
        self.union = FilterUnion(filters)
        self.count = count
        self.offset = log.head
        self.began = False

    def advance(self, now: float, time: float) -> bool:
        if self.count <= 0:
            return True
        if not self.began:
            self.began = True
            topic_logs = self.log.trimmed(self.union, now, time)
            if topic_logs is not None and sum([len(each) for each in topic_logs]) <= SEARCH_STEPS:
                self.offset = before_last(topic_logs, self.count, time)
                return True
        self.count, self.offset = self.log.walk_back(self.union, self.offset, self.count, now, time)
        return self.count == 0 or self.offset == 0
