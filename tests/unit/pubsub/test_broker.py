import asyncio
from collections.abc import AsyncIterator
from itertools import product
from random import Random

import pytest

from extra.errors import (
    BrokerClosed,
    ChannelClosed,
    EngineUnavailable,
    InvalidCommand,
    InvalidCursor,
    InvalidFilter,
    InvalidPayload,
    InvalidTopic,
    LimitExceeded,
)
from extra.pubsub import (
    Broker,
    BrokerLimits,
    Engine,
    MemoryEngine,
    Message,
    Page,
    Policy,
    PolicyTable,
    Receipt,
    Replay,
    Session,
    parse_overflow,
    parse_since,
)
from extra.pubsub.idempotency import digest
from extra.pubsub.outbox import DISCONNECT, DROP_OLDEST, LATEST
from extra.pubsub.pace import STRETCH_BYTES
from extra.pubsub.subscribing import STEP_BYTES
from tests.fakes.clock import FakeClock
from tests.fakes.engine import SlowEngine
from tests.unit.pubsub.material import GatedEngine, Listener, NameForm, a_message, settle, take_all

SIZE = a_message("a").size
TIGHT = BrokerLimits(outbox_limit_bytes=8 * SIZE)
"""An outbox holds eight messages; a step of catching up brings two."""


class House:
    """A broker on a gated engine, and the clock that both go by."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        limits: BrokerLimits | None = None,
        epoch: str = "e1",
        entries: list[tuple[str, Policy]] | None = None,
    ) -> None:
        self.clock = FakeClock()
        table = PolicyTable(policy or Policy(messages=1000), entries)
        self.engine = GatedEngine(MemoryEngine(table, clock=self.clock, epoch=epoch))
        self.broker = Broker(self.engine, limits=limits, clock=self.clock)

    async def __aenter__(self) -> "House":
        await self.broker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.close()

    async def publish(self, *topics: str, retain: bool = False) -> None:
        for topic in topics:
            await self.broker.publish(topic, b"", retain=retain)

    def open_session(self, overflow: str = "disconnect") -> tuple[Session, Listener]:
        listener = Listener()
        return self.broker.open_session(listener, overflow=overflow), listener

    async def add(
        self,
        session: Session,
        *filters: str,
        since: str = "now",
        retained: bool | None = None,
        replay_all: bool = False,
    ) -> Replay:
        return await self.broker.add_filters(
            session, list(filters), parse_since(since), retained=retained, replay_all=replay_all
        )

    async def receive(self, session: Session) -> list[str]:
        """Catch up, emptying the outbox at each step."""
        taken = take_all(session.outbox)
        while not session.is_live():
            await self.broker.advance(session)
            taken += take_all(session.outbox)
        return taken

    async def history(self, *filters: str, since: str = "start", limit: int = 1000) -> list[int]:
        return offsets(await self.broker.history(*filters, since=since, limit=limit))


def offsets(page: Page) -> list[int]:
    return [message.offset for message in page.messages]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with House() as house:
        yield house


# Life


async def test_a_broker_serves_between_start_and_close() -> None:
    broker = Broker()
    for refused in (
        broker.publish("a", 1),
        broker.clear("a"),
        broker.history("a"),
        broker.read(["a"], parse_since("start"), 1),
    ):
        with pytest.raises(BrokerClosed):
            await refused
    with pytest.raises(BrokerClosed):
        broker.open_session(Listener())
    async with broker:
        await broker.publish("a", 1)
    with pytest.raises(BrokerClosed):
        await broker.publish("a", 1)


async def test_closing_ends_every_session_and_can_be_repeated() -> None:
    house = House()
    await house.broker.start()
    opened = [house.open_session() for _ in range(3)]
    await house.add(opened[0][0], "a")
    await house.broker.close()
    await house.broker.close()
    assert [listener.farewells for _, listener in opened] == [1, 1, 1]
    figures = house.broker.figures()
    assert (figures["sessions"], figures["subscriptions"], figures["filters"]) == (0, 0, 0)


async def test_a_broker_goes_on_where_its_engine_is() -> None:
    house = House()
    async with house:
        await house.publish("a", "a")
    async with house:
        assert house.broker.cursor() == "e1-2"
        await house.publish("a")
        assert await house.history("a") == [1, 2, 3]


async def test_the_cursor_of_now_brings_what_comes(house: House) -> None:
    await house.publish("a")
    cursor = house.broker.cursor()
    await house.publish("a")
    assert cursor == "e1-1"
    assert house.broker.epoch() == "e1"
    assert await house.history("a", since=cursor) == [2]


# Publishing


async def test_a_receipt_tells_the_place(house: House) -> None:
    """docs/protocol.md, publish."""
    await house.publish("b")
    receipt = await house.broker.publish("a/b", {"celsius": 21})
    assert (receipt.topic, receipt.offset, receipt.cursor, receipt.subscribers) == ("a/b", 2, "e1-2", 0)


async def test_what_is_published_is_what_is_read(house: House) -> None:
    await house.broker.publish(
        "a", "grüße", retain=True, ttl=60.0, content_type="text/markdown", headers={"trace": "t1"}
    )
    (message,) = (await house.broker.history("a")).messages
    assert (message.topic, message.data, message.content_type) == ("a", "grüße", "text/markdown")
    assert (message.headers, message.retained) == ({"trace": "t1"}, True)
    assert (message.time, message.expires_at) == (house.clock.time(), house.clock.time() + 60.0)


async def test_a_receipt_counts_each_subscriber_once(house: House) -> None:
    for filters in (["a", "a/#", "+/#"], ["a/+", "a"], ["b"]):
        session, _ = house.open_session()
        await house.add(session, *filters)
    assert (await house.broker.publish("a", 1)).subscribers == 2
    assert (await house.broker.publish("b", 1)).subscribers == 2
    assert (await house.broker.publish("c", 1)).subscribers == 1


async def test_a_subscriber_that_catches_up_counts(house: House) -> None:
    await house.publish("a")
    session, _ = house.open_session()
    await house.add(session, "a", since="start")
    assert not session.is_live()
    assert (await house.broker.publish("a", 1)).subscribers == 1


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0b", "x" * 65_536, "$SYS/load", "$a"])
async def test_what_is_no_topic_for_all_is_refused(house: House, topic: str) -> None:
    """docs/protocol.md, errors: `invalid_topic`: not a topic, or one of the broker's own."""
    with pytest.raises(InvalidTopic):
        await house.broker.publish(topic, 1)
    with pytest.raises(InvalidTopic):
        await house.broker.clear(topic)
    assert house.broker.figures()["published"] == 0


async def test_publishing_at_once_is_publishing() -> None:
    async with Broker() as broker:
        async with broker.subscribe("a") as messages:
            assert broker.publish_at_once(a_message("a", b"x")) == 1
            assert broker.publish_at_once(a_message("b")) == 0
            assert (await anext(messages)).payload == b"x"
        figures = broker.figures()
        assert (figures["published"], figures["published_bytes"], figures["log_messages"]) == (2, 1, 2)
        with pytest.raises(InvalidTopic):
            broker.publish_at_once(a_message("$own"))
        with pytest.raises(LimitExceeded):
            broker.publish_at_once(a_message("a", b"x" * (broker.limits.max_payload_bytes + 1)))


