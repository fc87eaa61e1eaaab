"""The subscriptions of a client against a model of the broker, with the connection lost at any moment.

The model keeps to docs/protocol.md: commands are worked on in order, a message goes out once per connection,
what is new waits behind a replay, and what is on its way is lost with the connection.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extra.client.subscription import State, Subscription
from extra.client.subscriptions import Subscriptions
from extra.protocols.commands import Command, Ping, Subscribe, Unsubscribe
from extra.protocols.pushes import GapPush, MessagePush, Pong, Push, Subscribed, Unsubscribed
from extra.pubsub import Gap, Message, parse_since
from extra.topics import matches

TOPICS = ["a", "a/b", "a/c", "b"]
FILTERS = [("a",), ("a/+",), ("#",), ("a/#", "b"), ("a/b",), ("a/b", "a/+")]
SINCE = ["now", "start", "last:2", "last:0"]
MESSAGE_BYTES = 450  # a little more than any message here counts as


@dataclass
class Entry:
    offset: int
    topic: str
    retain: bool
    is_evicted: bool = False


@dataclass
class ModelBroker:
    """A log, and the one connection that there may be: its filters, and what is on its way to the client.

    `forgiven` has the offsets that were evicted before somebody asked without a cursor: no loss to him.
    """

    epoch_number: int = 1
    log: list[Entry] = field(default_factory=list)
    head: int = 0
    filters: dict[str, None] = field(default_factory=dict)
    sent: deque[Push] = field(default_factory=deque)
    forgiven: set[int] = field(default_factory=set)

    @property
    def epoch(self) -> str:
        return f"e{self.epoch_number}"

    @property
    def cursor(self) -> str:
        return f"{self.epoch}-{self.head}"

    def connect(self) -> None:
        self.filters.clear()
        self.sent.clear()

    def publish(self, topic: str, retain: bool) -> None:
        self.head += 1
        entry = Entry(self.head, topic, retain)
        self.log.append(entry)
        if any(matches(each, topic) for each in self.filters):
            self.sent.append(pushed(entry))

    def evict(self, count: int) -> None:
        for entry in [each for each in self.log if not each.is_evicted][:count]:
            entry.is_evicted = True

    def restart(self) -> None:
        self.epoch_number += 1
        self.log.clear()
        self.head = 0

    def work_on(self, command: Command) -> None:
        if isinstance(command, Ping):
            self.sent.append(Pong(id=command.id))
        elif isinstance(command, Unsubscribe):
            for topic_filter in command.filters:
                del self.filters[topic_filter]
            self.sent.append(Unsubscribed(id=command.id))
        else:
            assert isinstance(command, Subscribe)
            self.subscribe(command)

    def subscribe(self, command: Subscribe) -> None:
        assert command.replay == "all"
        assert command.since is not None
        self.filters.update(dict.fromkeys(command.filters))
        matching = self.matching(command.filters)
        evicted = [entry.offset for entry in matching if entry.is_evicted]
        matching = [entry for entry in matching if not entry.is_evicted]
        since = parse_since(command.since)
        after = 0
        complete = True
        if since.position is None:
            self.forgiven.update(evicted)
        if since.kind == "now":
            after = self.head
        elif since.kind == "last":
            after = (
                self.head if not since.count else ([0] * 9 + [e.offset - 1 for e in matching])[-since.count]
            )
        elif since.position is not None and since.position.epoch == self.epoch:
            after = since.position.offset
            until = max([0, *evicted])
            if until > max(after, since.position.known):
                complete = False
                self.sent.append(GapPush(after=after, until=until, reason="evicted"))
        elif since.position is not None:
            complete = False
            self.sent.append(GapPush(after=None, until=0, reason="epoch"))
        if command.retained:
            kept = {entry.topic: entry for entry in matching if entry.retain}
            self.sent.extend(pushed(entry) for entry in sorted(kept.values(), key=lambda each: each.offset))
        replay = [entry for entry in matching if entry.offset > after]
        self.sent.extend(pushed(entry) for entry in replay)
        self.sent.append(
            Subscribed(id=command.id, cursor=self.cursor, replayed=len(replay), complete=complete)
        )

    def matching(self, filters: Iterable[str]) -> list[Entry]:
        return [entry for entry in self.log if any(matches(each, entry.topic) for each in filters)]


def pushed(entry: Entry) -> MessagePush:
    return MessagePush(
        topic=entry.topic, offset=entry.offset, payload=b"null", kind="json", retained=entry.retain
    )


@dataclass(eq=False)
class Consumer:
    """Who takes from one subscription, and all that it was given."""

    subscription: Subscription
    wants_retained: bool
    taken: list[tuple[str, int]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def take(self, subscriptions: Subscriptions, count: int) -> None:
        if not self.subscription.has_begun:
            return
        self.subscription.is_entered = True
        for _ in range(count):
            entry = self.subscription.inbox.take()
            if entry is None:
                return
            subscriptions.taken(self.subscription)
            if isinstance(entry, Message):
                self.taken.append((entry.epoch, entry.offset))
            else:
                self.gaps.append(entry)


class World:
    """A client's subscriptions, the model of a broker, and the wire between them."""

    def __init__(self) -> None:
        self.broker = ModelBroker()
        self.subscriptions = Subscriptions(lambda: None)
        self.consumers: list[Consumer] = []
        self.under_way: deque[tuple[Command, ...]] = deque()
        self.is_connected = False

    def connect(self) -> None:
        if not self.is_connected:
            self.is_connected = True
            self.broker.connect()
            self.subscriptions.connected(self.broker.epoch, self.broker.cursor)

    def lose(self) -> None:
        self.is_connected = False
        self.under_way.clear()
        self.broker.connect()
        self.subscriptions.lost()

    def subscribe(self, filters: tuple[str, ...], since: str, retained: bool | None, room: int) -> None:
        subscription = Subscription(filters, since, "disconnect", retained, room * MESSAGE_BYTES)
        wants_retained = retained if retained is not None else since == "now"
        self.consumers.append(Consumer(subscription, wants_retained))
        self.subscriptions.add(subscription)

    def leave(self, index: int) -> None:
        if self.consumers:
            consumer = self.consumers.pop(index % len(self.consumers))
            self.subscriptions.remove(consumer.subscription)

    def send(self, count: int) -> None:
        """Let so many groups of commands reach the broker."""
        self.under_way.extend(self.subscriptions.groups_to_send())
        for _ in range(min(count, len(self.under_way))):
            for command in self.under_way.popleft():
                self.broker.work_on(command)

    def deliver(self, count: int) -> None:
        """Let so many pushes reach the client."""
        if self.is_connected:
            for _ in range(min(count, len(self.broker.sent))):
                self.subscriptions.receive(self.broker.sent.popleft())

    def settle(self) -> None:
        """Let everything come to rest."""
        self.connect()
        for _ in range(1000):
            self.send(100)
            self.deliver(1000)
            for consumer in self.consumers:
                consumer.take(self.subscriptions, 1000)
            live = all(each.subscription.state is State.LIVE for each in self.consumers)
            if live and not self.under_way and not self.broker.sent:
                return
        pytest.fail("it does not come to rest")


