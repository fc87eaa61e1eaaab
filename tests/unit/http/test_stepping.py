"""Coroutines stepped once."""

import asyncio

import pytest

from extra.http import FirstStep


async def test_what_never_suspends_is_done() -> None:
    async def quick() -> int:
        return 7

    begun = FirstStep(quick())
    assert (begun.done, begun.result) == (True, 7)


async def test_what_suspends_goes_on_when_it_is_awaited() -> None:
    seen: list[str] = []

    async def slow() -> int:
        seen.append("begun")
        await asyncio.sleep(0)
        seen.append("ended")
        return 7

    begun = FirstStep(slow())
    assert (begun.done, seen) == (False, ["begun"])
    assert await begun.rest == 7
    assert seen == ["begun", "ended"]


async def test_first_step_may_fail() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        FirstStep(broken())


async def test_cancelling_reaches_the_coroutine() -> None:
    seen: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    async def run() -> None:
        await FirstStep(hang()).rest

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["ended"]
