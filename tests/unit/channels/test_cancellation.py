"""Cancel every task at every await: nothing is lost, nothing doubled, nobody stuck.

The scenarios note an item when its `put` has returned and when its `take` has. Both happen in the same step
of the task as the change to the channel, so that the two lists must agree, whoever was cancelled.
"""

from collections.abc import Sequence

import pytest

from extra.channels import Broadcast, Channel, OverflowPolicy, Receiver, Source, ThreadInlet, select
from extra.errors import ChannelClosed, LimitExceeded
from tests.unit.channels.driving import Driver, cancel_everywhere, settle


async def put_all(channel: Channel[str] | Broadcast[str], items: Sequence[str], put: list[str]) -> None:
    for item in items:
        await channel.put(item)
        put.append(item)


async def take_all(source: Source[str], taken: list[str]) -> None:
    async for item in source:
        taken.append(item)  # noqa: PERF401 - the other tasks share the list


async def take_until_closed(source: Source[str], taken: list[str]) -> None:
    try:
        while True:
            taken.append(await source.take())
    except ChannelClosed:
        pass


@pytest.mark.parametrize("limit", [1, 2])
async def test_channel_keeps_every_item_whoever_is_cancelled(limit: int) -> None:
    async def scenario(driver: Driver) -> None:
        channel = Channel[str](limit)
        put: list[str] = []
        taken: list[str] = []
        driver.start("iterator", take_all(channel, taken))
        producers = [
            driver.start(f"producer {items}", put_all(channel, items, put)) for items in ("abcdef", "uvwxyz")
        ]
        driver.start("taker", take_until_closed(channel, taken))
        await driver.finish(*producers)
        channel.close()
        await driver.finish()
        assert taken == put
        assert len(channel) == 0

    assert await cancel_everywhere(scenario) > 20


async def test_channel_bounded_by_size_keeps_every_item_whoever_is_cancelled() -> None:
    async def scenario(driver: Driver) -> None:
        channel = Channel[str](3, size_limit=4, size_of=len)
        put: list[str] = []
        taken: list[str] = []
        producers = [
            driver.start(f"producer {number}", put_all(channel, items, put))
            for number, items in enumerate((["aaa", "b", "cccc", "d"], ["xx", "yyyy", "z", "www", "v"]))
        ]
        driver.start("iterator", take_all(channel, taken))
        driver.start("taker", take_until_closed(channel, taken))
        await driver.finish(*producers)
        channel.close()
        await driver.finish()
        assert taken == put
        assert channel.statistics().size == 0

    assert await cancel_everywhere(scenario) > 20


async def test_large_item_that_is_cancelled_lets_the_smaller_ones_behind_it_in() -> None:
    async def scenario(driver: Driver) -> None:
        channel = Channel[str](9, size_limit=4, size_of=len)
        put: list[str] = []
        taken: list[str] = []
        channel.put_nowait("aaa")
        large = driver.start("large", put_all(channel, ["bbb"], put))
        small = driver.start("small", put_all(channel, ["c"], put))
        await settle()
        if large.cancelled():
            assert small.done()
        driver.start("taker", take_all(channel, taken))
        await driver.finish(large, small)
        channel.close()
        await driver.finish()
        if not channel:
            assert taken == ["aaa", *put]

    assert await cancel_everywhere(scenario) >= 4


async def test_end_is_told_to_every_taker_whoever_is_cancelled() -> None:
    """They hear of it when all is taken, also if one that was granted an item never takes it."""

    async def scenario(driver: Driver) -> None:
        channel = Channel[str](2)
        taken: list[str] = []
        for name in ("first", "second", "third"):
            driver.start(name, take_all(channel, taken))

        async def put_and_close() -> None:
            with channel:
                channel.put_nowait("a")
                channel.put_nowait("b")

        await settle()
        driver.start("producer", put_and_close())
        await driver.finish()
        assert taken == ["a", "b"]

    assert await cancel_everywhere(scenario) >= 6


