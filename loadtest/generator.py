"""The load: subscribers that count, and one publisher that keeps time.

Knows as little of the protocol as it can.

    python -m loadtest.generator PORT SUBSCRIBE_PATH PUBLISH_PATH COMMAND SUBSCRIBERS RATE SECONDS
    PAYLOAD_BYTES

COMMAND is "raw" (a frame is the payload) or "extra" (a frame is a `publish` command). One JSON object goes to
standard output for each of two lines read from standard input: the first starts the publishing, the second
ends the process. A run in which anything was lost or doubled says so in `lost`.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import cast

import uvloop
from websockets.speedups import apply_mask

MARKER = b'"op":"message"'
MASK = b"\x01\x02\x03\x04"


class Client(asyncio.Protocol):
    """A WebSocket client that counts messages by a marker that each holds once."""

    transport: asyncio.Transport

    def __init__(self, path: str, port: int, on_open: Callable[[], None]) -> None:
        self.path = path
        self.port = port
        self.on_open = on_open
        self.is_open = False
        self.received = 0
        self.tail = b""
        self.delays: list[float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if not self.is_open:
            self.is_open = True
            self.on_open()
        data = self.tail + data
        self.received += data.count(MARKER)
        if self.delays is not None:
            now = time.perf_counter()
            for part in data.split(b'"at":')[1:]:
                digits = part.partition(b"}")
                if digits[1]:
                    self.delays.append(now - float(digits[0].partition(b",")[0]))
        self.tail = data[-(len(MARKER) - 1) :]

    def publish(self, payload: bytes) -> None:
        """Send one masked text frame of less than 64 KiB."""
        size = len(payload)
        head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
        self.transport.write(head + MASK + apply_mask(payload, MASK))


def payload_of(size: int) -> bytes:
    """Return JSON of `size` bytes that carries the time."""
    head = b'{"at":%.6f,"pad":"' % time.perf_counter()
    return head + b"x" * (size - len(head) - 2) + b'"}'


async def main(arguments: list[str]) -> None:
    """Connect, publish when told, count, report."""
    port, subscribe_path, publish_path, form = int(arguments[0]), *arguments[1:4]
    count, rate, seconds, size = (int(each) for each in arguments[4:8])
    loop = asyncio.get_running_loop()
    opened = asyncio.Semaphore(0)

    async def connect(path: str) -> Client:
        _, client = await loop.create_connection(
            lambda: Client(path, port, opened.release), "127.0.0.1", port
        )
        await opened.acquire()
        return client

    clients = [await connect(subscribe_path) for _ in range(count)]
    publisher = await connect(publish_path)
    clients[0].delays = []
    await asyncio.sleep(0.2)
    report({"ready": count})
    await loop.run_in_executor(None, sys.stdin.readline)
    before = os.times()
    started = loop.time()
    total = rate * seconds
    sent = 0
    while sent < total:
        due = min(total, int((loop.time() - started) * rate) + 1)
        for _ in range(due - sent):
            payload = payload_of(size)
            publisher.publish(
                payload if form == "raw" else b'{"op":"publish","topic":"bench","data":' + payload + b"}"
            )
        sent = due
        await asyncio.sleep(max(0.0, started + sent / rate - loop.time()))
    deadline = loop.time() + 30
    while sum(client.received for client in clients) < total * count and loop.time() < deadline:  # noqa: ASYNC110 - a count from 500 connections
        await asyncio.sleep(0.01)
    took = loop.time() - started
    await asyncio.sleep(0.05)
    after = os.times()
    delays = sorted(clients[0].delays)
    report(
        {
            "deliveries": total * count,
            "lost": total * count - sum(client.received for client in clients),
            "seconds": took,
            "generator_cpu_s": after.user + after.system - before.user - before.system,
            "p50_ms": 1000 * delays[len(delays) // 2] if delays else None,
            "p99_ms": 1000 * delays[len(delays) * 99 // 100] if delays else None,
        }
    )
    await loop.run_in_executor(None, sys.stdin.readline)


def report(figures: dict[str, float | None]) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
