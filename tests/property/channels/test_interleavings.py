"""Tasks that put, take, select and are cancelled, in any order: nothing is lost, doubled, stuck or unfair.

Between the steps of an example the loop stands still; `turn` lets it run once. So whatever can happen between
a wake-up and the step of the task that it wakes does happen.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from extra.channels import Broadcast, Channel, OverflowPolicy, Receiver, Source, select
from extra.errors import ChannelClosed, ChannelEmpty, ChannelFull, LimitExceeded
from tests.unit.channels.driving import LOOPS, settle

pytestmark = pytest.mark.slow

SIZES = st.integers(1, 4)


class Interleaving(RuleBasedStateMachine):
    """Keeps the loop and the tasks; those that did the same at the same place stand in one line."""

    loop_name = "asyncio"

    def __init__(self) -> None:
        super().__init__()
        self.loop = LOOPS[self.loop_name]()
        self.failed_callbacks: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.failed_callbacks.append(context))
        self.tasks: list[asyncio.Task[None]] = []
        self.lines: dict[object, list[asyncio.Task[None]]] = {}
        self.count = 0

    def start(self, line: object, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self.tasks.append(task)
        self.lines.setdefault(line, []).append(task)

    def new_item(self, size: int = 1) -> str:
        """Return an item that is unlike all before; its length is `size` when only x counts."""
        self.count += 1
        return f"{self.count}" + "x" * size

    @rule()
    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))

    @precondition(lambda self: any(not task.done() for task in self.tasks))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([task for task in self.tasks if not task.done()])).cancel()

    @rule()
    def settle(self) -> None:
        self.loop.run_until_complete(settle())
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.result()
        for line in self.lines.values():
            is_waiting = [not task.done() for task in line if not task.done() or not task.cancelled()]
            assert is_waiting == sorted(is_waiting), "one was served before another that came earlier"
        self.check_nobody_waits_in_vain()

    def check_nobody_waits_in_vain(self) -> None:
        raise NotImplementedError

    def close_all(self) -> None:
        raise NotImplementedError

    def teardown(self) -> None:
        try:
            self.close_all()
            self.settle()
            assert all(task.done() for task in self.tasks)
            assert self.failed_callbacks == []
        finally:
            for task in self.tasks:
                task.cancel()
            self.loop.run_until_complete(settle())
            self.loop.close()


class ChannelInterleaving(Interleaving):
    """Two channels, one of which is bounded by size as well."""

    def __init__(self) -> None:
        super().__init__()
        self.channels: list[Channel[str]] = []
        self.put_into: dict[Source[str], list[str]] = {}
        self.taken_from: dict[Source[str], list[str]] = {}

    @initialize(limit=st.integers(1, 3))
    def make(self, limit: int) -> None:
        sized = Channel[str](3, size_limit=4, size_of=lambda item: item.count("x"))
        self.channels = [Channel[str](limit), sized]
        self.put_into = {channel: [] for channel in self.channels}
        self.taken_from = {channel: [] for channel in self.channels}
        self.selection = select(*self.channels)

    @rule(which=st.integers(0, 1), size=SIZES)
    def put(self, which: int, size: int) -> None:
        channel, item = self.channels[which], self.new_item(size)

        async def work() -> None:
            try:
                await channel.put(item)
            except ChannelClosed:
                assert channel.closed
            else:
                self.put_into[channel].append(item)

        self.start(("put", which), work())

    @rule(which=st.integers(0, 1), size=SIZES)
    def put_nowait(self, which: int, size: int) -> None:
        channel, item = self.channels[which], self.new_item(size)
        try:
            channel.put_nowait(item)
        except ChannelClosed:
            assert channel.closed
        except ChannelFull:
            line = self.lines.get(("put", which), [])
            assert len(channel) > 0 or any(not task.done() for task in line), "for nothing"
        else:
            self.put_into[channel].append(item)

    @rule(which=st.integers(0, 1))
    def take(self, which: int) -> None:
        channel = self.channels[which]

        async def work() -> None:
            try:
                item = await channel.take()
            except ChannelClosed:
                assert channel.closed
            else:
                self.taken_from[channel].append(item)

        self.start(("take", which), work())

    @rule(which=st.integers(0, 1))
    def take_nowait(self, which: int) -> None:
        channel = self.channels[which]
        try:
            item = channel.take_nowait()
        except ChannelClosed:
            assert channel.closed
            assert len(channel) == 0
        except ChannelEmpty:
            pass
        else:
            self.taken_from[channel].append(item)

    @rule()
    def select_one(self) -> None:
        async def work() -> None:
            try:
                source, item = await self.selection
            except ChannelClosed:
                assert all(channel.closed for channel in self.channels)
            else:
                self.taken_from[source].append(item)

        self.start("select", work())

    @precondition(lambda self: self.count > 20)
    @rule(which=st.integers(0, 1))
    def close(self, which: int) -> None:
        self.channels[which].close()

    @invariant()
    def what_was_put_was_taken_or_is_queued(self) -> None:
        for channel in self.channels:
            put, taken = self.put_into[channel], self.taken_from[channel]
            assert taken == put[: len(taken)]
            assert len(channel) == len(put) - len(taken)

    def check_nobody_waits_in_vain(self) -> None:
        for channel in self.channels:
            statistics = channel.statistics()
            assert not statistics.waiting_takers or not statistics.items
            assert not statistics.closed or not statistics.waiting_putters
            if statistics.waiting_putters and statistics.items < statistics.limit:
                assert statistics.size > 0

    def close_all(self) -> None:
        for channel in self.channels:
            channel.close()


class BroadcastInterleaving(Interleaving):
    """A broadcast with receivers of all policies; each receiver can tell what was put since it joined."""

    def __init__(self) -> None:
        super().__init__()
        self.broadcast = Broadcast[str](key=lambda item: int(item.rstrip("x")) % 3)
        self.put_so_far: list[str] = []
        self.receivers: list[tuple[Receiver[str], int]] = []  # with how many were put before it joined
        self.taken: dict[Receiver[str], list[str]] = {}
        self.missed: dict[Receiver[str], list[int]] = {}

    @precondition(lambda self: len(self.receivers) < 5)
    @rule(
        limit=st.integers(1, 3),
        overflow=st.sampled_from(["block", "block", "drop-oldest", "latest", "close"]),
    )
    def subscribe(self, limit: int, overflow: OverflowPolicy) -> None:
        if not self.broadcast.closed:
            receiver = self.broadcast.subscribe(limit, overflow)
            self.receivers.append((receiver, len(self.put_so_far)))
            self.taken[receiver] = []
            self.missed[receiver] = []

    @rule()
    def put(self) -> None:
        item = self.new_item()

        async def work() -> None:
            try:
                await self.broadcast.put(item)
            except ChannelClosed:
                assert self.broadcast.closed
            else:
                self.put_so_far.append(item)

        self.start("put", work())

    @rule()
    def put_nowait(self) -> None:
        item = self.new_item()
        try:
            self.broadcast.put_nowait(item)
        except ChannelClosed:
            assert self.broadcast.closed
        except ChannelFull:
            pass
        else:
            self.put_so_far.append(item)

    @precondition(lambda self: self.receivers)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        receiver, _ = data.draw(st.sampled_from(self.receivers))

        async def work() -> None:
            try:
                item = await receiver.take()
            except (ChannelClosed, LimitExceeded):
                assert receiver.closed
                assert len(receiver) == 0
            else:
                self.taken[receiver].append(item)
                self.missed[receiver].append(receiver.missed)

        self.start(receiver, work())

    @precondition(lambda self: self.receivers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        receiver, _ = data.draw(st.sampled_from(self.receivers))
        if self.count > 20:
            receiver.close()

    @invariant()
    def receivers_have_or_missed_what_was_put(self) -> None:
        for receiver, joined in self.receivers:
            statistics = receiver.statistics()
            taken, since = self.taken[receiver], self.put_so_far[joined:]
            received = len(taken) + len(receiver) + statistics.dropped_total
            assert received == len(since) if not receiver.closed else received <= len(since)
            if statistics.overflow == "latest":
                assert set(taken) <= set(since)
            else:
                position = -1
                for item, missed in zip(taken, self.missed[receiver], strict=True):
                    position += missed + 1
                    assert since[position] == item

    def check_nobody_waits_in_vain(self) -> None:
        statistics = self.broadcast.statistics()
        assert not statistics.waiting_putters or statistics.full_receivers
        for receiver, _ in self.receivers:
            assert not receiver.statistics().waiting_takers or not len(receiver)

    def close_all(self) -> None:
        self.broadcast.close()


class ChannelInterleavingOnUvloop(ChannelInterleaving):
    loop_name = "uvloop"


class BroadcastInterleavingOnUvloop(BroadcastInterleaving):
    loop_name = "uvloop"


BOUNDS = settings(
    max_examples=50, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

TestChannel = ChannelInterleaving.TestCase
TestChannel.settings = BOUNDS
TestChannelOnUvloop = ChannelInterleavingOnUvloop.TestCase
TestChannelOnUvloop.settings = BOUNDS
TestBroadcast = BroadcastInterleaving.TestCase
TestBroadcast.settings = BOUNDS
TestBroadcastOnUvloop = BroadcastInterleavingOnUvloop.TestCase
TestBroadcastOnUvloop.settings = BOUNDS
