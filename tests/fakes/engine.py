"""An engine that suspends, as one with a database or a network behind it does."""

import asyncio
from random import Random

from extra.pubsub import Clock, Delivery, End, Engine, MemoryEngine, Message, Policy, PolicyTable, Slice

__all__ = ["Remembering", "SlowEngine"]


class SlowEngine(Engine):
    """The memory engine, except that every call takes a number of loop turns, drawn from `random`.

    Reads and appends take such turns before and after, and thus overlap with everything else that goes on;
    appends keep their order.
    """

    def __init__(self, inner: MemoryEngine, random: Random, most_turns: int = 4) -> None:
        super().__init__()
        self.inner = inner
        self.random = random
        self.most_turns = most_turns
        self.appending = asyncio.Lock()

    async def start(self, delivery: Delivery) -> None:
        await self.inner.start(delivery)

    async def close(self) -> None:
        await self.inner.close()

    def epoch(self) -> str:
        return self.inner.epoch()

    def head(self) -> int:
        return self.inner.head()

    async def append(self, message: Message) -> int:
        async with self.appending:
            await self.dawdle()
            subscribers = await self.inner.append(message)
            await self.dawdle()
            return subscribers

    async def append_if(self, message: Message, key: bytes, if_last: int) -> int:
        async with self.appending:
            await self.dawdle()
            subscribers = await self.inner.append_if(message, key, if_last)
            await self.dawdle()
            return subscribers

    def end(self, topic: str) -> End | None:
        return self.inner.end(topic)

    def last_offset(self, topic: str) -> int:
        return self.inner.last_offset(topic)

    async def read(
        self, filters: list[str], after: int, until: int, limit: int, limit_bytes: int = 1 << 62
    ) -> Slice:
        await self.dawdle()
        found = await self.inner.read(filters, after, until, limit, limit_bytes)
        await self.dawdle()
        return found

    async def before_last(self, filters: list[str], count: int) -> int:
        await self.dawdle()
        return await self.inner.before_last(filters, count)

    async def retained(self, filters: list[str]) -> list[Message]:
        await self.dawdle()
        return await self.inner.retained(filters)

    async def clear(self, topic: str) -> bool:
        await self.dawdle()
        return await self.inner.clear(topic)

    def policies(self) -> PolicyTable:
        return self.inner.policies()

    def policy(self, topic: str) -> Policy:
        return self.inner.policy(topic)

    def set_policies(self, policies: PolicyTable) -> None:
        self.inner.set_policies(policies)

    def sweep(self) -> None:
        self.inner.sweep()

    def figures(self) -> dict[str, int]:
        return self.inner.figures()

    async def dawdle(self) -> None:
        """Let others run for a while."""
        for _ in range(self.random.randint(0, self.most_turns)):
            await asyncio.sleep(0)


class Remembering(SlowEngine):
    """Remembers states, as an engine with a store does."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(MemoryEngine(clock=clock), Random(1), 0)
        self.written: dict[tuple[str, str], bytes] = {}

    def keep_state(self, kind: str, name: str, value: bytes) -> None:
        self.written[kind, name] = value

    def states(self, kind: str) -> list[tuple[str, bytes]]:
        return [(name, value) for (each, name), value in self.written.items() if each == kind and value]
