"""Methods that are called again and again: `@every(seconds=5)`."""

import asyncio
import inspect
import logging
from abc import ABC, abstractmethod
from asyncio import Task
from collections.abc import Callable
from math import floor

from extra.services.declarations import Declarations
from extra.services.threads import Threads

__all__ = ["LoopTimer", "Schedule", "Timer", "next_time"]

logger = logging.getLogger("extra.services")


class Timer(ABC):
    """The time that schedules go by, so that tests can move it. In seconds, from anywhere."""

    @abstractmethod
    def now(self) -> float:
        """Return the time."""

    @abstractmethod
    async def sleep_until(self, time: float) -> None:
        """Wait until then. Cancel-safe."""


class LoopTimer(Timer):
    """The time of the event loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep_until(self, time: float) -> None:
        await asyncio.sleep(max(0.0, time - self.now()))


class Schedule:
    """One method and one period."""

    def __init__(
        self,
        method: Callable[..., object],
        period_s: float,
        declarations: Declarations,
        *,
        threads: Threads,
        timer: Timer,
    ) -> None:
        self.name = f"every {period_s:g} s ({method.__qualname__})"
        if any(each.default is each.empty for each in inspect.signature(method).parameters.values()):
            raise TypeError("a method that is called every so often takes no arguments")
        self._method = method
        self._period_s = period_s
        self._threads = threads
        self._timer = timer
        self._in_thread = not (inspect.iscoroutinefunction(method) or declarations.quick)
        self._task: Task[None] | None = None
        self._is_calling = False
        self._is_retired = False

    def retire(self) -> None:
        """Call the method no more; a call that is under way goes on to its end."""
        self._is_retired = True
        if self._task is not None and not self._is_calling:
            self._task.cancel()

    async def run(self) -> None:
        """Call the method, until cancelled or retired. What it raises is logged, and it is called again."""
        self._task = asyncio.current_task()
        start = due = self._timer.now()
        while not self._is_retired:
            due = next_time(start, self._period_s, max(due, self._timer.now()))
            await self._timer.sleep_until(due)
            self._is_calling = True
            try:
                value = await self._threads.run(self._method) if self._in_thread else self._method()
                if inspect.isawaitable(value):
                    await value
            except Exception:
                logger.exception("%s has failed", self.name)
            finally:
                self._is_calling = False


def next_time(start: float, period_s: float, now: float) -> float:
    """Return the first of the times `start`, one period later, two ... that lies after `now`.

    Counted from the start each time, so that neither rounding nor lateness adds up.
    """
    count = floor((now - start) / period_s) + 1
    if start + count * period_s <= now:  # division has rounded down what is whole
        count += 1
    return start + count * period_s
