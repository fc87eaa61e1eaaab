"""Racing publishers: of those that name the same last message exactly one wins, whatever the engine.

Each reads what the last message is and publishes on that condition, as often as it likes, beside some that
publish without one. Held against the log: what was published on the condition that K is the last message
stands right behind K among the messages of its topic, and no two won with the same K.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extra.errors import PreconditionFailed
from extra.pubsub import Broker, Engine
from tests.conformance.engines.engines import ENGINES, Terms

TOPICS = ["a", "b"]


class Racer:
    """One publisher: `won` has its condition by the offset that it got."""

    def __init__(self, broker: Broker, seed: int) -> None:
        self.broker = broker
        self.random = Random(seed)
        self.won: dict[int, int] = {}
        self.beaten_by: list[tuple[str, int, int]] = []

    async def run(self, rounds: int) -> None:
        for _ in range(rounds):
            topic = self.random.choice(TOPICS)
            if self.random.random() < 0.2:
                await self.broker.publish(topic, "unconditional")
                continue
            last = (await self.broker.history(topic, limit=1)).last_offset
            assert last is not None
            if self.random.random() < 0.1:
                last = self.random.randint(0, 10)
            for _ in range(self.random.randint(0, 3)):
                await asyncio.sleep(0)
            key = f"{id(self)}-{self.random.random()}" if self.random.random() < 0.5 else None
            try:
                receipt = await self.broker.publish(topic, "conditional", if_last=last, key=key)
            except PreconditionFailed as error:
                self.beaten_by.append((topic, last, error.offset))
            else:
                self.won[receipt.offset] = last


async def race(make: Callable[[Terms], Engine], seeds: list[int], rounds: int, directory: Path) -> None:
    async with Broker(make(Terms(directory=directory))) as broker:
        racers = [Racer(broker, seed) for seed in seeds]
        await asyncio.gather(*(racer.run(rounds) for racer in racers))
        won = {offset: last for racer in racers for offset, last in racer.won.items()}
        for topic in TOPICS:
            offsets = [0] + [each.offset for each in (await broker.history(topic)).messages]
            before = dict(zip(offsets[1:], offsets, strict=False))
            conditions = [won[offset] for offset in before if offset in won]
            assert len(conditions) == len(set(conditions)), "two won with the same condition"
            for offset, former in before.items():
                assert won.get(offset, former) == former
            for racer in racers:
                for each, last, found in racer.beaten_by:
                    assert each != topic or (found in offsets and found != last)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ENGINES))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seeds=st.lists(st.integers(0, 1 << 30), min_size=2, max_size=8), rounds=st.integers(1, 8))
def test_of_racing_publishers_exactly_one_wins(name: str, seeds: list[int], rounds: int) -> None:
    with TemporaryDirectory() as directory:
        asyncio.run(race(ENGINES[name], seeds, rounds, Path(directory)))
