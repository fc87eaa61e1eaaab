"""Sessions that catch up with the log while something is published, and some of it is lost."""

import asyncio

import pytest

from extra.errors import ChannelClosed, EngineUnavailable
from extra.pubsub import Message, Policy
from tests.unit.pubsub.house import SIZE, TIGHT, House
from tests.unit.pubsub.material import settle, take_all


async def test_subscribing_from_now_is_live_at_once(house: House) -> None:
    await house.publish("a")
    session, _ = house.open_session()
    replay = await house.add(session, "a")
    assert session.is_live()
    assert (replay.after, replay.count, replay.complete) == (1, 0, True)
    assert session.filters == {"a": 1}


async def test_a_replay_comes_before_what_is_new(house: House) -> None:
    """docs/protocol.md, commands: while a replay runs, what is new waits behind it."""
    await house.publish("a", "b", "a")
    session, _ = house.open_session()
    replay = await house.add(session, "a", since="start")
    await house.publish("a")
    assert await house.receive(session) == ["a1", "a3", "a4"]
    assert (replay.count, replay.complete) == (2, True)
    assert house.broker.figures()["replayed"] == 2


@pytest.mark.parametrize("gate", ["read", "read done"])
async def test_what_is_published_during_a_read_is_neither_lost_nor_doubled(house: House, gate: str) -> None:
    """DESIGN section 5: no gap, no double, no reordering."""
    await house.publish("a")
    session, _ = house.open_session()
    await house.add(session, "a", since="start")
    house.engine.shut(gate)
    receiving = asyncio.ensure_future(house.receive(session))
    await settle()
    await house.publish("a", "b", "a")
    house.engine.open(gate)
    assert await receiving == ["a1", "a2", "a4"]


async def test_catching_up_waits_for_room_and_takes_bounded_memory() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 100)
        session, _ = house.open_session()
        await house.add(session, "a", since="start")
        catching_up = asyncio.ensure_future(house.broker.catch_up(session))
        taken: list[str] = []
        while not catching_up.done():
            await settle()
            assert session.outbox.size <= 6 * SIZE
            taken += take_all(session.outbox)
            session.made_room()
        assert taken + take_all(session.outbox) == [f"a{offset}" for offset in range(1, 101)]


async def test_what_is_published_while_catching_up_takes_bounded_memory() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 10)
        session, _ = house.open_session()
        await house.add(session, "a", since="start")
        await house.publish(*["a"] * 990)
        assert session.pending_bytes <= 4 * SIZE
        taken = []
        while not session.is_live():
            await house.broker.advance(session)
            assert session.outbox.size <= 6 * SIZE
            taken += take_all(session.outbox)
        assert taken == [f"a{offset}" for offset in range(1, 1001)]


async def test_catching_up_ends_when_the_session_is_closed() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 100)
        for gate in ("read", "read done"):
            session, _ = house.open_session()
            await house.add(session, "a", since="start")
            house.engine.shut(gate)
            catching_up = asyncio.ensure_future(house.broker.catch_up(session))
            await settle()
            house.broker.close_session(session)
            house.engine.open(gate)
            with pytest.raises(ChannelClosed):
                await catching_up
            assert len(session.outbox) == 0


async def test_going_back_to_the_log_ends_when_the_session_is_closed() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session()
        await house.add(session, "a")
        await house.publish(*["a"] * 30)
        take_all(session.outbox)
        house.engine.shut("read done")
        catching_up = asyncio.ensure_future(house.broker.catch_up(session))
        await settle()
        house.broker.close_session(session)
        house.engine.open("read done")
        with pytest.raises(ChannelClosed):
            await catching_up
        assert len(session.outbox) == 0


async def test_catching_up_ends_when_the_session_is_closed_for_want_of_room() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 100)
        session, _ = house.open_session()
        await house.add(session, "a", since="start")
        catching_up = asyncio.ensure_future(house.broker.catch_up(session))
        await settle()
        house.broker.close_session(session)
        with pytest.raises(ChannelClosed):
            await catching_up


async def test_an_engine_that_fails_leaves_the_session_as_it_was(house: House) -> None:
    await house.publish("a", "a")
    session, _ = house.open_session()
    await house.add(session, "a", since="start")
    house.engine.is_broken = True
    with pytest.raises(EngineUnavailable):
        await house.broker.advance(session)
    house.engine.is_broken = False
    assert await house.receive(session) == ["a1", "a2"]


# Retained messages


async def test_retained_messages_come_before_the_replay(house: House) -> None:
    await house.publish("a")
    await house.publish("b", retain=True)
    await house.publish("a")
    session, _ = house.open_session()
    replay = await house.add(session, "#", since="e1-0", retained=True)
    assert await house.receive(session) == ["b2", "a1", "a3"]
    assert replay.count == 3


