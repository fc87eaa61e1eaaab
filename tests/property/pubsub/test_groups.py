"""Groups, whatever happens: any sequence of publishing, coming, going, acknowledging, waiting and restarting.

Each member notes what it is handed. At any moment a message is with one member at most, nobody has more than
it may, and the count of tries is right; what is done is not handed out again, and where order was asked for
nothing overtakes what is not done. In the end everything is done or a dead letter, once.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extra.pubsub import Broker, BrokerLimits, Engine, Gap, GroupMember, GroupOptions, Message, Policy, Since
from tests.conformance.engines.engines import ENGINES, Terms
from tests.fakes.clock import FakeClock

TOPICS = ["a", "b", "c"]
ACK_WAIT_S = 10.0
MOST = 3
TRIES = 4


class Member(GroupMember):
    """Notes what it is handed, and takes what it is told to take."""

    def __init__(self, id: str, run: "Run") -> None:
        super().__init__(id)
        self.run = run
        self.takes = True

    def has_room(self) -> bool:
        return self.takes

    def hand(self, message: Message, deliveries: int) -> None:
        self.run.handed(self, message, deliveries)

    def tell_gap(self, gap: Gap) -> None:
        raise AssertionError(f"nothing is lost here: {gap}")

    def replaced(self) -> None:
        raise AssertionError("every member has an id of its own")


class Run:
    """One sequence, and what should be true of it."""

    def __init__(self, make: Callable[[Terms], Engine], directory: Path, seed: int, order: str) -> None:
        self.clock = FakeClock()
        self.make = make
        self.directory = directory
        self.random = Random(seed)
        self.order = order
        self.options = GroupOptions(ACK_WAIT_S, MOST, TRIES, "dead", order)
        self.published: dict[int, str] = {}  # the lane of each offset
        self.done: set[int] = set()
        self.tries: Counter[int] = Counter()
        self.held: dict[int, tuple[str, float]] = {}  # who has an offset, and until when
        self.not_before: dict[int, float] = {}
        self.members: dict[str, Member] = {}
        self.number = 0
        self.faults: list[dict[str, object]] = []  # of callbacks, whose exceptions nobody gets
        self.broker = self.a_broker()

    def a_broker(self) -> Broker:
        terms = Terms(self.directory, self.clock, Policy(messages=10_000, age_s=1e9))
        limits = BrokerLimits(group_window_limit_messages=12, outbox_limit_bytes=4_000)
        return Broker(self.make(terms), clock=self.clock, limits=limits)

    def handed(self, member: Member, message: Message, deliveries: int) -> None:
        offset, now = message.offset, self.clock.now()
        self.published[offset] = self.lane(message.topic, message.headers)  # the receipt may come later
        assert offset not in self.done, "it was done"
        holder, until = self.held.get(offset, ("", 0.0))
        assert not holder or until <= now, f"{offset} is with {holder}, and given to {member.id} as well"
        self.tries[offset] += 1
        assert deliveries == self.tries[offset] <= TRIES
        assert self.not_before.get(offset, 0.0) <= now, "it was to be delayed"
        self.held[offset] = (member.id, now + ACK_WAIT_S)
        assert sum(holder == member.id for holder, until in self.held.values() if until > now) <= MOST
        if self.order != "none":
            lane = self.published[offset]
            before = [each for each in self.published if each < offset and self.published[each] == lane]
            assert set(before) <= self.done | self.dying(), "it has overtaken another of its lane"

    def dying(self) -> set[int]:
        return {offset for offset, tries in self.tries.items() if tries == TRIES}

    async def turn(self) -> None:
        for _ in range(self.random.randint(0, 6)):
            await asyncio.sleep(0)

    async def publish(self) -> None:
        topic = self.random.choice(TOPICS)
        headers = {"key": "k"} if self.random.random() < 0.3 else None
        receipt = await self.broker.publish(topic, "x" * self.random.choice([1, 500]), headers=headers)
        self.published[receipt.offset] = self.lane(topic, headers)

    def lane(self, topic: str, headers: dict[str, str] | None) -> str:
        return "k" if headers and self.order == "key" else topic

    async def join(self) -> None:
        if len(self.members) < 4:
            self.number += 1
            member = Member(f"m{self.number}", self)
            self.members[member.id] = member
            since = Since("start")
            await self.broker.groups.join("g", ["a", "b", "c"], self.options, since, member)

    async def leave(self) -> None:
        if self.members:
            member = self.members.pop(self.random.choice(sorted(self.members)))
            for offset in [each for each, (holder, _) in self.held.items() if holder == member.id]:
                del self.held[offset]
            self.broker.groups.find("g").leave(member)

    def pick(self) -> tuple[str, list[int]] | None:
        """Return some of what a member holds."""
        now = self.clock.now()
        by_member: dict[str, list[int]] = {}
        for offset, (holder, until) in self.held.items():
            if until > now:
                by_member.setdefault(holder, []).append(offset)
        if not by_member:
            return None
        holder = self.random.choice(sorted(by_member))
        offsets = by_member[holder]
        return holder, self.random.sample(offsets, self.random.randint(1, len(offsets)))

    async def acknowledge(self) -> None:
        picked = self.pick()
        if picked is not None:
            holder, offsets = picked
            for offset in offsets:
                del self.held[offset]
            self.done.update(offsets)
            self.broker.groups.acknowledge("g", holder, offsets)

    async def give_back(self) -> None:
        picked = self.pick()
        if picked is not None:
            holder, offsets = picked
            delay_s = self.random.choice([0.0, 5.0])
            for offset in offsets:
                del self.held[offset]
                self.not_before[offset] = self.clock.now() + delay_s
            self.broker.groups.give_back("g", holder, offsets, delay_s)

    async def stop_taking(self) -> None:
        for member in self.members.values():
            member.takes = self.random.random() < 0.7

    async def wait(self) -> None:
        self.clock.advance(self.random.choice([0.5, 5.0, 11.0]))
        self.broker.sweep()

    async def restart(self) -> None:
        await self.broker.close()
        self.members.clear()
        self.held.clear()
        self.broker = self.a_broker()
        await self.broker.start()

    async def go(self, steps: int, *, restarts: bool) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.faults.append(context))
        await self.broker.start()
        await self.join()
        acts = (
            [self.publish] * 6 + [self.acknowledge] * 3 + [self.join, self.leave, self.give_back, self.wait]
        )
        acts += [self.stop_taking] + ([self.restart] if restarts else [])
        for _ in range(steps):
            await self.random.choice(acts)()
            await self.turn()
            assert not self.faults, self.faults
        await self.end()
        assert not self.faults, self.faults

    async def dead(self) -> list[int]:
        letters = await self.broker.history("dead", limit=10_000)
        return [int((message.headers or {})["extra-offset"]) for message in letters.messages]

    async def end(self) -> None:
        """Do all that is left, and look at what has become of everything."""
        await self.join()
        for member in self.members.values():
            member.takes = True
        dead: list[int] = []
        async with asyncio.timeout(30):
            while not self.done | set(dead) >= set(self.published):
                self.clock.advance(1)
                self.broker.sweep()
                await asyncio.sleep(0 if self.pick() else 0.0005)  # with nobody busy, an engine's thread is
                await self.acknowledge()
                if self.done | self.dying() >= set(self.published):
                    dead = await self.dead()
        assert len(dead) == len(set(dead)), "a dead letter twice"
        assert not self.done & set(dead)
        assert self.done | set(dead) == set(self.published), "everything is done, or a dead letter"
        for _ in range(5):
            await asyncio.sleep(0)
        assert self.broker.groups.find("g").window.settled == set()
        await self.broker.close()


@pytest.mark.slow
@pytest.mark.parametrize("order", ["none", "topic", "key"])
@pytest.mark.parametrize("name", sorted(ENGINES))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 30), steps=st.integers(1, 120))
def test_each_message_is_done_once_whatever_happens(name: str, order: str, seed: int, steps: int) -> None:
    with TemporaryDirectory() as directory:
        run = Run(ENGINES[name], Path(directory), seed, order)
        asyncio.run(run.go(steps, restarts=name == "sqlite"))
