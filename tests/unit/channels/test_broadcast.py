import asyncio
from typing import get_args

import pytest

from extra.channels import Broadcast, BroadcastStatistics, OverflowPolicy, Receiver, ReceiverStatistics
from extra.errors import ChannelClosed, ChannelEmpty, ChannelFull, LimitExceeded
from tests.unit.channels.driving import settle

POLICIES: tuple[OverflowPolicy, ...] = get_args(OverflowPolicy)


def first_letter(item: str) -> str:
    return item[:1]


def drain(receiver: Receiver[str]) -> list[tuple[str, int]]:
    """Take all that is queued, each with how many were missed before it."""
    return [(receiver.take_nowait(), receiver.missed) for _ in range(len(receiver))]


@pytest.mark.parametrize("overflow", POLICIES)
async def test_receiver_gets_every_item_from_when_it_joined(overflow: OverflowPolicy) -> None:
    broadcast = Broadcast[str](key=str)
    await broadcast.put("early")
    receivers = [broadcast.subscribe(9, overflow) for _ in range(3)]
    await broadcast.put("a")
    broadcast.put_nowait("b")
    late = broadcast.subscribe(9, overflow)
    await broadcast.put("c")
    assert [drain(receiver) for receiver in receivers] == [[("a", 0), ("b", 0), ("c", 0)]] * 3
    assert drain(late) == [("c", 0)]


@pytest.mark.parametrize("overflow", POLICIES)
async def test_waiting_taker_gets_the_next_item(overflow: OverflowPolicy) -> None:
    broadcast = Broadcast[str](key=str)
    receiver = broadcast.subscribe(1, overflow)
    taker = asyncio.create_task(receiver.take())
    await settle()
    await broadcast.put("a")
    assert await taker == "a"


@pytest.mark.parametrize("overflow", POLICIES)
async def test_limit_of_a_receiver_is_positive(overflow: OverflowPolicy) -> None:
    with pytest.raises(ValueError, match=r"^limit must be 1 or more, not 0$"):
        Broadcast[str](key=str).subscribe(0, overflow)


def test_receiver_limit_is_positive() -> None:
    with pytest.raises(ValueError, match=r"^receiver_limit must be 1 or more, not 0$"):
        Broadcast[str](receiver_limit=0)


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^overflow must be block, .* or close, not 'newest'$"):
        Broadcast[str]().subscribe(1, "newest")  # type: ignore[arg-type]  # that is the point


def test_number_of_receivers_is_bounded() -> None:
    broadcast = Broadcast[str](receiver_limit=1)
    receiver = broadcast.subscribe(1, "block")
    with pytest.raises(LimitExceeded, match=r"^broadcast is full: receiver_limit=1$"):
        broadcast.subscribe(1, "block")
    receiver.close()
    broadcast.subscribe(1, "block")


async def test_put_waits_for_the_receiver_that_blocks() -> None:
    broadcast = Broadcast[str]()
    full, other = broadcast.subscribe(1, "block"), broadcast.subscribe(9, "block")
    await broadcast.put("a")
    with pytest.raises(ChannelFull, match=r"^broadcast is held up: full_receivers=1$"):
        broadcast.put_nowait("b")
    putter = asyncio.create_task(broadcast.put("b"))
    await settle()
    assert not putter.done()
    assert len(other) == 1, "nobody gets the item before all do"
    assert await full.take() == "a"
    await putter
    assert await full.take() == "b"
    assert [item for item, _ in drain(other)] == ["a", "b"]


async def test_put_waits_for_the_last_of_several_that_block() -> None:
    broadcast = Broadcast[str]()
    receivers = [broadcast.subscribe(1, "block") for _ in range(3)]
    await broadcast.put("a")
    putter = asyncio.create_task(broadcast.put("b"))
    for receiver in receivers:
        await settle()
        assert not putter.done()
        receiver.take_nowait()
    await putter


