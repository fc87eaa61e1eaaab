import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from extra.errors import (
    BrokerClosed,
    EngineUnavailable,
    InvalidCommand,
    InvalidCursor,
    InvalidFilter,
    UnrecoverablePosition,
)
from extra.pubsub import Broker, BrokerLimits, Gap, MemoryEngine, Messages, Policy, PolicyTable
from tests.fakes.clock import FakeClock
from tests.unit.pubsub.material import GatedEngine, a_message, settle

SIZE = a_message("a").size
TIGHT = BrokerLimits(outbox_limit_bytes=4 * SIZE)
"""An outbox holds four messages, of which two may be held back; a step of catching up brings one."""


def a_broker(
    policy: Policy | None = None, *, limits: BrokerLimits | None = None, epoch: str = "e1"
) -> tuple[Broker, GatedEngine]:
    engine = GatedEngine(
        MemoryEngine(PolicyTable(policy or Policy(messages=1000)), clock=FakeClock(), epoch=epoch)
    )
    return Broker(engine, limits=limits, clock=FakeClock()), engine


async def publish(broker: Broker, *topics: str, retain: bool = False) -> None:
    for topic in topics:
        await broker.publish(topic, b"", retain=retain)


async def take(messages: Messages, count: int) -> list[int]:
    return [(await anext(messages)).offset for _ in range(count)]


async def is_waiting(messages: Messages) -> bool:
    """Return whether there is nothing to take."""
    taking = asyncio.ensure_future(anext(messages))
    await settle()
    if taking.done():
        return False
    taking.cancel()
    await asyncio.wait([taking])
    return True


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with a_broker()[0] as broker:
        yield broker


# Receiving


async def test_messages_that_any_filter_matches_come_in_order_each_once(broker: Broker) -> None:
    """DESIGN section 10: order, once."""
    async with broker.subscribe("a/+", "a/#", "c") as messages:
        await publish(broker, "a/b", "x", "c", "a", "a/b")
        assert await take(messages, 4) == [1, 3, 4, 5]
        assert await is_waiting(messages)


async def test_a_subscriber_that_waits_is_woken(broker: Broker) -> None:
    async with broker.subscribe("a") as messages:
        taking = asyncio.ensure_future(anext(messages))
        await settle()
        await publish(broker, "a")
        assert (await taking).offset == 1


async def test_leaving_the_context_ends_the_iteration_of_another_task(broker: Broker) -> None:
    async with AsyncExitStack() as stack:
        messages = await stack.enter_async_context(broker.subscribe("a"))

        async def collect() -> list[int]:
            return [message.offset async for message in messages]

        collecting = asyncio.ensure_future(collect())
        await publish(broker, "a", "a")
        await settle()
        await stack.aclose()
        assert await collecting == [1, 2]
    assert broker.figures()["sessions"] == 0


async def test_closing_the_broker_ends_the_iteration() -> None:
    broker, _ = a_broker()
    await broker.start()
    async with broker.subscribe("a") as messages:
        taking = asyncio.ensure_future(anext(messages, None))
        await settle()
        await broker.close()
        assert await taking is None
        assert await anext(messages, None) is None


async def test_closing_the_broker_ends_the_iteration_that_reads_the_log() -> None:
    broker, engine = a_broker(limits=TIGHT)
    await broker.start()
    await publish(broker, *"aaa")
    async with broker.subscribe("a", since="start") as messages:
        assert await take(messages, 1) == [1]
        engine.shut("read done")
        taking = asyncio.ensure_future(anext(messages, None))
        await settle()
        await broker.close()
        engine.open("read done")
        assert await taking is None


# Where to begin


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("now", []),
        ("start", [1, 3, 4]),
        ("last:2", [3, 4]),
        ("last:0", []),
        ("last:99", [1, 3, 4]),
        ("e1-0", [1, 3, 4]),
        ("e1-1", [3, 4]),
        ("e1-2", [3, 4]),
        ("e1-4", []),
    ],
)
async def test_since_says_where_to_begin(broker: Broker, since: str, expected: list[int]) -> None:
    """docs/protocol.md, cursors."""
    await publish(broker, "a", "b", "a", "a")
    async with broker.subscribe("a", since=since) as messages:
        await publish(broker, "a")
        assert await take(messages, len(expected) + 1) == [*expected, 5]
        assert messages.complete