def draw_script(draw: Random, *also: str) -> list[tuple[object, ...]]:
    """Return steps for `play`, of each kind enough that subscriptions overlap, lag and are cut off."""
    script: list[tuple[object, ...]] = []
    for _ in range(draw.randrange(20, 120)):
        kind = draw.choices(
            ["publish", "subscribe", "send", "deliver", "take", "lose", "connect", "leave", *also],
            [30, 8, 20, 30, 10, 2, 10, 2, *[1 for _ in also]],
        )[0]
        match kind:
            case "publish":
                script.append((kind, draw.choice(TOPICS), draw.random() < 0.3))
            case "subscribe":
                retained = draw.choice([None, True, False])
                room = draw.choice([1, 2, 6])
                script.append((kind, draw.choice(FILTERS), draw.choice(SINCE), retained, room))
            case "send" | "deliver" | "take" | "leave" | "evict":
                script.append((kind, draw.randrange(1, 6)))
            case _:
                script.append((kind,))
    return script


def play(world: World, step: tuple[object, ...]) -> None:
    match step:
        case ("publish", str(topic), bool(retain)):
            world.broker.publish(topic, retain)
        case ("subscribe", tuple(filters), str(since), bool() | None as retained, int(room)):
            world.subscribe(filters, since, retained, room)
        case ("send", int(count)):
            world.send(count)
        case ("deliver", int(count)):
            world.deliver(count)
        case ("take", int(count)):
            for consumer in world.consumers:
                consumer.take(world.subscriptions, count)
        case ("lose",):
            world.lose()
        case ("connect",):
            world.connect()
        case ("evict", int(count)):
            world.broker.evict(count)
        case ("restart",):
            world.lose()
            world.broker.restart()
        case ("leave", int(index)):
            world.leave(index)


