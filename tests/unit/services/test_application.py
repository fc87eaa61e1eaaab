"""Services as one application: routes, middleware, life."""

import asyncio
import threading
from typing import Any

import pytest

from extra.errors import BrokerClosed, InvalidFilter
from extra.http import Convertor, Handler, Middleware, Request, Response, WebSocketResponse
from extra.pubsub import Broker, Message
from extra.services import Service, ServiceLimits, Services, Socket, every, on, pre
from extra.testing import TestClient


def naming(name: str) -> Middleware:
    """Return a middleware that writes its name into what passes."""

    async def add(request: Request, following: Handler) -> Response:
        response = await following(request)
        response.add_header("X-Passed", name)
        return response

    return add


class Rooms(Service):
    prefix = "/rooms"
    convertors = {"hex": Convertor("[0-9a-f]+", lambda text: int(text, 16))}  # noqa: RUF012  # never changed

    @on(GET_HEAD="{room:int}", PUT="/{room:int}/")
    async def show(self, room: int) -> dict[str, int]:
        return {"room": room}

    @on(GET="by-hex/{room:hex}")
    async def show_by_hex(self, room: int) -> dict[str, int]:
        return {"room": room}

    @on(GET="")
    async def index(self) -> str:
        return "index"

    @on(GET="{any}", priority=-1)
    async def rest(self, any: str) -> str:
        return f"rest {any}"


async def test_paths_stand_behind_the_prefix() -> None:
    async with TestClient(Services(Rooms)) as client:
        assert (await client.get("/rooms/7")).json() == {"room": 7}
        assert (await client.request("PUT", "/rooms/7/")).json() == {"room": 7}
        assert (await client.request("HEAD", "/rooms/7")).status == 200
        assert (await client.get("/rooms/by-hex/ff")).json() == {"room": 255}
        assert (await client.get("/rooms")).text == "index"
        assert (await client.get("/rooms/a/b")).text == "rest a/b"
        assert (await client.get("/")).status == 404
        refused = await client.post("/rooms/7")
        assert (refused.status, refused.header("allow")) == (405, "GET, HEAD, OPTIONS")


async def test_object_may_have_a_prefix_of_its_own() -> None:
    one, two = Rooms(), Rooms()
    one.prefix = "a"  # type: ignore[misc]  # of the class, until an object says otherwise
    two.prefix = "/b/"  # type: ignore[misc]  # likewise
    async with TestClient(Services(one, two)) as client:
        assert (await client.get("/a/1")).json() == {"room": 1}
        assert (await client.get("/b/2")).json() == {"room": 2}


def test_routes_are_listed() -> None:
    assert ("GET", "/rooms/{room:int}", "Rooms.show") in list(Services(Rooms).routes())


async def test_middleware_is_outermost_first_and_that_of_the_service_inside() -> None:
    class Inside(Service):
        middleware = (naming("c"), naming("d"))

        @on(GET="/")
        async def answer(self) -> str:
            return "x"

    async with TestClient(Services(Inside, middleware=[naming("a"), naming("b")])) as client:
        answer = await client.get("/")
        assert [value for name, value in answer.headers if name == "X-Passed"] == ["d", "c", "b", "a"]
        missing = await client.get("/nowhere")
        assert [value for name, value in missing.headers if name == "X-Passed"] == ["b", "a"]


def test_what_cannot_be_served_is_refused_by_name() -> None:
    class Nowhere(Service):
        @on(GET="/{a:nothing}")
        async def method(self) -> None: ...

    class Twice(Service):
        @on(GET="/")
        async def one(self) -> None: ...

        @on(GET="/")
        async def two(self) -> None: ...

    class Other(Service):
        convertors = {"hex": Convertor("x")}  # noqa: RUF012  # never changed

    class Unfit(Service):
        @on(GET_HEAD="/rooms/{room}")
        async def show(self, room: "Unknown") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    class Unasked(Service):
        @pre(lambda request: None)
        @on(TOPIC="a")
        async def hear(self) -> None: ...

    with pytest.raises(TypeError, match=r"^Unasked\.hear: pre\(\) is never asked: .* HTTP or WEBSOCKET$"):
        Services(Unasked)
    with pytest.raises(
        TypeError, match=r"^Unfit\.show: GET, HEAD /rooms/\{room\}: parameter 'room': annotation "
    ):
        Services(Unfit)
    with pytest.raises(ValueError, match=r"^Nowhere\.method: pattern '/\{a:nothing\}': no kind 'nothing'"):
        Services(Nowhere)
    with pytest.raises(ValueError, match=r"^Twice\.two: two handlers for GET /"):
        Services(Twice)
    with pytest.raises(ValueError, match="another kind 'hex'"):
        Services(Rooms, Other)