async def test_a_long_history_comes_in_steps_that_fit_the_outbox() -> None:
    broker, _ = a_broker(limits=TIGHT)
    async with broker:
        await publish(broker, *["a"] * 50)
        async with broker.subscribe("a", since="start") as messages:
            await publish(broker, *["a"] * 50)
            assert await take(messages, 100) == list(range(1, 101))
            assert await is_waiting(messages)


async def test_what_is_published_while_the_log_is_read_comes_behind_it() -> None:
    broker, engine = a_broker()
    async with broker:
        await publish(broker, "a", "a")
        engine.shut("read")
        messages = broker.subscribe("a", since="start")
        entering = asyncio.ensure_future(messages.__aenter__())
        await settle()
        await publish(broker, "a")
        engine.open("read")
        await entering
        await publish(broker, "a")
        assert await take(messages, 4) == [1, 2, 3, 4]
        await messages.__aexit__(None, None, None)


@pytest.mark.parametrize(("since", "gate"), [("now", "retained"), ("last:0", "before_last")])
async def test_now_is_when_the_subscription_was_asked_for(since: str, gate: str) -> None:
    """What an engine takes its time for is not lost."""
    broker, engine = a_broker()
    async with broker:
        await publish(broker, "a")
        engine.shut(gate)
        messages = broker.subscribe("a", since=since)
        entering = asyncio.ensure_future(messages.__aenter__())
        await settle()
        await publish(broker, "a")
        engine.open(gate)
        await entering
        assert messages.cursor == "e1-1"
        assert await take(messages, 1) == [2]
        await messages.__aexit__(None, None, None)


# Retained messages


async def test_the_retained_messages_come_first_with_now(broker: Broker) -> None:
    await publish(broker, "a", "b", "c", retain=True)
    await publish(broker, "a")
    async with broker.subscribe("a", "b") as messages:
        await publish(broker, "a")
        assert await take(messages, 3) == [1, 2, 5]


@pytest.mark.parametrize(("since", "retained"), [("now", False), ("e1-1", None), ("last:0", None)])
async def test_the_retained_messages_do_not_come_unasked(
    broker: Broker, since: str, retained: bool | None
) -> None:
    await publish(broker, "a", retain=True)
    async with broker.subscribe("a", since=since, retained=retained) as messages:
        await publish(broker, "a")
        assert await take(messages, 1) == [2]


async def test_a_retained_message_that_the_log_has_as_well_comes_once(broker: Broker) -> None:
    """DESIGN section 10: once."""
    await publish(broker, "a")
    await publish(broker, "b", retain=True)
    await publish(broker, "a")
    async with broker.subscribe("a", "b", since="start", retained=True) as messages:
        assert await take(messages, 3) == [2, 1, 3]
        assert await is_waiting(messages)


async def test_a_retained_message_does_not_move_the_cursor_over_older_ones(broker: Broker) -> None:
    """Resuming from the cursor after it brings what lies before it."""
    await publish(broker, "a")
    await publish(broker, "b", retain=True)
    await publish(broker, "a")
    async with broker.subscribe("a", "b", since="start", retained=True) as messages:
        assert await take(messages, 1) == [2]
        cursor = messages.cursor
    assert cursor == "e1-0"
    async with broker.subscribe("a", "b", since=cursor) as messages:
        assert await take(messages, 3) == [1, 2, 3]


async def test_a_message_retained_while_subscribing_comes_once() -> None:
    broker, engine = a_broker()
    async with broker:
        await publish(broker, "a", retain=True)
        engine.shut("retained")
        messages = broker.subscribe("#")
        entering = asyncio.ensure_future(messages.__aenter__())
        await settle()
        await publish(broker, "b", retain=True)
        engine.open("retained")
        await entering
        assert await take(messages, 2) == [1, 2]
        assert await is_waiting(messages)
        await messages.__aexit__(None, None, None)


# Cursors


async def test_the_cursor_is_after_the_last_message_given(broker: Broker) -> None:
    await publish(broker, "b")
    async with broker.subscribe("a") as messages:
        assert messages.cursor == "e1-1"
        await publish(broker, "a", "a")
        assert messages.cursor == "e1-1"
        await take(messages, 1)
        assert messages.cursor == "e1-2"
    assert messages.cursor == "e1-2"


async def test_resuming_from_the_cursor_misses_nothing(broker: Broker) -> None:
    await publish(broker, *"aaaa")
    seen = []
    cursor = "start"
    for _ in range(4):
        async with broker.subscribe("a", since=cursor) as messages:
            seen += await take(messages, 1)
            cursor = messages.cursor
    assert seen == [1, 2, 3, 4]


