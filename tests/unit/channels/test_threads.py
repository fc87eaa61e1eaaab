"""Threads and the loop meet at events only: a thread's `put` or `take` returns, a count is reached.

`TIMEOUT_S` ends tests that would hang otherwise; none waits for it to pass.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec

import pytest

from extra.channels import Broadcast, Channel, ThreadInlet, ThreadOutlet
from extra.channels.threads import LOOK_AGAIN_S
from extra.errors import ChannelClosed, ChannelEmpty, ChannelFull, LimitExceeded
from tests.unit.channels.driving import NewLoop, settle

P = ParamSpec("P")

TIMEOUT_S = 10.0


async def until(reached: Callable[[], bool]) -> None:
    """Run the loop until other threads have brought something about."""
    async with asyncio.timeout(TIMEOUT_S):
        while not reached():  # noqa: ASYNC110 - a thread sets no asyncio.Event
            await asyncio.sleep(0)


def in_thread_while_the_loop_stands_still(work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    thread = threading.Thread(target=work, args=args, kwargs=kwargs)
    thread.start()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


def put_all(inlet: ThreadInlet[str], items: str) -> None:
    for item in items:
        inlet.put(item, TIMEOUT_S)


async def test_items_of_a_thread_arrive_in_their_order() -> None:
    channel = Channel[str](9)
    inlet = ThreadInlet(channel, limit=9)
    await asyncio.to_thread(put_all, inlet, "abc")
    assert [await channel.take() for _ in range(3)] == ["a", "b", "c"]
    assert len(inlet) == 0


async def test_waiting_taker_gets_the_item_of_a_thread() -> None:
    channel = Channel[str](1)
    inlet = ThreadInlet(channel, limit=1)
    taker = asyncio.create_task(channel.take())
    await settle()
    await asyncio.to_thread(inlet.put, "a")
    assert await taker == "a"


async def test_thread_blocks_while_the_channel_and_the_inlet_are_full() -> None:
    channel = Channel[str](1)
    inlet = ThreadInlet(channel, limit=2)
    putting = asyncio.create_task(asyncio.to_thread(put_all, inlet, "abcdefgh"))
    taken = []
    for _ in range(8):
        await until(lambda: len(channel) == 1)
        assert len(inlet) <= 2
        taken.append(channel.take_nowait())
    await putting
    assert taken == list("abcdefgh")


async def test_put_gives_up_when_its_time_is_up() -> None:
    channel = Channel[str](1)
    inlet = ThreadInlet(channel, limit=1)
    await asyncio.to_thread(put_all, inlet, "ab")
    with pytest.raises(ChannelFull, match=r"^inlet is still full after 0.01 s: limit=1$"):
        await asyncio.to_thread(inlet.put, "c", 0.01)
    assert [await channel.take() for _ in range(2)] == ["a", "b"]
    await settle()
    assert len(channel) == 0


async def test_put_nowait_refuses_beyond_the_limit() -> None:
    channel = Channel[str](9)
    inlet = ThreadInlet(channel, limit=2)

    def put() -> None:
        inlet.put_nowait("a")
        inlet.put_nowait("b")
        with pytest.raises(ChannelFull, match=r"^inlet is full: limit=2$"):
            inlet.put_nowait("c")

    in_thread_while_the_loop_stands_still(put)
    assert len(inlet) == 2
    await settle()
    assert len(inlet) == 0
    assert len(channel) == 2


async def test_burst_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    wake_ups: list[Callable[..., object]] = []
    wake = loop.call_soon_threadsafe

    def counting(callback: Callable[[], object]) -> asyncio.Handle:
        wake_ups.append(callback)
        return wake(callback)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counting)
    channel = Channel[str](9)
    inlet = ThreadInlet(channel, limit=9)
    in_thread_while_the_loop_stands_still(put_all, inlet, "abcde")
    assert len(wake_ups) == 1
    await settle()
    in_thread_while_the_loop_stands_still(put_all, inlet, "fghi")
    assert len(wake_ups) == 2
    await settle()
    assert len(channel) == 9
    in_thread_while_the_loop_stands_still(put_all, inlet, "j")
    await settle()
    in_thread_while_the_loop_stands_still(put_all, inlet, "klm")
    assert len(wake_ups) == 3, "in line for a place, it looks at the rest anyway"


async def test_items_of_many_threads_arrive_once_each() -> None:
    channel = Channel[str](2)
    inlet = ThreadInlet(channel, limit=3)
    threads = "abcd"
    async with asyncio.TaskGroup() as tasks:
        for name in threads:
            tasks.create_task(asyncio.to_thread(put_all, inlet, name.lower() * 5 + name.upper() * 5))
        taken = [await channel.take() for _ in range(40)]
    for name in threads:
        assert [item for item in taken if item.lower() == name] == [name] * 5 + [name.upper()] * 5


async def test_inlet_waits_in_the_line_of_the_channel() -> None:
    channel = Channel[str](1)
    inlet = ThreadInlet(channel, limit=2)
    channel.put_nowait("a")
    before = asyncio.create_task(channel.put("b"))
    await settle()
    inlet.put_nowait("X")
    await settle()
    behind = asyncio.create_task(channel.put("c"))
    await settle()
    assert [await channel.take() for _ in range(4)] == ["a", "b", "X", "c"]
    await asyncio.gather(before, behind)


async def test_item_too_large_for_the_channel_is_refused_in_the_thread() -> None:
    channel = Channel[str](9, size_limit=2, size_of=len)
    inlet = ThreadInlet(channel, limit=9)
    with pytest.raises(LimitExceeded):
        await asyncio.to_thread(inlet.put, "aaa")
    with pytest.raises(LimitExceeded):
        inlet.put_nowait("aaa")
    await asyncio.to_thread(put_all, inlet, "abc")
    await settle()
    assert len(channel) == 2
    assert len(inlet) == 1
    assert [await channel.take() for _ in range(3)] == ["a", "b", "c"]


async def test_put_in_the_thread_of_the_loop_is_refused() -> None:
    inlet = ThreadInlet(Channel[str](1), limit=1)
    with pytest.raises(RuntimeError, match=r"^put would block the event loop: "):
        inlet.put("a")


async def test_limit_of_an_inlet_is_positive() -> None:
    with pytest.raises(ValueError, match=r"^limit must be 1 or more, not 0$"):
        ThreadInlet(Channel[str](1), limit=0)


async def test_closed_channel_gets_no_inlet() -> None:
    channel = Channel[str](1)
    channel.close()
    with pytest.raises(ChannelClosed):
        ThreadInlet(channel, limit=1)


async def test_closing_the_channel_lets_in_what_threads_have_put() -> None:
    """Beyond its limit, too: to the thread, each `put` has succeeded."""
    channel = Channel[str](1)
    inlets = [ThreadInlet(channel, limit=2) for _ in range(2)]
    in_thread_while_the_loop_stands_still(put_all, inlets[0], "ab")
    await settle()
    in_thread_while_the_loop_stands_still(put_all, inlets[1], "c")
    channel.close()
    channel.close()
    assert [item async for item in channel] == ["a", "b", "c"]
    for inlet in inlets:
        with pytest.raises(ChannelClosed, match=r"^channel is closed$"):
            inlet.put_nowait("d")
        with pytest.raises(ChannelClosed, match=r"^channel is closed$"):
            await asyncio.to_thread(inlet.put, "d")


async def test_place_granted_to_an_inlet_does_not_outlive_the_channel() -> None:
    channel = Channel[str](1)
    inlet = ThreadInlet(channel, limit=1)
    channel.put_nowait("a")
    inlet.put_nowait("b")
    await settle()
    assert channel.take_nowait() == "a"
    channel.close()
    await settle()
    assert [item async for item in channel] == ["b"]


async def test_thread_that_blocks_is_told_that_the_channel_is_closed() -> None:
    channel = Channel[str](1)
    inlet = ThreadInlet(channel, limit=1)
    putting = asyncio.create_task(asyncio.to_thread(put_all, inlet, "abc"))
    await until(lambda: len(channel) == 1 and len(inlet) == 1)
    channel.close()
    with pytest.raises(ChannelClosed, match=r"^channel is closed$"):
        await putting
    assert [item async for item in channel] == ["a", "b"]


async def test_closed_inlet_accepts_nothing_and_still_delivers() -> None:
    channel = Channel[str](1)
    with ThreadInlet(channel, limit=1) as inlet:
        putting = asyncio.create_task(asyncio.to_thread(put_all, inlet, "abc"))
        await until(lambda: len(channel) == 1 and len(inlet) == 1)
    with pytest.raises(ChannelClosed, match=r"^inlet is closed$"):
        await putting
    with pytest.raises(ChannelClosed, match=r"^inlet is closed$"):
        inlet.put_nowait("d")
    assert [await channel.take() for _ in range(2)] == ["a", "b"]
    await channel.put("e")
    channel.close()
    inlet.close()
    assert [item async for item in channel] == ["e"]


async def test_closed_inlet_delivers_also_when_the_channel_closes() -> None:
    channel = Channel[str](1)
    with ThreadInlet(channel, limit=2) as inlet:
        in_thread_while_the_loop_stands_still(put_all, inlet, "ab")
    channel.close()
    assert [item async for item in channel] == ["a", "b"]


async def test_channel_forgets_a_closed_inlet_once_everything_has_arrived() -> None:
    """Nothing else shows it, but inlets would pile up in a channel that outlives many threads."""
    channel = Channel[str](1)
    for items in ("", "a", "bc"):
        with ThreadInlet(channel, limit=2) as inlet:
            in_thread_while_the_loop_stands_still(put_all, inlet, items)
        for item in items:
            assert await channel.take() == item
        await settle()
        assert channel._feeders == []


async def test_inlet_closed_with_nothing_on_its_way_leaves_the_channel() -> None:
    channel = Channel[str](1)
    inlet = ThreadInlet(channel, limit=1)
    inlet.close()
    channel.put_nowait("a")
    with pytest.raises(ChannelClosed):
        inlet.put_nowait("b")
    channel.close()
    assert [item async for item in channel] == ["a"]


def test_inlet_of_a_closed_loop_says_so(new_loop: NewLoop) -> None:
    async def make() -> ThreadInlet[str]:
        inlet = ThreadInlet(Channel[str](1), limit=1)
        inlet.put_nowait("a")
        return inlet

    with asyncio.Runner(loop_factory=new_loop) as runner:
        inlet = runner.run(make())
    with pytest.raises(ChannelClosed, match=r"^event loop is closed$"):
        inlet.put_nowait("b")
    with pytest.raises(ChannelClosed, match=r"^event loop is closed$"):
        inlet.put("b")


@pytest.mark.slow
def test_thread_that_blocks_notices_that_the_loop_is_closed(new_loop: NewLoop) -> None:
    async def make() -> tuple[ThreadInlet[str], ThreadOutlet[str]]:
        full, empty = Channel[str](1), Channel[str](1)
        inlet = ThreadInlet(full, limit=1)
        full.put_nowait("a")
        inlet.put_nowait("b")
        return inlet, ThreadOutlet(empty)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        inlet, outlet = runner.run(make())
        errors: list[BaseException] = []

        def block(work: Callable[[], object]) -> None:
            try:
                work()
            except ChannelClosed as error:
                errors.append(error)

        threads = [
            threading.Thread(target=block, args=[work]) for work in (lambda: inlet.put("c"), outlet.take)
        ]
        for thread in threads:
            thread.start()
        runner.run(settle())
    for thread in threads:
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
    assert [str(error) for error in errors] == ["event loop is closed"] * 2


async def test_thread_takes_items_in_their_order() -> None:
    channel = Channel[str](9)
    outlet = ThreadOutlet(channel)
    for item in "abc":
        channel.put_nowait(item)
    channel.close()
    assert await asyncio.to_thread(list, outlet) == ["a", "b", "c"]
    with pytest.raises(ChannelClosed, match=r"^channel is closed$"):
        await asyncio.to_thread(outlet.take)


async def test_thread_waits_for_an_item() -> None:
    channel = Channel[str](1)
    outlet = ThreadOutlet(channel)
    taking = asyncio.create_task(asyncio.to_thread(outlet.take, TIMEOUT_S))
    await until(lambda: channel.statistics().waiting_takers == 1)
    await channel.put("a")
    assert await taking == "a"


async def test_thread_and_task_are_served_in_the_order_in_which_they_came() -> None:
    channel = Channel[str](9)
    outlet = ThreadOutlet(channel)
    thread = asyncio.create_task(asyncio.to_thread(outlet.take, TIMEOUT_S))
    await until(lambda: channel.statistics().waiting_takers == 1)
    task = asyncio.create_task(channel.take())
    await settle()
    channel.put_nowait("a")
    channel.put_nowait("b")
    assert await thread == "a"
    assert await task == "b"


async def test_items_go_to_many_threads_once_each() -> None:
    channel = Channel[int](3)
    outlet = ThreadOutlet(channel)
    async with asyncio.TaskGroup() as tasks:
        takers = [tasks.create_task(asyncio.to_thread(list, outlet)) for _ in range(4)]
        for number in range(40):
            await channel.put(number)
        channel.close()
    taken = [taker.result() for taker in takers]
    assert sorted(itertools.chain(*taken)) == list(range(40))
    assert all(numbers == sorted(numbers) for numbers in taken)


async def test_take_gives_up_when_its_time_is_up_and_has_taken_nothing() -> None:
    channel = Channel[str](1)
    outlet = ThreadOutlet(channel)
    with pytest.raises(ChannelEmpty, match=r"^channel had no item to take for 0.01 s$"):
        await asyncio.to_thread(outlet.take, 0.01)
    channel.put_nowait("a")
    await settle()
    assert await channel.take() == "a"
    taking = asyncio.create_task(asyncio.to_thread(outlet.take, TIMEOUT_S))
    await channel.put("b")
    assert await taking == "b"


async def test_take_whose_time_is_up_just_as_an_item_comes_loses_nothing() -> None:
    channel = Channel[int](1)
    outlet = ThreadOutlet(channel)

    def take_impatiently() -> list[int]:
        taken: list[int] = []
        while len(taken) < 10:
            with suppress(ChannelEmpty):
                taken.append(outlet.take(0))
        return taken

    taking = asyncio.create_task(asyncio.to_thread(take_impatiently))
    for number in range(10):
        await channel.put(number)
    assert await taking == list(range(10))


@pytest.mark.slow
async def test_time_that_is_up_may_be_longer_than_a_look_at_the_loop() -> None:
    channel = Channel[str](1)
    inlet, outlet = ThreadInlet(channel, limit=1), ThreadOutlet(Channel[str](1))
    await asyncio.to_thread(put_all, inlet, "ab")
    results = await asyncio.gather(
        asyncio.to_thread(inlet.put, "c", LOOK_AGAIN_S + 0.05),
        asyncio.to_thread(outlet.take, LOOK_AGAIN_S + 0.05),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [ChannelFull, ChannelEmpty]


async def test_take_in_the_thread_of_the_loop_is_refused() -> None:
    outlet = ThreadOutlet(Channel[str](1))
    with pytest.raises(RuntimeError, match=r"^take would block the event loop: "):
        outlet.take()


async def test_waiting_thread_is_told_the_end() -> None:
    channel = Channel[str](1)
    outlet = ThreadOutlet(channel)
    taking = [asyncio.create_task(asyncio.to_thread(outlet.take, TIMEOUT_S)) for _ in range(2)]
    await until(lambda: channel.statistics().waiting_takers == 1)
    channel.close()
    for task in taking:
        with pytest.raises(ChannelClosed, match=r"^channel is closed$"):
            await task


async def test_thread_is_told_that_its_receiver_overflowed() -> None:
    broadcast = Broadcast[str]()
    receiver = broadcast.subscribe(1, "close")
    outlet = ThreadOutlet(receiver)
    for item in "ab":
        broadcast.put_nowait(item)
    assert await asyncio.to_thread(outlet.take) == "a"
    with pytest.raises(LimitExceeded):
        await asyncio.to_thread(outlet.take)


async def test_closed_outlet_leaves_the_items_in_the_channel() -> None:
    channel = Channel[str](1)
    with ThreadOutlet(channel) as outlet:
        taking = asyncio.create_task(asyncio.to_thread(outlet.take, TIMEOUT_S))
        await until(lambda: channel.statistics().waiting_takers == 1)
    assert channel.statistics().waiting_takers == 0
    with pytest.raises(ChannelClosed, match=r"^outlet is closed$"):
        await taking
    channel.put_nowait("a")
    with pytest.raises(ChannelClosed, match=r"^outlet is closed$"):
        await asyncio.to_thread(outlet.take)
    assert channel.take_nowait() == "a"


async def test_outlet_closed_when_it_was_just_granted_an_item_passes_it_on() -> None:
    channel = Channel[str](1)
    outlet = ThreadOutlet(channel)
    taking = asyncio.create_task(asyncio.to_thread(outlet.take, TIMEOUT_S))
    await until(lambda: channel.statistics().waiting_takers == 1)
    task = asyncio.create_task(channel.take())
    await settle()
    channel.put_nowait("a")
    outlet.close()
    assert await task == "a"
    channel.put_nowait("b")
    await settle()
    assert channel.take_nowait() == "b"
    assert len(channel) == 0
    with pytest.raises(ChannelClosed):
        await taking


def test_outlet_of_a_closed_loop_says_so(new_loop: NewLoop) -> None:
    async def make() -> ThreadOutlet[str]:
        return ThreadOutlet(Channel[str](1))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        outlet = runner.run(make())
    with pytest.raises(ChannelClosed, match=r"^event loop is closed$"):
        outlet.take()
