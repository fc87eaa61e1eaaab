"""Room in a queue: bounded in number and bytes, first come, first served."""

import asyncio

import pytest

from broker.engines.room import Room
from extra.errors import EngineUnavailable
from tests.unit.pubsub.material import settle


async def entering(room: Room, *sizes: int) -> list[asyncio.Task[None]]:
    """Try to enter with these sizes, one after the other."""
    tasks = [asyncio.ensure_future(room.enter(size)) for size in sizes]
    await settle()
    return tasks


def entered(tasks: list[asyncio.Task[None]]) -> list[bool]:
    return [task.done() for task in tasks]


async def test_so_many_enter_and_the_next_one_waits() -> None:
    room = Room(2, 1000)
    tasks = await entering(room, 1, 1, 1)
    assert (entered(tasks), room.messages, room.bytes, room.waiting) == ([True, True, False], 2, 2, 1)
    room.leave(1, 1)
    await asyncio.gather(*tasks)
    assert (room.messages, room.bytes, room.waiting) == (2, 2, 0)


async def test_so_many_bytes_enter_and_the_next_one_waits() -> None:
    room = Room(100, 10)
    tasks = await entering(room, 6, 4, 1)
    assert entered(tasks) == [True, True, False]
    room.leave(1, 6)
    await asyncio.gather(*tasks)
    assert room.bytes == 5


async def test_one_that_is_larger_than_all_enters_alone() -> None:
    room = Room(100, 10)
    tasks = await entering(room, 1, 50, 1)
    assert entered(tasks) == [True, False, False]
    room.leave(1, 1)
    await settle()
    assert entered(tasks) == [True, True, False]
    room.leave(1, 50)
    await asyncio.gather(*tasks)


async def test_nobody_passes_one_who_waits() -> None:
    room = Room(100, 10)
    tasks = await entering(room, 8, 8, 1)
    assert entered(tasks) == [True, False, False]
    assert not room.take(1)
    room.leave(1, 8)
    await asyncio.gather(*tasks)
    assert room.take(1)


async def test_one_who_goes_away_holds_up_nobody() -> None:
    room = Room(100, 10)
    tasks = await entering(room, 8, 8, 1)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert (tasks[1].cancelled(), room.messages, room.bytes, room.waiting) == (True, 2, 9, 0)


async def test_one_who_goes_away_as_its_turn_comes_leaves_the_room_to_the_next() -> None:
    room = Room(1, 10)
    tasks = await entering(room, 1, 1, 1)
    room.leave(1, 1)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert (tasks[1].cancelled(), tasks[2].done(), room.messages) == (True, True, 1)


async def test_all_who_wait_can_be_sent_away() -> None:
    room = Room(1, 10)
    first, *others = await entering(room, 1, 1, 1)
    room.refuse(EngineUnavailable("no"))
    for other in others:
        with pytest.raises(EngineUnavailable):
            await other
    assert (first.done(), room.messages, room.waiting) == (True, 1, 0)


async def test_one_who_is_sent_away_and_cancelled_at_once_is_gone() -> None:
    room = Room(1, 10)
    _, other = await entering(room, 1, 1)
    room.refuse(EngineUnavailable("no"))
    other.cancel()
    await asyncio.wait([other])
    assert other.cancelled()
    room.leave(1, 1)
    assert (room.messages, room.bytes) == (0, 0)
