"""The engine that survives: the log in memory as its index, and in one file of SQLite as its durable copy.

**What is where.** Everything that readers ask for is in memory: the `Log` and the `RetainedMessages` of the
memory engine, bounded as they are there. Reading therefore never touches the disk, costs what it costs there,
and gives the same answers, because it is the same code. The file holds the same, and is read back when the
broker starts. What does not fit into memory is not kept: `retention.total_limit_bytes` bounds both. Where
history is to be larger than memory, this is the wrong engine.

Alternatives that lost: reading from the file by filter (an index by topic and offset doubles what is
written per message; reading `#` or a wildcard merges a thousand cursors; every answer to "what is missing?"
is a query), a file of our own (its crash recovery, its tools and its trust would have to be earned), one
transaction per message (a sync each).

**How a message goes.** It is numbered and queued. While a transaction is being written, what comes gathers;
each batch is one transaction, written by one thread, which the event loop never waits for. When the batch
is on the disk, and not before, its messages enter the log and are delivered, in strides, so that outboxes
are written in between; then their publishers get their receipts. So nobody ever holds a cursor of an offset
that a restart could give to another message.

**What goes wrong.** When a transaction fails, all that is in it or queued is refused, and so is publishing
from then on, at once. Reading goes on. Once a second the file is opened anew and tried; when it takes as
much as a batch, publishing goes on, with the offsets that the refused messages would have had.

Invariants between calls: `queue`, the batch that is being written and `applying` hold messages by rising
offset, with no hole, from `log.head` + 1 to `last_placed`; what is in `applying` has been written; while
there is trouble, nothing is queued or being written.
"""

import asyncio
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, final

from broker.engines.batch import Batch, Placed
from broker.engines.connecting import Connect
from broker.engines.failures import StoreRefused, is_full, reason_of
from broker.engines.queued import Clearing, Entry, KeyWindow, Queued, Refused, Ticket
from broker.engines.records import check_storable
from broker.engines.restoring import restore, restore_keys, restore_states
from broker.engines.retaining import Retaining
from broker.engines.room import Room
from broker.engines.states import States
from broker.engines.store import Store
from broker.engines.worker import Worker
from extra.errors import EngineUnavailable, ExtraError
from extra.pubsub import (
    Clock,
    Delivery,
    Engine,
    Log,
    Message,
    Policy,
    PolicyTable,
    RetainedMessages,
    Slice,
    SystemClock,
)
from extra.pubsub.conditions import precondition_failed
from extra.pubsub.ends import End, topic_closed
from extra.pubsub.journal import Journal
from extra.pubsub.search import finish

__all__ = ["SQLiteEngine"]

logger: Final = logging.getLogger("broker.store")

BATCH_LIMIT_MESSAGES: Final = 4096
BATCH_LIMIT_BYTES: Final = 8 * 1024 * 1024
"""A transaction holds so much at most, so that the first of a long queue does not wait for the last."""

GONE_LIMIT_MESSAGES: Final = 1000
"""When so many messages have gone from memory, they go from the file without waiting for the second."""

LAST: Final = "last"
"""The kind of the states that say which message was a topic's last one, where that has expired and gone."""

ALWAYS: Final = -1
"""No condition: the message is appended whatever the last one of its topic is."""

STRIDE_BYTES: Final = 64 * 1024
"""So much is delivered in one stretch, before outboxes are written: a fraction of an outbox."""


