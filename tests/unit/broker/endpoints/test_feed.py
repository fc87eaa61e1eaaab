"""The flusher and the feeds: one write per subscriber and turn, and no more than the wire takes."""

import asyncio
import logging

import pytest

from broker.endpoints.feed import CHUNK_BYTES, FEEDS_PER_TURN, Feed
from broker.endpoints.hub import Hub
from extra.errors import BrokerClosed, InvalidCommand
from extra.pubsub import BrokerLimits, Message, parse_since
from extra.pubsub.pace import STRETCH_BYTES
from tests.fakes.clock import FakeClock
from tests.fakes.wire import FakeStream
from tests.unit.broker.endpoints.driving import running_hub


class EventsFeed(Feed):
    """A feed of events whose end is noted."""

    def __init__(self, hub: Hub, overflow: str = "disconnect") -> None:
        super().__init__(hub.broker, hub.flusher, hub.forms.raw_event, overflow)
        self.ended: list[tuple[str, float]] = []
        self.fails = False

    def flush(self) -> None:
        if self.fails:
            raise RuntimeError("a bug")
        super().flush()

    def end(self, reason: str, reconnect_after_s: float) -> None:
        self.ended.append((reason, reconnect_after_s))
        self.is_slow = False


async def subscribe(hub: Hub, topic_filter: str = "a", overflow: str = "disconnect") -> EventsFeed:
    feed = EventsFeed(hub, overflow)
    await hub.broker.add_filters(feed.session, [topic_filter], parse_since("now"))
    return feed


async def opened(
    hub: Hub, topic_filter: str = "a", overflow: str = "disconnect"
) -> tuple[EventsFeed, FakeStream]:
    feed, wire = await subscribe(hub, topic_filter, overflow), FakeStream()
    feed.attach(wire)
    return feed, wire


def event(offset: int, payload: bytes = b"x") -> bytes:
    return b"id: e1-%d\ndata: %s\n\n" % (offset, payload)


async def test_what_one_turn_brings_is_written_at_once() -> None:
    async with running_hub() as hub:
        _, wire = await opened(hub)
        for _ in range(3):
            await hub.broker.publish("a", "x")
        assert wire.written == []
        await asyncio.sleep(0)
        assert wire.written == [event(1) + event(2) + event(3)]


async def test_all_subscribers_share_the_bytes() -> None:
    async with running_hub() as hub:
        feeds = [await opened(hub) for _ in range(3)]
        await hub.broker.publish("a", "x")
        await asyncio.sleep(0)
        first, *others = [wire.written[0] for _, wire in feeds]
        assert all(other is first for other in others)


async def test_after_so_many_feeds_the_loop_goes_on() -> None:
    async with running_hub() as hub:
        feeds = [await opened(hub) for _ in range(FEEDS_PER_TURN + 1)]
        await hub.broker.publish("a", "x")
        await asyncio.sleep(0)
        assert sum(bool(wire.written) for _, wire in feeds) == FEEDS_PER_TURN
        await asyncio.sleep(0)
        assert all(wire.written for _, wire in feeds)
        assert not hub.flusher.is_scheduled


async def test_a_feed_that_fails_is_aborted_and_its_neighbours_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running_hub() as hub:
        failing, cut = await opened(hub)
        _, wire = await opened(hub)
        failing.fails = True
        with caplog.at_level(logging.ERROR):
            await hub.broker.publish("a", "x")
            await asyncio.sleep(0)
        assert cut.is_aborted
        assert wire.written == [event(1)]
        assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_what_comes_before_there_is_a_wire_waits_for_it() -> None:
    async with running_hub() as hub:
        feed = await subscribe(hub)
        await hub.broker.publish("a", "x")
        await asyncio.sleep(0)
        wire = FakeStream()
        feed.attach(wire)
        await asyncio.sleep(0)
        assert wire.written == [event(1)]


async def test_a_wire_that_takes_no_more_is_left_alone_until_it_does() -> None:
    async with running_hub() as hub:
        feed, wire = await opened(hub)
        wire.writable = False
        await hub.broker.publish("a", "x")
        await asyncio.sleep(0)
        assert wire.written == []
        wire.writable = True
        feed.writable()
        await asyncio.sleep(0)
        assert wire.written == [event(1)]
        feed.writable()
        await asyncio.sleep(0)
        assert wire.written == [event(1)]


