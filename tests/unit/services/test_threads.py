"""Plain functions in threads."""

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from extra.http import ServerOverloaded
from extra.services import ServiceLimits
from extra.services.threads import Threads

LABEL: ContextVar[str] = ContextVar("LABEL")


async def until(condition: "threading.Event") -> None:
    await asyncio.to_thread(condition.wait, 30)


async def test_function_runs_in_another_thread_with_the_context() -> None:
    threads = Threads(ServiceLimits())
    LABEL.set("mine")

    def look(a: int, *, b: int) -> tuple[int, int, str, bool]:
        return a, b, LABEL.get(), threading.current_thread() is threading.main_thread()

    assert await threads.run(look, 1, b=2) == (1, 2, "mine", False)
    threads.close()


async def test_failure_is_raised() -> None:
    threads = Threads(ServiceLimits())

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await threads.run(fail)
    threads.close()


async def test_threads_and_those_who_wait_are_bounded() -> None:
    threads = Threads(ServiceLimits(threads_limit=1, waiting_limit=1))
    go, running = threading.Event(), threading.Event()

    def block() -> None:
        running.set()
        go.wait(30)

    first = asyncio.create_task(threads.run(block))
    await until(running)
    second = asyncio.create_task(threads.run(block))
    await asyncio.sleep(0)
    with pytest.raises(ServerOverloaded, match="waiting_limit=1"):
        await threads.run(block)
    go.set()
    await asyncio.gather(first, second)
    assert threads.under_way == 0
    threads.close()


async def test_call_that_is_given_up_counts_until_it_ends() -> None:
    threads = Threads(ServiceLimits(threads_limit=1))
    go, running = threading.Event(), threading.Event()

    def block() -> None:
        running.set()
        go.wait(30)

    task = asyncio.create_task(threads.run(block))
    await until(running)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert threads.under_way == 1
    go.set()
    await threads.run(int)  # behind it
    assert threads.under_way == 0
    threads.close()


async def test_iterator_is_stepped_and_closed_in_threads() -> None:
    threads = Threads(ServiceLimits())
    main = threading.current_thread()
    seen: list[object] = []

    def count() -> Iterator[int]:
        try:
            for number in range(3):
                seen.append(threading.current_thread() is main)
                yield number
        finally:
            seen.append("closed")

    assert [item async for item in threads.iterate(count())] == [0, 1, 2]
    iterator = threads.iterate(count())
    assert await anext(iterator) == 0
    await iterator.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert seen == [False, False, False, "closed", False, "closed"]
    threads.close()


async def test_nothing_runs_after_closing() -> None:
    threads = Threads(ServiceLimits())
    threads.close()
    await threads.run(int)
    threads.close()
    with pytest.raises(RuntimeError):
        await threads.run(int)


async def test_iterator_that_is_left_within_a_step_is_closed_after_it() -> None:
    threads = Threads(ServiceLimits())
    go, running, closed = threading.Event(), threading.Event(), threading.Event()

    def block() -> Iterator[int]:
        try:
            running.set()
            go.wait(30)
            yield 1
        finally:
            closed.set()

    async def take() -> list[int]:
        return [item async for item in threads.iterate(block())]

    task = asyncio.create_task(take())
    await until(running)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not closed.is_set()
    go.set()
    await until(closed)
    threads.close()