async def test_a_subscriber_that_took_nothing_has_the_cursor_that_it_came_with() -> None:
    """Whatever there is to tell, of loss or of a new epoch, is told to the next one."""
    broker, _ = a_broker(Policy(messages=1), epoch="e2")
    async with broker:
        await publish(broker, "a", "a")
        for since in ("e2-0", "e1-7-9"):
            async with broker.subscribe("a", since=since) as messages:
                assert messages.cursor == since


async def test_after_a_gap_the_cursor_knows_of_it() -> None:
    """docs/architecture.md: a reader is not told the same loss twice."""
    broker, _ = a_broker(Policy(messages=2))
    async with broker:
        await publish(broker, *"aaaaa")
        gaps: list[Gap] = []
        async with broker.subscribe("a", since="e1-1", on_gap=gaps.append) as messages:
            taking = asyncio.ensure_future(anext(messages))
            assert (await taking).offset == 4
            assert messages.cursor == "e1-4"
        assert gaps == [Gap(1, 3, "evicted", filter="a")]
        async with broker.subscribe("a", since="e1-1") as messages:
            with pytest.raises(UnrecoverablePosition):
                await anext(messages)
            cursor = messages.cursor
        assert cursor == "e1-1-3"
        async with broker.subscribe("a", since=cursor) as messages:
            assert messages.complete
            assert await take(messages, 2) == [4, 5]


async def test_what_was_gone_before_the_start_is_no_loss_on_resuming_either() -> None:
    broker, _ = a_broker(Policy(messages=2))
    async with broker:
        await publish(broker, "b", *"aaaaa")
        async with broker.subscribe("#", since="start") as messages:
            assert not messages.complete
            assert await take(messages, 1) == [1]
            assert messages.cursor == "e1-1-4"
        async with broker.subscribe("#", since=messages.cursor) as messages:
            assert messages.complete
            assert await take(messages, 2) == [5, 6]


async def test_what_came_after_the_start_and_is_gone_is_a_loss_on_resuming() -> None:
    broker, engine = a_broker(Policy(messages=1))
    async with broker:
        await publish(broker, "a")
        engine.shut("read")
        messages = broker.subscribe("#", since="start")
        entering = asyncio.ensure_future(messages.__aenter__())
        await settle()
        await publish(broker, "b", "b")
        engine.open("read")
        await entering
        assert await take(messages, 1) == [1]
        cursor = messages.cursor
        await messages.__aexit__(None, None, None)
        assert cursor == "e1-1"
        async with broker.subscribe("#", since=cursor) as messages:
            with pytest.raises(UnrecoverablePosition, match="up to 2"):
                await anext(messages)


# Loss


async def test_without_on_gap_a_loss_is_raised_and_the_iteration_may_go_on() -> None:
    broker, _ = a_broker(Policy(messages=1))
    async with broker:
        await publish(broker, *"aaa")
        async with broker.subscribe("a", since="e1-1") as messages:
            assert not messages.complete
            with pytest.raises(
                UnrecoverablePosition, match="after offset 1 and up to 2 are missing"
            ) as caught:
                await anext(messages)
            assert caught.value.gap == Gap(1, 2, "evicted", filter="a")
            assert await take(messages, 1) == [3]


async def test_gaps_are_told_in_order() -> None:
    broker, _ = a_broker(Policy(messages=1), limits=TIGHT)
    async with broker:
        await publish(broker, "b", "a", "a")
        told: list[str] = []
        messages = broker.subscribe("#", since="e1-0", on_gap=lambda gap: told.append(f"to {gap.until}"))
        async with messages:
            async for message in messages:
                told.append(f"message {message.offset}")
                if message.offset == 3:
                    await publish(broker, *["a"] * 9)
                if message.offset == 12:
                    break
        assert told[:3] == ["to 2", "message 1", "message 3"]
        assert told[-2:] == ["to 11", "message 12"]


async def test_an_epoch_that_is_gone_is_a_loss() -> None:
    """docs/protocol.md, loss: `after` is null, `until` 0; all that the new log has follows."""
    broker, _ = a_broker(epoch="e2")
    async with broker:
        await publish(broker, "a", "a")
        gaps: list[Gap] = []
        async with broker.subscribe("a", "b", since="e1-700-900", on_gap=gaps.append) as messages:
            assert not messages.complete
            assert await take(messages, 1) == [1]
            assert messages.cursor == "e2-1"
            assert await take(messages, 1) == [2]
        assert gaps == [Gap(None, 0, "epoch")]


