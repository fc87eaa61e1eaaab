"""The outbox beside a naive model: a list of entries, gone through from the front each time."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from extra.pubsub import FrameCache, Gap, Message, Outbox, WireForm
from extra.pubsub.outbox import OVERFLOW_POLICIES

LIMIT_BYTES = 2_000
POLICIES = sorted(OVERFLOW_POLICIES)
CONTROL_FRAMES = [b"pong;", b"subscribed;", b"goodbye;"]
"""Each is one object, that is put again and again."""


def placed(offset: int, topic: str, payload_bytes: int, expires_at: float = 0.0) -> Message:
    message = Message(topic, b"." * payload_bytes, expires_at=expires_at)
    message.place("e1", offset, 0.0, 0.0)
    return message


class PlainForm(WireForm):
    """A frame is as long as the message is counted without a form, so that one model does for both."""

    def encode(self, message: Message) -> bytes:
        return b"%d;" % message.offset + b"." * (message.size - len(b"%d;" % message.offset))

    def encode_gap(self, gap: Gap) -> bytes:
        return f"{gap};".encode()


class Model:
    """What the outbox should hold: `entries` in the order in which they go out, behind `gap`."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.entries: list[Message | Gap | bytes] = []
        self.gap: Gap | None = None
        self.keeps_newest = False
        self.dropped = 0
        self.taken = 0

    @property
    def messages(self) -> list[Message]:
        return [each for each in self.entries if isinstance(each, Message)]

    @property
    def size(self) -> int:
        return sum(each.size for each in self.messages)

    def put(self, message: Message) -> bool:
        if self.messages and self.size + message.size > LIMIT_BYTES:
            if self.policy == "disconnect":
                return False
            if self.policy == "latest":
                self.keep_newest()
                self.drop_topic(message.topic)
            while self.messages and self.size + message.size > LIMIT_BYTES:
                self.drop(self.messages[0])
        self.append(message)
        return True

    def append(self, message: Message) -> None:
        self.entries.append(message)
        if self.keeps_newest:
            self.keep_newest()

    def keep_newest(self) -> None:
        self.keeps_newest = True
        for message in self.messages:
            others = [each for each in self.messages if each.topic == message.topic]
            if message.offset < max(each.offset for each in others):
                self.drop(message)

    def drop_topic(self, topic: str) -> None:
        for message in self.messages:
            if message.topic == topic:
                self.drop(message)

    def drop(self, message: Message) -> None:
        self.entries.remove(message)
        self.dropped += 1
        if self.gap is None:
            self.gap = Gap(message.offset - 1, message.offset, "overflow", 0)
        assert self.gap.after is not None
        self.gap.after = min(self.gap.after, message.offset - 1)
        self.gap.until = max(self.gap.until, message.offset)
        self.gap.dropped += 1

    def take(self) -> Message | Gap | bytes | None:
        if self.gap is not None:
            gap, self.gap = self.gap, None
            return gap
        if not self.entries:
            return None
        entry = self.entries.pop(0)
        if isinstance(entry, Message):
            self.taken = max(self.taken, entry.offset)
        if not self.entries:
            self.keeps_newest = False
        return entry

    def let_go(self, time: float) -> bool:
        expired = [each for each in self.messages if each.is_expired(time)]
        for message in expired:
            self.entries.remove(message)
        if not self.entries:
            self.keeps_newest = False
        return bool(expired)

    def lowest(self) -> int:
        gaps = [each for each in [self.gap, *self.entries] if isinstance(each, Gap)]
        if any(gap.after is None for gap in gaps):
            return -1
        told = [gap.after + 1 for gap in gaps if gap.after is not None]
        return min([message.offset for message in self.messages] + told, default=0)


