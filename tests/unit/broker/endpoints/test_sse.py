"""Event streams: how they begin, what they bring, and how they end."""

import asyncio
import json
from dataclasses import replace
from random import Random

import pytest

from broker.endpoints.hub import Hub
from broker.endpoints.sse import EventFeed, EventStreams
from broker.settings import Settings, SSESettings
from extra.errors import EngineUnavailable, ExtraError, InvalidCommand, InvalidCursor, InvalidFilter
from extra.http import Response, StreamingResponse
from extra.pubsub import BrokerLimits, MemoryEngine, Slice
from tests.fakes.engine import SlowEngine
from tests.fakes.wire import FakeStream
from tests.unit.broker.endpoints.driving import Fields, headers_of, make_request, running_hub


async def ask(hub: Hub, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> Response:
    return await EventStreams(hub).open(make_request(method, target, headers))


async def opened(
    hub: Hub, target: str = "/sse?topic=a", headers: dict[str, str] | None = None
) -> tuple[EventFeed, FakeStream]:
    """Return a stream as the connection opens it."""
    response = await ask(hub, target, headers)
    assert isinstance(response, StreamingResponse)
    assert isinstance(response.taker, EventFeed)
    stream = FakeStream()
    response.taker.opened(stream)
    return response.taker, stream


async def written(stream: FakeStream) -> bytes:
    """Return what the next turns of the loop write."""
    for _ in range(5):
        await asyncio.sleep(0)
    return stream.take()


def data_of(block: bytes) -> Fields:
    fields: Fields = json.loads(block.split(b"data: ")[1])
    return fields


async def test_the_answer_is_a_stream_that_nobody_keeps_or_buffers() -> None:
    async with running_hub() as hub:
        response = await ask(hub, "/sse?topic=a")
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert headers_of(response) == {"cache-control": "no-store", "x-accel-buffering": "no"}
        assert isinstance(response, StreamingResponse)
        response.taker.closed()


async def test_the_first_bytes_say_where_it_starts_and_when_to_come_back() -> None:
    settings = Settings(sse=SSESettings(retry_ms=1234))
    async with running_hub(settings) as hub:
        await hub.broker.publish("a", 1)
        _, stream = await opened(hub)
        assert stream.take() == b"retry: 1234\nid: e1-1\n\n"


@pytest.mark.parametrize("name", ["session=s", "group=g&member=m"])
async def test_one_that_was_taken_over_before_it_was_opened_ends_as_it_is(name: str) -> None:
    async with running_hub() as hub:
        response = await ask(hub, f"/sse?topic=a&{name}")
        later, _ = await opened(hub, f"/sse?topic=a&{name}")
        assert isinstance(response, StreamingResponse)
        stream = FakeStream()
        response.taker.opened(stream)
        assert b'"reason":"session_taken_over"' in await written(stream)
        assert stream.is_closed
        assert later.stream is not None
        response.taker.closed()
        later.closed()


async def test_messages_come_as_events_without_a_name() -> None:
    async with running_hub() as hub:
        _, stream = await opened(hub)
        stream.take()
        await hub.broker.publish("a", 1)
        assert await written(stream) == (
            b'id: e1-1\ndata: {"op":"message","topic":"a","offset":1,"data":1}\n\n'
        )


async def test_the_log_comes_first() -> None:
    async with running_hub() as hub:
        for number in range(3):
            await hub.broker.publish("a", number)
        _, stream = await opened(hub, "/t/a?since=e1-1&format=raw")
        assert stream.take() == b"retry: 2000\nid: e1-1\n\n"
        assert await written(stream) == b"id: e1-2\ndata: 1\n\nid: e1-3\ndata: 2\n\n"
        await hub.broker.publish("a", 3)
        assert await written(stream) == b"id: e1-4\ndata: 3\n\n"


async def test_retained_messages_come_first_and_leave_the_cursor_where_it_was() -> None:
    """They have no ids, which would be old: who resumed from there would get what it did not ask for."""
    async with running_hub() as hub:
        await hub.broker.publish("a", 1, retain=True)
        await hub.broker.publish("a", 2)
        _, stream = await opened(hub, "/t/a?format=raw")
        assert await written(stream) == b"retry: 2000\nid: e1-2\n\ndata: 1\n\n"
        _, other = await opened(hub, "/t/a?format=raw&retained=0")
        assert await written(other) == b"retry: 2000\nid: e1-2\n\n"


async def test_last_event_id_resumes() -> None:
    async with running_hub() as hub:
        for number in range(2):
            await hub.broker.publish("a", number)
        _, stream = await opened(hub, "/t/a?format=raw&since=start", {"Last-Event-ID": "e1-1"})
        assert await written(stream) == b"retry: 2000\nid: e1-1\n\nid: e1-2\ndata: 1\n\n"


async def test_what_is_gone_is_told_by_a_gap_and_not_told_again() -> None:
    async with running_hub(keep=1) as hub:
        for number in range(3):
            await hub.broker.publish("a", number)
        _, stream = await opened(hub, "/t/a?since=e1-0")
        first, gap, message, rest = (await written(stream)).split(b"\n\n")
        assert gap.startswith(b"event: gap\n")
        assert data_of(gap) == {"op": "gap", "filter": "a", "after": 0, "until": 2, "reason": "evicted"}
        assert data_of(message)["offset"] == 3
        assert rest == b""
        cursor = first.partition(b"id: ")[2].decode()
        _, stream = await opened(hub, "/t/a", {"Last-Event-ID": cursor})
        assert b"event: gap" in await written(stream)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/sse", InvalidCommand),
        ("/sse?topic=a%23", InvalidFilter),
        ("/sse?topic=a&since=x", InvalidCursor),
        ("/sse?topic=a&since=e1-9", InvalidCursor),
        ("/sse?topic=a&format=xml", InvalidCommand),
        ("/sse?topic=a&overflow=block", InvalidCommand),
        ("/sse?topic=a&retained=maybe", InvalidCommand),
    ],
)
async def test_what_is_wrong_is_answered_before_the_stream_begins(
    target: str, error: type[ExtraError]
) -> None:
    async with running_hub() as hub:
        with pytest.raises(error):
            await ask(hub, target)
        assert not hub.broker.sessions


