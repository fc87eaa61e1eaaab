"""The thread for what takes as long as a disk does."""

import asyncio
import threading

import pytest

from broker.engines.worker import Worker

LIMIT_S = 20.0


async def test_calls_run_in_their_order_and_beside_the_loop() -> None:
    worker = Worker("test")
    try:
        names: list[str] = []
        for number in range(3):
            assert await worker.call(lambda number=number: number) == number  # type: ignore[misc]  # its own
        await worker.call(lambda: names.append(threading.current_thread().name))
        assert names == ["test"]
    finally:
        worker.stop()


async def test_what_a_call_raises_is_raised_and_the_next_one_runs() -> None:
    worker = Worker("test")
    try:
        with pytest.raises(ZeroDivisionError):
            await worker.call(lambda: 1 / 0)
        assert await worker.call(lambda: "next") == "next"
    finally:
        worker.stop()


async def test_the_loop_is_told_of_what_was_submitted() -> None:
    worker = Worker("test")
    told: asyncio.Queue[Exception | None] = asyncio.Queue()

    def fail() -> None:
        raise OSError("no")

    try:
        worker.submit(lambda: None, told.put_nowait)
        worker.submit(fail, told.put_nowait)
        assert await told.get() is None
        assert isinstance(await told.get(), OSError)
    finally:
        worker.stop()


async def test_a_call_that_is_cancelled_runs_to_its_end() -> None:
    worker = Worker("test")
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        assert may_end.wait(LIMIT_S)
        ended.set()

    try:
        call = asyncio.ensure_future(worker.call(work))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        may_end.set()
        await worker.call(lambda: None)
        assert (call.cancelled(), ended.is_set()) == (True, True)
    finally:
        may_end.set()
        worker.stop()


def test_nobody_is_told_when_the_loop_is_closed() -> None:
    """A process that ends in an error does not hang on its thread."""
    may_end = threading.Event()

    def wait() -> None:
        assert may_end.wait(LIMIT_S)

    async def begin() -> Worker:
        worker = Worker("test")
        worker.submit(wait, lambda error: None)
        return worker

    worker = asyncio.run(begin())
    may_end.set()
    worker.stop()
