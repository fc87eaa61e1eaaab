"""What the handlers of one application may cost, and giving up those that take too long.

    async with asyncio.timeout(60): await handler(request)

costs 2 us for a handler that never suspends. So it is stepped once without a clock, and only what is left of
one that suspends is timed.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from extra.http import FirstStep, ServiceUnavailable

__all__ = ["LimitPassed", "ServiceLimits", "TimedOut", "within"]

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Bounds in counts and seconds."""

    timeout_s: float = 60.0
    """How long a handler may take to answer, where its declaration says nothing else; 0 is for ever.

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


class TimedOut(ServiceUnavailable):
    """The handler has not answered in time, and has been cancelled."""

    code = "timed_out"


class LimitPassed(TimedOut):
    """That, as `within` says it: what a handler has waited for in vain itself is another matter."""


async def within(limit_s: float, coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run `coroutine`, for at most `limit_s` from when it first suspends; 0 is for ever.

    Raises:
        LimitPassed: it was cancelled for that.
    """
    begun = FirstStep(coroutine)
    if begun.done:
        return begun.result
    if not limit_s:
        return await begun.rest
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await begun.rest
    except TimeoutError:
        if limit.expired():
            raise LimitPassed(f"no answer within timeout_s={limit_s:g}") from None
        raise
