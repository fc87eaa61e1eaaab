"""A broker that answers HTTP requests as a test tells it, on threads of its own: for code that blocks."""

import contextlib
import json
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

from extra.payloads import JSONValue

__all__ = ["Answer", "HTTPBroker", "Request", "problem", "receipt"]


@dataclass(frozen=True)
class Request:
    """A request that has come. Header names are in lower case; `connection` counts from 0."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Answer:
    """What to send, and whether to hang up afterwards without having said so. `raw` replaces all of it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    raw: bytes | None = None

    def encode(self) -> bytes:
        if self.raw is not None:
            return self.raw
        fields = {"Content-Length": str(len(self.body)), **self.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status} Reason\r\n{head}\r\n".encode() + self.body


def receipt(offset: int, *, hangs_up: bool = False) -> Answer:
    """Return the answer to a publication."""
    told = {"topic": "a", "offset": offset, "cursor": f"e1-{offset}", "subscribers": 3}
    return Answer(201, json.dumps(told).encode(), {"Content-Type": "application/json"}, hangs_up)


def problem(status: int, code: str, detail: str, **members: JSONValue) -> Answer:
    """Return a problem document (RFC 9457)."""
    fields: dict[str, JSONValue] = {"status": status, "code": code, "detail": detail, **members}
    return Answer(status, json.dumps(fields).encode(), {"Content-Type": "application/problem+json"})


class HTTPBroker:
    """Listens on a port of its own while it is entered. `answers` go out in order; then there is silence."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = deque(answers)
        self.requests: list[Request] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        host, port = self._listener.getsockname()
        self.url = f"http://{host}:{port}"

    def __enter__(self) -> "HTTPBroker":
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for connection in self._open:
            _hang_up(connection)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, self.connections))
            self._threads.append(thread)
            self.connections += 1
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, connection.makefile("rb") as stream:
            while request_line := stream.readline():
                method, target, _ = request_line.decode("latin-1").split()
                headers = {}
                while (line := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                self.requests.append(Request(method, target, headers, body, number))
                if self.answers:
                    answer = self.answers.popleft()
                    connection.sendall(answer.encode())
                    if answer.hangs_up:
                        return


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be closed already
        connection.shutdown(socket.SHUT_RDWR)
