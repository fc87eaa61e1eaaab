"""Over real sockets, on every face: each message once, in order, or a gap that names what was missed.

Subscribers join, stall, overflow, leave, and resume on any face with their cursor, while publishers publish,
on an engine that suspends at random; outboxes, the kernel's buffers and retention are so small that
everything overflows. What each one saw is then held against what was published.
"""

import asyncio
from random import Random

import pytest
import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker.settings import ServerSettings, Settings
from extra.pubsub import Gap
from extra.topics import matches
from tests.conformance.faces.clients import FACES_OF_MANY, STREAMS, WAITING, Face, Fields
from tests.conformance.faces.serving import Place, serving, until
from tests.fakes.engine import SlowEngine
from tests.property.checking import RESUMED, Mark, check_trace

TOPICS = ["a", "a/b", "a/c", "a/b/c", "d", "d/e"]
FILTERS = ["a/b", "a/+", "a/#", "#", "+/b", "d/#"]
OVERFLOWS = ["disconnect", "drop-oldest", "latest"]

BUFFER_BYTES = 2048
PAYLOAD = b"x" * 600
SUBSCRIBERS_LIMIT = 5


class Subscriber:
    """One subscriber over all of its connections; `trace` is what it was given."""

    def __init__(self, place: Place, filters: list[str], since: str, overflow: str) -> None:
        self.place = place
        self.filters = filters
        self.since = since
        self.start = int(since.split("-")[1])
        self.overflow = overflow
        self.trace: list[int | Gap | Mark] = []
        self.allowance = asyncio.Semaphore(0)
        self.task: asyncio.Task[None] | None = None

    def connect(self, number: int) -> None:
        """Come back, unless it is there: on a face that the number chooses."""
        if self.task is None or self.task.done():
            faces = [face for face in WAITING if len(self.filters) == 1 or face in FACES_OF_MANY]
            self.task = asyncio.create_task(self.follow(faces[number % len(faces)]))

    async def follow(self, kind: type[Face]) -> None:
        """Receive until the connection ends, as fast as `allowance` lets it; leave the cursor in `since`."""
        face = kind(
            self.place.port,
            *self.filters,
            since=self.since,
            overflow=self.overflow if kind in STREAMS else None,
            receive_buffer_bytes=BUFFER_BYTES,
        )
        try:
            await face.open()
            while True:
                await self.allowance.acquire()
                entry = await face.next()
                if entry is None or entry["op"] == "goodbye":
                    return
                self.note(entry)
        finally:
            self.since = face.cursor
            self.trace.append(RESUMED)
            face.close()

    def note(self, entry: Fields) -> None:
        if entry["op"] == "message":
            assert isinstance(entry["offset"], int)
            self.trace.append(entry["offset"])
        else:
            assert entry["op"] == "gap"
            assert isinstance(entry["after"], int)
            assert isinstance(entry["until"], int)
            self.trace.append(Gap(entry["after"], entry["until"], str(entry["reason"])))

    async def disconnect(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
            if not self.task.cancelled():
                self.task.result()

    async def has_come_to_or_ended(self, offset: int) -> None:
        """Wait until it was given this message, or told that it will not be, or its connection has ended."""
        task = self.task
        assert task is not None
        await until(lambda: self.has_come_to(offset) or task.done())
        if task.done():
            task.result()

    def has_come_to(self, offset: int) -> bool:
        """Return whether it was given this message, or told that it will not be."""
        reached = [
            each.until if isinstance(each, Gap) else each for each in self.trace if each is not RESUMED
        ]
        return any(each >= offset for each in reached)


class World:
    """A broker with very little room, and who is there."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.subscribers: list[Subscriber] = []
        self.topics: dict[int, str] = {}
        self.publishing: set[asyncio.Task[None]] = set()

    async def act(self, action: tuple[str, int, int]) -> None:
        verb, number, amount = action
        if verb == "publish":
            for index in range(amount):
                task = asyncio.create_task(self.publish(TOPICS[(number + index) % len(TOPICS)]))
                self.publishing.add(task)
                task.add_done_callback(self.publishing.discard)
        elif verb == "join" and len(self.subscribers) < SUBSCRIBERS_LIMIT:
            filters = sorted({FILTERS[number % len(FILTERS)], FILTERS[amount % len(FILTERS)]})
            since = self.place.broker.cursor() if number % 3 else f"{self.place.broker.epoch()}-0"
            subscriber = Subscriber(self.place, filters, since, OVERFLOWS[amount % len(OVERFLOWS)])
            self.subscribers.append(subscriber)
            subscriber.connect(number)
        elif self.subscribers:
            subscriber = self.subscribers[number % len(self.subscribers)]
            if verb == "take":
                for _ in range(amount):
                    subscriber.allowance.release()
            elif verb == "leave":
                await subscriber.disconnect()
            elif verb == "return":
                subscriber.connect(amount)
        for _ in range(number % 7):
            await asyncio.sleep(0)

    async def publish(self, topic: str) -> None:
        receipt = await self.place.broker.publish(topic, PAYLOAD)
        self.topics[receipt.offset] = topic

    async def settle(self) -> None:
        """Let everybody come back and receive all that there is."""
        while self.publishing:
            await asyncio.wait(self.publishing)
        for number, subscriber in enumerate(self.subscribers):
            last = max(
                (
                    offset
                    for offset, topic in self.topics.items()
                    if any(matches(topic_filter, topic) for topic_filter in subscriber.filters)
                ),
                default=0,
            )
            for _ in range(1000):
                subscriber.allowance.release()
            while last > subscriber.start and not subscriber.has_come_to(last):
                subscriber.connect(number)
                await subscriber.has_come_to_or_ended(last)
        for subscriber in self.subscribers:
            await subscriber.disconnect()


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "join", "take", "leave", "return"]),
        st.integers(0, 41),
        st.integers(1, 12),
    ),
    min_size=25,
    max_size=60,
)


async def run(actions: list[tuple[str, int, int]], seed: int, keep: int) -> None:
    settings = Settings(server=ServerSettings(write_high_water_bytes=1))
    async with serving(
        settings,
        keep=keep,
        total_limit_bytes=1100 * 6 * keep,
        outbox_limit_bytes=4000,
        send_buffer_bytes=BUFFER_BYTES,
        wrap=lambda engine: SlowEngine(engine, Random(seed)),
    ) as place:
        world = World(place)
        for action in actions:
            await world.act(action)
        await world.settle()
        for subscriber in world.subscribers:
            check_trace(subscriber.trace, world.topics, subscriber.filters, start=subscriber.start)
        await until(lambda: not place.broker.sessions)
        assert not place.hub.open


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=ACTIONS, seed=st.integers(0, 10_000), keep=st.sampled_from([1, 3, 50]))
@example(actions=[("join", 0, 2), ("publish", 0, 12), ("take", 0, 3), ("publish", 4, 12)], seed=1, keep=50)
@pytest.mark.slow
def test_every_message_arrives_once_in_order_or_a_gap_tells(
    actions: list[tuple[str, int, int]], seed: int, keep: int
) -> None:
    """One cursor for all faces: nothing is lost, doubled or reordered, and no loss is silent."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(actions, seed, keep))
