"""What users write, as type checkers see it: `make check` has mypy and pyright, both strict, read this file.

It is not run. `assert_type` says what a checker has to find out; a line that it must refuse has an `ignore`,
and both complain about one that is not needed.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

import asyncio
from collections.abc import AsyncIterator
from typing import Any, assert_type

import extra
from extra import (
    Broker,
    Client,
    Message,
    Receipt,
    Request,
    Response,
    Service,
    Socket,
    every,
    expose,
    on,
    post,
    pre,
    server,
    when,
)
from extra.bridges import ASGIServices, Channels, Mounted, asgi_of_messaging, hosting
from extra.channels import Broadcast, Channel
from extra.http import CORS, Compression, Form, Handler
from extra.http.sessions import Session, Sessions, session_of
from extra.testing import Answer, FakeClock, TestClient, TestEvents, TestSocket, broker_by


def check(request: Request) -> None:
    assert_type(request.header("x"), str | None)
    assert_type(request.cookies, dict[str, str])


def mark(request: Request, response: Response) -> Response:
    return response.set_cookie("seen", "1", max_age_s=60)


async def timed(request: Request, following: Handler) -> Response:
    response = await following(request)
    response.add_header("X-Timed", "1")
    return response


class Rooms(Service):
    prefix = "/rooms"
    middleware = (timed,)

    def __init__(self, names: list[str]) -> None:
        self.names = names

    async def start(self) -> None:
        assert_type(self.broker, Broker)

    @on(GET="{room:int}")
    @pre(check)
    @post(mark)
    async def show(self, request: Request, room: int) -> Response:
        assert_type(await request.body(), bytes)
        assert_type(await request.text(), str)
        assert_type(await request.form(), Form)
        assert_type(session_of(request), Session)
        return request.json({"room": room})

    @on(GET="{room:int}/lines")
    async def lines(self, room: int) -> AsyncIterator[str]:
        async with self.broker.subscribe(f"rooms/{room}") as messages:
            async for message in messages:
                assert_type(message, Message)
                yield message.topic

    @on(POST="{room:int}", timeout_s=5)
    @when(lambda request: request.header("x-version") == "2")
    async def say(self, request: Request, room: int) -> dict[str, int]:
        receipt = await self.publish(f"rooms/{room}", await request.json())
        assert_type(receipt, Receipt)
        return {"offset": receipt.offset}

    @expose(GET="/add/{a}/{b}")
    def add(self, a: int, b: int) -> int:
        return a + b

    @on(WEBSOCKET="talk")
    async def talk(self, socket: Socket) -> None:
        async for said in socket:
            assert_type(said, str | bytes)
            await socket.send({"said": str(said)})

    @on(TOPIC="rooms/{room:int}")
    async def heard(self, message: Message, room: int) -> None:
        assert_type(message.payload, bytes)

    @every(seconds=5)
    async def tick(self) -> None:
        assert_type((await self.ask("rpc/add", {"a": 1})).offset, int)


async def django(scope: Any, receive: Any, send: Any) -> None: ...


async def mirror(message: Any, channels: Channels) -> None:
    async for part in channels.body:
        assert_type(part, bytes)
        await channels.reply.put({"status": 200, "body": part})


app = server(
    Rooms(["lobby"]),
    Mounted(django, "/site"),
    middleware=[CORS(["https://app.example.org"]), Compression(), Sessions("x" * 16)],
)
assert_type(app, ASGIServices)
messages_app = asgi_of_messaging(mirror)

# Decorators leave methods what they are.
assert_type(Rooms(["x"]).add(1, 2), int)
Rooms(["x"]).add("1", 2)  # type: ignore[arg-type]
Mounted(django, "/site", interface="asgi4")  # type: ignore[arg-type]
Rooms()  # type: ignore[call-arg]


class Doors(Service):
    @on(SUBSCRIBE="rooms/{room}/#", quick=True)
    def read(self, filter: str, room: str) -> bool:
        return room in filter

    @on(PUBLISH="rooms/{room}")
    async def say(self, message: Message, request: Request) -> Message:
        assert_type(message.rewritten({"by": request.header("x-user")}), Message)
        return message.rewritten("x", headers={"a": "b"})

    @on(JOIN="rooms/{room}", LEAVE="rooms/{room}")
    async def meet(self, member: str, data: object, count: int) -> None:
        await self.publish("met", {"member": member, "count": count})


doors = server(Doors)


async def near_and_far() -> None:
    async with Broker() as near, Client("http://127.0.0.1:8080") as far:
        for broker in (near, far):
            assert_type(await broker.publish("news", {"any": ["JSON"]}), Receipt)
            async with broker.subscribe("news/+", since="start") as messages:
                async for message in messages:
                    assert_type(message.offset, int)
        async with far.group("workers", "jobs/#", member="first", order="topic") as jobs:
            async for job in jobs:
                assert_type(job.deliveries, int)
                await jobs.ack(job)
        async with far.subscribe("news", session="phone", ack=True) as kept:
            await kept.ack(await anext(kept))
    assert_type(extra.publish("http://127.0.0.1:8080", "news", "x"), Receipt)


async def channels() -> None:
    channel: Channel[int] = Channel(10)
    await channel.put(1)
    await channel.put("1")  # type: ignore[arg-type]
    assert_type(await channel.take(), int)
    assert_type(Broadcast[str]().__class__, type[Broadcast[str]])


async def testing() -> None:
    async with TestClient(app) as client:
        assert_type(await client.get("/rooms/1"), Answer)
        async with client.websocket("/rooms/talk") as socket, client.events("/rooms/1/lines") as events:
            assert_type(socket, TestSocket)
            assert_type(events, TestEvents)
    clock = FakeClock()
    with clock.driving():
        async with broker_by(clock) as broker:
            assert_type(broker, Broker)


async def sockets() -> None:
    async with hosting(app) as host:
        await asyncio.get_running_loop().create_server(host.protocol, "127.0.0.1", 0)
