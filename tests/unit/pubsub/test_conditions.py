"""Publishing on a condition: what is told when it does not hold, and how it goes with keys and in batches."""

import pytest

from extra.errors import ExtraError, InvalidCommand, PreconditionFailed
from extra.pubsub import Broker, MemoryEngine, Message, Policy, PolicyTable, Receipt
from extra.pubsub.conditions import precondition_failed
from tests.fakes.clock import FakeClock


@pytest.mark.parametrize(
    ("if_last", "last", "said"),
    [
        (3, 5, "the last message of topic 'a' was to be the message at offset 3, and is the one at offset 5"),
        (0, 5, "the last message of topic 'a' was to be none, and is the one at offset 5"),
        (3, 0, "the last message of topic 'a' was to be the message at offset 3, and is none"),
    ],
)
def test_it_is_said_which_message_is_the_last_one(if_last: int, last: int, said: str) -> None:
    error = precondition_failed("a", if_last, last, "e1")
    assert (str(error), error.offset, error.cursor) == (said, last, f"e1-{last}")


async def test_a_message_is_published_while_nobody_else_has_published() -> None:
    async with Broker(MemoryEngine(epoch="e1")) as broker:
        first = await broker.publish("a", 1, if_last=0)
        await broker.publish("b", 1)
        second = await broker.publish("a", 2, if_last=first.offset)
        for stale in (0, first.offset, 2, 99):
            with pytest.raises(PreconditionFailed) as caught:
                await broker.publish("a", 3, if_last=stale)
            assert (caught.value.offset, caught.value.cursor) == (second.offset, "e1-3")
        page = await broker.history("a")
        assert ([each.data for each in page.messages], page.last_offset) == ([1, 2], 3)


async def test_what_was_evicted_or_has_expired_is_the_last_message_all_the_same() -> None:
    clock = FakeClock()
    async with Broker(MemoryEngine(PolicyTable(Policy(age_s=10.0)), clock=clock), clock=clock) as broker:
        await broker.publish("a", 1)
        await broker.publish("b", 1, ttl=1.0)
        clock.advance(10.0)
        broker.sweep()
        for topic, last in (("a", 1), ("b", 2)):
            page = await broker.history(topic)
            assert (page.messages, page.last_offset) == ([], last)
            with pytest.raises(PreconditionFailed):
                await broker.publish(topic, 2, if_last=0)
            await broker.publish(topic, 2, if_last=last)


async def test_a_topic_that_the_log_has_forgotten_has_no_last_message() -> None:
    async with Broker(MemoryEngine(topics_limit=1)) as broker:
        await broker.publish("a", 1)
        await broker.publish("b", 1)
        assert (await broker.history("a")).last_offset == 0
        assert (await broker.publish("a", 1, if_last=0)).offset == 3


async def test_filters_have_no_last_message() -> None:
    async with Broker() as broker:
        await broker.publish("a", 1)
        assert (await broker.history("+")).last_offset is None
        assert (await broker.history("a", "b")).last_offset is None


async def test_a_key_that_was_used_counts_before_the_condition() -> None:
    """Who sends again what was not answered learns what became of it."""
    async with Broker() as broker:
        first = await broker.publish("a", 1, key="k", if_last=0)
        assert (await broker.publish("a", 1, key="k", if_last=0)).offset == first.offset
        with pytest.raises(PreconditionFailed):
            await broker.publish("a", 2, key="other", if_last=0)
        assert (await broker.publish("a", 2, key="other", if_last=1)).offset == 2


async def test_in_a_batch_each_condition_is_decided_in_its_place() -> None:
    async with Broker() as broker:
        answers = await broker.publish_messages(
            [Message("a", b"") for _ in range(6)], [None, None, "k", "k", None, None], [0, None, 2, 9, 2, 3]
        )
        assert [described(answer) for answer in answers] == [1, 2, 3, 3, "precondition_failed", 4]


def described(answer: Receipt | ExtraError) -> int | str:
    return answer.code if isinstance(answer, ExtraError) else answer.offset


@pytest.mark.parametrize(
    ("if_last", "error"), [(-1, InvalidCommand), (2**63, InvalidCommand), ("1", TypeError), (True, TypeError)]
)
async def test_what_is_no_offset_is_refused(if_last: object, error: type[Exception]) -> None:
    async with Broker() as broker:
        with pytest.raises(error):
            await broker.publish("a", 1, if_last=if_last)  # type: ignore[arg-type]  # that is the point