async def test_what_has_to_wait_is_not_published_at_once() -> None:
    """For the event loop to turn, or for an engine that does input and output."""
    async with Broker(MemoryEngine()) as broker:
        while broker.publish_at_once(a_message("a", b"x" * 1024)) == 0:
            pass
        head = broker.engine.head()
        assert STRETCH_BYTES <= broker.pace.spent < STRETCH_BYTES + 2048
        assert broker.publish_at_once(a_message("a")) == -1
        assert broker.engine.head() == head
        assert (await broker.publish("a", 1)).offset == head + 1
        assert broker.publish_at_once(a_message("a")) == 0
    async with Broker(GatedEngine(MemoryEngine())) as broker:
        assert broker.publish_at_once(a_message("a")) == -1
        assert broker.figures()["published"] == 0


async def test_what_is_hard_to_match_counts_as_published() -> None:
    """Filters that are every mix of `+` and names cost a step each; ordinary ones next to nothing."""
    filters = ["/".join(levels) for levels in product("a+", repeat=9)]
    topic = "/".join("a" * 8 + "bc")
    async with Broker() as broker:
        broker.publish_at_once(a_message(topic))
        easy = broker.pace.spent
        async with broker.subscribe(*filters):
            broker.publish_at_once(a_message(topic + "/d"))
            assert broker.pace.spent - easy > easy + STEP_BYTES * len(filters) // 2


async def test_a_broker_that_closes_while_a_publisher_pauses_says_so() -> None:
    async with Broker() as broker:
        broker.pace.spent = STRETCH_BYTES
        publishing = asyncio.ensure_future(broker.publish("a", 1))
        await asyncio.sleep(0)
    with pytest.raises(BrokerClosed):
        await publishing


async def test_limits_on_what_is_published_name_their_setting() -> None:
    limits = BrokerLimits(max_payload_bytes=10, max_topic_bytes=5, max_topic_levels=2)
    async with House(limits=limits) as house:
        await house.broker.publish("a/b", b"." * 10)
        with pytest.raises(LimitExceeded, match=r"11 bytes is more than 10 \(broker.max_payload_bytes\)"):
            await house.broker.publish("a/b", b"." * 11)
        with pytest.raises(InvalidTopic):
            await house.broker.publish("abcdef", 1)
        with pytest.raises(InvalidTopic):
            await house.broker.publish("a/b/c", 1)


@pytest.mark.parametrize("ttl", [0, -1, 1e10, float("inf"), float("nan")])
async def test_a_time_to_live_is_a_number_of_seconds_above_0(house: House, ttl: float) -> None:
    with pytest.raises(InvalidCommand, match="ttl"):
        await house.broker.publish("a", 1, ttl=ttl)


async def test_without_a_time_to_live_there_is_no_expiry(house: House) -> None:
    assert house.broker.expiry(None) == 0.0
    assert house.broker.expiry(2.5) == house.clock.time() + 2.5


async def test_a_payload_that_is_not_what_it_says_is_refused(house: House) -> None:
    with pytest.raises(InvalidPayload):
        await house.broker.publish("a", b"{", content_type="application/json")


async def test_clearing_lets_go_of_the_retained_message(house: House) -> None:
    await house.publish("a", retain=True)
    await house.broker.clear("a")
    await house.broker.clear("a")
    assert (await house.broker.history("a", since="now")).messages == []


# Publishing once


async def test_the_same_key_publishes_once_and_gives_the_first_receipt(house: House) -> None:
    """docs/protocol.md, publish: `key`."""
    session, _ = house.open_session()
    await house.add(session, "a")
    first = await house.broker.publish("a", 1, key="k")
    house.broker.close_session(session)
    assert await house.broker.publish("a", 2, key="k") == first
    assert await house.history("a") == [1]
    assert house.broker.figures()["published"] == 1


async def test_another_topic_or_another_key_is_another_message(house: House) -> None:
    for topic, key in (("a", "k"), ("b", "k"), ("a", "K"), ("a", "k ")):
        await house.broker.publish(topic, 1, key=key)
    assert await house.history("#") == [1, 2, 3, 4]


async def test_a_key_is_good_for_its_window(house: House) -> None:
    await house.broker.publish("a", 1, key="k")
    house.clock.advance(119.9)
    assert (await house.broker.publish("a", 1, key="k")).offset == 1
    house.clock.advance(0.1)
    assert (await house.broker.publish("a", 1, key="k")).offset == 2


async def test_sweeping_forgets_old_keys(house: House) -> None:
    await house.broker.publish("a", 1, key="old")
    house.clock.advance(60.0)
    await house.broker.publish("a", 1, key="new")
    house.clock.advance(60.0)
    house.broker.sweep()
    assert house.broker.figures()["idempotency_keys"] == 1


async def test_how_long_a_key_is_remembered_is_a_limit() -> None:
    async with House(limits=BrokerLimits(idempotency_window_s=10.0)) as house:
        first = await house.broker.publish("a", 1, key="k")
        house.clock.advance(9.0)
        assert (await house.broker.publish("a", 2, key="k")).offset == first.offset
        house.clock.advance(2.0)
        assert (await house.broker.publish("a", 3, key="k")).offset > first.offset


async def test_a_key_that_was_used_again_is_as_new(house: House) -> None:
    """It neither is forgotten first nor keeps older ones from being forgotten."""
    for key in ("again", "other"):
        await house.broker.publish("a", 1, key=key)
    house.clock.advance(120.0)
    await house.broker.publish("a", 1, key="again")
    house.broker.sweep()
    assert house.broker.figures()["idempotency_keys"] == 1


async def test_keys_are_bounded_and_the_oldest_goes() -> None:
    async with House(limits=BrokerLimits(idempotency_limit_keys=2)) as house:
        for key in ("1", "2", "3"):
            await house.broker.publish("a", 1, key=key)
        assert house.broker.figures()["idempotency_keys"] == 2
        assert (await house.broker.publish("a", 1, key="2")).offset == 2
        assert (await house.broker.publish("a", 1, key="1")).offset == 4


async def test_a_limit_of_no_keys_remembers_none() -> None:
    async with House(limits=BrokerLimits(idempotency_limit_keys=0)) as house:
        for _ in range(2):
            await house.broker.publish("a", 1, key="k")
        assert house.broker.figures()["idempotency_keys"] == 0
        assert await house.history("a") == [1, 2]


@pytest.mark.parametrize("key", ["", "x" * 256, "é" * 128])
async def test_a_key_has_so_many_bytes(house: House, key: str) -> None:
    with pytest.raises(InvalidCommand, match="it has 1 to 255"):
        await house.broker.publish("a", 1, key=key)
    assert await house.history("a") == []


async def test_any_text_is_a_key(house: House) -> None:
    for key in ("\0", "\ud800", "\ud801", "é" * 127):
        await house.broker.publish("a", 1, key=key)
        await house.broker.publish("a", 1, key=key)
    assert await house.history("a") == [1, 2, 3, 4]