async def test_retained_messages_come_in_steps_that_fit_the_outbox() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*[f"t/{number}" for number in range(20)], retain=True)
        session, _ = house.open_session()
        await house.add(session, "#")
        taken = []
        while not session.is_live():
            await house.broker.advance(session)
            assert session.outbox.size <= 5 * SIZE
            taken += take_all(session.outbox)
        assert len(taken) == 20


async def test_a_retained_message_that_another_filter_has_brought_does_not_come_again(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a")
    await house.publish("a", "b", retain=True)
    assert take_all(session.outbox) == ["a1"]
    await house.add(session, "#")
    assert await house.receive(session) == ["b2"]


# Loss


async def test_a_loss_is_told_before_what_is_left() -> None:
    """docs/protocol.md, loss."""
    async with House(Policy(messages=2)) as house:
        await house.publish("b", *"aaaa")
        session, _ = house.open_session()
        replay = await house.add(session, "a", since="e1-0")
        assert await house.receive(session) == ["(0, 3]", "a4", "a5"]
        assert not replay.complete
        assert house.broker.figures()["gaps"] == 1


async def test_a_gap_names_its_filter_when_there_is_but_one() -> None:
    async with House(Policy(messages=1)) as house:
        await house.publish("a", "a")
        for filters, named in ((["a"], "a"), (["a", "b"], None)):
            session, _ = house.open_session()
            await house.add(session, *filters, since="e1-0")
            await house.broker.advance(session)
            gap = session.outbox.take()
            assert gap is not None
            assert not isinstance(gap, Message)
            assert gap.filter == named


async def test_a_loss_that_is_known_is_not_told_again() -> None:
    """docs/architecture.md: the `KNOWN` part of a cursor."""
    async with House(Policy(messages=2)) as house:
        await house.publish(*"aaaaa")
        session, _ = house.open_session()
        replay = await house.add(session, "a", since="e1-0-3")
        assert await house.receive(session) == ["a4", "a5"]
        assert replay.complete


async def test_what_is_lost_in_the_middle_of_a_replay_is_told() -> None:
    async with House(Policy(messages=4), limits=TIGHT) as house:
        await house.publish(*"aaaabbbb")
        session, _ = house.open_session()
        replay = await house.add(session, "#", since="start")
        await house.broker.advance(session)
        assert take_all(session.outbox) == ["a1", "a2"]
        await house.publish("b", "b")
        assert await house.receive(session) == ["(2, 6]", "a3", "a4", "b7", "b8", "b9", "b10"]
        assert not replay.complete


async def test_a_replay_is_not_complete_when_what_came_meanwhile_is_lost() -> None:
    async with House(Policy(messages=4), limits=TIGHT) as house:
        await house.publish("b")
        session, _ = house.open_session()
        replay = await house.add(session, "#", since="start")
        await house.publish(*["a"] * 20)
        assert await house.receive(session) == ["b1", "(1, 17]", "a18", "a19", "a20", "a21"]
        assert not replay.complete


async def test_what_is_still_pending_is_no_loss() -> None:
    """A gap names what is not given: topics that keep nothing are given to who is there."""
    async with House(limits=TIGHT, entries=[("mouse", Policy(messages=0))]) as house:
        await house.publish("a", "a")
        session, _ = house.open_session()
        replay = await house.add(session, "#", since="start")
        await house.publish("mouse")
        assert await house.receive(session) == ["a1", "a2", "mouse3"]
        assert replay.complete


async def test_a_gap_and_what_was_pending_do_not_contradict_each_other() -> None:
    """What a gap has declared lost does not come after it."""
    async with House(limits=TIGHT, entries=[("mouse", Policy(messages=0))]) as house:
        await house.publish("mouse", *"aaaa")
        session, _ = house.open_session()
        replay = await house.add(session, "#", since="e1-0")
        await house.publish("mouse")
        assert await house.receive(session) == ["(0, 6]", "a2", "a3", "a4", "a5"]
        await house.publish("mouse")
        assert take_all(session.outbox) == ["mouse7"]
        assert not replay.complete


async def test_after_a_long_overflow_a_gap_and_what_was_pending_do_not_contradict_each_other() -> None:
    """What a gap has declared lost does not come after it."""
    async with House(limits=TIGHT, entries=[("mouse", Policy(messages=0))]) as house:
        session, _ = house.open_session()
        await house.add(session, "#")
        await house.publish(*["a"] * 14, "mouse", "a")
        assert session.pending_from == 13
        expected = [*[f"a{offset}" for offset in range(1, 9)], "(8, 15]"]
        expected += [f"a{offset}" for offset in (9, 10, 11, 12, 13, 14, 16)]
        assert await house.receive(session) == expected


async def test_a_new_epoch_is_told_first() -> None:
    async with House(epoch="e2") as house:
        await house.publish("a")
        session, _ = house.open_session()
        replay = await house.add(session, "a", since="e1-700-900")
        assert not replay.complete
        assert await house.receive(session) == ["(None, 0]", "a1"]
