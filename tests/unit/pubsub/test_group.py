"""Groups: each message to one member, until it is acknowledged."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from extra.errors import (
    BrokerClosed,
    EngineUnavailable,
    GroupConflict,
    InvalidCommand,
    InvalidCursor,
    LimitExceeded,
    NotDelivered,
    SessionTakenOver,
    UnrecoverablePosition,
)
from extra.pubsub import (
    Broker,
    BrokerLimits,
    Gap,
    GroupMessages,
    MemoryEngine,
    Message,
    Policy,
    PolicyTable,
    Slice,
    compose,
)
from extra.pubsub.group import ASLEEP_AFTER_S
from tests.fakes.clock import FakeClock
from tests.fakes.engine import Remembering, SlowEngine
from tests.unit.pubsub.material import settle


async def take(messages: GroupMessages, count: int) -> list[Message]:
    async with asyncio.timeout(5):
        return [await anext(messages) for _ in range(count)]


async def data(messages: GroupMessages, count: int) -> list[object]:
    return [message.data for message in await take(messages, count)]


async def has_nothing(messages: GroupMessages) -> bool:
    await settle()
    return not messages.waiting


async def publish(broker: Broker, *numbers: int, topic: str = "a") -> None:
    for number in numbers:
        await broker.publish(topic, number)


@asynccontextmanager
async def a_broker(limits: BrokerLimits | None = None) -> AsyncIterator[tuple[Broker, FakeClock]]:
    clock = FakeClock()
    async with Broker(clock=clock, limits=limits) as broker:
        yield broker, clock


async def pass_time(broker: Broker, clock: FakeClock, seconds: float) -> None:
    clock.advance(seconds)
    broker.sweep()
    await settle()


async def test_each_message_goes_to_one_member() -> None:
    async with (
        a_broker() as (broker, _),
        broker.group("g", "a") as first,
        broker.group("g", "a") as second,
    ):
        await publish(broker, 1, 2, 3, 4)
        assert await data(first, 2) == [1, 3]
        assert await data(second, 2) == [2, 4]
        assert await has_nothing(first)
        assert await has_nothing(second)


async def test_groups_do_not_share_with_each_other() -> None:
    async with a_broker() as (broker, _), broker.group("g", "a") as one, broker.group("h", "a") as other:
        await publish(broker, 1, 2)
        assert await data(one, 2) == [1, 2]
        assert await data(other, 2) == [1, 2]


async def test_what_is_acknowledged_is_done() -> None:
    async with a_broker() as (broker, clock):
        async with broker.group("g", "a") as messages:
            await publish(broker, 1, 2)
            first, second = await take(messages, 2)
            await messages.ack(second)
            await messages.ack(first, second)  # twice is once
            assert broker.groups.find("g").position() == second.offset
            await pass_time(broker, clock, 60)
            assert await has_nothing(messages)
        async with broker.group("g", "a") as messages:
            assert await has_nothing(messages)


async def test_what_is_not_acknowledged_in_time_goes_to_another() -> None:
    async with (
        a_broker() as (broker, clock),
        broker.group("g", "a", ack_wait=5) as first,
        broker.group("g", "a") as second,
    ):
        await publish(broker, 1)
        [late] = await take(first, 1)
        await pass_time(broker, clock, 4.9)
        assert await has_nothing(second)
        await pass_time(broker, clock, 0.2)
        [again] = await take(second, 1)
        assert (again.data, again.deliveries, again.offset, late.deliveries) == (1, 2, late.offset, 1)
        with pytest.raises(NotDelivered, match="is with another member"):
            await first.ack(late)
        await second.ack(again)
        await first.ack(late)  # it is done: nothing to complain about
        assert broker.figures()["group_timeouts"] == 1


async def test_who_does_not_iterate_is_not_given_ever_more() -> None:
    async with (
        a_broker() as (broker, clock),
        broker.group("g", "a", ack_wait=10, max_unacknowledged=3) as first,
    ):
        await publish(broker, 1, 2, 3, 4)
        for _ in range(5):
            await settle()
            await pass_time(broker, clock, 10)
        assert len(first.waiting) == 3
        async with broker.group("g", "a") as second:
            await settle()
            assert [(each.data, each.deliveries) for each in await take(second, 3)] == [
                (1, 2),
                (2, 2),
                (3, 2),
            ]
            assert await data(first, 1) == [4]  # none of those whose time is over
            await publish(broker, 5, 6)
            assert await data(first, 2) == [5, 6]


async def test_a_timer_of_its_own_sees_to_that_where_nobody_sweeps() -> None:
    async with Broker() as broker, broker.group("g", "a", ack_wait=0.05) as messages:
        await publish(broker, 1)
        [first] = await take(messages, 1)
        [again] = await take(messages, 1)
        assert (first.deliveries, again.deliveries) == (1, 2)
        await messages.nack(again, delay=0.05)
        [once_more] = await take(messages, 1)
        assert once_more.deliveries == 3


async def test_what_a_member_leaves_goes_to_another() -> None:
    async with a_broker() as (broker, _), broker.group("g", "a") as first:
        async with broker.group("g", "a") as second:
            await publish(broker, 1, 2)
            assert await data(first, 1) == [1]
            assert await data(second, 1) == [2]
        [again] = await take(first, 1)
        assert (again.data, again.deliveries) == (2, 2)


async def test_what_is_given_back_comes_again_and_to_another() -> None:
    async with (
        a_broker() as (broker, clock),
        broker.group("g", "a") as first,
        broker.group("g", "a") as second,
    ):
        await publish(broker, 1)
        await first.nack(*await take(first, 1))
        [again] = await take(second, 1)
        assert again.deliveries == 2
        await second.nack(again, delay=10)
        await pass_time(broker, clock, 9)
        assert await has_nothing(first)
        await pass_time(broker, clock, 2)
        [again] = await take(first, 1)
        assert again.deliveries == 3
        with pytest.raises(InvalidCommand, match="delay -1"):
            await first.nack(again, delay=-1)
        await first.nack(again, again)


async def test_nobody_has_more_than_it_may() -> None:
    async with a_broker() as (broker, _), broker.group("g", "a", max_unacknowledged=2) as messages:
        await publish(broker, 1, 2, 3)
        first, _ = await take(messages, 2)
        assert await has_nothing(messages)
        await messages.ack(first)
        assert await data(messages, 1) == [3]


async def test_who_asks_for_another_kind_of_group_is_refused_while_it_has_members() -> None:
    async with a_broker() as (broker, _):
        async with broker.group("g", "a", ack_wait=5, order="topic"):
            async with broker.group("g", "a", ack_wait=5):
                pass
            with pytest.raises(GroupConflict, match=r"for whom ack_wait is 5 and not 6"):
                await broker.group("g", "a", ack_wait=6).__aenter__()
            with pytest.raises(GroupConflict, match=r"filter is 'a' and not 'a, b'"):
                await broker.group("g", "a", "b").__aenter__()
            with pytest.raises(GroupConflict, match=r"max_deliveries is None and not 3"):
                await broker.group("g", "a", max_deliveries=3, dead_letters="dead").__aenter__()
        async with broker.group("g", "b", ack_wait=6) as messages:
            await publish(broker, 1, topic="b")
            assert await data(messages, 1) == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ack_wait": 0.0}, "ack_wait 0: from 0.05 to 86400"),
        ({"max_unacknowledged": 0}, "max_unacknowledged 0: from 1 to 10000"),
        ({"max_deliveries": 3}, "max_deliveries and dead_letters: both, or neither"),
        ({"dead_letters": "d"}, "max_deliveries and dead_letters: both, or neither"),
        ({"max_deliveries": 0, "dead_letters": "d"}, "max_deliveries 0: from 1 to 1000"),
        ({"max_deliveries": 3, "dead_letters": "a"}, "the group itself does not read"),
        ({"max_deliveries": 3, "dead_letters": "$d"}, "does not begin with"),
        ({"order": "random"}, "order 'random': one of none, topic, key"),
        ({"expires": 1e9}, "expires 1e\\+09: from 1 to 604800"),
        ({"member": "a/b"}, "member 'a/b': a name of 1 to 128"),
    ],
)
async def test_options_that_are_none(options: dict[str, object], message: str) -> None:
    async with a_broker() as (broker, _):
        with pytest.raises(InvalidCommand, match=message):
            await broker.group("g", "a", **options).__aenter__()  # type: ignore[arg-type]
        assert broker.groups.groups == {}


async def test_arguments_of_the_wrong_type() -> None:
    async with a_broker() as (broker, _):
        for wrong in ({"ack_wait": "5"}, {"max_deliveries": 1.5}, {"order": 1}, {"member": b"m"}):
            with pytest.raises(TypeError):
                broker.group("g", "a", **wrong)
        with pytest.raises(InvalidCommand, match="group ''"):
            await broker.group("", "a").__aenter__()
        with pytest.raises(InvalidCursor):
            await broker.group("g", "a", since="yesterday").__aenter__()


async def test_what_was_tried_so_often_is_a_dead_letter() -> None:
    async with (
        a_broker() as (broker, clock),
        broker.subscribe("dead") as dead,
        broker.group("g", "a", max_deliveries=2, dead_letters="dead", ack_wait=5) as messages,
    ):
        await broker.publish("a", {"n": 1}, headers={"trace": "t"})
        [first] = await take(messages, 1)
        await messages.nack(first)
        await take(messages, 1)
        await pass_time(broker, clock, 6)
        letter = await anext(dead)
        assert letter.data == {"n": 1}
        assert letter.headers == {
            "trace": "t",
            "extra-group": "g",
            "extra-topic": "a",
            "extra-offset": "1",
            "extra-deliveries": "2",
        }
        await settle()
        group = broker.groups.find("g")
        assert (group.position(), group.jobs, group.dead_letters_total) == (2, {}, 1)
        assert await has_nothing(messages)


async def test_a_dead_letter_that_is_refused_stays_until_it_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        a_broker() as (broker, clock),
        broker.group("g", "a", max_deliveries=1, dead_letters="dead") as messages,
    ):
        await broker.publish("dead", "over", close=True)
        await publish(broker, 1)
        await messages.nack(*await take(messages, 1))
        await settle()
        await pass_time(broker, clock, 1)
        assert len(broker.groups.find("g").jobs) == 1
        assert len([each for each in caplog.records if "a dead letter is refused" in each.message]) == 1
        await broker.publish("dead", "again", close=False)
        await pass_time(broker, clock, 1)
        assert broker.groups.find("g").jobs == {}
        page = await broker.history("dead")
        assert [message.data for message in page.messages] == ["over", "again", 1]


async def test_a_dead_letter_that_is_refused_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    policies = PolicyTable(Policy(), [("dead", Policy(max_payload_bytes=10))])
    async with (
        Broker(MemoryEngine(policies, clock=clock), clock=clock) as broker,
        broker.group("g", "a", max_deliveries=1, dead_letters="dead") as messages,
    ):
        for value in ("x" * 20, 1, "y" * 30, 2):
            await broker.publish("a", value)
        await messages.nack(*await take(messages, 4))
        for _ in range(3):
            await pass_time(broker, clock, 1)
        page = await broker.history("dead")
        assert [message.data for message in page.messages] == [1, 2]
        assert len(broker.groups.find("g").dead) == 2
        assert len([each for each in caplog.records if "a dead letter is refused" in each.message]) == 1


async def test_messages_of_a_topic_come_one_after_the_other_where_asked_for() -> None:
    async with (
        a_broker() as (broker, _),
        broker.group("g", "#", order="topic") as first,
        broker.group("g", "#") as second,
    ):
        await publish(broker, 1, 2, topic="a")
        await publish(broker, 3, topic="b")
        [one] = await take(first, 1)
        [three] = await take(second, 1)
        assert (one.data, three.data) == (1, 3)
        assert await has_nothing(first)
        await first.nack(one)
        [one] = await take(second, 1)
        assert one.data == 1
        assert await has_nothing(first)
        await second.ack(one)
        assert {await first_of(first, second)} == {2}


async def first_of(*shares: GroupMessages) -> object:
    """Return what the first share has that has anything."""
    await settle()
    [found] = [await anext(share) for share in shares if share.waiting]
    return found.data


async def test_messages_of_a_key_come_one_after_the_other_where_asked_for() -> None:
    async with a_broker() as (broker, _), broker.group("g", "#", order="key") as messages:
        await broker.publish("a", 1, headers={"key": "k"})
        await broker.publish("b", 2, headers={"key": "k"})
        await broker.publish("a", 3)
        await broker.publish("a", 4)
        one, three = await take(messages, 2)
        assert (one.data, three.data) == (1, 3)
        assert await has_nothing(messages)
        await messages.ack(one, three)
        assert sorted(str(each) for each in await data(messages, 2)) == ["2", "4"]


async def test_a_group_begins_where_its_first_member_says() -> None:
    async with a_broker() as (broker, _):
        await publish(broker, 1, 2, 3)
        async with broker.group("all", "a", since="start") as messages:
            assert await data(messages, 3) == [1, 2, 3]
        async with broker.group("two", "a", since="last:2") as messages:
            assert await data(messages, 2) == [2, 3]
        async with broker.group("none", "a") as messages:
            assert await has_nothing(messages)
        async with broker.group("all", "a", since="now") as messages:  # it is there already
            assert [(each.data, each.deliveries) for each in await take(messages, 3)] == [
                (1, 2),
                (2, 2),
                (3, 2),
            ]


async def test_it_goes_on_after_everybody_has_been_away() -> None:
    async with a_broker() as (broker, clock):
        async with broker.group("g", "a") as messages:
            await publish(broker, 1, 2, 3)
            _, second, _ = await take(messages, 3)
            await messages.ack(second)
        await pass_time(broker, clock, ASLEEP_AFTER_S + 1)
        group = broker.groups.find("g")
        assert (group.session, group.jobs, group.window.settled) == (None, {}, {2})
        await publish(broker, 4)
        async with broker.group("g", "a") as messages:
            found = await take(messages, 3)
            assert [(each.data, each.deliveries) for each in found] == [(1, 2), (3, 2), (4, 1)]
            await messages.ack(*found)
            assert (group.position(), group.window.settled) == (4, set())


async def test_a_delay_outlives_the_members() -> None:
    async with a_broker() as (broker, clock):
        async with broker.group("g", "a") as messages:
            await publish(broker, 1)
            await messages.nack(*await take(messages, 1), delay=60)
        await pass_time(broker, clock, ASLEEP_AFTER_S + 1)
        async with broker.group("g", "a") as messages:
            assert await has_nothing(messages)
            await pass_time(broker, clock, 60)
            assert [(each.data, each.deliveries) for each in await take(messages, 1)] == [(1, 2)]


async def test_what_the_log_has_lost_is_told() -> None:
    clock = FakeClock()
    engine = MemoryEngine(clock=clock, policies=PolicyTable(Policy(messages=2)))
    gaps: list[Gap] = []
    async with Broker(engine, clock=clock) as broker:
        async with broker.group("g", "a"):
            await settle()
        await pass_time(broker, clock, ASLEEP_AFTER_S + 1)
        await publish(broker, 1, 2, 3, 4)
        async with broker.group("g", "a", on_gap=gaps.append) as messages:
            assert await data(messages, 2) == [3, 4]
            assert [(gap.after, gap.until, gap.reason) for gap in gaps] == [(0, 2, "evicted")]
        await pass_time(broker, clock, ASLEEP_AFTER_S + 1)
        await publish(broker, 5, 6, 7)
        async with broker.group("g", "a") as messages:
            with pytest.raises(UnrecoverablePosition):
                await take(messages, 1)
            assert await data(messages, 2) == [6, 7]


class Unreadable(SlowEngine):
    """Cannot be read for a while."""

    is_unreadable = True
    tried = 0

    async def read(
        self, filters: list[str], after: int, until: int, limit: int, limit_bytes: int = 1 << 62
    ) -> Slice:
        self.tried += 1
        if self.is_unreadable:
            raise EngineUnavailable("not now")
        return await super().read(filters, after, until, limit, limit_bytes)

    async def before_last(self, filters: list[str], count: int) -> int:
        if self.is_unreadable:
            raise EngineUnavailable("not now")
        return await super().before_last(filters, count)


async def test_a_log_that_cannot_be_read_is_tried_once_a_second() -> None:
    clock = FakeClock()
    engine = Unreadable(MemoryEngine(clock=clock), Random(1), 0)
    async with Broker(engine, clock=clock) as broker:
        await publish(broker, 1, 2)
        async with broker.group("g", "a", since="start") as messages:
            await settle()
            tried = engine.tried
            await pass_time(broker, clock, 1)
            assert engine.tried == tried + 1
            engine.is_unreadable = False
            await pass_time(broker, clock, 1)
            assert await data(messages, 2) == [1, 2]


async def test_a_group_that_could_not_begin_to_read_begins_later() -> None:
    clock = FakeClock()
    engine = Unreadable(MemoryEngine(clock=clock), Random(1), 0)
    engine.is_unreadable = False
    async with Broker(engine, clock=clock) as broker:
        await publish(broker, 1, 2)
        async with broker.group("g", "a", since="last:1") as messages:
            engine.is_unreadable = True
            await settle()
            engine.is_unreadable = False
            await pass_time(broker, clock, 1)
            assert await data(messages, 1) == [2]


async def test_nothing_is_remembered_of_what_is_lost() -> None:
    clock = FakeClock()
    engine = MemoryEngine(PolicyTable(Policy(messages=4, age_s=1e9)), clock=clock)
    async with Broker(engine, clock=clock) as broker:
        for _ in range(2):
            async with broker.group("g", "a", on_gap=lambda gap: None) as messages:
                await publish(broker, 1, 2, 3, 4)
                await messages.ack(*(await take(messages, 4))[1:])
                position = broker.groups.find("g").position()
            await pass_time(broker, clock, ASLEEP_AFTER_S + 1)
            group = broker.groups.find("g")
            assert group.position() == position
            assert (len(group.tries), len(group.window.settled)) == (1, 3)
            await publish(broker, 5, 6, 7, 8)
            async with broker.group("g", "a", on_gap=lambda gap: None) as messages:
                await messages.ack(*await take(messages, 4))
            await pass_time(broker, clock, 1)
            assert (group.tries, group.window.settled) == ({}, set())
            assert group.position() == broker.delivered


async def test_expired_messages_are_not_handed_out() -> None:
    async with a_broker() as (broker, clock), broker.group("g", "a", max_unacknowledged=1) as messages:
        await publish(broker, 1)
        await broker.publish("a", 2, ttl=5)
        await publish(broker, 3)
        [first] = await take(messages, 1)
        clock.advance(6)
        await messages.ack(first)
        assert await data(messages, 1) == [3]
        assert broker.groups.find("g").expired_total == 1


async def test_what_has_expired_makes_room_in_the_window_at_once() -> None:
    async with (
        a_broker(BrokerLimits(group_window_limit_messages=2)) as (broker, clock),
        broker.group("g", "a", max_unacknowledged=1) as messages,
    ):
        await publish(broker, 1)
        for number in range(2, 10):
            await broker.publish("a", number, ttl=5)
        await publish(broker, 10)
        [first] = await take(messages, 1)
        clock.advance(6)
        await messages.ack(first)
        assert await data(messages, 1) == [10]


async def test_the_window_bounds_what_is_read_ahead() -> None:
    limits = BrokerLimits(group_window_limit_messages=3)
    async with a_broker(limits) as (broker, _), broker.group("g", "a") as messages:
        await publish(broker, *range(10))
        first, *others = await take(messages, 3)
        assert await has_nothing(messages)
        await messages.ack(*others)  # the window begins at what is not done
        assert await has_nothing(messages)
        await messages.ack(first)
        assert await data(messages, 3) == [3, 4, 5]


async def test_the_window_is_bounded_in_bytes_and_the_log_has_the_rest() -> None:
    limits = BrokerLimits(group_window_limit_bytes=3_000, outbox_limit_bytes=4_000)
    async with a_broker(limits) as (broker, _), broker.group("g", "a") as messages:
        for number in range(40):
            await broker.publish("a", {"number": number, "filling": "x" * 600})
        seen: list[object] = []
        while len(seen) < 40:
            [message] = await take(messages, 1)
            assert isinstance(message.data, dict)
            seen.append(message.data["number"])
            assert sum(job.message.size for job in broker.groups.find("g").jobs.values()) < 5_000
            await messages.ack(message)
        assert seen == list(range(40))


async def test_limits_of_groups_and_members() -> None:
    limits = BrokerLimits(groups_limit=1, group_members_limit=1, subscriptions_limit_bytes=10)
    async with a_broker(limits) as (broker, _), broker.group("g", "a"):
        with pytest.raises(LimitExceeded, match=r"\(broker.groups_limit\)"):
            await broker.group("h", "a").__aenter__()
        with pytest.raises(LimitExceeded, match=r"\(broker.group_members_limit\)"):
            await broker.group("g", "a").__aenter__()
        with pytest.raises(LimitExceeded, match=r"of 12 bytes .* \(broker.subscriptions_limit_bytes\)"):
            await broker.group("i", "abcdef", "ghijkl").__aenter__()


async def test_acknowledging_what_one_does_not_hold() -> None:
    async with a_broker() as (broker, _), broker.group("g", "a", member="m") as messages:
        await publish(broker, 1, 2)
        first, second = await take(messages, 2)
        other = compose("a", 3)
        other.place(broker.epoch(), 77, 0.0, 0.0)
        with pytest.raises(NotDelivered, match=r"offset 77 was never delivered") as caught:
            await messages.ack(other, first)
        assert caught.value.offsets == [77]
        assert set(broker.groups.find("g").jobs) == {second.offset}
        with pytest.raises(NotDelivered, match=r"offset 1 is settled, and 1 others of 2"):
            await messages.nack(first, other)
        with pytest.raises(NotDelivered, match="is with another member"):
            broker.groups.acknowledge("g", "somebody else", [second.offset])
        with pytest.raises(InvalidCommand, match="group 'h': there is none"):
            broker.groups.acknowledge("h", "m", [1])
        await messages.nack(second, delay=5)
        with pytest.raises(NotDelivered, match="is no longer with this member"):
            await messages.ack(second)


async def test_the_newer_of_two_members_of_one_name_has_its_messages() -> None:
    async with a_broker() as (broker, _), broker.group("g", "a", member="m") as older:
        await publish(broker, 1)
        [message] = await take(older, 1)
        async with broker.group("g", "a", member="m") as newer:
            with pytest.raises(SessionTakenOver, match="as member 'm'"):
                await anext(older)
            assert [(each.data, each.deliveries) for each in await take(newer, 1)] == [(1, 2)]
            await newer.ack(message)


async def test_one_that_nobody_comes_to_is_let_go_of() -> None:
    async with a_broker() as (broker, clock):
        async with broker.group("g", "a", expires=100):
            await pass_time(broker, clock, 1000)
            with pytest.raises(GroupConflict, match="has 1 members"):
                broker.groups.remove("g")
        await pass_time(broker, clock, 99)
        assert "g" in broker.groups.groups
        await pass_time(broker, clock, 2)
        assert broker.groups.groups == {}
        assert broker.figures()["groups_expired"] == 1
        async with broker.group("g", "a"):
            pass
        broker.groups.remove("g")
        assert broker.groups.groups == {}
        assert broker.figures()["group_members"] == 0


async def test_closing_the_broker_ends_the_iteration() -> None:
    broker = Broker()
    await broker.start()
    async with broker.group("g", "a", max_deliveries=1, dead_letters="dead") as messages:
        await publish(broker, 1)
        await take(messages, 1)
        await broker.close()
        assert [message async for message in messages] == []
    with pytest.raises(BrokerClosed):
        await broker.group("g", "a").__aenter__()
    with pytest.raises(RuntimeError, match="entered once"):
        await messages.__aenter__()
    with pytest.raises(RuntimeError, match="enter the share first"):
        await anext(Broker().group("g", "a"))


async def test_it_is_kept_with_its_position_and_its_tries() -> None:
    clock = FakeClock()
    engine = Remembering(clock)
    broker = Broker(engine, clock=clock)
    await broker.start()
    async with broker.group("g", "a", order="topic", max_deliveries=9, dead_letters="d") as messages:
        assert ("group", "g") in engine.written  # from the moment that somebody is in it
        await publish(broker, 1)
        await messages.nack(*await take(messages, 1), delay=30)
    broker.sweep()
    kept = json.loads(engine.written["group", "g"])
    assert kept["tries"] == [[1, 1, pytest.approx(clock.time() + 30)]]
    after = Broker(engine, clock=clock)
    after.groups.restore()
    group = after.groups.find("g")
    assert [*group.tries] == [1]
    assert group.tries[1][0] == 1
    assert group.tries[1][1] == pytest.approx(clock.time() + 30)
    assert (group.terms.order, group.terms.max_deliveries, group.window.floor) == ("topic", 9, 0)
    await broker.close()
    engine.written["group", "bad"] = b"[]"
    engine.written["group", "old"] = json.dumps({**kept, "epoch": "other"}).encode()
    engine.written["group", "ahead"] = json.dumps({**kept, "offset": 99}).encode()
    engine.written["group", "odd"] = json.dumps({**kept, "tries": 1}).encode()
    once_more = Broker(engine, clock=clock)
    once_more.groups.restore()
    assert set(once_more.groups.groups) == {"g"}
    assert engine.written["group", "bad"] == engine.written["group", "old"] == b""


class Full(Remembering):
    """Cannot write what it remembers."""

    is_full = True

    async def settled(self) -> None:
        if self.is_full:
            raise EngineUnavailable("no space left")


async def test_nobody_is_in_a_group_that_cannot_be_kept() -> None:
    clock = FakeClock()
    engine = Full(clock)
    async with Broker(engine, clock=clock) as broker:
        for _ in range(2):
            with pytest.raises(EngineUnavailable, match="no space left"):
                await broker.group("g", "a").__aenter__()
            assert broker.groups.find("g").members == {}
        engine.is_full = False
        async with broker.group("g", "a") as messages:
            await publish(broker, 1)
            assert await data(messages, 1) == [1]


async def test_members_that_a_crash_has_ended_find_their_group_again() -> None:
    clock = FakeClock()
    engine = Remembering(clock)
    async with Broker(engine, clock=clock) as broker:
        async with broker.group("g", "a", expires=100):
            await pass_time(broker, clock, 1000)
            after = Broker(engine, clock=clock)
            after.groups.restore()
            for seconds, there in ((99, {"g"}), (2, set())):
                clock.advance(seconds)
                after.groups.sweep(clock.now(), clock.time())
                assert set(after.groups.groups) == there
        await pass_time(broker, clock, 60)
        after = Broker(engine, clock=clock)
        after.groups.restore()
        clock.advance(60)
        after.groups.sweep(clock.now(), clock.time())
        assert after.groups.groups == {}
