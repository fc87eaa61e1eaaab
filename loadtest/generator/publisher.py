"""A process that publishes: on time, over one connection, without waiting for receipts.

    python -m loadtest.generator.publisher PLAN

A line goes out when the connection is open. Then it answers each command, a line of JSON on standard input:

    {"do": "publish", "count": 500, "rate": 100}    publish so many, so many a second
    {"do": "pipeline", "count": 500}                publish as fast as they are taken, and wait until all are

A message carries the time when it was due, not when it was sent: what a server that does not read makes wait
counts as latency.
"""

import json
import os
import resource
import socket
import struct
import sys
import time
from typing import Any, Final

from loadtest.generator.dialect import masked_frame
from loadtest.generator.dialects import DIALECTS
from loadtest.generator.payloads import message_of
from loadtest.generator.plan import Plan, picks

__all__ = ["Publisher"]

PING: Final = masked_frame(b"done", 0x89)
PONG: Final = b"\x8a\x04done"
PIPELINE_MESSAGES: Final = 500
ANSWER_LIMIT_S: Final = 30


class Publisher:
    """One connection, and the number of the next message."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.dialect = DIALECTS[plan.dialect]
        self.topics = [f"bench/{pick}" for pick in picks(plan.topics, plan.messages)] if plan.topics else []
        self.number = 0
        self.connection = socket.create_connection(("127.0.0.1", plan.port))
        for option in (
            socket.SO_RCVTIMEO,
            socket.SO_SNDTIMEO,
        ):  # the kernel's: Python's would wait in `drain`
            self.connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", ANSWER_LIMIT_S, 0))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for step in self.dialect.publishing():
            self.connection.sendall(step.send)
            self.read_until(step.until)

    def read_until(self, texts: tuple[bytes, ...]) -> None:
        """Read until all of `texts` have come. Raises ConnectionError, TimeoutError."""
        received = b""
        while any(text not in received for text in texts):
            data = self.connection.recv(65536)
            if not data:
                raise ConnectionError(f"the publisher was disconnected behind {received[:200]!r}")
            received += data

    def publications(self, count: int, started: float, rate: int) -> bytes:
        """Return the bytes that publish the next messages: the first of them is due at `started`."""
        size = self.plan.payload_bytes
        number = self.number
        self.number += count
        return b"".join(
            [
                self.dialect.publication(
                    self.topics[each] if self.topics else "bench",
                    message_of(each, started + (each - number) / rate, size),
                )
                for each in range(number, number + count)
            ]
        )

    def publish(self, count: int, rate: int) -> dict[str, Any]:
        """Publish when it is time."""
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.monotonic()
        sent = 0
        while sent < count:
            due = min(count, int((time.monotonic() - started) * rate) + 1)
            self.connection.sendall(self.publications(due - sent, started + sent / rate, rate))
            sent = due
            self.drain()
            time.sleep(max(0.0, started + sent / rate - time.monotonic()))
        late = time.monotonic() - started - count / rate
        return {"cpu_s": used_since(before), "started": started, "late_s": late}

    def pipeline(self, count: int) -> dict[str, Any]:
        """Publish without a pause; ended by a ping whose answer says that all before has been taken."""
        now = time.monotonic()
        blocks = [
            self.publications(min(PIPELINE_MESSAGES, count - done), now, 1_000_000)
            for done in range(0, count, PIPELINE_MESSAGES)
        ]
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.monotonic()
        for block in blocks:
            self.connection.sendall(block)
        self.connection.sendall(PING)
        self.read_until((PONG,))
        return {"cpu_s": used_since(before), "seconds": time.monotonic() - started}

    def drain(self) -> None:
        """Drop what the server says: receipts that some give unasked."""
        try:
            while self.connection.recv(65536, socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            pass


def used_since(before: resource.struct_rusage) -> float:
    """Return the processor time used since then, in seconds."""
    now = resource.getrusage(resource.RUSAGE_SELF)
    return now.ru_utime + now.ru_stime - before.ru_utime - before.ru_stime


def say(answer: dict[str, Any]) -> None:
    """Write a line of JSON at once."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do as told until standard input ends."""
    if os.sched_getscheduler(0) == os.SCHED_RR:  # keeps time while all others are busy
        os.sched_setparam(0, os.sched_param(2))
    try:
        publisher = Publisher(Plan.from_json(sys.argv[1]))
        say({"ready": 1})
        for line in sys.stdin:
            command = json.loads(line)
            if command["do"] == "publish":
                say(publisher.publish(command["count"], command["rate"]))
            else:
                say(publisher.pipeline(command["count"]))
    except OSError as error:
        say({"error": f"publisher: {error}"})


if __name__ == "__main__":
    main()
