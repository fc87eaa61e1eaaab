"""What to say to a server to subscribe and to publish: the only part of the load that knows protocols.

A dialect gives the bytes that open a subscription, and how to know that it is open; the bytes of a
publication; and what a server puts around messages that differs from subscriber to subscriber. The rest of
the generator looks for messages in whatever comes.
"""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Final
from urllib.parse import quote

from websockets.speedups import apply_mask

__all__ = ["DIALECTS", "Dialect", "Opening", "Step", "masked_frame"]

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
    headers of WebSocket frames that hold several messages.
    """

    framing: ClassVar[str] = "same"

    @abstractmethod
    def subscribing(self, filters: list[str], query: str) -> Opening:
        """Return how a connection subscribes to all of `filters`. `query` is for the server alone."""

    @abstractmethod
    def publishing(self) -> Opening:
        """Return how a connection begins that will publish."""

    @abstractmethod
    def publication(self, topic: str, payload: bytes) -> bytes:
        """Return the bytes that publish."""


class Raw(Dialect):
    """WebSockets whose data frames are payloads: our own servers, and nchan."""

    def subscribing(self, filters: list[str], query: str) -> Opening:
        return [websocket("/" if filters == ["bench"] else f"/to/{filters[0]}")]

    def publishing(self) -> Opening:
        return [websocket("/publish")]

    def publication(self, topic: str, payload: bytes) -> bytes:
        return masked_frame(payload)


class Addressed(Raw):
    """The floor with names: see its module."""

    def subscribing(self, filters: list[str], query: str) -> Opening:
        return [websocket("/" if any("#" in each for each in filters) else f"/to/{filters[0]}")]

    def publishing(self) -> Opening:
        return [websocket("/publish/to")]

    def publication(self, topic: str, payload: bytes) -> bytes:
        return masked_frame(topic.encode() + b" " + payload)


class Extra(Dialect):
    """extra-broker over WebSocket, `extra.v1.json`."""

    def subscribing(self, filters: list[str], query: str) -> Opening:
        if len(filters) == 1:
            # what is replayed comes before `subscribed`, and is checked like the rest
            opened = b'"op":"welcome"' if "since=" in query else b'"op":"subscribed"'
            return [websocket(f"/t/{in_url(filters[0])}?{query}", opened, b"}")]
        command = json.dumps({"op": "subscribe", "filter": filters}).encode()
        return [self.publishing()[0], Step(masked_frame(command), (b'"op":"subscribed"', b"}"))]

    def publishing(self) -> Opening:
        return [websocket("/ws", b'"op":"welcome"', b"}")]

    def publication(self, topic: str, payload: bytes) -> bytes:
        return masked_frame(b'{"op":"publish","topic":"%b","data":%b}' % (topic.encode(), payload))


class ExtraEvents(Extra):
    """extra-broker over Server-Sent Events; published is over WebSocket."""

    def subscribing(self, filters: list[str], query: str) -> Opening:
        topics = "&".join("topic=" + quote(each, safe="") for each in filters)
        path = f"/sse?{topics}&{query}"
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        return [Step(head.encode(), (END_OF_HEAD, b"\nid: ", b"\n\n"))]


DIALECTS: Final[dict[str, Dialect]] = {
    "raw": Raw(),
    "addressed": Addressed(),
    "extra": Extra(),
    "extra-sse": ExtraEvents(),
}


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


def in_url(topic_filter: str) -> str:
    """Return a filter as it stands in a URL, where `#` cannot."""
    return quote(topic_filter.replace("+", "*").replace("#", "**"), safe="/*")
