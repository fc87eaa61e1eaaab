"""Publishing later: when, in what order, once; and what becomes of it when the engine fails."""

import asyncio
import logging
from random import Random

import pytest

from extra.errors import (
    BrokerClosed,
    EngineUnavailable,
    InvalidCommand,
    InvalidTopic,
    LimitExceeded,
    TopicClosed,
)
from extra.pubsub import Broker, BrokerLimits, Engine, MemoryEngine, Message, Policy, PolicyTable
from extra.pubsub.scheduler import KIND
from tests.fakes.clock import FakeClock
from tests.fakes.engine import SlowEngine
from tests.unit.pubsub.material import settle


class KeepingEngine(SlowEngine):
    """A slow engine that keeps states, in a dictionary that outlives it, and fails when told to."""

    def __init__(self, inner: MemoryEngine, kept: dict[tuple[str, str], bytes]) -> None:
        super().__init__(inner, Random(1), 2)
        self.kept = kept
        self.waiting: dict[tuple[str, str], bytes] = {}
        self.is_broken = False

    def keep_state(self, kind: str, name: str, value: bytes) -> None:
        self.waiting[kind, name] = value

    def states(self, kind: str) -> list[tuple[str, bytes]]:
        return sorted((name, value) for (each, name), value in self.kept.items() if each == kind)

    async def settled(self) -> None:
        await asyncio.sleep(0)
        self.write()

    async def append(self, message: Message) -> int:
        if self.is_broken:
            await self.dawdle()
            raise EngineUnavailable("broken")
        return await super().append(message)

    def write(self) -> None:
        if self.is_broken:
            raise EngineUnavailable("broken")
        for place, value in self.waiting.items():
            if value:
                self.kept[place] = value
            else:
                self.kept.pop(place, None)
        self.waiting = {}


