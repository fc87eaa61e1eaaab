import asyncio

import pytest

from extra.channels import Broadcast, Channel, select
from extra.errors import ChannelClosed, LimitExceeded
from tests.unit.channels.driving import settle


def filled(*items: str) -> Channel[str]:
    channel = Channel[str](limit=10)
    for item in items:
        channel.put_nowait(item)
    return channel


def test_selection_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^a selection needs one source or more$"):
        select()


async def test_selection_takes_one_item_and_names_its_source() -> None:
    empty, ready = filled(), filled("a", "b")
    assert await select(empty, ready) == (ready, "a")
    assert await select(empty, ready).take() == (ready, "b")
    assert len(ready) == 0


async def test_selection_does_not_suspend_when_an_item_is_there() -> None:
    taking = select(filled(), filled("a")).take()
    with pytest.raises(StopIteration):
        taking.send(None)


async def test_selection_waits_for_the_first_item() -> None:
    first, second = filled(), filled()
    taker = asyncio.create_task(select(first, second).take())
    await settle()
    assert not taker.done()
    second.put_nowait("a")
    first.put_nowait("b")
    assert await taker == (second, "a")
    assert first.take_nowait() == "b"


async def test_selection_leaves_the_lines_in_which_it_waited() -> None:
    idle, busy = filled(), filled()
    selection = select(idle, busy)
    for item in "abc":
        taker = asyncio.create_task(selection.take())
        await settle()
        assert idle.statistics().waiting_takers == 1
        busy.put_nowait(item)
        await taker
        assert idle.statistics().waiting_takers == 0
    assert busy.statistics().waiting_takers == 0


async def test_selection_takes_in_turn_from_sources_that_are_ready() -> None:
    one, two, three = filled("1", "1", "1", "1"), filled("2", "2"), filled("3", "3", "3")
    selection = select(one, two, three)
    assert "".join([(await selection)[1] for _ in range(9)]) == "123123131"


async def test_turn_goes_on_after_the_source_that_was_waited_for() -> None:
    one, two, three = filled(), filled(), filled()
    selection = select(one, two, three)
    taker = asyncio.create_task(selection.take())
    await settle()
    for item, channel in zip("2132", (two, one, three, two), strict=True):
        channel.put_nowait(item)
    await taker
    assert "".join([(await selection)[1] for _ in range(3)]) == "312"


async def test_source_that_is_named_twice_counts_once() -> None:
    one, two = filled("1", "1"), filled("2", "2")
    selection = select(one, one, two)
    assert "".join([(await selection)[1] for _ in range(4)]) == "1212"
    taker = asyncio.create_task(selection.take())
    await settle()
    assert one.statistics().waiting_takers == 1
    one.put_nowait("1")
    assert await taker == (one, "1")


async def test_iteration_ends_when_all_sources_are_closed_and_empty() -> None:
    one, two = filled("1"), filled("2", "2")
    one.close()
    two.close()
    assert [item async for _, item in select(one, two)] == ["1", "2", "2"]


async def test_source_that_closes_while_a_task_waits_leaves_the_selection() -> None:
    one, two = filled(), filled()
    taker = asyncio.create_task(select(one, two).take())
    await settle()
    one.close()
    await settle()
    two.put_nowait("a")
    assert await taker == (two, "a")


async def test_waiting_task_is_told_when_the_last_source_closes() -> None:
    one, two = filled(), filled()
    taker = asyncio.create_task(select(one, two).take())
    await settle()
    one.close()
    two.close()
    with pytest.raises(ChannelClosed, match=r"^all channels of the selection are closed$"):
        await taker


async def test_closed_selection_stays_closed() -> None:
    channel = filled()
    channel.close()
    selection = select(channel)
    for _ in range(2):
        with pytest.raises(ChannelClosed):
            await selection


async def test_overflow_of_a_source_is_told_once_and_the_others_go_on() -> None:
    broadcast = Broadcast[str]()
    behind = broadcast.subscribe(1, "close")
    for item in "ab":
        broadcast.put_nowait(item)
    other = filled("1", "2")
    selection = select(behind, other)
    assert [(await selection)[1] for _ in range(2)] == ["a", "1"]
    with pytest.raises(LimitExceeded):
        await selection
    assert await selection == (other, "2")


async def test_tasks_that_share_a_selection_take_different_items() -> None:
    channels = [filled(), filled()]
    selection = select(*channels)
    takers = [asyncio.create_task(selection.take()) for _ in range(3)]
    await settle()
    channels[0].put_nowait("a")
    channels[1].put_nowait("b")
    channels[0].put_nowait("c")
    assert await asyncio.gather(*takers) == [(channels[0], "a"), (channels[1], "b"), (channels[0], "c")]


async def test_cancelled_selection_passes_its_grant_on() -> None:
    one, two = filled(), filled()
    selecting = asyncio.create_task(select(one, two).take())
    await settle()
    other = asyncio.create_task(two.take())
    await settle()
    two.put_nowait("a")
    selecting.cancel()
    assert await other == "a"
    assert one.statistics().waiting_takers == 0


async def test_sources_of_different_types_mix() -> None:
    numbers = Channel[int](1)
    words = Broadcast[str]()
    receiver = words.subscribe(1, "block")
    numbers.put_nowait(1)
    words.put_nowait("one")
    selection = select(numbers, receiver)
    assert [await selection, await selection] == [(numbers, 1), (receiver, "one")]
