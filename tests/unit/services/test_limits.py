"""Giving up what takes too long."""

import asyncio

import pytest

from extra.services import TimedOut
from extra.services.limits import within


async def test_what_never_suspends_is_not_timed() -> None:
    async def quick() -> int:
        return 7

    async def broken() -> int:
        raise ZeroDivisionError

    assert await within(1e-9, quick()) == 7
    with pytest.raises(ZeroDivisionError):
        await within(1e-9, broken())


async def test_what_suspends_goes_on_where_it_was() -> None:
    async def slow() -> str:
        text = ""
        for part in "abc":
            await asyncio.sleep(0)
            text += part
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "d")
        return text + str(await future)

    assert await within(60, slow()) == "abcd"
    assert await within(0, slow()) == "abcd"


async def test_failure_after_suspending_is_raised() -> None:
    async def broken() -> None:
        await asyncio.sleep(0)
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await within(60, broken())


async def test_what_takes_too_long_is_cancelled() -> None:
    seen: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(TimedOut, match=r"no answer within timeout_s=0\.001"):
        await within(0.001, hang())
    assert seen == ["cancelled"]


async def test_cancelling_from_outside_is_no_time_out() -> None:
    seen: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    for limit_s in (0.0, 60.0):
        task = asyncio.create_task(within(limit_s, hang()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert seen == ["ended", "ended"]


async def test_closing_ends_it() -> None:
    seen: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    coroutine = within(0, hang())
    coroutine.send(None)
    coroutine.close()
    assert seen == ["ended"]