class Office:
    """Brokers, one after the other, and the time that they go by."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.clock = FakeClock()
        self.kept: dict[tuple[str, str], bytes] = {}

    def at(self, seconds: float) -> float:
        return self.clock.time() + seconds

    def broker(self, limits: BrokerLimits | None = None, policy: Policy | None = None) -> Broker:
        inner = MemoryEngine(PolicyTable(policy or Policy(messages=10_000)), clock=self.clock)
        engine: Engine = inner if self.kind == "memory" else KeepingEngine(inner, self.kept)
        return Broker(engine, limits=limits, clock=self.clock)

    async def wait(self, broker: Broker, seconds: float) -> list[object]:
        """Let time pass and the broker sweep; return the data in the log."""
        self.clock.advance(seconds)
        broker.sweep()
        if broker.scheduler.task is not None:
            await broker.scheduler.task
        return [message.data for message in (await broker.history("#")).messages]


@pytest.fixture(params=["memory", "slow"])
def office(request: pytest.FixtureRequest) -> Office:
    return Office(request.param)


async def test_messages_are_published_at_their_time_and_in_order(office: Office) -> None:
    async with office.broker() as broker:
        for seconds in (3, 1, 2, 1.5, 1):
            receipt = await broker.publish("a", seconds, deliver_at=office.at(seconds))
            assert (receipt.topic, receipt.offset, receipt.cursor) == ("a", 0, "")
            assert (receipt.deliver_at, bool(receipt.scheduled)) == (office.at(seconds), True)
        assert await office.wait(broker, 0.9) == []
        assert await office.wait(broker, 0.1) == [1, 1]
        assert await office.wait(broker, 5.0) == [1, 1, 1.5, 2, 3]
        assert broker.figures()["scheduled_messages"] == broker.figures()["scheduled_bytes"] == 0
        assert broker.figures()["scheduled_published"] == broker.figures()["published"] == 5


async def test_a_subscriber_gets_it_when_it_is_published(office: Office) -> None:
    async with office.broker() as broker, broker.subscribe("a", since="now") as messages:
        await broker.publish("a", 1, deliver_at=office.at(1.0), retain=True, headers={"n": "v"})
        await office.wait(broker, 1.0)
        message = await anext(messages)
        assert (message.data, message.retained, message.headers) == (1, True, {"n": "v"})


async def test_a_time_that_has_passed_is_now(office: Office) -> None:
    async with office.broker() as broker:
        receipt = await broker.publish("a", 1, deliver_at=office.at(0.0))
        assert (receipt.offset, receipt.scheduled) == (1, "")


async def test_a_time_to_live_counts_from_when_it_is_published(office: Office) -> None:
    async with office.broker() as broker:
        await broker.publish("a", 1, deliver_at=office.at(10.0), ttl=5.0)
        await office.wait(broker, 10.0)
        [message] = (await broker.history("a")).messages
        assert message.expires_at == office.at(5.0)
        await broker.publish("a", 2, deliver_at=office.at(10.0), ttl=5.0)
        await office.wait(broker, 16.0)  # nobody swept in time
        assert broker.engine.head() == 1
        assert len(broker.scheduler.schedule) == 0


async def test_many_are_published_across_turns(office: Office) -> None:
    async with office.broker() as broker:
        for number in range(600):
            await broker.publish("a", "x" * 500, deliver_at=office.at(1.0), headers={"n": str(number)})
        await office.wait(broker, 1.0)
        messages = (await broker.history("a")).messages
        assert [message.headers for message in messages] == [{"n": str(number)} for number in range(600)]


async def test_what_is_scheduled_is_listed_and_taken_back(office: Office) -> None:
    async with office.broker() as broker:
        later = await broker.publish("b", b"12", deliver_at=office.at(2.0), retain=True)
        sooner = await broker.publish("a", 1, deliver_at=office.at(1.0))
        page = await broker.scheduled(limit=1)
        assert [each.id for each in page.messages] == [sooner.scheduled]
        rest = await broker.scheduled(after=page.after)
        [told] = rest.messages
        assert (told.id, told.topic, told.deliver_at, told.payload_bytes, told.retained, rest.after) == (
            later.scheduled,
            "b",
            office.at(2.0),
            2,
            True,
            "",
        )
        assert await broker.cancel(sooner.scheduled)
        assert not await broker.cancel(sooner.scheduled)
        assert await office.wait(broker, 2.0) == [b"12"]
        assert not await broker.cancel(later.scheduled)
        assert broker.figures()["scheduled_cancelled"] == 1


async def test_it_is_bounded(office: Office) -> None:
    async with office.broker(BrokerLimits(scheduled_limit_messages=1)) as broker:
        first = await broker.publish("a", 1, deliver_at=office.at(1.0))
        with pytest.raises(LimitExceeded, match=r"\(broker.scheduled_limit_messages\)"):
            await broker.publish("a", 1, deliver_at=office.at(1.0))
        await broker.cancel(first.scheduled)
        await broker.publish("a", 1, deliver_at=office.at(1.0))
        await office.wait(broker, 1.0)
        await broker.publish("a", 1, deliver_at=office.at(1.0))


async def test_it_is_checked_when_it_is_accepted(office: Office) -> None:
    async with office.broker(BrokerLimits(max_payload_bytes=3)) as broker:
        for topic, data, error in (("a", "1234", LimitExceeded), ("a/+", "", InvalidTopic)):
            with pytest.raises(error):
                await broker.publish(topic, data, deliver_at=office.at(1.0))
        for options in ({"deliver_at": -1.0}, {"deliver_at": office.at(1.0), "if_last": 0}):
            with pytest.raises(InvalidCommand):
                await broker.publish("a", "", **options)  # type: ignore[arg-type]  # that is the point
        for after, limit in (("x", 1), ("", 0), ("", 10_001)):
            with pytest.raises(InvalidCommand):
                await broker.scheduled(after=after, limit=limit)
        assert len(broker.scheduler.schedule) == 0


async def test_what_may_no_longer_be_published_is_given_up_and_told(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    async with office.broker() as broker:
        await broker.publish("a", 1, deliver_at=office.at(1.0), retain=True)
        await broker.publish("b", 2, deliver_at=office.at(1.0))
        broker.engine.set_policies(PolicyTable(Policy(), [("a", Policy(retained=False))]))
        assert await office.wait(broker, 1.0) == [2]
        assert "is not published: topic 'a' retains nothing" in caplog.text
        assert broker.figures()["scheduled_refused"] == 1
        assert broker.figures()["scheduled_messages"] == 0


async def test_nothing_is_scheduled_on_a_topic_that_has_ended() -> None:
    office = Office("memory")
    async with office.broker() as broker:
        first = await broker.publish("a", 1, deliver_at=office.at(1.0), key="k")
        await broker.publish("a", 2, close=True)
        for key in (None, "l"):
            with pytest.raises(TopicClosed):
                await broker.publish("a", 3, deliver_at=office.at(1.0), key=key)
        again = await broker.publish("a", 1, deliver_at=office.at(1.0), key="k")
        assert again.scheduled == first.scheduled
        await broker.publish("a", 4, deliver_at=office.at(0.5), close=False)
        assert await office.wait(broker, 1.0) == [2, 4, 1]


async def test_a_key_schedules_once_and_counts_when_it_is_published(office: Office) -> None:
    async with office.broker() as broker:
        first, again = await asyncio.gather(
            *(broker.publish("a", 1, deliver_at=office.at(1.0), key="k") for _ in range(2))
        )
        assert first.scheduled == again.scheduled
        assert await office.wait(broker, 1.0) == [1]
        published = await broker.publish("a", 1, deliver_at=office.at(1.0), key="k")
        assert (published.offset, published.scheduled) == (1, "")
        assert (await broker.publish("a", 1, key="k")).offset == 1
        assert await office.wait(broker, 1.0) == [1]


async def test_a_key_that_was_used_meanwhile_counts(office: Office) -> None:
    async with office.broker() as broker:
        await broker.publish("a", "later", deliver_at=office.at(1.0), key="k")
        await broker.publish("a", "now", key="k")
        assert await office.wait(broker, 1.0) == ["now"]
        assert broker.figures()["scheduled_messages"] == 0


async def test_closing_ends_what_is_under_way(office: Office) -> None:
    async with office.broker() as broker:
        for number in range(300):
            await broker.publish("a", number, deliver_at=office.at(1.0))
        office.clock.advance(1.0)
        broker.sweep()
    with pytest.raises(BrokerClosed):
        await broker.scheduled()


# With an engine that keeps it


async def test_what_is_scheduled_outlives_the_process_and_what_is_due_comes_at_once() -> None:
    office = Office("slow")
    async with office.broker() as broker:
        for seconds in (2.0, 1.0, 1.0, 9.0):
            await broker.publish("a", len(office.kept), deliver_at=office.at(seconds), key=str(seconds))
    assert len(office.kept) == 3, "one key was used twice"
    office.clock.advance(5.0)
    async with office.broker() as broker:
        assert await office.wait(broker, 0.0) == [1, 0]
        broker.engine.write()  # type: ignore[attr-defined]  # ours has it
        assert [name for _, name in office.kept] == [each.id for each in (await broker.scheduled()).messages]
        await broker.publish("a", "last", deliver_at=office.at(4.0))
        assert await office.wait(broker, 4.0) == [1, 0, 2, "last"]


async def test_nothing_is_accepted_that_cannot_be_kept() -> None:
    office = Office("slow")
    async with office.broker() as broker:
        engine = broker.engine
        assert isinstance(engine, KeepingEngine)
        kept = await broker.publish("a", 1, deliver_at=office.at(1.0))
        engine.is_broken = True
        with pytest.raises(EngineUnavailable):
            await broker.publish("a", 2, deliver_at=office.at(1.0))
        with pytest.raises(EngineUnavailable):
            await broker.cancel(kept.scheduled)
        assert [each.id for each in (await broker.scheduled()).messages] == [kept.scheduled]
        assert await office.wait(broker, 1.0) == []
        engine.is_broken = False
        assert await office.wait(broker, 1.0) == [1]
        engine.write()
        assert office.kept == {}


async def test_who_is_cancelled_has_scheduled_nothing() -> None:
    office = Office("slow")
    async with office.broker() as broker:
        accepting = asyncio.ensure_future(broker.publish("a", 1, deliver_at=office.at(1.0), key="k"))
        await asyncio.sleep(0)
        accepting.cancel()
        await settle()
        assert accepting.cancelled()
        assert await office.wait(broker, 1.0) == []
        assert broker.figures()["scheduled_bytes"] == 0


async def test_a_state_that_makes_no_sense_is_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    office = Office("slow")
    office.kept[KIND, "x"] = b"nonsense"
    with caplog.at_level(logging.ERROR):
        async with office.broker() as broker:
            assert (await broker.scheduled()).messages == []
    assert "scheduled message 'x' makes no sense" in caplog.text
