"""Between a session of the core and the connection that it is sent over: what WebSocket and SSE share.

A fan-out appends to outboxes and wakes their feeds. The flusher collects the feeds that were woken in one
turn of the event loop and writes each outbox at once: one write per subscriber and turn, and no task, timer
or await per delivery. After so many feeds it lets the loop go on, so that a fan-out to very many holds up
nobody else.
"""

import asyncio
import logging
from abc import abstractmethod
from typing import Final, final

from mypy_extensions import mypyc_attr

from broker.endpoints.forms import SharedForm
from broker.endpoints.reasons import NotSubscribed
from broker.endpoints.shares import FeedShare, check_dead_letters
from extra.errors import ChannelClosed, InvalidCommand
from extra.http import Wire
from extra.pubsub import Broker, Consumer, GroupOptions, Since
from extra.pubsub.session import CLOSED

__all__ = ["Feed", "Flusher"]

FEEDS_PER_TURN: Final = 1000
CHUNK_BYTES: Final = 256 * 1024
"""So much is handed to the transport before asking it again whether it takes more."""

logger: Final = logging.getLogger("extra.broker")


@final
@mypyc_attr(native_class=True)
class Flusher:
    """Writes out the feeds that have something, once per turn of the loop."""

    __slots__ = ("feeds", "is_scheduled", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.feeds: list[Feed] = []
        self.is_scheduled = False

    def add(self, feed: "Feed") -> None:
        """Flush `feed` in the next turn. The caller sees to it that a feed is added once."""
        self.feeds.append(feed)
        if not self.is_scheduled:
            self.is_scheduled = True
            self.loop.call_soon(self.run)

    def run(self) -> None:
        """Flush what was added before this turn, at most `FEEDS_PER_TURN`."""
        feeds = self.feeds
        if len(feeds) > FEEDS_PER_TURN:
            self.feeds = feeds[FEEDS_PER_TURN:]
            del feeds[FEEDS_PER_TURN:]
            self.loop.call_soon(self.run)
        else:
            self.feeds = []
            self.is_scheduled = False
        for feed in feeds:
            try:
                feed.flush()
            except Exception:  # one connection's failure is not its neighbours'
                logger.exception("a connection failed and is aborted")
                feed.abort()


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class Feed(Consumer):
    """A session that is sent over a wire, in the form that its face speaks."""

    def __init__(self, broker: Broker, flusher: Flusher, form: SharedForm, overflow: str | None) -> None:
        """Open a session. Raises InvalidCommand when `overflow` is unknown, BrokerClosed."""
        super().__init__()
        self.wire: Wire | None = None
        self.is_slow = False
        self.leaves_at_once = False
        self.quiet_s = 0
        self.form = form
        self.shares: dict[str, FeedShare] | None = None  # of groups, by their names
        self.flusher = flusher
        self.session = broker.open_session(self, form, overflow=overflow)
        self.broker = broker

    def wake(self) -> None:
        self.flusher.add(self)

    def relieve(self) -> None:
        """Write out what the wire takes. One that has more than enough is a client that does not read."""
        wire = self.wire
        if wire is not None and wire.writable and not self.is_slow:
            self.session.let_go(self.broker.clock)
            wire.write(self.session.outbox.take_bytes(CHUNK_BYTES))
            self.quiet_s = 0

    def overflowed(self) -> None:
        self.is_slow = True
        self.wake()

    def broker_closed(self) -> None:
        """The broker closes after every feed has been ended: nothing is left to tell."""

    def flush(self) -> None:
        """Write what waits, as far as the wire takes it."""
        wire = self.wire
        session = self.session
        if self.is_slow:
            self.end("slow", 0.0)
            return
        if wire is None or not wire.writable:
            return  # `attach` or `writable` comes back to it
        session.let_go(self.broker.clock)
        data = session.outbox.take_bytes(CHUNK_BYTES)
        if data:
            wire.write(data)
            self.quiet_s = 0
            session.made_room()
            if self.shares is not None:
                for share in self.shares.values():
                    share.made_room()
        if session.outbox.is_empty:
            session.awake = False
        elif wire.writable:
            self.flusher.add(self)

    async def join(
        self, name: str, filters: list[str], options: GroupOptions, since: Since, member: str | None
    ) -> FeedShare:
        """Be a member of a group; of the same one again is no error. None is a member of the session's name.

        Raises as `check_dead_letters` and `Groups.join` do; InvalidCommand: it is another member already, or
        that is no name; ChannelClosed: the connection is over.
        """
        id = self.session.id if member is None else self.broker.member_id(member)
        check_dead_letters(self.broker, name, filters, options)
        if self.shares is None:
            self.shares = {}
        share = self.shares.get(name)
        if share is not None and share.id != id:
            raise InvalidCommand(f"this connection is member {share.id[:80]!r} of the group already")
        if share is None:
            share = FeedShare(id, name, self.session, self.form)
        await self.broker.groups.join(name, filters, options, since, share)
        if self.session.state == CLOSED:
            share.leave()
            raise ChannelClosed("the connection is over")
        self.shares[name] = share
        return share

    def share(self, name: str) -> FeedShare:
        """Return what this connection has of a group. Raises NotSubscribed when it is no member."""
        share = self.shares.get(name) if self.shares is not None else None
        if share is None:
            raise NotSubscribed(f"not in group {name[:80]!r}")
        return share

    def leave(self, name: str) -> None:
        """Be a member of a group no longer. Raises NotSubscribed as `share` does."""
        self.share(name).leave()
        assert self.shares is not None
        del self.shares[name]

    def attach(self, wire: Wire) -> None:
        """Begin to write to `wire`."""
        self.wire = wire
        self.writable()

    def writable(self) -> None:
        """Go on after the wire took what it had."""
        if self.session.awake:
            self.flusher.add(self)

    def abort(self) -> None:
        """Cut the connection."""
        if self.wire is not None:
            self.wire.abort()

    def last_cursor(self) -> str:
        """Write out what the wire takes at once, let go of the session, and return where to resume it."""
        wire = self.wire
        if wire is not None and wire.writable and not self.is_slow:
            self.session.let_go(self.broker.clock)
            wire.write(self.session.outbox.take_bytes(self.session.outbox.limit_bytes))
        cursor = self.broker.resume_cursor(self.session)
        self.detach()
        return cursor

    def detach(self) -> None:
        """Let go of the session and the wire: the connection is over, or about to be."""
        self.wire = None
        self.is_slow = False
        if self.shares is not None:
            for share in self.shares.values():
                share.leave()
            self.shares = None
        self.broker.close_session(self.session, at_once=self.leaves_at_once)

    @abstractmethod
    def end(self, reason: str, reconnect_after_s: float) -> None:
        """Tell the client where to resume and when to come back, and close the connection."""
