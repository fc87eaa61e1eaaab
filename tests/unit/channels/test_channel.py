import asyncio

import pytest

from extra.channels import Channel, ChannelStatistics, ThreadInlet
from extra.errors import ChannelClosed, ChannelFull, LimitExceeded
from tests.unit.channels.driving import settle


def sized(limit: int, size_limit: int) -> Channel[str]:
    return Channel(limit, size_limit=size_limit, size_of=len)


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_is_positive(limit: int) -> None:
    with pytest.raises(ValueError, match=rf"^limit must be 1 or more, not {limit}$"):
        Channel[str](limit)


def test_size_limit_is_positive() -> None:
    with pytest.raises(ValueError, match=r"^size_limit must be 1 or more, not 0$"):
        sized(1, 0)


def test_size_limit_and_size_of_come_together() -> None:
    with pytest.raises(ValueError, match=r"^size_limit and size_of need each other$"):
        Channel[str](1, size_limit=1)
    with pytest.raises(ValueError, match=r"^size_limit and size_of need each other$"):
        Channel[str](1, size_of=len)


def test_works_without_a_running_loop_where_nothing_waits() -> None:
    channel = Channel[str](1)
    channel.put_nowait("a")
    assert channel.take_nowait() == "a"


def test_put_nowait_refuses_beyond_the_limit() -> None:
    channel = Channel[str](2)
    channel.put_nowait("a")
    channel.put_nowait("b")
    with pytest.raises(ChannelFull, match=r"^channel is full: limit=2$"):
        channel.put_nowait("c")
    assert len(channel) == 2


def test_put_nowait_refuses_beyond_the_size_limit() -> None:
    channel = sized(9, 5)
    channel.put_nowait("aaa")
    with pytest.raises(ChannelFull, match=r"^channel is full: limit=9, size_limit=5$"):
        channel.put_nowait("bbb")
    channel.put_nowait("bb")
    channel.put_nowait("")
    assert channel.statistics().size == 5


async def test_item_that_can_never_fit_is_refused() -> None:
    channel = sized(9, 5)
    with pytest.raises(LimitExceeded, match=r"^item of size 6 is larger than size_limit=5$"):
        await channel.put("aaaaaa")
    with pytest.raises(LimitExceeded, match=r"^item of size 6 is larger than size_limit=5$"):
        channel.put_nowait("aaaaaa")
    assert len(channel) == 0


def test_item_of_negative_size_is_refused() -> None:
    channel = Channel[int](1, size_limit=1, size_of=int)
    with pytest.raises(ValueError, match=r"^size_of must return 0 or more, not -1$"):
        channel.put_nowait(-1)


async def test_error_of_size_of_goes_to_the_putter_and_changes_nothing() -> None:
    def fail(item: str) -> int:
        raise ZeroDivisionError

    channel = Channel[str](1, size_limit=1, size_of=fail)
    with pytest.raises(ZeroDivisionError):
        await channel.put("a")
    assert channel.statistics() == ChannelStatistics(0, 1, 0, 1, 0, 0, 0, 0, False)


async def test_put_waits_for_a_place() -> None:
    channel = Channel[str](1)
    await channel.put("a")
    putter = asyncio.create_task(channel.put("b"))
    await settle()
    assert not putter.done()
    assert channel.take_nowait() == "a"
    await putter
    assert channel.take_nowait() == "b"


async def test_put_does_not_suspend_when_there_is_a_place() -> None:
    putting = Channel[str](1).put("a")
    with pytest.raises(StopIteration):
        putting.send(None)


async def test_waiting_putters_are_served_in_their_order() -> None:
    channel = Channel[str](1)
    async with asyncio.TaskGroup() as tasks:
        for item in "abcd":
            tasks.create_task(channel.put(item))
        await settle()
        assert [await channel.take() for _ in range(4)] == ["a", "b", "c", "d"]


async def test_place_granted_to_a_waiting_putter_is_nobody_elses() -> None:
    channel = Channel[str](1)
    channel.put_nowait("a")
    putter = asyncio.create_task(channel.put("b"))
    await settle()
    channel.take_nowait()
    with pytest.raises(ChannelFull):
        channel.put_nowait("c")
    await putter
    assert channel.take_nowait() == "b"


async def test_items_granted_to_waiting_takers_do_not_count_against_the_limit() -> None:
    channel = Channel[str](1)
    taker = asyncio.create_task(channel.take())
    await settle()
    channel.put_nowait("a")
    channel.put_nowait("b")
    with pytest.raises(ChannelFull):
        channel.put_nowait("c")
    assert await taker == "a"


async def test_putters_in_line_take_up_the_places_that_takers_in_line_free() -> None:
    """The first putter's item goes to the taker, which leaves its place to the second, and so on."""
    channel = Channel[str](1)
    channel.put_nowait("a")
    putters = [asyncio.create_task(channel.put(item)) for item in "bc"]
    await settle()
    assert channel.take_nowait() == "a"
    taker = asyncio.create_task(channel.take())
    await settle()
    assert taker.result() == "b"
    assert all(putter.done() for putter in putters)
    assert channel.take_nowait() == "c"


