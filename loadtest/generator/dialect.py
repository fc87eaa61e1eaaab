"""What a dialect is: all that the load has to know of a protocol, and what WebSocket clients send.

A dialect gives the bytes that open a subscription, and how to know that it is open; the bytes of a
publication; and what a server puts around messages that differs from subscriber to subscriber. The rest of
the generator looks for messages in whatever comes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final

from websockets.speedups import apply_mask

from loadtest.generator.checks import PING

__all__ = ["BINARY", "Dialect", "Opening", "Step", "masked_frame", "websocket"]

MASK: Final = b"\x01\x02\x03\x04"
END_OF_HEAD: Final = b"\r\n\r\n"
TEXT: Final = 0x81
BINARY: Final = 0x82


@dataclass(frozen=True)
class Step:
    """Send this, then wait until these have come, one behind the other."""

    send: bytes
    until: tuple[bytes, ...]


Opening = list[Step]


class Dialect(ABC):
    """One protocol. `framing` says what has to be taken off before subscribers can be compared.

    `same` is nothing: the bytes are the same for all. `chunked` is the chunks of HTTP/1.1, `frames` the
    headers of WebSocket frames that hold several messages. `pong` is what answers a `ping`.
    """

    framing: ClassVar[str] = "same"
    ping: ClassVar[bytes] = PING
    pong: bytes = bytes((0x8A, 0x80)) + MASK

    @abstractmethod
    def subscribing(self, filters: list[str], query: str) -> Opening:
        """Return how a connection subscribes to all of `filters`. `query` is for the server alone."""

    @abstractmethod
    def publishing(self) -> Opening:
        """Return how a connection begins that will publish."""

    @abstractmethod
    def publication(self, topic: str, payload: bytes) -> bytes:
        """Return the bytes that publish."""


def websocket(path: str, *until: bytes, subprotocol: str = "") -> Step:
    """Return the handshake (RFC 6455 4.1), over when its answer, and then `until`, have come."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    if subprotocol:
        head += f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    return Step(f"{head}\r\n".encode(), (END_OF_HEAD, *until))


def masked_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return one frame of less than 64 KiB, as clients send it."""
    size = len(payload)
    head = bytes((opcode, 0x80 | size)) if size < 126 else bytes((opcode, 0xFE)) + size.to_bytes(2, "big")
    return head + MASK + apply_mask(payload, MASK)
