"""Drives the tasks of a scenario, and cancels each of them at every place where it suspends."""

import asyncio
import enum
import itertools
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeAlias, TypeVar

import uvloop

__all__ = ["LOOPS", "Driver", "Moment", "NewLoop", "cancel_everywhere", "settle"]

T = TypeVar("T")

NewLoop: TypeAlias = Callable[[], asyncio.AbstractEventLoop]

LOOPS: dict[str, NewLoop] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

TURNS = 20  # of the event loop: more than any chain of wake-ups in these tests is long


async def settle() -> None:
    """Let the other tasks run until each is done or waits for something that none of them brings."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Moment(enum.Enum):
    """When a task is cancelled, relative to the future that it waits for."""

    WAITING = "before the future is done"
    WOKEN = "when the future is done, and before the task runs again"


class Driver:
    """Runs the tasks of one scenario; cancels the `victim`, if there is one, at one of its suspensions."""

    def __init__(self, victim: str = "", suspension: int = 0, moment: Moment = Moment.WAITING) -> None:
        self.names: list[str] = []
        self.has_cancelled: bool = False
        self._victim = victim
        self._suspension = suspension
        self._moment = moment
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.names.append(name)
        task = asyncio.create_task(self._victimise(work) if name == self._victim else work, name=name)
        self._tasks.append(task)
        return task

    async def finish(self, *tasks: asyncio.Task[None]) -> None:
        """Run until `tasks`, by default all, are done; fail if they are stuck, or with what one raised."""
        awaited = tasks or tuple(self._tasks)
        for _ in range(10 * TURNS):
            if all(task.done() for task in awaited):
                break
            await asyncio.sleep(0)
        stuck = [task.get_name() for task in awaited if not task.done()]
        assert not stuck, f"stuck: {stuck}"
        for task in awaited:
            if task.cancelled():
                assert task.get_name() == self._victim
            else:
                task.result()

    async def _victimise(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._interrupted(work)

    @types.coroutine
    def _interrupted(self, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Await `work`; at the chosen suspension, cancel the task that does."""
        resume = self._sender(work)
        for suspension in itertools.count(1):
            try:
                future = resume()
            except StopIteration as stop:
                result: T = stop.value
                return result
            if suspension == self._suspension:
                self._cancel_upon(future)
            try:
                yield future
                resume = self._sender(work)
            except BaseException as error:  # noqa: BLE001 - goes to `work`, which decides
                resume = self._thrower(work, error)
        raise AssertionError("never reached: the count is endless")

    def _cancel_upon(self, future: "asyncio.Future[Any] | None") -> None:
        task = asyncio.current_task()
        assert task is not None
        self.has_cancelled = True
        if future is not None and self._moment is Moment.WOKEN:
            future.add_done_callback(lambda _: task.cancel())  # goes before the task's own wake-up
        else:
            asyncio.get_running_loop().call_soon(task.cancel)

    @staticmethod
    def _sender(work: Coroutine[Any, Any, T]) -> Callable[[], Any]:
        return lambda: work.send(None)

    @staticmethod
    def _thrower(work: Coroutine[Any, Any, T], error: BaseException) -> Callable[[], Any]:
        return lambda: work.throw(error)


async def cancel_everywhere(scenario: Callable[[Driver], Awaitable[None]]) -> int:
    """Run `scenario` for each of its tasks, each suspension of that, and each moment; return how often.

    The scenario starts its tasks with the driver that it is given, and asserts at its end what must hold.
    """
    undisturbed = Driver()
    await scenario(undisturbed)
    cancellations = 0
    for victim, moment in itertools.product(undisturbed.names, Moment):
        for suspension in itertools.count(1):
            driver = Driver(victim, suspension, moment)
            await scenario(driver)
            if not driver.has_cancelled:
                break
            cancellations += 1
    return cancellations
