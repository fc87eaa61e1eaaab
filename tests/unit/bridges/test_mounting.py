"""Applications of others below a path of services."""

from collections.abc import Callable
from typing import Any

import pytest

from extra.bridges import Mounted
from extra.errors import ChannelClosed
from extra.services import Services
from extra.testing import TestClient
from tests.fakes.asgi import until
from tests.unit.bridges.material import Kit
from tests.unit.bridges.test_wsgi import application as wsgi_application

events: list[str] = []


async def asgi3(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for answer in ("startup", "shutdown"):
            await receive()
            events.append(answer)
            await send({"type": f"lifespan.{answer}.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["path"]})
        return
    text = f"{scope['method']} {scope['root_path']} {scope['path']} {scope['raw_path'].decode()}"
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": text.encode()})


def asgi2(scope: Any) -> Callable[..., Any]:
    async def answer(receive: Any, send: Any) -> None:
        await asgi3(scope, receive, send)

    return answer


async def test_asgi_applications_are_mounted() -> None:
    events.clear()
    services = Services(Kit(), Mounted(asgi3, "/three"), Mounted(asgi2, "two", interface="asgi2"))
    async with TestClient(services) as client:
        assert (await client.get("/three/a%20b?c=d")).text == "GET /three /three/a b /three/a%20b"
        assert (await client.post("/two/x")).text == "POST /two /two/x /two/x"
        assert (await client.put("/three")).text == "PUT /three /three /three"
        assert (await client.get("/hello/ann")).json()["name"] == "ann"
        async with client.websocket("/three/socket") as socket:
            assert await socket.receive() == "/three/socket"
    assert events == ["startup", "startup", "shutdown", "shutdown"]


async def test_what_goes_on_in_them_is_ended() -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await receive()
        else:
            await receive()
            await send({"type": "websocket.accept"})
        while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            pass
        events.append("left")

    events.clear()
    services = Services(Kit(), Mounted(endless, "/site"))
    async with (
        TestClient(services) as client,
        client.stream("GET", "/site") as answer,
        client.websocket("/site") as socket,
    ):
        parts = answer.parts()
        assert await anext(parts) == b"first"
        services.drain()
        assert [part async for part in parts] == []
        with pytest.raises(ChannelClosed):
            await socket.receive()
        await until(lambda: events == ["left", "left"])


async def test_wsgi_applications_are_mounted() -> None:
    async with TestClient(Services(Kit(), Mounted(wsgi_application, "/old", interface="wsgi"))) as client:
        answer = await client.post("/old/a?b=c", content="abc", headers={"Content-Length": "3"})
        assert (answer.status, answer.text) == (201, "POST /a b=c abc")


async def test_application_at_the_root_has_what_others_leave() -> None:
    async with TestClient(Services(Mounted(asgi3, "/"), Kit())) as client:
        assert (await client.get("/hello/ann")).json()["name"] == "ann"
        assert (await client.get("/elsewhere/x")).text == "GET  /elsewhere/x /elsewhere/x"
        assert (await client.get("/")).text == "GET  / /"
        async with client.websocket("/socket", subprotocols=["chat"]) as socket:
            await socket.send("hello")
            assert await socket.receive() == "hello"
        async with client.websocket("/elsewhere") as socket:
            assert await socket.receive() == "/elsewhere"
