"""The taking half: `Channel` and `Receiver` share it, `Channel` stands for both here."""

import asyncio

import pytest

from extra.channels import Channel
from extra.errors import ChannelClosed, ChannelEmpty
from tests.unit.channels.driving import settle


def filled(*items: str) -> Channel[str]:
    channel = Channel[str](limit=10)
    for item in items:
        channel.put_nowait(item)
    return channel


async def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    channel = filled("a", "b", "c")
    assert [await channel.take(), channel.take_nowait(), await channel.take()] == ["a", "b", "c"]


async def test_take_waits_for_an_item() -> None:
    channel = filled()
    taker = asyncio.create_task(channel.take())
    await settle()
    assert not taker.done()
    channel.put_nowait("a")
    assert await taker == "a"


async def test_take_does_not_suspend_when_an_item_is_there() -> None:
    channel = filled("a")
    taking = channel.take()
    with pytest.raises(StopIteration) as stop:
        taking.send(None)
    assert stop.value.value == "a"


def test_take_nowait_refuses_when_there_is_nothing() -> None:
    with pytest.raises(ChannelEmpty, match=r"^channel has no item to take$"):
        filled().take_nowait()


async def test_waiting_takers_are_served_in_their_order() -> None:
    channel = filled()
    served: list[str] = []

    async def take(name: str) -> None:
        served.append(name + await channel.take())

    async with asyncio.TaskGroup() as tasks:
        for name in "123":
            tasks.create_task(take(name))
        await settle()
        for item in "abc":
            channel.put_nowait(item)
    assert served == ["1a", "2b", "3c"]


async def test_item_granted_to_a_waiting_taker_is_nobody_elses() -> None:
    channel = filled()
    first = asyncio.create_task(channel.take())
    await settle()
    channel.put_nowait("a")
    assert len(channel) == 1
    with pytest.raises(ChannelEmpty):
        channel.take_nowait()
    second = asyncio.create_task(channel.take())
    await settle()
    assert first.result() == "a"
    channel.put_nowait("b")
    assert await second == "b"


async def test_cancelled_taker_leaves_the_line() -> None:
    channel = filled()
    taker = asyncio.create_task(channel.take())
    await settle()
    taker.cancel()
    await settle()
    assert channel.statistics().waiting_takers == 0
    channel.put_nowait("a")
    assert channel.take_nowait() == "a"


async def test_item_passes_over_a_taker_cancelled_before_it_came() -> None:
    channel = filled()
    cancelled, other = (asyncio.create_task(channel.take()) for _ in range(2))
    await settle()
    cancelled.cancel()
    channel.put_nowait("a")
    assert await other == "a"


async def test_grant_of_a_taker_cancelled_after_it_came_goes_to_the_next() -> None:
    channel = filled()
    cancelled, other = (asyncio.create_task(channel.take()) for _ in range(2))
    await settle()
    channel.put_nowait("a")
    cancelled.cancel()
    assert await other == "a"
    assert cancelled.cancelled()


async def test_item_given_back_by_a_cancelled_taker_is_still_the_oldest() -> None:
    channel = filled()
    taker = asyncio.create_task(channel.take())
    await settle()
    channel.put_nowait("a")
    channel.put_nowait("b")
    taker.cancel()
    await settle()
    assert [channel.take_nowait(), channel.take_nowait()] == ["a", "b"]


async def test_take_that_timed_out_has_taken_nothing() -> None:
    channel = filled()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await channel.take()
    channel.put_nowait("a")
    assert channel.take_nowait() == "a"


async def test_closed_and_empty_source_tells_every_taker_its_end() -> None:
    channel = filled()
    takers = [asyncio.create_task(channel.take()) for _ in range(2)]
    await settle()
    channel.close()
    await settle()
    for taker in takers:
        with pytest.raises(ChannelClosed, match=r"^channel is closed$"):
            taker.result()
    with pytest.raises(ChannelClosed):
        await channel.take()
    with pytest.raises(ChannelClosed):
        channel.take_nowait()


async def test_closing_passes_over_a_taker_cancelled_just_before() -> None:
    channel = filled()
    cancelled, other = (asyncio.create_task(channel.take()) for _ in range(2))
    await settle()
    cancelled.cancel()
    channel.close()
    results = await asyncio.gather(cancelled, other, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, ChannelClosed]


async def test_closed_source_gives_what_is_left_before_it_tells_its_end() -> None:
    channel = filled("a", "b")
    assert not channel.closed
    channel.close()
    assert channel.closed
    assert channel.take_nowait() == "a"
    assert await channel.take() == "b"
    with pytest.raises(ChannelClosed):
        channel.take_nowait()


async def test_closed_source_keeps_takers_waiting_while_an_item_is_granted() -> None:
    """The one that it is granted to may yet be cancelled, and then they get it."""
    channel = filled()
    first, second, third = (asyncio.create_task(channel.take()) for _ in range(3))
    await settle()
    channel.put_nowait("a")
    channel.close()
    first.cancel()
    late = asyncio.create_task(channel.take())
    await settle()
    assert second.result() == "a"
    for taker in (third, late):
        with pytest.raises(ChannelClosed):
            taker.result()


async def test_iteration_ends_when_the_source_is_closed_and_empty() -> None:
    channel = filled("a", "b")
    channel.close()
    assert [item async for item in channel] == ["a", "b"]


async def test_iterating_task_that_waits_is_told_the_end() -> None:
    channel = filled("a")
    items: list[str] = []

    async def iterate() -> None:
        items.extend([item async for item in channel])

    task = asyncio.create_task(iterate())
    await settle()
    channel.close()
    await task
    assert items == ["a"]


async def test_context_manager_closes_whatever_happens() -> None:
    with filled("a") as channel:
        pass
    assert channel.closed
    with pytest.raises(ZeroDivisionError), filled("a") as channel:
        raise ZeroDivisionError
    assert channel.closed


async def test_closing_twice_does_nothing() -> None:
    channel = filled("a")
    channel.close()
    channel.close()
    assert channel.take_nowait() == "a"
