"""Coroutines stepped once."""

import asyncio

import pytest

from extra.http import Rest, step, stepped


async def test_what_never_suspends_is_done() -> None:
    async def quick() -> int:
        return 7

    assert step(quick()) == stepped(quick()) == 7


async def test_what_suspends_goes_on_when_it_is_awaited() -> None:
    seen: list[str] = []

    async def slow() -> int:
        seen.append("begun")
        await asyncio.sleep(0)
        seen.append("ended")
        return 7

    for go in (step, stepped):
        seen.clear()
        begun = go(slow())
        assert seen == ["begun"]
        assert isinstance(begun, Rest)
        assert await begun == 7
        assert seen == ["begun", "ended"]


async def test_what_is_no_coroutine_is_not_stepped() -> None:
    future = asyncio.get_running_loop().create_future()
    assert stepped(future) is future


async def test_first_step_may_fail() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step(broken())


async def test_cancelling_reaches_the_coroutine() -> None:
    seen: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    async def run() -> None:
        begun = step(hang())
        assert isinstance(begun, Rest)
        await begun

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["ended"]
