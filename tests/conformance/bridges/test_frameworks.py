"""Other people's frameworks on our server, with clients that we did not write."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import websockets
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from extra import Service, on, server
from tests.conformance.bridges.serving import on_our_server
from tests.unit.bridges.material import Kit

events: list[str] = []


@pytest.fixture(autouse=True)
def _no_events() -> Iterator[None]:
    events.clear()
    yield
    events.clear()


async def mirror(request: Request) -> JSONResponse:
    return JSONResponse(
        {
            "path": request.url.path,
            "query": request.url.query,
            "params": dict(request.path_params),
            "body": (await request.body()).decode(),
        }
    )


def in_a_thread(request: Request) -> PlainTextResponse:
    return PlainTextResponse("thread")


async def stream(request: Request) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(parts(), media_type="text/plain")


async def endless(request: Request) -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        try:
            while True:
                yield "tick\n"
                await asyncio.sleep(0)
        finally:
            events.append("closed")

    return StreamingResponse(parts())


async def background(request: Request) -> Response:
    async def later() -> None:
        await asyncio.sleep(0)
        events.append("background")

    return PlainTextResponse("x", background=BackgroundTask(later))


async def upload(request: Request) -> Response:
    size = 0
    async for part in request.stream():
        size += len(part)
    return PlainTextResponse(str(size))


async def fail(request: Request) -> Response:
    raise ZeroDivisionError


class Echo(WebSocketEndpoint):
    encoding = "text"

    async def on_receive(self, websocket: WebSocket, data: Any) -> None:
        await websocket.send_text(f"{data} {websocket.path_params['name']}")

    async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
        events.append(f"closed {close_code}")


class Marking(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers["X-Mark"] = "1"
        return response


class Inner(Service):
    @on(GET="/hello/{name}")
    async def hello(self, request: Any, name: str) -> dict[str, str]:
        return {"name": name, "root_path": request.root_path}

    @on(GET="/stream")
    async def stream(self) -> AsyncIterator[str]:
        for number in range(3):
            yield f"{number}\n"
            await asyncio.sleep(0)


def starlette() -> Starlette:
    return Starlette(
        routes=[
            Route("/mirror/{name}", mirror, methods=["GET", "POST"]),
            Route("/thread", in_a_thread),
            Route("/stream", stream),
            Route("/endless", endless),
            Route("/background", background),
            Route("/upload", upload, methods=["POST"]),
            Route("/fail", fail),
            WebSocketRoute("/echo/{name}", Echo),
            Mount("/inner", server(Inner)),
        ],
        middleware=[Middleware(Marking)],
    )


async def test_starlette_answers() -> None:
    async with (
        on_our_server(starlette()) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        answer = await client.post("/mirror/%C3%A9?a=b", content=b"abc")
        assert answer.json() == {"path": "/mirror/é", "query": "a=b", "params": {"name": "é"}, "body": "abc"}
        assert answer.headers["x-mark"] == "1"
        assert (await client.get("/thread")).text == "thread"
        assert (await client.get("/stream")).text == "0\n1\n2\n"
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.get("/fail")).status_code == 500
        assert (await client.head("/mirror/x")).status_code == 200

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(50):
                yield b"x" * 10_000

        assert (await client.post("/upload", content=parts())).text == "500000"


async def test_background_of_starlette_runs_after_the_answer() -> None:
    async with (
        on_our_server(starlette()) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        assert (await client.get("/background")).text == "x"
    assert events == ["background"]


async def test_stream_of_starlette_ends_with_its_client() -> None:
    async with on_our_server(starlette()) as address:
        async with (
            httpx.AsyncClient(base_url=f"http://{address}") as client,
            client.stream("GET", "/endless") as answer,
        ):
            assert await anext(answer.aiter_lines()) == "tick"
        async with httpx.AsyncClient(base_url=f"http://{address}") as client:
            assert (await client.get("/thread")).text == "thread"
    assert events == ["closed"]


async def test_websocket_of_starlette() -> None:
    async with on_our_server(starlette()) as address:
        async with websockets.connect(f"ws://{address}/echo/ann") as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello ann"
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(f"ws://{address}/nowhere")
    assert events == ["closed 1000"]


async def test_services_are_mounted_in_starlette() -> None:
    async with (
        on_our_server(starlette()) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        answer = await client.get("/inner/hello/ann")
        assert answer.json() == {"name": "ann", "root_path": "/inner"}
        assert (await client.get("/inner/stream")).text == "0\n1\n2\n"


async def test_services_answer_the_transport_of_httpx() -> None:
    app = server(Kit())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/hello/ann")).json()["name"] == "ann"
        assert (await client.get("/stream")).text == "0\n1\n2\n"
    await app.stop()
