"""What a store costs: publishing with receipts beside bare SQLite, and fan-out beside the memory engine.

    PYTHONPATH=build/compiled .venv/bin/python scripts/bench_store.py [--directory PATH]

Publishing is in process: publishers that each publish a batch, wait for its receipts and publish the next.
Bare SQLite writes rows of the same columns in batches of 1,000 with `executemany`, prepared before. Fan-out
is a daemon, with and without a store, and WebSocket subscribers that read and throw away; its processor time
is read from /proc. Each round measures everything once, so that what else the machine does falls on all
alike; the figures are medians over the rounds.
"""

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import uvloop

import extra
from broker.engines import SQLiteEngine
from broker.engines.records import values_of
from broker.engines.schema import TABLES
from extra.pubsub import Broker, Engine, MemoryEngine, Message, Policy, PolicyTable, Receipt

PAYLOAD = b"x" * 200
TOPICS = 10
TICKS = os.sysconf("SC_CLK_TCK")
HANDSHAKE = (
    "GET /t/bench HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def main() -> int:
    """Measure, and print tables and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", default=None, help="where the files go: on the disk in question")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--publishers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--keep", type=int, default=1_000_000, help="messages that a topic keeps")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--deliveries", type=int, default=400_000)
    arguments = parser.parse_args()
    mode = "compiled" if extra.COMPILED else "interpreted"
    print(
        f"{mode}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores"
    )
    print(
        f"{arguments.publishers} publishers, batches of {arguments.batch}, {len(PAYLOAD)} bytes,"
        f" {arguments.keep} kept of each of {TOPICS} topics; {arguments.subscribers} subscribers"
    )
    rates: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        for name, measure in measurements(arguments).items():
            with TemporaryDirectory(dir=arguments.directory) as directory:
                rates.setdefault(name, []).append(measure(Path(directory)))
    medians = {name: median(values) for name, values in rates.items()}
    for durability in ("full", "normal"):
        bare, ours = medians[f"sqlite {durability}"], medians[f"publish {durability}"]
        print(f"{durability:7} {ours:9,.0f} msg/s, bare SQLite {bare:9,.0f}: {ours / bare:.2f}")
    memory = medians["fan-out memory"]
    for name in ("memory", "full", "normal"):
        cost = medians[f"fan-out {name}"]
        print(f"fan-out {name:7} {cost * 1e6:.2f} us of processor time per delivery: {cost / memory:.2f}")
    print(json.dumps({"mode": mode, **medians}))
    return 0


def measurements(arguments: argparse.Namespace) -> dict[str, Callable[[Path], float]]:
    """Return what is measured, by name: each takes an empty directory."""
    return {
        "sqlite full": lambda directory: bare_rate(directory, "FULL", arguments.messages),
        "publish full": lambda directory: engine_rate(directory, "full", arguments),
        "sqlite normal": lambda directory: bare_rate(directory, "NORMAL", arguments.messages),
        "publish normal": lambda directory: engine_rate(directory, "normal", arguments),
        "publish memory": lambda directory: engine_rate(directory, "", arguments),
        "fan-out memory": lambda directory: fan_out_cost([], arguments),
        "fan-out full": lambda directory: fan_out_cost(["--store", f"{directory}/x.db"], arguments),
        "fan-out normal": lambda directory: fan_out_cost(
            ["--store", f"{directory}/x.db", "--store-durability", "normal"], arguments
        ),
    }


def bare_rate(directory: Path, synchronous: str, messages: int) -> float:
    """Return how many rows a second SQLite takes, in transactions of 1,000."""
    rows = [values_of(Message("t", PAYLOAD), 1 + number, 1, time.time()) for number in range(messages)]
    with closing(sqlite3.connect(directory / "bare.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        for table in TABLES:
            connection.execute(table)
        begun = time.perf_counter()
        for start in range(0, messages, 1000):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows[start : start + 1000]
            )
            connection.execute("COMMIT")
        return messages / (time.perf_counter() - begun)


def engine_rate(directory: Path, durability: str, arguments: argparse.Namespace) -> float:
    """Return how many messages a second are published and acknowledged."""
    policies = PolicyTable(Policy(messages=arguments.keep, age_s=1e9, topic_limit_bytes=1 << 40))
    engine: Engine = MemoryEngine(policies, total_limit_bytes=1 << 40)
    if durability:
        engine = SQLiteEngine(
            str(directory / "store.db"), policies, durability=durability, total_limit_bytes=1 << 40
        )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(publish(engine, arguments))


async def publish(engine: Engine, arguments: argparse.Namespace) -> float:
    each = arguments.messages // arguments.publishers
    async with Broker(engine) as broker:

        async def publish_some(topic: str) -> None:
            for _ in range(0, each, arguments.batch):
                messages = [Message(topic, PAYLOAD) for _ in range(arguments.batch)]
                receipts = await broker.publish_messages(messages, [None] * len(messages))
                assert all(isinstance(receipt, Receipt) for receipt in receipts)

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(arguments.publishers):
                tasks.create_task(publish_some(f"t/{number % TOPICS}"))
        return engine.head() / (time.perf_counter() - begun)


def fan_out_cost(options: list[str], arguments: argparse.Namespace) -> float:
    """Return a daemon's processor time per delivery, in seconds."""
    daemon = subprocess.Popen(
        [sys.executable, "-m", "broker", "--port", "0", "--log-level", "warning", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert daemon.stdout is not None
        port = int(daemon.stdout.readline().rpartition(":")[2])
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(fan_out(daemon.pid, port, arguments.subscribers, arguments.deliveries))
    finally:
        daemon.terminate()
        daemon.wait()


async def fan_out(pid: int, port: int, subscribers: int, deliveries: int) -> float:
    messages = deliveries // subscribers
    body = json.dumps([{"topic": "bench", "data": PAYLOAD.decode()}]).encode()
    head = f"POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with asyncio.TaskGroup() as tasks:
        ready = asyncio.Barrier(subscribers + 1)
        for _ in range(subscribers):
            tasks.create_task(subscribe(port, ready, messages))
        await ready.wait()
        before = processor_time(pid)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(messages):
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 201")
            length = next(
                line for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(int(length.split(b":")[1]))
        writer.close()
    return (processor_time(pid) - before) / (messages * subscribers)


async def subscribe(port: int, ready: asyncio.Barrier, messages: int) -> None:
    """Subscribe, and read until so many messages have come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE.encode())
    await reader.readuntil(b'"op":"subscribed"')
    await ready.wait()
    seen = 0
    rest = b""
    while seen < messages:
        data = await reader.read(1 << 16)
        assert data, "the broker has gone"
        seen += (rest + data).count(b'"op":"message"')
        rest = (rest + data)[-13:]  # a byte less than what is counted
    writer.close()


def processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    sys.exit(main())
