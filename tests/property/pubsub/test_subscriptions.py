"""One session gets all that it subscribes to, whatever else it subscribes to, is refused or gives up.

On an engine that suspends at random, subscriptions with overlapping filters are added to one session while
publishers publish; some are refused, some cancelled at a random moment. Nothing is evicted, and what
overflows is in the log: what the session is given is held against what was published.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extra.errors import InvalidCursor
from extra.pubsub import (
    Broker,
    BrokerLimits,
    Consumer,
    MemoryEngine,
    Message,
    Policy,
    PolicyTable,
    parse_since,
)
from extra.topics import matches
from tests.fakes.clock import FakeClock
from tests.fakes.engine import SlowEngine

TOPICS = ["a", "a/b", "a/c", "a/b/c", "d"]
FILTERS = ["a", "a/b", "a/+", "a/#", "#", "+/b", "+"]
SINCE = ["start", "now", "last:2", "cursor"]


class Listener(Consumer):
    """Tells the one who empties the outbox."""

    def __init__(self) -> None:
        super().__init__()
        self.woken = asyncio.Event()

    def wake(self) -> None:
        self.woken.set()

    def overflowed(self) -> None:
        """The session goes back to the log by itself."""

    def broker_closed(self) -> None:
        self.woken.set()


@dataclass
class Subscription:
    """What a session asked for: everything above `after` that `filters` match."""

    filters: list[str]
    after: int


@dataclass
class Scene:
    """A broker, and one session of it that is emptied as it is filled."""

    broker: Broker
    random: Random
    listener: Listener = field(default_factory=Listener)
    topics: dict[int, str] = field(default_factory=dict)
    retained: set[int] = field(default_factory=set)
    seen: list[int] = field(default_factory=list)
    made: list[Subscription] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session = self.broker.open_session(self.listener)
        self.unused = FILTERS.copy()

    async def empty(self) -> None:
        """Take what the session is given."""
        outbox = self.session.outbox
        while True:
            entry = outbox.take()
            if entry is None:
                self.session.sleep()
                self.listener.woken.clear()
                await self.listener.woken.wait()
            else:
                assert isinstance(entry, Message), f"nothing is lost, and yet {entry}"
                self.seen.append(entry.offset)
            self.session.made_room()
            if self.random.random() < 0.5:
                await asyncio.sleep(0)

    async def publish(self, topic: str, retain: bool) -> None:
        receipt = await self.broker.publish(topic, b"." * self.random.randint(0, 200), retain=retain)
        self.topics[receipt.offset] = topic
        if retain:
            self.retained.add(receipt.offset)

    async def subscribe(self, filters: list[str], since: str, retained: bool | None) -> None:
        if since == "cursor":
            since = f"{self.broker.epoch()}-{self.random.randint(0, self.broker.delivered)}"
        replay = await self.broker.add_filters(self.session, filters, parse_since(since), retained=retained)
        self.made.append(Subscription(filters, replay.after))
        await self.broker.catch_up(self.session)

    async def act(self, verb: str, number: int, is_told: bool) -> None:
        if verb == "refuse":
            with pytest.raises(InvalidCursor):
                await self.subscribe(["a/#", "d"], f"{self.broker.epoch()}-999999", is_told)
            await self.broker.catch_up(self.session)
            return
        filters = [
            self.unused.pop(number % len(self.unused)) for _ in range(min(1 + is_told, len(self.unused)))
        ]
        if not filters:
            return
        subscribing = asyncio.ensure_future(self.subscribe(filters, SINCE[number % 4], is_told or None))
        if verb == "give up":
            for _ in range(number):
                await asyncio.sleep(0)
            subscribing.cancel()
            await asyncio.wait([subscribing])
            await self.broker.catch_up(self.session)
        else:
            await subscribing

    def check(self) -> None:
        for subscription in self.made:
            wanted = [
                offset
                for offset, topic in sorted(self.topics.items())
                if offset > subscription.after and any(matches(each, topic) for each in subscription.filters)
            ]
            missing = set(wanted).difference(self.seen)
            assert not missing, f"{missing} for {subscription}"
        for offset in self.seen:
            topic = self.topics[offset]
            assert any(matches(each, topic) for one in self.made for each in one.filters), "nothing unasked"
            # What was retained may come once more, in its place in the log.
            assert self.seen.count(offset) == 1 or offset in self.retained, f"{offset} twice"


async def run(actions: list[tuple[str, int, bool]], seed: int, outbox_limit_bytes: int) -> None:
    clock = FakeClock()
    engine = SlowEngine(MemoryEngine(PolicyTable(Policy(messages=1_000)), clock=clock), Random(seed))
    limits = BrokerLimits(outbox_limit_bytes=outbox_limit_bytes)
    async with Broker(engine, limits=limits, clock=clock) as broker:
        scene = Scene(broker, Random(seed))
        emptying = asyncio.ensure_future(scene.empty())
        async with asyncio.TaskGroup() as publishing:
            for verb, number, is_told in actions:
                if verb == "publish":
                    publishing.create_task(
                        scene.publish(TOPICS[number % len(TOPICS)], is_told and number > 8)
                    )
                else:
                    await scene.act(verb, number, is_told)
                for _ in range(number % 5):
                    await asyncio.sleep(0)
        await broker.catch_up(scene.session)
        for _ in range(1_000):
            await asyncio.sleep(0)
        emptying.cancel()
        await asyncio.wait([emptying])
        if not emptying.cancelled():
            emptying.result()
        scene.check()


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "publish", "subscribe", "give up", "refuse"]),
        st.integers(0, 15),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(
    actions=ACTIONS, seed=st.integers(0, 10_000), outbox_limit_bytes=st.sampled_from([1_000, 3_000, 100_000])
)
@pytest.mark.slow
def test_a_session_gets_all_that_it_subscribed_to_once(
    actions: list[tuple[str, int, bool]], seed: int, outbox_limit_bytes: int
) -> None:
    """docs/protocol.md, commands: overlapping filters, `replay` `missing`."""
    asyncio.run(run(actions, seed, outbox_limit_bytes))
