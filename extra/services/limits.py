"""What the handlers of one application may cost, and giving up those that take too long.

    async with asyncio.timeout(60): await handler(request)

costs 2 us for a handler that never suspends. So it is stepped once without a clock, and only what is left of
one that suspends is timed.

Where there is middleware, its time counts as well, though which limit there is depends on the route, which it
comes before. So a request that suspends has an `AnswerLimit`, with one clock, which goes by the application's
limit until the route is known. It cancels the method if that is under way, which is an error that the
middleware around sees, and may add to, as any other; and else, or if that does not help, the middleware.
"""

import asyncio
from asyncio import CancelledError, Task, TimerHandle, current_task
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, fields
from math import inf
from typing import Any, Final, TypeVar

from extra.http import Request, Response, Rest, ServiceUnavailable, step

__all__ = ["AnswerLimit", "LimitPassed", "ServiceLimits", "TimedOut", "check_timeout", "within"]

Result = TypeVar("Result")

LIMIT: Final = "extra.services.limit"
"""Where the state of a request has its `AnswerLimit`."""

GRACE_S: Final = 1.0
"""What middleware has for the answer to a method that has been given up."""


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Bounds in counts and seconds."""

    timeout_s: float = 60.0
    """How long an answer may take, middleware included, where a declaration says nothing; inf is for ever.

    What it sends afterwards, in parts or over a WebSocket, may take as long as it likes.
    """

    threads_limit: int = 32
    """Plain functions that run at one time, each in a thread."""

    waiting_limit: int = 1000
    """Those that wait for a thread; beyond, requests are answered 503."""

    requests_limit: int = 100
    """Requests over a topic that one method answers at one time."""

    asking_limit: int = 10_000
    """Requests of the application's own whose reply has not come."""

    frame_limit_bytes: int = 2 * 1024 * 1024
    """A message from a WebSocket."""

    socket_waiting_limit: int = 64
    """Messages from one WebSocket that wait for its method before its client has to."""

    leave_timeout_s: float = 5.0
    """How long a method may go on whose WebSocket is closed."""

    stop_timeout_s: float = 10.0
    """How long what is under way may take when the application stops, and each service on stopping."""

    def __post_init__(self) -> None:
        check_timeout(self.timeout_s)
        for each in fields(self):
            value = getattr(self, each.name)
            if not value >= 0:  # nor is NaN
                raise ValueError(f"{each.name}={value!r}: it has to be 0 or more")


class TimedOut(ServiceUnavailable):
    """The handler has not answered in time, and has been cancelled."""

    code = "timed_out"


class LimitPassed(TimedOut):
    """That, as `within` says it: what a handler has waited for in vain itself is another matter."""


async def within(limit_s: float, coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run `coroutine`, for at most `limit_s` from when it first suspends; inf is for ever.

    Raises:
        LimitPassed: it was cancelled for that.
    """
    begun = step(coroutine)
    if not isinstance(begun, Rest):
        return begun
    if limit_s == inf:
        return await begun
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await begun
    except TimeoutError:
        if limit.expired():
            raise passed(limit_s) from None
        raise


class AnswerLimit:
    """How long one request may take whose method has middleware around it, counted from when this is made.

    For those that suspend: its clock runs while one of `around` and `inside` waits.
    """

    __slots__ = ("_clock", "_has_passed", "_inside", "_outside", "_start", "limit_s")

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._start = asyncio.get_running_loop().time()
        self._clock: TimerHandle | None = None
        self._outside: list[_Waiting] = []  # for the middleware: of applications in each other, several
        self._inside: list[_Waiting] = []  # for the method, which middleware may call more than once
        self._has_passed = False

    @classmethod
    def of(cls, request: Request, limit_s: float) -> "AnswerLimit":
        """Return the limit of `request`: `limit_s` unless it has one."""
        found = request.state.get(LIMIT)
        if not isinstance(found, AnswerLimit):
            found = request.state[LIMIT] = cls(limit_s)
        return found

    async def around(self, answer: Awaitable[Response]) -> Response:
        """Wait for `answer`, the middleware's. Raises LimitPassed: it was cancelled outside the method."""
        return await self._wait(answer, self._outside)

    async def inside(self, limit_s: float, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run `coroutine`, the method's, within `limit_s`. Raises LimitPassed: it was cancelled."""
        self._go_by(limit_s)
        begun = step(coroutine)
        if not isinstance(begun, Rest):
            return begun
        return await self._wait(begun, self._inside)

    async def _wait(self, awaitable: Awaitable[Result], side: "list[_Waiting]") -> Result:
        waiting = _Waiting()
        side.append(waiting)
        self._run()
        try:
            return await waiting.wait(awaitable, self)
        finally:
            side.remove(waiting)
            self._stop()

    def _go_by(self, limit_s: float) -> None:
        """Let `limit_s` count from here on, also for a clock that runs."""
        if limit_s == self.limit_s:
            return
        self.limit_s = limit_s
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if self._outside or self._inside:
            self._run()

    def _run(self) -> None:
        """Let the clock run, unless it does."""
        if self._clock is None and self.limit_s != inf:
            self._clock = asyncio.get_running_loop().call_at(self._start + self.limit_s, self._pass)

    def _stop(self) -> None:
        """Let the clock stand when nobody waits any more."""
        if self._clock is not None and not (self._inside or self._outside):
            self._clock.cancel()
            self._clock = None

    def _pass(self) -> None:
        """Cancel the method or, if that is not under way or has been, the middleware."""
        if self._inside and not self._has_passed:
            self._inside[-1].cancel()
            self._clock = asyncio.get_running_loop().call_later(GRACE_S, self._pass)
        elif self._outside:
            self._outside[-1].cancel()
        self._has_passed = True


class _Waiting:
    """A task that waits, for a limit to cancel. It takes that back at the end, whatever has come of it."""

    __slots__ = ("_is_cancelled", "_requests", "_task")

    def __init__(self) -> None:
        """Be the current task."""
        task = current_task()
        assert task is not None
        self._task: Task[Any] = task
        self._requests = task.cancelling()
        self._is_cancelled = False

    async def wait(self, awaitable: Awaitable[Result], limit: AnswerLimit) -> Result:
        """Return what `awaitable` does. Raises LimitPassed: it was cancelled, and by nobody else as well."""
        try:
            return await awaitable
        except CancelledError:
            if self._is_cancelled and self._task.cancelling() <= self._requests + 1:
                raise passed(limit.limit_s) from None
            raise
        finally:
            if self._is_cancelled:
                self._task.uncancel()

    def cancel(self) -> None:
        self._is_cancelled = True
        self._task.cancel()


def passed(limit_s: float) -> LimitPassed:
    return LimitPassed(f"no answer within timeout_s={limit_s:g}")


def check_timeout(timeout_s: float | None) -> None:
    """Raise ValueError when nothing can be done within `timeout_s`; None says nothing."""
    if timeout_s is not None and not timeout_s > 0:  # nor is NaN
        raise ValueError(f"timeout_s={timeout_s!r}: it has to be above 0; math.inf is no limit")
