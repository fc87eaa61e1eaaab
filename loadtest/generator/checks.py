"""Whether every subscriber gets every message, once and in order.

A server that encodes once sends the same bytes to all. So the subscribers of one topic share a `Transcript`:
the bytes of whoever is ahead. Those are searched for messages, whose numbers have to follow one another; what
the others get is compared to it, byte for byte. That costs one memcmp per read and misses nothing, where
counting would take a doubled message for the lost one that it hides, and parsing would cost more than all the
rest of the generator. Subscribers that get different messages have a `Sequence` each.

`Mismatch` tells the first case: who, which message, and what came in its place.
"""

from collections.abc import Callable
from typing import Final

from loadtest.generator.payloads import BEGUN, FIRST, MESSAGE

__all__ = ["PING", "Mismatch", "Sequence", "Transcript"]

PING: Final = b"\x89\x00"
"""An empty ping of RFC 6455. No length of a frame with text in it looks like that."""

SHOWN_BYTES: Final = 120


class Mismatch(Exception):
    """A message was lost, doubled or reordered, or something came that nobody asked for."""


class Transcript:
    """What everybody on one topic gets, as bytes and as messages.

    `ends[n]` is where the n-th message ends among the bytes, `due[n]` when it was due (monotonic seconds).
    The first one has the number `first`. A `ping` between messages is answered, and no part of it.
    """

    def __init__(self, first: int = 0, ping: bytes = PING) -> None:
        self.first = first
        self.ping = ping
        self.log = bytearray()
        self.ends: list[int] = []
        self.due: list[float] = []
        self._searched = 0

    def follow(self, position: int, data: memoryview, who: str, pong: Callable[[], object]) -> int:
        """Return the position after `data`, which a subscriber at `position` has received.

        Raises:
            Mismatch: it is not what the others got, or not what should come next.
        """
        if self.log.startswith(data, position):  # of a memoryview: no copy, one memcmp
            return position + len(data)
        rest = bytes(data)
        while rest:
            known = len(self.log) - position
            if known > 0 and self.log.startswith(rest[:known], position):
                position += min(known, len(rest))
                rest = rest[known:]
            elif known > 0:
                same = _common(self.log, position, rest)
                position += same
                rest = rest[same:]
                if not rest.startswith(self.ping):
                    raise Mismatch(self._difference(position, rest, who))
                rest = rest.removeprefix(self.ping)
                pong()
            else:
                ahead, ping, rest = rest.partition(self.ping)
                self._extend(ahead, who)
                position += len(ahead)
                if ping:
                    pong()
        return position

    def behind_messages(self) -> bytes:
        """Return what came behind the last message."""
        return bytes(self.log[self._searched :][:SHOWN_BYTES])

    def _extend(self, data: bytes, who: str) -> None:
        self.log += data
        start = self._searched
        for found in MESSAGE.finditer(bytes(self.log[start:])):
            number = int(found[1]) - FIRST
            expected = self.first + len(self.ends)
            if number != expected:
                raise Mismatch(_misplaced(who, number, expected))
            self.ends.append(start + found.end())
            self.due.append(float(found[2]))
            self._searched = start + found.end()

    def _difference(self, position: int, rest: bytes, who: str) -> str:
        """Say what `rest` holds instead of the bytes at `position`, by number where it holds a message."""
        count = sum(end <= position for end in self.ends)
        begun = self.ends[count - 1] if count else 0
        expected = self.first + count
        seen = BEGUN.search(bytes(self.log[begun:position]) + rest)
        if seen is not None and int(seen[1]) - FIRST != expected:
            return _misplaced(who, int(seen[1]) - FIRST, expected)
        shown = bytes(self.log[position : position + SHOWN_BYTES])
        return f"{who} got {rest[:SHOWN_BYTES]!r} where others got {shown!r}"


class Sequence:
    """What one subscriber gets whose messages are its own: `expected` are their numbers, in order."""

    def __init__(self, expected: list[int], ping: bytes = PING) -> None:
        self.expected = expected
        self.ping = ping
        self.count = 0
        self.due: list[float] = []
        self._tail = b""

    def take(self, data: memoryview, who: str, pong: Callable[[], object]) -> None:
        """Search what was received. Raises Mismatch."""
        received = self._tail + data
        if self.ping in received:
            received = received.replace(self.ping, b"")
            pong()
        end = 0
        for found in MESSAGE.finditer(received):
            number = int(found[1]) - FIRST
            if self.count >= len(self.expected):
                raise Mismatch(f"{who} got message {number}, which is one too many")
            if number != self.expected[self.count]:
                raise Mismatch(_misplaced(who, number, self.expected[self.count]))
            self.count += 1
            self.due.append(float(found[2]))
            end = found.end()
        self._tail = received[end:]


def _misplaced(who: str, number: int, expected: int) -> str:
    """Name the case: a message that is behind has come before, or has been overtaken."""
    if number < expected:
        return f"{who} got message {number} where {expected} should come: doubled or reordered"
    return f"{who} got message {number} where {expected} should come: lost or reordered"


def _common(log: bytearray, position: int, data: bytes) -> int:
    """Return how many bytes at the front of `data` are those of the log at `position`."""
    low, high = 0, len(data)
    while low < high:
        middle = (low + high + 1) // 2
        if log.startswith(data[:middle], position):
            low = middle
        else:
            high = middle - 1
    return low
