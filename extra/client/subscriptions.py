"""All subscriptions of a client, and which of them a message that comes over the one connection is for.

How it works. The broker sends a message once per connection, whichever subscriptions it is for, and says
nothing of them. So each subscription has its position, up to which it has been given everything; it takes a
message that one of its filters matches and that lies beyond. When the connection is lost, each is asked for
anew from its position: nothing is missed, nothing is doubled. All are asked for with `"replay":"all"`.

That rule alone would lose messages: the replay of one subscription may bring message 200 to another that
still lacks 150, which would then come too late. So a subscription takes nothing before its own replay begins,
and there is one replay at a time: each has its turn. The broker works on commands in order, hence what comes
between the `pong` of a `ping` and the `subscribed` of the `subscribe` behind it in the same frame is that
replay, or is newer.

    WAITING --its turn--> ASKED --pong--> REPLAYING --subscribed--> LIVE
    ASKED, REPLAYING, LIVE --connection lost--> WAITING
    REPLAYING, LIVE --inbox full--> ASIDE --half of it taken, position known--> WAITING
    ASKED, REPLAYING --error--> CLOSED        any --left--> CLOSED

Slow consumers. A subscription whose inbox is full is set aside: it is taken off the connection, and asked for
again from its position when half of the inbox has been taken. Nothing is lost as long as the log has it, a
gap is told otherwise, and no other subscription is held up. To stop reading the connection instead would hold
up all of them and the receipts as well: a consumer that publishes would wait for itself. Only a replay is
read at the pace of its consumer, as far as `crowded` says so: the broker holds back what is new until it is
over, and to read it faster is to read it twice. Under "drop-oldest" and "latest" the inbox drops, and is
never full.

Another epoch. The old cursor is sent all the same, so that the broker tells of the gap; offsets then count
anew.

Gaps. `overflow` is for all that are on the connection. The others answer the cursor of the subscription whose
replay runs, unless they name no filter and begin where the connection stands: then everybody has missed
something.

Alternatives that lost: one `subscribe` for all filters from the lowest position tells everybody of what one
has lost; a connection for each subscription costs the broker a session for each.

Invariants between calls: one turn at most is under way, and only who has it is ASKED or REPLAYING; what is
CLOSED is in no list.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from extra.client.problems import error_from_code
from extra.client.subscription import State, Subscription
from extra.errors import ExtraError, InvalidFilter, RemoteProtocolError
from extra.protocols.commands import Command, Overflow, Ping, Unsubscribe
from extra.protocols.pushes import (
    EndPush,
    ErrorPush,
    GapPush,
    MessagePush,
    Pong,
    Push,
    Subscribed,
    Unsubscribed,
)
from extra.pubsub import Gap, Message, parse_cursor
from extra.topics import FilterTree

__all__ = ["Subscriptions", "message_of"]


class Subscriptions:
    """Hands what a connection brings to the subscriptions it is for, and says what to send. Does no I/O.

    `wake` is called when there are commands to send. `is_filling` is set when an inbox is more than half
    full.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.is_filling = False
        self._subscriptions: dict[Subscription, None] = {}
        self._tree: FilterTree[Subscription] = FilterTree()
        self._waiting: deque[Subscription] = deque()
        self._turn: _Turn | None = None
        self._asked: set[Subscription] = set()  # those whose filters the connection has
        self._groups: list[tuple[Command, ...]] = []
        self._epoch: str | None = None  # None while there is no connection
        self._stands_at = 0  # what is new on the connection lies above
        self._number = 0
        self.set_aside_total = 0

    @property
    def crowded(self) -> Subscription | None:
        """The subscription whose replay comes faster than its consumer takes it, if there is one."""
        turn = self._turn
        if turn is None or turn.subscription.state is not State.REPLAYING:
            return None
        subscription = turn.subscription
        waits = subscription.waits and subscription.is_entered and subscription.is_crowded
        return subscription if waits else None

    def add(self, subscription: Subscription) -> None:
        """Ask for a subscription when its turn has come."""
        self._subscriptions[subscription] = None
        for topic_filter in subscription.filters:
            self._tree.add(topic_filter, subscription)
        self._waiting.append(subscription)
        self._next_turn()

    def remove(self, subscription: Subscription, error: ExtraError | None = None) -> None:
        """Give a subscription up. Idempotent."""
        if subscription not in self._subscriptions:
            return
        del self._subscriptions[subscription]
        for topic_filter in subscription.filters:
            self._tree.remove(topic_filter, subscription)
        if subscription.state is State.WAITING and subscription in self._waiting:
            self._waiting.remove(subscription)
        subscription.close(error)
        self._leave(subscription)

    def close(self) -> None:
        """Give all of them up."""
        for subscription in list(self._subscriptions):
            self.remove(subscription)

    def connected(self, epoch: str, cursor: str) -> None:
        """Begin with a new connection, and ask for every subscription but those set aside."""
        self._epoch = epoch
        self._stands_at = parse_cursor(cursor).offset
        self._next_turn()

    def lost(self) -> None:
        """Note that the connection is gone."""
        self._epoch = None
        self._turn = None
        self._asked.clear()
        self._groups.clear()
        for subscription in self._subscriptions:
            stays_aside = subscription.position is not None and subscription.is_crowded
            if subscription.state is not State.ASIDE or not stays_aside:
                subscription.state = State.WAITING
        self._waiting = deque(each for each in self._subscriptions if each.state is State.WAITING)

    def groups_to_send(self) -> list[tuple[Command, ...]]:
        """Return the commands to send now, in order, and forget them. Each group goes in one frame."""
        groups = self._groups
        self._groups = []
        return groups

    def receive(self, push: Push) -> bool:
        """Take a push of the broker; False when it is none of ours.

        Raises:
            ExtraError: the connection is of no use: a subscription could not be resumed just now, or the
            broker breaks the rules.
        """
        turn = self._turn
        if isinstance(push, MessagePush):
            self._deliver(push)
        elif isinstance(push, Pong):
            if turn is not None and push.id == turn.ping_id and turn.subscription.state is State.ASKED:
                turn.subscription.begin_replay(self._require_epoch())
        elif isinstance(push, Subscribed):
            if turn is not None and push.id == turn.subscribe_id:
                self._confirm(turn, push)
        elif isinstance(push, GapPush):
            self._tell(push)
        elif isinstance(push, EndPush):
            self._end(push)
        elif isinstance(push, ErrorPush):
            if turn is not None and push.id == turn.subscribe_id:
                self._refuse(turn.subscription, push)
            return isinstance(push.id, str)  # of an `unsubscribe` that came too late
        else:
            return isinstance(push, Unsubscribed)
        return True

    def taken(self, subscription: Subscription) -> None:
        """Note that the consumer has taken something from its inbox."""
        if subscription.state is State.ASIDE and not subscription.is_crowded:
            turn = self._turn
            if subscription.position is not None and (turn is None or turn.subscription is not subscription):
                subscription.state = State.WAITING
                self._waiting.append(subscription)
                self._next_turn()

    def set_aside(self, subscription: Subscription) -> None:
        """Take a subscription off the connection until its consumer has made room."""
        subscription.state = State.ASIDE
        self.set_aside_total += 1
        if subscription.position is not None:
            self._leave(subscription)

    def _next_turn(self) -> None:
        if self._turn is not None or self._epoch is None or not self._waiting:
            return
        subscription = self._waiting.popleft()
        subscription.state = State.ASKED
        self._asked.add(subscription)
        self._number += 1
        turn = self._turn = _Turn(subscription, f"p{self._number}", f"s{self._number}")
        self._send(Ping(id=turn.ping_id), subscription.command(turn.subscribe_id, self._overflow()))

    def _overflow(self) -> Overflow | None:
        """Return the policy of the connection: what all have chosen, else the one that loses nothing."""
        policies = {subscription.overflow for subscription in self._subscriptions}
        return policies.pop() if len(policies) == 1 else "disconnect"

    def _leave(self, subscription: Subscription) -> None:
        """Unsubscribe from the filters that no other subscription has."""
        if subscription not in self._asked:
            return
        self._asked.remove(subscription)
        self._drop(subscription.filters)

    def _drop(self, filters: Iterable[str]) -> None:
        needed = {topic_filter for other in self._asked for topic_filter in other.filters}
        filters = [each for each in filters if each not in needed]
        if filters:
            self._number += 1
            self._send(Unsubscribe(id=f"u{self._number}", filter=filters))

    def _send(self, *commands: Command) -> None:
        self._groups.append(commands)
        self._wake()

    def _deliver(self, push: MessagePush) -> None:
        subscriptions = self._tree.match(push.topic)
        if self._turn is None:
            self._stands_at = max(self._stands_at, push.offset)
        if not subscriptions:
            return
        message = message_of(push, self._require_epoch())
        for subscription in dict.fromkeys(subscriptions):
            if subscription.state in (State.LIVE, State.REPLAYING):
                if not subscription.take(message):
                    self.set_aside(subscription)
                self.is_filling = self.is_filling or subscription.is_crowded
            elif subscription.state is State.ASIDE and subscription.position is None:
                subscription.take(message)
                if subscription.position is not None:
                    self._leave(subscription)

    def _end(self, push: EndPush) -> None:
        """Let those who wait for nothing else come to their end."""
        for subscription in list(self._subscriptions):
            is_there = subscription.state in (State.LIVE, State.REPLAYING)
            if not is_there or push.topic not in subscription.filters:
                continue
            if subscription.end(push.topic, push.offset, self._require_epoch()):
                self.remove(subscription)

    def _confirm(self, turn: "_Turn", push: Subscribed) -> None:
        subscription = turn.subscription
        self._turn = None
        self._stands_at = max(self._stands_at, parse_cursor(push.cursor).offset)
        if subscription.state is State.ASKED:
            raise RemoteProtocolError("'subscribed' came before the 'pong' that it was to follow")
        if push.filter is not None:
            self._give_up(subscription, push.filter)
            return
        if subscription.state in (State.REPLAYING, State.ASIDE):
            subscription.confirm(push.cursor, complete=push.complete)
        if subscription.state is State.ASIDE:
            self._leave(subscription)
            self.taken(subscription)
        self._next_turn()

    def _give_up(self, subscription: Subscription, filters: list[str]) -> None:
        """Have nothing of other filters than were asked for: what they bring is not told apart by ours."""
        asked, given = ", ".join(subscription.filters), ", ".join(filters)
        self._asked.discard(subscription)
        error = InvalidFilter(f"in the place of {asked} the broker gives {given}: ask for that")
        self.remove(subscription, error)
        self._drop(filters)
        self._next_turn()

    def _refuse(self, subscription: Subscription, push: ErrorPush) -> None:
        self._turn = None
        self._asked.discard(subscription)
        error = error_from_code(push.code, push.message)
        if push.temporary and subscription.is_entered and subscription in self._subscriptions:
            raise error
        self.remove(subscription, error)
        self._next_turn()

    def _tell(self, push: GapPush) -> None:
        """Hand a gap to those who have missed something."""
        gap = Gap(push.after, push.until, push.reason, push.dropped or 0, push.filter)
        there = [each for each in self._subscriptions if each.state in (State.LIVE, State.REPLAYING)]
        if gap.filter is not None:
            there = [each for each in there if gap.filter in each.filters]
        turn = self._turn
        if gap.reason != "overflow" and turn is not None:
            is_general = gap.filter is None and gap.after is not None and gap.after >= self._stands_at
            if not is_general:  # who has been set aside meanwhile will be told again
                there = [each for each in there if each is turn.subscription]
        for subscription in there:
            subscription.tell(gap, self._require_epoch())

    def _require_epoch(self) -> str:
        assert self._epoch is not None, "pushes come over a connection"
        return self._epoch


@dataclass(slots=True)
class _Turn:
    """The subscription that is being asked for, and what it will be answered by."""

    subscription: Subscription
    ping_id: str
    subscribe_id: str


def message_of(push: MessagePush, epoch: str) -> Message:
    """Return the message that was pushed. When it was published is not on the wire: `time` stays 0."""
    message = Message(
        push.topic,
        push.payload,
        push.kind,
        content_type=push.content_type,
        headers=push.headers,
        expires_at=push.expires_at or 0.0,
        retained=push.retained,
    )
    message.place(epoch, push.offset, 0.0, 0.0)
    return message