@final
class SQLiteEngine(Engine):
    """A log that goes on where it was, in the file at `path`."""

    def __init__(
        self,
        path: str,
        policies: PolicyTable | None = None,
        *,
        durability: str = "full",
        clock: Clock | None = None,
        total_limit_bytes: int = 256 * 1024 * 1024,
        topics_limit: int = 1_000_000,
        retained_limit_messages: int = 100_000,
        retained_limit_bytes: int = 64 * 1024 * 1024,
        queue_limit_messages: int = 10_000,
        queue_limit_bytes: int = 64 * 1024 * 1024,
        idempotency_limit_keys: int = 100_000,
        idempotency_window_s: float = 120.0,
        connect: Connect | None = None,
    ) -> None:
        """`connect` opens the database, for tests that want it to fail."""
        super().__init__()
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.store = Store(path, durability, connect)
        self.new_log: Callable[[str], Log] = partial(
            Log, policies=policies, total_limit_bytes=total_limit_bytes, topics_limit=topics_limit
        )
        self.log = self.new_log("")
        self.kept = RetainedMessages(limit_messages=retained_limit_messages, limit_bytes=retained_limit_bytes)
        self.journal = Journal()
        self.keys = KeyWindow(idempotency_window_s, idempotency_limit_keys)
        self.kept_keys: list[tuple[bytes, int, float]] = []
        self.room = Room(queue_limit_messages, queue_limit_bytes)
        self.queue: deque[Entry] = deque()
        self.applying: deque[Entry] = deque()
        self.last_placed = 0
        self.placed_last: dict[str, Queued] = {}  # of topics that have something in the queue or on its way
        self.expired_lasts: set[str] = set()  # topics of which a state says what the last message was
        self.retaining = Retaining()
        self.kept_states = States()
        self.doubtful: dict[str, None] = {}
        self.idle = asyncio.Event()
        self.delivery: Delivery | None = None
        self.worker: Worker | None = None
        self.is_closing = False
        self.is_closed = False
        self.is_scheduled = False
        self.is_clearing_due = False
        self.is_writing = False
        self.is_applying = False
        self.is_recovering = False
        self.failure = ""
        self.batches_total = 0
        self.written_total = 0
        self.failures_total = 0

    # Life

    async def start(self, delivery: Delivery) -> None:
        """Open the file and read it back: some seconds for a million messages.

        Raises:
            StoreRefused: the file cannot be used.
        """
        assert self.worker is None, "an engine is started once"
        self.worker = worker = Worker("extra-store")
        failure: BaseException | None = None
        try:
            await worker.call(self._open)
        except BaseException as error:  # noqa: BLE001 - raised below: mypyc loses it when one awaits here
            failure = error
        if failure is not None:
            self.is_closed = True
            await worker.call(self.store.close)
            worker.stop()
            raise failure
        self.last_placed = self.log.head
        self.delivery = delivery
        if self.kept_states.waiting:
            self._schedule()

    async def close(self) -> None:
        """Write what is queued, and let go of the file."""
        worker = self.worker
        if worker is None or self.is_closing:
            return
        self.is_closing = True
        self.room.refuse(EngineUnavailable("the store is being closed"))
        await self.until_idle()
        if not self.failure and not self.journal.is_empty():
            self._hand_over()
            await self.until_idle()
        self.is_closed = True
        self.kept_states.failed(EngineUnavailable("the store is closed"))
        await worker.call(self.store.close)
        worker.stop()

    def epoch(self) -> str:
        return self.log.epoch

    def head(self) -> int:
        return self.log.head

    def trouble(self) -> str:
        return self.failure

    def remembered(self) -> list[tuple[bytes, int, float]]:
        kept_keys, self.kept_keys = self.kept_keys, []
        return kept_keys

    # States beside the log

    def keep_state(self, kind: str, name: str, value: bytes) -> None:
        self.kept_states.keep(kind, name, value)
        if self.delivery is not None and not self.is_closed:
            self._schedule()

    def states(self, kind: str) -> list[tuple[str, bytes]]:
        return self.kept_states.restored(kind)

    async def settled(self) -> None:
        trouble = self.failure
        if self.is_closed or self.delivery is None:
            trouble = "the store is not open"
        await self.kept_states.settled(trouble)

    # Appending

    async def append(self, message: Message) -> int:
        return await self.append_keyed(message, b"")

    async def append_keyed(self, message: Message, key: bytes) -> int:
        ticket = Ticket(1)
        if not self._enqueue(message, key, ticket, 0):
            await self._enter(message, key, ticket, 0)
        await ticket.decided()
        return ticket.answer()

    async def append_if(self, message: Message, key: bytes, if_last: int) -> int:
        ticket = Ticket(1)
        if not self._enqueue(message, key, ticket, 0, if_last):
            await self._enter(message, key, ticket, 0, if_last)
        await ticket.decided()
        return ticket.answer()

    def end(self, topic: str) -> End | None:
        return self.log.end(topic, self.clock.time())

    async def append_forgetting(self, message: Message, key: bytes, kind: str, name: str) -> int:
        ticket = Ticket(1, (kind, name))
        if not self._enqueue(message, key, ticket, 0):
            await self._enter(message, key, ticket, 0)
        await ticket.decided()
        return ticket.answer()

    def last_offset(self, topic: str) -> int:
        return self.log.last_offset(topic)

    async def append_many(self, messages: list[Message], keys: list[bytes]) -> list[int | ExtraError]:
        ticket = Ticket(len(messages))
        number = 0
        cancelled: asyncio.CancelledError | None = None
        for message, key in zip(messages, keys, strict=True):
            try:
                if not self._enqueue(message, key, ticket, number):
                    await self._enter(message, key, ticket, number)
            except ExtraError as error:
                ticket.decide(number, error)
            except asyncio.CancelledError as cancellation:
                cancelled = cancellation
                break
            number += 1
        if cancelled is not None:
            for left in range(number, len(messages)):
                ticket.decide(left, EngineUnavailable("the publisher has gone"))
        await ticket.decided()
        if cancelled is not None:
            raise cancelled
        return ticket.answers

    async def clear(self, topic: str) -> bool:
        self._check_writable()
        await self.room.enter(0)
        retaining, kept = self.retaining.newest.get(topic), self.kept.messages.get(topic)
        if self.failure or (retaining is None and kept is None):
            self.room.leave(1, 0)
            self._check_writable()
            return False
        ticket = Ticket(1)
        offset = retaining.offset if retaining is not None else kept.offset if kept is not None else 0
        self.queue.append(Clearing(topic, offset, ticket))
        self._schedule()
        await ticket.decided()
        return ticket.answer() > 0

    # Reading

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

    # Upkeep

    def policies(self) -> PolicyTable:
        return self.log.policies

    def policy(self, topic: str) -> Policy:
        return self.log.policy(topic)

    def set_policies(self, policies: PolicyTable) -> None:
        self.log.set_policies(policies)
        self.kept.apply(policies)

    def sweep(self) -> None:
        """Give back what has become too old, in the file as well, and try the disk again after a failure."""
        now, time = self.clock.now(), self.clock.time()
        self.log.sweep(now, time)
        self.kept.sweep(time)
        if self.worker is None or self.is_closing:
            return
        if self.failure:
            if not self.is_recovering:
                self.is_recovering = True
                self.worker.submit(self._recovery(), self._recovered)
        elif not self.journal.is_empty() or self.keys.has_old(time):
            self.is_clearing_due = True
            self._schedule()

    def figures(self) -> dict[str, int]:
        return {
            "log_messages": len(self.log),
            "log_bytes": self.log.size,
            "log_topics": len(self.log.topics),
            "log_evicted": self.log.evicted,
            "retained_messages": len(self.kept),
            "retained_bytes": self.kept.size,
            "store_writable": 0 if self.failure else 1,
            "store_queue_messages": self.room.messages,
            "store_queue_bytes": self.room.bytes,
            "store_waiting": self.room.waiting,
            "store_batches": self.batches_total,
            "store_written": self.written_total,
            "store_failures": self.failures_total,
            "store_states_waiting": len(self.kept_states.waiting),
            "store_states_written": self.kept_states.written_total,
            "store_file_bytes": self.store.file_bytes,
            "store_wal_bytes": self.store.wal_bytes,
        }

    # Opening, in the worker's thread

    def _open(self) -> None:
        store = self.store
        logger.info("opening %s (store.path) with durability %s", store.path, store.durability)
        now, time = self.clock.now(), self.clock.time()
        try:
            store.open(os.urandom(4).hex())
            self.log = self.new_log(store.epoch)
            self.log.journal = self.kept.journal = self.journal
            restore(store, self.log, self.kept, now, time)
            self.kept_keys = restore_keys(store, now, time, self.keys.window_s, self.keys.limit)
            restore_states(store, self.kept_states)
            self.kept.apply(self.log.policies)
            self._restore_lasts()
            self._begin()
        except sqlite3.Error as error:
            raise StoreRefused(f"{store.path} cannot be used: {reason_of(error)} (store.path)") from None
        self.keys.add(self.kept_keys[0][1] - 1 if self.kept_keys else store.head, 0.0, 0)
        for _, offset, made_at in self.kept_keys:
            self.keys.add(offset, time - (now - made_at), 1)

    def _restore_lasts(self) -> None:
        for topic, offset in self.kept_states.restored(LAST):
            if self.log.restore_last(topic, int(offset)):
                self.expired_lasts.add(topic)
            else:
                self.kept_states.keep(LAST, topic, b"")

    def _begin(self) -> None:
        """Mark the file as open; where the disk is full, it is read all the same."""
        try:
            self.store.begin()
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            self._note_failure(error)

    # Into the queue

    def _check_writable(self) -> None:
        if self.failure:
            raise EngineUnavailable(f"publishing has to wait: {self.failure}")
        if self.is_closing or self.delivery is None:
            raise EngineUnavailable("the store is not open")

    def _enqueue(
        self, message: Message, key: bytes, ticket: Ticket, number: int, if_last: int = ALWAYS
    ) -> bool:
        """Queue a message if that can be done at once; return whether it was. Raises why it cannot be at
        all.
        """
        self._check_writable()
        check_storable(message)
        if message.retained and not self.retaining.has_room(self.kept, message):
            return False
        if not self.room.take(message.size):
            return False
        self._put(message, key, ticket, number, if_last)
        return True

    async def _enter(
        self, message: Message, key: bytes, ticket: Ticket, number: int, if_last: int = ALWAYS
    ) -> None:
        """Queue a message when there is room for it. Raises as `_enqueue`; cancelled, it is not queued."""
        await self.room.enter(message.size)
        try:
            self._check_writable()
            while message.retained and not self.retaining.has_room(self.kept, message):
                await self.retaining.none_left()
                self._check_writable()
        except BaseException:
            self.room.leave(1, message.size)
            raise
        self._put(message, key, ticket, number, if_last)

    def _refusal(self, message: Message, if_last: int) -> ExtraError | None:
        """Return why a message is not to have the place behind all that has one, if it is not."""
        topic = message.topic
        placed = self.placed_last.get(topic)
        if if_last != ALWAYS:
            last = self.log.last_offset(topic) if placed is None else placed.offset
            if last != if_last:
                return precondition_failed(topic, if_last, last, self.log.epoch)
        is_closed = self.log.is_closed(topic) if placed is None else placed.message.close is True
        return topic_closed(topic) if is_closed and message.close is not False else None

    def _put(self, message: Message, key: bytes, ticket: Ticket, number: int, if_last: int) -> None:
        topic = message.topic
        refusal = self._refusal(message, if_last)
        if refusal is not None:
            self.room.leave(0, message.size)
            self.queue.append(Refused(refusal, ticket, number))
            self._schedule()
            return
        policy = self.log.policy(topic)
        self.last_placed += 1
        queued = Queued(
            message,
            self.last_placed,
            self.clock.now(),
            self.clock.time(),
            key if self.keys.limit else b"",
            policy.messages > 0,
            policy.durable,
            ticket,
            number,
        )
        self.queue.append(queued)
        self.placed_last[topic] = queued
        if message.retained:
            self.retaining.add(queued)
        self._schedule()

    # From the queue into the file

    def _schedule(self) -> None:
        """Hand over in the next turn of the loop: what this one brings is one batch."""
        if not self.is_scheduled and not self.is_writing:
            self.is_scheduled = True
            asyncio.get_running_loop().call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Give the worker a batch of what is queued, and now and then of what has gone from memory.

        That is deleted once a second, or when it is much: each time costs pages of its own, and what a file
        still has too much after a crash goes again as it is read back.
        """
        self.is_scheduled = False
        if self.is_writing or self.failure or self.is_closed or self.worker is None:
            return
        entries = self._next_entries()
        states = self.kept_states.take()
        placed = [entry for entry in entries if isinstance(entry, Queued)]
        batch = Batch(
            placed[-1].offset if placed else self.store.head,
            placed,
            cleared=[
                (entry.topic, entry.offset)
                for entry in entries
                if isinstance(entry, Clearing)
                or (isinstance(entry, Queued) and entry.message.retained and not entry.is_durable)
            ],
            forgotten_until=self.log.forgotten_until,
            states=states,
        )
        forgotten = [each.ticket.forgetting for each in placed if each.ticket.forgetting is not None]
        if forgotten:
            batch.states = {**states, **dict.fromkeys(forgotten, b"")}
        if self.is_clearing_due or self.is_closing or len(self.journal.evicted) >= GONE_LIMIT_MESSAGES:
            self.is_clearing_due = False
            batch.gone = self._take_journal(entries)
            batch.states = {**batch.states, **self._lasts(batch.gone)}
            batch.keys_until = self.keys.drop_old(self.clock.time())
        self.is_writing = True
        self.worker.submit(partial(self.store.write, batch), partial(self._written, batch, entries))

    def _next_entries(self) -> list[Entry]:
        entries: list[Entry] = []
        size = 0
        while self.queue and len(entries) < BATCH_LIMIT_MESSAGES and size < BATCH_LIMIT_BYTES:
            entry = self.queue.popleft()
            entries.append(entry)
            if isinstance(entry, Queued):
                size += entry.message.size
        return entries

    def _take_journal(self, entries: list[Entry]) -> Journal:
        """Return what has gone since the last time, but for topics that are known again.

        Those that are about to be are looked at again the next time: they may be refused.
        """
        gone = self.journal
        self.journal = self.log.journal = self.kept.journal = Journal()
        if gone.forgotten:
            for entry in (*entries, *self.queue, *self.applying):
                if isinstance(entry, Queued) and entry.message.topic in gone.forgotten:
                    del gone.forgotten[entry.message.topic]
                    self.journal.forgotten[entry.message.topic] = None
            for topic in [topic for topic in gone.forgotten if topic in self.log.topics]:
                del gone.forgotten[topic]
        return gone

    def _lasts(self, gone: Journal) -> dict[tuple[str, str], bytes]:
        """Return what is to be kept of topics whose last message has expired: nothing else says where it was.

        What is behind it does not matter: the higher offset counts.
        """
        states = {(LAST, topic): str(offset).encode() for topic, offset in gone.lasts.items()}
        self.expired_lasts.update(gone.lasts)
        for topic in gone.forgotten:
            if topic in self.expired_lasts:
                self.expired_lasts.discard(topic)
                states[LAST, topic] = b""
        return states

    def _written(self, batch: Batch, entries: list[Entry], error: Exception | None) -> None:
        """Go on when a batch is done with: the next one is written while this one is delivered."""
        self.is_writing = False
        if error is not None:
            self._fail(batch, entries, error)
            return
        self.batches_total += 1
        self.written_total += len(batch.placed)
        self.kept_states.written()
        keyed = [placed for placed in batch.placed if placed.key]
        if keyed:
            self.keys.add(keyed[-1].offset, keyed[-1].time, len(keyed))
        self.applying += entries
        if self.queue or self.kept_states.waiting:
            self._hand_over()
        if not self.is_applying:
            self._apply()

    # From the file to those who wait for it

    def _apply(self) -> None:
        """Let what has been written take effect: so much of it, and the rest in the next turn of the loop."""
        self.is_applying = False
        size = 0
        left = 0
        while self.applying and size < STRIDE_BYTES:
            entry = self.applying.popleft()
            left += 1
            if isinstance(entry, Queued):
                size += entry.message.size
                entry.ticket.decide(entry.number, self._deliver(entry))
            elif isinstance(entry, Refused):
                entry.ticket.decide(entry.number, entry.error)
            else:
                kept = self.kept.messages.get(entry.topic)
                is_there = kept is not None and kept.offset == entry.offset
                entry.ticket.decide(0, int(is_there and self.kept.clear(entry.topic)))
        self.room.leave(left, size)
        if self.applying:
            self.is_applying = True
            asyncio.get_running_loop().call_soon(self._apply)
        else:
            self.idle.set()

    def _deliver(self, queued: Queued) -> int:
        """Put a message into the log and hand it to those who want it; return to how many."""
        message = queued.message
        if self.placed_last.get(message.topic) is queued:
            del self.placed_last[message.topic]
        self.log.append(message, queued.now, queued.time)
        if message.retained:
            self.kept.put(message)
            self.retaining.discard(queued)
        assert self.delivery is not None
        try:
            return self.delivery.deliver(message)
        except Exception:  # a bug there must not keep the messages behind this one
            logger.exception("delivering a message has failed")
            return 0

    async def until_idle(self) -> None:
        """Wait until all that is queued has taken effect or been refused, and nothing is tried any more."""
        while (
            self.queue
            or self.is_writing
            or self.applying
            or self.is_recovering
            or (self.kept_states.waiting and not self.failure)
        ):
            self.idle.clear()
            await self.idle.wait()

    # When the file cannot be written

    def _fail(self, batch: Batch, entries: list[Entry], cause: Exception) -> None:
        """Refuse what could not be written and all behind it, and go on without writing."""
        self._note_failure(cause)
        error = EngineUnavailable(self.failure)
        batch.gone.precede(self.journal)
        self.journal = self.log.journal = self.kept.journal = batch.gone
        self.keys.owe(batch.keys_until)
        self.kept_states.failed(error)
        refused = [*entries, *self.queue]
        self.queue.clear()
        self.placed_last = {
            entry.message.topic: entry for entry in self.applying if isinstance(entry, Queued)
        }
        self.last_placed = self.store.head
        size = 0
        for entry in refused:
            if isinstance(entry, Queued):
                size += entry.message.size
                if entry.message.retained:
                    self.retaining.discard(entry)
                entry.ticket.decide(entry.number, error)
            elif isinstance(entry, Refused):
                entry.ticket.decide(entry.number, error)
                continue
            else:
                entry.ticket.decide(0, error)
            self.doubtful[entry.topic] = None
        self.room.refuse(error)
        self.room.leave(len(refused), size)
        self.idle.set()

    def _note_failure(self, error: Exception) -> None:
        self.failures_total += 1
        self.failure = f"{self.store.path} cannot be written: {reason_of(error)}"
        is_foreseen = isinstance(error, sqlite3.Error | OSError | StoreRefused)
        logger.error(
            "%s. Publishing is refused until it can be; reading goes on",
            self.failure,
            exc_info=None if is_foreseen else error,
        )

    def _recovery(self) -> Callable[[], None]:
        """Return what opens the file anew, with what is true of the topics of which it may say otherwise."""
        losses: dict[str, int] = {}
        retained: list[Placed] = []
        for topic in self.doubtful:
            topic_log, kept = self.log.topics.get(topic), self.kept.messages.get(topic)
            losses[topic] = topic_log.evicted_until if topic_log is not None else 0
            if kept is not None:
                retained.append(Placed(kept, kept.offset, kept.appended_at, kept.time))
        return partial(self.store.recover, losses, retained)

    def _recovered(self, error: Exception | None) -> None:
        self.is_recovering = False
        self.idle.set()
        if error is not None:
            self.failure = f"{self.store.path} cannot be written: {reason_of(error)}"
            return
        self.failure = ""
        self.doubtful.clear()
        if self.kept_states.waiting:
            self._schedule()
        logger.info("%s can be written again: publishing goes on", self.store.path)