async def test_while_a_key_is_being_published_others_wait_for_what_becomes_of_it(house: House) -> None:
    house.engine.shut("append")
    publishing = [asyncio.ensure_future(house.broker.publish("a", number, key="k")) for number in range(3)]
    other = asyncio.ensure_future(house.broker.publish("a", 1, key="other"))
    await settle()
    house.engine.open("append")
    receipts = [await each for each in publishing]
    await other
    assert [receipt.offset for receipt in receipts] == [1, 1, 1]
    assert await house.history("a") == [1, 2]
    assert house.broker.publishing.keys.underway == {}


async def test_a_publishing_that_is_cancelled_lets_the_next_one_try(house: House) -> None:
    house.engine.shut("append")
    publishing = [asyncio.ensure_future(house.broker.publish("a", number, key="k")) for number in range(3)]
    await settle()
    publishing[0].cancel()
    await settle()
    house.engine.open("append")
    assert [(await each).offset for each in publishing[1:]] == [1, 1]
    assert publishing[0].cancelled()
    assert [message.data for message in (await house.broker.history("a")).messages] == [1]
    assert house.broker.publishing.keys.underway == {}


async def test_a_publishing_that_is_cancelled_when_the_message_has_its_place_is_remembered(
    house: House,
) -> None:
    house.engine.shut("append done")
    publishing = asyncio.ensure_future(house.broker.publish("a", 1, key="k"))
    await settle()
    publishing.cancel()
    await settle()
    house.engine.open("append done")
    assert (await house.broker.publish("a", 2, key="k")).offset == 1
    assert await house.history("a") == [1]


async def test_keys_from_before_the_start_still_count() -> None:
    """The engine has kept them with their messages."""
    house = House()
    house.engine.kept_keys = [(digest("a", "k"), 7, house.clock.now() - 119.0)]
    async with house:
        await house.publish("b")
        receipt = await house.broker.publish("a", 1, key="k")
        assert (receipt.offset, receipt.cursor, receipt.subscribers) == (7, "e1-7", 0)
        house.clock.advance(1.0)
        assert (await house.broker.publish("a", 1, key="k")).offset == 2


async def test_a_publishing_that_fails_is_not_remembered(house: House) -> None:
    house.engine.is_broken = True
    with pytest.raises(EngineUnavailable):
        await house.broker.publish("a", 1, key="k")
    house.engine.is_broken = False
    assert (await house.broker.publish("a", 2, key="k")).offset == 1
    assert house.broker.publishing.keys.underway == {}


# Publishing many


async def publish_many(house: House, *given: tuple[str, str | None]) -> list[int | str]:
    """Publish on these topics with these keys; return each offset, or the code of the error."""
    messages = [a_message(topic) for topic, _ in given]
    answers = await house.broker.publish_messages(messages, [key for _, key in given])
    return [answer.offset if isinstance(answer, Receipt) else answer.code for answer in answers]


async def test_many_are_published_in_their_order(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "b")
    messages = [a_message(topic, b"..") for topic in "aba"]
    receipts = await house.broker.publish_messages(messages, [None, None, "k"])
    assert receipts == [Receipt("a", 1, "e1-1", 0), Receipt("b", 2, "e1-2", 1), Receipt("a", 3, "e1-3", 0)]
    figures = house.broker.figures()
    assert (figures["published"], figures["published_bytes"]) == (3, 6)
    assert await house.broker.publish_messages([], []) == []


async def test_one_that_is_refused_keeps_no_other_of_many_out(house: House) -> None:
    given = [("a", None), ("a/+", None), ("$SYS", None), ("b", ""), ("c", "k" * 256), ("d", None)]
    refusals = ["invalid_topic", "invalid_topic", "invalid_command", "invalid_command"]
    assert await publish_many(house, *given) == [1, *refusals, 2]


async def test_a_key_counts_among_many(house: House) -> None:
    given = [("a", "k"), ("a", None), ("a", "k"), ("b", "k"), ("a", "l")]
    assert await publish_many(house, *given) == [1, 2, 1, 3, 4]
    assert await publish_many(house, *given) == [1, 5, 1, 3, 4]
    assert house.broker.publishing.keys.underway == {}


async def test_many_wait_for_a_key_that_is_under_way(house: House) -> None:
    house.engine.shut("append")
    publishing = asyncio.ensure_future(house.broker.publish("a", 1, key="k"))
    await settle()
    many = asyncio.ensure_future(publish_many(house, ("b", None), ("a", "k"), ("b", None)))
    await settle()
    house.engine.open("append")
    assert (await publishing).offset == 1
    assert await many == [2, 1, 3]


async def test_many_that_are_cancelled_leave_no_key_under_way(house: House) -> None:
    house.engine.shut("append")
    publishing = asyncio.ensure_future(publish_many(house, ("a", "k"), ("b", "l")))
    await settle()
    publishing.cancel()
    await settle()
    house.engine.open("append")
    assert publishing.cancelled()
    assert house.broker.publishing.keys.underway == {}
    assert await publish_many(house, ("b", "l")) == [1]


async def test_many_that_fail_are_told_so(house: House) -> None:
    house.engine.is_broken = True
    assert await publish_many(house, ("a", None), ("a", "k")) == ["engine_unavailable"] * 2
    house.engine.is_broken = False
    assert await publish_many(house, ("a", "k")) == [1]


async def test_many_are_refused_by_a_broker_that_is_closed() -> None:
    assert await publish_many(House(), ("a", None)) == ["broker_closed"]


async def test_closing_ends_the_wait_for_a_key() -> None:
    house = House()
    await house.broker.start()
    house.engine.shut("append")
    first = asyncio.ensure_future(house.broker.publish("a", 1, key="k"))
    await settle()
    second = asyncio.ensure_future(house.broker.publish("a", 2, key="k"))
    await settle()
    await house.broker.close()
    first.cancel()
    await asyncio.wait([first])
    with pytest.raises(BrokerClosed):
        await second


# Delivering


async def test_messages_are_delivered_in_the_order_of_their_offsets(house: House) -> None:
    """DESIGN section 10: order."""
    session, listener = house.open_session()
    await house.add(session, "a", "b")
    await house.publish("a", "c", "b", "a")
    assert take_all(session.outbox) == ["a1", "b3", "a4"]
    assert listener.wakes == 1


async def test_overlapping_filters_bring_a_message_once(house: House) -> None:
    """docs/protocol.md, commands: a session with overlapping filters receives a message once."""
    session, _ = house.open_session()
    await house.add(session, "a/b", "a/+", "a/#")
    await house.add(session, "#")
    await house.publish("a/b")
    assert take_all(session.outbox) == ["a/b1"]