async def test_broadcast_gives_to_all_or_to_none_whoever_is_cancelled() -> None:
    """Each receiver can tell, from its items and what it missed, exactly what was put."""
    policies: list[tuple[OverflowPolicy, int]] = [
        ("block", 1),
        ("block", 2),
        ("drop-oldest", 1),
        ("latest", 2),
    ]

    async def scenario(driver: Driver) -> None:
        broadcast = Broadcast[str](key=str.lower)
        put: list[str] = []
        logs: list[tuple[Receiver[str], list[str], list[int]]] = []

        async def follow(receiver: Receiver[str], taken: list[str], missed: list[int]) -> None:
            async for item in receiver:
                taken.append(item)
                missed.append(receiver.missed)

        for overflow, limit in policies:
            log: tuple[Receiver[str], list[str], list[int]] = (broadcast.subscribe(limit, overflow), [], [])
            logs.append(log)
            for task in "12":
                driver.start(f"{overflow} {limit} {task}", follow(*log))
        producers = [
            driver.start(f"producer {items}", put_all(broadcast, items, put)) for items in ("aXAa", "xBbBX")
        ]
        await driver.finish(*producers)
        broadcast.close()
        await driver.finish()

        for receiver, taken, missed in logs:
            assert len(taken) + sum(missed) == len(put)
            assert sum(missed) == receiver.dropped
        blocking, other_blocking, dropping, latest = (taken for _, taken, _ in logs)
        assert blocking == other_blocking == put
        position = -1
        for item, gap in zip(dropping, logs[2][2], strict=True):
            position += gap + 1
            assert put[position] == item
        newest = {item.lower(): item for item in put}
        assert set(newest.values()) <= set(latest)

    assert await cancel_everywhere(scenario) > 40


async def test_overflow_is_told_to_every_taker_whoever_is_cancelled() -> None:
    async def scenario(driver: Driver) -> None:
        broadcast = Broadcast[str]()
        receiver = broadcast.subscribe(1, "close")
        taken: list[str] = []

        async def take_until_overflow() -> None:
            with pytest.raises(LimitExceeded):
                await take_all(receiver, taken)

        for name in ("first", "second", "third"):
            driver.start(name, take_until_overflow())
        await settle()
        driver.start("producer", put_all(broadcast, "abcdefgh", []))
        await driver.finish()
        assert taken == list("abcdefgh"[: len(taken)])
        assert len(receiver) == 0

    assert await cancel_everywhere(scenario) >= 6


async def test_selection_takes_exactly_one_item_whoever_is_cancelled() -> None:
    async def scenario(driver: Driver) -> None:
        one, two = Channel[str](1), Channel[str](2)
        broadcast = Broadcast[str]()
        sinks: list[Channel[str] | Broadcast[str]] = [one, two, broadcast]
        sources: list[Source[str]] = [one, two, broadcast.subscribe(1, "block")]
        put: list[list[str]] = [[], [], []]
        taken: dict[Source[str], list[str]] = {source: [] for source in sources}

        async def follow() -> None:
            async for source, item in select(*sources):
                taken[source].append(item)

        async def take() -> None:
            selection = select(*reversed(sources))
            try:
                while True:
                    source, item = await selection
                    taken[source].append(item)
            except ChannelClosed:
                pass

        driver.start("iterator", follow())
        driver.start("taker", take())
        driver.start("taker of one", take_all(one, taken[one]))
        producers = [
            driver.start(f"producer {number}", put_all(sink, "abcd", put[number]))
            for number, sink in enumerate(sinks)
        ]
        await driver.finish(*producers)
        for sink in sinks:
            sink.close()
        await driver.finish()
        assert list(taken.values()) == put

    assert await cancel_everywhere(scenario) > 20


async def test_inlet_in_line_keeps_every_item_whoever_is_cancelled() -> None:
    """The inlet stands in the channel's line, before and behind tasks that are cancelled."""

    async def scenario(driver: Driver) -> None:
        channel = Channel[str](1)
        inlet = ThreadInlet(channel, limit=3)
        put: list[str] = []
        taken: list[str] = []
        producers = [driver.start("before", put_all(channel, "abcd", put))]
        await settle()
        for item in "XYZ":
            inlet.put_nowait(item)
        await settle()
        producers.append(driver.start("behind", put_all(channel, "efgh", put)))
        driver.start("iterator", take_all(channel, taken))
        driver.start("taker", take_until_closed(channel, taken))
        await driver.finish(*producers)
        channel.close()
        await driver.finish()
        assert [item for item in taken if item in "XYZ"] == list("XYZ")
        assert [item for item in taken if item not in "XYZ"] == put

    assert await cancel_everywhere(scenario) > 20
