"""TCP connections on which a test says exactly what it likes."""

import http.client
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

__all__ = ["Answer", "Raw", "exchange", "handshake"]

LIMIT_S: Final = 15.0


@dataclass(frozen=True)
class Answer:
    """An answer as http.client reads it; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Raw:
    """One connection."""

    def __init__(self, port: int, *, receive_buffer_bytes: int | None = None) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(LIMIT_S)
        if receive_buffer_bytes is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            self.sock.connect(("127.0.0.1", port))
        except OSError:
            self.close()
            raise

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def end(self) -> None:
        """Say that there is no more to come."""
        self.sock.shutdown(socket.SHUT_WR)

    def answer(self, method: str = "GET") -> Answer:
        """Read one answer."""
        response = http.client.HTTPResponse(self.sock, method=method)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        body = b"" if response.status == 101 else response.read()
        return Answer(response.status, headers, body)

    def read(self, size: int = 65536) -> bytes:
        """Return what comes next; nothing at the end, however that came."""
        try:
            return self.sock.recv(size)
        except ConnectionError:
            return b""

    def read_all(self) -> bytes:
        """Return all that comes until the end."""
        parts = []
        while part := self.read():
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def exchange(port: int, request: bytes, method: str = "GET") -> Answer:
    """Send a request as it stands, and return the answer."""
    with Raw(port) as raw:
        raw.send(request)
        return raw.answer(method)


def handshake(target: str = "/ws", *fields: str) -> bytes:
    """Return the request that opens a WebSocket (RFC 6455 4.1)."""
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *fields,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
