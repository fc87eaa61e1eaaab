"""The subscriptions of a client: turns, filters that overlap, gaps, errors, policies."""

import pytest

from extra.client.subscription import State, Subscription
from extra.client.subscriptions import Subscriptions
from extra.errors import EngineUnavailable, Forbidden, InvalidFilter, RemoteProtocolError
from extra.protocols.commands import Command, Ping, Subscribe, Unsubscribe
from extra.protocols.pushes import (
    ErrorPush,
    GapPush,
    MessagePush,
    Pong,
    Published,
    Subscribed,
    Unsubscribed,
)
from extra.pubsub import Gap, Message


class Desk:
    """Subscriptions with a connection, and what a broker would answer."""

    def __init__(self) -> None:
        self.wakes = 0
        self.subscriptions = Subscriptions(self._wake)
        self.subscriptions.connected("e1", "e1-100")

    def add(
        self, *filters: str, since: str = "e1-0", overflow: str = "disconnect", room: int = 100
    ) -> Subscription:
        subscription = Subscription(filters, since, overflow, None, room * 450)
        self.subscriptions.add(subscription)
        return subscription

    def add_live(
        self, *filters: str, since: str = "e1-0", overflow: str = "disconnect", room: int = 100
    ) -> Subscription:
        subscription = self.add(*filters, since=since, overflow=overflow, room=room)
        self.pong()
        self.confirm()
        assert subscription.state is State.LIVE
        subscription.is_entered = True
        return subscription

    def commands(self) -> list[Command]:
        return [command for group in self.subscriptions.groups_to_send() for command in group]

    def pong(self) -> None:
        """Answer the ping that is out."""
        self.turn = next(group for group in self.subscriptions.groups_to_send() if isinstance(group[0], Ping))
        self.subscriptions.receive(Pong(id=self.turn[0].id))

    def confirm(self, cursor: str = "e1-100") -> None:
        """Answer the `subscribe` behind it."""
        self.subscriptions.receive(Subscribed(id=self.turn[1].id, cursor=cursor, replayed=0, complete=True))

    def refuse(self, code: str, *, temporary: bool = False) -> None:
        self.subscriptions.receive(
            ErrorPush(id=self.turn[1].id, code=code, message="no", temporary=temporary)
        )

    def message(self, topic: str, offset: int) -> None:
        self.subscriptions.receive(MessagePush(topic=topic, offset=offset, payload=b"1", kind="json"))

    def gap(self, after: int | None, until: int, reason: str = "evicted", filter: str | None = None) -> None:
        self.subscriptions.receive(GapPush(after=after, until=until, reason=reason, filter=filter))

    def _wake(self) -> None:
        self.wakes += 1


def taken(subscription: Subscription) -> list[int | str]:
    """Take all that waits: the offsets of messages, and the reasons of gaps."""
    entries: list[int | str] = []
    while (entry := subscription.inbox.take()) is not None:
        entries.append(entry.offset if isinstance(entry, Message) else entry.reason)
    return entries


def test_a_ping_and_the_subscribe_behind_it_go_in_one_group() -> None:
    """Nothing may come between the answer to the one and the replay of the other."""
    desk = Desk()
    desk.add("a", since="start")
    assert desk.wakes == 1
    ((ping, subscribe),) = desk.subscriptions.groups_to_send()
    assert isinstance(ping, Ping)
    assert isinstance(subscribe, Subscribe)
    assert ping.id != subscribe.id


def test_without_a_connection_nothing_is_asked_for() -> None:
    desk = Desk()
    desk.subscriptions.lost()
    desk.add("a")
    assert desk.commands() == []
    desk.subscriptions.connected("e1", "e1-0")
    assert len(desk.commands()) == 2


def test_one_is_asked_for_at_a_time() -> None:
    desk = Desk()
    first, second = desk.add("a"), desk.add("b")
    assert len(desk.commands()) == 2
    assert (first.state, second.state) == (State.ASKED, State.WAITING)


def test_what_comes_before_the_pong_is_not_of_the_replay() -> None:
    desk = Desk()
    subscription = desk.add("a")
    desk.message("a", 90)
    desk.pong()
    desk.message("a", 80)
    desk.message("a", 90)
    assert taken(subscription) == [80, 90]


