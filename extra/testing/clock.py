"""A clock that stands until it is moved.

    clock = FakeClock()
    with clock.driving():               # the event loop goes by it as well
        async with broker_by(clock) as broker:
            await broker.publish("news", "x", ttl=60)
            await clock.elapse(61)      # and nobody has waited

Under `driving`, whatever sleeps or has a time limit in the event loop goes by the clock: heartbeats,
back-off, schedules, `asyncio.timeout`. What waits for a socket or a thread still takes the time it takes.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from extra.pubsub import Clock

__all__ = ["FakeClock"]

TURNS: Final = 10
"""Turns of the event loop after a step: who has slept wakes, and those that it wakes get to run."""


class FakeClock(Clock):
    """Both readings start at a number that no other one is mistaken for, and move together."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0

    def now(self) -> float:
        return 5_000.0 + self.elapsed_s

    def time(self) -> float:
        return 1_900_000_000.0 + self.elapsed_s

    def advance(self, seconds: float) -> None:
        """Let time pass at once, and nobody act on it yet."""
        self.elapsed_s += seconds

    async def elapse(self, seconds: float, *, step_s: float = 1.0) -> None:
        """Let time pass in steps of at most `step_s`, and those whose time has come act after each.

        What is done every second is done each time. Cost: some turns of the event loop a step.
        """
        assert seconds >= 0, "time goes one way"
        end_s = self.elapsed_s + seconds
        while self.elapsed_s < end_s:
            self.elapsed_s = min(self.elapsed_s + step_s, end_s)
            for _ in range(TURNS):
                await asyncio.sleep(0)

    @contextmanager
    def driving(self) -> Iterator[None]:
        """Have the event loop that runs go by this clock meanwhile: one of asyncio's own, not uvloop.

        Raises:
            RuntimeError: the event loop has a clock that cannot be replaced.
        """
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.BaseEventLoop):
            raise RuntimeError(
                f"the clock of {type(loop).__name__} cannot be moved: use asyncio's own event loop"
            )
        true_time, since_s = loop.time, loop.time() - self.elapsed_s
        loop.time = lambda: since_s + self.elapsed_s  # type: ignore[method-assign]  # of this object alone
        try:
            yield
        finally:
            loop.time = true_time  # type: ignore[method-assign]  # likewise
