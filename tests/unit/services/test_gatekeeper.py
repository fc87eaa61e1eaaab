"""Methods that decide who may publish and subscribe, and those that hear of who comes and goes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from extra.errors import ExtraError, Forbidden
from extra.http import BadRequest, NotFound, Request
from extra.pubsub import Broker, Message, compose
from extra.pubsub.gates import admit_filters, admit_message, guard_publishing
from extra.services import Service, ServiceLimits, Services, on
from extra.services.arguments import InvalidArguments
from extra.services.limits import TimedOut


class Rooms(Service):
    """Decides as the topic says."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    @on(PUBLISH="rooms/{room}/{what}")
    async def publishing(self, message: Message, request: Request, room: str, what: str) -> object:
        self.asked.append((room, what, message.data, request.path))
        match what:
            case "no":
                return False
            case "yes":
                return True
            case "raise":
                raise NotFound(f"no room {room!r}")
            case "fail":
                raise ZeroDivisionError
            case "hang":
                await asyncio.Event().wait()
            case "rewrite":
                return message.rewritten({"said": message.data})
            case "elsewhere":
                return compose("rooms/other/yes", 1)
            case "odd":
                return 7
        return None

    @on(SUBSCRIBE="rooms/{room}/+")
    def subscribing(self, filter: str, room: str) -> object:
        self.asked.append((filter, room))
        said: dict[str, object] = {"mine": "rooms/7/said", "both": ["rooms/1/+", "rooms/2/+"]}
        return {**said, "none": [], "odd": 7, "no": False}.get(room)


REQUEST = Request("POST", b"/asked", [])


@asynccontextmanager
async def running(*services: Service, timeout_s: float = 60.0) -> AsyncIterator[tuple[Services, Broker]]:
    async with Services(*services, limits=ServiceLimits(timeout_s=timeout_s)) as application:
        yield application, application.broker


async def publishing(broker: Broker, topic: str, data: object = "x", **fields: Any) -> Message:
    return await admit_message(broker.gates, compose(topic, data, **fields), REQUEST)


async def test_what_nobody_decides_about_is_let_through() -> None:
    async with Broker() as broker:
        message = compose("a", 1)
        assert await admit_message(broker.gates, message, None) is message
        assert await admit_filters(broker.gates, ["a", "a", "#"], None) == ["a", "a", "#"]
        assert not guard_publishing(broker.gates, "a")
    rooms = Rooms()
    async with running(rooms) as (_, broker):
        assert not guard_publishing(broker.gates, "rooms/1")
        assert (await publishing(broker, "rooms/1")).data == "x"
        assert await admit_filters(broker.gates, ["rooms/1", "halls/#"], REQUEST) == ["rooms/1", "halls/#"]
        assert rooms.asked == []


async def test_a_method_allows_by_returning_nothing_or_true() -> None:
    rooms = Rooms()
    async with running(rooms) as (_, broker):
        assert guard_publishing(broker.gates, "rooms/1/said")
        for what in ("said", "yes"):
            assert (await publishing(broker, f"rooms/1/{what}", 5)).data == 5
        assert rooms.asked == [("1", "said", 5, "/asked"), ("1", "yes", 5, "/asked")]
    assert broker.gates == []


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("no", Forbidden, "publishing to 'rooms/1/no' is not allowed"),
        ("raise", NotFound, "no room '1'"),
        ("fail", ExtraError, "internal error"),
        ("odd", ExtraError, "internal error"),
        ("elsewhere", ExtraError, "internal error"),
        ("hang", TimedOut, "no answer within timeout_s=0.01"),
    ],
)
async def test_it_refuses_in_any_way_and_whatever_fails_is_refused(
    what: str, error: type[ExtraError], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Rooms(), timeout_s=0.01) as (_, broker):
        with pytest.raises(error, match=message) as caught:
            await publishing(broker, f"rooms/1/{what}")
    assert caught.value.code == error.code
    is_fault = what not in ("no", "raise")
    assert ("PUBLISH rooms/{room}/{what} (Rooms.publishing)" in caplog.text) is is_fault


async def test_a_message_is_rewritten_with_all_that_is_not_of_its_value() -> None:
    async with running(Rooms()) as (_, broker):
        message = await publishing(
            broker, "rooms/1/rewrite", "hello", retain=True, headers={"x": "y"}, expires_at=1e12
        )
        assert message.data == {"said": "hello"}
        assert (message.topic, message.retained, message.headers) == ("rooms/1/rewrite", True, {"x": "y"})
        assert message.expires_at == 1e12