async def test_putters_in_line_put_in_their_order() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(1, "block")
    async with asyncio.TaskGroup() as tasks:
        for item in "abcd":
            tasks.create_task(broadcast.put(item))
        await settle()
        assert [await receiver.take() for _ in range(4)] == ["a", "b", "c", "d"]


async def test_all_putters_in_line_put_when_there_is_room_for_all() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(2, "block")
    putters = [asyncio.create_task(broadcast.put(item)) for item in "abcd"]
    await settle()
    receiver.take_nowait()
    receiver.take_nowait()
    await settle()
    assert all(putter.done() for putter in putters)


async def test_nobody_puts_before_the_one_whose_turn_it_is() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(1, "block")
    await broadcast.put("a")
    putter = asyncio.create_task(broadcast.put("b"))
    await settle()
    late = asyncio.create_task(broadcast.put("c"))
    receiver.take_nowait()
    with pytest.raises(ChannelFull):
        broadcast.put_nowait("d")
    await putter
    assert await receiver.take() == "b"
    await late
    assert await receiver.take() == "c"


async def test_receiver_that_joins_between_grant_and_put_is_not_overrun() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(2, "block")
    putters = [asyncio.create_task(broadcast.put(item)) for item in "abcd"]
    await settle()
    receiver.take_nowait()
    receiver.take_nowait()
    joined = broadcast.subscribe(1, "block")
    await settle()
    assert [putter.done() for putter in putters] == [True, True, True, False]
    assert drain(joined) == [("c", 0)]
    await putters[-1]


async def test_cancelled_putter_hands_its_turn_on() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(1, "block")
    await broadcast.put("a")
    granted, waiting, other = (asyncio.create_task(broadcast.put(item)) for item in "bcd")
    await settle()
    receiver.take_nowait()
    granted.cancel()
    waiting.cancel()
    await other
    assert drain(receiver) == [("d", 0)]
    assert broadcast.statistics().waiting_putters == 0


async def test_cancelled_putter_leaves_the_line() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(1, "block")
    await broadcast.put("a")
    putter = asyncio.create_task(broadcast.put("b"))
    await settle()
    putter.cancel()
    await settle()
    assert broadcast.statistics().waiting_putters == 0
    receiver.take_nowait()
    broadcast.put_nowait("c")
    assert drain(receiver) == [("c", 0)]


async def test_blocking_receiver_that_leaves_holds_nobody_up() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(1, "block")
    await broadcast.put("a")
    putter = asyncio.create_task(broadcast.put("b"))
    await settle()
    receiver.close()
    await putter
    assert drain(receiver) == [("a", 0)]
    with pytest.raises(ChannelClosed):
        receiver.take_nowait()


async def test_item_given_back_by_a_cancelled_taker_holds_the_producer_up() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(1, "block")
    taker = asyncio.create_task(receiver.take())
    await settle()
    broadcast.put_nowait("a")
    taker.cancel()
    await settle()
    with pytest.raises(ChannelFull):
        broadcast.put_nowait("b")
    assert drain(receiver) == [("a", 0)]
    broadcast.put_nowait("b")


async def test_drop_oldest_keeps_the_newest_and_tells_how_many_are_missing() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(2, "drop-oldest")
    for item in "abcde":
        broadcast.put_nowait(item)
    assert receiver.dropped == 3
    assert drain(receiver) == [("d", 3), ("e", 0)]
    for item in "fgh":
        broadcast.put_nowait(item)
    assert drain(receiver) == [("g", 1), ("h", 0)]
    assert receiver.dropped == 4


@pytest.mark.parametrize("overflow", ["drop-oldest", "latest"])
async def test_bound_is_restored_when_cancelled_takers_give_items_back(
    overflow: OverflowPolicy,
) -> None:
    broadcast = Broadcast[str](key=str)
    receiver = broadcast.subscribe(1, overflow)
    takers = [asyncio.create_task(receiver.take()) for _ in range(2)]
    await settle()
    for item in "abc":
        broadcast.put_nowait(item)
    for taker in takers:
        taker.cancel()
    await settle()
    broadcast.put_nowait("d")
    assert drain(receiver) == [("d", 3)]


