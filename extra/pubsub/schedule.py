"""Messages that are to be published later: which there are, in what order they come, and how they are kept.

In the order of their times; of two with the same time, the one that was accepted first comes first. Plain
data: nothing here awaits or reads a clock.
"""

import json
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import Final, cast, final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand, LimitExceeded
from extra.payloads import PayloadKind
from extra.pubsub.message import Message

__all__ = ["DELIVER_AT_MOST", "Entry", "Schedule", "Scheduled", "ScheduledPage", "check_deliver_at"]

DELIVER_AT_MOST: Final = 1e11
"""In Unix seconds: some three thousand years."""


@final
@mypyc_attr(native_class=True)
@dataclass
class Scheduled:
    """What is told of a message that is to be published at `deliver_at`, in Unix seconds."""

    id: str
    topic: str
    deliver_at: float
    payload_bytes: int
    retained: bool


@final
@mypyc_attr(native_class=True)
@dataclass
class ScheduledPage:
    """A piece of what is scheduled, in order. `after` is where to go on, empty at the end."""

    messages: list[Scheduled]
    after: str


@final
@mypyc_attr(native_class=True)
class Entry:
    """A message that waits. `name` is the digest of its idempotency key, or empty; `number` is its rank among
    those with the same time.
    """

    __slots__ = ("deliver_at", "id", "message", "name", "number")

    def __init__(self, id: str, message: Message, deliver_at: float, name: bytes, number: int) -> None:
        self.id = id
        self.message = message
        self.deliver_at = deliver_at
        self.name = name
        self.number = number

    def told(self) -> Scheduled:
        """Return what is told of it."""
        message = self.message
        return Scheduled(self.id, message.topic, self.deliver_at, len(message.payload), message.retained)

    def encode(self) -> bytes:
        """Return it as bytes, without its id."""
        message = self.message
        head = {
            "topic": message.topic,
            "kind": message.kind,
            "content_type": message.content_type,
            "headers": message.headers,
            "expires_at": message.expires_at,
            "retained": message.retained,
            "close": message.close,
            "deliver_at": self.deliver_at,
            "name": self.name.hex(),
            "number": self.number,
        }
        return json.dumps(head).encode() + b"\n" + message.payload

    @staticmethod
    def decode(id: str, value: bytes) -> "Entry":
        """Return what `encode` has made bytes of. Raises ValueError when that is not what they are."""
        text, _, payload = value.partition(b"\n")
        try:
            head = json.loads(text)
            message = Message(
                head["topic"],
                payload,
                cast(PayloadKind, head["kind"]),  # written by us
                content_type=head["content_type"],
                headers=head["headers"],
                expires_at=float(head["expires_at"]),
                retained=head["retained"],
                close=head.get("close"),
            )
            deliver_at, number = float(head["deliver_at"]), int(head["number"])
            return Entry(id, message, deliver_at, bytes.fromhex(head["name"]), number)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"scheduled message {id[:80]!r} makes no sense: {error}") from None


@final
@mypyc_attr(native_class=True)
class Schedule:
    """The messages that wait, bounded in number and in bytes. `size` is the sum of their sizes.

    One that has been accepted is in `order`; before that, and while it is being published, only the room is
    taken that it needs.
    """

    def __init__(self, limit_messages: int, limit_bytes: int) -> None:
        self.limit_messages = limit_messages
        self.limit_bytes = limit_bytes
        self.size = 0
        self.count = 0
        self.number = 0
        self.order: list[tuple[float, int, str]] = []
        self.entries: dict[str, Entry] = {}
        self.by_name: dict[bytes, Entry] = {}

    def __len__(self) -> int:
        return self.count

    def enter(self, message: Message) -> int:
        """Take the room that a message needs, and return its rank.

        Raises:
            LimitExceeded: there is none.
        """
        if self.count >= self.limit_messages:
            raise LimitExceeded(
                f"{self.count} messages are scheduled already (broker.scheduled_limit_messages)"
            )
        if self.size + message.size > self.limit_bytes:
            raise LimitExceeded(
                f"scheduled messages would take {self.size + message.size} bytes of {self.limit_bytes}"
                " (broker.scheduled_limit_bytes)"
            )
        self._take(message)
        self.number += 1
        return self.number

    def leave(self, message: Message) -> None:
        """Give back the room of a message."""
        self.count -= 1
        self.size -= message.size

    def restore(self, entry: Entry) -> None:
        """Take in what a former life of the process has left, whatever the limits are by now."""
        self._take(entry.message)
        self.number = max(self.number, entry.number)
        self.put(entry)

    def put(self, entry: Entry) -> None:
        """Let a message that has room wait for its time."""
        self.entries[entry.id] = entry
        if entry.name:
            self.by_name[entry.name] = entry
        insort(self.order, (entry.deliver_at, entry.number, entry.id))

    def take(self, id: str) -> Entry | None:
        """Take a message out that waits; its room stays taken."""
        entry = self.entries.pop(id, None)
        if entry is None:
            return None
        if entry.name:
            del self.by_name[entry.name]
        del self.order[bisect_left(self.order, (entry.deliver_at, entry.number, entry.id))]
        return entry

    def take_due(self, time: float, limit: int) -> list[Entry]:
        """Take out up to `limit` messages whose time has come, in order; their room stays taken."""
        due: list[Entry] = []
        for deliver_at, _, id in self.order[:limit]:
            if deliver_at > time:
                break
            due.append(self.entries.pop(id))
        for entry in due:
            if entry.name:
                del self.by_name[entry.name]
        del self.order[: len(due)]
        return due

    def has_due(self, time: float) -> bool:
        """Return whether the time of any message has come."""
        return bool(self.order) and self.order[0][0] <= time

    def page(self, after: str, limit: int) -> ScheduledPage:
        """Return up to `limit` messages behind where a page has ended.

        Raises:
            InvalidCommand: `after` is not where one has.
        """
        start = 0
        if after:
            at, _, number = after.partition("_")
            try:
                start = bisect_left(self.order, (float.fromhex(at), int(number) + 1, ""))
            except (ValueError, OverflowError):
                raise InvalidCommand(
                    f"after {after[:40]!r}: where a page of what is scheduled ended"
                ) from None
        found = self.order[start : start + limit]
        messages = [self.entries[id].told() for _, _, id in found]
        if start + limit >= len(self.order):
            return ScheduledPage(messages, "")
        deliver_at, rank, _ = found[-1]
        return ScheduledPage(messages, f"{deliver_at.hex()}_{rank}")

    def _take(self, message: Message) -> None:
        self.count += 1
        self.size += message.size


def check_deliver_at(deliver_at: float) -> None:
    """Raise InvalidCommand unless `deliver_at` is a time, in Unix seconds."""
    if not 0 <= deliver_at <= DELIVER_AT_MOST:
        raise InvalidCommand(f"deliver_at {deliver_at!r}: Unix seconds from 0 to {DELIVER_AT_MOST:g}")
