"""The log beside a naive model: a list of messages, and for each topic the set of what it has lost."""

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from extra.pubsub import Log, Message, Policy, PolicyTable
from extra.pubsub.log import MERGE_LIMIT_TOPICS
from extra.topics import matches

TOPICS = ["a", "a/b", "a/c", "keeps/nothing", "keeps/bytes", "keeps/long", "c/1", "c/2"]
FILTERS = ["a", "a/b", "a/+", "a/#", "#", "+", "keeps/#", "+/nothing", "c/#", "c/+", "c/2"]
DEFAULT = Policy(messages=3, age_s=10.0)
ENTRIES = [
    ("keeps/nothing", Policy(messages=0)),
    ("keeps/bytes", Policy(age_s=30.0, topic_limit_bytes=1500)),
    ("keeps/long", Policy(age_s=40.0)),
    ("c/#", Policy(messages=2, age_s=20.0)),
]
EVERYTHING = 1 << 62


@dataclass
class Kept:
    """A message of the model."""

    offset: int
    topic: str
    size: int
    appended_at: float
    expires_at: float


class Model:
    """What the log should hold, found by going through all of it each time.

    `lost` has a set for each topic that is known, in the order in which they ran empty where they are.
    """

    def __init__(self, total_limit_bytes: int, topics_limit: int) -> None:
        self.total_limit_bytes = total_limit_bytes
        self.topics_limit = topics_limit
        self.head = 0
        self.time = 0.0
        self.kept: list[Kept] = []
        self.lost: dict[str, set[int]] = {}
        self.emptied: list[str] = []
        self.forgotten_until = 0

    def policy(self, topic: str) -> Policy:
        return next((policy for topic_filter, policy in ENTRIES if matches(topic_filter, topic)), DEFAULT)

    def of(self, topic: str) -> list[Kept]:
        return [each for each in self.kept if each.topic == topic]

    def matching(self, filters: list[str]) -> list[str]:
        return [topic for topic in self.lost if any(matches(each, topic) for each in filters)]

    def is_aged(self, message: Kept) -> bool:
        return message.appended_at + self.policy(message.topic).age_s <= self.time

    def is_expired(self, message: Kept) -> bool:
        return message.expires_at != 0.0 and message.expires_at <= self.time

    def append(self, topic: str, size: int, expires_at: float) -> None:
        self.head += 1
        self.lost.setdefault(topic, set())
        if topic in self.emptied:
            self.emptied.remove(topic)
        self.kept.append(Kept(self.head, topic, size, self.time, expires_at))
        policy = self.policy(topic)
        while len(self.of(topic)) > policy.messages:
            self.evict(self.of(topic)[0])
        while sum(each.size for each in self.of(topic)) > policy.topic_limit_bytes:
            self.evict(self.of(topic)[0])
        self.trim(topic)
        while sum(each.size for each in self.kept) > self.total_limit_bytes:
            self.evict(self.kept[0])
        while len(self.lost) > self.topics_limit:
            if not self.emptied:
                for each in self.of(self.kept[0].topic):
                    self.evict(each)
            self.forgotten_until = max([self.forgotten_until, *self.lost.pop(self.emptied.pop(0))])

    def trim(self, topic: str) -> None:
        for message in self.of(topic):
            if self.is_aged(message):
                self.evict(message)

    def evict(self, message: Kept) -> None:
        self.kept.remove(message)
        if not self.is_expired(message):
            self.lost[message.topic].add(message.offset)
        if not self.of(message.topic):
            self.emptied.append(message.topic)

    def evicted_until(self, filters: list[str], after: int) -> int:
        lost = [offset for topic in self.matching(filters) for offset in self.lost[topic]]
        return max([offset for offset in [*lost, self.forgotten_until] if offset > after], default=0)

    def found(self, filters: list[str], after: int, until: int) -> list[int]:
        return [
            each.offset
            for each in self.kept
            if after < each.offset <= until
            and any(matches(topic_filter, each.topic) for topic_filter in filters)
            and not self.is_expired(each)
            and not self.is_aged(each)
        ]


