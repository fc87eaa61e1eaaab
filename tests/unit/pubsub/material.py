"""Messages, a wire form, a consumer and an engine to test with."""

import asyncio

from extra.errors import EngineUnavailable
from extra.payloads import PayloadKind
from extra.pubsub import (
    Consumer,
    Delivery,
    Engine,
    FrameCache,
    Gap,
    MemoryEngine,
    Message,
    Outbox,
    Policy,
    PolicyTable,
    Slice,
    WireForm,
)

__all__ = ["GatedEngine", "Listener", "NameForm", "a_message", "placed", "settle", "take_all"]


def a_message(
    topic: str = "a",
    payload: bytes = b"",
    kind: PayloadKind = "binary",
    *,
    expires_at: float = 0.0,
    retained: bool = False,
    close: bool | None = None,
) -> Message:
    return Message(topic, payload, kind, expires_at=expires_at, retained=retained, close=close)


def placed(offset: int, topic: str = "a", payload: bytes = b"") -> Message:
    """Return a message that has its place in a log."""
    message = a_message(topic, payload)
    message.place("e1", offset, 0.0, 0.0)
    return message


def take_all(outbox: Outbox) -> list[str]:
    """Take what waits: messages as `a1`, topic and offset; gaps as `(after, until]`."""
    taken = []
    while (entry := outbox.take()) is not None:
        if isinstance(entry, Message):
            taken.append(f"{entry.topic}{entry.offset}")
        else:
            taken.append(f"({entry.after}, {entry.until}]")
    return taken


async def settle(turns: int = 20) -> None:
    """Let the others run until they wait for something."""
    for _ in range(turns):
        await asyncio.sleep(0)


class NameForm(WireForm):
    """A frame is `<topic offset>`, the payload right behind the offset; a gap is `<after-until>`."""

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


class GatedEngine(Engine):
    """The memory engine behind gates: a call waits before its work while its gate is shut, and after it.

    Gates are named as the methods are, the one behind the work as "read done". A broken engine fails.
    """

    def __init__(self, inner: MemoryEngine) -> None:
        super().__init__()
        self.inner = inner
        self.gates: dict[str, asyncio.Event] = {}
        self.is_broken = False
        self.sweeps = 0
        self.sweep_fails = False
        self.kept_keys: list[tuple[bytes, int, float]] = []

    def shut(self, name: str) -> None:
        self.gates[name] = asyncio.Event()

    def open(self, name: str) -> None:
        self.gates.pop(name).set()

    async def pass_gate(self, name: str) -> None:
        if name in self.gates:
            await self.gates[name].wait()
        if self.is_broken:
            raise EngineUnavailable("the engine is broken")

    async def start(self, delivery: Delivery) -> None:
        await self.inner.start(delivery)

    async def close(self) -> None:
        await self.inner.close()

    def epoch(self) -> str:
        return self.inner.epoch()

    def head(self) -> int:
        return self.inner.head()

    async def append(self, message: Message) -> int:
        await self.pass_gate("append")
        subscribers = await self.inner.append(message)
        await self.pass_gate("append done")
        return subscribers

    async def append_if(self, message: Message, key: bytes, if_last: int) -> int:
        await self.pass_gate("append")
        subscribers = await self.inner.append_if(message, key, if_last)
        await self.pass_gate("append done")
        return subscribers

    def last_offset(self, topic: str) -> int:
        return self.inner.last_offset(topic)

    def remembered(self) -> list[tuple[bytes, int, float]]:
        return self.kept_keys

    async def read(
        self, filters: list[str], after: int, until: int, limit: int, limit_bytes: int = 1 << 62
    ) -> Slice:
        await self.pass_gate("read")
        found = await self.inner.read(filters, after, until, limit, limit_bytes)
        await self.pass_gate("read done")
        return found

    async def before_last(self, filters: list[str], count: int) -> int:
        await self.pass_gate("before_last")
        return await self.inner.before_last(filters, count)

    async def retained(self, filters: list[str]) -> list[Message]:
        await self.pass_gate("retained")
        kept = await self.inner.retained(filters)
        await self.pass_gate("retained done")
        return kept

    async def clear(self, topic: str) -> bool:
        await self.pass_gate("clear")
        return await self.inner.clear(topic)

    def policies(self) -> PolicyTable:
        return self.inner.policies()

    def policy(self, topic: str) -> Policy:
        return self.inner.policy(topic)

    def set_policies(self, policies: PolicyTable) -> None:
        self.inner.set_policies(policies)

    def sweep(self) -> None:
        self.sweeps += 1
        if self.sweep_fails:
            raise EngineUnavailable("the engine is broken")
        self.inner.sweep()

    def figures(self) -> dict[str, int]:
        return self.inner.figures()
