"""One subscription of a client: where it stands, and what its consumer has still to take.

How it works. See subscriptions.py, whose tables of states this follows. A position is what is asked for again
when the connection is lost.

Retained messages lie before the position. A replay that was asked for with them begins with them, in the
order of offsets: a message that was published to be retained, and lies beyond the one before, belongs to that
stage and leaves the position alone. The first that is neither ends the stage, and so does `subscribed`. A
stage that was cut short is asked for again, and what it had brought is skipped; one that came to its end
never is.

A subscription that began with a cursor has its position from there. `start` and `last:N` get one with the
first message of the log, `now` with `subscribed`; until then the original `since` is asked for again. One
begins for its consumer when it is confirmed, or when it has a position and something to give.

Invariants between calls: a position never goes back within an epoch; what lies at or before it is in the
inbox, or has been taken, dropped under the policy, or told of as lost.
"""

import asyncio
from collections.abc import Iterable
from enum import Enum, auto
from typing import cast

from extra.errors import ExtraError, InvalidCommand
from extra.protocols.commands import Overflow, Subscribe
from extra.pubsub import (
    Gap,
    Message,
    Outbox,
    Position,
    format_cursor,
    parse_cursor,
    parse_overflow,
    parse_since,
)
from extra.topics import check_filter

__all__ = ["State", "Subscription"]


class State(Enum):
    """Where a subscription stands. The transitions are in subscriptions.py."""

    WAITING = auto()
    ASKED = auto()
    REPLAYING = auto()
    LIVE = auto()
    ASIDE = auto()
    CLOSED = auto()


