"""Messages, a wire form and a consumer to test with."""

import asyncio

from extra.payloads import PayloadKind
from extra.pubsub import Consumer, FrameCache, Gap, Message, WireForm

__all__ = ["Listener", "NameForm", "a_message", "placed", "settle"]


def a_message(
    topic: str = "a",
    payload: bytes = b"",
    kind: PayloadKind = "binary",
    *,
    expires_at: float = 0.0,
    retained: bool = False,
) -> Message:
    return Message(topic, payload, kind, expires_at=expires_at, retained=retained)


def placed(offset: int, topic: str = "a", payload: bytes = b"") -> Message:
    """Return a message that has its place in a log."""
    message = a_message(topic, payload)
    message.place("e1", offset, 0.0, 0.0)
    return message


class NameForm(WireForm):
    """A frame is `<topic offset>`, with the payload behind the offset when there is one; a gap `<after-until>`."""

    def __init__(self, index: int = 0, cache: FrameCache | None = None) -> None:
        super().__init__(index, cache if cache is not None else FrameCache(1_000_000))

    def encode(self, message: Message) -> bytes:
        return b"<%s %d%s>" % (message.topic.encode(), message.offset, message.payload)

    def encode_gap(self, gap: Gap) -> bytes:
        return f"<{gap.after}-{gap.until}>".encode()


class Listener(Consumer):
    """Counts what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.wakes = 0
        self.overflows = 0
        self.farewells = 0

    def wake(self) -> None:
        self.wakes += 1

    def overflowed(self) -> None:
        self.overflows += 1

    def broker_closed(self) -> None:
        self.farewells += 1


async def settle(turns: int = 20) -> None:
    """Let the others run until they wait for something."""
    for _ in range(turns):
        await asyncio.sleep(0)
