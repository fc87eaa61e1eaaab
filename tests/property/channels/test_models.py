"""Channels and receivers, used from one task, against models of a few lines."""

from collections import deque

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from extra.channels import Broadcast, Channel, OverflowPolicy, Receiver
from extra.errors import ChannelClosed, ChannelEmpty, ChannelFull, LimitExceeded

pytestmark = pytest.mark.slow

SIZE_LIMIT = 6


class ChannelMachine(RuleBasedStateMachine):
    """A deque with bounds."""

    @initialize(limit=st.integers(1, 4), is_sized=st.booleans())
    def make(self, limit: int, is_sized: bool) -> None:
        self.limit = limit
        self.size_limit = SIZE_LIMIT if is_sized else None
        self.channel = Channel[str](
            limit, size_limit=self.size_limit, size_of=len if self.size_limit is not None else None
        )
        self.model: deque[str] = deque()
        self.is_closed = False

    @rule(item=st.text("ab", max_size=SIZE_LIMIT + 1))
    def put(self, item: str) -> None:
        fits = self.size_limit is None or sum(map(len, self.model)) + len(item) <= self.size_limit
        if self.size_limit is not None and len(item) > self.size_limit:
            with pytest.raises(LimitExceeded):
                self.channel.put_nowait(item)
        elif self.is_closed:
            with pytest.raises(ChannelClosed):
                self.channel.put_nowait(item)
        elif len(self.model) == self.limit or not fits:
            with pytest.raises(ChannelFull):
                self.channel.put_nowait(item)
        else:
            self.channel.put_nowait(item)
            self.model.append(item)

    @rule()
    def take(self) -> None:
        if self.model:
            assert self.channel.take_nowait() == self.model.popleft()
        else:
            with pytest.raises(ChannelClosed if self.is_closed else ChannelEmpty):
                self.channel.take_nowait()

    @precondition(lambda self: len(self.model) > 1)
    @rule()
    def close(self) -> None:
        self.channel.close()
        self.is_closed = True

    @invariant()
    def counts_agree(self) -> None:
        statistics = self.channel.statistics()
        assert statistics.items == len(self.channel) == len(self.model)
        assert statistics.put_total - statistics.taken_total == len(self.model)
        assert statistics.size == (0 if self.size_limit is None else sum(map(len, self.model)))


class Model:
    """What one receiver of a broadcast is to hold: items in order, each with how many were lost before it."""

    def __init__(self, limit: int, overflow: OverflowPolicy) -> None:
        self.limit = limit
        self.overflow = overflow
        self.queue: list[tuple[str, int]] = []
        self.lost = 0
        self.dropped = 0
        self.overflowed = False

    @property
    def is_full(self) -> bool:
        return len(self.queue) == self.limit

    def put(self, item: str) -> None:
        missed = 0
        if self.overflow == "latest":
            older = [entry for entry in self.queue if entry[0][0] == item[0]]
            self.queue = [entry for entry in self.queue if entry not in older]
            missed = sum(entry[1] + 1 for entry in older)
            self.dropped += len(older)
        if self.is_full and self.overflow == "close":
            self.overflowed = True
            self.dropped += 1
            return
        if self.is_full:
            self.lost += self.queue.pop(0)[1] + 1
            self.dropped += 1
        self.queue.append((item, missed))

    def take(self) -> tuple[str, int]:
        item, missed = self.queue.pop(0)
        missed, self.lost = missed + self.lost, 0
        return item, missed


class BroadcastMachine(RuleBasedStateMachine):
    """Several receivers, each beside its model. A key is the item's first letter; items never repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.broadcast = Broadcast[str](key=lambda item: item[0], receiver_limit=5)
        self.receivers: list[tuple[Receiver[str], Model]] = []
        self.gone: list[tuple[Receiver[str], Model]] = []
        self.count = 0

    @rule(limit=st.integers(1, 3), overflow=st.sampled_from(["block", "drop-oldest", "latest", "close"]))
    def subscribe(self, limit: int, overflow: OverflowPolicy) -> None:
        if len(self.receivers) == 5:
            with pytest.raises(LimitExceeded):
                self.broadcast.subscribe(limit, overflow)
        else:
            self.receivers.append((self.broadcast.subscribe(limit, overflow), Model(limit, overflow)))

    @rule(key=st.sampled_from("abcd"))
    def put(self, key: str) -> None:
        item = f"{key}{self.count}"
        self.count += 1
        if any(model.is_full and model.overflow == "block" for _, model in self.receivers):
            with pytest.raises(ChannelFull):
                self.broadcast.put_nowait(item)
            return
        self.broadcast.put_nowait(item)
        for pair in self.receivers.copy():
            pair[1].put(item)
            if pair[1].overflowed:
                self.receivers.remove(pair)
                self.gone.append(pair)

    @precondition(lambda self: self.receivers or self.gone)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        receiver, model = data.draw(st.sampled_from(self.receivers + self.gone))
        if model.queue:
            assert (receiver.take_nowait(), receiver.missed) == model.take()
        else:
            end = LimitExceeded if model.overflowed else ChannelClosed if receiver.closed else ChannelEmpty
            with pytest.raises(end):
                receiver.take_nowait()

    @precondition(lambda self: self.receivers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.receivers))
        pair[0].close()
        self.receivers.remove(pair)
        self.gone.append(pair)

    @invariant()
    def counts_agree(self) -> None:
        statistics = self.broadcast.statistics()
        assert statistics.receivers == len(self.receivers)
        assert statistics.full_receivers == len(
            [model for _, model in self.receivers if model.is_full and model.overflow == "block"]
        )
        everybody = self.receivers + self.gone
        assert statistics.dropped_total == sum(model.dropped for _, model in everybody)
        assert statistics.overflowed_total == len([model for _, model in everybody if model.overflowed])
        for receiver, model in everybody:
            assert len(receiver) == len(model.queue)
            assert receiver.dropped == model.dropped


BOUNDS = settings(
    max_examples=50, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)

TestChannel = ChannelMachine.TestCase
TestChannel.settings = BOUNDS
TestBroadcast = BroadcastMachine.TestCase
TestBroadcast.settings = BOUNDS
