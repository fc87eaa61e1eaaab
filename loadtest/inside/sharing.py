"""What a group costs in process: messages of the log, handed to members and acknowledged.

    python -m loadtest.inside.sharing MESSAGES MEMBERS ORDER

MESSAGES of 128 bytes lie in the log when MEMBERS come, each of which acknowledges one message after another.
Prints {"us": processor time for each message, "per_s": messages a second}. Fails unless each was handed out
once, and the group stands behind the last.
"""

import asyncio
import json
import sys
import time

import uvloop

from extra import Broker
from extra.pubsub import MemoryEngine, Policy, PolicyTable

__all__ = ["main", "measure"]

PAYLOAD = "x" * 126
TOPICS = 100


async def measure(messages: int, members: int, order: str) -> dict[str, float]:
    """Let them work. Raises AssertionError when a message was lost or doubled."""
    engine = MemoryEngine(PolicyTable(Policy(messages=messages, age_s=86_400, topic_limit_bytes=1 << 40)))
    async with Broker(engine) as broker:
        for number in range(messages):
            await broker.publish(f"jobs/{number % TOPICS}", PAYLOAD)
        seen = bytearray(messages + 1)

        async def work() -> None:
            async with broker.group("bench", "jobs/#", since="start", order=order) as jobs:
                async for job in jobs:
                    seen[job.offset] += 1
                    await jobs.ack(job)
                    if broker.groups.find("bench").acknowledged_total == messages:
                        break

        started, cpu = time.perf_counter(), time.process_time()
        working = [asyncio.ensure_future(work()) for _ in range(members)]
        await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        for each in working:
            each.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        if seen[1:] != b"\x01" * messages or broker.groups.find("bench").position() != messages:
            raise AssertionError("a message was not handed out once")
        return {"us": 1e6 * cpu / messages, "per_s": messages / seconds}


def main(arguments: list[str]) -> None:
    """Measure, and print."""
    json.dump(uvloop.run(measure(int(arguments[0]), int(arguments[1]), arguments[2])), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
