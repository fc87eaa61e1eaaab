"""One subscription: its position, its inbox and the command that asks for the rest."""

import pytest

from extra.client.subscription import State, Subscription
from extra.errors import InvalidCommand, InvalidCursor, InvalidFilter
from extra.pubsub import Gap, Message


def message(offset: int, topic: str = "a", *, epoch: str = "e1", retained: bool = False) -> Message:
    made = Message(topic, b"null", "json", retained=retained)
    made.place(epoch, offset, 0.0, 0.0)
    return made


def subscription_of(
    since: str = "start", *, overflow: str = "disconnect", retained: bool | None = None, room: int = 100
) -> Subscription:
    return Subscription(["a"], since, overflow, retained, room * 450)


def inbox_of(subscription: Subscription) -> list[int | Gap]:
    """Take all that waits: the offsets of messages, and gaps."""
    taken: list[int | Gap] = []
    while (entry := subscription.inbox.take()) is not None:
        taken.append(entry.offset if isinstance(entry, Message) else entry)
    return taken


def since_of(subscription: Subscription) -> str | None:
    return subscription.command("s1", "disconnect").since


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidFilter):
        Subscription(["a/#/b"], "now", "disconnect", None, 1000)
    with pytest.raises(InvalidCommand, match="at least one topic filter"):
        Subscription([], "now", "disconnect", None, 1000)
    with pytest.raises(InvalidCursor):
        Subscription(["a"], "yesterday", "disconnect", None, 1000)
    with pytest.raises(InvalidCommand, match="overflow"):
        Subscription(["a"], "now", "forget", None, 1000)


def test_the_command_asks_for_everything_anew() -> None:
    """docs/protocol.md, "Commands": `replay` is `all`."""
    command = Subscription(["a", "b", "a"], "e1-7", "latest", True, 1000).command("s1", "disconnect")
    assert command.filters == ["a", "b"]
    assert (command.id, command.since, command.replay) == ("s1", "e1-7", "all")
    assert (command.retained, command.overflow) == (True, "disconnect")


@pytest.mark.parametrize(
    ("since", "asked", "expected"),
    [("now", None, True), ("now", False, False), ("start", None, False), ("e1-3", True, True)],
)
def test_retained_messages_are_wanted_by_default_from_now(
    since: str, asked: bool | None, expected: bool
) -> None:
    """docs/protocol.md, "Commands": `retained` (default: true with `since: "now"`)."""
    assert subscription_of(since, retained=asked).command("s1", "disconnect").retained is expected


@pytest.mark.parametrize("since", ["start", "now", "last:3"])
def test_the_original_since_is_asked_for_until_there_is_a_position(since: str) -> None:
    subscription = subscription_of(since)
    subscription.begin_replay("e1")
    assert since_of(subscription) == since
    subscription.confirm("e1-9", complete=True)
    assert since_of(subscription) == "e1-9"


def test_a_message_of_the_log_moves_the_position() -> None:
    subscription = subscription_of("last:3")
    subscription.begin_replay("e1")
    assert subscription.take(message(5))
    assert since_of(subscription) == "e1-5"
    assert subscription.began is not None
    assert subscription.began.offset == 4


def test_what_lies_behind_the_position_is_not_taken() -> None:
    subscription = subscription_of("e1-5")
    subscription.begin_replay("e1")
    for offset in (4, 5, 6, 6, 5, 7):
        assert subscription.take(message(offset))
    assert inbox_of(subscription) == [6, 7]


def test_confirmation_does_not_move_the_position_back() -> None:
    subscription = subscription_of("e1-5")
    subscription.begin_replay("e1")
    subscription.take(message(9))
    subscription.confirm("e1-8", complete=True)
    assert since_of(subscription) == "e1-9"


def test_retained_messages_leave_the_position_alone() -> None:
    subscription = subscription_of("e1-5", retained=True)
    subscription.begin_replay("e1")
    for offset in (2, 7):
        subscription.take(message(offset, retained=True))
    assert since_of(subscription) == "e1-5"
    subscription.take(message(6))
    subscription.take(message(7, retained=True))
    assert inbox_of(subscription) == [2, 7, 6, 7]


def test_a_stage_that_was_cut_short_goes_on_where_it_was() -> None:
    subscription = subscription_of("now")
    subscription.begin_replay("e1")
    subscription.take(message(2, retained=True))
    subscription.begin_replay("e1")
    for offset in (2, 3):
        subscription.take(message(offset, retained=True))
    assert inbox_of(subscription) == [2, 3]


def test_in_another_epoch_the_retained_messages_are_others() -> None:
    subscription = subscription_of("now")
    subscription.begin_replay("e1")
    subscription.take(message(2, retained=True))
    subscription.begin_replay("e2")
    subscription.take(message(1, epoch="e2", retained=True))
    assert inbox_of(subscription) == [2, 1]


def test_a_stage_that_was_finished_is_not_asked_for_again() -> None:
    by_message = subscription_of("start", retained=True)
    by_message.begin_replay("e1")
    by_message.take(message(3))
    by_confirmation = subscription_of("now")
    by_confirmation.begin_replay("e1")
    by_confirmation.confirm("e1-3", complete=True)
    assert by_message.command("s1", "disconnect").retained is False
    assert by_confirmation.command("s1", "disconnect").retained is False


