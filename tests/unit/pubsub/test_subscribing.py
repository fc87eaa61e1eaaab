"""Sessions, their filters, and delivering to them."""

import asyncio
from random import Random

import pytest

from extra.errors import BrokerClosed, ChannelClosed, EngineUnavailable, InvalidCommand, LimitExceeded
from extra.pubsub import (
    Broker,
    BrokerLimits,
    Engine,
    MemoryEngine,
    Policy,
    PolicyTable,
    parse_overflow,
    parse_since,
)
from extra.pubsub.outbox import DISCONNECT, DROP_OLDEST, LATEST
from tests.fakes.clock import FakeClock
from tests.fakes.engine import SlowEngine
from tests.unit.pubsub.house import SIZE, TIGHT, House
from tests.unit.pubsub.material import Listener, NameForm, settle, take_all

# Delivering


async def test_messages_are_delivered_in_the_order_of_their_offsets(house: House) -> None:
    """DESIGN section 10: order."""
    session, listener = house.open_session()
    await house.add(session, "a", "b")
    await house.publish("a", "c", "b", "a")
    assert take_all(session.outbox) == ["a1", "b3", "a4"]
    assert listener.wakes == 1


async def test_overlapping_filters_bring_a_message_once(house: House) -> None:
    """docs/protocol.md, commands: a session with overlapping filters receives a message once."""
    session, _ = house.open_session()
    await house.add(session, "a/b", "a/+", "a/#")
    await house.add(session, "#")
    await house.publish("a/b")
    assert take_all(session.outbox) == ["a/b1"]


async def test_a_subscriber_that_overflows_costs_no_other_anything() -> None:
    """DESIGN section 5: bounded."""
    async with House(limits=TIGHT) as house:
        slow, slow_listener = house.open_session()
        quick, quick_listener = house.open_session()
        for session in (slow, quick):
            await house.add(session, "a")
        taken = []
        for _ in range(20):
            await house.publish("a")
            taken += take_all(quick.outbox)
        assert len(taken) == 20
        assert (slow_listener.overflows, quick_listener.overflows) == (1, 0)
        assert slow.outbox.size == 8 * SIZE
        assert await house.receive(slow) == taken


async def test_a_session_may_be_closed_by_the_consumer_that_is_told_of_an_overflow() -> None:
    async with House(limits=TIGHT) as house:

        class Closing(Listener):
            def overflowed(self) -> None:
                super().overflowed()
                house.broker.close_session(session)

        listener = Closing()
        session = house.broker.open_session(listener)
        other, _ = house.open_session()
        for each in (session, other):
            await house.add(each, "a")
        await house.publish(*["a"] * 9)
        assert listener.overflows == 1
        assert (await house.broker.publish("a", 1)).subscribers == 1


async def test_one_can_subscribe_in_process(house: House) -> None:
    async with house.broker.subscribe("a", "b", since="start") as messages:
        await house.publish("a", "c", "b")
        assert [(await anext(messages)).offset for _ in range(2)] == [1, 3]


# Sessions