async def test_a_subscriber_that_overflows_costs_no_other_anything() -> None:
    """DESIGN section 5: bounded."""
    async with House(limits=TIGHT) as house:
        slow, slow_listener = house.open_session()
        quick, quick_listener = house.open_session()
        for session in (slow, quick):
            await house.add(session, "a")
        taken = []
        for _ in range(20):
            await house.publish("a")
            taken += take_all(quick.outbox)
        assert len(taken) == 20
        assert (slow_listener.overflows, quick_listener.overflows) == (1, 0)
        assert slow.outbox.size == 8 * SIZE
        assert await house.receive(slow) == taken


async def test_a_session_may_be_closed_by_the_consumer_that_is_told_of_an_overflow() -> None:
    async with House(limits=TIGHT) as house:

        class Closing(Listener):
            def overflowed(self) -> None:
                super().overflowed()
                house.broker.close_session(session)

        listener = Closing()
        session = house.broker.open_session(listener)
        other, _ = house.open_session()
        for each in (session, other):
            await house.add(each, "a")
        await house.publish(*["a"] * 9)
        assert listener.overflows == 1
        assert (await house.broker.publish("a", 1)).subscribers == 1


async def test_one_can_subscribe_in_process(house: House) -> None:
    async with house.broker.subscribe("a", "b", since="start") as messages:
        await house.publish("a", "c", "b")
        assert [(await anext(messages)).offset for _ in range(2)] == [1, 3]


# History


async def test_history_is_read_in_pages(house: House) -> None:
    await house.publish(*"abaaba")
    page = await house.broker.history("a", limit=2)
    assert (offsets(page), page.complete, page.more) == ([1, 3], True, True)
    page = await house.broker.history("a", since=page.cursor, limit=2)
    assert (offsets(page), page.complete, page.more) == ([4, 6], True, False)
    assert page.cursor == "e1-6"
    page = await house.broker.history("a", since=page.cursor, limit=2)
    assert (offsets(page), page.complete, page.more, page.cursor) == ([], True, False, "e1-6")


@pytest.mark.parametrize(
    ("since", "expected"), [("start", [1, 3, 4]), ("now", []), ("last:2", [3, 4]), ("e1-1", [3, 4])]
)
async def test_history_begins_where_since_says(house: House, since: str, expected: list[int]) -> None:
    """docs/protocol.md, cursors."""
    await house.publish("a", "b", "a", "a")
    page = await house.broker.history("a", since=since)
    assert (offsets(page), page.cursor, page.complete) == (expected, "e1-4", True)


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_has_room_for_one_message_at_least(house: House, limit: int) -> None:
    with pytest.raises(InvalidCommand, match="limit"):
        await house.broker.history("a", limit=limit)


async def test_a_page_ends_at_so_many_bytes_as_well(house: House) -> None:
    await house.publish(*"aaaa")
    page = await house.broker.read(["a"], parse_since("start"), 100, limit_bytes=2 * SIZE)
    assert (offsets(page), page.more, page.cursor) == ([1, 2], True, "e1-2")
    page = await house.broker.read(["a"], parse_since("start"), 100, limit_bytes=1)
    assert (offsets(page), page.more) == ([1], True)


async def test_retained_messages_come_first_and_once(house: House) -> None:
    await house.publish("a", "b", "a")
    await house.broker.publish("b", 1, retain=True)
    await house.publish("a")
    page = await house.broker.history("#", retained=True, limit=2)
    assert (offsets(page), page.more) == ([4, 1, 2], True)
    page = await house.broker.history("#", since=page.cursor, limit=100)
    assert offsets(page) == [3, 4, 5]
    assert offsets(await house.broker.history("#", retained=True)) == [4, 1, 2, 3, 5]
    assert offsets(await house.broker.history("#", since="now")) == [4]
    assert offsets(await house.broker.history("#", since="now", retained=False)) == []


async def test_a_page_after_a_retained_message_goes_on_behind_it(house: House) -> None:
    await house.publish("a")
    await house.publish("b", retain=True)
    await house.publish("a")
    page = await house.broker.history("#", retained=True, limit=1)
    assert (offsets(page), page.cursor) == ([2, 1], "e1-2")
    assert await house.history("#", since=page.cursor) == [3]


async def test_what_is_published_while_a_page_is_read_comes_with_the_next(house: House) -> None:
    await house.publish("a")
    house.engine.shut("retained")
    reading = asyncio.ensure_future(house.broker.history("#", since="now"))
    await settle()
    await house.publish("b", retain=True)
    house.engine.open("retained")
    page = await reading
    assert (offsets(page), page.cursor) == ([], "e1-1")
    assert await house.history("#", since=page.cursor) == [2]


async def test_a_page_that_misses_something_says_so_and_how_to_go_on() -> None:
    """docs/protocol.md, loss: `resume` gives all that is left, and the same loss is not told twice."""
    async with House(Policy(messages=2)) as house:
        await house.publish("b", *"aaaa")
        page = await house.broker.history("a", since="e1-1")
        assert (offsets(page), page.complete, page.lost_until) == ([4, 5], False, 3)
        assert page.resume == "e1-1-3"
        page = await house.broker.history("a", since=page.resume)
        assert (offsets(page), page.complete, page.resume, page.lost_until) == ([4, 5], True, "", 3)
        await house.publish("a")
        page = await house.broker.history("a", since="e1-1-3")
        assert (offsets(page), page.complete, page.resume) == ([5, 6], False, "e1-1-4")


async def test_a_start_that_is_gone_is_told_once_and_is_no_gap() -> None:
    async with House(Policy(messages=2)) as house:
        await house.publish("b", *"aaaa")
        page = await house.broker.history("#", limit=1)
        assert (offsets(page), page.complete, page.cursor, page.resume) == ([1], False, "e1-3", "")
        page = await house.broker.history("#", since=page.cursor)
        assert (offsets(page), page.complete) == ([4, 5], True)


async def test_what_is_lost_between_two_pages_is_told() -> None:
    async with House(Policy(messages=2)) as house:
        await house.publish("a", "b", "b")
        page = await house.broker.history("#", limit=1)
        assert offsets(page) == [1]
        await house.publish("b")
        page = await house.broker.history("#", since=page.cursor)
        assert (offsets(page), page.complete, page.lost_until) == ([3, 4], False, 2)


async def test_what_is_lost_between_two_pieces_of_a_page_is_told() -> None:
    async with House(Policy(messages=2)) as house:
        await house.publish("a", "b", "b")
        house.engine.shut("read")
        reading = asyncio.ensure_future(house.broker.history("#", since="e1-0"))
        await settle()
        await house.publish("b")
        house.engine.open("read")
        page = await reading
        assert (offsets(page), page.complete, page.lost_until) == ([1, 3], False, 2)


async def test_what_came_after_the_start_of_a_read_and_is_lost_is_told_by_the_next() -> None:
    async with House(Policy(messages=1)) as house:
        await house.publish("a")
        house.engine.shut("read")
        reading = asyncio.ensure_future(house.broker.history("#"))
        await settle()
        await house.publish("b", "b")
        house.engine.open("read")
        page = await reading
        assert (offsets(page), page.complete, page.cursor) == ([1], True, "e1-1")
        page = await house.broker.history("#", since=page.cursor)
        assert (offsets(page), page.complete, page.lost_until) == ([3], False, 2)


