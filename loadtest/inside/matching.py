"""What the match of one topic costs that is in no cache, by the number of filters; and what a filter weighs.

    python -m loadtest.inside.matching FILTERS KIND

KIND is `exact` (user/N/inbox), `wild` (user/N/#) or `mixed`: half and half, and a few filters that match
every topic (user/+/inbox, user/#). Prints {"us": microseconds per match, "add_us": .., "bytes": memory per
filter}. The topics are random ones of all that there are, so that the processor's caches are as cold as they
would be.
"""

import gc
import json
import random
import sys
import time
from statistics import median
from typing import Final

from extra.topics import FilterTree
from loadtest.inside.memory import resident_bytes

__all__ = ["main", "measure"]

MATCHES: Final = 20_000
REPEATS: Final = 5
COMMON: Final = ("user/+/inbox", "user/#")


def filters_of(kind: str, count: int) -> list[str]:
    """Return filters; user N has one."""
    if kind == "exact":
        return [f"user/{number}/inbox" for number in range(count)]
    if kind == "wild":
        return [f"user/{number}/#" for number in range(count)]
    own = [f"user/{number}/#" if number % 2 else f"user/{number}/inbox" for number in range(count - 2)]
    return [*own, *COMMON]


def measure(kind: str, count: int) -> dict[str, float]:
    """Return the figures. Checks each answer: every user's topic matches its own filter."""
    filters = filters_of(kind, count)
    users = count - len(COMMON) if kind == "mixed" else count
    expected = 1 + len(COMMON) if kind == "mixed" else 1
    gc.collect()
    before, started = resident_bytes(), time.process_time()
    tree = FilterTree[int](cache_limit=0)
    for number, each in enumerate(filters):
        tree.add(each, number)
    added = time.process_time() - started
    weight = resident_bytes() - before
    generator = random.Random(1)
    times = []
    for _ in range(REPEATS):
        topics = [f"user/{generator.randrange(users)}/inbox" for _ in range(MATCHES)]
        started = time.process_time()
        for topic in topics:
            tree.match(topic)
        times.append(time.process_time() - started)
        if any(len(tree.match(topic)) != expected for topic in topics):
            raise AssertionError("a topic did not match what it should")
    return {"us": 1e6 * median(times) / MATCHES, "add_us": 1e6 * added / count, "bytes": weight / count}


def main(arguments: list[str]) -> None:
    """Measure, and print."""
    json.dump(measure(arguments[1], int(arguments[0])), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
