"""Named sessions: who holds them, where they stand, and when they go."""

import asyncio

import pytest

from extra.errors import InvalidCommand, InvalidCursor, InvalidFilter, LimitExceeded, SessionTakenOver
from extra.pubsub import Broker, BrokerLimits, MemoryEngine, Message, Messages, NamedSession, parse_since
from extra.pubsub.named import SWEEP_SESSIONS
from tests.fakes.clock import FakeClock
from tests.fakes.engine import Remembering
from tests.unit.pubsub.material import GatedEngine, settle


async def take(messages: Messages, count: int) -> list[Message]:
    return [await anext(messages) for _ in range(count)]


async def publish(broker: Broker, *numbers: int) -> None:
    for number in numbers:
        await broker.publish("a", number)


def named_of(broker: Broker) -> NamedSession:
    return broker.named.find("s")


async def test_who_comes_back_goes_on_where_it_stood() -> None:
    async with Broker() as broker:
        await publish(broker, 0)
        async with broker.subscribe("a", session="s") as messages:
            await publish(broker, 1, 2, 3)
            assert [message.data for message in await take(messages, 2)] == [1, 2]
        await publish(broker, 4)
        async with broker.subscribe("#", session="s", since="start") as messages:
            assert [message.data for message in await take(messages, 2)] == [3, 4]


async def test_a_new_one_begins_where_it_is_asked_to() -> None:
    async with Broker() as broker:
        await publish(broker, 1, 2)
        async with broker.subscribe("a", session="s", since="start") as messages:
            assert [message.data for message in await take(messages, 1)] == [1]
        async with broker.subscribe("a", session="s") as messages:
            assert [message.data for message in await take(messages, 1)] == [2]


async def test_with_acknowledgement_only_that_moves_it() -> None:
    async with Broker() as broker:
        async with broker.subscribe("a", session="s", ack=True) as messages:
            await publish(broker, 1, 2, 3)
            first, second, _ = await take(messages, 3)
            messages.ack(second)
            messages.ack(first)
            assert named_of(broker).offset == second.offset
        async with broker.subscribe("a", session="s") as messages:
            [third] = await take(messages, 1)
            assert third.data == 3
            messages.ack(third)
        assert named_of(broker).offset == 3


async def test_what_was_not_given_cannot_be_acknowledged() -> None:
    async with Broker() as broker:
        async with broker.subscribe("a", session="s", ack=True) as messages:
            await publish(broker, 1, 2)
            await take(messages, 1)
            with pytest.raises(InvalidCommand, match="has not been delivered to session"):
                broker.named.acknowledge(named_of(broker), 2)
        async with broker.subscribe("a") as messages:
            await publish(broker, 3)
            with pytest.raises(InvalidCommand, match="no named session"):
                messages.ack(await anext(messages))


async def test_the_newer_of_two_has_it() -> None:
    async with Broker() as broker:
        async with broker.subscribe("a", session="s") as older:
            await publish(broker, 1, 2)
            await take(older, 1)
            async with broker.subscribe("a", session="s") as newer:
                with pytest.raises(SessionTakenOver):
                    await anext(older)
                with pytest.raises(InvalidCommand, match="another has taken it over"):
                    older.ack(await anext(newer))
        assert broker.figures()["named_sessions_taken_over"] == 1
        assert named_of(broker).offset == 2


async def test_one_goes_when_nobody_has_come_for_its_time() -> None:
    clock = FakeClock()
    async with Broker(clock=clock) as broker:
        async with broker.subscribe("a", session="s", expires=5):
            clock.advance(100)
            broker.sweep()
            assert named_of(broker).holder is not None
        clock.advance(4)
        broker.sweep()
        named_of(broker)
        clock.advance(2)
        broker.sweep()
        with pytest.raises(InvalidCommand, match="none of this name"):
            named_of(broker)
        assert broker.figures()["named_sessions_expired"] == 1


async def test_there_are_so_many() -> None:
    async with Broker(limits=BrokerLimits(named_sessions_limit=1)) as broker:
        async with broker.subscribe("a", session="s"):
            with pytest.raises(LimitExceeded, match=r"\(broker.named_sessions_limit\)"):
                async with broker.subscribe("a", session="t"):
                    pass
        broker.named.remove("s")
        async with broker.subscribe("a", session="t"):
            pass


async def test_one_stays_where_it_is_when_a_subscription_fails() -> None:
    async with Broker(limits=BrokerLimits(presence_limit_members=1)) as broker:
        async with broker.subscribe("a", session="s"):
            pass
        await publish(broker, 1)
        async with broker.subscribe("other", presence=True):
            with pytest.raises(LimitExceeded, match="presence_limit_members"):
                async with broker.subscribe("a", session="s", presence=True):
                    pass
        assert named_of(broker).offset == 0


@pytest.mark.parametrize("end", ["sweep", "close"])
async def test_one_stays_where_it_is_while_a_subscription_is_made(end: str) -> None:
    engine = GatedEngine(MemoryEngine())
    async with Broker(engine) as broker:
        async with broker.subscribe("a", session="s"):
            pass
        await publish(broker, 1)
        engine.shut("retained")
        entering = asyncio.ensure_future(broker.subscribe("a", session="s", retained=True).__aenter__())
        await settle()
        if end == "sweep":
            broker.sweep()
        else:
            for session in list(broker.sessions.values()):
                broker.close_session(session)
        assert named_of(broker).offset == 0
        entering.cancel()
        await settle()
        assert named_of(broker).offset == 0


