"""`Broker` and `Client` are one line apart: the same code, in process and at a distance, does the same."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TypeAlias

import pytest

from extra.client import Client
from extra.errors import (
    InvalidCommand,
    InvalidCursor,
    InvalidFilter,
    InvalidPayload,
    InvalidTopic,
    PreconditionFailed,
    TopicClosed,
)
from extra.pubsub import Broker
from tests.e2e.daemon import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Either: TypeAlias = Broker | Client


@pytest.fixture(params=["in process", "at a distance"])
async def broker(request: pytest.FixtureRequest, daemon: Daemon) -> AsyncIterator[Either]:
    async with asyncio.timeout(30):
        if request.param == "in process":
            async with Broker() as near:
                yield near
        else:
            async with Client(daemon.url) as far:
                yield far


async def test_publish_subscribe_and_read(broker: Either, topic: str) -> None:
    async with broker.subscribe(f"{topic}/+") as messages:
        receipt = await broker.publish(
            f"{topic}/a",
            {"n": 1},
            retain=True,
            ttl=1e9,
            key="k" * 255,
            content_type="application/vnd.x+json",
            headers={"h": "ä"},
        )
        assert (receipt.topic, receipt.subscribers) == (f"{topic}/a", 1)
        message = await anext(messages)
        assert (message.topic, message.data, message.retained) == (f"{topic}/a", {"n": 1}, True)
        assert (message.content_type, message.headers) == ("application/vnd.x+json", {"h": "ä"})
        assert message.expires_at > 1e9
        assert messages.cursor == message.cursor == receipt.cursor
        assert (messages.complete, messages.dropped) == (True, 0)
    page = await broker.history(f"{topic}/#", limit=10_000)
    assert [each.data for each in page.messages] == [{"n": 1}]
    assert (page.complete, page.more, page.lost_until) == (True, False, 0)
    kept = await broker.history(f"{topic}/#", since="now")
    assert [each.data for each in kept.messages] == [{"n": 1}]
    for _ in range(2):
        done: object = await broker.clear(f"{topic}/a")  # type: ignore[func-returns-value]  # that it is None
        assert done is None
    assert (await broker.history(f"{topic}/#", since="now")).messages == []


async def test_publishing_on_a_condition(broker: Either, topic: str) -> None:
    assert (await broker.history(topic)).last_offset == 0
    first = await broker.publish(topic, 1, if_last=0)
    with pytest.raises(PreconditionFailed) as caught:
        await broker.publish(topic, 2, if_last=0)
    assert (caught.value.offset, caught.value.cursor) == (first.offset, first.cursor)
    await broker.publish(topic, 2, if_last=caught.value.offset, key="k")
    page = await broker.history(topic)
    assert ([each.data for each in page.messages], page.last_offset) == ([1, 2], page.messages[-1].offset)
    assert (await broker.history(f"{topic}/#")).last_offset is None


async def test_publishing_later_and_taking_it_back(broker: Either, topic: str) -> None:
    at = time.time() + 3600
    receipt = await broker.publish(topic, [1], deliver_at=at, ttl=5, retain=True)
    assert (receipt.topic, receipt.offset, receipt.cursor, receipt.deliver_at) == (topic, 0, "", at)
    [waiting] = [each for each in (await broker.scheduled()).messages if each.id == receipt.scheduled]
    assert (waiting.topic, waiting.deliver_at, waiting.payload_bytes, waiting.retained) == (
        topic,
        at,
        3,
        True,
    )
    assert await broker.cancel(receipt.scheduled)
    assert not await broker.cancel(receipt.scheduled)
    assert not await broker.cancel("a/../b ?#")
    for limit in (0, 10_001):
        with pytest.raises(InvalidCommand):
            await broker.scheduled(limit=limit)
    with pytest.raises(InvalidCommand):
        await broker.scheduled(after="x")


async def test_what_is_for_later_comes_by_itself(broker: Either, topic: str) -> None:
    async with broker.subscribe(topic) as messages:
        await broker.publish(topic, "later", deliver_at=time.time() + 0.1)
        sweeping = asyncio.ensure_future(sweep(broker))  # whoever drives a broker does so every second
        assert (await anext(messages)).data == "later"
        sweeping.cancel()


async def sweep(broker: Either) -> None:
    while isinstance(broker, Broker):
        broker.sweep()
        await asyncio.sleep(0.05)


async def test_a_page_ends_at_so_many_bytes_and_goes_on_from_its_cursor(broker: Either, topic: str) -> None:
    for number in range(5):
        await broker.publish(topic, f"{number}" * 600_000)
    page = await broker.history(topic)
    taken = [len(page.messages)]
    while page.more:
        page = await broker.history(topic, since=page.cursor)
        taken.append(len(page.messages))
    assert taken == [1, 1, 1, 1, 1]


async def test_a_start_that_is_gone_shows(broker: Either, topic: str) -> None:
    """The usual policy keeps 100 messages of a topic."""
    for number in range(101):
        await broker.publish(topic, number)
    page = await broker.history(topic)
    assert (len(page.messages), page.complete, page.resume) == (100, False, "")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ttl": 0.0001}, InvalidCommand),
        ({"ttl": 1e10}, InvalidCommand),
        ({"ttl": float("nan")}, InvalidCommand),
        ({"key": ""}, InvalidCommand),
        ({"key": "k" * 256}, InvalidCommand),
        ({"if_last": -1}, InvalidCommand),
        ({"deliver_at": -1}, InvalidCommand),
        ({"deliver_at": 1e12}, InvalidCommand),
        ({"deliver_at": 1e10, "if_last": 0}, InvalidCommand),
        ({"deliver_at": "soon"}, TypeError),
        ({"if_last": 2**63}, InvalidCommand),
        ({"if_last": "5"}, TypeError),
        ({"ttl": "5"}, TypeError),
        ({"key": 5}, TypeError),
        ({"headers": {"a": 1}}, TypeError),
        ({"headers": 5}, TypeError),
        ({"retain": "yes"}, TypeError),
        ({"content_type": 5}, TypeError),
        ({"topic": 5}, TypeError),
        ({"topic": "a/+"}, InvalidTopic),
        ({"topic": "$SYS/a"}, InvalidTopic),
        ({"data": object()}, InvalidPayload),
    ],
)
async def test_what_cannot_be_published_is_refused(
    broker: Either, topic: str, options: dict[str, object], error: type[Exception]
) -> None:
    given = {"topic": topic, "data": 1, **options}
    with pytest.raises(error):
        await broker.publish(**given)  # type: ignore[arg-type]  # that is the point
    assert (await broker.history(topic)).messages == []


@pytest.mark.parametrize(
    ("filters", "options", "error"),
    [
        ((), {}, InvalidCommand),
        ((["a", "b"],), {}, TypeError),
        ((5,), {}, TypeError),
        (("a/#/b",), {}, InvalidFilter),
        (("a",), {"since": 3}, TypeError),
        (("a",), {"since": "then"}, InvalidCursor),
        (("a",), {"retained": "yes"}, TypeError),
    ],
)
async def test_what_cannot_be_read_is_refused(
    broker: Either, filters: tuple[str, ...], options: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await broker.history(*filters, **options)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(error):
        async with broker.subscribe(*filters, **options):  # type: ignore[arg-type, call-overload]  # likewise
            pass


async def test_limits_and_policies_are_refused_alike(broker: Either, topic: str) -> None:
    for limit in (0, 10_001, 20_000):
        with pytest.raises(InvalidCommand, match=f"limit {limit}: a whole number from 1 to 10000"):
            await broker.history(topic, limit=limit)
    with pytest.raises(InvalidCommand, match="overflow"):
        async with broker.subscribe(topic, overflow="some"):
            pass
    with pytest.raises(TypeError):
        broker.subscribe(topic, overflow=3)  # type: ignore[arg-type, call-overload]  # that is the point
    with pytest.raises(InvalidTopic):
        await broker.clear("a/#")


async def test_a_gap_is_raised_in_the_same_words_and_told_in_the_same_form(
    broker: Either, topic: str
) -> None:
    await broker.publish(topic, 1)
    async with broker.subscribe(topic, since="old-7") as messages:
        with pytest.raises(Exception, match="the broker's log has begun anew") as caught:
            await anext(messages)
        assert (await anext(messages)).data == 1
        assert not messages.complete
    gaps: list[object] = []
    async with broker.subscribe(topic, since="old-7", on_gap=gaps.append) as messages:
        assert (await anext(messages)).data == 1
    assert gaps == [getattr(caught.value, "gap", None)]


async def test_misuse_is_told_alike(broker: Either, topic: str) -> None:
    messages = broker.subscribe(topic)
    with pytest.raises(RuntimeError, match="enter the subscription first"):
        await anext(messages)
    with pytest.raises(RuntimeError, match="enter the subscription first"):
        _ = messages.cursor
    assert (messages.complete, messages.dropped) == (True, 0)
    await messages.__aexit__(None, None, None)
    async with messages:
        with pytest.raises(RuntimeError, match="entered once"):
            await messages.__aenter__()
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one task"):
            await anext(messages)
        await broker.publish(topic, 1)
        assert (await first).data == 1
    with pytest.raises(StopAsyncIteration):
        await anext(messages)
    with pytest.raises(RuntimeError, match="entered once"):
        await broker.__aenter__()


async def test_a_stream_comes_to_its_end(broker: Either, topic: str) -> None:
    async with (
        broker.subscribe(f"{topic}/a", f"{topic}/b") as messages,
        broker.subscribe(f"{topic}/+") as wide,
    ):
        await broker.publish(f"{topic}/a", 1)
        await broker.publish(f"{topic}/a", 2, close=True)
        await broker.publish(f"{topic}/b", 3, close=True)
        assert [message.data async for message in messages] == [1, 2, 3]
        assert [(await anext(wide)).data for _ in range(3)] == [1, 2, 3]
        with pytest.raises(TopicClosed):
            await broker.publish(f"{topic}/a", 4)
        await broker.publish(f"{topic}/a", 5, close=False)
        assert (await anext(wide)).data == 5
    async with broker.subscribe(f"{topic}/b", since="start") as late:
        assert [message.data async for message in late] == [3]
    async with broker.subscribe(f"{topic}/b") as later:
        assert [message.data async for message in later] == []
    page = await broker.history(f"{topic}/b")
    assert (page.closed, [message.data for message in page.messages]) == (True, [3])
    assert not (await broker.history(f"{topic}/a")).closed
    assert not (await broker.history(f"{topic}/+")).closed
    assert (await broker.history(f"{topic}/b", since=page.cursor)).closed