class OutboxMachine(RuleBasedStateMachine):
    """Puts into both and takes out of both."""

    @initialize(policy=st.sampled_from(POLICIES), has_form=st.booleans())
    def begin(self, policy: str, has_form: bool) -> None:
        self.form = PlainForm(0, FrameCache(3_000)) if has_form else None
        self.outbox = Outbox(self.form, LIMIT_BYTES, OVERFLOW_POLICIES[policy])
        self.model = Model(policy)
        self.offset = 1_000_000
        self.older_offset = 0
        self.time = 0.0

    def next_message(self, topic: str, payload_bytes: int = 0, ttl: float = 0.0) -> Message:
        self.offset += 1
        return placed(self.offset, topic, payload_bytes, self.time + ttl if ttl else 0.0)

    def older_message(self, topic: str) -> Message:
        self.older_offset += 1
        return placed(self.older_offset, topic, 0)

    @rule(
        topic=st.sampled_from("abcd"),
        payload_bytes=st.sampled_from([0, 0, 0, 0, 300, 5_000]),
        ttl=st.sampled_from([0.0, 0.0, 1.0, 2.0]),
    )
    def put(self, topic: str, payload_bytes: int, ttl: float) -> None:
        message = self.next_message(topic, payload_bytes, ttl)
        assert self.outbox.put(message) == self.model.put(message)

    @rule(topics=st.lists(st.sampled_from("abcd"), max_size=4), is_replay=st.booleans())
    def append_a_page(self, topics: list[str], is_replay: bool) -> None:
        """Append what comes next or, as a replay does, what is older than all that was put."""
        for topic in topics:
            message = self.older_message(topic) if is_replay else self.next_message(topic)
            self.outbox.append(message)
            self.model.append(message)

    @rule(after=st.integers(0, 20) | st.none())
    def put_gap(self, after: int | None) -> None:
        gap = Gap(after, 20, "evicted" if after is not None else "epoch")
        self.outbox.put_gap(gap)
        self.model.entries.append(gap)

    @precondition(lambda self: self.form is not None)
    @rule(frame=st.sampled_from(CONTROL_FRAMES))
    def put_control(self, frame: bytes) -> None:
        self.outbox.put_control(frame)
        self.model.entries.append(frame)

    @rule(count=st.integers(1, 10))
    def take(self, count: int) -> None:
        for _ in range(count):
            expected = self.model.take()
            if self.form is None:
                entry = self.outbox.take()
                assert entry is expected or entry == expected
            else:
                assert self.outbox.take_bytes(1) == self.written(expected)

    @precondition(lambda self: self.form is not None)
    @rule(chunk_bytes=st.sampled_from([1_000, 1 << 62]))
    def take_bytes(self, chunk_bytes: int) -> None:
        expected = b""
        while len(expected) < chunk_bytes and (entry := self.model.take()) is not None:
            expected += self.written(entry)
        assert self.outbox.take_bytes(chunk_bytes) == expected

    def written(self, entry: Message | Gap | bytes | None) -> bytes:
        assert self.form is not None
        match entry:
            case Message():
                return self.form.encode(entry)
            case Gap():
                return self.form.encode_gap(entry)
            case None:
                return b""
            case _:
                return entry

    @rule(seconds=st.sampled_from([0.0, 1.0]))
    def let_go(self, seconds: float) -> None:
        self.time += seconds
        assert self.outbox.let_go(self.time) == self.model.let_go(self.time)

    @rule()
    def clear(self) -> None:
        self.outbox.clear()
        self.model.entries = []
        self.model.gap = None
        self.model.keeps_newest = False

    @invariant()
    def figures_are_right(self) -> None:
        outbox, model = self.outbox, self.model
        assert outbox.size == model.size
        assert outbox.control_size == sum(len(each) for each in model.entries if isinstance(each, bytes))
        assert len(outbox) == len(model.entries) + (model.gap is not None)
        assert outbox.dropped == model.dropped
        assert outbox.taken == model.taken
        assert outbox.lowest() == model.lowest()


OutboxMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestOutbox = pytest.mark.slow(OutboxMachine.TestCase)
