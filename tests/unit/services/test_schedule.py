"""Methods that are called every so often, by a clock that the test moves."""

import asyncio
import threading
from asyncio import Future
from collections.abc import Awaitable, Callable

import pytest

from extra.services import Service, Services, Timer, every
from extra.services.schedule import LoopTimer, next_time


class FakeTimer(Timer):
    """Stands still until it is moved; notes what is waited for."""

    def __init__(self) -> None:
        self.time = 100.0
        self.waiting: list[tuple[float, Future[None]]] = []
        self.asked = asyncio.Event()

    def now(self) -> float:
        return self.time

    async def sleep_until(self, time: float) -> None:
        future: Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((time, future))
        self.asked.set()
        await future

    async def due(self) -> float:
        """Return the time that is waited for, as soon as one is."""
        await self.asked.wait()
        return self.waiting[0][0]

    async def move(self, time: float) -> None:
        """Let it be `time`, which lets go of the one who waits for that or an earlier one."""
        due, future = self.waiting.pop()
        assert time >= due
        self.asked.clear()
        self.time = time
        future.set_result(None)


@pytest.mark.parametrize(
    ("start", "period_s", "now", "time"),
    [
        (100.0, 5.0, 100.0, 105.0),
        (100.0, 5.0, 104.9, 105.0),
        (100.0, 5.0, 105.0, 110.0),
        (100.0, 5.0, 123.0, 125.0),
        (0.0, 0.1, 3 * 0.1, 0.4),
        (1e9, 0.1, 1e9 + 0.1, 1e9 + 0.2),
    ],
)
def test_times_are_counted_from_the_start(start: float, period_s: float, now: float, time: float) -> None:
    assert next_time(start, period_s, now) == pytest.approx(time)
    assert next_time(start, period_s, now) > now


def calling(method: Callable[[], Awaitable[None]]) -> type[Service]:
    class Calling(Service):
        @every(seconds=5)
        async def tick(self) -> None:
            await method()

    return Calling


async def test_neither_lateness_nor_long_calls_move_the_times() -> None:
    calls: list[float] = []
    timer = FakeTimer()

    async def note() -> None:
        calls.append(timer.time)
        if len(calls) == 3:
            timer.time += 12  # a call that takes longer than two periods

    async with Services(calling(note), timer=timer):
        assert await timer.due() == 105
        await timer.move(105)
        assert await timer.due() == 110
        await timer.move(113)  # late
        assert await timer.due() == 115
        await timer.move(115)
        assert await timer.due() == 130
        await timer.move(130)
        assert await timer.due() == 135
    assert calls == [105, 113, 115, 130]


async def test_failure_is_logged_and_the_next_call_is_made(caplog: pytest.LogCaptureFixture) -> None:
    timer = FakeTimer()

    async def fail() -> None:
        raise ZeroDivisionError

    async with Services(calling(fail), timer=timer):
        await timer.due()
        await timer.move(105)
        assert await timer.due() == 110
    assert "every 5 s (" in caplog.text
    assert "Calling.tick) has failed" in caplog.text


async def test_plain_methods_run_in_a_thread() -> None:
    timer = FakeTimer()
    seen: list[bool] = []

    class Plain(Service):
        @every(seconds=5)
        def tick(self) -> None:
            seen.append(threading.current_thread() is threading.main_thread())

    async with Services(Plain, timer=timer):
        await timer.due()
        await timer.move(105)
        await timer.due()
    assert seen == [False]


async def test_call_under_way_is_cancelled_at_the_end() -> None:
    timer = FakeTimer()
    seen: list[str] = []
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    async with Services(calling(hang), timer=timer):
        await timer.due()
        await timer.move(105)
        await begun.wait()
    assert seen == ["cancelled"]


def test_arguments_cannot_be_given() -> None:
    class Wrong(Service):
        @every(seconds=5)
        async def tick(self, a: int) -> None: ...

    with pytest.raises(TypeError, match=r"^Wrong\.tick: .* takes no arguments"):
        Services(Wrong)


async def test_usual_timer_is_that_of_the_event_loop() -> None:
    timer = LoopTimer()
    before = timer.now()
    await timer.sleep_until(before)
    await timer.sleep_until(before + 0.001)
    assert timer.now() >= before


async def test_retired_method_is_called_no_more_and_a_call_under_way_ends() -> None:
    for is_calling in (True, False):
        timer, begun, go_on, ended = FakeTimer(), asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def method(
            begun: asyncio.Event = begun, go_on: asyncio.Event = go_on, ended: asyncio.Event = ended
        ) -> None:
            begun.set()
            await go_on.wait()
            ended.set()

        async with Services(calling(method), timer=timer) as services:
            await timer.due()
            if is_calling:
                await timer.move(105)
                await begun.wait()
            (schedule,) = services._schedules
            (task,) = services._scheduled
            schedule.retire()
            go_on.set()
            await asyncio.wait([task])
            assert ended.is_set() == is_calling
