"""The default engine: the log in this process's memory.

Publishing never suspends: it is one synchronous stretch. Looking for something does, when it takes long.
"""

import os
from typing import final

from mypy_extensions import mypyc_attr

from extra.pubsub.clock import Clock, SystemClock
from extra.pubsub.conditions import precondition_failed
from extra.pubsub.ends import End, topic_closed
from extra.pubsub.engine import Delivery, Engine
from extra.pubsub.log import Log, Slice
from extra.pubsub.message import Message
from extra.pubsub.retained import RetainedMessages
from extra.pubsub.retention import Policy, PolicyTable
from extra.pubsub.search import finish

__all__ = ["MemoryEngine"]


@final
@mypyc_attr(native_class=True)
class MemoryEngine(Engine):
    """A `Log` and `RetainedMessages` behind the engine seam. Both are gone with the process: a new epoch."""

    def __init__(
        self,
        policies: PolicyTable | None = None,
        *,
        clock: Clock | None = None,
        epoch: str | None = None,
        total_limit_bytes: int = 256 * 1024 * 1024,
        topics_limit: int = 1_000_000,
        retained_limit_messages: int = 100_000,
        retained_limit_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.log = Log(
            epoch if epoch is not None else os.urandom(4).hex(),
            policies,
            total_limit_bytes=total_limit_bytes,
            topics_limit=topics_limit,
        )
        self.kept = RetainedMessages(limit_messages=retained_limit_messages, limit_bytes=retained_limit_bytes)
        self.delivery: Delivery | None = None

    async def start(self, delivery: Delivery) -> None:
        self.delivery = delivery

    async def close(self) -> None:
        self.delivery = None

    def epoch(self) -> str:
        return self.log.epoch

    def head(self) -> int:
        return self.log.head

    async def append(self, message: Message) -> int:
        return self.append_at_once(message)

    def append_at_once(self, message: Message) -> int:
        assert self.delivery is not None, "the engine has been started"
        if message.close is not False and self.log.is_closed(message.topic):
            raise topic_closed(message.topic)
        if message.retained:
            self.kept.check_room(message)
        self.log.append(message, self.clock.now(), self.clock.time())
        if message.retained:
            self.kept.put(message)
        return self.delivery.deliver(message)

    async def append_if(self, message: Message, key: bytes, if_last: int) -> int:
        last = self.log.last_offset(message.topic)
        if last != if_last:
            raise precondition_failed(message.topic, if_last, last, self.log.epoch)
        return self.append_at_once(message)

    def end(self, topic: str) -> End | None:
        return self.log.end(topic, self.clock.time())

    def last_offset(self, topic: str) -> int:
        return self.log.last_offset(topic)

    async def read(
        self, filters: list[str], after: int, until: int, limit: int, limit_bytes: int = 1 << 62
    ) -> Slice:
        return self.log.read(
            filters, after, until, limit, self.clock.now(), self.clock.time(), limit_bytes=limit_bytes
        )

    async def before_last(self, filters: list[str], count: int) -> int:
        search = self.log.before_last(filters, count)
        await finish(search, self.clock)
        return search.offset

    async def retained(self, filters: list[str]) -> list[Message]:
        search = self.kept.matching(filters)
        await finish(search, self.clock)
        return search.messages()

    async def clear(self, topic: str) -> bool:
        return self.kept.clear(topic)

    def policies(self) -> PolicyTable:
        return self.log.policies

    def policy(self, topic: str) -> Policy:
        return self.log.policy(topic)

    def set_policies(self, policies: PolicyTable) -> None:
        self.log.set_policies(policies)
        self.kept.apply(policies)

    def sweep(self) -> None:
        self.log.sweep(self.clock.now(), self.clock.time())
        self.kept.sweep(self.clock.time())

    def figures(self) -> dict[str, int]:
        return {
            "log_messages": len(self.log),
            "log_bytes": self.log.size,
            "log_topics": len(self.log.topics),
            "log_evicted": self.log.evicted,
            "retained_messages": len(self.kept),
            "retained_bytes": self.kept.size,
        }
