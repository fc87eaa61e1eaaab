"""What waits to be sent to one subscriber: bounded in bytes, in order, with a policy for when it is full.

How it works. Entries are messages, gaps, and control frames (answers of the endpoint, already bytes), in the
order in which they are to go out. The bound counts what the messages take on the wire (in process: their
size). An outbox that is empty takes any message, so the bound is "so many bytes, or one message". Past the
bound

- `disconnect` refuses: `put` returns False, and the owner ends the connection or goes back to the log;
- `drop-oldest` drops from the front, and a gap goes out before what follows;
- `latest` keeps the newest message of each topic: from the first overflow until the outbox is next empty,
  `newest` takes the place of `entries`, so that replacing a message costs one step. There a message stands
  under its topic, anything else under a number of its own; `topics` has the former alone, in the same order.

Dropping from the front steps over control frames once, not each time: no message stands before
`messages_from`.

A message that waits alone, as nearly all do, stands in `lone`, and moves to `entries` when anything joins it:
then a delivery touches the first fields here and not the list, its buffer and the rest, each of which the
kernel has driven from the processor's cache since the last one.

Dropped messages are merged into one pending gap, which goes out first. Control frames are never dropped.

What expires while it waits is let go of by `let_go`, which whoever takes calls before: it is no loss, and no
gap tells of it. The last message of a topic stays, as its end comes with it.

Invariants between calls: `size` is the sum over the messages held, `control_size` over the control frames;
`newest` is None unless it holds everything; while there is a `lone` nothing else waits; `is_empty` says that
nothing does; a pending gap implies that at least one message has been dropped
since the last one was taken; nothing that waits expires before `expires_at`, or at all while that is 0.0.
"""

from collections import OrderedDict
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand
from extra.pubsub.message import Gap, Message, WireForm

__all__ = ["DISCONNECT", "DROP_OLDEST", "LATEST", "OVERFLOW_POLICIES", "Outbox", "parse_overflow"]

DISCONNECT: Final = 0
DROP_OLDEST: Final = 1
LATEST: Final = 2

OVERFLOW_POLICIES: Final[dict[str, int]] = {
    "disconnect": DISCONNECT,
    "drop-oldest": DROP_OLDEST,
    "latest": LATEST,
}