async def test_a_cursor_of_another_epoch_reads_the_new_log_from_its_start() -> None:
    """docs/protocol.md, loss: `epoch`."""
    async with House(Policy(messages=2), epoch="e2") as house:
        await house.publish("a")
        page = await house.broker.history("a", since="e1-700-900")
        assert (offsets(page), page.complete, page.lost_until) == ([1], False, 0)
        assert (page.cursor, page.resume) == ("e2-1", "e2-0")
        await house.publish("a", "a")
        page = await house.broker.history("a", since="e1-700")
        assert (offsets(page), page.complete, page.lost_until, page.resume) == ([2, 3], False, 1, "e2-0-1")


@pytest.mark.parametrize("cursor", ["e1-4", "e1-1-4", "e1-999999999"])
async def test_a_cursor_ahead_of_the_log_is_refused(house: House, cursor: str) -> None:
    """docs/protocol.md, errors: `invalid_cursor`."""
    await house.publish(*"aaa")
    with pytest.raises(InvalidCursor, match="is ahead of the log, which is at 3"):
        await house.broker.history("a", since=cursor)
    session, _ = house.open_session()
    with pytest.raises(InvalidCursor):
        await house.add(session, "a", since=cursor)


async def test_a_rare_topic_is_found_in_a_log_that_takes_many_reads() -> None:
    async with House(Policy(messages=1 << 30), entries=[("c/#", Policy(messages=0))]) as house:
        await house.publish("rare", *[f"c/{number}" for number in range(1100)])
        message = a_message("c/1")
        for _ in range(20):
            await house.engine.inner.append(a_message("much"))
        assert message.offset == 0
        page = await house.broker.history("c/#", "rare", since="start", limit=1)
        assert (offsets(page), page.more) == ([1], False)


@pytest.mark.parametrize(
    ("filters", "error"),
    [
        ((), InvalidCommand),
        (("a/#/b",), InvalidFilter),
        (("",), InvalidFilter),
        (("a",) * 1001, LimitExceeded),
    ],
)
async def test_filters_are_checked(house: House, filters: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        await house.broker.history(*filters)
    session, _ = house.open_session()
    with pytest.raises(error):
        await house.add(session, *filters)
    assert session.is_live()


async def test_too_many_retained_messages_for_a_page_are_refused(house: House) -> None:
    for topic in "abcde":
        await house.broker.publish(topic, b"x" * 1_000_000, retain=True)
    with pytest.raises(LimitExceeded, match="5 retained messages match"):
        await house.broker.read(["#"], parse_since("now"), 10)
    assert len((await house.broker.read(["a", "b"], parse_since("now"), 10)).messages) == 2


# Sessions


async def test_a_session_is_opened_and_closed(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a", "b")
    figures = house.broker.figures()
    assert (figures["sessions"], figures["subscriptions"], figures["filters"]) == (1, 2, 2)
    house.broker.close_session(session)
    house.broker.close_session(session)
    figures = house.broker.figures()
    assert (figures["sessions"], figures["subscriptions"], figures["filters"]) == (0, 0, 0)
    assert (await house.broker.publish("a", 1)).subscribers == 0


async def test_sessions_have_names_of_their_own(house: House) -> None:
    assert len({house.open_session()[0].id for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("name", "policy"), [("disconnect", DISCONNECT), ("drop-oldest", DROP_OLDEST), ("latest", LATEST)]
)
async def test_overflow_policies_have_names(house: House, name: str, policy: int) -> None:
    """docs/protocol.md, commands."""
    assert parse_overflow(name) == policy
    assert house.open_session(name)[0].outbox.overflow == policy


def test_an_unknown_overflow_policy_is_refused() -> None:
    with pytest.raises(InvalidCommand, match="overflow 'never': one of disconnect, drop-oldest, latest"):
        parse_overflow("never")


async def test_what_a_closed_session_dropped_still_counts() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session("drop-oldest")
        await house.add(session, "a")
        await house.publish(*["a"] * 11)
        assert house.broker.figures()["dropped"] == 3
        house.broker.close_session(session)
        assert house.broker.figures()["dropped"] == 3


# Subscribing


async def test_subscribing_from_now_is_live_at_once(house: House) -> None:
    await house.publish("a")
    session, _ = house.open_session()
    replay = await house.add(session, "a")
    assert session.is_live()
    assert (replay.after, replay.count, replay.complete) == (1, 0, True)
    assert session.filters == {"a": 1}


async def test_a_replay_comes_before_what_is_new(house: House) -> None:
    """docs/protocol.md, commands: while a replay runs, what is new waits behind it."""
    await house.publish("a", "b", "a")
    session, _ = house.open_session()
    replay = await house.add(session, "a", since="start")
    await house.publish("a")
    assert await house.receive(session) == ["a1", "a3", "a4"]
    assert (replay.count, replay.complete) == (2, True)
    assert house.broker.figures()["replayed"] == 2


@pytest.mark.parametrize("gate", ["read", "read done"])
async def test_what_is_published_during_a_read_is_neither_lost_nor_doubled(house: House, gate: str) -> None:
    """DESIGN section 5: no gap, no double, no reordering."""
    await house.publish("a")
    session, _ = house.open_session()
    await house.add(session, "a", since="start")
    house.engine.shut(gate)
    receiving = asyncio.ensure_future(house.receive(session))
    await settle()
    await house.publish("a", "b", "a")
    house.engine.open(gate)
    assert await receiving == ["a1", "a2", "a4"]


async def test_catching_up_waits_for_room_and_takes_bounded_memory() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 100)
        session, _ = house.open_session()
        await house.add(session, "a", since="start")
        catching_up = asyncio.ensure_future(house.broker.catch_up(session))
        taken: list[str] = []
        while not catching_up.done():
            await settle()
            assert session.outbox.size <= 6 * SIZE
            taken += take_all(session.outbox)
            session.made_room()
        assert taken + take_all(session.outbox) == [f"a{offset}" for offset in range(1, 101)]


async def test_what_is_published_while_catching_up_takes_bounded_memory() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 10)
        session, _ = house.open_session()
        await house.add(session, "a", since="start")
        await house.publish(*["a"] * 990)
        assert session.pending_bytes <= 4 * SIZE
        taken = []
        while not session.is_live():
            await house.broker.advance(session)
            assert session.outbox.size <= 6 * SIZE
            taken += take_all(session.outbox)
        assert taken == [f"a{offset}" for offset in range(1, 1001)]


async def test_catching_up_ends_when_the_session_is_closed() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 100)
        for gate in ("read", "read done"):
            session, _ = house.open_session()
            await house.add(session, "a", since="start")
            house.engine.shut(gate)
            catching_up = asyncio.ensure_future(house.broker.catch_up(session))
            await settle()
            house.broker.close_session(session)
            house.engine.open(gate)
            with pytest.raises(ChannelClosed):
                await catching_up
            assert len(session.outbox) == 0