async def test_latest_keeps_the_newest_item_of_each_key_in_order_of_newest() -> None:
    broadcast = Broadcast[str](key=first_letter)
    receiver = broadcast.subscribe(3, "latest")
    for item in ("a1", "b1", "a2", "c1", "a3"):
        broadcast.put_nowait(item)
    assert receiver.dropped == 2
    assert drain(receiver) == [("b1", 0), ("c1", 0), ("a3", 2)]
    broadcast.put_nowait("a4")
    assert drain(receiver) == [("a4", 0)]


async def test_latest_drops_the_oldest_when_there_are_more_keys_than_its_limit() -> None:
    broadcast = Broadcast[str](key=first_letter)
    receiver = broadcast.subscribe(2, "latest")
    for item in ("a1", "a2", "b1", "c1", "d1"):
        broadcast.put_nowait(item)
    assert drain(receiver) == [("c1", 3), ("d1", 0)]
    assert receiver.dropped == 3


async def test_latest_replaces_an_item_that_a_taker_has_been_granted() -> None:
    broadcast = Broadcast[str](key=first_letter)
    receiver = broadcast.subscribe(1, "latest")
    taker = asyncio.create_task(receiver.take())
    await settle()
    broadcast.put_nowait("a1")
    broadcast.put_nowait("a2")
    assert await taker == "a2"
    assert receiver.missed == 1
    assert len(receiver) == 0


def test_latest_needs_a_key() -> None:
    with pytest.raises(ValueError, match=r"^overflow 'latest' needs a broadcast with a key$"):
        Broadcast[str]().subscribe(1, "latest")