async def test_cancelled_putter_leaves_the_line() -> None:
    channel = Channel[str](1)
    channel.put_nowait("a")
    putter = asyncio.create_task(channel.put("b"))
    await settle()
    putter.cancel()
    await settle()
    assert channel.statistics().waiting_putters == 0
    assert channel.take_nowait() == "a"
    assert len(channel) == 0


async def test_place_passes_over_a_putter_cancelled_before_it_came_free() -> None:
    channel = Channel[str](1)
    channel.put_nowait("a")
    cancelled, other = (asyncio.create_task(channel.put(item)) for item in "bc")
    await settle()
    cancelled.cancel()
    channel.take_nowait()
    await other
    assert channel.take_nowait() == "c"


async def test_place_of_a_putter_cancelled_after_it_came_free_goes_to_the_next() -> None:
    channel = Channel[str](1)
    channel.put_nowait("a")
    cancelled, other = (asyncio.create_task(channel.put(item)) for item in "bc")
    await settle()
    channel.take_nowait()
    cancelled.cancel()
    await other
    assert cancelled.cancelled()
    assert channel.take_nowait() == "c"


async def test_put_nowait_takes_the_place_that_only_a_cancelled_putter_waits_for() -> None:
    channel = sized(9, 3)
    channel.put_nowait("a")
    putter = asyncio.create_task(channel.put("bbb"))
    await settle()
    putter.cancel()
    channel.put_nowait("cc")
    await settle()
    assert [channel.take_nowait(), channel.take_nowait()] == ["a", "cc"]


async def test_small_item_does_not_overtake_a_large_one_that_waits() -> None:
    channel = sized(9, 3)
    channel.put_nowait("a")
    large = asyncio.create_task(channel.put("bbb"))
    await settle()
    with pytest.raises(ChannelFull):
        channel.put_nowait("c")
    small = asyncio.create_task(channel.put("c"))
    await settle()
    assert [await channel.take() for _ in range(3)] == ["a", "bbb", "c"]
    await asyncio.gather(large, small)


async def test_one_large_item_taken_makes_room_for_several_small_ones() -> None:
    channel = sized(9, 3)
    channel.put_nowait("aaa")
    putters = [asyncio.create_task(channel.put(item)) for item in ("b", "c", "d", "e")]
    await settle()
    assert channel.take_nowait() == "aaa"
    await settle()
    assert [putter.done() for putter in putters] == [True, True, True, False]
    channel.close()
    with pytest.raises(ChannelClosed):
        await putters[-1]


async def test_closed_channel_refuses_items() -> None:
    channel = Channel[str](1)
    channel.close()
    with pytest.raises(ChannelClosed, match=r"^channel is closed$"):
        await channel.put("a")
    with pytest.raises(ChannelClosed, match=r"^channel is closed$"):
        channel.put_nowait("a")


async def test_closing_refuses_the_items_of_waiting_putters() -> None:
    """Also of one that has been granted a place and has not run since."""
    channel = Channel[str](1)
    channel.put_nowait("a")
    putters = [asyncio.create_task(channel.put(item)) for item in "bcd"]
    await settle()
    channel.take_nowait()
    putters[2].cancel()
    channel.close()
    results = await asyncio.gather(*putters, return_exceptions=True)
    assert [type(result) for result in results] == [ChannelClosed, ChannelClosed, asyncio.CancelledError]
    assert channel.statistics().put_total == 1
    assert channel.statistics().waiting_putters == 0


async def test_closing_lets_in_what_an_inlet_has_accepted() -> None:
    channel = Channel[str](1)
    channel.put_nowait("a")
    ThreadInlet(channel, limit=1).put_nowait("b")
    channel.close()
    assert [channel.take_nowait(), channel.take_nowait()] == ["a", "b"]


async def test_statistics_count_items_waiters_and_totals() -> None:
    channel = sized(2, 10)
    for item in ("a", "bb"):
        channel.put_nowait(item)
    putter = asyncio.create_task(channel.put("ccc"))
    await settle()
    assert channel.statistics() == ChannelStatistics(
        items=2,
        limit=2,
        size=3,
        size_limit=10,
        waiting_putters=1,
        waiting_takers=0,
        put_total=2,
        taken_total=0,
        closed=False,
    )
    for _ in range(3):
        await channel.take()
    taker = asyncio.create_task(channel.take())
    await settle()
    assert channel.statistics() == ChannelStatistics(0, 2, 0, 10, 0, 1, 3, 3, False)
    channel.close()
    await asyncio.wait([putter, taker])
    assert isinstance(taker.exception(), ChannelClosed)
    assert channel.statistics() == ChannelStatistics(0, 2, 0, 10, 0, 0, 3, 3, True)
    assert Channel[str](2).statistics() == ChannelStatistics(0, 2, 0, None, 0, 0, 0, 0, False)
