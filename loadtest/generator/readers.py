"""The kinds of subscribers: who all get the same, who get their own, and who read nothing."""

import re
import socket
import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from typing import Final

from loadtest.generator.checks import Mismatch, Sequence, Transcript
from loadtest.generator.dialect import Dialect
from loadtest.generator.framing import FRAMINGS, Framing
from loadtest.generator.payloads import FIRST, MESSAGE
from loadtest.generator.plan import Group, Plan, picks

__all__ = ["Follower", "Owner", "Stalled", "Subscriber"]

GAP: Final = re.compile(rb'"op":"gap"[^}]*"reason":"overflow"[^}]*"dropped":(\d+)')
GOODBYE: Final = re.compile(rb'"op":"goodbye"[^}]*"reason":"slow"')


class Subscriber(ABC):
    """One connection. `receive` is called with what came once the subscription is open.

    `delays` is a list where latency is to be measured.
    """

    is_stalled = False

    def __init__(self, name: str, dialect: Dialect, group: Group, number: int) -> None:
        self.name = name
        self.steps = dialect.subscribing([each.format(number) for each in group.filters], group.query)
        self.framing: Framing | None = FRAMINGS[dialect.framing]() if dialect.framing in FRAMINGS else None
        self.delays: list[float] | None = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.answer_to_ping = dialect.pong
        self.begun = b""

    def pong(self) -> None:
        self.socket.send(self.answer_to_ping)

    def send_step(self) -> None:
        self.socket.send(self.steps[0].send)

    def open(self, data: memoryview) -> bool:
        """Take a part of the answers to the opening. True when it is over; what follows is received.

        Raises:
            Mismatch: the server refuses.
        """
        self.begun += data
        while self.steps:
            position = 0
            for text in self.steps[0].until:
                found = self.begun.find(text, position)
                if found < 0:
                    if self.begun.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")):
                        raise Mismatch(f"{self.name} was answered {self.begun[:200]!r}")
                    return False
                position = found + len(text)
            self.begun = self.begun[position:]
            del self.steps[0]
            if self.steps:
                self.send_step()
        rest, self.begun = self.begun, b""
        if rest:
            self.receive(memoryview(rest))
        return True

    @abstractmethod
    def receive(self, data: memoryview) -> None:
        """Check what came. Raises Mismatch."""

    def last_words(self) -> str:
        """Return what came last, where that was no message."""
        return ""

    @abstractmethod
    def arrived(self) -> int:
        """Return how many messages have come."""


class Follower(Subscriber):
    """Gets what all in its group get."""

    def __init__(
        self, name: str, dialect: Dialect, group: Group, number: int, transcript: Transcript
    ) -> None:
        super().__init__(name, dialect, group, number)
        self.transcript = transcript
        self.position = 0
        self.seen = 0

    def receive(self, data: memoryview) -> None:
        if self.framing is None:
            self.position = self.transcript.follow(self.position, data, self.name, self.pong)
        else:
            for part in self.framing.strip(data, self.pong):
                self.position = self.transcript.follow(self.position, part, self.name, self.pong)
        if self.delays is not None:
            now = time.monotonic()
            ends = self.transcript.ends
            while self.seen < len(ends) and ends[self.seen] <= self.position:
                self.delays.append(now - self.transcript.due[self.seen])
                self.seen += 1

    def last_words(self) -> str:
        words = self.transcript.behind_messages()
        return f", and was told {words!r}" if words else ""

    def arrived(self) -> int:
        return sum(end <= self.position for end in self.transcript.ends)


class Owner(Subscriber):
    """Gets the messages that are picked for its number, and no others."""

    def __init__(self, name: str, dialect: Dialect, group: Group, number: int, plan: Plan) -> None:
        super().__init__(name, dialect, group, number)
        picked = picks(plan.topics, plan.messages)
        own = [message for message, topic in enumerate(picked) if topic == number]
        self.sequence = Sequence(own, dialect.ping)

    def receive(self, data: memoryview) -> None:
        before = self.sequence.count
        if self.framing is None:
            self.sequence.take(data, self.name, self.pong)
        else:
            for part in self.framing.strip(data, self.pong):
                self.sequence.take(part, self.name, self.pong)
        if self.delays is not None:
            now = time.monotonic()
            self.delays += [now - due for due in self.sequence.due[before:]]

    def arrived(self) -> int:
        return self.sequence.count

    def share(self, count: int) -> int:
        """Return how many of the first `count` messages are for this one."""
        return bisect_left(self.sequence.expected, count)


class Stalled(Subscriber):
    """Reads nothing until it is told to: then it takes what was kept for it, and notes what it is told."""

    is_stalled = True

    def __init__(self, name: str, dialect: Dialect, group: Group, number: int) -> None:
        super().__init__(name, dialect, group, number)
        self.received = 0
        self.dropped = 0
        self.gaps = 0
        self.goodbyes = 0
        self.last = -1
        self._tail = b""

    def receive(self, data: memoryview) -> None:
        received = self._tail + data
        end = 0
        for pattern in (MESSAGE, GAP, GOODBYE):
            for found in pattern.finditer(received):
                end = max(end, found.end())
                if pattern is GAP:
                    self.gaps += 1
                    self.dropped += int(found[1])
                elif pattern is GOODBYE:
                    self.goodbyes += 1
                else:
                    number = int(found[1]) - FIRST
                    if number <= self.last:
                        raise Mismatch(f"{self.name} got message {number} behind {self.last}")
                    self.last = number
                    self.received += 1
        self._tail = received[end:]

    def has_all(self, count: int) -> bool:
        """Return whether it has the last of `count` messages, which no policy drops, or its goodbye."""
        return self.goodbyes > 0 or self.last >= count - 1

    def arrived(self) -> int:
        return self.received