async def test_an_epoch_that_is_gone_is_told_even_when_the_new_log_is_empty() -> None:
    broker, _ = a_broker(epoch="e2")
    async with broker, broker.subscribe("a", since="e1-7") as messages:
        with pytest.raises(UnrecoverablePosition, match="epoch"):
            await anext(messages)
        assert messages.cursor == "e2-0"
        await publish(broker, "a")
        assert await take(messages, 1) == [1]


# Overflow


async def test_a_subscriber_that_falls_behind_goes_back_to_the_log() -> None:
    """docs/architecture.md: it is told of a gap only if retention was faster."""
    broker, _ = a_broker(limits=TIGHT)
    async with broker, broker.subscribe("a") as messages:
        for first in (1, 101, 201):
            await publish(broker, *["a"] * 100)
            assert await take(messages, 100) == list(range(first, first + 100))
        assert broker.figures()["overflows"] > 0
        assert messages.dropped == 0
        assert messages.complete


async def test_a_subscriber_that_is_slower_than_retention_is_told_what_it_missed() -> None:
    broker, _ = a_broker(Policy(messages=2), limits=TIGHT)
    async with broker:
        gaps: list[Gap] = []
        async with broker.subscribe("a", on_gap=gaps.append) as messages:
            await publish(broker, *["a"] * 20)
            assert await take(messages, 6) == [1, 2, 3, 4, 19, 20]
            assert gaps == [Gap(4, 18, "evicted")]
            assert await is_waiting(messages)


async def test_what_was_held_back_is_no_loss_though_the_log_has_lost_it() -> None:
    """A gap names what is not given."""
    broker, _ = a_broker(Policy(messages=1), limits=TIGHT)
    async with broker, broker.subscribe("#") as messages:
        await publish(broker, "a", "b", "c", "d", "e", "e")  # the fifth does not fit; it and the sixth wait
        assert await take(messages, 6) == [1, 2, 3, 4, 5, 6]
        assert await is_waiting(messages)


async def test_drop_oldest_keeps_the_newest_and_counts_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    broker, _ = a_broker(limits=TIGHT)
    async with broker, broker.subscribe("a", "b", overflow="drop-oldest") as messages:
        with caplog.at_level(logging.WARNING, "extra.pubsub"):
            await publish(broker, *["a"] * 10)
            assert await take(messages, 4) == [7, 8, 9, 10]
            await publish(broker, *["a"] * 10)
            assert await take(messages, 4) == [17, 18, 19, 20]
        assert messages.dropped == 12
    assert caplog.messages == [
        "a subscriber to a, b does not keep up: messages are dropped (overflow 'drop-oldest')"
    ]
    assert messages.dropped == 12


async def test_latest_keeps_the_newest_of_each_topic() -> None:
    broker, _ = a_broker(limits=TIGHT)
    gaps: list[Gap] = []
    async with broker, broker.subscribe("#", overflow="latest", on_gap=gaps.append) as messages:
        await publish(broker, *"abababab")
        assert await take(messages, 2) == [7, 8]
        assert messages.dropped == 6
        assert gaps == [Gap(0, 6, "overflow", 6)]


async def test_a_message_larger_than_the_outbox_is_received() -> None:
    broker, _ = a_broker(limits=TIGHT)
    async with broker, broker.subscribe("a") as messages:
        await publish(broker, "a")
        await broker.publish("a", b"." * 100 * SIZE)
        await publish(broker, "a")
        assert await take(messages, 3) == [1, 2, 3]


# Cancelling


async def test_nothing_is_lost_when_a_wait_is_cancelled(broker: Broker) -> None:
    async with broker.subscribe("a") as messages:
        assert await is_waiting(messages)
        await publish(broker, "a")
        assert await take(messages, 1) == [1]


async def test_nothing_is_lost_when_a_wait_is_cancelled_in_the_turn_of_a_message(broker: Broker) -> None:
    async with broker.subscribe("a") as messages:
        taking = asyncio.ensure_future(anext(messages))
        await settle()
        await publish(broker, "a")
        taking.cancel()
        await asyncio.wait([taking])
        assert taking.cancelled()
        await publish(broker, "a")
        assert await take(messages, 2) == [1, 2]


