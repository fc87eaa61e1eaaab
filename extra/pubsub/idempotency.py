"""Publishing once: what is remembered of messages that were published with an idempotency key.

The broker holds these by `digest`, in the order in which they were remembered, for as long as its limits say.
"""

from hashlib import blake2b
from typing import final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand
from extra.pubsub.arguments import KEY_LIMIT_BYTES
from extra.pubsub.message import Message, Receipt

__all__ = ["KEY_LIMIT_BYTES", "Remembered", "Run", "digest"]


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
