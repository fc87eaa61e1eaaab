"""What very many topics cost: each with history, and with a retained value.

    python -m loadtest.inside.topics TOPICS

Prints {"us": microseconds per first message of a topic, "again_us": per second one, "bytes": memory per topic
with its retained value and two messages of history, "read_us": reading one topic, "retained_us": its retained
value}.
"""

import gc
import json
import sys
import time
from typing import Final

import uvloop

from extra import Broker
from extra.pubsub import BrokerLimits, MemoryEngine
from loadtest.inside.memory import resident_bytes

__all__ = ["main", "measure"]

NO_LIMIT: Final = 1 << 40
READS: Final = 1000
DEVICES: Final = 100
PAYLOAD: Final = b'{"celsius":21.5,"at":1700000000}'


def topic_of(number: int) -> str:
    """Return the topic of one of so many sensors, a hundred to a device."""
    return f"site/{number // DEVICES}/sensor/{number % DEVICES}"


async def measure(topics: int) -> dict[str, float]:
    """Publish to each topic twice, retained, and read some of them."""
    engine = MemoryEngine(
        total_limit_bytes=NO_LIMIT,
        topics_limit=topics,
        retained_limit_messages=topics,
        retained_limit_bytes=NO_LIMIT,
    )
    gc.collect()
    before = resident_bytes()
    async with Broker(engine, limits=BrokerLimits()) as broker:
        times = []
        for _ in range(2):
            started = time.process_time()
            for number in range(topics):
                await broker.publish(topic_of(number), PAYLOAD, retain=True)
            times.append(1e6 * (time.process_time() - started) / topics)
        weight = (resident_bytes() - before) / topics
        step = max(1, topics // READS)
        sample = [topic_of(number) for number in range(0, topics, step)]
        started = time.process_time()
        for topic in sample:
            page = await broker.history(topic)
            if len(page.messages) != 2:
                raise AssertionError(f"{topic} has {len(page.messages)} messages")
        read = time.process_time() - started
        started = time.process_time()
        for topic in sample:
            async with broker.subscribe(topic) as arriving:
                message = await anext(arriving)
                if not message.retained or message.topic != topic:
                    raise AssertionError(f"{topic} has no retained message")
        retained = time.process_time() - started
    return {
        "us": times[0],
        "again_us": times[1],
        "bytes": weight,
        "read_us": 1e6 * read / len(sample),
        "retained_us": 1e6 * retained / len(sample),
    }


def main(arguments: list[str]) -> None:
    """Measure, and print."""
    json.dump(uvloop.run(measure(int(arguments[0]))), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
