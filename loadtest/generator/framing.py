"""Takes off what a protocol puts between messages and what depends on how writes were put together.

Behind it the streams of all subscribers to a topic are the same bytes. One object per subscriber.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

__all__ = ["FRAMINGS", "Chunks", "Frames", "Framing"]

PING: Final = 0x9
CLOSE: Final = 0x8


class Framing(ABC):
    """Remembers what is left of the piece that has begun, and a head that is not complete."""

    def __init__(self) -> None:
        self._left = 0
        self._head = b""

    def strip(self, data: memoryview, pong: Callable[[], object]) -> list[memoryview]:
        """Return the parts of `data` that are content."""
        parts: list[memoryview] = []
        if self._head:
            data = memoryview(self._head + data)
            self._head = b""
        while data:
            if self._left:
                part = data[: self._left]
                self._left -= len(part)
                parts.append(part)
                data = data[len(part) :]
                continue
            used = self.begin(data, pong)
            if used == 0:
                self._head = bytes(data)
                break
            data = data[used:]
        return parts

    @abstractmethod
    def begin(self, data: memoryview, pong: Callable[[], object]) -> int:
        """Read the head of a piece, set `_left`, and return the length of the head: 0 if incomplete."""


class Chunks(Framing):
    """Chunked transfer coding (RFC 9112 7.1)."""

    def begin(self, data: memoryview, pong: Callable[[], object]) -> int:
        head = bytes(data[:20])
        start = 2 if head.startswith(b"\r\n") else 0  # behind the chunk before
        end = head.find(b"\r\n", start)
        if end < 0:
            return 0
        self._left = int(head[start:end], 16)
        return end + 2


class Frames(Framing):
    """Unmasked WebSocket frames (RFC 6455 5.2). A ping is answered, any other control frame dropped."""

    def begin(self, data: memoryview, pong: Callable[[], object]) -> int:
        if len(data) < 2 or len(data) < (used := {126: 4, 127: 10}.get(data[1], 2)):
            return 0
        length = int.from_bytes(data[2:used], "big") if used > 2 else data[1]
        opcode = data[0] & 0xF
        if opcode < CLOSE:
            self._left = length
            return used
        if len(data) < used + length:
            return 0
        if opcode == PING:
            pong()
        return used + length


FRAMINGS: Final[dict[str, type[Framing]]] = {"chunked": Chunks, "frames": Frames}