@pytest.mark.parametrize("name", ["", "a/b", "x" * 129, "a\n", "\x00"])
async def test_a_name_is_short_and_printable(name: str) -> None:
    async with Broker() as broker:
        with pytest.raises(InvalidCommand, match="session"):
            async with broker.subscribe("a", session=name) as messages:
                broker.claim(messages.session or broker.open_session(messages), name)


@pytest.mark.parametrize("expires", [0.5, 700_000.0])
async def test_a_time_is_within_that_of_the_broker(expires: float) -> None:
    async with Broker() as broker:
        with pytest.raises(InvalidCommand, match=r"\(broker.session_expiry_s\)"):
            async with broker.subscribe("a", session="s", expires=expires):
                pass


async def test_ack_and_expires_need_a_session() -> None:
    async with Broker() as broker:
        for options in ({"ack": True}, {"expires": 5.0}):
            with pytest.raises(InvalidCommand, match="only with session"):
                broker.subscribe("a", **options)


async def test_a_connection_holds_one() -> None:
    async with Broker() as broker, broker.subscribe("a", session="s") as messages:
        assert messages.session is not None
        with pytest.raises(InvalidCommand, match="can have one"):
            broker.claim(messages.session, "t")
        assert broker.claim(messages.session, "s").since == named_of(broker).since


async def test_what_a_reader_of_pages_comes_back_from_it_has_had() -> None:
    async with Broker() as broker:
        named = broker.claim_for_page("s")
        await publish(broker, 1, 2)
        broker.named.visited(named, 2, 0)
        assert named.offset == 0
        again = broker.claim_for_page("s")
        assert broker.named.visit(again) == f"{broker.epoch()}-2"


async def test_a_sweep_is_bounded_and_comes_to_all() -> None:
    clock = FakeClock()
    async with Broker(clock=clock) as broker:
        for number in range(2 * SWEEP_SESSIONS + 1):
            broker.claim_for_page(f"s{number}", expires_s=1.0)
        clock.advance(2.0)
        left = []
        for _ in range(3):
            broker.sweep()
            left.append(len(broker.named.sessions))
        assert left == [SWEEP_SESSIONS + 1, 1, 0]


async def test_a_sweep_notes_how_far_a_holder_has_come() -> None:
    async with Broker() as broker, broker.subscribe("a", session="s") as messages:
        await publish(broker, 1, 2)
        await take(messages, 1)
        broker.sweep()
        assert named_of(broker).offset == 1


async def test_what_is_refused_claims_nothing() -> None:
    async with Broker() as broker, broker.subscribe("a", session="s") as messages:
        with pytest.raises(InvalidFilter):
            await broker.subscribe("a#", session="s").__aenter__()
        with pytest.raises(InvalidCursor):
            await broker.subscribe("a", session="t", since=f"{broker.epoch()}-9").__aenter__()
        await publish(broker, 1)
        assert len(await take(messages, 1)) == 1
        assert list(broker.named.sessions) == ["s"]


async def test_what_was_given_counts_when_it_is_unsubscribed_from() -> None:
    async with Broker() as broker:
        async with broker.subscribe("a", session="s") as messages:
            await publish(broker, 1, 2)
            await take(messages, 1)
            assert messages.session is not None
            broker.remove_filter(messages.session, "a")
        assert named_of(broker).offset == 1


async def test_who_was_there_when_a_crash_came_finds_its_session_again() -> None:
    clock = FakeClock()
    engine = Remembering(clock)
    async with Broker(engine, clock=clock) as broker:
        async with broker.subscribe("a", session="s", expires=100):
            for _ in range(10):
                clock.advance(100)
                broker.sweep()
            after = Broker(engine, clock=clock)
            after.named.restore(clock.time())
            for seconds, there in ((99, {"s"}), (2, set())):
                clock.advance(seconds)
                after.named.sweep(clock.time(), 0)
                assert set(after.named.sessions) == there
        broker.sweep()
        clock.advance(60)
        after = Broker(engine, clock=clock)
        after.named.restore(clock.time())
        clock.advance(60)
        after.named.sweep(clock.time(), 0)
        assert after.named.sessions == {}


async def test_a_reader_of_pages_goes_on_where_a_replay_was_cut() -> None:
    """That what is retained came first says nothing of what is older."""
    async with Broker() as broker:
        await publish(broker, 1, 2, 3)
        await broker.publish("b", 4, retain=True)
        async with broker.subscribe("#", session="s", since="start", retained=True) as messages:
            assert [message.data for message in await take(messages, 2)] == [4, 1]
        named = broker.claim_for_page("s")
        assert broker.named.visit(named) == f"{broker.epoch()}-1"


async def test_further_filters_bring_what_has_not_been_given_yet() -> None:
    async with Broker() as broker:
        async with broker.subscribe("a", session="s"):
            pass
        for number in range(3):
            await broker.publish("a", number)
            await broker.publish("b", number)
        async with broker.subscribe("a", session="s") as messages:
            await take(messages, 3)
            broker.sweep()
            assert messages.session is not None
            named = broker.claim(messages.session, "s")
            await broker.add_filters(messages.session, ["b"], parse_since(named.since))
            assert [message.offset for message in await take(messages, 2)] == [2, 4]
        async with broker.subscribe("b", session="s") as messages:
            assert [message.offset for message in await take(messages, 1)] == [6]