def check(world: World, consumer: Consumer) -> None:
    """Check what a consumer was given against the log, from where its subscription began."""
    subscription = consumer.subscription
    began = subscription.began
    assert began is not None
    epoch = world.broker.epoch
    after = began.offset if began.epoch == epoch else 0
    if began.epoch != epoch:
        assert consumer.gaps, "another epoch was not told of"
    matching = world.broker.matching(subscription.filters)
    expected = [entry.offset for entry in matching if entry.offset > after]
    taken = [offset for taken_epoch, offset in consumer.taken if taken_epoch == epoch]
    if not consumer.wants_retained:
        assert taken == expected
        return
    last_seen = {offset: place for place, offset in enumerate(taken)}
    assert set(expected) <= set(taken)
    assert [last_seen[offset] for offset in expected] == sorted(last_seen[offset] for offset in expected)
    kept = {entry.topic: entry.offset for entry in matching if entry.retain}
    assert set(kept.values()) <= set(taken)
    retained = {entry.offset for entry in matching if entry.retain}
    for offset in taken:
        # The broker itself gives a retained message twice that lies in the replay as well.
        assert taken.count(offset) <= (2 if offset in retained else 1)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_each_subscription_gets_everything_once_and_in_order(seed: int) -> None:
    """docs/protocol.md, "Loss": nothing that the log has is missed, nothing is doubled."""
    world = World()
    for step in draw_script(Random(seed)):
        play(world, step)
    world.settle()
    for consumer in world.consumers:
        assert not consumer.gaps
        assert consumer.subscription.complete
        check(world, consumer)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_each_subscription_goes_on_in_another_epoch_after_a_gap(seed: int) -> None:
    """docs/protocol.md, "Loss": a gap, and then all that the new log has."""
    world = World()
    for step in draw_script(Random(seed), "restart"):
        play(world, step)
    world.settle()
    for consumer in world.consumers:
        assert {gap.reason for gap in consumer.gaps} <= {"epoch"}
        check(world, consumer)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_each_subscription_is_told_of_what_it_lost(seed: int) -> None:
    """docs/protocol.md, "Loss": loss is never silent."""
    world = World()
    for step in draw_script(Random(seed), "evict"):
        play(world, step)
    world.settle()
    for consumer in world.consumers:
        began = consumer.subscription.began
        assert began is not None
        taken = {offset for _, offset in consumer.taken}
        for entry in world.broker.matching(consumer.subscription.filters):
            told = [gap for gap in consumer.gaps if (gap.after or 0) < entry.offset <= gap.until]
            is_forgiven = entry.offset in world.broker.forgiven or entry.offset <= began.offset
            assert entry.offset in taken or told or is_forgiven