async def test_head_opens_nothing() -> None:
    async with running_hub() as hub:
        response = await ask(hub, "/sse?topic=a", method="HEAD")
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert isinstance(response, StreamingResponse)  # whose head says no length
        response.taker.closed()
        assert not hub.open
        assert not hub.broker.sessions
        with pytest.raises(InvalidFilter):
            await ask(hub, "/sse?topic=a%23", method="HEAD")


async def test_json_is_the_usual_format() -> None:
    async with running_hub() as hub:
        _, stream = await opened(hub, "/sse?topic=a&format=json")
        await hub.broker.publish("a", 1)
        assert b'"op":"message"' in await written(stream)


# Silence


async def test_a_comment_comes_after_so_much_silence() -> None:
    async with running_hub(Settings(sse=SSESettings(heartbeat_s=3.0))) as hub:
        _, stream = await opened(hub)
        stream.take()
        for _ in range(2):
            hub.tick()
        await hub.broker.publish("a", 1)
        await written(stream)
        for _ in range(2):
            hub.tick()
        assert stream.take() == b""
        hub.tick()
        assert stream.take() == b": \n\n"
        hub.tick()
        assert stream.take() == b""


async def test_who_takes_nothing_gets_no_comments() -> None:
    async with running_hub(Settings(sse=SSESettings(heartbeat_s=1.0))) as hub:
        _, stream = await opened(hub)
        stream.take()
        stream.writable = False
        hub.tick()
        assert stream.take() == b""


# The end


async def test_a_broker_that_stops_says_goodbye() -> None:
    settings = Settings(server=replace(Settings().server, drain_window_s=5.0))
    async with running_hub(settings, draw=0.34) as hub:
        feed, stream = await opened(hub)
        await hub.broker.publish("a", 1)
        stream.take()
        hub.drain()
        message, goodbye, rest = stream.take().split(b"\n\n")
        assert data_of(message)["offset"] == 1
        assert goodbye.startswith(b"retry: 1700\nevent: goodbye\n")
        assert data_of(goodbye) == {
            "op": "goodbye",
            "cursor": "e1-1",
            "reconnect_after": 1.7,
            "reason": "shutdown",
        }
        assert rest == b""
        assert stream.is_closed
        feed.closed()
        feed.end("shutdown", 1.0)
        assert not hub.open
        assert hub.goodbyes_total["shutdown"] == 1


async def test_who_comes_while_it_stops_is_told_at_once() -> None:
    async with running_hub() as hub:
        hub.drain()
        _, stream = await opened(hub)
        assert b"event: goodbye" in stream.take()
        assert stream.is_closed