class LogMachine(RuleBasedStateMachine):
    """Appends, lets time pass and reads, from the log and from the model alike."""

    crowd = 0
    page_factor = 1

    @initialize(
        total_limit_bytes=st.sampled_from([1_000, 6_000, EVERYTHING]),
        topics_limit=st.sampled_from([3, 5, EVERYTHING]),
    )
    def begin(self, total_limit_bytes: int, topics_limit: int) -> None:
        table = PolicyTable(DEFAULT, ENTRIES)
        if self.crowd:
            total_limit_bytes = topics_limit = EVERYTHING
        self.log = Log("e1", table, total_limit_bytes=total_limit_bytes, topics_limit=topics_limit)
        self.model = Model(total_limit_bytes, topics_limit)
        for number in range(self.crowd):
            message = Message(f"c/{number}", b"")
            self.log.append(message, 0.0, 0.0)
            self.model.kept.append(Kept(message.offset, message.topic, message.size, 0.0, 0.0))
            self.model.lost[message.topic] = set()
        self.model.head = self.crowd

    @rule(
        topic=st.sampled_from(TOPICS),
        payload_bytes=st.integers(0, 300),
        ttl=st.none() | st.none() | st.integers(1, 20),
    )
    def append(self, topic: str, payload_bytes: int, ttl: int | None) -> None:
        model = self.model
        expires_at = 0.0 if ttl is None else model.time + ttl
        message = Message(topic, b"." * payload_bytes, expires_at=expires_at)
        assert self.log.append(message, model.time, model.time) == model.head + 1
        model.append(topic, message.size, expires_at)

    @rule(seconds=st.integers(1, 15))
    def wait(self, seconds: int) -> None:
        self.model.time += seconds

    @rule(budget=st.sampled_from([1, 3, 10_000]))
    def sweep(self, budget: int) -> None:
        model = self.model
        self.log.sweep(model.time, model.time, budget)
        swept = [each for each in model.lost if len(self.log.topics[each]) < len(model.of(each))]
        assert len(swept) <= budget
        self.trim(swept)

    @rule(
        filters=st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3),
        after=st.integers(0, 60),
        length=st.integers(0, 60) | st.just(EVERYTHING),
        limit=st.integers(1, 5) | st.just(EVERYTHING),
        limit_bytes=st.integers(1, 2_000) | st.just(EVERYTHING),
    )
    def read(self, filters: list[str], after: int, length: int, limit: int, limit_bytes: int) -> None:
        """Read to the end in pages; no rule comes in between."""
        model = self.model
        now = model.time
        limit *= self.page_factor
        limit_bytes *= self.page_factor
        until = min(after + length, model.head)
        found: list[int] = []
        position = after
        while True:
            piece = self.log.read(filters, position, until, limit, now, now, limit_bytes=limit_bytes)
            self.follow(filters, position, piece.position)
            assert piece.evicted_until == model.evicted_until(filters, position)
            assert len(piece.messages) <= limit
            assert len(piece.messages) <= 1 or sum(each.size for each in piece.messages) <= limit_bytes
            offsets = [message.offset for message in piece.messages]
            assert offsets == model.found(filters, position, piece.position)
            found += offsets
            if piece.position >= until:
                break
            assert piece.position > position
            position = piece.position
        assert found == model.found(filters, after, until)

    def follow(self, filters: list[str], after: int, position: int) -> None:
        """Evict from the model what reading has found too old."""
        model = self.model
        matching = model.matching(filters)
        if len(matching) > MERGE_LIMIT_TOPICS:
            walked = [each for each in model.kept if after < each.offset <= position]
            matching = [each.topic for each in walked if model.is_aged(each)]
        self.trim(matching)

    def trim(self, topics: list[str]) -> None:
        """Evict by age from the model, in the order in which the log did, which nobody promises."""
        order = list(self.log.empty)
        for topic in sorted(set(topics), key=lambda each: order.index(each) if each in order else -1):
            self.model.trim(topic)

    @rule(
        filters=st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3),
        count=st.integers(0, 10) | st.just(5_000),
    )
    def before_last(self, filters: list[str], count: int) -> None:
        model = self.model
        found = model.found(filters, 0, model.head)
        expected = model.head if count == 0 else found[-count] - 1 if len(found) >= count else 0
        search = self.log.before_last(filters, count)
        while not search.advance(model.time, model.time):
            pass
        assert search.offset == expected
        if count > 0 and len(model.matching(filters)) <= MERGE_LIMIT_TOPICS:
            self.follow(filters, 0, 0)

    @invariant()
    def figures_are_right(self) -> None:
        log, model = self.log, self.model
        assert log.head == model.head
        assert len(log) == len(model.kept)
        assert log.size == sum(each.size for each in model.kept)
        assert set(log.topics) == set(model.lost)
        assert list(log.empty) == model.emptied
        assert log.weight == len(model.lost)
        assert set(log.losers) == {topic for topic, lost in model.lost.items() if lost}
        assert sorted(offset for block in log.blocks.values() for offset in block) == [
            each.offset for each in model.kept
        ]


class CrowdedLogMachine(LogMachine):
    """With so many topics that some filters are read by walking."""

    crowd = MERGE_LIMIT_TOPICS + 1
    page_factor = 50


LogMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLog = pytest.mark.slow(LogMachine.TestCase)
CrowdedLogMachine.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
TestCrowdedLog = pytest.mark.slow(CrowdedLogMachine.TestCase)