@pytest.mark.parametrize("gate", ["read", "read done"])
async def test_nothing_is_lost_when_a_read_is_cancelled(gate: str) -> None:
    broker, engine = a_broker(limits=TIGHT)
    async with broker:
        await publish(broker, *"aaa")
        async with broker.subscribe("a", since="start") as messages:
            assert await take(messages, 1) == [1]
            engine.shut(gate)
            assert await is_waiting(messages)
            engine.open(gate)
            await publish(broker, "a")
            assert await take(messages, 3) == [2, 3, 4]


@pytest.mark.parametrize("gate", ["retained", "retained done", "read", "read done"])
async def test_a_subscription_cancelled_on_entering_leaves_nothing(gate: str) -> None:
    broker, engine = a_broker()
    async with broker:
        await publish(broker, "a")
        engine.shut(gate)
        entering = asyncio.ensure_future(broker.subscribe("a", since="start", retained=True).__aenter__())
        await settle()
        entering.cancel()
        await asyncio.wait([entering])
        figures = broker.figures()
        assert (figures["sessions"], figures["subscriptions"]) == (0, 0)


# Mistakes


@pytest.mark.parametrize(
    ("filters", "since", "overflow", "error"),
    [
        (["a/#/b"], "now", "disconnect", InvalidFilter),
        ([], "now", "disconnect", InvalidCommand),
        (["a"], "then", "disconnect", InvalidCursor),
        (["a"], "e1-1", "disconnect", InvalidCursor),
        (["a"], "now", "never", InvalidCommand),
    ],
)
async def test_a_subscription_that_is_refused_leaves_nothing(
    broker: Broker, filters: list[str], since: str, overflow: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await broker.subscribe(*filters, since=since, overflow=overflow).__aenter__()
    figures = broker.figures()
    assert (figures["sessions"], figures["subscriptions"]) == (0, 0)


async def test_a_broker_that_is_not_open_takes_no_subscription() -> None:
    broker, _ = a_broker()
    with pytest.raises(BrokerClosed):
        await broker.subscribe("a").__aenter__()


async def test_a_broker_that_closes_meanwhile_takes_no_subscription() -> None:
    broker, engine = a_broker()
    await broker.start()
    engine.shut("retained")
    entering = asyncio.ensure_future(broker.subscribe("a").__aenter__())
    await settle()
    await broker.close()
    engine.open("retained")
    with pytest.raises(BrokerClosed):
        await entering


async def test_an_engine_that_fails_is_told_and_nothing_is_lost() -> None:
    broker, engine = a_broker(limits=TIGHT)
    async with broker:
        await publish(broker, *"aaa")
        async with broker.subscribe("a", since="start") as messages:
            assert await take(messages, 1) == [1]
            engine.is_broken = True
            with pytest.raises(EngineUnavailable):
                await anext(messages)
            engine.is_broken = False
            assert await take(messages, 2) == [2, 3]


async def test_a_subscription_is_entered_once(broker: Broker) -> None:
    messages = broker.subscribe("a")
    async with messages:
        with pytest.raises(RuntimeError, match="entered once"):
            await messages.__aenter__()


async def test_a_subscription_has_to_be_entered_before_the_iteration(broker: Broker) -> None:
    with pytest.raises(RuntimeError, match="enter the subscription first"):
        await anext(broker.subscribe("a"))


async def test_one_task_iterates_over_a_subscription(broker: Broker) -> None:
    async with broker.subscribe("a") as messages:
        first = asyncio.ensure_future(anext(messages))
        await settle()
        with pytest.raises(RuntimeError, match="one task"):
            await anext(messages)
        await publish(broker, "a")
        assert (await first).offset == 1


async def test_leaving_what_could_not_be_entered_does_nothing(broker: Broker) -> None:
    messages = broker.subscribe("a", since="then")
    await messages.__aexit__(None, None, None)
    assert (messages.dropped, messages.complete) == (0, True)


async def test_what_has_expired_while_it_waited_is_not_given() -> None:
    clock = FakeClock()
    async with Broker(clock=clock) as broker, broker.subscribe("a") as messages:
        await broker.publish("a", 1, ttl=5)
        await broker.publish("a", 2)
        await broker.publish("a", 3, ttl=6)
        clock.advance(5)
        assert await take(messages, 2) == [2, 3]