def test_it_begins_when_confirmed_or_with_a_position_and_something_to_give() -> None:
    confirmed = subscription_of("now")
    confirmed.begin_replay("e1")
    confirmed.take(message(2, retained=True))
    assert not confirmed.has_begun
    confirmed.confirm("e1-3", complete=True)
    assert confirmed.has_begun
    early = subscription_of("e1-1")
    early.begin_replay("e1")
    assert not early.has_begun
    early.take(message(2))
    assert early.has_begun


def test_a_message_that_does_not_fit_leaves_everything_as_it_was() -> None:
    subscription = subscription_of("e1-0", room=1)
    subscription.begin_replay("e1")
    assert subscription.take(message(1))
    assert not subscription.take(message(2))
    assert since_of(subscription) == "e1-1"
    assert inbox_of(subscription) == [1]


def test_set_aside_among_the_retained_it_notes_where_the_replay_begins() -> None:
    subscription = subscription_of("last:2", retained=True, room=1)
    subscription.begin_replay("e1")
    assert subscription.take(message(1, retained=True))
    assert not subscription.take(message(2, retained=True))
    subscription.state = State.ASIDE
    subscription.take(message(3, retained=True))
    assert since_of(subscription) == "last:2"
    subscription.take(message(8))
    assert since_of(subscription) == "e1-7"
    assert subscription.command("s1", "disconnect").retained is True
    assert inbox_of(subscription) == [1]


def test_set_aside_among_the_retained_it_begins_where_it_is_confirmed() -> None:
    subscription = subscription_of("now", room=1)
    subscription.begin_replay("e1")
    subscription.take(message(1, retained=True))
    subscription.state = State.ASIDE
    subscription.confirm("e1-9", complete=True)
    assert subscription.state is State.ASIDE
    assert subscription.has_begun
    command = subscription.command("s2", "disconnect")
    assert (command.since, command.retained) == ("e1-9", True)


def test_it_is_crowded_when_more_than_half_of_its_inbox_is_taken_up() -> None:
    subscription = subscription_of("e1-0", room=2)
    subscription.begin_replay("e1")
    subscription.take(message(1))
    assert not subscription.is_crowded
    subscription.take(message(2))
    assert subscription.is_crowded


@pytest.mark.parametrize("overflow", ["drop-oldest", "latest"])
def test_a_policy_that_drops_always_takes(overflow: str) -> None:
    subscription = subscription_of("e1-0", overflow=overflow, room=1)
    subscription.begin_replay("e1")
    for offset in (1, 2, 3):
        assert subscription.take(message(offset))
    gap, newest = inbox_of(subscription)
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.dropped, newest) == ("overflow", 2, 3)


def test_a_gap_is_remembered_so_that_it_is_told_once() -> None:
    """extra/pubsub/position.py: a cursor can say up to where loss is known."""
    subscription = subscription_of("e1-3")
    subscription.begin_replay("e1")
    gap = Gap(3, 8, "evicted")
    subscription.tell(gap, "e1")
    assert since_of(subscription) == "e1-3-8"
    assert not subscription.complete
    subscription.take(message(5))
    assert since_of(subscription) == "e1-5-8"
    assert inbox_of(subscription) == [gap, 5]


def test_a_gap_before_anything_else_gives_a_position() -> None:
    subscription = subscription_of("start")
    subscription.begin_replay("e1")
    subscription.tell(Gap(6, 8, "evicted"), "e1")
    assert since_of(subscription) == "e1-6-8"
    assert subscription.began is not None
    assert subscription.has_begun


def test_another_epoch_begins_at_its_start() -> None:
    subscription = subscription_of("e1-30-40")
    subscription.begin_replay("e2")
    subscription.tell(Gap(None, 0, "epoch"), "e2")
    assert since_of(subscription) == "e2-0"
    assert subscription.take(message(1, epoch="e2"))
    assert since_of(subscription) == "e2-1"


def test_what_the_broker_dropped_is_counted_and_makes_nothing_incomplete() -> None:
    subscription = subscription_of("e1-0")
    subscription.begin_replay("e1")
    subscription.confirm("e1-0", complete=True)
    subscription.tell(Gap(1, 4, "overflow", 3), "e1")
    assert subscription.dropped_before == 3
    assert subscription.complete
    assert since_of(subscription) == "e1-0"


def test_the_broker_may_say_incomplete_without_a_gap() -> None:
    subscription = subscription_of("e1-0")
    subscription.begin_replay("e1")
    subscription.confirm("e1-0", complete=False)
    assert not subscription.complete


def test_the_consumer_is_told_of_every_change() -> None:
    subscription = subscription_of("e1-0", retained=True)
    subscription.begin_replay("e1")
    for change in (
        lambda: subscription.take(message(1, retained=True)),
        lambda: subscription.take(message(2)),
        lambda: subscription.tell(Gap(1, 4, "evicted"), "e1"),
        lambda: subscription.confirm("e1-2", complete=True),
        lambda: subscription.close(),
    ):
        subscription.changed.clear()
        change()
        assert subscription.changed.is_set()
