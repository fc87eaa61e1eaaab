"""How messages come into the log: at once or later, alone or many together, once for each key.

Publishing never waits for subscribers, but for the event loop to turn where much has been published
(`pace.py`), for an engine that does input and output, and for a key that is under way.
"""

from collections.abc import Callable
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import EngineUnavailable, ExtraError, InvalidCommand
from extra.pubsub.arguments import check_ttl
from extra.pubsub.clock import Clock
from extra.pubsub.ends import topic_closed
from extra.pubsub.engine import Engine
from extra.pubsub.idempotency import Keys, Run, digest
from extra.pubsub.life import Life
from extra.pubsub.limits import BrokerLimits
from extra.pubsub.message import Message, Receipt
from extra.pubsub.pace import Pace
from extra.pubsub.retention import check_policy
from extra.pubsub.schedule import Entry, Schedule, check_deliver_at
from extra.pubsub.scheduler import KIND, Scheduler, receipt_of

__all__ = ["Publishing"]

UNSWEPT_S: Final = 2.0
"""When so long nobody has called `Broker.sweep`, publishing does."""


@final
@mypyc_attr(native_class=True)
class Publishing:
    """What is published by one broker, on every face and in process.

    `sweep` is called when nobody else has since `swept_at`, in monotonic seconds, for too long.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        limits: BrokerLimits,
        life: Life,
        pace: Pace,
        sweep: Callable[[], None],
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.limits = limits
        self.life = life
        self.pace = pace
        self.sweep = sweep
        self.swept_at = 0.0
        self.keys = Keys(clock, limits.idempotency_limit_keys, limits.idempotency_window_s)
        schedule = Schedule(limits.scheduled_limit_messages, limits.scheduled_limit_bytes)
        self.scheduler = Scheduler(engine, clock, schedule, self._place_at_once, self._place_scheduled)
        self.published_total = 0
        self.published_bytes_total = 0

    def restore(self) -> None:
        """Take in the keys that the engine has kept; once, after its start."""
        self.swept_at = self.clock.now()
        self.keys.restore(self.engine.remembered(), self.engine.epoch())

    def expiry(self, ttl: float | None, deliver_at: float | None) -> float:
        """Return when a message with this time to live expires, in Unix seconds; 0.0 without one.

        It counts from now, or from when it is to be published.

        Raises InvalidCommand unless it is from 0.001 to 1e9 seconds.
        """
        if ttl is None:
            return 0.0
        check_ttl(ttl)
        time = self.clock.time()
        return (time if deliver_at is None else max(time, deliver_at)) + ttl

    async def publish(self, message: Message, key: str | None, if_last: int | None) -> Receipt:
        """Publish a message, with its key and its condition. Raises as `Broker.publish` does."""
        self._check(message)
        if self.pace.is_spent():
            await self._turn(message.size)
        if key is not None:
            return await self._append_once(message, key, if_last)
        if if_last is not None:
            return self._published(message, await self.engine.append_if(message, b"", if_last))
        subscribers = self.engine.append_at_once(message)
        if subscribers < 0:
            subscribers = await self.engine.append(message)
        return self._published(message, subscribers)

    def publish_at_once(self, message: Message) -> int:
        """Do what `publish` does, if that needs no waiting: return how many subscribers it reached.

        -1: it does need it, and nothing has been done. Raises as `publish` does.
        """
        self._check(message)
        if self.pace.is_spent():
            return -1
        reached = self.engine.append_at_once(message)
        if reached >= 0:
            self._count(message)
        return reached

    async def schedule(self, message: Message, deliver_at: float, key: str | None) -> Receipt:
        """Publish a message at `deliver_at`, in Unix seconds; at once when that has passed.

        Raises as `publish` does.
        """
        check_deliver_at(deliver_at)
        if deliver_at <= self.clock.time():
            return await self.publish(message, key, None)
        self._check(message)
        if key is None:
            self._check_is_not_closed(message)
            return await self.scheduler.accept(message, deliver_at, b"")
        name = digest(message.topic, key)
        await self._decided(name)
        remembered = self.keys.recall(name)
        if remembered is not None:
            return remembered.receipt(message.topic)
        waiting = self.scheduler.schedule.by_name.get(name)
        if waiting is not None:
            return receipt_of(waiting)
        self._check_is_not_closed(message)
        self.keys.begin(name)
        try:
            return await self.scheduler.accept(message, deliver_at, name)
        finally:
            self.keys.end(name)

    async def publish_many(
        self,
        messages: list[Message],
        keys: list[str | None],
        if_lasts: list[int | None] | None,
        deliver_ats: list[float | None] | None,
    ) -> list[Receipt | ExtraError]:
        """Publish several messages in this order, each with its key, its condition and its time, or None.

        Returns for each its receipt, or what `publish` would raise.
        """
        answers: list[Receipt | ExtraError | None] = [None] * len(messages)
        run = Run()
        try:
            for index, message in enumerate(messages):
                key = keys[index]
                if_last = None if if_lasts is None else if_lasts[index]
                deliver_at = None if deliver_ats is None else deliver_ats[index]
                if if_last is not None or deliver_at is not None:
                    await self._append_run(run, answers)
                    answers[index] = await self._publish_alone(message, key, if_last, deliver_at)
                    continue
                try:
                    self._check(message)
                    name = b"" if key is None else digest(message.topic, key)
                    if name in self.keys.underway:  # maybe by a message before this one
                        await self._append_run(run, answers)
                        await self._decided(name)
                except ExtraError as error:
                    answers[index] = error
                    continue
                if name:
                    remembered = self.keys.recall(name)
                    if remembered is not None:
                        answers[index] = remembered.receipt(message.topic)
                        continue
                    self.keys.begin(name)
                run.add(index, message, name)
                if run.size >= self.pace.limit_bytes:
                    await self._append_run(run, answers)
            await self._append_run(run, answers)
        finally:
            self._release(run)
        return [answer for answer in answers if answer is not None]

    def figures(self) -> dict[str, int]:
        """Return counts for metrics, by name."""
        return {
            "published": self.published_total,
            "published_bytes": self.published_bytes_total,
            "idempotency_keys": len(self.keys),
        }

    # Private: checking and counting

    def _check(self, message: Message) -> None:
        """Raise what keeps a message from being published here, if anything does."""
        self.life.check()
        self.limits.check_topic(message.topic)
        self.limits.check_payload(message.payload)
        check_policy(self.engine.policy(message.topic), message)

    def _check_is_not_closed(self, message: Message) -> None:
        """Raise TopicClosed when the topic has had its last message, and this one does not open it anew.

        For what is published later; what is published now the engine decides in the order of the log.
        """
        if message.close is not False and self.engine.end(message.topic) is not None:
            raise topic_closed(message.topic)

    async def _turn(self, size: int) -> None:
        """Wait for the event loop to turn. Raises BrokerClosed."""
        await self.pace.turn(size)
        self.life.check()

    async def _decided(self, name: bytes) -> None:
        """Wait while a message with this key is under way. Raises BrokerClosed."""
        underway = self.keys.underway
        while name in underway:
            await underway[name].wait()
            self.life.check()

    def _published(self, message: Message, subscribers: int) -> Receipt:
        """Count a message that has its place in the log, and return its receipt."""
        self._count(message)
        return Receipt(message.topic, message.offset, message.cursor, subscribers)

    def _count(self, message: Message) -> None:
        self.pace.spend(message.size)
        self.published_total += 1
        self.published_bytes_total += len(message.payload)
        if message.appended_at >= self.swept_at + UNSWEPT_S:
            try:
                self.sweep()
            except EngineUnavailable:
                return  # what was published is so all the same, and the next sweep takes more

    # Private: once for each key

    async def _append_once(self, message: Message, key: str, if_last: int | None) -> Receipt:
        """Append a message unless one with this topic and key was within the window.

        Who comes while it is being appended waits for what becomes of it. Who is cancelled meanwhile leaves
        the key with the message, if that has its place: engines see to it that this is decided by then.
        """
        name = digest(message.topic, key)
        await self._decided(name)
        remembered = self.keys.recall(name)
        if remembered is not None:
            return remembered.receipt(message.topic)
        self.keys.begin(name)
        subscribers = 0
        try:
            if if_last is None:
                subscribers = await self.engine.append_keyed(message, name)
            else:
                subscribers = await self.engine.append_if(message, name, if_last)
            return self._published(message, subscribers)
        finally:
            self.keys.settle(message, name, subscribers)

    # Private: many together

    async def _publish_alone(
        self, message: Message, key: str | None, if_last: int | None, deliver_at: float | None
    ) -> Receipt | ExtraError:
        try:
            if deliver_at is None:
                return await self.publish(message, key, if_last)
            if if_last is not None:
                return InvalidCommand("if_last is for what is published now: not with deliver_at")
            return await self.schedule(message, deliver_at, key)
        except ExtraError as error:
            return error

    async def _append_run(self, run: Run, answers: list[Receipt | ExtraError | None]) -> None:
        """Append what a run holds, put what came of it where it belongs, and leave the run empty."""
        if not run.messages:
            return
        if self.pace.is_spent():
            await self._turn(run.size)
        outcomes = await self.engine.append_many(run.messages, run.names)
        for number, outcome in enumerate(outcomes):
            message = run.messages[number]
            if isinstance(outcome, ExtraError):
                answers[run.indices[number]] = outcome
            else:
                answers[run.indices[number]] = self._published(message, outcome)
                run.subscribers[number] = outcome
        self._release(run)

    def _release(self, run: Run) -> None:
        """Empty a run, and with it the keys that were under way."""
        for number, name in enumerate(run.names):
            if name:
                self.keys.settle(run.messages[number], name, run.subscribers[number])
        run.clear()

    # Private: what was scheduled

    def _place_at_once(self, entry: Entry) -> bool:
        """Publish what was scheduled, if that needs no waiting; return whether it did.

        Raises as `publish`.
        """
        message, name = entry.message, entry.name
        if self._is_over(entry):
            self.engine.keep_state(KIND, entry.id, b"")
            return True
        if name in self.keys.underway:
            return False
        reached = self.publish_at_once(message)
        if reached < 0:
            return False
        self.engine.keep_state(KIND, entry.id, b"")
        if name:
            self.keys.remember(name, message, reached)
        return True

    async def _place_scheduled(self, entry: Entry) -> None:
        """Publish what was scheduled. Raises as `publish`."""
        message, name = entry.message, entry.name
        if name:
            await self._decided(name)
        if self._is_over(entry):
            self.engine.keep_state(KIND, entry.id, b"")
            return
        self._check(message)
        if name:
            self.keys.begin(name)
        subscribers = 0
        try:
            if self.pace.is_spent():
                await self._turn(message.size)
            subscribers = await self.engine.append_forgetting(message, name, KIND, entry.id)
            self._published(message, subscribers)
        finally:
            if name:
                self.keys.settle(message, name, subscribers)

    def _is_over(self, entry: Entry) -> bool:
        """Return whether there is nothing to publish any more: it has expired, or its key has been used."""
        if entry.message.is_expired(self.clock.time()):
            return True
        return bool(entry.name) and self.keys.recall(entry.name) is not None
