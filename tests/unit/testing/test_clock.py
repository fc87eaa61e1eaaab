"""The clock that the test moves."""

import asyncio

import pytest
import uvloop

from extra.testing import FakeClock


async def test_event_loop_goes_by_the_clock() -> None:
    clock = FakeClock()
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(1)
            ticks.append(clock.elapsed_s)

    with clock.driving():
        task = asyncio.create_task(tick())
        await asyncio.sleep(0)
        assert ticks == []
        await clock.elapse(3)
        assert ticks == [1, 2, 3]
        waiting = asyncio.ensure_future(asyncio.wait_for(asyncio.Event().wait(), 3600))
        await asyncio.sleep(0)
        await clock.elapse(3600, step_s=60)
        with pytest.raises(TimeoutError):
            await waiting
        task.cancel()
    assert asyncio.get_running_loop().time() != clock.now()


async def test_readings_move_together() -> None:
    clock = FakeClock()
    now, time = clock.now(), clock.time()
    clock.advance(5)
    assert (clock.now() - now, clock.time() - time) == (5, 5)


@pytest.mark.slow
def test_event_loop_whose_clock_cannot_be_moved_is_refused() -> None:
    async def drive() -> None:
        with FakeClock().driving():
            pass

    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        pytest.raises(RuntimeError, match="asyncio's own event loop"),
    ):
        runner.run(drive())
