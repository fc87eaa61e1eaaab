"""A broker as a whole: its life, its sweeping and its figures."""

import pytest

from extra.errors import BrokerClosed
from extra.pubsub import Broker, Policy, parse_since
from tests.unit.pubsub.house import TIGHT, House
from tests.unit.pubsub.material import Listener


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
