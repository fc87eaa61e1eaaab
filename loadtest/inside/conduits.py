"""What an item costs in a `Channel` and a `Broadcast`, beside asyncio.Queue and anyio's memory streams.

    python -m loadtest.inside.conduits ITEMS ROUNDS

Prints {case: {conduit: [microseconds of processor time per item, a round each]}}. Each round measures all, so
that what else the machine does falls on all alike. Every item is checked: what was taken is what was put.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import uvloop

from extra import Broadcast, Channel

__all__ = ["CASES", "main"]

Put = Callable[[int], Awaitable[object]]
Take = Callable[[], Awaitable[int]]
Conduit = tuple[Put, Take]

BOUND: Final = 100
RECEIVERS: Final = 10


def channel() -> Conduit:
    made = Channel[int](BOUND)
    return made.put, made.take


def queue() -> Conduit:
    made = asyncio.Queue[int](BOUND)
    return made.put, made.get


def stream() -> Conduit:
    send, receive = anyio.create_memory_object_stream[int](BOUND)
    return send.send, receive.receive


def broadcast() -> tuple[Put, list[Take]]:
    made = Broadcast[int]()
    return made.put, [made.subscribe(BOUND, "block").take for _ in range(RECEIVERS)]


def several(conduit: Callable[[], Conduit]) -> tuple[Put, list[Take]]:
    """Return the same with one conduit for each receiver."""
    made = [conduit() for _ in range(RECEIVERS)]
    puts = [put for put, _ in made]

    async def put_all(item: int) -> None:
        for put in puts:
            await put(item)

    return put_all, [take for _, take in made]


CONDUITS: Final[dict[str, Callable[[], Conduit]]] = {
    "Channel": channel,
    "asyncio.Queue": queue,
    "anyio stream": stream,
}
TO_MANY: Final[dict[str, Callable[[], tuple[Put, list[Take]]]]] = {
    "Channel": broadcast,
    "asyncio.Queue": lambda: several(queue),
    "anyio stream": lambda: several(stream),
}


async def alternate(name: str, items: int) -> None:
    """One task puts and takes in turn: nobody waits."""
    put, take = CONDUITS[name]()
    for item in range(items):
        await put(item)
        check(await take(), item)


async def hand_over(name: str, items: int) -> None:
    """One task puts, another takes; the bound makes them alternate."""
    put, take = CONDUITS[name]()
    await asyncio.gather(produce(put, items), consume(take, items))


async def to_many(name: str, items: int) -> None:
    """One task puts to ten that take."""
    put, takes = TO_MANY[name]()
    await asyncio.gather(produce(put, items), *[consume(take, items) for take in takes])


async def produce(put: Put, items: int) -> None:
    for item in range(items):
        await put(item)


async def consume(take: Take, items: int) -> None:
    for item in range(items):
        check(await take(), item)


def check(taken: int, expected: int) -> None:
    if taken != expected:
        raise AssertionError(f"took {taken} where {expected} should come")


CASES: Final[dict[str, Callable[[str, int], Awaitable[None]]]] = {
    "put and take in turn": alternate,
    "a task puts, a task takes": hand_over,
    f"to {RECEIVERS} that take": to_many,
}


async def measure(items: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the times of all rounds."""
    found: dict[str, dict[str, list[float]]] = {case: {name: [] for name in CONDUITS} for case in CASES}
    for _ in range(rounds):
        for case, run in CASES.items():
            count = items // RECEIVERS if run is to_many else items
            for name in CONDUITS:
                before = time.process_time()
                await run(name, count)
                found[case][name].append(1e6 * (time.process_time() - before) / count)
    return found


def main(arguments: list[str]) -> None:
    """Measure, and print."""
    items, rounds = (int(each) for each in arguments)
    figures: dict[str, Any] = uvloop.run(measure(items, rounds))
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
