"""What a store takes inside the process: publishing with receipts, or rows of bare SQLite.

    python -m loadtest.inside.storing bare|extra full|normal|memory MESSAGES DIRECTORY

Prints {"per_s": messages a second, "us": microseconds of processor time per message}. `extra` is a broker
whose publishers each publish a batch, wait for its receipts and publish the next; every receipt is checked.
`bare` writes rows of the same columns, made before, in transactions of 1,000.
"""

import asyncio
import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

import uvloop

from broker.engines import SQLiteEngine
from broker.engines.records import values_of
from broker.engines.schema import TABLES
from extra.pubsub import Broker, Engine, MemoryEngine, Message, Policy, PolicyTable, Receipt

__all__ = ["main"]

PAYLOAD: Final = b"x" * 200
TOPICS: Final = 10
PUBLISHERS: Final = 8
BATCH: Final = 250
BARE_BATCH: Final = 1000
AMPLE: Final = 1 << 40

Figures = dict[str, float]


def bare(durability: str, messages: int, directory: Path) -> Figures:
    """Write rows with nothing but SQLite."""
    rows = [values_of(Message("t", PAYLOAD), 1 + number, 1, time.time()) for number in range(messages)]
    with closing(sqlite3.connect(directory / "bare.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {durability}")
        for table in TABLES:
            connection.execute(table)
        started, before = time.monotonic(), time.process_time()
        for start in range(0, messages, BARE_BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows[start : start + BARE_BATCH]
            )
            connection.execute("COMMIT")
        return figures(messages, started, before)


async def publish(durability: str, messages: int, directory: Path) -> Figures:
    """Publish with receipts, in batches."""
    policies = PolicyTable(Policy(messages=AMPLE, age_s=1e9, topic_limit_bytes=AMPLE))
    engine: Engine
    if durability == "memory":
        engine = MemoryEngine(policies, total_limit_bytes=AMPLE)
    else:
        path = str(directory / "store.db")
        engine = SQLiteEngine(path, policies, durability=durability, total_limit_bytes=AMPLE)
    async with Broker(engine) as broker:

        async def publish_some(topic: str) -> None:
            for _ in range(0, messages // PUBLISHERS, BATCH):
                batch = [Message(topic, PAYLOAD) for _ in range(BATCH)]
                receipts = await broker.publish_messages(batch, [None] * BATCH)
                if not all(isinstance(receipt, Receipt) for receipt in receipts):
                    raise AssertionError("a message got no receipt")

        started, before = time.monotonic(), time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for number in range(PUBLISHERS):
                tasks.create_task(publish_some(f"t/{number % TOPICS}"))
        return figures(engine.head(), started, before)


def figures(messages: int, started: float, before: float) -> Figures:
    took, used = time.monotonic() - started, time.process_time() - before
    return {"per_s": messages / took, "us": 1e6 * used / messages}


def main(arguments: list[str]) -> None:
    """Measure, and print."""
    kind, durability, messages, directory = arguments[0], arguments[1], int(arguments[2]), Path(arguments[3])
    if kind == "bare":
        found = bare(durability, messages, directory)
    else:
        found = uvloop.run(publish(durability, messages, directory))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