def test_the_replay_of_one_is_not_given_to_another_that_waits() -> None:
    """Message 200 would move it past 150, which it has still to get."""
    desk = Desk()
    first, second = desk.add("a/b"), desk.add("a/+")
    desk.pong()
    desk.message("a/b", 200)
    desk.confirm("e1-200")
    desk.pong()
    desk.message("a/c", 150)
    desk.message("a/b", 200)
    assert (taken(first), taken(second)) == ([200], [150, 200])


def test_a_message_is_given_once_to_all_that_it_is_for() -> None:
    desk = Desk()
    subscriptions = [desk.add_live("a/+"), desk.add_live("#", "a/b"), desk.add_live("b")]
    desk.message("a/b", 101)
    assert [taken(each) for each in subscriptions] == [[101], [101], []]


def test_a_message_carries_what_was_pushed() -> None:
    desk = Desk()
    subscription = desk.add_live("a")
    push = MessagePush(
        topic="a",
        offset=101,
        payload=b"<p>",
        kind="text",
        content_type="text/html",
        headers={"trace": "1"},
        expires_at=12.5,
        retained=True,
    )
    assert desk.subscriptions.receive(push)
    message = subscription.inbox.take()
    assert isinstance(message, Message)
    assert (message.topic, message.offset, message.epoch, message.cursor) == ("a", 101, "e1", "e1-101")
    assert (message.data, message.content_type, message.headers) == ("<p>", "text/html", {"trace": "1"})
    assert (message.expires_at, message.retained, message.time) == (12.5, True, 0.0)


def test_leaving_unsubscribes_from_what_nobody_else_has() -> None:
    desk = Desk()
    first, _ = desk.add_live("a", "b", "c"), desk.add_live("b")
    desk.subscriptions.remove(first)
    (unsubscribe,) = desk.commands()
    assert isinstance(unsubscribe, Unsubscribe)
    assert unsubscribe.filters == ["a", "c"]
    assert first.state is State.CLOSED
    desk.subscriptions.remove(first)
    assert desk.commands() == []


def test_leaving_what_all_others_have_sends_nothing() -> None:
    desk = Desk()
    first, second = desk.add_live("a"), desk.add_live("a")
    desk.subscriptions.remove(first)
    assert desk.commands() == []
    desk.message("a", 101)
    assert taken(second) == [101]


def test_leaving_before_its_turn_sends_nothing() -> None:
    desk = Desk()
    desk.add("a")
    waiting = desk.add("b")
    desk.commands()
    desk.subscriptions.remove(waiting)
    assert desk.commands() == []


def test_leaving_within_its_turn_lets_the_next_wait_for_the_end_of_the_replay() -> None:
    desk = Desk()
    first, second = desk.add("a"), desk.add("a/#")
    desk.pong()
    desk.subscriptions.remove(first)
    assert [type(command) for command in desk.commands()] == [Unsubscribe]
    desk.message("a", 7)
    desk.confirm()
    assert second.state is State.ASKED
    assert taken(second) == []


def test_closing_gives_up_all() -> None:
    desk = Desk()
    subscriptions = [desk.add_live("a"), desk.add("b")]
    desk.subscriptions.close()
    assert [each.state for each in subscriptions] == [State.CLOSED] * 2
    assert [each.error for each in subscriptions] == [None, None]


def test_after_a_loss_all_are_asked_for_from_their_positions() -> None:
    desk = Desk()
    desk.add_live("a", since="start")
    desk.add_live("b", since="now")
    desk.message("a", 105)
    desk.subscriptions.lost()
    desk.subscriptions.connected("e1", "e1-200")
    asked = []
    for _ in range(2):
        desk.pong()
        subscribe = desk.turn[1]
        assert isinstance(subscribe, Subscribe)
        asked.append((subscribe.filters, subscribe.since))
        desk.confirm("e1-200")
    assert asked == [(["a"], "e1-105"), (["b"], "e1-100")]


def test_commands_for_a_connection_that_is_lost_are_forgotten() -> None:
    desk = Desk()
    desk.add("a")
    desk.subscriptions.lost()
    assert desk.commands() == []


def test_a_full_inbox_sets_its_subscription_aside_and_no_other() -> None:
    desk = Desk()
    slow, quick = desk.add_live("a", room=2), desk.add_live("#")
    for offset in (101, 102, 103):
        desk.message("a", offset)
    assert slow.state is State.ASIDE
    assert desk.subscriptions.set_aside_total == 1
    (unsubscribe,) = desk.commands()
    assert isinstance(unsubscribe, Unsubscribe)
    desk.message("a", 104)
    assert taken(quick) == [101, 102, 103, 104]