async def test_a_session_is_opened_and_closed(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a", "b")
    figures = house.broker.figures()
    assert (figures["sessions"], figures["subscriptions"], figures["filters"]) == (1, 2, 2)
    house.broker.close_session(session)
    house.broker.close_session(session)
    figures = house.broker.figures()
    assert (figures["sessions"], figures["subscriptions"], figures["filters"]) == (0, 0, 0)
    assert (await house.broker.publish("a", 1)).subscribers == 0


async def test_sessions_have_names_of_their_own(house: House) -> None:
    assert len({house.open_session()[0].id for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("name", "policy"), [("disconnect", DISCONNECT), ("drop-oldest", DROP_OLDEST), ("latest", LATEST)]
)
async def test_overflow_policies_have_names(house: House, name: str, policy: int) -> None:
    """docs/protocol.md, commands."""
    assert parse_overflow(name) == policy
    assert house.open_session(name)[0].outbox.overflow == policy


def test_an_unknown_overflow_policy_is_refused() -> None:
    with pytest.raises(InvalidCommand, match="overflow 'never': one of disconnect, drop-oldest, latest"):
        parse_overflow("never")


async def test_what_a_closed_session_dropped_still_counts() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session("drop-oldest")
        await house.add(session, "a")
        await house.publish(*["a"] * 11)
        assert house.broker.figures()["dropped"] == 3
        house.broker.close_session(session)
        assert house.broker.figures()["dropped"] == 3


@pytest.mark.parametrize(
    ("overflow", "filters", "expected"),
    [
        (None, ["a/b"], LATEST),
        (None, ["b", "a/b"], DISCONNECT),  # the first filter says it
        ("drop-oldest", ["a/b"], DROP_OLDEST),
    ],
)
async def test_who_names_no_overflow_has_that_of_the_policy(
    overflow: str | None, filters: list[str], expected: int
) -> None:
    async with Broker(MemoryEngine(PolicyTable(Policy(), [("a/#", Policy(overflow="latest"))]))) as broker:
        session = broker.open_session(Listener(), overflow=overflow)
        await broker.add_filters(session, filters, parse_since("now"))
        assert session.outbox.overflow == expected
        await broker.add_filters(session, ["a/#"], parse_since("now"))
        assert session.outbox.overflow == expected, "it is one for the session"


# Several subscriptions of one session


async def test_a_second_subscription_brings_what_the_first_has_not(house: House) -> None:
    """docs/protocol.md, commands: `replay` is `missing` by default."""
    await house.publish("a/x", "b", "a/y")
    session, _ = house.open_session()
    await house.add(session, "a/+", since="e1-1")
    assert await house.receive(session) == ["a/y3"]
    await house.publish("a/x")
    replay = await house.add(session, "#", since="start")
    assert await house.receive(session) == ["a/x4", "a/x1", "b2"]
    assert replay.count == 2


async def test_a_subscription_can_ask_for_everything_again(house: House) -> None:
    """docs/protocol.md, commands: `replay` `all`."""
    await house.publish("a", "b")
    session, _ = house.open_session()
    await house.add(session, "a", since="start")
    await house.receive(session)
    await house.add(session, "#", since="start", replay_all=True)
    assert await house.receive(session) == ["a1", "b2"]


async def test_subscribing_again_replays_what_was_asked_for(house: House) -> None:
    """docs/protocol.md, commands."""
    await house.publish("a", "a")
    session, _ = house.open_session()
    await house.add(session, "a", since="e1-1")
    assert await house.receive(session) == ["a2"]
    await house.add(session, "a", since="e1-0")
    assert await house.receive(session) == ["a1", "a2"]
    assert session.filters == {"a": 0}
    await house.publish("a")
    assert take_all(session.outbox) == ["a3"]


async def test_what_was_dropped_is_not_taken_as_brought() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session("drop-oldest")
        await house.add(session, "a")
        await house.publish(*["a"] * 9)
        assert take_all(session.outbox)[:2] == ["(0, 1]", "a2"]
        await house.add(session, "#", since="start")
        assert (await house.receive(session))[0] == "a1"


async def test_unsubscribing_ends_what_the_filter_brings_and_no_more(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a", "#")
    assert house.broker.remove_filter(session, "#")
    assert not house.broker.remove_filter(session, "#")
    await house.publish("a", "b")
    assert take_all(session.outbox) == ["a1"]


async def test_after_unsubscribing_everything_can_be_had_again(house: House) -> None:
    await house.publish("a")
    session, _ = house.open_session()
    for _ in range(2):
        await house.add(session, "a", since="start")
        assert await house.receive(session) == ["a1"]
        house.broker.remove_filter(session, "a")


async def test_a_subscription_waits_until_an_overflow_has_been_caught_up_with() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session()
        await house.add(session, "a")
        await house.publish(*["a"] * 9)
        assert not session.is_live()
        adding = asyncio.ensure_future(house.add(session, "b", since="start"))
        await settle()
        taken = take_all(session.outbox)
        session.made_room()
        await adding
        assert taken + await house.receive(session) == [f"a{offset}" for offset in range(1, 10)]


async def test_filters_are_bounded_in_number_and_bytes() -> None:
    limits = BrokerLimits(subscriptions_limit=3, subscriptions_limit_bytes=20)
    async with House(limits=limits) as house:
        session, _ = house.open_session()
        await house.add(session, "a", "b")
        await house.add(session, "b", "c")
        with pytest.raises(
            LimitExceeded, match=r"4 topic filters are more than 3 \(broker.subscriptions_limit\)"
        ):
            await house.add(session, "d")
        house.broker.remove_filter(session, "c")
        with pytest.raises(LimitExceeded, match="subscriptions_limit_bytes"):
            await house.add(session, "x" * 19)
        await house.add(session, "x" * 18)


# A subscription that fails


async def test_a_subscription_that_fails_leaves_the_others_as_they_were(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a")
    house.engine.shut("retained")
    adding = asyncio.ensure_future(house.add(session, "a", "b"))
    await settle()
    await house.publish("a", "b", "a")
    house.engine.is_broken = True
    house.engine.open("retained")
    with pytest.raises(EngineUnavailable):
        await adding
    house.engine.is_broken = False
    assert session.filters == {"a": 0}
    assert await house.receive(session) == ["a1", "a3"]
    await house.publish("a", "b")
    assert take_all(session.outbox) == ["a4"]


async def test_a_first_subscription_that_fails_leaves_nothing(house: House) -> None:
    session, _ = house.open_session()
    house.engine.shut("retained")
    adding = asyncio.ensure_future(house.add(session, "#"))
    await settle()
    await house.publish("a", "b")
    adding.cancel()
    await asyncio.wait([adding])
    house.engine.open("retained")
    assert session.is_live()
    assert session.filters == {}
    assert house.broker.figures()["subscriptions"] == 0
    assert take_all(session.outbox) == []
    await house.add(session, "a")
    await house.publish("a")
    assert take_all(session.outbox) == ["a3"]


async def test_after_a_subscription_that_failed_much_later_the_session_catches_up() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session()
        await house.add(session, "a")
        house.engine.shut("before_last")
        adding = asyncio.ensure_future(house.add(session, "b", since="last:3"))
        await settle()
        await house.publish(*["a", "b"] * 20)
        adding.cancel()
        await asyncio.wait([adding])
        assert await house.receive(session) == [f"a{offset}" for offset in range(1, 41, 2)]


@pytest.mark.parametrize("gate", ["retained", "retained done"])
async def test_a_session_closed_while_it_subscribes_stays_closed(house: House, gate: str) -> None:
    session, _ = house.open_session()
    house.engine.shut(gate)
    adding = asyncio.ensure_future(house.add(session, "a"))
    await settle()
    house.broker.close_session(session)
    house.engine.open(gate)
    with pytest.raises(ChannelClosed):
        await adding
    assert house.broker.figures()["subscriptions"] == 0
    with pytest.raises(ChannelClosed):
        await house.add(session, "a")


async def test_a_broker_closed_while_one_subscribes_says_so() -> None:
    house = House()
    await house.broker.start()
    session, _ = house.open_session()
    house.engine.shut("retained")
    adding = asyncio.ensure_future(house.add(session, "a"))
    await settle()
    await house.broker.close()
    house.engine.open("retained")
    with pytest.raises(BrokerClosed):
        await adding


def engine_of(kind: str) -> Engine:
    inner = MemoryEngine(PolicyTable(Policy(messages=1000)), clock=FakeClock())
    return inner if kind == "memory" else SlowEngine(inner, Random(7), most_turns=3)


@pytest.mark.parametrize("kind", ["memory", "slow"])
@pytest.mark.parametrize("turns", range(12))
async def test_subscribing_can_be_cancelled_at_every_await(kind: str, turns: int) -> None:
    """STYLE section 6: a docstring says cancel-safe only where a test cancels at every await."""
    async with Broker(engine_of(kind), limits=TIGHT, clock=FakeClock()) as broker:
        session = broker.open_session(Listener())
        await broker.add_filters(session, ["a"], parse_since("now"))
        for _ in range(4):
            await broker.publish("a", b"")
            await broker.publish("b", b"")

        async def subscribe() -> None:
            await broker.add_filters(session, ["b"], parse_since("start"), retained=True)
            await broker.catch_up(session)

        subscribing = asyncio.ensure_future(subscribe())
        publishing = asyncio.ensure_future(broker.publish("a", b""))
        await settle(turns)
        subscribing.cancel()
        await asyncio.wait([subscribing])
        await publishing
        taken = take_all(session.outbox)
        while not session.is_live():
            await broker.advance(session)
            taken += take_all(session.outbox)
        assert [each for each in taken if each[0] == "a"] == ["a1", "a3", "a5", "a7", "a9"]
        is_added = "b" in session.filters
        assert [each for each in taken if each[0] == "b"] == (["b2", "b4", "b6", "b8"] if is_added else [])


# Resuming


async def test_a_session_resumes_after_what_it_was_given(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a")
    await house.publish("a", "b", "a", "b")
    assert house.broker.resume_cursor(session) == "e1-0"
    session.outbox.take()
    assert house.broker.resume_cursor(session) == "e1-2"
    session.outbox.take()
    assert house.broker.resume_cursor(session) == "e1-4"


async def test_a_session_that_overflowed_resumes_with_what_did_not_fit() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session()
        await house.add(session, "a")
        await house.publish(*["a"] * 12)
        take_all(session.outbox)
        assert house.broker.resume_cursor(session) == "e1-8"


async def test_a_session_resumes_in_the_middle_of_its_replay() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 6)
        session, _ = house.open_session()
        await house.add(session, "a", since="e1-1")
        await house.publish(*["a"] * 9)
        given = []
        while not session.is_live():
            await house.broker.advance(session)
            given += take_all(session.outbox)
            last = int(given[-1][1:]) if given else 1
            assert house.broker.resume_cursor(session) == f"e1-{last}"
        assert given == [f"a{offset}" for offset in range(2, 16)]


async def test_a_gap_that_was_not_taken_is_told_again_on_resuming() -> None:
    async with House(Policy(messages=1)) as house:
        await house.publish(*"aaa")
        session, _ = house.open_session()
        await house.add(session, "a", since="e1-1")
        await house.broker.advance(session)
        cursor = house.broker.resume_cursor(session)
        assert cursor == "e1-1"
        other, _ = house.open_session()
        await house.add(other, "a", since=cursor)
        assert await house.receive(other) == ["(1, 2]", "a3"]


async def test_a_new_epoch_that_was_not_taken_is_told_again_on_resuming() -> None:
    async with House(epoch="e2") as house:
        await house.publish("a")
        session, _ = house.open_session()
        await house.add(session, "a", since="e1-7")
        cursor = house.broker.resume_cursor(session)
        other, _ = house.open_session()
        await house.add(other, "a", since=cursor)
        assert await house.receive(other) == ["(None, 0]", "a1"]
        assert house.broker.resume_cursor(other) == "e2-1"


async def test_a_session_over_a_wire_resumes_after_what_was_written(house: House) -> None:
    session = house.broker.open_session(Listener(), NameForm())
    await house.add(session, "a")
    await house.publish("a", "a")
    assert session.outbox.take_bytes(1) == b"<a 1>"
    assert house.broker.resume_cursor(session) == "e1-1"
