"""What a subscriber at a distance iterates over."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from extra.client.messages import Messages
from extra.client.subscription import Subscription
from extra.errors import Forbidden, InvalidFilter, UnrecoverablePosition
from extra.pubsub import Gap, Message


class Desk:
    """One subscription, without anything behind it."""

    def __init__(self, since: str = "e1-0", *, overflow: str = "disconnect", room: int = 100) -> None:
        self.subscription = Subscription(["a", "b"], since, overflow, None, room * 450)
        self.taken = 0
        self.left = 0
        self.epoch = "e1"
        self.subscription.begin_replay("e1")

    def messages(self, on_gap: Callable[[Gap], None] | None = None) -> Messages:
        return Messages(
            lambda: self.subscription,
            self._taken,
            self._leave,
            self.subscription.filters,
            self.subscription.overflow,
            on_gap,
        )

    def put(self, *offsets: int, retained: bool = False) -> None:
        for offset in offsets:
            message = Message("a", b"null", "json", retained=retained)
            message.place(self.epoch, offset, 0.0, 0.0)
            self.subscription.take(message)

    def confirm(self, offset: int = 0) -> None:
        self.subscription.confirm(f"{self.epoch}-{offset}", complete=True)

    def _taken(self, subscription: Subscription) -> None:
        assert subscription is self.subscription
        self.taken += 1

    def _leave(self, subscription: Subscription) -> None:
        self.left += 1
        subscription.close()


async def test_entering_waits_for_the_confirmation() -> None:
    desk = Desk()
    entering = asyncio.ensure_future(desk.messages().__aenter__())
    await asyncio.sleep(0)
    assert not entering.done()
    desk.confirm()
    messages = await entering
    assert messages.complete
    assert desk.subscription.is_entered


async def test_entering_does_not_wait_for_the_end_of_a_long_replay() -> None:
    desk = Desk()
    desk.put(1)
    async with asyncio.timeout(1), desk.messages() as messages:
        assert (await anext(messages)).offset == 1


async def test_entering_raises_what_the_broker_answered() -> None:
    desk = Desk()
    desk.subscription.close(Forbidden("not you"))
    with pytest.raises(Forbidden, match="not you"):
        async with desk.messages():
            pass


async def test_entering_raises_what_is_wrong_with_the_arguments() -> None:
    def subscribe() -> Subscription:
        return Subscription(["a/#/b"], "now", "disconnect", None, 1000)

    with pytest.raises(InvalidFilter):
        async with Messages(subscribe, lambda _: None, lambda _: None, ["a/#/b"], "disconnect", None):
            pass


async def test_entering_that_is_cancelled_leaves() -> None:
    desk = Desk()
    entering = asyncio.ensure_future(desk.messages().__aenter__())
    await asyncio.sleep(0)
    entering.cancel()
    await asyncio.wait([entering])
    assert desk.left == 1


async def test_messages_come_in_order_and_each_taking_is_told() -> None:
    desk = Desk()
    desk.confirm()
    async with desk.messages() as messages:
        desk.put(1, 2, 3)
        assert [(await anext(messages)).offset for _ in range(3)] == [1, 2, 3]
    assert desk.taken == 3
    assert desk.left == 1


async def test_waiting_for_a_message_that_is_cancelled_loses_none() -> None:
    desk = Desk()
    desk.confirm()
    async with desk.messages() as messages:
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        desk.put(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert (await anext(messages)).offset == 1


async def test_leaving_ends_the_iteration_after_what_there_is() -> None:
    desk = Desk()
    desk.confirm()
    async with desk.messages() as messages:
        desk.put(1)
    assert [message.offset async for message in messages] == [1]


async def test_an_error_ends_the_iteration_after_what_there_is() -> None:
    desk = Desk()
    desk.confirm()
    async with desk.messages() as messages:
        desk.put(1)
        desk.subscription.close(Forbidden("no longer"))
        assert (await anext(messages)).offset == 1
        with pytest.raises(Forbidden, match="no longer"):
            await anext(messages)


async def test_a_gap_is_told_in_order() -> None:
    desk = Desk()
    desk.put(1)
    gap = Gap(1, 5, "evicted")
    desk.subscription.tell(gap, "e1")
    desk.put(6)
    seen: list[object] = []
    async with desk.messages(on_gap=seen.append) as messages:
        assert not messages.complete
        seen.append((await anext(messages)).offset)
        seen.append((await anext(messages)).offset)
    assert seen == [1, gap, 6]


async def test_a_gap_that_nobody_asked_to_be_told_of_is_raised_and_the_iteration_may_go_on() -> None:
    desk = Desk("e1-3")
    gap = Gap(3, 5, "evicted")
    desk.subscription.tell(gap, "e1")
    desk.put(6)
    async with desk.messages() as messages:
        with pytest.raises(UnrecoverablePosition, match="after offset 3 and up to 5 are missing") as caught:
            await anext(messages)
        assert caught.value.gap is gap
        assert (await anext(messages)).offset == 6


async def test_loss_that_was_agreed_to_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(overflow="drop-oldest", room=1)
    desk.confirm()
    async with desk.messages() as messages:
        with caplog.at_level(logging.WARNING, "extra.client"):
            for offsets in ((1, 2, 3), (4, 5)):
                desk.put(*offsets)
                assert (await anext(messages)).offset == offsets[-1]
            desk.subscription.tell(Gap(5, 9, "overflow", 4), "e1")
            desk.put(10)
            assert (await anext(messages)).offset == 10
        assert messages.dropped == 3 + 4
    (record,) = caplog.records
    assert "a, b does not keep up" in record.getMessage()
    assert "drop-oldest" in record.getMessage()


@pytest.mark.parametrize(
    ("since", "cursor"), [("e1-3", "e1-3"), ("start", "e1-0"), ("last:2", "e1-6"), ("now", "e1-9")]
)
async def test_the_cursor_is_where_it_began_and_then_after_the_last_message(since: str, cursor: str) -> None:
    desk = Desk(since)
    if since == "now":
        desk.put(2, retained=True)
    else:
        desk.put(7)
    desk.confirm(9)
    async with desk.messages() as messages:
        assert messages.cursor == cursor
        message = await anext(messages)
        assert messages.cursor == (cursor if since == "now" else message.cursor)
        desk.put(11)
        await anext(messages)
        assert messages.cursor == "e1-11"


async def test_the_cursor_says_which_loss_is_known() -> None:
    """extra/pubsub/position.py: going on from there is then no second loss."""
    desk = Desk("e1-3")
    desk.subscription.tell(Gap(3, 8, "evicted"), "e1")
    desk.put(5)
    desk.confirm(9)
    async with desk.messages(on_gap=lambda _: None) as messages:
        assert messages.cursor == "e1-3"
        await anext(messages)
        assert messages.cursor == "e1-5-8"


async def test_the_cursor_goes_over_to_another_epoch() -> None:
    desk = Desk("e1-30")
    desk.confirm(30)
    async with desk.messages(on_gap=lambda _: None) as messages:
        desk.epoch = "e2"
        desk.subscription.begin_replay("e2")
        desk.subscription.tell(Gap(None, 0, "epoch"), "e2")
        desk.put(1, 2)
        assert messages.cursor == "e1-30"
        assert (await anext(messages)).cursor == "e2-1"
        assert messages.cursor == "e2-1"


async def test_it_is_entered_before_it_is_used() -> None:
    messages = Desk().messages()
    with pytest.raises(RuntimeError, match="enter the subscription first"):
        await anext(messages)


async def test_it_is_entered_once() -> None:
    desk = Desk()
    desk.confirm()
    messages = desk.messages()
    async with messages:
        with pytest.raises(RuntimeError, match="entered once"):
            await messages.__aenter__()
    with pytest.raises(RuntimeError, match="entered once"):
        await messages.__aenter__()


async def test_one_task_iterates() -> None:
    desk = Desk()
    desk.confirm()
    async with desk.messages() as messages:
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        desk.put(1)
        with pytest.raises(RuntimeError, match="one task"):
            await anext(messages)
        assert (await first).offset == 1
        desk.put(2)
        assert (await anext(messages)).offset == 2