async def test_failing_key_fails_the_put_before_anybody_gets_the_item() -> None:
    broadcast = Broadcast[str](key=lambda item: 1 // len(item))
    receivers = [broadcast.subscribe(2, "latest"), broadcast.subscribe(2, "block")]
    with pytest.raises(ZeroDivisionError):
        broadcast.put_nowait("")
    with pytest.raises(ZeroDivisionError):
        await broadcast.put("")
    assert [len(receiver) for receiver in receivers] == [0, 0]


def test_unhashable_key_fails_the_put_before_anybody_gets_the_item() -> None:
    broadcast = Broadcast[str](key=lambda item: [item])  # type: ignore[arg-type, return-value]  # that is the point
    receivers = [broadcast.subscribe(2, "block"), broadcast.subscribe(2, "latest")]
    with pytest.raises(TypeError):
        broadcast.put_nowait("a")
    assert [len(receiver) for receiver in receivers] == [0, 0]


async def test_close_ends_the_receiver_that_overflows_with_an_error_after_what_it_has() -> None:
    broadcast = Broadcast[str]()
    receiver, other = broadcast.subscribe(2, "close"), broadcast.subscribe(9, "close")
    for item in "abcd":
        broadcast.put_nowait(item)
    assert [item for item, _ in drain(receiver)] == ["a", "b"]
    with pytest.raises(LimitExceeded, match=r"^receiver fell behind and was closed: limit=2$"):
        await anext(receiver)
    assert receiver.overflowed
    assert receiver.closed
    assert receiver.dropped == 1
    with pytest.raises(LimitExceeded):
        receiver.take_nowait()
    assert len(other) == 4
    assert broadcast.statistics().receivers == 1


async def test_receiver_that_has_not_overflowed_ends_without_an_error() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(2, "close")
    broadcast.put_nowait("a")
    broadcast.close()
    assert [item async for item in receiver] == ["a"]
    assert not receiver.overflowed
    with pytest.raises(ChannelClosed):
        await receiver.take()


@pytest.mark.parametrize("overflow", ["drop-oldest", "latest", "close"])
async def test_receiver_that_does_not_block_never_holds_up_the_producer(overflow: OverflowPolicy) -> None:
    broadcast = Broadcast[str](key=str)
    broadcast.subscribe(1, overflow)
    for item in "abc":
        putting = broadcast.put(item)
        with pytest.raises(StopIteration):
            putting.send(None)


async def test_receiver_that_has_left_gets_nothing_more() -> None:
    broadcast = Broadcast[str]()
    with broadcast.subscribe(9, "block") as receiver:
        broadcast.put_nowait("a")
    broadcast.put_nowait("b")
    receiver.close()
    assert drain(receiver) == [("a", 0)]
    with pytest.raises(ChannelClosed):
        receiver.take_nowait()


@pytest.mark.parametrize("overflow", POLICIES)
async def test_closed_broadcast_ends_receivers_after_what_they_have(overflow: OverflowPolicy) -> None:
    with Broadcast[str](key=str) as broadcast:
        receiver, waiting = broadcast.subscribe(1, overflow), broadcast.subscribe(1, overflow)
        broadcast.put_nowait("a")
        waiting.take_nowait()
        taker = asyncio.create_task(waiting.take())
        await settle()
    assert broadcast.closed
    assert receiver.closed
    assert await receiver.take() == "a"
    with pytest.raises(ChannelClosed):
        await receiver.take()
    with pytest.raises(ChannelClosed):
        await taker


async def test_closed_broadcast_refuses_items_and_receivers() -> None:
    broadcast = Broadcast[str]()
    broadcast.close()
    broadcast.close()
    with pytest.raises(ChannelClosed, match=r"^broadcast is closed$"):
        await broadcast.put("a")
    with pytest.raises(ChannelClosed, match=r"^broadcast is closed$"):
        broadcast.put_nowait("a")
    with pytest.raises(ChannelClosed, match=r"^broadcast is closed$"):
        broadcast.subscribe(1, "block")


async def test_closing_refuses_the_items_of_waiting_putters() -> None:
    """Also of one whose turn it is and that has not run since, cancelled or not."""
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(1, "block")
    await broadcast.put("a")
    granted, waiting, cancelled = (asyncio.create_task(broadcast.put(item)) for item in "bcd")
    await settle()
    receiver.take_nowait()
    cancelled.cancel()
    broadcast.close()
    results = await asyncio.gather(granted, waiting, cancelled, return_exceptions=True)
    assert [type(result) for result in results] == [ChannelClosed, ChannelClosed, asyncio.CancelledError]
    with pytest.raises(ChannelClosed):
        receiver.take_nowait()


async def test_take_nowait_refuses_when_there_is_nothing() -> None:
    receiver = Broadcast[str]().subscribe(1, "block")
    with pytest.raises(ChannelEmpty):
        receiver.take_nowait()


async def test_statistics_of_a_broadcast() -> None:
    broadcast = Broadcast[str](receiver_limit=5)
    full = broadcast.subscribe(2, "block")
    gone = broadcast.subscribe(1, "drop-oldest")
    broadcast.subscribe(1, "close")
    broadcast.put_nowait("a")
    broadcast.put_nowait("b")
    gone.close()
    putter = asyncio.create_task(broadcast.put("c"))
    await settle()
    assert broadcast.statistics() == BroadcastStatistics(
        receivers=1,
        receiver_limit=5,
        full_receivers=1,
        waiting_putters=1,
        put_total=2,
        dropped_total=2,
        overflowed_total=1,
        closed=False,
    )
    full.take_nowait()
    await putter
    broadcast.close()
    assert broadcast.statistics() == BroadcastStatistics(0, 5, 0, 0, 3, 2, 1, True)


async def test_statistics_of_a_receiver() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(1, "close")
    taker = asyncio.create_task(receiver.take())
    await settle()
    assert receiver.statistics() == ReceiverStatistics(
        items=0,
        limit=1,
        overflow="close",
        waiting_takers=1,
        dropped_total=0,
        overflowed=False,
        closed=False,
    )
    for item in "abc":
        broadcast.put_nowait(item)
    await taker
    assert receiver.statistics() == ReceiverStatistics(1, 1, "close", 0, 1, True, True)
