"""Who is present: comings, goings, the grace time, and what is told of them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extra.errors import ExtraError, InvalidCommand, InvalidPayload, LimitExceeded
from extra.pubsub import (
    Broker,
    BrokerLimits,
    MemoryEngine,
    Message,
    Presence,
    check_presence,
    encode_shown,
)
from extra.pubsub.presence import SNAPSHOT_PLACES, SWEEP_LEAVES
from tests.fakes.clock import FakeClock
from tests.unit.pubsub.material import GatedEngine, settle

NULL = b"null"


async def told(broker: Broker, topic: str = "$presence/#") -> list[tuple[str, str | None, int]]:
    """Return what was told: the event, the member and how many there are."""
    page = await broker.history(topic, limit=10_000)
    found = [json.loads(message.payload) for message in page.messages]
    return [(each["event"], each.get("member"), each["count"]) for each in found]


def presence_of(broker: Broker) -> Presence:
    return broker.presence


async def test_a_snapshot_of_numbers_says_when_there_are_further_topics() -> None:
    async with Broker(clock=FakeClock()) as broker:
        presence = presence_of(broker)
        for number in range(SNAPSHOT_PLACES):
            presence.join(f"room/{number}", "m", NULL)
        page = presence.page(["#"], "", 0)
        assert (page.count, page.more) == (SNAPSHOT_PLACES, False)
        presence.join("room", "m", NULL)
        assert presence.page(["#"], "", 0).more


async def test_who_comes_and_goes_is_told_and_counted() -> None:
    async with Broker(clock=FakeClock()) as broker:
        async with (
            broker.subscribe("room", presence={"name": "Ada"}, member="ada"),
            broker.subscribe("room", presence=True, member="bob"),
        ):
            page = await broker.present("#")
            [place] = page.places
            assert (page.count, place.topic, place.count, page.more) == (2, "room", 2, False)
            assert {each.id: each.data for each in place.members} == {"ada": {"name": "Ada"}, "bob": None}
        assert (await broker.present("#")).places == []
        assert await told(broker) == [
            ("join", "ada", 1),
            ("join", "bob", 2),
            ("leave", "bob", 1),
            ("leave", "ada", 0),
        ]
        figures = broker.figures()
        assert [figures[f"presence_{each}"] for each in ("members", "topics", "joined", "left")] == [
            0,
            0,
            2,
            2,
        ]


async def test_a_snapshot_and_its_cursor_miss_nothing() -> None:
    async with Broker() as broker, broker.subscribe("room", presence=True, member="a"):
        page = await broker.present("room")
        async with (
            broker.subscribe("room", presence=True, member="b"),
            broker.subscribe("$presence/room", since=page.cursor) as events,
        ):
            expected = {"event": "join", "member": "b", "count": 2, "data": None}
            assert (await anext(events)).data == expected


async def test_a_member_stays_for_the_grace_time() -> None:
    clock = FakeClock()
    async with Broker(clock=clock) as broker:
        presence = presence_of(broker)
        presence.join("room", "a", NULL)
        presence.leave("room", "a", clock.now(), at_once=False)
        clock.advance(9.0)
        broker.sweep()
        presence.join("room", "a", NULL)
        clock.advance(9.0)
        broker.sweep()
        assert (presence.count, await told(broker)) == (1, [("join", "a", 1)])
        presence.leave("room", "a", clock.now(), at_once=False)
        clock.advance(10.0)
        broker.sweep()
        assert await told(broker) == [("join", "a", 1), ("leave", "a", 0)]
        assert not presence.rooms
        assert not presence.leaving
        assert not len(presence.index)


async def test_connections_with_one_id_are_one_member() -> None:
    async with Broker(clock=FakeClock()) as broker:
        presence = presence_of(broker)
        presence.join("room", "a", b"1")
        presence.join("room", "a", b"2")
        presence.leave("room", "a", 0.0, at_once=True)
        assert await told(broker) == [("join", "a", 1), ("update", "a", 1)]
        presence.leave("room", "a", 0.0, at_once=True)
        presence.leave("room", "a", 0.0, at_once=True)
        assert await told(broker) == [("join", "a", 1), ("update", "a", 1), ("leave", "a", 0)]


async def test_many_members_are_told_by_their_number_once_a_second() -> None:
    clock = FakeClock()
    async with Broker(clock=clock, limits=BrokerLimits(presence_told_members=3)) as broker:
        presence = presence_of(broker)
        for number in range(10):
            presence.join("room", f"m{number}", NULL)
        assert [event for event, _, _ in await told(broker)] == ["join"] * 3
        broker.sweep()
        broker.sweep()
        assert (await told(broker))[3:] == [("count", None, 10)]
        for number in range(10):
            presence.leave("room", f"m{number}", clock.now(), at_once=True)
        assert len(await told(broker)) == 4
        broker.sweep()
        assert (await told(broker))[4:] == [("count", None, 0)]


async def test_so_many_may_be_present() -> None:
    async with Broker(limits=BrokerLimits(presence_limit_members=2)) as broker:
        async with broker.subscribe("a", "b", presence=True, member="x"):
            with pytest.raises(LimitExceeded, match=r"\(broker.presence_limit_members\)"):
                async with broker.subscribe("c", presence=True, member="y"):
                    pass
            assert (await broker.present("#")).count == 2
            assert len(broker.sessions) == 1
        with pytest.raises(LimitExceeded):
            async with broker.subscribe("a", "b", "c", presence=True):
                pass
        assert (await broker.present("#")).count == 0


async def test_a_snapshot_has_so_many_members() -> None:
    async with Broker() as broker:
        for topic in ("a", "b"):
            for number in range(3):
                presence_of(broker).join(topic, f"m{number}", NULL)
        page = await broker.present("+", limit=4)
        assert [(each.topic, each.count, len(each.members)) for each in page.places] == [
            ("a", 3, 3),
            ("b", 3, 1),
        ]
        assert (page.count, page.more) == (6, True)


@pytest.mark.parametrize("filters", [["a/+"], ["#"], ["a", "$x"]])
def test_one_is_present_at_topics_alone(filters: list[str]) -> None:
    with pytest.raises(InvalidCommand, match="presence"):
        check_presence(filters, "m")


@pytest.mark.parametrize("member", ["", "x" * 65, "ä" * 33])
def test_an_id_is_neither_empty_nor_long(member: str) -> None:
    with pytest.raises(InvalidCommand, match="member"):
        check_presence(["a"], member)


def test_what_is_shown_is_json_and_not_large() -> None:
    assert encode_shown({"ä": [1]}, 100) == '{"ä":[1]}'.encode()
    assert encode_shown(True, 100) == NULL
    for value in (float("nan"), b"x", {1, 2}):
        with pytest.raises(InvalidPayload):
            encode_shown(value, 100)
    with pytest.raises(LimitExceeded, match=r"\(broker.presence_data_limit_bytes\)"):
        encode_shown("x" * 99, 100)


async def test_a_member_needs_presence() -> None:
    async with Broker() as broker:
        with pytest.raises(InvalidCommand, match="member"):
            broker.subscribe("a", member="m")
        with pytest.raises(InvalidCommand, match="filter"):
            broker.subscribe("a/#", presence=True)


steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "lose", "leave", "wait"]), st.sampled_from("ab"), st.sampled_from("xyz")
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=150, deadline=None)
async def test_it_does_what_a_simple_model_does(steps: list[tuple[str, str, str]]) -> None:
    clock = FakeClock()
    async with Broker(clock=clock) as broker:
        presence = presence_of(broker)
        connections: dict[tuple[str, str], int] = {}
        gone: dict[tuple[str, str], float] = {}
        for step, topic, member in steps:
            key = (topic, member)
            if step == "join":
                connections[key] = connections.get(key, 0) + 1
                gone.pop(key, None)
                presence.join(topic, member, NULL)
            elif step == "wait":
                clock.advance(4.0)
                broker.sweep()
                for each in [each for each, at in gone.items() if at <= clock.now()]:
                    del gone[each]
                    del connections[each]
            elif connections.get(key, 0) > 0:
                connections[key] -= 1
                if connections[key] == 0 and step == "lose":
                    gone[key] = clock.now() + 10.0
                elif connections[key] == 0:
                    del connections[key]
                presence.leave(topic, member, clock.now(), at_once=step == "leave")
            page = await broker.present("#")
            found = {(place.topic, each.id) for place in page.places for each in place.members}
            assert found == set(connections)
            assert page.count == presence.count == len(connections)
        events = await told(broker)
        assert sum({"join": 1, "leave": -1}[event] for event, _, _ in events) == len(connections)


async def test_after_a_great_loss_members_leave_by_and_by() -> None:
    clock = FakeClock()
    async with Broker(clock=clock) as broker:
        presence = presence_of(broker)
        for number in range(SWEEP_LEAVES + 5):
            presence.join(f"room/{number}", "m", NULL)
            presence.leave(f"room/{number}", "m", clock.now(), at_once=False)
        clock.advance(11.0)
        broker.sweep()
        assert presence.count == 5
        broker.sweep()
        assert presence.count == 0


class BatchingEngine(GatedEngine):
    """An engine that notes how many messages were handed to it at once."""

    def __init__(self) -> None:
        super().__init__(MemoryEngine(clock=FakeClock()))
        self.runs: list[int] = []

    async def append_many(self, messages: list[Message], keys: list[bytes]) -> list[int | ExtraError]:
        self.runs.append(len(messages))
        return await super().append_many(messages, keys)


async def test_what_comes_at_once_is_written_at_once_and_again_when_that_fails() -> None:
    """An engine that writes in batches takes as long for a thousand as for one."""
    engine = BatchingEngine()
    async with Broker(engine, clock=FakeClock()) as broker:
        presence = presence_of(broker)
        engine.is_broken = True
        for number in range(3):
            presence.join("room", f"m{number}", NULL)
        await settle()
        assert engine.runs == [3]
        engine.is_broken = False
        presence.join("room", "m3", NULL)
        await settle()
        assert engine.runs == [3, 4]
        assert await told(broker) == [("join", f"m{number}", number + 1) for number in range(4)]
