"""Stepping a coroutine once, to see whether it suspends at all.

Most handlers never do, and what only those need that wait, such as a clock or somebody who looks whether the
client is still there, costs more than they do. So it is got ready between the first step and the rest.
"""

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Generic, TypeVar

__all__ = ["FirstStep", "stepped"]

Result = TypeVar("Result")


class FirstStep(Generic[Result]):
    """A coroutine that has been stepped once: `done`, with its `result`; or else there is a `rest` to await.

    What the first step raises is raised when this is made. The rest is to be awaited before anything else is.
    """

    __slots__ = ("done", "rest", "result")

    result: Result
    rest: Awaitable[Result]

    def __init__(self, coroutine: Coroutine[Any, Any, Result]) -> None:
        try:
            awaited = coroutine.send(None)
        except StopIteration as end:
            self.done = True
            self.result = end.value
        else:
            self.done = False
            self.rest = _Rest(coroutine, awaited)


def stepped(awaitable: Awaitable[Result]) -> Result | Awaitable[Result]:
    """Step a coroutine once: return its result, or the rest of it; what is no coroutine as it is."""
    if not isinstance(awaitable, Coroutine):
        return awaitable
    step = FirstStep(awaitable)
    return step.result if step.done else step.rest


class _Rest(Awaitable[Result]):
    """What is left of a coroutine whose first step has given `awaited`. To be awaited once."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, Result], awaited: object) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Result]:
        coroutine, awaited = self._coroutine, self._awaited
        try:
            while True:
                try:
                    sent = yield awaited
                except BaseException as error:  # noqa: BLE001  # it is passed on
                    awaited = coroutine.throw(error)
                else:
                    awaited = coroutine.send(sent)
        except StopIteration as end:
            result: Result = end.value
            return result
