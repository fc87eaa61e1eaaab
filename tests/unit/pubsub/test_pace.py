import asyncio

import pytest

from extra.pubsub.pace import STRETCH_BYTES, Pace
from tests.unit.pubsub.material import settle


async def test_so_much_may_be_spent_before_the_loop_turns() -> None:
    pace = Pace(1 << 20)
    assert pace.limit_bytes == STRETCH_BYTES
    pace.spend(STRETCH_BYTES - 1)
    assert not pace.is_spent()
    pace.spend(1)
    assert pace.is_spent()


async def test_who_spends_a_part_in_each_turn_never_waits() -> None:
    pace = Pace(4000)
    for _ in range(100):
        assert not pace.is_spent()
        pace.spend(300)
        await asyncio.sleep(0)


def test_small_outboxes_have_small_stretches() -> None:
    assert Pace(4000).limit_bytes == 1000


async def test_one_turn_lets_so_many_go_on_in_their_order() -> None:
    pace = Pace(400)
    pace.spend(100)
    order: list[int] = []

    async def publish(number: int) -> None:
        if pace.is_spent():
            await pace.turn(40)
        pace.spend(40)
        order.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(publish(number))
        seen = []
        while len(order) < 10:
            seen.append(len(order))
            await asyncio.sleep(0)
    assert order == list(range(10))
    assert set(seen) <= {0, 3, 6, 9}
    assert pace.spent <= 100 + 40
    assert not pace.queue


async def test_who_comes_while_others_wait_waits_behind_them() -> None:
    pace = Pace(400)
    pace.spend(100)
    waiting = asyncio.ensure_future(pace.turn(10))
    await asyncio.sleep(0)
    pace.spent = 0
    assert pace.is_spent()
    await waiting
    assert not pace.is_spent()


@pytest.mark.parametrize("turns", range(6))
async def test_who_is_cancelled_takes_nothing(turns: int) -> None:
    pace = Pace(400)
    pace.spend(100)
    first, second = (asyncio.ensure_future(pace.turn(90)) for _ in range(2))
    for _ in range(turns):
        await asyncio.sleep(0)
    first.cancel()
    await settle()
    assert second.done()
    assert pace.spent == 0
    assert not pace.queue