async def test_going_back_to_the_log_ends_when_the_session_is_closed() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session()
        await house.add(session, "a")
        await house.publish(*["a"] * 30)
        take_all(session.outbox)
        house.engine.shut("read done")
        catching_up = asyncio.ensure_future(house.broker.catch_up(session))
        await settle()
        house.broker.close_session(session)
        house.engine.open("read done")
        with pytest.raises(ChannelClosed):
            await catching_up
        assert len(session.outbox) == 0


async def test_catching_up_ends_when_the_session_is_closed_for_want_of_room() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 100)
        session, _ = house.open_session()
        await house.add(session, "a", since="start")
        catching_up = asyncio.ensure_future(house.broker.catch_up(session))
        await settle()
        house.broker.close_session(session)
        with pytest.raises(ChannelClosed):
            await catching_up


async def test_an_engine_that_fails_leaves_the_session_as_it_was(house: House) -> None:
    await house.publish("a", "a")
    session, _ = house.open_session()
    await house.add(session, "a", since="start")
    house.engine.is_broken = True
    with pytest.raises(EngineUnavailable):
        await house.broker.advance(session)
    house.engine.is_broken = False
    assert await house.receive(session) == ["a1", "a2"]


# Retained messages


async def test_retained_messages_come_before_the_replay(house: House) -> None:
    await house.publish("a")
    await house.publish("b", retain=True)
    await house.publish("a")
    session, _ = house.open_session()
    replay = await house.add(session, "#", since="e1-0", retained=True)
    assert await house.receive(session) == ["b2", "a1", "a3"]
    assert replay.count == 3


async def test_retained_messages_come_in_steps_that_fit_the_outbox() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*[f"t/{number}" for number in range(20)], retain=True)
        session, _ = house.open_session()
        await house.add(session, "#")
        taken = []
        while not session.is_live():
            await house.broker.advance(session)
            assert session.outbox.size <= 5 * SIZE
            taken += take_all(session.outbox)
        assert len(taken) == 20


