"""A process of workers: members of one group over WebSocket, who acknowledge what they are handed.

    python -m loadtest.generator.workers PORT CONNECTIONS MESSAGES WAY

A line goes out when all are connected; another one with the figures, when a line has been read from standard
input, all have joined, and MESSAGES have been acknowledged. WAY is `each`, an `ack` for every message, or
`together`, one for all that came in one read. A message that comes twice ends it with a line that says so.
"""

import re
import select
import socket
import sys
import time
from typing import Any, Final

from loadtest.generator.dialect import masked_frame
from loadtest.generator.dialects import DIALECTS
from loadtest.generator.framing import Frames
from loadtest.generator.looking import look
from loadtest.generator.publisher import say

__all__ = ["Worker"]

JOIN: Final = b'{"op":"subscribe","filter":"bench","group":"bench","since":"start","max_unacknowledged":1000}'
OFFSET: Final = re.compile(rb'"op":"message","topic":"bench","offset":(\d+),')
READ_BYTES: Final = 256 * 1024
ANSWER_LIMIT_S: Final = 10.0


class Worker:
    """One connection."""

    def __init__(self, port: int, is_together: bool) -> None:
        self.is_together = is_together
        self.frames = Frames()
        self.rest = b""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for step in DIALECTS["extra"].publishing():
            self.socket.sendall(step.send)
            received = b""
            while any(text not in received for text in step.until):
                received += self.socket.recv(4096)

    def join(self) -> None:
        """Ask for a share; what is handed out comes behind the answer."""
        self.socket.sendall(masked_frame(JOIN))

    def work(self) -> list[int]:
        """Read, acknowledge what has come, and return its offsets."""
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise ConnectionError("a worker was disconnected")
        text = self.rest + b"".join(self.frames.strip(memoryview(data), lambda: None))
        offsets, end = [], 0
        for found in OFFSET.finditer(text):
            offsets.append(found[1])
            end = found.end()
        self.rest = text[end:]
        if offsets and self.is_together:
            acknowledgement = b'{"op":"ack","group":"bench","offsets":[%b]}' % b",".join(offsets)
            self.socket.sendall(masked_frame(acknowledgement))
        elif offsets:
            each = [masked_frame(b'{"op":"ack","group":"bench","offset":%b}' % offset) for offset in offsets]
            self.socket.sendall(b"".join(each))
        return [int(offset) for offset in offsets]


def run(workers: list[Worker], messages: int) -> dict[str, Any]:
    """Work until so many are done. Raises ConnectionError."""
    epoll = select.epoll()
    by_descriptor = {worker.socket.fileno(): worker for worker in workers}
    seen = bytearray(messages + 1)
    done = 0
    started, before = time.monotonic(), time.process_time()
    for descriptor, worker in by_descriptor.items():
        epoll.register(descriptor, select.EPOLLIN)
        worker.join()
    while done < messages:
        events = look(epoll, time.monotonic() + ANSWER_LIMIT_S)
        if not events:
            raise ConnectionError(f"{messages - done} messages have not come")
        for descriptor, _ in events:
            for offset in by_descriptor[descriptor].work():
                if seen[offset]:
                    raise ConnectionError(f"message {offset} was handed out twice")
                seen[offset] = 1
                done += 1
    return {"seconds": time.monotonic() - started, "cpu_s": time.process_time() - before}


def main() -> None:
    """Connect, wait for a line, work."""
    port, connections, messages = (int(each) for each in sys.argv[1:4])
    try:
        workers = [Worker(port, sys.argv[4] == "together") for _ in range(connections)]
        say({"ready": connections})
        sys.stdin.readline()
        say(run(workers, messages))
        sys.stdin.readline()  # the connections stay until whoever measures has looked
    except OSError as error:
        say({"error": f"workers: {error}"})


if __name__ == "__main__":
    main()
