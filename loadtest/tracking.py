"""Whether readers that come and go get every message, once and in order: the books of the locust scenarios.

A publisher has a room, a topic of its own, and numbers what it publishes there from 0. A reader follows rooms
over any number of connections and any face. Whatever happens in between, the numbers of a room go up by one;
the first one is no later than what was on its way when the subscription was confirmed; and when all is over
the reader has the last one. A gap that the broker tells of is a loss like any other here: nobody stays away
for longer than the log keeps messages.

Only the locust process knows these books, so it has to be one process.
"""

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Ledger", "Reader"]


@dataclass
class Ledger:
    """What was published, and what went wrong. `faults` has the first case first."""

    sent: Counter[str] = field(default_factory=Counter)
    confirmed: Counter[str] = field(default_factory=Counter)
    readers: list["Reader"] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    delivered: int = 0
    returns: int = 0

    def next_number(self, room: str) -> int:
        """Return the number of the next message of a room, which is about to be published."""
        number = self.sent[room]
        self.sent[room] += 1
        return number

    def confirm(self, room: str) -> None:
        """Note that the broker has taken the next message of a room."""
        self.confirmed[room] += 1

    def fault(self, text: str) -> None:
        """Note that something went wrong."""
        self.faults.append(text)

    def close(self) -> None:
        """Look for readers that lack what was confirmed. Nothing may come any more."""
        for reader in self.readers:
            for room in reader.rooms:
                if (fault := reader.lacks(room)) is not None:
                    self.fault(fault)

    def verdict(self) -> str:
        """Return one line: whether it passed, and the first case if not."""
        published = sum(self.confirmed.values())
        counts = f"{published} published, {self.delivered} delivered, {self.returns} resumed"
        if self.faults:
            return f"FAIL: {counts}, {len(self.faults)} faults, the first: {self.faults[0]}"
        if not published or not self.delivered:
            return f"FAIL: {counts}: nothing was tested"
        return f"PASS: {counts}, nothing lost, doubled or reordered"


class Reader:
    """One reader, over all of its connections."""

    def __init__(self, name: str, ledger: Ledger, rooms: list[str]) -> None:
        self.name = name
        self.ledger = ledger
        self.rooms = rooms
        self._next: dict[str, int] = {}
        self._latest_first: dict[str, int] | None = None
        ledger.readers.append(self)

    def subscribed(self) -> None:
        """Note that the broker has confirmed the subscription; what is published from now on must come."""
        if self._latest_first is None:
            self._latest_first = {room: self.ledger.sent[room] for room in self.rooms}
        else:
            self.ledger.returns += 1

    def take(self, room: str, number: int) -> None:
        """Note a message."""
        self.ledger.delivered += 1
        expected = self._next.get(room)
        if expected is None:
            latest = (self._latest_first or {}).get(room)
            if latest is not None and number > latest:
                self._complain(room, f"message {number} first, {latest} or an earlier one is lost")
        elif number > expected:
            self._complain(room, f"message {number} where {expected} should come: lost or reordered")
        elif number < expected:
            self._complain(room, f"message {number} where {expected} should come: doubled or reordered")
        self._next[room] = number + 1

    def gap(self, text: str) -> None:
        """Note that the broker told of a loss."""
        self.ledger.fault(f"{self.name} was told of a loss: {text}")

    def lacks(self, room: str) -> str | None:
        """Return what is missing at the end, None when nothing is."""
        if self._latest_first is None:
            return f"{self.name} never was subscribed"
        reached = self._next.get(room, self._latest_first[room])
        confirmed = self.ledger.confirmed[room]
        if reached < confirmed:
            return f"{self.name} has the messages of {room} up to {reached}, there are {confirmed}: lost"
        return None

    def _complain(self, room: str, text: str) -> None:
        self.ledger.fault(f"{self.name}, {room}: {text}")