async def test_the_wire_is_asked_again_after_a_chunk() -> None:
    async with running_hub() as hub:
        feed, wire = await opened(hub)
        wire.writable = False
        for _ in range(4):
            await hub.broker.publish("a", b"x" * (CHUNK_BYTES // 2))
        wire.writable = True
        feed.writable()
        await asyncio.sleep(0)
        assert len(wire.written) == 1
        assert CHUNK_BYTES <= len(wire.written[0]) < 2 * CHUNK_BYTES
        await asyncio.sleep(0)
        assert len(wire.written) == 2


async def test_who_publishes_without_a_pause_overflows_nobody_who_reads() -> None:
    """All over the broker: each publisher alone would keep the bound."""
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=4 * STRETCH_BYTES)) as hub:
        feed, wire = await opened(hub)

        async def publish() -> None:
            for _ in range(100):
                await hub.broker.publish("a", b"x" * 1024)

        await asyncio.gather(*[publish() for _ in range(10)])
        await asyncio.sleep(0)
        assert feed.ended == []
        assert b"".join(wire.written).count(b"data: ") == 1000


@pytest.mark.parametrize("overflow", ["disconnect", "drop-oldest", "latest"])
async def test_a_burst_in_one_turn_costs_a_reader_nothing(overflow: str) -> None:
    """However small the outbox: it is written out before anything is refused or dropped."""
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=100)) as hub:
        feed, wire = await opened(hub, overflow=overflow)
        for _ in range(50):
            assert hub.broker.deliver(placed(hub)) == 1
        await asyncio.sleep(0)
        assert feed.ended == []
        assert b"".join(wire.written) == b"".join(event(offset) for offset in range(1, 51))


def placed(hub: Hub) -> Message:
    """Return a message that the log has, and nobody has been given yet."""
    message = Message("a", b"x", "text")
    message.place("e1", hub.broker.delivered + 1, 0.0, 0.0)
    return message


async def test_one_that_overflows_is_ended_as_slow() -> None:
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=100)) as hub:
        feed, wire = await opened(hub)
        _, other = await opened(hub, "#")
        wire.writable = False
        for _ in range(5):
            await hub.broker.publish("a", "x" * 60)
            await asyncio.sleep(0)
        assert feed.ended == [("slow", 0.0)]
        assert wire.written == []
        assert len(other.written) == 5


async def test_its_last_cursor_misses_nothing_that_was_not_written() -> None:
    async with running_hub() as hub:
        feed, wire = await opened(hub)
        await hub.broker.publish("a", "x")
        await asyncio.sleep(0)
        wire.writable = False
        await hub.broker.publish("b", "x")
        await hub.broker.publish("a", "x")
        assert feed.last_cursor() == "e1-2"
        assert wire.written == [event(1)]
        assert not hub.broker.sessions


async def test_before_its_last_cursor_what_the_wire_takes_is_written() -> None:
    async with running_hub() as hub:
        feed, wire = await opened(hub)
        await hub.broker.publish("a", "x")
        assert feed.last_cursor() == "e1-1"
        assert wire.written == [event(1)]


async def test_a_detached_feed_writes_nothing() -> None:
    async with running_hub() as hub:
        feed, wire = await opened(hub)
        await hub.broker.publish("a", "x")
        feed.detach()
        feed.detach()
        await asyncio.sleep(0)
        assert wire.written == []
        assert not hub.broker.sessions


async def test_aborting_without_a_wire_does_nothing() -> None:
    async with running_hub() as hub:
        (await subscribe(hub)).abort()


async def test_an_unknown_policy_opens_no_session() -> None:
    async with running_hub() as hub:
        with pytest.raises(InvalidCommand, match="overflow 'block'"):
            EventsFeed(hub, "block")
        assert not hub.broker.sessions


async def test_a_closed_broker_opens_no_session() -> None:
    async with running_hub() as hub:
        feed = await subscribe(hub)
        await hub.broker.close()
        with pytest.raises(BrokerClosed):
            EventsFeed(hub)
        feed.detach()


def write_later(hub: Hub, feed: EventsFeed, wire: FakeStream, seconds: float) -> None:
    """Let the wire take something again, after so many seconds."""
    clock = hub.broker.clock
    assert isinstance(clock, FakeClock)
    clock.advance(seconds)
    wire.writable = True
    feed.writable()


async def test_what_has_expired_while_the_wire_took_nothing_is_not_written() -> None:
    async with running_hub() as hub:
        feed, wire = await opened(hub)
        wire.writable = False
        await hub.broker.publish("a", "x", ttl=5)
        await hub.broker.publish("a", "x")
        await asyncio.sleep(0)
        write_later(hub, feed, wire, 5)
        await asyncio.sleep(0)
        assert wire.written == [event(2)]


async def test_who_waits_for_room_has_it_when_what_waited_has_expired() -> None:
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=1000)) as hub:
        feed, wire = await opened(hub)
        wire.writable = False
        await hub.broker.publish("a", "x" * 600, ttl=5)
        await asyncio.sleep(0)
        waiting = asyncio.create_task(feed.session.wait_for_room())
        await asyncio.sleep(0)
        write_later(hub, feed, wire, 5)
        await waiting
        assert wire.written == []