class Subscription:
    """Filters, the position up to which everything has been taken, and an inbox for the consumer.

    `began` is the position where it began; it and `position` are None until they are known. `complete` says
    whether everything since then is or was to be had. `dropped_before` counts what the broker dropped under
    its own policy. `changed` is set when there may be something for the consumer, who sets `is_entered` when
    it starts; `error` is what ended it.

    Raises:
        InvalidFilter, InvalidCursor, InvalidCommand: an argument is not what it should be.
    """

    def __init__(
        self,
        filters: Iterable[str],
        since: str,
        overflow: str | None,
        retained: bool | None,
        limit_bytes: int,
    ) -> None:
        self.filters = tuple(dict.fromkeys(filters))
        if not self.filters:
            raise InvalidCommand("at least one topic filter is needed")
        for topic_filter in self.filters:
            check_filter(topic_filter)
        self.since = since
        self.position = parse_since(since).position
        self.began = self.position
        self.inbox = Outbox(None, limit_bytes, parse_overflow(overflow or "disconnect"))
        self.overflow = cast("Overflow | None", overflow)  # checked just above
        self.state = State.WAITING
        self.changed = asyncio.Event()
        self.complete = True
        self.dropped_before = 0
        self.is_entered = False
        self.error: ExtraError | None = None
        self.presence: object = None  # what is shown where it is present
        self.member: str | None = None
        self._ended: set[str] = set()
        self._is_confirmed = False
        self._wants_retained = retained if retained is not None else since == "now"
        self._is_in_stage = False  # the retained messages of a replay are coming ...
        self._stage_offset = 0  # ... up to here so far
        self._kept_until = 0  # the last retained message that was taken ...
        self._kept_epoch = ""  # ... in this epoch

    @property
    def has_begun(self) -> bool:
        """Whether the consumer can start: what it takes from here on can be resumed without loss."""
        return self._is_confirmed or (self.position is not None and len(self.inbox) > 0)

    @property
    def waits(self) -> bool:
        """Whether what does not fit into the inbox is waited for, and not dropped."""
        return self.overflow in (None, "disconnect")

    @property
    def is_crowded(self) -> bool:
        """Whether more than half of the inbox is taken up."""
        return self.inbox.size * 2 > self.inbox.limit_bytes

    def command(self, identifier: str, overflow: Overflow | None) -> Subscribe:
        """Return the command that asks for what is still to come."""
        position = self.position
        since = self.since
        if position is not None:
            since = format_cursor(position.epoch, position.offset, position.known)
        return Subscribe(
            id=identifier,
            filter=list(self.filters),
            since=since,
            overflow=overflow,
            retained=self._wants_retained,
            replay="all",
            presence=self.presence,
            member=self.member,
        )

    def begin_replay(self, epoch: str) -> None:
        """Take messages from here on: what comes next is the replay."""
        self.state = State.REPLAYING
        self._is_in_stage = self._wants_retained
        self._stage_offset = 0
        if self._kept_epoch != epoch:
            self._kept_epoch = epoch
            self._kept_until = 0

    def take(self, message: Message) -> bool:
        """Take a message if it is beyond the position, or a retained one; False when there is no room for it.

        When set aside, take nothing, but note where the replay begins.
        """
        if self._is_in_stage:
            if message.retained and message.offset > self._stage_offset:
                return self._take_retained(message)
            self._is_in_stage = False
            if self.state is State.REPLAYING:
                self._wants_retained = False
        self._ended.discard(message.topic)  # it has been opened anew
        position = self.position
        if position is None:
            self._begin_at(message.epoch, 0 if self.since == "start" else message.offset - 1)
        elif position.epoch == message.epoch and position.offset >= message.offset:
            return True
        if self.state is State.ASIDE or not self.inbox.put(message):
            return False
        self._move(message.epoch, message.offset)
        self.changed.set()
        return True

    def confirm(self, cursor: str, *, complete: bool) -> None:
        """Go live: the replay is over, and from `cursor` nothing will be missed.

        When set aside, only note where it begins.
        """
        at = parse_cursor(cursor)
        position = self.position
        if position is None:
            self._begin_at(at.epoch, at.offset)
        if self.state is State.REPLAYING:
            self.state = State.LIVE
            self.complete = self.complete and complete
            self._is_confirmed = True
            self._wants_retained = False
            if position is None or position.epoch != at.epoch or position.offset < at.offset:
                self._move(at.epoch, at.offset, at.known)
        self._is_in_stage = False
        self.changed.set()

    def tell(self, gap: Gap, epoch: str) -> None:
        """Put a gap behind what waits, and take note that the loss is known."""
        if gap.reason == "overflow":
            self.dropped_before += gap.dropped
        elif gap.reason == "epoch":
            self.complete = False
            self._move(epoch, 0)
        else:
            self.complete = False
            position = self.position
            is_same_epoch = position is not None and position.epoch == epoch
            offset = position.offset if position is not None and is_same_epoch else gap.after or 0
            self._move(epoch, offset, gap.until)
        self.inbox.put_gap(gap)
        self.changed.set()

    def end(self, topic: str, offset: int, epoch: str) -> bool:
        """Note that a topic has ended, and return whether all that is subscribed to have.

        One who has not been given everything up to there will be told again.
        """
        position = self.position
        if position is not None and position.epoch == epoch and position.offset >= offset:
            self._ended.add(topic)
        return self._ended.issuperset(self.filters)

    def close(self, error: ExtraError | None = None) -> None:
        """End it: the consumer gets what waits, and then `error` or the end."""
        self.state = State.CLOSED
        self.error = error
        self.changed.set()

    def _take_retained(self, message: Message) -> bool:
        self._stage_offset = message.offset
        if message.offset <= self._kept_until:
            return True
        if self.state is State.ASIDE or not self.inbox.put(message):
            return False
        self._kept_until = message.offset
        self.changed.set()
        return True

    def _begin_at(self, epoch: str, offset: int) -> None:
        self.position = self.began = Position(epoch, offset)

    def _move(self, epoch: str, offset: int, known: int = 0) -> None:
        position = self.position
        if position is not None and position.epoch == epoch:
            known = max(known, position.known)
        self.position = Position(epoch, offset, known)
        if self.began is None:
            self.began = self.position