async def test_a_slow_one_is_told_from_where_to_resume() -> None:
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=150)) as hub:
        _, stream = await opened(hub)
        stream.take()
        await hub.broker.publish("a", 1)
        await written(stream)
        stream.writable = False
        for number in range(5):
            await hub.broker.publish("a", number)
        goodbye = await written(stream)
        assert goodbye.startswith(b"retry: 500\nevent: goodbye\n")
        assert data_of(goodbye)["cursor"] == "e1-1"
        assert data_of(goodbye)["reason"] == "slow"
        assert stream.is_closed
        assert not hub.broker.sessions


async def test_a_client_that_has_gone_is_forgotten() -> None:
    async with running_hub() as hub:
        for number in range(3):
            await hub.broker.publish("a", number)
        feed, stream = await opened(hub, "/t/a?since=start")
        feed.closed()
        stream.take()
        await hub.broker.publish("a", 4)
        assert await written(stream) == b""
        assert not hub.open
        assert not hub.broker.sessions


async def test_one_that_was_never_opened_is_forgotten_too() -> None:
    async with running_hub() as hub:
        response = await ask(hub, "/sse?topic=a")
        assert isinstance(response, StreamingResponse)
        response.taker.closed()
        assert not hub.broker.sessions


async def test_a_long_replay_waits_for_the_client() -> None:
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=4000)) as hub:
        for _ in range(50):
            await hub.broker.publish("a", "x" * 500)
        feed, stream = await opened(hub, "/t/a?since=start&format=raw")
        assert (await written(stream)).count(b"data: ") < 20
        stream.writable = False
        await written(stream)
        held = len(feed.session.outbox)
        await written(stream)
        assert 0 < len(feed.session.outbox) == held
        stream.writable = True
        feed.writable()
        for _ in range(100):
            await asyncio.sleep(0)
        assert feed.session.is_live()
        assert stream.take().endswith(b"id: e1-50\ndata: " + b"x" * 500 + b"\n\n")


class ForgetfulEngine(SlowEngine):
    """An engine that cannot be read from the second time on."""

    def __init__(self, inner: MemoryEngine) -> None:
        super().__init__(inner, Random(0), 0)
        self.reads = 0

    async def read(
        self, filters: list[str], after: int, until: int, limit: int, limit_bytes: int = 1 << 62
    ) -> Slice:
        self.reads += 1
        if self.reads > 1:
            raise EngineUnavailable("away")
        return await super().read(filters, after, until, limit, limit_bytes)


async def test_a_stream_that_cannot_go_on_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """One that stayed open would lose all that follows, and say nothing."""
    async with running_hub(wrap=ForgetfulEngine, limits=BrokerLimits(outbox_limit_bytes=1000)) as hub:
        for _ in range(5):
            await hub.broker.publish("a", "x" * 100)
        feed, stream = await opened(hub, "/t/a?since=start")
        await written(stream)
        assert stream.is_aborted
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        feed.closed()


async def test_a_gap_is_told_once_also_to_a_quiet_stream() -> None:
    """Its id is a cursor that knows of the loss: resuming from there tells nothing twice."""
    async with running_hub(keep=1) as hub:
        for number in range(3):
            await hub.broker.publish("a", number)
        _, stream = await opened(hub, "/t/a?format=raw&since=e1-1")
        told = await written(stream)
        assert b'event: gap\nid: e1-1-2\ndata: {"op":"gap"' in told
        _, again = await opened(hub, "/t/a?format=raw&since=e1-1-2")
        assert b"gap" not in await written(again)
        _, foreign = await opened(hub, "/t/a?format=raw&since=e0-7")
        assert b"event: gap\nid: e1-0\n" in await written(foreign)


async def test_a_start_that_is_gone_is_told_first() -> None:
    async with running_hub(keep=1) as hub:
        for number in range(3):
            await hub.broker.publish("a", number)
        _, stream = await opened(hub, "/t/a?format=raw&since=start")
        told = await written(stream)
        assert told.startswith(b'retry: 2000\nid: e1-0-2\n\nevent: gap\nid: e1-0-2\ndata: {"op":"gap"')
        assert told.endswith(b"id: e1-3\ndata: 2\n\n")
        _, again = await opened(hub, "/t/a?format=raw&since=e1-0-2")
        assert b"gap" not in await written(again)
