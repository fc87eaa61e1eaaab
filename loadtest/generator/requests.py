"""A process that posts: so many keep-alive connections, each with one request under way at all times.

    python -m loadtest.generator.requests PORT CONNECTIONS REQUESTS PAYLOAD_BYTES

Connection N posts to `bench/N`, each message numbered. A line goes out when all are connected; another one
with the figures, when a line has been read from standard input and all REQUESTS have been answered. An answer
that is not 201 ends it with a line that says so: a request that failed has cost less than one that did not.
"""

import json
import select
import socket
import sys
import time
from typing import Any, Final

from loadtest.generator.looking import look
from loadtest.generator.payloads import message_of

__all__ = ["Poster"]

CREATED: Final = b"HTTP/1.1 201 "
END_OF_HEAD: Final = b"\r\n\r\n"
ANSWER_LIMIT_S: Final = 10.0


class Poster:
    """One connection, which waits for each answer before it sends the next request."""

    def __init__(self, port: int, name: int, payload_bytes: int) -> None:
        self.payload_bytes = payload_bytes
        self.head = (
            f"POST /t/bench/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {payload_bytes}\r\n\r\n"
        ).encode()
        self.sent = 0
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0

    def post(self, now: float) -> None:
        self.sent_at = now
        self.socket.send(self.head + message_of(self.sent, now, self.payload_bytes))
        self.sent += 1

    def take_answer(self) -> None:
        """Read the answer, which comes in one piece.

        Raises:
            ConnectionError: it says anything but 201, or is not whole.
        """
        answer = self.socket.recv(4096)
        head, _, body = answer.partition(END_OF_HEAD)
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if not answer.startswith(CREATED) or len(body) != int(length):
            raise ConnectionError(f"a request was answered {answer[:200]!r}")


def run(posters: list[Poster], requests: int) -> dict[str, Any]:
    """Post until so many have been answered. Raises ConnectionError."""
    epoll = select.epoll()
    by_descriptor = {poster.socket.fileno(): poster for poster in posters}
    delays: list[int] = []
    started, before = time.monotonic(), time.process_time()
    for descriptor, poster in by_descriptor.items():
        epoll.register(descriptor, select.EPOLLIN)
        poster.post(time.monotonic())
    sent = len(posters)
    while len(delays) < requests:
        events = look(epoll, time.monotonic() + ANSWER_LIMIT_S)
        if not events:
            raise ConnectionError(f"{requests - len(delays)} requests are not answered")
        for descriptor, _ in events:
            poster = by_descriptor[descriptor]
            poster.take_answer()
            now = time.monotonic()
            delays.append(int(1e6 * (now - poster.sent_at)))
            if sent < requests:
                poster.post(now)
                sent += 1
    return {
        "seconds": time.monotonic() - started,
        "cpu_s": time.process_time() - before,
        "delays_us": delays,
        "sent": [poster.sent for poster in posters],
    }


def main() -> None:
    """Do as the command line says."""
    port, connections, requests, payload_bytes = (int(each) for each in sys.argv[1:])
    posters = [Poster(port, number, payload_bytes) for number in range(connections)]
    say({"ready": connections})
    sys.stdin.readline()
    try:
        say(run(posters, requests))
    except OSError as error:
        say({"error": str(error)})
    sys.stdin.readline()


def say(answer: dict[str, Any]) -> None:
    """Write a line of JSON at once."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
