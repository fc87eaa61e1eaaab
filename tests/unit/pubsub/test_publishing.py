"""How messages come into the log: on a broker, whose engine can be held up."""

import asyncio
from itertools import product

import pytest

from extra.errors import (
    BrokerClosed,
    EngineUnavailable,
    InvalidCommand,
    InvalidPayload,
    InvalidTopic,
    LimitExceeded,
)
from extra.pubsub import Broker, BrokerLimits, MemoryEngine, Message, Policy, PolicyTable, Receipt
from extra.pubsub.idempotency import digest
from extra.pubsub.pace import STRETCH_BYTES
from extra.pubsub.subscribing import STEP_BYTES
from tests.unit.pubsub.house import House
from tests.unit.pubsub.material import GatedEngine, a_message, settle


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


# Once for each key


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


# Many together


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


# Sweeping


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