def living(name: str, seen: list[str], *failing: str) -> Service:
    """Return a service that notes when it is started and stopped, and fails in one of these."""

    class Living(Service):
        async def start(self) -> None:
            seen.append(f"start {name}")
            if "start" in failing:
                raise ZeroDivisionError(name)

        async def stop(self) -> None:
            seen.append(f"stop {name}")
            if "stop" in failing:
                raise ZeroDivisionError(name)
            if "hang" in failing:
                await asyncio.Event().wait()

    return Living()


async def test_services_start_in_order_and_stop_in_reverse() -> None:
    seen: list[str] = []
    async with Services(living("a", seen), living("b", seen)):
        assert seen == ["start a", "start b"]
    assert seen == ["start a", "start b", "stop b", "stop a"]


async def test_all_are_stopped_even_when_one_fails(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    limits = ServiceLimits(stop_timeout_s=0.001)
    services = Services(
        living("a", seen), living("b", seen, "stop"), living("c", seen, "hang"), limits=limits
    )
    with pytest.raises(ExceptionGroup) as caught:
        async with services:
            seen.clear()
    assert seen == ["stop c", "stop b", "stop a"]
    assert [type(error) for error in caught.value.exceptions] == [TimeoutError, ZeroDivisionError]
    assert caplog.text.count("Living has failed to stop") == 2
    with pytest.raises(BrokerClosed):
        await services.broker.publish("a", 1)


async def test_service_that_cannot_start_stops_those_that_have() -> None:
    seen: list[str] = []
    services = Services(living("a", seen), living("b", seen, "start"), living("c", seen))
    with pytest.raises(ZeroDivisionError):
        async with services:
            raise AssertionError("it has not started")
    assert seen == ["start a", "start b", "stop b", "stop a"]


async def test_error_inside_goes_before_those_of_stopping() -> None:
    with pytest.raises(KeyError):
        async with Services(living("a", [], "stop")):
            raise KeyError


async def test_broker_of_others_stays_open() -> None:
    async with Broker() as broker:
        async with Services(Rooms, broker=broker) as services:
            assert services.broker is broker
        await broker.publish("a", 1)
        later = Services(Rooms)
        later.attach(broker)
        async with later:
            assert later.broker is broker
        await broker.publish("a", 1)


class After(Service):
    """Leaves something to be done."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.done = asyncio.Event()

    def note(self, text: str) -> None:
        self.seen.append(f"{text} {threading.current_thread() is threading.main_thread()}")

    async def note_and_end(self) -> None:
        self.seen.append("end")
        self.done.set()

    def leave(self, request: Request) -> None:
        request.after(self.note, "plain")
        request.after(self.fail)
        request.after(self.note_and_end)

    def fail(self) -> None:
        raise ZeroDivisionError

    @on(GET="/")
    async def answer(self, request: Request) -> str:
        self.leave(request)
        return "x"

    @on(GET="/parts")
    async def parts(self, request: Request) -> Any:
        self.leave(request)
        yield "a"
        yield "b"

    @on(GET="/broken")
    async def broken(self, request: Request) -> None:
        self.leave(request)
        raise KeyError


@pytest.mark.parametrize("path", ["/", "/parts", "/broken"])
async def test_what_is_left_for_afterwards_is_done_whatever_happens(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = After()
    async with TestClient(Services(service)) as client:
        async with client.stream("GET", path) as answer:
            assert service.seen == []
            assert [part async for part in answer.parts()]
        await service.done.wait()
    assert service.seen == ["plain False", "end"]
    assert "what was to be done after a response has failed" in caplog.text


async def test_leaving_waits_for_what_is_left_up_to_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Service):
        @on(GET="/")
        async def answer(self, request: Request) -> None:
            request.after(asyncio.Event().wait)

    before = asyncio.all_tasks()
    async with TestClient(Services(Slow, limits=ServiceLimits(stop_timeout_s=0.001))) as client:
        await client.get("/")
    assert "has been cancelled after stop_timeout_s" in caplog.text
    assert asyncio.all_tasks() == before


class Broken(Service):
    @on(GET="/")
    async def fail(self) -> None:
        raise ZeroDivisionError("secret")


BROWSER = {"accept": "text/html,*/*;q=0.8"}


async def test_browsers_are_shown_errors_as_pages() -> None:
    async with TestClient(Services(Broken)) as client:
        for path, status in (("/", 500), ("/nowhere", 404)):
            answer = await client.get(path, headers=BROWSER)
            assert (answer.status, answer.header("content-type")) == (status, "text/html; charset=utf-8")
            assert "secret" not in answer.text
            answer = await client.get(path)
            assert (answer.status, answer.header("content-type")) == (status, "application/problem+json")


async def test_developers_are_shown_bugs_with_their_traceback() -> None:
    async with TestClient(Services(Broken, debug=True)) as client:
        assert "secret" in (await client.get("/", headers=BROWSER)).text
        answer = await client.get("/")
        assert "Broken.fail" in answer.text
        assert "ZeroDivisionError: secret" in answer.text


async def test_errors_may_have_responses_of_their_own() -> None:
    def make(error: Exception) -> Response:
        return Response(418, type(error).__name__.encode())

    async with TestClient(Services(Broken, error_response=make)) as client:
        assert (await client.get("/", headers=BROWSER)).body == b"ZeroDivisionError"
        assert (await client.get("/nowhere")).body == b"NotFound"


async def test_bodies_that_go_on_are_ended_when_the_host_shuts_down() -> None:
    class Endless(Service):
        @on(GET="/")
        async def tick(self) -> Any:
            yield "tick"
            await asyncio.Event().wait()

    async with TestClient(Services(Endless)) as client:
        async with client.stream("GET", "/") as answer:
            parts = answer.parts()
            assert await anext(parts) == b"tick"
            asyncio.get_running_loop().call_soon(client.services.drain)
            assert [part async for part in parts] == []
        assert (await client.get("/")).body == b"tick"  # late, and at its end as soon as it has begun


class Everything(Service):
    """Declared for one of each."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[object] = asyncio.Queue()

    @on(TOPIC="a/{n:int}")
    async def hear(self, message: Message, n: int) -> None:
        self.heard.put_nowait((n, message.data))

    @on(REQUEST="rpc/double")
    async def double(self, n: int) -> int:
        return 2 * n

    @on(WEBSOCKET="/ws")
    async def talk(self, socket: Socket) -> None:
        await socket.send("hello")
        await socket.receive()

    @every(seconds=3600)
    async def tick(self) -> None: ...


async def test_one_of_each_lives_and_ends_with_the_application() -> None:
    before = asyncio.all_tasks()
    service = Everything()
    async with TestClient(Services(service)) as client:
        assert set(client.services.routes()) == {
            ("TOPIC", "a/{n:int}", "Everything.hear"),
            ("REQUEST", "rpc/double", "Everything.double"),
            ("WEBSOCKET", "/ws", "Everything.talk"),
            ("EVERY", "3600 s", "Everything.tick"),
        }
        await client.broker.publish("a/7", "x")
        assert await service.heard.get() == (7, "x")
        assert (await client.services.ask("rpc/double", {"n": 2}, 5)).data == 4
        async with client.websocket("/ws") as socket:
            assert await socket.receive() == "hello"
            client.services.drain()
            assert socket.close_code == 1001
        assert (await client.get("/ws")).status == 426
    assert asyncio.all_tasks() == before
    with pytest.raises(BrokerClosed):
        await Services(Everything).ask("rpc/double", {}, 5)


def test_what_cannot_be_declared_for_is_refused_by_name() -> None:
    class WrongTopic(Service):
        @on(TOPIC="a/#/b")
        async def hear(self) -> None: ...

    with pytest.raises(InvalidFilter, match=r"^WrongTopic\.hear: "):
        Services(WrongTopic)


async def test_websocket_before_the_start_is_refused() -> None:
    services = Services(Everything)
    response = await services.handle(Request("GET", b"/ws", [(b"upgrade", b"websocket")]))
    assert isinstance(response, WebSocketResponse)
    with pytest.raises(BrokerClosed):
        response.taker.opened(None)  # type: ignore[arg-type]  # it does not come to that
