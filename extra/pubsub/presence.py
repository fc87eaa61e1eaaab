"""Who is here: members of topics, with what each chose to show, and messages about their coming and going.

A subscriber that says so is present at the topics that it subscribes to. It is a member there, under an id of
its own choice: connections with the same id are one member. When the last of them is lost, the member stays
for a grace time, so that a long-poller between two polls and somebody whose connection broke have not left;
who says that it leaves has left at once.

Comings and goings at `TOPIC` are messages on `$presence/TOPIC`. They go through the log as all others do, so
a snapshot and the cursor that comes with it, followed by a subscription from there, miss nothing. Where a
topic has more members than `told_members`, messages tell their number alone, and once a second at most.

Cost: a coming or going is a few dict operations and one message; the grace time is one for all, so that those
who are leaving stand in the order in which they will have left. All of it is gone with the process.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict, deque
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import EngineUnavailable, ExtraError, InvalidCommand, InvalidPayload, LimitExceeded
from extra.pubsub.engine import Engine
from extra.pubsub.message import Message
from extra.pubsub.session import Session
from extra.topics import TopicIndex, has_wildcard

__all__ = ["Member", "Place", "Presence", "PresencePage", "check_presence", "encode_shown"]

PREFIX: Final = "$presence/"
MEMBER_LIMIT_BYTES: Final = 64
SNAPSHOT_PLACES: Final = 10_000
"""So many topics are in one snapshot at most."""
RUN_MESSAGES: Final = 1_000
"""So many messages are handed at once to an engine that writes in batches."""
SWEEP_LEAVES: Final = 2_000
"""So many leave in one sweep, some 20 ms; after a great loss of connections the others in the next ones."""


@final
@mypyc_attr(native_class=True)
class Member:
    """Somebody who is present at a topic: its id, and what it shows, as JSON."""

    __slots__ = ("connections", "id", "leaves_at", "shown")

    def __init__(self, id: str, shown: bytes) -> None:
        self.id = id
        self.shown = shown
        self.connections = 1
        self.leaves_at = 0.0

    @property
    def data(self) -> object:
        """What it shows, decoded anew at each call."""
        value: object = json.loads(self.shown)
        return value


@final
@mypyc_attr(native_class=True)
class Place:
    """A topic where somebody is present. `count` is how many are, `members` who, as far as was asked for."""

    __slots__ = ("count", "members", "topic")

    def __init__(self, topic: str, count: int, members: list[Member]) -> None:
        self.topic = topic
        self.count = count
        self.members = members


@final
@mypyc_attr(native_class=True)
class PresencePage:
    """A snapshot. `count` is of all places; `more` says that not all members, or places, are in it.

    Subscribing to `$presence/..` from `cursor` brings what has changed since.
    """

    __slots__ = ("count", "cursor", "more", "places")

    def __init__(self, places: list[Place], count: int, cursor: str, more: bool) -> None:
        self.places = places
        self.count = count
        self.cursor = cursor
        self.more = more


@final
@mypyc_attr(native_class=True)
class Room:
    """The members of one topic by id, and whether their number is still to be told."""

    __slots__ = ("is_untold", "members")

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.is_untold = False


@final
@mypyc_attr(native_class=True)
class Presence:
    """The members of all topics of one broker, and the messages about them on their way into the log."""

    def __init__(
        self,
        engine: Engine,
        *,
        limit_members: int = 100_000,
        told_members: int = 1_000,
        data_limit_bytes: int = 1024,
        grace_s: float = 10.0,
    ) -> None:
        self.engine = engine
        self.limit_members = limit_members
        self.told_members = told_members
        self.data_limit_bytes = data_limit_bytes
        self.grace_s = grace_s
        self.rooms: dict[str, Room] = {}
        self.index = TopicIndex()
        self.count = 0
        self.leaving: OrderedDict[tuple[str, str], float] = OrderedDict()  # when, by topic and id
        self.untold: dict[str, None] = {}  # topics whose number of members is to be told
        self.waiting: deque[Message] = deque()
        self.task: asyncio.Task[None] | None = None
        self.joined_total = 0
        self.left_total = 0

    def join(self, topic: str, id: str, shown: bytes) -> None:
        """Note one more connection of a member.

        Raises:
            LimitExceeded: there are as many members as there may be.
        """
        room = self.rooms.get(topic)
        if room is None:
            room = Room()
        member = room.members.get(id)
        if member is not None:
            member.connections += 1
            if member.leaves_at:
                member.leaves_at = 0.0
                del self.leaving[topic, id]
            if member.shown != shown:
                member.shown = shown
                self._tell(topic, room, "update", member)
            return
        if self.count >= self.limit_members:
            raise LimitExceeded(
                f"more members than {self.limit_members} would be present (broker.presence_limit_members)"
            )
        if topic not in self.rooms:
            self.rooms[topic] = room
            self.index.add(topic)
        member = Member(id, shown)
        room.members[id] = member
        self.count += 1
        self.joined_total += 1
        self._tell(topic, room, "join", member)

    def leave(self, topic: str, id: str, now: float, *, at_once: bool) -> None:
        """Note that a connection of a member is over. With its last, the member leaves: after the grace time,
        or at once.
        """
        room = self.rooms.get(topic)
        member = room.members.get(id) if room is not None else None
        if member is None or member.connections == 0:
            return
        member.connections -= 1
        if member.connections == 0:
            if at_once or self.grace_s <= 0:
                self._remove(topic, id)
            else:
                member.leaves_at = now + self.grace_s
                self.leaving[topic, id] = member.leaves_at

    def attend(self, session: Session, topics: list[str], shown: bytes, id: str) -> None:
        """Let a session be present at topics, which it is subscribed to, as a member that shows this JSON.

        Without an `id`, under the session's own. `check_presence` and `encode_shown` have been asked.

        Raises:
            LimitExceeded: there are too many members; then it is present where it was before.
        """
        id = id or session.id
        present = session.present
        if present is None:
            present = session.present = {}
        joined: list[str] = []
        try:
            for topic in topics:
                self.join(topic, id, shown)
                joined.append(topic)
        except LimitExceeded:
            for topic in joined:
                self.leave(topic, id, 0.0, at_once=True)
            raise
        for topic in topics:
            former = present.get(topic)
            present[topic] = id
            if former is not None:
                self.leave(topic, former, 0.0, at_once=True)

    def depart(self, session: Session, topic: str, now: float, *, at_once: bool) -> None:
        """Let a session be present at a topic no longer, if it was."""
        if session.present is not None:
            id = session.present.pop(topic, None)
            if id is not None:
                self.leave(topic, id, now, at_once=at_once)

    def visit(self, topics: list[str], shown: bytes, id: str, now: float) -> None:
        """Let a member be present at topics from now on for the grace time. Raises LimitExceeded."""
        for topic in topics:
            self.join(topic, id, shown)
            self.leave(topic, id, now, at_once=False)

    def shown(self, filters: list[str], value: object, id: str | None) -> bytes | None:
        """Return what a subscriber shows where it is present, as JSON; None when it is not.

        Raises:
            InvalidCommand: one cannot be present there, or as that member. InvalidPayload, LimitExceeded.
        """
        if value is None or value is False:
            if id is not None:
                raise InvalidCommand("member: only with presence")
            return None
        check_presence(filters, "-" if id is None else id)
        return encode_shown(value, self.data_limit_bytes)

    def sweep(self, now: float) -> None:
        """Let go of those whose grace time is over, and tell numbers that have changed."""
        left_before = self.left_total
        while self.leaving and self.left_total - left_before < SWEEP_LEAVES:
            (topic, id), leaves_at = next(iter(self.leaving.items()))
            if leaves_at > now:
                break
            del self.leaving[topic, id]
            self._remove(topic, id)
        untold = list(self.untold)
        self.untold.clear()
        for topic in untold:
            room = self.rooms.get(topic)
            count = 0
            if room is not None:
                room.is_untold = False
                count = len(room.members)
            self._put(topic, {"event": "count", "count": count})
        self._send()

    def page(self, filters: list[str], cursor: str, limit: int) -> PresencePage:
        """Return who is present at topics that any of `filters` matches: `limit` members at most.

        0 asks for numbers alone: then `more` says that not all places are in it.
        """
        topics: dict[str, None] = {}
        for topic_filter in filters:
            for topic in self.index.matching(topic_filter, SNAPSHOT_PLACES + 1):
                topics[topic] = None
        places: list[Place] = []
        count = 0
        left = limit
        more = len(topics) > SNAPSHOT_PLACES
        for topic in sorted(topics)[:SNAPSHOT_PLACES]:
            members = self.rooms[topic].members
            count += len(members)
            shown = list(members.values())[:left] if left > 0 else []
            left -= len(shown)
            more = more or (limit > 0 and len(shown) < len(members))
            places.append(Place(topic, len(members), shown))
        return PresencePage(places, count, cursor, more)

    def figures(self) -> dict[str, int]:
        """Return counts for metrics, by name."""
        return {
            "presence_members": self.count,
            "presence_topics": len(self.rooms),
            "presence_joined": self.joined_total,
            "presence_left": self.left_total,
        }

    async def close(self) -> None:
        """Send nothing more."""
        self.waiting.clear()
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])

    # Private

    def _remove(self, topic: str, id: str) -> None:
        room = self.rooms[topic]
        member = room.members.pop(id)
        self.count -= 1
        self.left_total += 1
        if not room.members:
            del self.rooms[topic]
            self.index.discard(topic)
        self._tell(topic, room, "leave", member)

    def _tell(self, topic: str, room: Room, event: str, member: Member) -> None:
        count = len(room.members)
        if count > self.told_members or room.is_untold:
            room.is_untold = True
            self.untold[topic] = None
            return
        told: dict[str, object] = {"event": event, "member": member.id, "count": count}
        if event != "leave":
            told["data"] = member.data
        self._put(topic, told)
        self._send()

    def _put(self, topic: str, told: dict[str, object]) -> None:
        if len(self.waiting) >= self.limit_members:  # the log cannot be written: the number will be told
            self.untold[topic] = None
            return
        payload = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        self.waiting.append(Message(PREFIX + topic, payload, "json"))

    def _send(self) -> None:
        """Append what waits, as far as that needs no waiting; a task of its own does the rest."""
        if self.task is not None:
            return
        try:
            while self.waiting:
                if self.engine.append_at_once(self.waiting[0]) < 0:
                    break
                self.waiting.popleft()
        except EngineUnavailable:
            return  # the next sweep tries again
        except ExtraError:  # the topic is closed, or may carry nothing: what is told of it goes nowhere
            self.waiting.popleft()
        if self.waiting:
            self.task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self.waiting:
                run = [self.waiting.popleft() for _ in range(min(RUN_MESSAGES, len(self.waiting)))]
                outcomes = await self.engine.append_many(run, [b""] * len(run))
                failed = [
                    Message(message.topic, message.payload, "json")
                    for message, outcome in zip(run, outcomes, strict=True)
                    if isinstance(outcome, EngineUnavailable)
                ]
                if failed:
                    self.waiting.extendleft(reversed(failed))
                    return  # the next sweep tries again
        finally:
            self.task = None


def check_presence(filters: list[str], member: str) -> None:
    """Raise InvalidCommand unless one can be present at all of `filters` as `member`."""
    if not 0 < len(member.encode(errors="surrogatepass")) <= MEMBER_LIMIT_BYTES:
        raise InvalidCommand(f"member: an id of 1 to {MEMBER_LIMIT_BYTES} bytes")
    for topic_filter in filters:
        if has_wildcard(topic_filter) or topic_filter.startswith("$"):
            raise InvalidCommand(
                f"presence: one is present at topics, and {topic_filter[:80]!r} is a filter with wildcards,"
                " or begins with '$'"
            )


def encode_shown(value: object, limit_bytes: int) -> bytes:
    """Return what a member shows as JSON; True is nothing in particular, null.

    Raises:
        InvalidPayload: it cannot be written as JSON. LimitExceeded: it is too large.
    """
    if value is True:
        return b"null"
    try:
        shown = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayload(f"presence cannot be written as JSON: {error}") from None
    if len(shown) > limit_bytes:
        raise LimitExceeded(
            f"presence of {len(shown)} bytes is more than {limit_bytes} (broker.presence_data_limit_bytes)"
        )
    return shown
