"""Plain functions, run in threads so that they may block."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeVar

from extra.http import ServerOverloaded
from extra.services.limits import ServiceLimits

__all__ = ["Threads"]

Result = TypeVar("Result")

END: Final = object()

RETRY_AFTER_S: Final = 1


class Threads:
    """A bounded pool of threads, and a bounded queue before it."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._executor: ThreadPoolExecutor | None = None
        self.under_way = 0
        """Calls that run, or wait for a thread. One that has been given up runs on to its end."""

    async def run(self, function: Callable[..., Result], /, *arguments: Any, **named: Any) -> Result:
        """Call `function` in a thread, in a copy of the caller's context, and return what it returns.

        Cancelling gives it up: a call that runs cannot be ended, and keeps its thread until it does.

        Raises:
            ServerOverloaded: too many wait already.
        """
        return await asyncio.wrap_future(self._submit(partial(function, *arguments, **named)))

    async def iterate(self, iterator: Iterator[Result]) -> AsyncIterator[Result]:
        """Iterate over a plain iterator, each step in a thread; it is closed there, too.

        One that is left while a step is under way is closed when that has ended.
        """
        step: Future[Any] | None = None
        try:
            while True:
                step = self._submit(partial(next, iterator, END))
                item = await asyncio.wrap_future(step)
                if item is END:
                    break
                yield item
        finally:
            close = getattr(iterator, "close", None)
            if close is not None and (step is None or step.done()):
                await asyncio.shield(self.run(close))
            elif close is not None and step is not None:
                step.add_done_callback(lambda _: close())

    def close(self) -> None:
        """Take no more calls, and drop those that wait. Those that run are not waited for."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _submit(self, function: Callable[[], Result]) -> "Future[Result]":
        """Have `function` called in a thread. Raises ServerOverloaded."""
        limits = self._limits
        if self.under_way >= limits.threads_limit + limits.waiting_limit:
            raise ServerOverloaded(
                f"more calls wait than waiting_limit={limits.waiting_limit}", RETRY_AFTER_S
            )
        if self._executor is None:
            self._executor = ThreadPoolExecutor(limits.threads_limit, "extra-services")
        call = self._executor.submit(copy_context().run, function)
        self.under_way += 1
        loop = asyncio.get_running_loop()
        call.add_done_callback(lambda _: _call_in(loop, self._ended))
        return call

    def _ended(self) -> None:
        self.under_way -= 1


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call `function` in the loop's thread, unless the loop has ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function)
