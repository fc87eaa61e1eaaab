"""The sessions of a broker: what they subscribe to, and delivering to them."""

from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import ChannelClosed
from extra.pubsub.beginning import find_beginning
from extra.pubsub.catching_up import CatchingUp
from extra.pubsub.clock import Clock
from extra.pubsub.engine import Engine
from extra.pubsub.life import Life
from extra.pubsub.limits import BrokerLimits
from extra.pubsub.message import Gap, Message, WireForm
from extra.pubsub.named import NamedSessions
from extra.pubsub.outbox import parse_overflow
from extra.pubsub.pace import Pace
from extra.pubsub.position import Since, format_cursor
from extra.pubsub.presence import Presence
from extra.pubsub.session import CLOSED, Consumer, Replay, Session
from extra.topics import FilterTree, matches

__all__ = ["STEP_BYTES", "Subscribing"]

STEP_BYTES: Final = 8
"""A step of matching counts as so many bytes that are published: 16,384 make up a stretch, some 5 ms."""


@final
@mypyc_attr(native_class=True)
class Subscribing:
    """The sessions of one broker by id, and the tree of their filters. `delivered` is the last offset."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        limits: BrokerLimits,
        life: Life,
        pace: Pace,
        catching_up: CatchingUp,
        named: NamedSessions,
        presence: Presence,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.limits = limits
        self.life = life
        self.pace = pace
        self.catching_up = catching_up
        self.named = named
        self.presence = presence
        self.tree: FilterTree[Session] = FilterTree(cache_limit=limits.match_cache_topics)
        self.sessions: dict[str, Session] = {}
        self.delivered = 0
        self.deliveries_total = 0
        self.dropped_total = 0
        self.overflows_total = 0

    def deliver(self, message: Message) -> int:
        """Hand a message that has its place in the log to every session that matches, once each.

        Cost: the match, and one append per session. What a match costs counts as published, so that filters
        made to be hard let the event loop turn as well.
        """
        offset = message.offset
        self.delivered = offset
        reached = 0
        steps = self.tree.steps()
        for session in self.tree.match(message.topic):
            if session.last_offset != offset:
                reached += 1
                if not session.receive(message):
                    self.overflows_total += 1
                    session.consumer.overflowed()
        if message.close:
            for session in self.tree.match(message.topic):
                session.consumer.topic_ended()
        self.deliveries_total += reached
        self.pace.spend((self.tree.steps() - steps) * STEP_BYTES)
        return reached

    def open(self, id: str, consumer: Consumer, form: WireForm | None, overflow: str | None) -> Session:
        """Make a session without filters. Raises InvalidCommand when `overflow` is unknown, BrokerClosed.

        Without an `overflow`, the policy of the first filter that it subscribes to says it.
        """
        self.life.check()
        policy = parse_overflow(overflow or "disconnect")
        session = Session(id, consumer, form, self.limits.outbox_limit_bytes, policy)
        session.has_overflow = overflow is not None
        self.sessions[id] = session
        return session

    def close(self, session: Session, *, at_once: bool) -> None:
        """Take a session out, whatever it is doing. Idempotent.

        Where it was present, its member leaves after the grace time, or with `at_once` now.
        """
        if session.state == CLOSED:
            return
        now = self.clock.now()
        for topic in list(session.present or ()):
            self.presence.depart(session, topic, now, at_once=at_once)
        self.named.release(session, self.clock.time(), self.delivered)
        for topic_filter in session.filters:
            self.tree.remove(topic_filter, session)
        session.filters.clear()
        self.dropped_total += session.outbox.dropped
        del self.sessions[session.id]
        session.close()

    async def add_filters(
        self,
        session: Session,
        filters: list[str],
        since: Since,
        *,
        retained: bool | None,
        replay_all: bool,
        attendance: tuple[bytes, str] | None,
    ) -> Replay:
        """Subscribe a session to filters. It is held afterwards, unless there is nothing to catch up with.

        Raises:
            InvalidFilter, InvalidCursor, LimitExceeded, EngineUnavailable: nothing has been added then, but
                the session can be held, for what was published meanwhile.
            ChannelClosed: the session has been closed; BrokerClosed: and so has the broker.
        """
        self._check(session)
        self.limits.check_filters(filters)
        filters = list(dict.fromkeys(filters))
        self.limits.check_room({*session.filters, *filters})
        await self.catching_up.catch_up(session)
        assert session.replay is None, "a session catches up with one subscription at a time"
        had_filters = dict(session.filters) if session.filters else None
        if not session.has_overflow:
            session.has_overflow = True
            session.outbox.overflow = parse_overflow(self.engine.policies().overflow(filters[0]))
        stood = session.reached(self.delivered)
        session.hold(stood)  # register first: from here on what is published is held back
        session.is_subscribing = True
        for topic_filter in filters:
            if topic_filter not in session.filters:
                session.filters[topic_filter] = stood
                self.tree.add(topic_filter, session)
        try:
            kept: list[Message] = []
            if retained if retained is not None else since.kind == "now":
                kept = [message for message in await self.engine.retained(filters) if message.offset <= stood]
            beginning = await find_beginning(self.engine, filters, since, stood, self.delivered)
            self._check(session)
            if attendance is not None:
                shown, member = attendance
                self.presence.attend(session, filters, shown, member)
        except BaseException:
            self._take_back(session, filters, had_filters)
            raise
        finally:
            session.is_subscribing = False
        after = beginning.after
        for topic_filter in filters:
            session.filters[topic_filter] = min(session.filters[topic_filter], after)
        skip: dict[str, int] | None = None
        if had_filters is not None and not replay_all and session.outbox.dropped == 0:
            skip = {each: had_filters[each] for each in had_filters if each not in filters}
        replay = Replay(filters, after, stood, beginning.known, skip, kept)
        if not beginning.is_same_epoch:
            assert since.position is not None
            session.former_epoch = since.position.epoch
            replay.complete = False
            only = filters[0] if len(filters) == 1 else None
            self.catching_up.put_gap(session, Gap(None, 0, "epoch", filter=only))
        session.replay = replay
        if not kept and after >= stood and session.pending_from == stood and session.pending is None:
            session.replay = None
            session.merge()
        return replay

    def remove_filter(self, session: Session, topic_filter: str) -> bool:
        """Unsubscribe a live session from a filter; return whether it was subscribed."""
        if topic_filter not in session.filters:
            return False
        self.named.follow_holder(
            session, self.delivered
        )  # without filters nobody can tell where it would resume
        del session.filters[topic_filter]
        self.tree.remove(topic_filter, session)
        self.presence.depart(session, topic_filter, self.clock.now(), at_once=True)
        return True

    def resume_cursor(self, session: Session) -> str:
        """Return the cursor from which another connection misses nothing that this session was not given.

        To be asked for before the session is closed.
        """
        offset = session.resume_offset(self.delivered)
        if offset < 0:
            return format_cursor(session.former_epoch, 0)
        return format_cursor(self.engine.epoch(), offset)

    def figures(self) -> dict[str, int]:
        """Return counts for metrics, by name. Cost: one step per session."""
        tree = self.tree.statistics()
        dropped = self.dropped_total
        for session in self.sessions.values():
            dropped += session.outbox.dropped
        return {
            "sessions": len(self.sessions),
            "subscriptions": tree.items,
            "filters": tree.filters,
            "match_cache_topics": tree.cache_size,
            "match_cache_hits": tree.hits,
            "match_cache_misses": tree.misses,
            "deliveries": self.deliveries_total,
            "dropped": dropped,
            "overflows": self.overflows_total,
        }

    def _check(self, session: Session) -> None:
        self.life.check()
        if session.state == CLOSED:
            raise ChannelClosed("the session is closed")

    def _take_back(self, session: Session, filters: list[str], had_filters: dict[str, int] | None) -> None:
        """Undo the registration of filters whose subscription failed."""
        if session.state == CLOSED:
            return
        for topic_filter in filters:
            if had_filters is None or topic_filter not in had_filters:
                self.remove_filter(session, topic_filter)
        if not session.filters:
            session.position = session.pending_from
        if session.pending is not None:
            session.pending = [
                message
                for message in session.pending
                if any(matches(topic_filter, message.topic) for topic_filter in session.filters)
            ]
        if session.position >= session.pending_from:
            session.merge()
