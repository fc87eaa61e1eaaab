"""Coroutines run at once, and in a task only from where they suspend."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest

from extra.servers.eager import call_eagerly, run_eagerly, run_in_place

Run = Callable[[Coroutine[object, object, None]], None]


def test_coroutine_that_does_not_suspend_needs_no_task(run: Run) -> None:
    async def main() -> None:
        done = []

        async def work() -> None:
            done.append(1)

        async with asyncio.TaskGroup() as tasks:
            assert run_eagerly(work(), tasks) is None
            assert done == [1]
            assert len(asyncio.all_tasks()) == 1

    run(main())


def test_coroutine_that_suspends_goes_on_in_a_task_of_the_group(run: Run) -> None:
    async def main() -> None:
        steps: list[object] = []

        async def work() -> None:
            steps.append(1)
            await asyncio.sleep(0)
            steps.append(2)
            await asyncio.sleep(0.001)
            steps.append(asyncio.current_task())

        async with asyncio.TaskGroup() as tasks:
            task = run_eagerly(work(), tasks)
            assert steps == [1]
            assert isinstance(task, asyncio.Task)
        assert steps == [1, 2, task]

    run(main())


def test_two_that_wait_for_one_future_both_go_on(run: Run) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        done = []

        async def work(name: str) -> None:
            done.append((name, await future))

        async with asyncio.TaskGroup() as tasks:
            for name in "abc":
                run_eagerly(work(name), tasks)
            future.set_result(1)
        assert done == [("a", 1), ("b", 1), ("c", 1)]

    run(main())


def test_result_and_exception_of_the_first_await_reach_the_coroutine(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        good, bad = loop.create_future(), loop.create_future()
        seen: list[object] = []

        async def work() -> None:
            seen.append(await good)
            try:
                await bad
            except ZeroDivisionError as error:
                seen.append(type(error))

        async with asyncio.TaskGroup() as tasks:
            run_eagerly(work(), tasks)
            good.set_result("good")
            bad.set_exception(ZeroDivisionError())
        assert seen == ["good", ZeroDivisionError]

    run(main())


@pytest.mark.parametrize("suspends", [False, True])
def test_failure_is_logged_and_ends_nothing_else(
    run: Run, suspends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async def work() -> None:
            if suspends:
                await asyncio.sleep(0)
            raise ZeroDivisionError

        async with asyncio.TaskGroup() as tasks:
            run_eagerly(work(), tasks)
            await asyncio.sleep(0.001)
            run_eagerly(asyncio.sleep(0.001), tasks)

    run(main())
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("extra.servers", logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_failure_while_being_cancelled_is_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def work() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                raise ZeroDivisionError

        async with asyncio.TaskGroup() as tasks:
            task = run_eagerly(work(), tasks)
            assert task is not None
            task.cancel()

    run(main())
    assert len(caplog.records) == 1


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_cancelling_reaches_the_coroutine_wherever_it_is(run: Run, turns: int) -> None:
    """Also before its task has run for the first time."""

    async def main() -> None:
        seen: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                seen.append("cancelled")
                await asyncio.sleep(0)
                seen.append("cleaned up")
                raise

        async with asyncio.TaskGroup() as tasks:
            task = run_eagerly(work(), tasks)
            assert task is not None
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
        assert seen == ["cancelled", "cleaned up"]
        assert task.cancelled()

    run(main())


def test_coroutine_may_survive_being_cancelled(run: Run) -> None:
    async def main() -> None:
        async def work() -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                return

        async with asyncio.TaskGroup() as tasks:
            task = run_eagerly(work(), tasks)
            assert task is not None
            task.cancel()
        assert not task.cancelled()

    run(main())


def test_being_cancelled_by_itself_is_no_failure(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def work() -> None:
            raise asyncio.CancelledError

        async with asyncio.TaskGroup() as tasks:
            assert run_eagerly(work(), tasks) is None

    run(main())
    assert caplog.records == []


def test_timeouts_work_from_the_first_line(run: Run) -> None:
    async def main() -> None:
        seen: list[str] = []

        async def work() -> None:
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.sleep(10)
            except TimeoutError:
                seen.append("timeout")
            async with asyncio.timeout(10):
                await asyncio.sleep(0)
            seen.append("in time")

        async with asyncio.TaskGroup() as tasks:
            run_eagerly(work(), tasks)
        assert seen == ["timeout", "in time"]

    run(main())


def test_timeout_that_has_passed_already_ends_the_first_await(run: Run) -> None:
    async def main() -> None:
        seen: list[str] = []

        async def work() -> None:
            try:
                async with asyncio.timeout(0):
                    await asyncio.sleep(10)
            except TimeoutError:
                seen.append("timeout")

        async with asyncio.TaskGroup() as tasks:
            run_eagerly(work(), tasks)
        assert seen == ["timeout"]

    run(main())


def test_task_groups_work_from_the_first_line(run: Run) -> None:
    async def main() -> None:
        seen: list[str] = []

        async def fail() -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError

        async def work() -> None:
            try:
                async with asyncio.TaskGroup() as inner:
                    inner.create_task(fail())
                    await asyncio.sleep(10)
            except* ZeroDivisionError:
                seen.append("group failed")

        async with asyncio.TaskGroup() as tasks:
            run_eagerly(work(), tasks)
        assert seen == ["group failed"]

    run(main())


def test_cancelling_ones_own_task_before_there_is_one_counts(run: Run) -> None:
    async def main() -> None:
        seen: list[object] = []

        async def work() -> None:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()
            seen.append((me.cancelling(), me.done()))
            me.cancel()
            seen.append(me.uncancel())
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                seen.append(("cancelled", me.cancelling(), me.uncancel()))
            await asyncio.sleep(0)
            seen.append(me.cancel("reason"))
            await asyncio.sleep(10)

        async with asyncio.TaskGroup() as tasks:
            task = run_eagerly(work(), tasks)
        assert seen == [(1, False), 1, ("cancelled", 1, 0), True]
        assert task is not None
        assert task.cancelled()

    run(main())


def test_current_task_is_itself_again_afterwards(run: Run) -> None:
    async def main() -> None:
        outer = asyncio.current_task()
        seen: list[object] = []

        async def work() -> None:
            seen.append(asyncio.current_task())

        async with asyncio.TaskGroup() as tasks:
            run_eagerly(work(), tasks)
            assert asyncio.current_task() is outer
            done = asyncio.Event()

            def from_a_callback() -> None:
                run_eagerly(work(), tasks)
                seen.append(asyncio.current_task())
                done.set()

            asyncio.get_running_loop().call_soon(from_a_callback)
            await done.wait()
        assert outer not in seen
        assert seen[0] is not None
        assert seen[2] is None

    run(main())


def test_context_is_a_copy_and_the_same_before_and_after_suspending(run: Run) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="outside")

    async def main() -> None:
        seen: list[str] = []

        async def work() -> None:
            seen.append(variable.get())
            variable.set("inside")
            await asyncio.sleep(0)
            seen.append(variable.get())

        async with asyncio.TaskGroup() as tasks:
            run_eagerly(work(), tasks)
            seen.append(variable.get())
        assert seen == ["outside", "outside", "inside"]

    run(main())


def test_asynchronous_clean_up_runs_when_cancelled(run: Run) -> None:
    async def main() -> None:
        seen: list[str] = []

        @asynccontextmanager
        async def resource() -> AsyncIterator[None]:
            seen.append("open")
            try:
                yield
            finally:
                await asyncio.sleep(0)
                seen.append("closed")

        async def work() -> None:
            async with resource():
                await asyncio.sleep(10)

        async with asyncio.TaskGroup() as tasks:
            task = run_eagerly(work(), tasks)
            assert task is not None
            task.cancel()
        assert seen == ["open", "closed"]

    run(main())


def test_group_that_takes_no_more_gets_nothing(run: Run) -> None:
    """The coroutine is closed: what it holds is not left to the garbage collector."""

    async def main() -> None:
        seen: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(10)
            finally:
                seen.append("closed")

        async with asyncio.TaskGroup() as tasks:
            pass
        with pytest.raises(RuntimeError):
            run_eagerly(work(), tasks)
        assert seen == ["closed"]

    run(main())


def test_what_is_called_eagerly_has_a_stand_in_and_a_context_that_a_coroutine_may_take_over(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        name = ContextVar("name", default="nobody")
        seen: list[object] = []

        async def work() -> None:
            seen.append(name.get())
            token = name.set("work")
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            except TimeoutError:
                seen.append("timed out")
            name.reset(token)
            seen.append(name.get())

        async with asyncio.TaskGroup() as tasks:

            def begin(value: str) -> tuple[object, object]:
                name.set(value)
                outer = asyncio.current_task()
                return outer, run_in_place(work(), tasks, loop)

            stand_in, task = call_eagerly(begin, "begin", loop)
            assert seen == ["begin"]
            assert isinstance(task, asyncio.Task)
            assert stand_in is not asyncio.current_task()
            assert name.get() == "nobody"
        assert seen == ["begin", "timed out", "begin"]

    run(main())


def test_place_is_taken_once_and_others_have_one_of_their_own(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        cancelled: list[str] = []

        async def work(name: str) -> None:
            try:
                async with asyncio.timeout(0.001 if name == "first" else 60):
                    await asyncio.Event().wait()
            except TimeoutError:
                cancelled.append(name)

        async with asyncio.TaskGroup() as tasks:

            def begin(_: object) -> list[asyncio.Task[None] | None]:
                return [run_in_place(work(name), tasks, loop) for name in ("first", "second")]

            first, second = call_eagerly(begin, None, loop)
            third = run_in_place(work("third"), tasks, loop)
            assert first is not None
            assert second is not None
            assert third is not None
            await first
            assert cancelled == ["first"]
            assert not second.done()
            assert not third.done()
            second.cancel()
            third.cancel()

    run(main())


def test_what_is_called_eagerly_may_raise(run: Run) -> None:
    async def main() -> None:
        before = asyncio.current_task()

        def begin(_: object) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            call_eagerly(begin, None, asyncio.get_running_loop())
        assert asyncio.current_task() is before

    run(main())
