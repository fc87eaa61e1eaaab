"""What a burst of comings and goings costs.

    python -m loadtest.inside.attendance MEMBERS TOPICS

MEMBERS subscribers join over TOPICS topics in one stretch, with somebody watching, and leave again. Prints
{"join_us": .., "leave_us": processor time for each, subscribing included, "told": messages about them}. Fails
unless the counts, as told and as in a snapshot, are right all along.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack

import uvloop

from extra import Broker

__all__ = ["main", "measure"]


async def measure(members: int, topics: int) -> dict[str, float]:
    """Let them come and go. Raises AssertionError when a count is wrong."""
    async with Broker() as broker, broker.subscribe("$presence/#", overflow="drop-oldest") as watcher:
        last: dict[str, int] = {}
        told = 0

        async def watch() -> None:
            nonlocal told
            async for message in watcher:
                event = json.loads(message.payload)
                last[message.topic] = event["count"]
                told += 1

        async def settle() -> dict[str, int]:
            broker.sweep()
            for _ in range(members):  # turns of the loop: the watcher takes what there is in one
                await asyncio.sleep(0)
                if watcher.session is not None and watcher.session.outbox.is_empty:
                    break
            page = await broker.present("#", limit=1)
            counts = {f"$presence/{place.topic}": place.count for place in page.places}
            if (
                any(last[topic] != counts.get(topic, 0) for topic in last)
                or sum(counts.values()) != page.count
            ):
                raise AssertionError("what was told is not what there is")
            return counts

        watching = asyncio.ensure_future(watch())
        async with AsyncExitStack() as stack:
            started = time.process_time()
            for number in range(members):
                shown = {"name": f"member {number}"}
                subscription = broker.subscribe(
                    f"room/{number % topics}", presence=shown, member=f"m{number}"
                )
                await stack.enter_async_context(subscription)
                if number % 100 == 0:
                    await asyncio.sleep(0)
            joined = time.process_time() - started
            counts = await settle()
            if sum(counts.values()) != members or len(counts) != topics:
                raise AssertionError(f"{sum(counts.values())} members are present, and {members} came")
            started = time.process_time()
        left = time.process_time() - started
        if await settle():
            raise AssertionError("somebody is present who has left")
        watching.cancel()
        return {"join_us": 1e6 * joined / members, "leave_us": 1e6 * left / members, "told": told}


def main(arguments: list[str]) -> None:
    """Measure, and print."""
    json.dump(uvloop.run(measure(int(arguments[0]), int(arguments[1]))), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
