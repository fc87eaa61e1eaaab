"""The broker core: publishing, delivery, subscribing and catching up.

In-process it is all there is to a broker.

    publish(message) -> engine.append -> (epoch, offset) -> deliver(message) -> match -> outboxes

What is published here and what arrives from another node goes through the same `deliver`, so that order is
offset order. `deliver` never awaits: it appends to outboxes and wakes their consumers, which do the input and
output.

Each part of the work has an object or a module of its own, none of which knows the broker: `publishing`
brings messages into the log, `subscribing` has the sessions and delivers to them, `catching_up` reads the log
for those that are behind, history.py for who asks for a page; `named`, `presence` and `scheduler` are what
they are called. `groups` and what programs iterate over are users of the broker, as endpoints are.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from types import TracebackType
from typing import final

from mypy_extensions import mypyc_attr

from extra.errors import ExtraError, InvalidCommand
from extra.pubsub.arguments import (
    check_group,
    check_history,
    check_publication,
    check_scheduled,
    check_subscription,
)
from extra.pubsub.beginning import check_reached, find_beginning
from extra.pubsub.catching_up import CatchingUp
from extra.pubsub.clock import Clock, SystemClock
from extra.pubsub.ends import End
from extra.pubsub.engine import Delivery, Engine
from extra.pubsub.gates import Gate
from extra.pubsub.group_messages import GroupMessages
from extra.pubsub.group_options import GroupOptions
from extra.pubsub.groups import Groups
from extra.pubsub.history import HISTORY_LIMIT_BYTES, NO_LIMIT, Page, ends_of, read_page
from extra.pubsub.life import Life
from extra.pubsub.limits import BrokerLimits
from extra.pubsub.memory import MemoryEngine
from extra.pubsub.message import Gap, Message, Receipt, WireForm, compose
from extra.pubsub.messages import Messages
from extra.pubsub.named import NamedSession, NamedSessions, check_name
from extra.pubsub.pace import Pace
from extra.pubsub.position import Since, format_cursor, parse_since
from extra.pubsub.presence import Presence, PresencePage
from extra.pubsub.publishing import Publishing
from extra.pubsub.schedule import ScheduledPage
from extra.pubsub.session import Consumer, Replay, Session
from extra.pubsub.subscribing import Subscribing

__all__ = ["Broker"]


@final
@mypyc_attr(native_class=True)
class Broker(Delivery):
    """Topics, messages and those who want them, in this process.

        async with Broker() as broker:
            async with broker.subscribe("site/+/temp", since="start") as messages:
                await broker.publish("site/a/temp", {"celsius": 21})
                async for message in messages: ...

    `publish`, `subscribe`, `history` and `clear` are for programs, and are those of `extra.Client` as well;
    docs/python.md shows them. The other methods and attributes are for endpoints, which drive sessions of
    their own, and for whoever starts, sweeps and measures a broker: `start`, `close`, `sweep`, `figures`.

    One event loop; nothing here is thread-safe.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        limits: BrokerLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.limits = limits if limits is not None else BrokerLimits()
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.engine: Engine = engine if engine is not None else MemoryEngine(clock=self.clock)
        self.life = Life()
        self.pace = Pace(self.limits.outbox_limit_bytes)
        self.publishing = Publishing(self.engine, self.clock, self.limits, self.life, self.pace, self.sweep)
        self.scheduler = self.publishing.scheduler
        self.presence = Presence(
            self.engine,
            limit_members=self.limits.presence_limit_members,
            told_members=self.limits.presence_told_members,
            data_limit_bytes=self.limits.presence_data_limit_bytes,
            grace_s=self.limits.presence_grace_s,
        )
        self.named = NamedSessions(
            self.engine, self.limits.named_sessions_limit, self.limits.session_expiry_s
        )
        self.catching_up = CatchingUp(self.engine, self.clock)
        self.subscribing = Subscribing(
            self.engine,
            self.clock,
            self.limits,
            self.life,
            self.pace,
            self.catching_up,
            self.named,
            self.presence,
        )
        self.groups = Groups(self)
        self.gates: list[Gate] = []
        self.was_entered = False
        self.run_id = token_hex(4)  # begins the ids of this run: those of the one before may still be about
        self.session_number = 0
        self.gaps_total = 0  # that endpoints have told of with a page

    @property
    def is_open(self) -> bool:
        """Whether the broker has been started, and not closed yet."""
        return self.life.is_open

    @property
    def delivered(self) -> int:
        """The offset of the last message that was delivered."""
        return self.subscribing.delivered

    @property
    def sessions(self) -> dict[str, Session]:
        """All sessions by id: to be read."""
        return self.subscribing.sessions

    # Life

    async def start(self) -> None:
        """Start the engine. `async with` does it."""
        await self.engine.start(self)
        self.subscribing.delivered = self.engine.head()
        self.publishing.restore()
        self.life.is_open = True
        self.named.restore(self.clock.time())
        self.groups.restore()
        self.scheduler.restore()
        self.scheduler.deliver()

    async def close(self) -> None:
        """End all sessions, and with them the iterations in process, and close the engine. Idempotent."""
        self.life.is_open = False
        await self.groups.close()
        for session in list(self.sessions.values()):
            self.close_session(session)
            session.consumer.broker_closed()
        self.named.keep_all()
        await self.presence.close()
        await self.scheduler.close()
        await self.engine.close()

    async def __aenter__(self) -> Broker:
        if self.was_entered:
            raise RuntimeError("a broker is entered once: make another")
        self.was_entered = True
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def epoch(self) -> str:
        """Return the name of the log's present life."""
        return self.engine.epoch()

    def cursor(self) -> str:
        """Return the cursor of now: resuming from it brings what is published from here on."""
        return format_cursor(self.engine.epoch(), self.delivered)

    def sweep(self) -> None:
        """Give back what has become too old, and publish what is due; bounded work.

        Who drives the broker calls this every second. Where nobody does, publishing does after two.
        """
        now = self.clock.now()
        self.publishing.swept_at = now
        self.engine.sweep()
        self.publishing.keys.forget()
        if self.is_open:
            self.scheduler.deliver()
            self.presence.sweep(now)
            self.named.sweep(self.clock.time(), self.delivered)
            self.groups.sweep(now, self.clock.time())

    # Publishing

    async def publish(
        self,
        topic: str,
        data: object,
        *,
        retain: bool = False,
        ttl: float | None = None,
        key: str | None = None,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        if_last: int | None = None,
        close: bool | None = None,
        deliver_at: float | None = None,
    ) -> Receipt:
        """Publish a value: bytes as they are, a string as text, anything else as JSON.

        Never waits for subscribers, but lets the event loop turn after every 128 KiB that were published.
        `ttl` is in seconds; with a `key` that was used on this topic within
        `idempotency_window_s`, nothing is published and the first receipt is returned. With `if_last` it is
        published if the last message of the topic has this offset; 0 is for a topic that has none yet. With
        `close=True` it is the last message of its topic, whose readers come to an end with it; nothing more
        is published there until a message with `close=False` opens the topic anew. With `deliver_at`
        it is published then, by the sweep (`ttl` counts from there), and the receipt has its id.

        Raises:
            PreconditionFailed: another message is the last one; its `offset` tells which.
            InvalidTopic: not a topic, or one that starts with `$`.
            InvalidPayload: `data` cannot be written as JSON, or is not what `content_type` says.
            LimitExceeded: the payload or what is retained is more than a limit.
            EngineUnavailable: the log cannot be written just now.
            InvalidCommand: `ttl`, `key` or `if_last` is not one.
            TopicClosed: the topic has had its last message.
            BrokerClosed: the broker is not open.
            TypeError: an argument is not of its type.
        """
        check_publication(topic, retain, ttl, key, content_type, headers, if_last, close, deliver_at)
        message = compose(
            topic,
            data,
            retain=retain,
            expires_at=self.publishing.expiry(ttl, deliver_at),
            content_type=content_type,
            headers=headers,
            close=close,
        )
        if deliver_at is not None:
            return await self.publishing.schedule(message, deliver_at, key)
        return await self.publishing.publish(message, key, if_last)

    def expiry(self, ttl: float | None, deliver_at: float | None = None) -> float:
        """Return when a message with this time to live expires, in Unix seconds; 0.0 without one.

        It counts from now, or from when it is to be published.

        Raises InvalidCommand unless it is from 0.001 to 1e9 seconds.
        """
        return self.publishing.expiry(ttl, deliver_at)

    async def publish_message(
        self, message: Message, key: str | None = None, if_last: int | None = None
    ) -> Receipt:
        """Publish a message that `compose` or an endpoint has made. Raises as `publish` does."""
        return await self.publishing.publish(message, key, if_last)

    async def schedule_message(self, message: Message, deliver_at: float, key: str | None = None) -> Receipt:
        """Publish a message at `deliver_at`, in Unix seconds; at once when that has passed.

        Its receipt has no place in the log, but an id. With a key that was used on this topic within the
        window, or by a message that waits, nothing is scheduled and the first receipt is returned. Raises as
        `publish`.
        """
        return await self.publishing.schedule(message, deliver_at, key)

    async def scheduled(self, *, after: str = "", limit: int = 1000) -> ScheduledPage:
        """Return what is to be published later, in that order: at most `limit` messages.

        `after` is that of the page before.

        Raises:
            InvalidCommand: `after` or `limit` (1 to 10,000) is not one. BrokerClosed, TypeError.
        """
        check_scheduled(after, limit)
        self.life.check()
        return self.scheduler.schedule.page(after, limit)

    async def cancel(self, scheduled: str) -> bool:
        """Take back what is to be published later, by its id; return whether it was there.

        Raises:
            EngineUnavailable: that cannot be kept just now: it stays scheduled. BrokerClosed, TypeError.
        """
        self.life.check()
        return await self.scheduler.cancel(scheduled)

    async def publish_messages(
        self,
        messages: list[Message],
        keys: list[str | None],
        if_lasts: list[int | None] | None = None,
        deliver_ats: list[float | None] | None = None,
    ) -> list[Receipt | ExtraError]:
        """Publish several messages in this order, each with its key, its condition and its time, or None.

        Returns for each its receipt, or what `publish` would raise: that one fails keeps no other out. An
        engine that writes in batches takes them as one, so that this waits once and not for each: but for
        those with a condition or a time, which are decided one by one.
        """
        return await self.publishing.publish_many(messages, keys, if_lasts, deliver_ats)

    def publish_at_once(self, message: Message) -> int:
        """Do what `publish_message` does, if that needs no waiting: return how many subscribers it reached.

        -1: it does need it, and nothing has been done. The rest of a receipt is in the message. Raises as
        `publish` does. Cost: that of `engine.append_at_once`; no coroutine is made.
        """
        return self.publishing.publish_at_once(message)

    async def clear(self, topic: str) -> None:
        """Let go of what a topic retains, if it does.

        Raises:
            InvalidTopic, BrokerClosed, EngineUnavailable, TypeError: as for `publish`.
        """
        check_publication(topic, False, None, None, None, None)
        self.life.check()
        self.limits.check_topic(topic)
        await self.engine.clear(topic)

    def deliver(self, message: Message) -> int:
        """Hand a message that has its place in the log to every session that matches, once each.

        Cost: the match, and one append per session. What a match costs counts as published, so that filters
        made to be hard let the event loop turn as well.
        """
        return self.subscribing.deliver(message)

    # Reading and subscribing in process

    def subscribe(
        self,
        *filters: str,
        since: str = "now",
        overflow: str | None = None,
        retained: bool | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        presence: object = None,
        member: str | None = None,
        session: str | None = None,
        ack: bool | None = None,
        expires: float | None = None,
    ) -> Messages:
        """Return the messages that any of `filters` matches, as an async context manager and iterator.

        `since` is a cursor, "start", "now" or "last:N"; `retained` (default: with "now") brings the retained
        messages first. A subscriber that does not keep up goes back to the log under `overflow="disconnect"`,
        and loses what the log no longer has; "drop-oldest" and "latest" drop from its outbox; with None the
        policy of the first filter says which. Either way `on_gap` is called in order; see `Messages` for what
        happens without one. With `presence` the subscriber is a member of the topics that it subscribes to,
        which are no filters then, and shows this value (True: nothing); with the same `member` again it is
        the same one. With a `session` it goes on where whoever had this name stood, and `since` is for a new
        one; with `ack` that is where `Messages.ack` has come to, without it what the iteration has given. The
        broker lets go of it after `expires` seconds without anybody.

        Raises:
            TypeError: an argument is not of its type; InvalidCommand: there is no filter.

        Raises, on entering:
            InvalidFilter, InvalidCursor, InvalidCommand (an unknown `overflow`), LimitExceeded, BrokerClosed.
        """
        check_subscription(filters, since, overflow, retained)
        shown = self.presence.shown(list(filters), presence, member)
        if session is None and (ack is not None or expires is not None):
            raise InvalidCommand("ack and expires: only with session")
        return Messages(
            self,
            list(filters),
            since,
            overflow,
            retained,
            on_gap,
            shown,
            member or "",
            session or "",
            ack,
            expires,
        )

    def group(
        self,
        name: str,
        *filters: str,
        since: str = "now",
        member: str | None = None,
        ack_wait: float | None = None,
        max_unacknowledged: int | None = None,
        max_deliveries: int | None = None,
        dead_letters: str | None = None,
        order: str | None = None,
        expires: float | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> GroupMessages:
        """Return a member's share of what a group reads, as an async context manager and iterator.

        Each message goes to one member, which acknowledges it within `ack_wait` seconds (30): or it goes to
        another, as it does when the member leaves or gives it back. Nobody has more than `max_unacknowledged`
        (100) at a time. After `max_deliveries` tries a message goes to the topic `dead_letters`. With `order`
        "topic" or "key" (the message's header `key`), one comes when the one before it on its topic, or of
        its key, is done. The first member of a group says what it is like and, the first time, where it
        begins (`since`); the others say the same or nothing. The broker keeps it for `expires` seconds
        without members.

        Raises:
            TypeError: an argument is not of its type; InvalidCommand: there is no filter.

        Raises, on entering:
            GroupConflict, InvalidFilter, InvalidCursor, InvalidCommand, LimitExceeded, EngineUnavailable,
            BrokerClosed.
        """
        check_subscription(filters, since, None, None)
        check_group(name, member, ack_wait, max_unacknowledged, max_deliveries, dead_letters, order, expires)
        options = GroupOptions(ack_wait, max_unacknowledged, max_deliveries, dead_letters, order, expires)
        return GroupMessages(self, name, list(filters), since, options, self.member_id(member), on_gap)

    def member_id(self, member: str | None) -> str:
        """Return under which id somebody is a member of a group: one of its own when it says none."""
        if member is not None:
            check_name("member", member)
            return member
        self.session_number += 1
        return f"{self.run_id}-m{self.session_number}"

    async def begins_after(self, filters: list[str], since: Since) -> int:
        """Return after which offset `since` begins. Raises InvalidCursor, EngineUnavailable, BrokerClosed."""
        self.life.check()
        beginning = await find_beginning(self.engine, filters, since, self.delivered, self.delivered)
        return beginning.after

    def shown(self, filters: list[str], presence: object, member: str | None) -> bytes | None:
        """Return what a subscriber shows where it is present, as JSON; None when it is not.

        Raises:
            InvalidCommand: one cannot be present there, or as that member. InvalidPayload, LimitExceeded.
        """
        return self.presence.shown(filters, presence, member)

    async def history(
        self, *filters: str, since: str = "start", limit: int = 1000, retained: bool | None = None
    ) -> Page:
        """Read a page of what the log has after `since`: at most `limit` messages, and 1 MiB of them.

        Retained messages, if asked for, come first and are not counted.

        Raises:
            InvalidFilter, InvalidCursor, InvalidCommand (`limit` is not from 1 to 10,000), LimitExceeded,
            BrokerClosed; TypeError: an argument is not of its type.
        """
        check_history(filters, since, limit, retained)
        self.limits.check_filters(list(filters))
        return await self.read(
            list(filters), parse_since(since), limit, retained, limit_bytes=HISTORY_LIMIT_BYTES
        )

    def ends(self, filters: list[str]) -> list[End]:
        """Return where topics have ended, of those among `filters` that are topics. Cost: a step each."""
        return ends_of(self.engine, filters)

    def have_ended(self, filters: list[str]) -> bool:
        """Return whether nothing more will come for these: all are topics, and have ended."""
        return len(self.ends(filters)) == len(filters)

    def check_filters(self, filters: list[str]) -> None:
        """Raise InvalidFilter unless all are topic filters, and an error when they are none or too many.

        Raises:
            InvalidFilter, InvalidCommand (none), LimitExceeded (too many).
        """
        self.limits.check_filters(filters)

    async def read(
        self,
        filters: list[str],
        since: Since,
        limit: int,
        retained: bool | None = None,
        *,
        limit_bytes: int = NO_LIMIT,
    ) -> Page:
        """Read a page: what `history` does, for filters that have been checked.

        A page ends at `limit_bytes` as well, by the messages' `size`; one message is always given.
        """
        if limit < 1:
            raise InvalidCommand(f"limit {limit}: a whole number from 1")
        self.life.check()
        return await read_page(self.engine, filters, since, self.delivered, limit, retained, limit_bytes)

    # Sessions

    def open_session(
        self, consumer: Consumer, form: WireForm | None = None, *, overflow: str | None = None
    ) -> Session:
        """Make a session without filters. Raises InvalidCommand when `overflow` is unknown, BrokerClosed.

        Without an `overflow`, the policy of the first filter that it subscribes to says it.
        """
        self.session_number += 1
        return self.subscribing.open(f"{self.run_id}-s{self.session_number}", consumer, form, overflow)

    def close_session(self, session: Session, *, at_once: bool = False) -> None:
        """Take a session out, whatever it is doing. Idempotent.

        Where it was present, its member leaves after the grace time, or with `at_once` now.
        """
        self.subscribing.close(session, at_once=at_once)

    async def add_filters(
        self,
        session: Session,
        filters: list[str],
        since: Since,
        *,
        retained: bool | None = None,
        replay_all: bool = False,
        attendance: tuple[bytes, str] | None = None,
    ) -> Replay:
        """Subscribe a session to filters. It is held afterwards, unless there is nothing to catch up with.

        Then `advance` it until it is live. With `replay_all` false, a message that another filter of the
        session has brought is not replayed, unless the outbox has ever dropped any. One call at a time: a
        session that is held because its outbox overflowed is caught up with before. With an `attendance`,
        what to show and as which member, it is present there, as `Presence.attend` says. The returned
        `Replay` counts, and knows whether it was complete.

        Raises:
            InvalidFilter, InvalidCursor, LimitExceeded, EngineUnavailable: nothing has been added then, but
                the session can be held, for what was published meanwhile.
            ChannelClosed: the session has been closed; BrokerClosed: and so has the broker.
        """
        return await self.subscribing.add_filters(
            session, filters, since, retained=retained, replay_all=replay_all, attendance=attendance
        )

    def remove_filter(self, session: Session, topic_filter: str) -> bool:
        """Unsubscribe a live session from a filter; return whether it was subscribed."""
        return self.subscribing.remove_filter(session, topic_filter)

    def check_claim(self, session: Session | None, name: str, filters: list[str], since: Since) -> None:
        """Raise what subscribing to `filters` would be refused with, before that ends who holds `name`.

        Raises:
            InvalidFilter, InvalidCommand, LimitExceeded; InvalidCursor, where there is no such session.
        """
        self.limits.check_filters(filters)
        if session is not None:
            self.limits.check_room({*session.filters, *filters})
        if name not in self.named.sessions:
            check_reached(self.engine, since, self.delivered)

    def claim(
        self, session: Session, name: str, ack: bool | None = None, expires_s: float | None = None
    ) -> NamedSession:
        """Let a session hold the named session `name`, made if there is none; whoever holds it is ended.

        What the session subscribes to then goes on from `since`, unless `is_new`.

        Raises:
            InvalidCommand: the name or the time is not one, or the session holds another. LimitExceeded.
        """
        return self.named.claim(name, session, ack, expires_s, self.clock.time(), self.delivered)

    def claim_for_page(
        self, name: str, ack: bool | None = None, expires_s: float | None = None
    ) -> NamedSession:
        """Do what `claim` does, for a reader that has no session of its own, but comes for each page."""
        return self.named.claim(name, None, ack, expires_s, self.clock.time(), self.delivered)

    def visit(self, topics: list[str], shown: bytes, member: str) -> None:
        """Let a member be present at topics from now on for the grace time. Raises LimitExceeded."""
        self.presence.visit(topics, shown, member, self.clock.now())

    async def present(self, *filters: str, limit: int = 1000) -> PresencePage:
        """Return who is present at topics that any of `filters` matches: `limit` members at most.

        Raises:
            InvalidFilter, InvalidCommand (`limit` is not from 1 to 10,000), LimitExceeded, BrokerClosed;
            TypeError: an argument is not of its type.
        """
        check_history(filters, "start", limit, None)
        self.limits.check_filters(list(filters))
        self.life.check()
        return self.presence.page(list(filters), self.cursor(), limit)

    async def advance(self, session: Session) -> None:
        """Take one step of catching up: put at most a page into the outbox, or go live.

        The session is held, and has room.

        Raises:
            EngineUnavailable: the log cannot be read just now; the session is as it was.
        """
        await self.catching_up.advance(session)

    async def catch_up(self, session: Session) -> None:
        """Advance a session until it is live, waiting for room in its outbox.

        Raises ChannelClosed when it is closed.
        """
        await self.catching_up.catch_up(session)

    def resume_cursor(self, session: Session) -> str:
        """Return the cursor from which another connection misses nothing that this session was not given.

        To be asked for before the session is closed.
        """
        return self.subscribing.resume_cursor(session)

    def figures(self) -> dict[str, int]:
        """Return counts for metrics, by name: those of the engine, and the broker's own.

        Cost: one step per session.
        """
        figures = self.subscribing.figures()
        figures.update(self.catching_up.figures())
        figures["gaps"] += self.gaps_total
        figures.update(self.publishing.figures())
        figures.update(self.scheduler.figures())
        figures.update(self.named.figures())
        figures.update(self.presence.figures())
        figures.update(self.groups.figures())
        figures.update(self.engine.figures())
        return figures