async def test_a_retained_message_that_another_filter_has_brought_does_not_come_again(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a")
    await house.publish("a", "b", retain=True)
    assert take_all(session.outbox) == ["a1"]
    await house.add(session, "#")
    assert await house.receive(session) == ["b2"]


# Several subscriptions of one session


async def test_a_second_subscription_brings_what_the_first_has_not(house: House) -> None:
    """docs/protocol.md, commands: `replay` is `missing` by default."""
    await house.publish("a/x", "b", "a/y")
    session, _ = house.open_session()
    await house.add(session, "a/+", since="e1-1")
    assert await house.receive(session) == ["a/y3"]
    await house.publish("a/x")
    replay = await house.add(session, "#", since="start")
    assert await house.receive(session) == ["a/x4", "a/x1", "b2"]
    assert replay.count == 2


async def test_a_subscription_can_ask_for_everything_again(house: House) -> None:
    """docs/protocol.md, commands: `replay` `all`."""
    await house.publish("a", "b")
    session, _ = house.open_session()
    await house.add(session, "a", since="start")
    await house.receive(session)
    await house.add(session, "#", since="start", replay_all=True)
    assert await house.receive(session) == ["a1", "b2"]


async def test_subscribing_again_replays_what_was_asked_for(house: House) -> None:
    """docs/protocol.md, commands."""
    await house.publish("a", "a")
    session, _ = house.open_session()
    await house.add(session, "a", since="e1-1")
    assert await house.receive(session) == ["a2"]
    await house.add(session, "a", since="e1-0")
    assert await house.receive(session) == ["a1", "a2"]
    assert session.filters == {"a": 0}
    await house.publish("a")
    assert take_all(session.outbox) == ["a3"]


async def test_what_was_dropped_is_not_taken_as_brought() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session("drop-oldest")
        await house.add(session, "a")
        await house.publish(*["a"] * 9)
        assert take_all(session.outbox)[:2] == ["(0, 1]", "a2"]
        await house.add(session, "#", since="start")
        assert (await house.receive(session))[0] == "a1"


async def test_unsubscribing_ends_what_the_filter_brings_and_no_more(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a", "#")
    assert house.broker.remove_filter(session, "#")
    assert not house.broker.remove_filter(session, "#")
    await house.publish("a", "b")
    assert take_all(session.outbox) == ["a1"]


async def test_after_unsubscribing_everything_can_be_had_again(house: House) -> None:
    await house.publish("a")
    session, _ = house.open_session()
    for _ in range(2):
        await house.add(session, "a", since="start")
        assert await house.receive(session) == ["a1"]
        house.broker.remove_filter(session, "a")


async def test_a_subscription_waits_until_an_overflow_has_been_caught_up_with() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session()
        await house.add(session, "a")
        await house.publish(*["a"] * 9)
        assert not session.is_live()
        adding = asyncio.ensure_future(house.add(session, "b", since="start"))
        await settle()
        taken = take_all(session.outbox)
        session.made_room()
        await adding
        assert taken + await house.receive(session) == [f"a{offset}" for offset in range(1, 10)]


async def test_filters_are_bounded_in_number_and_bytes() -> None:
    limits = BrokerLimits(subscriptions_limit=3, subscriptions_limit_bytes=20)
    async with House(limits=limits) as house:
        session, _ = house.open_session()
        await house.add(session, "a", "b")
        await house.add(session, "b", "c")
        with pytest.raises(
            LimitExceeded, match=r"4 topic filters are more than 3 \(broker.subscriptions_limit\)"
        ):
            await house.add(session, "d")
        house.broker.remove_filter(session, "c")
        with pytest.raises(LimitExceeded, match="subscriptions_limit_bytes"):
            await house.add(session, "x" * 19)
        await house.add(session, "x" * 18)


# A subscription that fails


async def test_a_subscription_that_fails_leaves_the_others_as_they_were(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a")
    house.engine.shut("retained")
    adding = asyncio.ensure_future(house.add(session, "a", "b"))
    await settle()
    await house.publish("a", "b", "a")
    house.engine.is_broken = True
    house.engine.open("retained")
    with pytest.raises(EngineUnavailable):
        await adding
    house.engine.is_broken = False
    assert session.filters == {"a": 0}
    assert await house.receive(session) == ["a1", "a3"]
    await house.publish("a", "b")
    assert take_all(session.outbox) == ["a4"]


async def test_a_first_subscription_that_fails_leaves_nothing(house: House) -> None:
    session, _ = house.open_session()
    house.engine.shut("retained")
    adding = asyncio.ensure_future(house.add(session, "#"))
    await settle()
    await house.publish("a", "b")
    adding.cancel()
    await asyncio.wait([adding])
    house.engine.open("retained")
    assert session.is_live()
    assert session.filters == {}
    assert house.broker.figures()["subscriptions"] == 0
    assert take_all(session.outbox) == []
    await house.add(session, "a")
    await house.publish("a")
    assert take_all(session.outbox) == ["a3"]


async def test_after_a_subscription_that_failed_much_later_the_session_catches_up() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session()
        await house.add(session, "a")
        house.engine.shut("before_last")
        adding = asyncio.ensure_future(house.add(session, "b", since="last:3"))
        await settle()
        await house.publish(*["a", "b"] * 20)
        adding.cancel()
        await asyncio.wait([adding])
        assert await house.receive(session) == [f"a{offset}" for offset in range(1, 41, 2)]


@pytest.mark.parametrize("gate", ["retained", "retained done"])
async def test_a_session_closed_while_it_subscribes_stays_closed(house: House, gate: str) -> None:
    session, _ = house.open_session()
    house.engine.shut(gate)
    adding = asyncio.ensure_future(house.add(session, "a"))
    await settle()
    house.broker.close_session(session)
    house.engine.open(gate)
    with pytest.raises(ChannelClosed):
        await adding
    assert house.broker.figures()["subscriptions"] == 0
    with pytest.raises(ChannelClosed):
        await house.add(session, "a")


async def test_a_broker_closed_while_one_subscribes_says_so() -> None:
    house = House()
    await house.broker.start()
    session, _ = house.open_session()
    house.engine.shut("retained")
    adding = asyncio.ensure_future(house.add(session, "a"))
    await settle()
    await house.broker.close()
    house.engine.open("retained")
    with pytest.raises(BrokerClosed):
        await adding


def engine_of(kind: str) -> Engine:
    inner = MemoryEngine(PolicyTable(Policy(messages=1000)), clock=FakeClock())
    return inner if kind == "memory" else SlowEngine(inner, Random(7), most_turns=3)


@pytest.mark.parametrize("kind", ["memory", "slow"])
@pytest.mark.parametrize("turns", range(12))
async def test_subscribing_can_be_cancelled_at_every_await(kind: str, turns: int) -> None:
    """STYLE section 6: a docstring says cancel-safe only where a test cancels at every await."""
    async with Broker(engine_of(kind), limits=TIGHT, clock=FakeClock()) as broker:
        session = broker.open_session(Listener())
        await broker.add_filters(session, ["a"], parse_since("now"))
        for _ in range(4):
            await broker.publish("a", b"")
            await broker.publish("b", b"")

        async def subscribe() -> None:
            await broker.add_filters(session, ["b"], parse_since("start"), retained=True)
            await broker.catch_up(session)

        subscribing = asyncio.ensure_future(subscribe())
        publishing = asyncio.ensure_future(broker.publish("a", b""))
        await settle(turns)
        subscribing.cancel()
        await asyncio.wait([subscribing])
        await publishing
        taken = take_all(session.outbox)
        while not session.is_live():
            await broker.advance(session)
            taken += take_all(session.outbox)
        assert [each for each in taken if each[0] == "a"] == ["a1", "a3", "a5", "a7", "a9"]
        is_added = "b" in session.filters
        assert [each for each in taken if each[0] == "b"] == (["b2", "b4", "b6", "b8"] if is_added else [])


# Loss


async def test_a_loss_is_told_before_what_is_left() -> None:
    """docs/protocol.md, loss."""
    async with House(Policy(messages=2)) as house:
        await house.publish("b", *"aaaa")
        session, _ = house.open_session()
        replay = await house.add(session, "a", since="e1-0")
        assert await house.receive(session) == ["(0, 3]", "a4", "a5"]
        assert not replay.complete
        assert house.broker.figures()["gaps"] == 1


async def test_a_gap_names_its_filter_when_there_is_but_one() -> None:
    async with House(Policy(messages=1)) as house:
        await house.publish("a", "a")
        for filters, named in ((["a"], "a"), (["a", "b"], None)):
            session, _ = house.open_session()
            await house.add(session, *filters, since="e1-0")
            await house.broker.advance(session)
            gap = session.outbox.take()
            assert gap is not None
            assert not isinstance(gap, Message)
            assert gap.filter == named


async def test_a_loss_that_is_known_is_not_told_again() -> None:
    """docs/architecture.md: the `KNOWN` part of a cursor."""
    async with House(Policy(messages=2)) as house:
        await house.publish(*"aaaaa")
        session, _ = house.open_session()
        replay = await house.add(session, "a", since="e1-0-3")
        assert await house.receive(session) == ["a4", "a5"]
        assert replay.complete


async def test_what_is_lost_in_the_middle_of_a_replay_is_told() -> None:
    async with House(Policy(messages=4), limits=TIGHT) as house:
        await house.publish(*"aaaabbbb")
        session, _ = house.open_session()
        replay = await house.add(session, "#", since="start")
        await house.broker.advance(session)
        assert take_all(session.outbox) == ["a1", "a2"]
        await house.publish("b", "b")
        assert await house.receive(session) == ["(2, 6]", "a3", "a4", "b7", "b8", "b9", "b10"]
        assert not replay.complete


async def test_a_replay_is_not_complete_when_what_came_meanwhile_is_lost() -> None:
    async with House(Policy(messages=4), limits=TIGHT) as house:
        await house.publish("b")
        session, _ = house.open_session()
        replay = await house.add(session, "#", since="start")
        await house.publish(*["a"] * 20)
        assert await house.receive(session) == ["b1", "(1, 17]", "a18", "a19", "a20", "a21"]
        assert not replay.complete


async def test_what_is_still_pending_is_no_loss() -> None:
    """A gap names what is not given: topics that keep nothing are given to who is there."""
    async with House(limits=TIGHT, entries=[("mouse", Policy(messages=0))]) as house:
        await house.publish("a", "a")
        session, _ = house.open_session()
        replay = await house.add(session, "#", since="start")
        await house.publish("mouse")
        assert await house.receive(session) == ["a1", "a2", "mouse3"]
        assert replay.complete


async def test_a_gap_and_what_was_pending_do_not_contradict_each_other() -> None:
    """What a gap has declared lost does not come after it."""
    async with House(limits=TIGHT, entries=[("mouse", Policy(messages=0))]) as house:
        await house.publish("mouse", *"aaaa")
        session, _ = house.open_session()
        replay = await house.add(session, "#", since="e1-0")
        await house.publish("mouse")
        assert await house.receive(session) == ["(0, 6]", "a2", "a3", "a4", "a5"]
        await house.publish("mouse")
        assert take_all(session.outbox) == ["mouse7"]
        assert not replay.complete


async def test_after_a_long_overflow_a_gap_and_what_was_pending_do_not_contradict_each_other() -> None:
    """What a gap has declared lost does not come after it."""
    async with House(limits=TIGHT, entries=[("mouse", Policy(messages=0))]) as house:
        session, _ = house.open_session()
        await house.add(session, "#")
        await house.publish(*["a"] * 14, "mouse", "a")
        assert session.pending_from == 13
        expected = [*[f"a{offset}" for offset in range(1, 9)], "(8, 15]"]
        expected += [f"a{offset}" for offset in (9, 10, 11, 12, 13, 14, 16)]
        assert await house.receive(session) == expected


async def test_a_new_epoch_is_told_first() -> None:
    async with House(epoch="e2") as house:
        await house.publish("a")
        session, _ = house.open_session()
        replay = await house.add(session, "a", since="e1-700-900")
        assert not replay.complete
        assert await house.receive(session) == ["(None, 0]", "a1"]


# Resuming


async def test_a_session_resumes_after_what_it_was_given(house: House) -> None:
    session, _ = house.open_session()
    await house.add(session, "a")
    await house.publish("a", "b", "a", "b")
    assert house.broker.resume_cursor(session) == "e1-0"
    session.outbox.take()
    assert house.broker.resume_cursor(session) == "e1-2"
    session.outbox.take()
    assert house.broker.resume_cursor(session) == "e1-4"


async def test_a_session_that_overflowed_resumes_with_what_did_not_fit() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session()
        await house.add(session, "a")
        await house.publish(*["a"] * 12)
        take_all(session.outbox)
        assert house.broker.resume_cursor(session) == "e1-8"


async def test_a_session_resumes_in_the_middle_of_its_replay() -> None:
    async with House(limits=TIGHT) as house:
        await house.publish(*["a"] * 6)
        session, _ = house.open_session()
        await house.add(session, "a", since="e1-1")
        await house.publish(*["a"] * 9)
        given = []
        while not session.is_live():
            await house.broker.advance(session)
            given += take_all(session.outbox)
            last = int(given[-1][1:]) if given else 1
            assert house.broker.resume_cursor(session) == f"e1-{last}"
        assert given == [f"a{offset}" for offset in range(2, 16)]


async def test_a_gap_that_was_not_taken_is_told_again_on_resuming() -> None:
    async with House(Policy(messages=1)) as house:
        await house.publish(*"aaa")
        session, _ = house.open_session()
        await house.add(session, "a", since="e1-1")
        await house.broker.advance(session)
        cursor = house.broker.resume_cursor(session)
        assert cursor == "e1-1"
        other, _ = house.open_session()
        await house.add(other, "a", since=cursor)
        assert await house.receive(other) == ["(1, 2]", "a3"]


async def test_a_new_epoch_that_was_not_taken_is_told_again_on_resuming() -> None:
    async with House(epoch="e2") as house:
        await house.publish("a")
        session, _ = house.open_session()
        await house.add(session, "a", since="e1-7")
        cursor = house.broker.resume_cursor(session)
        other, _ = house.open_session()
        await house.add(other, "a", since=cursor)
        assert await house.receive(other) == ["(None, 0]", "a1"]
        assert house.broker.resume_cursor(other) == "e2-1"


async def test_a_session_over_a_wire_resumes_after_what_was_written(house: House) -> None:
    session = house.broker.open_session(Listener(), NameForm())
    await house.add(session, "a")
    await house.publish("a", "a")
    assert session.outbox.take_bytes(1) == b"<a 1>"
    assert house.broker.resume_cursor(session) == "e1-1"


# Figures


async def test_figures_count_what_goes_on() -> None:
    async with House(limits=TIGHT) as house:
        session, _ = house.open_session()
        await house.add(session, "a", "#")
        await house.broker.publish("a", b"12345", key="k")
        await house.publish("b")
        figures = house.broker.figures()
        assert {name: figures[name] for name in ("sessions", "subscriptions", "filters")} == {
            "sessions": 1,
            "subscriptions": 2,
            "filters": 2,
        }
        assert (figures["published"], figures["published_bytes"], figures["deliveries"]) == (2, 5, 2)
        assert (figures["idempotency_keys"], figures["overflows"], figures["dropped"]) == (1, 0, 0)
        assert (figures["match_cache_topics"], figures["match_cache_misses"]) == (2, 2)
        assert figures["log_messages"] == 2


async def test_sweeping_sweeps_the_engine() -> None:
    async with House(Policy(age_s=10.0)) as house:
        await house.publish("a")
        house.clock.advance(10.0)
        house.broker.sweep()
        assert house.broker.figures()["log_messages"] == 0


async def test_a_broker_is_entered_once() -> None:
    async with Broker() as broker:
        with pytest.raises(RuntimeError, match="entered once"):
            await broker.__aenter__()
    with pytest.raises(RuntimeError, match="entered once"):
        await broker.__aenter__()


async def test_publishing_sweeps_where_nobody_else_does() -> None:
    """What has expired or is too old, and the keys beyond their window, do not stay for ever."""
    async with House(Policy(age_s=1.0)) as house:
        await house.broker.publish("old", b"x", key="k")
        await house.broker.publish("kept", b"x", retain=True, ttl=1.0)
        house.clock.advance(1.9)
        await house.publish("a")
        assert house.broker.figures()["log_messages"] == 3  # not yet
        house.clock.advance(0.1)
        await house.publish("a")
        figures = house.broker.figures()
        assert (figures["log_messages"], figures["retained_messages"]) == (2, 0)
        house.clock.advance(120.0)
        await house.publish("a")
        assert house.broker.figures()["idempotency_keys"] == 0


async def test_publishing_does_not_sweep_beside_who_does() -> None:
    async with House(Policy(age_s=1.0)) as house:
        await house.publish("a")
        for _ in range(3):
            house.clock.advance(1.0)
            house.broker.sweep()
            await house.publish("a")
        assert house.engine.sweeps == 3


async def test_a_sweep_that_fails_fails_no_publishing() -> None:
    async with House() as house:
        house.engine.sweep_fails = True
        house.clock.advance(2.0)
        await house.publish("a")
        assert house.engine.sweeps == 1
        assert await house.history("a") == [1]


# Policies


async def test_a_policy_says_what_may_be_published() -> None:
    entries = [("small/#", Policy(max_payload_bytes=3, retained=False))]
    async with Broker(MemoryEngine(PolicyTable(Policy(), entries))) as broker:
        assert (await broker.publish("small/a", b"123")).offset == 1
        with pytest.raises(LimitExceeded, match=r"\(policies.max_payload_bytes\)"):
            await broker.publish("small/a", b"1234")
        with pytest.raises(InvalidCommand, match=r"\(policies.retained\)"):
            await broker.publish("small/a", b"1", retain=True)
        answers = await broker.publish_messages(
            [Message("small/a", b"1234"), Message("a", b"1234"), Message("small/a", b"", retained=True)],
            [None, None, None],
        )
        assert [isinstance(answer, Receipt) for answer in answers] == [False, True, False]
        with pytest.raises(LimitExceeded):
            broker.publish_at_once(Message("small/a", b"1234"))


@pytest.mark.parametrize(
    ("overflow", "filters", "expected"),
    [
        (None, ["a/b"], LATEST),
        (None, ["b", "a/b"], DISCONNECT),  # the first filter says it
        ("drop-oldest", ["a/b"], DROP_OLDEST),
    ],
)
async def test_who_names_no_overflow_has_that_of_the_policy(
    overflow: str | None, filters: list[str], expected: int
) -> None:
    async with Broker(MemoryEngine(PolicyTable(Policy(), [("a/#", Policy(overflow="latest"))]))) as broker:
        session = broker.open_session(Listener(), overflow=overflow)
        await broker.add_filters(session, filters, parse_since("now"))
        assert session.outbox.overflow == expected
        await broker.add_filters(session, ["a/#"], parse_since("now"))
        assert session.outbox.overflow == expected, "it is one for the session"
