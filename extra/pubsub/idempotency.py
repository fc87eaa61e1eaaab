"""Publishing once: what is remembered of messages that were published with an idempotency key.

Keys stand by their `digest`, in the order in which they were remembered. While a message with a key is being
published the key is under way, and whoever comes with the same waits for what becomes of it.
"""

import asyncio
from collections import OrderedDict
from hashlib import blake2b
from typing import final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand
from extra.pubsub.arguments import KEY_LIMIT_BYTES
from extra.pubsub.clock import Clock
from extra.pubsub.message import Message, Receipt
from extra.pubsub.position import format_cursor

__all__ = ["KEY_LIMIT_BYTES", "Keys", "Remembered", "Run", "digest"]


@final
@mypyc_attr(native_class=True)
class Remembered:
    """A receipt without its topic, and when it was made."""

    __slots__ = ("cursor", "made_at", "offset", "subscribers")

    def __init__(self, made_at: float, offset: int, cursor: str, subscribers: int) -> None:
        self.made_at = made_at
        self.offset = offset
        self.cursor = cursor
        self.subscribers = subscribers

    def receipt(self, topic: str) -> Receipt:
        return Receipt(topic, self.offset, self.cursor, self.subscribers)


@final
@mypyc_attr(native_class=True)
class Keys:
    """The keys of one broker: those that count, for `window_s` seconds, and those that are under way."""

    def __init__(self, clock: Clock, limit: int, window_s: float) -> None:
        self.clock = clock
        self.limit = limit
        self.window_s = window_s
        self.receipts: OrderedDict[bytes, Remembered] = OrderedDict()
        self.underway: dict[bytes, asyncio.Event] = {}

    def __len__(self) -> int:
        return len(self.receipts)

    def restore(self, kept: list[tuple[bytes, int, float]], epoch: str) -> None:
        """Take in keys from before the start, as the engine has them."""
        for name, offset, made_at in kept:
            self._put(name, Remembered(made_at, offset, format_cursor(epoch, offset), 0))

    def recall(self, name: bytes) -> Remembered | None:
        """Return what is remembered of a key that still counts."""
        remembered = self.receipts.get(name)
        if remembered is not None and remembered.made_at > self._horizon():
            return remembered
        return None

    def remember(self, name: bytes, message: Message, subscribers: int) -> None:
        """Remember a message that has its place."""
        self._put(name, Remembered(self.clock.now(), message.offset, message.cursor, subscribers))

    def forget(self) -> None:
        """Let go of those that no longer count."""
        horizon = self._horizon()
        while self.receipts and next(iter(self.receipts.values())).made_at <= horizon:
            self.receipts.popitem(last=False)

    def begin(self, name: bytes) -> None:
        """Note that a message with this key is under way, until `settle` or `end`."""
        self.underway[name] = asyncio.Event()

    def settle(self, message: Message, name: bytes, subscribers: int) -> None:
        """Remember what became of a message with a key, and let go on who waits for that."""
        if message.offset != 0:
            self.remember(name, message, subscribers)
        self.end(name)

    def end(self, name: bytes) -> None:
        """Let go on who waits for a key that was under way."""
        self.underway.pop(name).set()

    def _put(self, name: bytes, remembered: Remembered) -> None:
        self.receipts[name] = remembered
        self.receipts.move_to_end(name)
        while len(self.receipts) > self.limit:
            self.receipts.popitem(last=False)

    def _horizon(self) -> float:
        """Return the time before which keys are forgotten."""
        return self.clock.now() - self.window_s


@final
@mypyc_attr(native_class=True)
class Run:
    """Messages that are appended together, with their keys and where in the batch they stand.

    `size` is the sum of the messages' sizes, in bytes.
    """

    __slots__ = ("indices", "messages", "names", "size", "subscribers")

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.messages: list[Message] = []
        self.names: list[bytes] = []
        self.subscribers: list[int] = []
        self.size = 0

    def add(self, index: int, message: Message, name: bytes) -> None:
        self.indices.append(index)
        self.messages.append(message)
        self.names.append(name)
        self.subscribers.append(0)
        self.size += message.size

    def clear(self) -> None:
        self.indices = []
        self.messages = []
        self.names = []
        self.subscribers = []
        self.size = 0


def digest(topic: str, key: str) -> bytes:
    """Return what stands for a topic and a key: of the same length, however long they are."""
    encoded = key.encode(errors="surrogatepass")
    if not 0 < len(encoded) <= KEY_LIMIT_BYTES:
        raise InvalidCommand(f"key of {len(encoded)} bytes: it has 1 to {KEY_LIMIT_BYTES}")
    return blake2b(topic.encode() + b"\0" + encoded, digest_size=16).digest()
