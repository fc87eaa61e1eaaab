"""How a session that is held comes to be live: the steps of `session.py`, one at a time."""

import asyncio
from typing import final

from mypy_extensions import mypyc_attr

from extra.pubsub.beginning import FROM_START
from extra.pubsub.clock import Clock
from extra.pubsub.engine import Engine
from extra.pubsub.message import Gap
from extra.pubsub.position import format_cursor
from extra.pubsub.session import HELD, LIVE, PAGE_LIMIT_MESSAGES, Replay, Session

__all__ = ["CatchingUp"]


@final
@mypyc_attr(native_class=True)
class CatchingUp:
    """Brings sessions of one broker what its log has for them, and tells them what it has no more."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self.clock = clock
        self.replayed_total = 0
        self.gaps_total = 0

    async def advance(self, session: Session) -> None:
        """Take one step of catching up: put at most a page into the outbox, or go live.

        The session is held, and has room.

        Raises:
            EngineUnavailable: the log cannot be read just now; the session is as it was.
        """
        replay = session.replay
        if replay is not None and replay.next_retained() is not None:
            self._put_retained(session, replay)
            await asyncio.sleep(0)
        elif replay is not None and replay.after < replay.until:
            await self._replay(session, replay)
        elif session.position < session.pending_from:
            await self._read_on(session, replay)
        else:
            session.replay = None
            session.merge()

    async def catch_up(self, session: Session) -> None:
        """Advance a session until it is live, waiting for room in its outbox.

        Raises ChannelClosed when it is closed.
        """
        while session.state != LIVE:
            await session.wait_for_room()
            await self.advance(session)

    def put_gap(self, session: Session, gap: Gap) -> None:
        """Tell a session of a gap behind what waits for it."""
        gap.cursor = format_cursor(self.engine.epoch(), gap.after or 0, gap.until)
        self.gaps_total += 1
        session.put_gap(gap)

    def figures(self) -> dict[str, int]:
        """Return counts for metrics, by name."""
        return {"replayed": self.replayed_total, "gaps": self.gaps_total}

    def _put_retained(self, session: Session, replay: Replay) -> None:
        limit = replay.put + replay.page_limit()
        time = self.clock.time()
        while (message := replay.next_retained()) is not None:
            replay.put += 1
            if not replay.is_covered(message) and not message.is_expired(time):
                session.put_retained(message)
                replay.count += 1
            if replay.put == limit or not session.has_room():
                break

    async def _replay(self, session: Session, replay: Replay) -> None:
        """Read on for the filters that were just added."""
        piece = await self.engine.read(
            replay.filters,
            replay.after,
            replay.until,
            replay.page_limit(),
            session.outbox.limit_bytes // 4,
        )
        if session.state != HELD:
            return
        if replay.known < 0:
            if replay.known == FROM_START and 0 < piece.evicted_until <= replay.until:
                replay.complete = False
            replay.known = piece.evicted_until
            replay.gone = min(piece.evicted_until, replay.until)
        elif piece.evicted_until > max(replay.known, replay.after):
            replay.complete = False
            only = replay.filters[0] if len(replay.filters) == 1 else None
            self.put_gap(session, Gap(replay.after, piece.evicted_until, "evicted", filter=only))
            replay.known = piece.evicted_until
            session.pending_from = max(session.pending_from, piece.evicted_until)
            if len(replay.filters) == len(session.filters):
                session.known = piece.evicted_until  # all that the session subscribes to
        for message in piece.messages:
            if not replay.is_given(message) and not replay.is_covered(message):
                session.put(message)
                replay.count += 1
        self.replayed_total += len(piece.messages)
        replay.after = piece.position
        if piece.position < replay.until:
            await asyncio.sleep(0)  # a step is bounded work; many in a row are not

    async def _read_on(self, session: Session, replay: Replay | None) -> None:
        """Read on for all filters, up to what is held back."""
        piece = await self.engine.read(
            list(session.filters),
            session.position,
            session.pending_from,
            PAGE_LIMIT_MESSAGES,
            session.outbox.limit_bytes // 4,
        )
        if session.state != HELD:
            return
        if piece.evicted_until > max(session.known, session.position):
            self.put_gap(session, Gap(session.position, piece.evicted_until, "evicted"))
            session.known = piece.evicted_until
            session.pending_from = max(session.pending_from, piece.evicted_until)
            if replay is not None:
                replay.complete = False
        for message in piece.messages:
            session.put(message)
        self.replayed_total += len(piece.messages)
        session.position = piece.position
        if piece.position < session.pending_from:
            await asyncio.sleep(0)