async def test_of_several_methods_all_have_to_allow_it_in_the_order_of_their_priority() -> None:
    order: list[str] = []

    class Kit(Service):
        @on(PUBLISH="a/+")
        def last(self, message: Message) -> Message:
            order.append("last")
            return message.rewritten(str(message.data) + ", seen")

        @on(PUBLISH="#", priority=1)
        def first(self, message: Message) -> object:
            order.append("first")
            return message.rewritten("checked") if message.data != "bad" else False

        @on(PUBLISH="a/{number:int}")
        def other(self, number: int) -> None:
            order.append("other")

    async with running(Kit()) as (_, broker):
        assert (await publishing(broker, "a/b")).data == "checked, seen"
        assert order == ["first", "last"]
        with pytest.raises(Forbidden):
            await publishing(broker, "a/b", "bad")
        assert order == ["first", "last", "first"]


async def test_a_filter_is_asked_about_when_it_could_bring_what_is_decided_about() -> None:
    rooms = Rooms()
    async with running(rooms) as (_, broker):
        for topic_filter, room in [
            ("rooms/1/said", "1"),
            ("rooms/1/+", "1"),
            ("rooms/1/#", "1"),
            ("rooms/+/said", "+"),
            ("rooms/#", "#"),
            ("+/1/said", "1"),
            ("+/#", "#"),
            ("#", "#"),
        ]:
            assert await admit_filters(broker.gates, [topic_filter], REQUEST) == [topic_filter]
            assert rooms.asked.pop() == (topic_filter, room)
        for elsewhere in ("rooms", "rooms/1", "rooms/1/a/b", "halls/+/said", "$presence/halls/1/said"):
            assert await admit_filters(broker.gates, [elsewhere], REQUEST) == [elsewhere]
        assert rooms.asked == []


async def test_who_may_not_have_a_topic_may_not_know_who_is_there() -> None:
    async with running(Rooms()) as (_, broker):
        with pytest.raises(Forbidden):
            await admit_filters(broker.gates, ["$presence/rooms/no/said"], REQUEST)
        assert await admit_filters(broker.gates, ["$presence/rooms/mine/said"], REQUEST) == [
            "$presence/rooms/7/said"
        ]


async def test_filters_are_refused_or_others_take_their_place(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Rooms()) as (_, broker):
        gates = broker.gates
        assert await admit_filters(gates, ["rooms/mine/x", "b"], REQUEST) == ["rooms/7/said", "b"]
        assert await admit_filters(gates, ["rooms/both/x", "rooms/1/+"], REQUEST) == [
            "rooms/1/+",
            "rooms/2/+",
        ]
        for refused in ("no", "none"):
            with pytest.raises(Forbidden, match=f"subscribing to 'rooms/{refused}/x' is not allowed"):
                await admit_filters(gates, ["rooms/1/x", f"rooms/{refused}/x"], REQUEST)
        with pytest.raises(ExtraError, match="internal error"):
            await admit_filters(gates, ["rooms/odd/x"], REQUEST)
    assert "(Rooms.subscribing) has returned 7: None, a bool, a topic filter or a list" in caplog.text


class Numbered(Service):
    @on(SUBSCRIBE="users/{user:int}/{rest:path}", PUBLISH="users/{user:int}")
    def decide(self, user: int) -> bool:
        return user == 7

    @on(SUBSCRIBE="halls/{hall}")
    def decide_about_halls(self, hall: int) -> bool:
        return hall == 7


@pytest.mark.parametrize(
    ("topic_filter", "error"),
    [
        ("users/7/a", None),
        ("users/7/#", None),
        ("users/8/#", Forbidden),
        ("users/+/a", Forbidden),  # `user` is left open, and is no number
        ("users/#", Forbidden),
        ("#", Forbidden),
        ("users/me/a", None),  # which the method is not about
        ("halls/7", None),
        ("halls/+", InvalidArguments),
        ("halls/x", InvalidArguments),
    ],
)
async def test_what_is_left_open_has_to_be_of_the_kind(
    topic_filter: str, error: type[ExtraError] | None
) -> None:
    async with running(Numbered()) as (_, broker):
        if error is None:
            assert await admit_filters(broker.gates, [topic_filter], REQUEST) == [topic_filter]
        else:
            with pytest.raises(error):
                await admit_filters(broker.gates, [topic_filter], REQUEST)


