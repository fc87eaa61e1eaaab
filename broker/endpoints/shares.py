"""Members of groups as the faces have them: of a connection that stays, and of one poll after another."""

import asyncio
from typing import final

from mypy_extensions import mypyc_attr

from broker.endpoints.forms import SharedForm
from extra.errors import Forbidden
from extra.pubsub import Broker, Gap, GroupMember, GroupOptions, Message, Session
from extra.pubsub.gates import guard_publishing

__all__ = ["FeedShare", "PollShare", "check_dead_letters"]


@final
@mypyc_attr(native_class=True)
class FeedShare(GroupMember):
    """What one connection has of a group's messages: they go into the outbox of its session."""

    def __init__(self, id: str, group: str, session: Session, form: SharedForm) -> None:
        super().__init__(id)
        self.group = group
        self.session = session
        self.form = form
        self.is_crowded = False

    def has_room(self) -> bool:
        self.is_crowded = not self.session.has_room()
        return not self.is_crowded

    def made_room(self) -> None:
        """Take note that the outbox has been written out."""
        if self.is_crowded and self.joined is not None and self.has_room():
            self.joined.has_room_again(self)

    def hand(self, message: Message, deliveries: int) -> None:
        self.session.put_control(self.form.encode_shared(message, self.group, deliveries))

    def tell_gap(self, gap: Gap) -> None:
        self.session.put_control(self.form.encode_shared_gap(gap, self.group))

    def replaced(self) -> None:
        self.session.consumer.taken_over()


@final
@mypyc_attr(native_class=True)
class PollShare(GroupMember):
    """What somebody has of a group's messages who polls for them.

    It stays a member from poll to poll as long as it holds messages. What was lost meanwhile is told as one
    gap.
    """

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.is_new = True  # no poll has taken anything with it: it is about to
        self.wanted = 0
        self.wanted_bytes = 0
        self.taken: list[tuple[Message, int]] = []
        self.size = 0
        self.gap: Gap | None = None
        self.waiter: asyncio.Future[None] | None = None

    async def take(self, most: int, most_bytes: int, seconds: float | None) -> list[tuple[Message, int]]:
        """Return messages, each with how often it has been handed out, `most` at most.

        None follows the one with which they come to `most_bytes`, by the messages' `size`. When there are
        none, wait for them so many seconds; None waits only until the log has been looked at.
        A poll that is still waiting for the same member ends with nothing.
        """
        group = self.joined
        assert group is not None, "it has joined"
        self._wake()
        self.is_new = False
        waiter = self.waiter = asyncio.get_running_loop().create_future()
        self.wanted = most
        self.wanted_bytes = most_bytes
        try:
            group.has_room_again(self)
            await group.caught_up()
            is_member = group.members.get(self.id) is self
            if seconds is not None and is_member and not self.taken and self.gap is None:
                await asyncio.wait((waiter,), timeout=seconds)
            return self.taken if self.waiter is waiter else []
        except BaseException:  # the peer has left, and has nothing of it
            if self.waiter is waiter and self.taken:
                group.give_back(self.id, [message.offset for message, _ in self.taken], 0.0)
            raise
        finally:
            if self.waiter is waiter:
                self.waiter = None
                self.taken = []
                self.size = 0
                self.wanted = 0
                if not self.unacknowledged:
                    self.leave()

    def has_room(self) -> bool:
        return len(self.taken) < self.wanted and self.size < self.wanted_bytes

    def hand(self, message: Message, deliveries: int) -> None:
        self.taken.append((message, deliveries))
        self.size += message.size
        self._wake()

    def tell_gap(self, gap: Gap) -> None:
        earlier = self.gap
        if earlier is not None:
            gap = Gap(earlier.after, gap.until, gap.reason, earlier.dropped + gap.dropped)
        self.gap = gap
        self._wake()

    def replaced(self) -> None:
        self._wake()

    def is_gone(self) -> bool:
        return self.waiter is None and not self.unacknowledged and not self.is_new

    def tick(self) -> None:
        """A poll sends no heartbeats."""

    def end(self, reason: str, reconnect_after_s: float) -> None:
        """End the poll, with what there is."""
        self._wake()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


def check_dead_letters(broker: Broker, name: str, filters: list[str], options: GroupOptions) -> None:
    """Refuse a client dead letters on a topic that a gate guards: the broker publishes them, and asks nobody.

    A group that is there may go on as it is. Raises Forbidden.
    """
    if not broker.gates:
        return
    topic = options.dead_letters or ""
    group = broker.groups.groups.get(name)
    if group is not None:
        terms = group.terms
        topic = topic or terms.dead_letters
        if topic == terms.dead_letters and set(filters) == set(terms.filters):
            return
    if topic and guard_publishing(broker.gates, topic):
        raise Forbidden(
            f"dead_letters {topic[:80]!r}: there it is asked who publishes, and nobody would be:"
            " the program itself may make such a group"
        )