@final
@mypyc_attr(native_class=True)
class Outbox:
    """The entries that wait for one subscriber.

    With a `form`, `take_bytes` gives what goes on the wire; without, `take` gives messages and gaps one by
    one. `taken` is the highest offset that has been taken, `dropped` how many messages never will be.
    """

    __slots__ = (
        "control_number",
        "control_size",
        "dropped",
        "entries",
        "expires_at",
        "first",
        "form",
        "gap",
        "is_empty",
        "limit_bytes",
        "lone",
        "messages_from",
        "newest",
        "overflow",
        "size",
        "taken",
        "topics",
    )

    def __init__(self, form: WireForm | None, limit_bytes: int, overflow: int = DISCONNECT) -> None:
        # What nearly every delivery touches comes first: a cache line.
        self.lone: Message | None = None
        self.is_empty = True
        self.form = form
        self.size = 0
        self.taken = 0
        self.expires_at = 0.0
        # The rest.
        self.limit_bytes = limit_bytes
        self.overflow = overflow
        self.control_size = 0
        self.control_number = 0
        self.dropped = 0
        self.first = 0
        self.messages_from = 0
        self.entries: list[object] = []
        self.newest: OrderedDict[object, object] | None = None
        self.topics: OrderedDict[str, None] | None = None
        self.gap: Gap | None = None

    def __len__(self) -> int:
        if self.is_empty:
            return 0
        if self.lone is not None:
            return 1
        waiting = len(self.entries) - self.first if self.newest is None else len(self.newest)
        return waiting + (1 if self.gap is not None else 0)

    def fits(self, message: Message) -> bool:
        """Return whether a message can be added without that anything is refused or dropped."""
        if self.is_empty:
            return True
        form = self.form
        size = len(message.frame(form)) if form is not None else message.size
        return self.size + size <= self.limit_bytes or self.size == 0

    def put(self, message: Message) -> bool:
        """Add a message. False when it does not fit and the policy is `disconnect`: nothing has changed then.

        Cost: constant; the first overflow under `latest` takes one step per entry.
        """
        form = self.form
        size = len(message.frame(form)) if form is not None else message.size
        if self.is_empty:
            self.is_empty = False
            self.lone = message
            self.size = size
            self.expires_at = message.expires_at
            return True
        if self.size + size > self.limit_bytes and self.size > 0:
            if self.overflow == DISCONNECT:
                return False
            self._make_room(message.topic, size)
        self._add(message, size)
        return True

    def append(self, message: Message) -> None:
        """Add a message whatever the bound says: one of a page of the log, put when there was room."""
        form = self.form
        self._add(message, len(message.frame(form)) if form is not None else message.size)

    def put_gap(self, gap: Gap) -> None:
        """Add a gap, to go out between the entries before and after it."""
        self._put_control(gap)

    def put_control(self, frame: bytes) -> None:
        """Add a frame of the endpoint's own.

        They count in `control_size`; the caller bounds them, by not asking for more.
        """
        self.control_size += len(frame)
        self._put_control(frame)

    def take_bytes(self, chunk_bytes: int) -> bytes:
        """Take entries until they make up `chunk_bytes` or none is left, and return their frames joined.

        A single frame is returned as it is: the same bytes for all subscribers. Empty when nothing waits.
        """
        form = self.form
        assert form is not None, "an outbox without a form has no bytes"
        lone = self.lone
        if lone is not None:
            self._take_lone(lone)
            return lone.frame(form)
        frames: list[bytes] = []
        total = 0
        while total < chunk_bytes:
            entry = self._next()
            if entry is None:
                break
            if isinstance(entry, Message):
                frame = entry.frame(form)
                self.size -= len(frame)
            elif isinstance(entry, Gap):
                frame = form.encode_gap(entry)
            else:
                assert isinstance(entry, bytes)
                frame = entry
                self.control_size -= len(frame)
            frames.append(frame)
            total += len(frame)
        return b"".join(frames) if len(frames) != 1 else frames[0]

    def take(self) -> Message | Gap | None:
        """Take the next message or gap; None when nothing waits. Cost: constant."""
        lone = self.lone
        if lone is not None:
            self._take_lone(lone)
            return lone
        entry = self._next()
        if entry is None:
            return None
        if isinstance(entry, Message):
            self.size -= entry.size
            return entry
        assert isinstance(entry, Gap), "control frames need a form"
        return entry

    def let_go(self, time: float) -> bool:
        """Let go of messages that have expired by `time`, in Unix seconds; return whether there were any.

        Cost: constant as long as nothing expires; then a step per entry.
        """
        if self.expires_at == 0.0 or self.expires_at > time:
            return False
        self.expires_at = 0.0
        self._join()
        size = self.size
        if self.newest is None:
            self.entries = [
                entry
                for entry in self.entries[self.first :]
                if not isinstance(entry, Message) or not self._has_let_go(entry, time)
            ]
            self.first = 0
            self.messages_from = 0
        else:
            assert self.topics is not None
            for topic in list(self.topics):
                message = self.newest[topic]
                assert isinstance(message, Message)
                if self._has_let_go(message, time):
                    del self.newest[topic]
                    del self.topics[topic]
            if not self.newest:
                self.newest = None
                self.topics = None
        self.is_empty = len(self) == 0
        return self.size < size

    def lowest(self) -> int:
        """Return the lowest offset that waits, of a message or of what a gap tells; 0 when there is none.

        -1 when a gap waits that tells of a new epoch. Cost: one step per entry.
        """
        if self.lone is not None:
            return self.lone.offset
        lowest = 0
        waiting = list(self.newest.values()) if self.newest is not None else self.entries[self.first :]
        if self.gap is not None:
            waiting.append(self.gap)
        for entry in waiting:
            offset = 0
            if isinstance(entry, Message):
                offset = entry.offset
            elif isinstance(entry, Gap):
                if entry.after is None:
                    return -1
                offset = entry.after + 1
            if offset > 0 and (lowest == 0 or offset < lowest):
                lowest = offset
        return lowest

    def clear(self) -> None:
        """Drop everything, uncounted: the caller has told, or the subscriber is gone."""
        self.lone = None
        self.is_empty = True
        self.entries = []
        self.first = 0
        self.messages_from = 0
        self.newest = None
        self.topics = None
        self.gap = None
        self.size = 0
        self.control_size = 0

    def _add(self, message: Message, size: int) -> None:
        """Add a message behind what waits, if anything does."""
        self._join()
        self._note_expiry(message)
        if self.newest is None:
            self.entries.append(message)
            self.size += size
        else:
            self._replace(message, size)

    def _note_expiry(self, message: Message) -> None:
        if message.expires_at != 0.0 and (self.expires_at == 0.0 or message.expires_at < self.expires_at):
            self.expires_at = message.expires_at

    def _has_let_go(self, message: Message, time: float) -> bool:
        """Count a message out, if it has expired; return whether it has."""
        if message.close is True:
            return False
        if not message.is_expired(time):
            self._note_expiry(message)
            return False
        form = self.form
        self.size -= len(message.frame(form)) if form is not None else message.size
        return True

    def _join(self) -> None:
        """Make ready for an entry behind what waits, if anything does."""
        self.is_empty = False
        if self.lone is not None:
            self.entries.append(self.lone)
            self.lone = None

    def _take_lone(self, lone: Message) -> None:
        self.lone = None
        self.is_empty = True
        self.size = 0
        if lone.offset > self.taken:
            self.taken = lone.offset

    def _put_control(self, entry: object) -> None:
        self._join()
        if self.newest is None:
            self.entries.append(entry)
        else:
            self.control_number += 1
            self.newest[self.control_number] = entry

    def _next(self) -> object | None:
        """Take the first of what waits, which is no lone message; None when nothing does."""
        gap = self.gap
        if gap is not None:
            self.gap = None
            self.is_empty = len(self) == 0
            return gap
        newest = self.newest
        if newest is not None:
            topics = self.topics
            assert topics is not None
            key, entry = newest.popitem(last=False)
            if isinstance(key, str):
                del topics[key]
            if not newest:
                self.newest = None
                self.topics = None
        else:
            if self.first == len(self.entries):
                return None
            entry = self.entries[self.first]
            self.entries[self.first] = None
            self.first += 1
            self._cut()
        self.is_empty = len(self) == 0
        if isinstance(entry, Message):
            self.taken = max(self.taken, entry.offset)
        return entry

    def _cut(self) -> None:
        if self.first == len(self.entries):
            self.entries.clear()
            self.messages_from = 0
            self.first = 0
        elif self.first > 64 and self.first * 2 > len(self.entries):
            del self.entries[: self.first]
            self.messages_from = max(self.messages_from - self.first, 0)
            self.first = 0

    def _make_room(self, topic: str, size: int) -> None:
        """Drop what the policy drops until `size` bytes of `topic` fit, or no message is left."""
        self._join()
        if self.overflow == LATEST:
            if self.newest is None:
                self._conflate()
            assert self.newest is not None
            assert self.topics is not None
            former = self.newest.pop(topic, None)
            if isinstance(former, Message):
                del self.topics[topic]
                self._drop(former)
        while self.size > 0 and self.size + size > self.limit_bytes:
            self._drop_first()

    def _replace(self, message: Message, size: int) -> None:
        newest = self.newest
        topics = self.topics
        assert newest is not None
        assert topics is not None
        self.size += size
        former = newest.get(message.topic)
        if isinstance(former, Message):
            if former.offset > message.offset:  # a replay brings what is older
                self._drop(message)
                return
            del newest[message.topic]
            del topics[message.topic]
            self._drop(former)
        newest[message.topic] = message
        topics[message.topic] = None

    def _conflate(self) -> None:
        form = self.form
        entries = self.entries[self.first :]
        self.entries = []
        self.first = 0
        self.messages_from = 0
        self.newest = OrderedDict()
        self.topics = OrderedDict()
        for entry in entries:
            if isinstance(entry, Message):
                size = len(entry.frame(form)) if form is not None else entry.size
                self.size -= size
                self._replace(entry, size)
            elif entry is not None:
                self._put_control(entry)

    def _drop_first(self) -> None:
        """Drop the first message, stepping over control frames and gaps."""
        newest = self.newest
        if newest is not None:
            topics = self.topics
            assert topics is not None
            topic, _ = topics.popitem(last=False)
            oldest = newest.pop(topic)
            assert isinstance(oldest, Message)
            self._drop(oldest)
            return
        for index in range(max(self.first, self.messages_from), len(self.entries)):
            entry = self.entries[index]
            if isinstance(entry, Message):
                self.messages_from = index
                if index == self.first:
                    self.entries[index] = None
                    self.first += 1
                    self._cut()
                else:
                    del self.entries[index]
                self._drop(entry)
                return

    def _drop(self, message: Message) -> None:
        form = self.form
        self.size -= len(message.frame(form)) if form is not None else message.size
        self.dropped += 1
        gap = self.gap
        if gap is None or gap.after is None:
            self.gap = Gap(message.offset - 1, message.offset, "overflow", 1)
        else:
            gap.after = min(gap.after, message.offset - 1)
            gap.until = max(gap.until, message.offset)
            gap.dropped += 1


def parse_overflow(name: str) -> int:
    """Return the overflow policy of this name. Raises InvalidCommand."""
    policy = OVERFLOW_POLICIES.get(name)
    if policy is None:
        raise InvalidCommand(f"overflow {name[:80]!r}: one of {', '.join(OVERFLOW_POLICIES)}")
    return policy
