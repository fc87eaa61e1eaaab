"""What publishing costs inside the process: no sockets, so the broker core alone.

    python -m loadtest.inside.publishing MESSAGES SUBSCRIBERS

Prints {"us": microseconds of processor time per message, "per_s": messages a second}. With subscribers, each
is a task that takes its messages; their order and number are checked.
"""

import asyncio
import json
import sys
import time
from typing import Final

import uvloop

from extra import Broker

__all__ = ["main", "measure"]

PAYLOAD: Final = b"x" * 128
STRIDE: Final = 100
"""After so many messages the publisher lets the others run, as one does that waits for its next message."""


async def measure(messages: int, subscribers: int) -> dict[str, float]:
    """Publish, and wait until everybody has got everything."""
    received = 0

    async def read(ready: asyncio.Event) -> None:
        nonlocal received
        async with broker.subscribe("bench") as arriving:
            ready.set()
            count = 0
            async for message in arriving:
                count += 1
                if message.offset != count:
                    raise AssertionError(f"offset {message.offset} where {count} should come")
                received += 1
                if count == messages:
                    return

    async with Broker() as broker, asyncio.TaskGroup() as tasks:
        for _ in range(subscribers):
            ready = asyncio.Event()
            tasks.create_task(read(ready))
            await ready.wait()
        started, before = time.monotonic(), time.process_time()
        for number in range(messages):
            await broker.publish("bench", PAYLOAD)
            if subscribers and number % STRIDE == 0:
                await asyncio.sleep(0)
        while received < messages * subscribers:  # noqa: ASYNC110 - a figure that many tasks move
            await asyncio.sleep(0)
        used, took = time.process_time() - before, time.monotonic() - started
    return {"us": 1e6 * used / messages, "per_s": messages / took}


def main(arguments: list[str]) -> None:
    """Measure, and print."""
    json.dump(uvloop.run(measure(int(arguments[0]), int(arguments[1]))), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
