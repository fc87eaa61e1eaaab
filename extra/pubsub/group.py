"""A group: members that share what its filters match, each message to one of them.

How it works. The group reads the log through an ordinary session, as any subscriber does, and so has order,
catching up and gaps from there. What it has read and what is not settled yet are its *jobs*. A job is

- waiting in its *lane*, where order was asked for, behind an earlier one of the same topic or key;
- delayed, until its time has come;
- ready, in offset order;
- held by the member that it was handed to, until that acknowledges it, its time is over, or the member goes:
  then it is ready again, or a dead letter when it has been tried often enough;
- dead: on its way to the topic of dead letters.

A job that was acknowledged, has expired or lies there as a dead letter is *settled*. The group's position is
the offset up to which everything is; above it, what is settled is remembered as well. How far the group reads
ahead of its position is bounded (`window`), and with it all that is kept here.

Position, settled offsets and tries are kept as a state. A group without members lets go of its session and
its jobs: who comes next, after a second or a restart, has them read anew from that state. So a restart is
nothing special, and a message is handed out at least once.

Members are told from within the event loop's turn, never from within a fan-out.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Coroutine
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import mypyc_attr

from extra.errors import BrokerClosed, ChannelClosed, EngineUnavailable, ExtraError
from extra.pubsub.group_member import GroupMember, Job, Refusal
from extra.pubsub.group_options import GroupOptions, Terms, settle_terms
from extra.pubsub.group_state import GroupState
from extra.pubsub.group_window import Window
from extra.pubsub.message import Gap, Message
from extra.pubsub.position import Position, Since, format_cursor
from extra.pubsub.session import CLOSED, HELD, Consumer, Replay, Session

if TYPE_CHECKING:
    from extra.pubsub.broker import Broker

__all__ = ["Group"]

TURN_MESSAGES: Final = 500
"""So many messages are read in one turn of the event loop, some 3 ms; then others have theirs."""
KEY_HEADER: Final = "key"
"""The header whose messages keep their order with `order="key"`; those without one are told by topic."""
ASLEEP_AFTER_S: Final = 10.0

logger: Final = logging.getLogger("extra.pubsub")


@final
@mypyc_attr(native_class=True)
class Group(Consumer):
    """One group. Made by `Groups.join`.

    Invariants between calls: a job is in exactly one of the five places; `free` has the members that could
    take one more as far as is known; `window` has the offsets of all jobs, and of what is settled among them.
    """

    def __init__(self, broker: Broker, name: str, terms: Terms, offset: int) -> None:
        super().__init__()
        self.broker = broker
        self.name = name
        self.terms = terms
        self.window = Window(offset)
        self.known = 0
        self.since: Since | None = None  # where the first reading begins, when that is not the floor
        self.members: dict[str, GroupMember] = {}
        self.free: OrderedDict[str, GroupMember] = OrderedDict()
        self.crowded: dict[str, GroupMember] = {}
        self.session: Session | None = None
        self.replay: Replay | None = None
        self.jobs: dict[int, Job] = {}
        self.size = 0
        self.tries: dict[
            int, tuple[int, float]
        ] = {}  # of what has not been read again: how often, not before
        self.ready: list[int] = []
        self.delayed: list[tuple[float, int]] = []
        self.lanes: dict[str, deque[Job] | None] = {}  # those behind the first of a lane, if there are any
        self.dead: deque[Job] = deque()
        self.held = 0
        self.idle_since = broker.clock.now()
        self.seen_at = broker.clock.time()
        self.is_moved = True
        self.is_kept = False  # as it is now: filters and options
        self.is_scheduled = False
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = 0.0
        self.reading: asyncio.Task[None] | None = None
        self.burying: asyncio.Task[None] | None = None
        self.complaint = ""  # the code of what dead letters were last refused with
        self.deliveries_total = 0
        self.redeliveries_total = 0
        self.acknowledged_total = 0
        self.timeouts_total = 0
        self.dead_letters_total = 0
        self.expired_total = 0
        self.gaps_total = 0

    # Members

    def admit(self, filters: list[str], options: GroupOptions, expiry_s: float) -> bool:
        """Accept what a new member asks for: the same as the others do, or anything when there are none.

        What it leaves out stays as it was. Return whether that changes what the group is like.

        Raises GroupConflict, and InvalidCommand as `settle_terms` does.
        """
        if self.members:
            self.terms.check_same(self.name, filters, options)
            return False
        terms = settle_terms(filters, self.terms.filled(options, expiry_s), expiry_s)
        if terms == self.terms:
            return False
        self.fall_asleep()
        self.terms = terms
        return True

    def join(self, member: GroupMember) -> None:
        """Let somebody have a share from now on. Whoever had this id before is replaced."""
        if not self.members:
            self.is_moved = True
        former = self.members.get(member.id)
        if former is not None and former is not member:
            self._let_go(former)
            former.replaced()
        self.members[member.id] = member
        member.joined = self
        self._has_capacity(member)
        if self.session is None and self.reading is None:
            self.reading = self._spawn(self._read())
        self.wake()

    def leave(self, member: GroupMember) -> None:
        """Take a member out: what it holds goes to others. Idempotent."""
        if self.members.get(member.id) is member:
            self._let_go(member)
            if not self.members:
                self.idle_since = self.broker.clock.now()
                self.seen_at = self.broker.clock.time()
                self.is_moved = True
            self.wake()

    def has_room_again(self, member: GroupMember) -> None:
        """Take note that a member which had no room has some now."""
        self._has_capacity(member)
        self.wake()

    async def caught_up(self) -> None:
        """Wait until what the log has was read, as far as the window goes, and handed out."""
        reading = self.reading
        while reading is not None:
            await asyncio.wait((reading,))  # which has a turn scheduled when it is done
            reading = self.reading
        await asyncio.sleep(0)

    def acknowledge(self, member_id: str, offsets: list[int]) -> list[Refusal]:
        """Settle messages that a member holds; return those that it does not. Twice is once."""
        refused: list[Refusal] = []
        for offset in offsets:
            job = self.jobs.get(offset)
            if job is None:
                if not self.window.was_settled(offset):
                    refused.append(Refusal(offset, "was never delivered, or was settled long ago"))
            elif job.holder is None or job.holder.id != member_id:
                refused.append(Refusal(offset, _whereabouts(job)))
            else:
                self._take_from(job)
                self._settle(job)
                self.acknowledged_total += 1
        self.wake()
        return refused

    def give_back(self, member_id: str, offsets: list[int], delay_s: float) -> list[Refusal]:
        """Have messages that a member holds handed out again, not before `delay_s`; return the others."""
        refused: list[Refusal] = []
        not_before = self.broker.clock.time() + delay_s if delay_s > 0 else 0.0
        for offset in dict.fromkeys(offsets):  # one that stands there twice is given back once
            job = self.jobs.get(offset)
            if job is None:
                is_settled = self.window.was_settled(offset)
                refused.append(Refusal(offset, "is settled" if is_settled else "was never delivered"))
            elif job.holder is None or job.holder.id != member_id:
                refused.append(Refusal(offset, _whereabouts(job)))
            else:
                self._return(job, not_before)
        self.wake()
        return refused

    # Reading

    def wake(self) -> None:
        """Read and hand out in the next turn of the loop."""
        if not self.is_scheduled:
            self.is_scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def overflowed(self) -> None:
        """Nothing to do: the session is held, and what did not fit is read from the log later."""

    def broker_closed(self) -> None:
        """Nothing to do: `Groups.close` has told the members."""

    def position(self) -> int:
        """Return the offset up to which everything is settled."""
        window = self.window
        if len(window) == 0 and self.session is not None and self.session.state != CLOSED:
            window.reach(self.session.resume_offset(self.broker.delivered))
        return window.position()

    def cursor(self) -> str:
        """Return the cursor of its position."""
        return format_cursor(self.broker.epoch(), self.position(), self.known)

    def tick(self, now: float) -> None:
        """Do what time brings; called once a second, and when the next thing is due."""
        for member in list(self.members.values()):
            if member.is_gone():
                self.leave(member)
        for id, member in list(self.crowded.items()):
            del self.crowded[id]
            self._has_capacity(member)
        self._expire()
        if self.dead and self.burying is None:
            self.burying = self._spawn(self._bury())
        if self.members:
            self.wake()
        elif self.session is not None and self.idle_since + ASLEEP_AFTER_S <= now:
            self.fall_asleep()

    def fall_asleep(self) -> None:
        """Let go of everything but where the group stands. It has no members."""
        self.position()
        session = self.session
        self.session = None
        if session is not None:
            self.broker.close_session(session)
        for task in (self.reading, self.burying):
            if task is not None:
                task.cancel()
        self.reading = None
        self.burying = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        for offset, job in self.jobs.items():
            if job.deliveries > 0:
                self.tries[offset] = (job.deliveries, job.not_before)
        self.jobs.clear()
        self.size = 0
        self.window.clear()
        self.ready.clear()
        self.delayed.clear()
        self.lanes.clear()
        self.dead.clear()
        self.is_moved = True

    def restore(self, state: GroupState) -> None:
        """Stand where it stood before the start."""
        self.known = state.known
        self.seen_at = state.seen_at or self.seen_at
        self.window.settled = state.settled
        self.tries = state.tries
        self.is_moved = False
        self.is_kept = True

    def state(self) -> bytes:
        """Return what is kept of the group beside the log.

        What is behind its position is let go of: it has been lost, or is of filters that it no longer has.
        """
        offset = self.position()
        self.window.prune()
        self.tries = {each: tried for each, tried in self.tries.items() if each > offset}
        tries = dict(self.tries)
        for each, job in self.jobs.items():
            if job.deliveries > 0:
                tries[each] = (job.deliveries, job.not_before)
        seen_at = 0.0 if self.members else self.seen_at  # 0: whenever it is restored
        state = GroupState(
            self.broker.epoch(), offset, self.known, self.window.settled, tries, seen_at, self.terms
        )
        return state.encode()

    # Private: reading

    def _run(self) -> None:
        self.is_scheduled = False
        self._take()
        self._hand_out()

    def _take(self) -> None:
        """Make jobs of what the session has, as far as the window goes."""
        session = self.session
        if not self.members:
            return
        if session is None:
            if self.reading is None:
                self.reading = self._spawn(self._read())
            return
        for _ in range(TURN_MESSAGES):
            if self._is_full():
                return
            entry = session.outbox.take()
            if entry is None:
                break
            if isinstance(entry, Message):
                self._add(entry)
            else:
                self._tell_gap(entry)
        else:
            self.wake()
            return
        if session.state == HELD:
            if self.reading is None:
                self.reading = self._spawn(self._read())
        else:
            session.sleep()

    def _is_full(self) -> bool:
        limits = self.broker.limits
        return (
            len(self.window) >= limits.group_window_limit_messages
            or self.size >= limits.group_window_limit_bytes
        )

    async def _read(self) -> None:
        """Subscribe, if that has not been done, and catch up with the log as far as the window goes."""
        broker = self.broker
        try:
            session = self.session
            if session is None:
                since = self.since
                if since is None:
                    position = Position(broker.epoch(), self.window.floor, self.known)
                    since = Since("cursor", position=position)
                session = broker.open_session(self, overflow="disconnect")
                try:
                    replay = await broker.add_filters(session, self.terms.filters, since, retained=False)
                except BaseException:
                    broker.close_session(session)
                    raise
                self.session = session
                self.replay = replay
                self.since = None
            while session.state == HELD and session.has_room() and not self._is_full():
                await broker.advance(session)
                if self.replay is not None:
                    self.known = max(self.known, self.replay.gone)
                self._take()
        except (EngineUnavailable, ChannelClosed, BrokerClosed):
            return  # the next tick tries again, if there is anything to try
        finally:
            if self.reading is asyncio.current_task():
                self.reading = None
        if self.members:
            self.wake()

    def _add(self, message: Message) -> None:
        offset = message.offset
        if self.window.add(offset):
            return
        deliveries, not_before = self.tries.pop(offset, (0, 0.0))
        job = Job(message, deliveries, not_before)
        self.jobs[offset] = job
        self.size += message.size
        if self.terms.order != "none":
            job.lane = self._lane_of(message)
            if job.lane in self.lanes:
                behind = self.lanes[job.lane]
                if behind is None:
                    behind = self.lanes[job.lane] = deque()
                behind.append(job)
                return
            self.lanes[job.lane] = None
        self._make_ready(job)

    def _lane_of(self, message: Message) -> str:
        if self.terms.order == "key" and message.headers is not None:
            key = message.headers.get(KEY_HEADER)
            if key is not None:
                return "key " + key
        return "topic " + message.topic

    def _make_ready(self, job: Job) -> None:
        """Let a job be handed out when its time has come, unless it has been tried often enough."""
        terms = self.terms
        if terms.max_deliveries and job.deliveries >= terms.max_deliveries:
            self.dead.append(job)
            if self.burying is None:
                self.burying = self._spawn(self._bury())
        elif job.not_before > self.broker.clock.time():
            heappush(self.delayed, (job.not_before, job.message.offset))
            wait = job.not_before - self.broker.clock.time()
            self._arm(self.broker.clock.now() + wait)
        else:
            heappush(self.ready, job.message.offset)

    def _tell_gap(self, gap: Gap) -> None:
        self.gaps_total += 1
        self.known = max(self.known, gap.until)
        self.is_moved = True
        logger.warning(
            "group %s: messages up to offset %d are gone (%s)", self.name[:80], gap.until, gap.reason
        )
        for member in list(self.members.values()):
            member.tell_gap(gap)

    # Private: handing out

    def _hand_out(self) -> None:
        if not self.ready or not self.free:
            return
        now, time = self.broker.clock.now(), self.broker.clock.time()
        due = now + self.terms.ack_wait_s
        limit = self.terms.max_unacknowledged
        while self.ready and self.free:
            offset = self.ready[0]
            job = self.jobs[offset]
            if job.message.is_expired(time):
                heappop(self.ready)
                self.expired_total += 1
                self._settle(job)
                self.wake()  # there may be room to read on
                continue
            member = self._next_member(job.last)
            if member is None:
                return
            heappop(self.ready)
            job.deliveries += 1
            job.holder = member
            job.last = member.id
            job.due = due
            member.unacknowledged[offset] = job
            self.held += 1
            self.deliveries_total += 1
            if job.deliveries > 1:
                self.redeliveries_total += 1
            if len(member.unacknowledged) >= limit:
                del self.free[member.id]
            else:
                self.free.move_to_end(member.id)
            self.is_moved = True
            member.hand(job.message, job.deliveries)
            self._arm(due)

    def _next_member(self, last: str) -> GroupMember | None:
        """Return who is next, another than `last` if there is one; None when nobody has room."""
        while self.free:
            id, member = next(iter(self.free.items()))
            if not member.has_room():
                del self.free[id]
                self.crowded[id] = member
            elif id == last and len(self.free) > 1:
                self.free.move_to_end(id)
            else:
                return member
        return None

    def _has_capacity(self, member: GroupMember) -> None:
        """Note that a member may be able to take one more, if it is one."""
        if (
            member.id not in self.free
            and self.members.get(member.id) is member
            and len(member.unacknowledged) < self.terms.max_unacknowledged
        ):
            self.crowded.pop(member.id, None)
            self.free[member.id] = member

    def _let_go(self, member: GroupMember) -> None:
        del self.members[member.id]
        self.free.pop(member.id, None)
        self.crowded.pop(member.id, None)
        for job in list(member.unacknowledged.values()):
            self._return(job, 0.0)

    def _take_from(self, job: Job) -> None:
        """Let nobody hold a job that somebody holds."""
        holder = job.holder
        assert holder is not None
        del holder.unacknowledged[job.message.offset]
        job.holder = None
        self.held -= 1
        self.is_moved = True
        self._has_capacity(holder)

    def _return(self, job: Job, not_before: float) -> None:
        self._take_from(job)
        job.not_before = not_before
        self._make_ready(job)

    def _settle(self, job: Job) -> None:
        """Let go of a job that nobody holds, and that is in no queue: it is done."""
        offset = job.message.offset
        del self.jobs[offset]
        self.size -= job.message.size
        self.window.settle(offset)
        self.is_moved = True
        if job.lane:
            behind = self.lanes[job.lane]
            if behind:
                self._make_ready(behind.popleft())
            else:
                del self.lanes[job.lane]

    # Private: time

    def _arm(self, at: float) -> None:
        """See to it that `_due` is called at a monotonic time, if not before."""
        if self.timer is not None:
            if self.timer_at <= at:
                return
            self.timer.cancel()
        self.timer_at = at
        wait = max(at - self.broker.clock.now(), 0.001)
        self.timer = asyncio.get_running_loop().call_later(wait, self._due)

    def _due(self) -> None:
        self.timer = None
        self._expire()

    def _expire(self) -> None:
        """Have handed out again what was not acknowledged in time, and what was to wait until now."""
        now, time = self.broker.clock.now(), self.broker.clock.time()
        next_due = 0.0
        for member in list(self.members.values()):
            overdue: list[Job] = []
            for job in member.unacknowledged.values():  # in the order in which they were handed out
                if job.due > now:
                    next_due = min(next_due or job.due, job.due)
                    break
                overdue.append(job)
            for job in overdue:
                self.timeouts_total += 1
                self._return(job, 0.0)
        while self.delayed and self.delayed[0][0] <= time:
            _, offset = heappop(self.delayed)
            heappush(self.ready, offset)
        if self.delayed:
            at = now + self.delayed[0][0] - time
            next_due = min(next_due or at, at)
        if next_due:
            self._arm(next_due)
        if self.ready:
            self.wake()

    # Private: dead letters

    async def _bury(self) -> None:
        """Publish what was tried often enough on the topic of dead letters, each once, and settle it."""
        try:
            while self.dead:
                job = self.dead[0]
                if not job.message.is_expired(self.broker.clock.time()):
                    await self._publish_dead(job)
                    self.dead_letters_total += 1
                self.dead.popleft()
                self._settle(job)
            self.complaint = ""
        except ExtraError as error:  # it stays, behind the others, and the next tick tries again
            self.dead.rotate(-1)
            if error.code != self.complaint:
                self.complaint = error.code
                logger.warning("group %s: a dead letter is refused: %s", self.name[:80], error)
        finally:
            if self.burying is asyncio.current_task():
                self.burying = None
        if self.members:
            self.wake()

    async def _publish_dead(self, job: Job) -> None:
        message = job.message
        headers = dict(message.headers or {})
        headers["extra-group"] = self.name
        headers["extra-topic"] = message.topic
        headers["extra-offset"] = str(message.offset)
        headers["extra-deliveries"] = str(job.deliveries)
        letter = Message(
            self.terms.dead_letters,
            message.payload,
            message.kind,
            content_type=message.content_type,
            headers=headers,
        )
        await self.broker.publish_message(letter, f"{self.name} {message.cursor}")

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(coroutine)


def _whereabouts(job: Job) -> str:
    """Say where a job is that somebody claims to hold."""
    if job.holder is not None:
        return "is with another member"
    if job.deliveries == 0:
        return "has not been delivered"
    return "is no longer with this member: its time was over, or it was given back"