def test_half_an_empty_inbox_brings_it_back() -> None:
    desk = Desk()
    slow = desk.add_live("a", room=2)
    for offset in (101, 102, 103):
        desk.message("a", offset)
    desk.commands()
    slow.inbox.take()
    desk.subscriptions.taken(slow)
    subscribe = desk.commands()[1]
    assert isinstance(subscribe, Subscribe)
    assert subscribe.since == "e1-102"
    desk.subscriptions.taken(slow)
    assert desk.commands() == []


def test_an_inbox_that_fills_is_told_of() -> None:
    desk = Desk()
    desk.add_live("a", room=4)
    desk.message("a", 101)
    desk.message("a", 102)
    assert not desk.subscriptions.is_filling
    desk.message("a", 103)
    assert desk.subscriptions.is_filling


def test_only_a_replay_is_read_at_the_pace_of_its_consumer() -> None:
    desk = Desk()
    live = desk.add_live("b", room=2)
    replayed = desk.add("a", room=2)
    desk.pong()
    for offset in (7, 8):
        desk.message("a", offset)
    assert desk.subscriptions.crowded is None  # nobody takes before it is entered
    replayed.is_entered = True
    assert desk.subscriptions.crowded is replayed
    desk.confirm()
    assert desk.subscriptions.crowded is None
    for offset in (101, 102):
        desk.message("b", offset)
    assert live.is_crowded
    assert desk.subscriptions.crowded is None


def test_a_replay_that_may_be_dropped_from_is_not_waited_for() -> None:
    desk = Desk()
    replayed = desk.add("a", overflow="latest", room=2)
    replayed.is_entered = True
    desk.pong()
    for offset in (7, 8, 9):
        desk.message("a", offset)
    assert desk.subscriptions.crowded is None


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (["latest"], "latest"),
        (["drop-oldest", "drop-oldest"], "drop-oldest"),
        (["latest", "drop-oldest"], "disconnect"),
        (["latest", "disconnect"], "disconnect"),
    ],
)
def test_the_broker_drops_only_what_all_subscriptions_let_go(chosen: list[str], expected: str) -> None:
    """docs/protocol.md, "Commands": `overflow` belongs to the connection; the last one given counts."""
    desk = Desk()
    for overflow in chosen[:-1]:
        desk.add_live("a", overflow=overflow)
    desk.add("b", overflow=chosen[-1])
    subscribe = desk.commands()[1]
    assert isinstance(subscribe, Subscribe)
    assert subscribe.overflow == expected


def test_a_gap_in_a_replay_is_for_that_subscription() -> None:
    desk = Desk()
    live, replayed = desk.add_live("#"), desk.add("a", since="e1-3")
    desk.pong()
    desk.gap(3, 12, filter="a")
    desk.message("a", 13)
    assert (taken(live), taken(replayed)) == ([], ["evicted", 13])


def test_a_gap_in_a_replay_of_several_filters_is_for_that_subscription() -> None:
    """It names no filter, and lies behind where the connection stands."""
    desk = Desk()
    live, replayed = desk.add_live("#"), desk.add("a", "b", since="e1-3")
    desk.pong()
    desk.gap(3, 12)
    assert (taken(live), taken(replayed)) == ([], ["evicted"])


def test_a_gap_beyond_where_the_connection_stands_is_for_everybody() -> None:
    """docs/protocol.md, "Loss": `filter` is left out when the gap concerns everything on the connection."""
    desk = Desk()
    live, replayed = desk.add_live("#"), desk.add("a")
    desk.message("x", 103)
    desk.pong()
    desk.gap(103, 120)
    assert (taken(live), taken(replayed)) == ([103, "evicted"], ["evicted"])


def test_a_gap_outside_of_replays_is_for_whom_it_names() -> None:
    desk = Desk()
    named, other = desk.add_live("a", "b"), desk.add_live("#")
    desk.gap(100, 120, filter="b")
    assert (taken(named), taken(other)) == (["evicted"], [])


def test_what_overflowed_on_the_connection_is_told_to_all_that_are_on_it() -> None:
    desk = Desk()
    subscriptions = [desk.add_live("a", overflow="latest"), desk.add("b", overflow="latest"), desk.add("c")]
    desk.pong()
    desk.gap(101, 105, "overflow")
    assert [taken(each) for each in subscriptions] == [["overflow"], ["overflow"], []]


def test_a_gap_for_a_subscription_that_was_set_aside_is_left_to_its_next_replay() -> None:
    desk = Desk()
    live, slow = desk.add_live("#"), desk.add("a", room=1)
    desk.pong()
    desk.message("a", 5)
    desk.message("a", 6)
    assert slow.state is State.ASIDE
    desk.gap(6, 12, filter="a")
    assert (taken(live), taken(slow)) == ([], [5])


def test_another_epoch_is_told_to_each_in_its_own_turn() -> None:
    desk = Desk()
    first, second = desk.add_live("a"), desk.add_live("b")
    desk.subscriptions.lost()
    desk.subscriptions.connected("e2", "e2-0")
    for _ in range(2):
        desk.pong()
        desk.gap(None, 0, "epoch")
        desk.confirm("e2-0")
    desk.message("a", 1)
    assert (taken(first), taken(second)) == (["epoch", 1], ["epoch"])


def test_a_refused_subscription_ends_with_the_error_and_the_next_has_its_turn() -> None:
    desk = Desk()
    refused, following = desk.add("a"), desk.add("b")
    desk.pong()
    desk.refuse("forbidden")
    assert isinstance(refused.error, Forbidden)
    assert refused.state is State.CLOSED
    assert following.state is State.ASKED
    assert [type(command) for command in desk.commands()] == [Ping, Subscribe]  # and nothing to unsubscribe


def test_other_filters_than_were_asked_for_are_given_up_with_what_to_ask_for() -> None:
    desk = Desk()
    desk.add_live("b")
    changed, following = desk.add("a"), desk.add("c")
    desk.pong()
    answer = Subscribed(
        id=desk.turn[1].id, cursor="e1-100", replayed=0, complete=True, filter=["users/7/a", "b"]
    )
    desk.subscriptions.receive(answer)
    assert isinstance(changed.error, InvalidFilter)
    assert "in the place of a the broker gives users/7/a, b: ask for that" in str(changed.error)
    assert following.state is State.ASKED
    [unsubscribe] = [each for each in desk.commands() if isinstance(each, Unsubscribe)]
    assert unsubscribe.filters == ["users/7/a"]  # `b` is another's as well


def test_refused_for_the_time_being_after_it_had_begun_the_connection_is_of_no_use() -> None:
    desk = Desk()
    subscription = desk.add_live("a")
    desk.subscriptions.lost()
    desk.subscriptions.connected("e1", "e1-0")
    desk.pong()
    with pytest.raises(EngineUnavailable):
        desk.refuse("engine_unavailable", temporary=True)
    desk.subscriptions.lost()
    assert subscription.state is State.WAITING


def test_refused_for_the_time_being_before_it_has_begun_it_ends() -> None:
    desk = Desk()
    subscription = desk.add("a")
    desk.pong()
    desk.refuse("engine_unavailable", temporary=True)
    assert isinstance(subscription.error, EngineUnavailable)


def test_confirmed_before_the_pong_the_broker_breaks_the_rules() -> None:
    desk = Desk()
    desk.add("a")
    ((_, subscribe),) = desk.subscriptions.groups_to_send()
    with pytest.raises(RemoteProtocolError, match="pong"):
        desk.subscriptions.receive(Subscribed(id=subscribe.id, cursor="e1-0", replayed=0, complete=True))


def test_pushes_are_told_apart_by_whom_they_are_for() -> None:
    desk = Desk()
    receive = desk.subscriptions.receive
    desk.add_live("a")
    assert receive(Pong(id="other"))
    assert receive(Unsubscribed(id="u1"))
    assert receive(Subscribed(id="other", cursor="e1-0", replayed=0, complete=True))
    assert receive(ErrorPush(id="u1", code="not_subscribed", message="", temporary=False))
    assert not receive(ErrorPush(id=None, code="invalid_command", message="", temporary=False))
    assert not receive(ErrorPush(id=7, code="invalid_topic", message="", temporary=False))
    assert not receive(Published(id=7, topic="a", offset=1, cursor="e1-1", subscribers=0))


def test_a_gap_says_what_was_pushed() -> None:
    desk = Desk()
    subscription = desk.add_live("a", overflow="latest")
    desk.subscriptions.receive(GapPush(after=100, until=104, reason="overflow", dropped=3))
    assert subscription.inbox.take() == Gap(100, 104, "overflow", 3, None)