async def test_a_connection_whose_request_is_not_known_is_refused_where_that_counts() -> None:
    async with running(Rooms()) as (_, broker):
        with pytest.raises(Forbidden, match="open another one"):
            await admit_message(broker.gates, compose("rooms/1/yes", 1), None)
        assert await admit_filters(broker.gates, ["rooms/1/x"], None) == ["rooms/1/x"]


async def test_a_newer_application_takes_over_and_there_is_always_one_that_decides() -> None:
    class Strict(Service):
        @on(PUBLISH="#")
        def decide(self) -> bool:
            return False

    class Late(Service):
        async def start(self) -> None:
            assert len(broker.gates) == 1

        @on(PUBLISH="#")
        def decide(self, message: Message) -> bool:
            return message.data == 1

    class Broken(Late):
        @on(TOPIC="x")
        def hear(self, message: Message) -> None: ...

    async with Broker() as broker, Services(Strict(), broker=broker) as older:
        newer = Services(Late(), broker=broker)
        newer.succeed(older)
        async with newer:
            assert len(broker.gates) == 1
            await publishing(broker, "a", 1)
            with pytest.raises(Forbidden):
                await publishing(broker, "a", 2)
        assert broker.gates == []


async def test_an_application_that_does_not_start_leaves_the_older_one_deciding() -> None:
    class Strict(Service):
        @on(PUBLISH="#")
        def decide(self) -> bool:
            return False

    class Broken(Service):
        async def start(self) -> None:
            raise BadRequest("broken")

        @on(PUBLISH="#")
        def decide(self) -> bool:
            return True

    async with Broker() as broker, Services(Strict(), broker=broker) as older:
        newer = Services(Broken(), broker=broker)
        newer.succeed(older)
        with pytest.raises(BadRequest):
            await newer.__aenter__()
        assert len(broker.gates) == 1
        with pytest.raises(Forbidden):
            await publishing(broker, "a")


@pytest.mark.parametrize("kind", ["PUBLISH", "SUBSCRIBE", "JOIN"])
def test_a_parameter_that_comes_from_nowhere_is_refused(kind: str) -> None:
    class Wrong(Service):
        @on(**{kind: "a/{b}"})  # type: ignore[arg-type]
        def decide(self, nowhere: int) -> None: ...

    with pytest.raises(TypeError, match="nowhere"):
        Services(Wrong())


def test_they_are_listed() -> None:
    assert [(kind, place) for kind, place, _ in Services(Rooms()).routes()] == [
        ("PUBLISH", "rooms/{room}/{what}"),
        ("SUBSCRIBE", "rooms/{room}/+"),
    ]


# JOIN and LEAVE


class Door(Service):
    """Notes who comes and goes."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[object] = asyncio.Queue()

    @on(JOIN="rooms/{room:int}")
    async def come(self, room: int, member: str, data: object, count: int) -> None:
        self.seen.put_nowait(("join", room, member, data, count))
        if data == "fail":
            raise ZeroDivisionError

    @on(LEAVE="rooms/{room:int}")
    async def go(self, room: int, member: str, count: int, message: Message) -> None:
        self.seen.put_nowait(("leave", room, member, message.topic, count))


async def test_methods_hear_of_who_comes_and_goes(caplog: pytest.LogCaptureFixture) -> None:
    door = Door()
    async with running(door) as (_, broker):
        async with broker.subscribe("rooms/1", presence={"name": "Ada"}, member="ada"):
            assert await door.seen.get() == ("join", 1, "ada", {"name": "Ada"}, 1)
            async with broker.subscribe("rooms/1", "rooms/x", presence="fail", member="bob"):
                assert await door.seen.get() == ("join", 1, "bob", "fail", 2)
        seen = [await door.seen.get() for _ in range(2)]
        assert seen == [
            ("leave", 1, "bob", "$presence/rooms/1", 1),
            ("leave", 1, "ada", "$presence/rooms/1", 0),
        ]
        assert door.seen.empty()
    assert "JOIN rooms/{room:int} (Door.come) has failed" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR
