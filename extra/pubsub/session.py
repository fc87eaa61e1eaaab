"""One subscriber: its filters, its outbox and where it stands in the log.

How it works. A session is a set of filters and an outbox. It is *live* when everything that its filters
match, up to what the broker has delivered, is in its outbox or beyond: then a delivery is an append. It is
*held* while it catches up with the log: what is published meanwhile is held back in `pending`, so that the
log's messages come first. Catching up goes in steps, which the broker takes one at a time, as the outbox has
room:

1. a `Replay` brings filters that were just added from where they asked to start up to where the session
   stood;
2. all filters are read from `position` until it has come to `pending_from`, above which `pending` holds
   everything that matches;
3. what of `pending` lies above `position` is put behind, and the session is live. No await lies between these
   two.

`pending` is bounded. When it overflows it is thrown away, and `pending_from` moves up: the log has it all. It
moves up, too, when the log has lost something above it: then a gap has told so, and what is pending must not
contradict it.

The order register, hold back, read, merge is what makes it exact: a message published while the log is being
read is either above `pending_from`, and held back, or below, and read. Reading first and registering then
loses what comes between; registering without holding back doubles or reorders it.

Invariants between calls: a live session has no `replay` and nothing pending; `pending` holds all that was
delivered above `pending_from` and matches; each message reaches the outbox once, in offset order but for
replays; `last_offset` is the highest offset ever handed in by delivery.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import ChannelClosed
from extra.pubsub.clock import Clock
from extra.pubsub.message import Gap, Message, WireForm
from extra.pubsub.outbox import DISCONNECT, Outbox
from extra.topics import FilterTree

__all__ = ["CLOSED", "HELD", "LIVE", "Consumer", "Replay", "Session"]

PAGE_LIMIT_MESSAGES: Final = 1000
"""So many messages are put in one step while a session catches up."""
CHECKED_PAGE_LIMIT_MESSAGES: Final = 100
"""And so many where each has to be held against what the session had before."""

LIVE: Final = 0
HELD: Final = 1
CLOSED: Final = 2


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class Consumer(ABC):
    """Who empties the outbox of a session. The calls come from within a fan-out: note them, and act later."""

    @abstractmethod
    def wake(self) -> None:
        """The outbox has something. Not called again before `Session.sleep`."""

    def relieve(self) -> None:  # noqa: B027 - who cannot has nothing to say here
        """The outbox is about to overflow: take what can be taken at once, if anything can.

        A subscriber whose outbox is full because the event loop has not turned yet, and not because it does
        not read, loses nothing then.
        """

    @abstractmethod
    def overflowed(self) -> None:
        """The outbox is full and its policy is `disconnect`.

        The session is held. Either close it, or go on: what did not fit is in the log, and catching up brings
        it.
        """

    def topic_ended(self) -> None:  # noqa: B027 - most go by the message
        """A topic that the session subscribes to has had its last message."""

    def taken_over(self) -> None:  # noqa: B027 - who holds no named session is not told
        """Another has claimed the named session that this one held: come to an end."""

    @abstractmethod
    def broker_closed(self) -> None:
        """The broker is closing, and has closed the session."""


@final
@mypyc_attr(native_class=True)
class Replay:
    """What filters that were added to a session still have to be given.

    That is `retained`, then the log above `after` and up to `until`. `known` is the offset up to which loss
    is known, either told or none: a replay that began without a cursor has -1 until its first look at the
    log. What lies below the highest offset that is lost by then has been promised to nobody; `gone` remembers
    it. `retained` is what is retained, in offset order: `retained[:put]` has been put, and what of it the log
    brings as well is passed over. `skip` holds the filters that the session had before, and from where on
    they have brought everything, or is None.
    """

    __slots__ = (
        "after",
        "complete",
        "count",
        "covered_from",
        "filters",
        "gone",
        "known",
        "passed",
        "put",
        "retained",
        "skip",
        "until",
    )

    def __init__(
        self,
        filters: list[str],
        after: int,
        until: int,
        known: int,
        skip: dict[str, int] | None,
        retained: list[Message],
    ) -> None:
        self.filters = filters
        self.after = after
        self.until = until
        self.known = known
        self.skip: FilterTree[str] | None = None
        self.covered_from: dict[str, int] = {}
        if skip is not None:
            self.covered_from = skip
            self.skip = FilterTree(cache_limit=0)
            for topic_filter in skip:
                self.skip.add(topic_filter, topic_filter)
        self.retained = retained
        self.put = 0
        self.passed = 0
        self.gone = 0
        self.complete = True
        self.count = 0

    def is_covered(self, message: Message) -> bool:
        """Return whether an earlier filter has brought this message."""
        if self.skip is None:
            return False
        for topic_filter in self.skip.match(message.topic):
            if message.offset > self.covered_from[topic_filter]:
                return True
        return False

    def is_given(self, message: Message) -> bool:
        """Return whether a message of the log was among the retained ones. To be asked in offset order."""
        retained = self.retained
        passed = self.passed
        while passed < len(retained) and retained[passed].offset < message.offset:
            passed += 1
        self.passed = passed
        return passed < len(retained) and retained[passed].offset == message.offset

    def page_limit(self) -> int:
        """Return how many messages are put in one step."""
        return PAGE_LIMIT_MESSAGES if self.skip is None else CHECKED_PAGE_LIMIT_MESSAGES

    def next_retained(self) -> Message | None:
        """Return the next retained message that has not been put, None when all have."""
        return self.retained[self.put] if self.put < len(self.retained) else None


@final
@mypyc_attr(native_class=True)
class Session:
    """A subscriber as the broker sees it. Made by `Broker.open_session`; not to be shared between tasks.

    `filters` maps each filter to the offset above which it has brought everything. `former_epoch` is that of
    the cursor with which it came, when the log has begun anew since. `retained_form` is for retained messages
    of a face on which each message moves the position of who reads it. `present` says as which member it is
    present at topics; None when it is at none. `is_subscribing` is true while filters have been added and it
    is not known yet where they begin: nobody can tell then where it would resume.
    """

    __slots__ = (
        "awake",
        "consumer",
        "filters",
        "former_epoch",
        "has_overflow",
        "id",
        "is_subscribing",
        "known",
        "last_offset",
        "outbox",
        "pending",
        "pending_bytes",
        "pending_from",
        "position",
        "present",
        "replay",
        "retained_form",
        "room",
        "state",
    )

    def __init__(
        self,
        session_id: str,
        consumer: Consumer,
        form: WireForm | None,
        limit_bytes: int,
        overflow: int = DISCONNECT,
    ) -> None:
        # What nearly every delivery touches comes first: a cache line.
        self.consumer = consumer
        self.outbox = Outbox(form, limit_bytes, overflow)
        self.state = LIVE
        self.awake = False
        self.last_offset = 0
        self.position = 0
        self.room: asyncio.Future[None] | None = None
        # The rest.
        self.id = session_id
        self.retained_form: WireForm | None = None
        self.filters: dict[str, int] = {}
        self.has_overflow = True
        self.is_subscribing = False
        self.former_epoch = ""
        self.present: dict[str, str] | None = None
        self.known = 0
        self.pending: list[Message] | None = None
        self.pending_bytes = 0
        self.pending_from = 0
        self.replay: Replay | None = None

    def is_live(self) -> bool:
        """Return whether there is nothing to catch up with."""
        return self.state == LIVE

    def receive(self, message: Message) -> bool:
        """Take a message that is being delivered. Constant cost, never awaits.

        False when it did not fit and the policy is `disconnect`: the session is held then, beginning with
        this message.
        """
        self.last_offset = message.offset
        if self.state == LIVE:
            if message.offset <= self.position:
                return True  # read already: the log can be ahead of what its engine has delivered
            if not self.outbox.fits(message):
                self.consumer.relieve()
            if not self.outbox.put(message):
                self.hold(message.offset - 1)
                self._hold_back(message)
                return False
            if not self.awake:
                self.awake = True
                self.consumer.wake()
        elif self.state == HELD:
            self._hold_back(message)
        return True

    def put(self, message: Message) -> None:
        """Put a message of the log or a retained one into the outbox: the caller has waited for room."""
        self.outbox.append(message)
        self._wake()

    def put_retained(self, message: Message) -> None:
        """Put a retained message: in a form of its own, where there is one."""
        if self.retained_form is None:
            self.put(message)
        else:
            self.put_control(message.frame(self.retained_form))

    def put_gap(self, gap: Gap) -> None:
        """Put a gap behind what waits."""
        self.outbox.put_gap(gap)
        self._wake()

    def put_control(self, frame: bytes) -> None:
        """Put a frame of the endpoint's own behind what waits."""
        self.outbox.put_control(frame)
        self._wake()

    def let_go(self, clock: Clock) -> None:
        """Let go of what has expired while it waited. To be called before taking from the outbox."""
        if self.outbox.expires_at != 0.0 and self.outbox.let_go(clock.time()):
            self.made_room()

    def sleep(self) -> None:
        """Say that the outbox has been emptied, or cannot be just now: its next entry wakes the consumer."""
        self.awake = False

    def hold(self, position: int) -> None:
        """Begin to catch up: everything up to `position` has been put, and what comes now is held back."""
        self.state = HELD
        self.position = position
        self.pending_from = position
        self.pending = None
        self.pending_bytes = 0
        self.known = 0

    def reached(self, delivered: int) -> int:
        """Return the offset up to which everything has been put, while the broker is at `delivered`."""
        if self.state == LIVE:
            return max(self.position, delivered)
        reached = self.position
        replay = self.replay
        if replay is not None and replay.after < replay.until:
            reached = min(reached, replay.after)
        if replay is not None:
            retained = replay.next_retained()
            if retained is not None:
                reached = min(reached, retained.offset - 1)
        return reached

    def resume_offset(self, delivered: int) -> int:
        """Return the highest offset from which resuming misses nothing that is not taken yet.

        -1 when it has not been taken yet that the log has begun anew. The session is not closed.
        """
        lowest = self.outbox.lowest()
        if lowest < 0:
            return -1
        reached = self.reached(delivered)
        return min(reached, lowest - 1) if lowest > 0 else reached

    def merge(self) -> None:
        """Put what was held back behind what was read, and go live."""
        pending = self.pending
        self.pending = None
        self.pending_bytes = 0
        self.state = LIVE
        if pending is not None:
            for message in pending:
                if message.offset > self.position:
                    self.put(message)

    def has_room(self) -> bool:
        """Return whether less than half of the outbox is taken: enough for a step of catching up."""
        outbox = self.outbox
        return (outbox.size + outbox.control_size) * 2 < outbox.limit_bytes

    async def wait_for_room(self) -> None:
        """Wait until `has_room`.

        Raises:
            ChannelClosed: the session was closed.
        """
        while not self.has_room() or self.state == CLOSED:
            if self.state == CLOSED:
                raise ChannelClosed("the session is closed")
            self.room = asyncio.get_running_loop().create_future()
            try:
                await self.room
            finally:
                self.room = None

    def made_room(self) -> None:
        """Tell that something was taken from the outbox."""
        if self.room is not None and self.has_room() and not self.room.done():
            self.room.set_result(None)

    def close(self) -> None:
        """Drop everything. The broker has taken the filters out of its tree."""
        self.state = CLOSED
        self.outbox.clear()
        self.pending = None
        self.replay = None
        if self.room is not None and not self.room.done():
            self.room.set_result(None)

    def _hold_back(self, message: Message) -> None:
        if self.pending_bytes + message.size > self.outbox.limit_bytes // 2 and self.pending is not None:
            self.pending = None
            self.pending_bytes = 0
            self.pending_from = message.offset
            return
        if self.pending is None:
            self.pending = []
        self.pending.append(message)
        self.pending_bytes += message.size

    def _wake(self) -> None:
        if not self.awake:
            self.awake = True
            self.consumer.wake()
