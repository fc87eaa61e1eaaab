"""Stepping a coroutine once, to see whether it suspends at all.

Most handlers never do, and what only those need that wait, such as a clock or somebody who looks whether the
client is still there, costs more than they do. So it is got ready between the first step and the rest.
"""

from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Generic, TypeVar, final

__all__ = ["Rest", "step", "stepped"]

Result = TypeVar("Result")


def step(coroutine: Coroutine[Any, Any, Result]) -> "Result | Rest[Result]":
    """Step a coroutine once: return its result, or the rest of it. Raises what it raises."""
    try:
        awaited = coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    return Rest(coroutine, awaited)


def stepped(awaitable: Awaitable[Result]) -> "Result | Awaitable[Result]":
    """Do as `step` does with a coroutine; return what is none as it is."""
    return step(awaitable) if isinstance(awaitable, Coroutine) else awaitable


@final
class Rest(Generic[Result]):
    """What is left of a coroutine whose first step has given `awaited`.

    To be awaited once, before anything else is.
    """

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
