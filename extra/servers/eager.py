"""Running a coroutine at once, and making a task only of one that suspends.

Most handlers never suspend: what they need is in memory. Stepping such a coroutine to its end where the
request arrived costs neither a task nor a turn of the event loop, and its answer goes out with this turn's
others. What steps it need not be a coroutine, either (`call_eagerly`). One that suspends goes on in a task of
its owner's group, as if it had been there from the start:

- `asyncio.current_task()` is a stand-in while it is stepped, so that `asyncio.timeout` and
  `asyncio.TaskGroup` work from the first line. They keep it to cancel their task by, and it passes that on
  to the task to come.
- It runs in a copy of the caller's context, the same one before and after it has suspended.

Not for what goes by the identity of its task from before its first suspension to after it, as the cancel
scopes of anyio do: that has to suspend once before (`await asyncio.sleep(0)`).
"""

import logging
import sys
from asyncio import AbstractEventLoop, CancelledError, Task, TaskGroup, current_task, get_running_loop
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, cast

__all__ = ["call_eagerly", "run_eagerly", "run_in_place"]

Argument = TypeVar("Argument")
Result = TypeVar("Result")

logger = logging.getLogger("extra.servers")


def run_eagerly(
    coroutine: Coroutine[Any, None, None], tasks: TaskGroup, loop: AbstractEventLoop | None = None
) -> Task[None] | None:
    """Run `coroutine` until it suspends; return the task of `tasks` that runs the rest, if there is any.

    An exception is logged and ends nothing but the coroutine. Cancelling the task cancels it where it has
    suspended, also before the task has run for the first time. `loop` is the one that runs, if it is at hand.

    Raises:
        RuntimeError: it has suspended, and the group has ended.
    """
    if loop is None:
        loop = get_running_loop()  # which is a system call, up to Python 3.11
    return call_eagerly(partial(run_in_place, tasks=tasks, loop=loop), coroutine, loop)


if sys.version_info >= (3, 12):
    from asyncio.tasks import _swap_current_task

    def call_eagerly(
        call: Callable[[Argument], Result], argument: Argument, loop: AbstractEventLoop
    ) -> Result:
        """Return what `call` does with `argument`: in a copy of the context, with a stand-in for its task.

        So it may step coroutines, and what is left of one goes on from there with `run_in_place`.
        """
        stand_in: Any = StandIn()  # it has of a task what is asked of it
        stand_in.context = copy_context()
        outer = _swap_current_task(loop, stand_in)
        try:
            return stand_in.context.run(call, argument)
        finally:
            _swap_current_task(loop, outer)
else:
    from asyncio.tasks import _current_tasks  # type: ignore[attr-defined]  # typeshed leaves it out

    def call_eagerly(
        call: Callable[[Argument], Result], argument: Argument, loop: AbstractEventLoop
    ) -> Result:
        """Return what `call` does with `argument`: in a copy of the context, with a stand-in for its task.

        So it may step coroutines, and what is left of one goes on from there with `run_in_place`.
        """
        context = copy_context()
        outer = _current_tasks.get(loop)
        _current_tasks[loop] = stand_in = StandIn()
        stand_in.context = context
        try:
            return context.run(call, argument)
        finally:
            if outer is None:
                del _current_tasks[loop]
            else:
                _current_tasks[loop] = outer


def run_in_place(
    coroutine: Coroutine[Any, None, None], tasks: TaskGroup, loop: AbstractEventLoop
) -> Task[None] | None:
    """Run `coroutine` as `run_eagerly` does, in the place of whoever is called eagerly now.

    That is for the last thing that it does: the task has its context, and its stand-in is the task from then
    on. Where nobody is called eagerly, or another one has the place, it is `run_eagerly`.
    """
    stand_in: Any = current_task(loop)
    if type(stand_in) is not StandIn or stand_in.is_taken:
        return run_eagerly(coroutine, tasks, loop)
    try:
        awaited = coroutine.send(None)
    except (StopIteration, CancelledError):
        return None
    except Exception:
        logger.exception("a handler has failed")
        return None
    rest = _Rest(coroutine, awaited)
    try:
        task = tasks.create_task(rest, context=stand_in.context)
    except RuntimeError:  # the group has ended
        rest.close()
        raise
    stand_in.become(task)
    return task


class StandIn:
    """The current task while there is none, and afterwards a name for the one there is.

    `context` is what it runs in. There is one for each request, and most are never asked anything: what it
    holds stands in the class until it changes.
    """

    context: Context
    _task: Task[None] | None = None
    _requests = 0  # to cancel it

    @property
    def is_taken(self) -> bool:
        """Whether it has become a task."""
        return self._task is not None

    def become(self, task: Task[None]) -> None:
        self._task = task
        for _ in range(self._requests):
            task.cancel()

    def cancel(self, msg: object = None) -> bool:
        if self._task is not None:
            return self._task.cancel(msg)
        self._requests += 1
        return True

    def cancelling(self) -> int:
        return self._requests if self._task is None else self._task.cancelling()

    def uncancel(self) -> int:
        if self._task is not None:
            return self._task.uncancel()
        self._requests -= 1
        return self._requests

    def done(self) -> bool:
        return self._task is not None and self._task.done()


class _Rest(Coroutine[Any, None, None]):
    """A coroutine that has been stepped once, for a task to step on.

    The task's first step gets what the coroutine's own step has given, which is usually the future that it
    waits for. A class, since a generator that has not begun would not pass on what is thrown into it.
    """

    __slots__ = ("_awaited", "_begun", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, None, None], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited
        self._begun = False
        if awaited is not None:  # a future, marked as awaited: whoever steps a coroutine takes the mark off
            awaited._asyncio_future_blocking = False

    def send(self, value: None) -> Any:
        if not self._begun:
            self._begun = True
            awaited, self._awaited = self._awaited, None
            if awaited is not None:
                awaited._asyncio_future_blocking = True
            return awaited
        try:
            return self._coroutine.send(value)
        except StopIteration:
            raise
        except Exception:
            logger.exception("a handler has failed")
            raise StopIteration from None

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,
    ) -> Any:
        self._begun = True
        self._awaited = None
        try:
            return self._coroutine.throw(cast("BaseException", kind))  # a task throws instances, alone
        except StopIteration:
            raise
        except Exception:
            logger.exception("a handler has failed")
            raise StopIteration from None

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, None, None]:
        raise TypeError("only a task runs this")
