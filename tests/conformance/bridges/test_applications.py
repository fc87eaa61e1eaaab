"""FastAPI, Django and Flask on our server and mounted in services, and our broker mounted in FastAPI."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import django
import fastapi
import flask
import httpx
import pytest
import websockets
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from fastapi.responses import StreamingResponse

import broker
from extra import Broker, Service, on, server
from extra.bridges import Mounted
from tests.conformance.bridges.serving import on_our_server

URLS = "tests.conformance.bridges.urls_of_django"


class Hello(Service):
    @on(GET="/hello")
    async def hello(self) -> str:
        return "hello"


def django_echo(request: HttpRequest, name: str) -> HttpResponse:
    return JsonResponse({"name": name, "path": request.path, "body": request.body.decode()})


def django_stream(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d\n" % number

    def blocking() -> Iterator[bytes]:
        for number in range(3):
            yield b"%d\n" % number

    return StreamingHttpResponse(parts() if hasattr(request, "scope") else blocking())


@pytest.fixture(scope="module", autouse=True)
def _django() -> Iterator[None]:
    urls = ModuleType(URLS)
    urls.urlpatterns = [path("echo/<name>", django_echo), path("stream", django_stream)]  # type: ignore[attr-defined]  # Django looks for it
    sys.modules[URLS] = urls
    if not settings.configured:
        settings.configure(ROOT_URLCONF=URLS, ALLOWED_HOSTS=["*"], SECRET_KEY="x", MIDDLEWARE=[])
        django.setup(set_prefix=False)
    yield
    del sys.modules[URLS]


async def check_echo(address: str, prefix: str = "") -> None:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        answer = await client.post(f"{prefix}/echo/%C3%A9?a=b", content=b"abc")
        assert answer.json() == {"name": "é", "path": f"{prefix}/echo/é", "body": "abc"}
        assert (await client.get(f"{prefix}/stream")).text == "0\n1\n2\n"
        assert (await client.get(f"{prefix}/nowhere")).status_code == 404


def flask_application() -> flask.Flask:
    application = flask.Flask(__name__)

    @application.post("/echo/<name>")
    def echo(name: str) -> Any:
        path = flask.request.script_root + flask.request.path
        return {"name": name, "path": path, "body": flask.request.get_data(as_text=True)}

    @application.get("/stream")
    def stream() -> Any:
        return (f"{number}\n" for number in range(3))

    return application


def fastapi_application() -> fastapi.FastAPI:
    application = fastapi.FastAPI()

    @application.post("/echo/{name}")
    async def echo(name: str, request: fastapi.Request) -> dict[str, str]:
        return {"name": name, "path": request.scope["path"], "body": (await request.body()).decode()}

    @application.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[str]:
            for number in range(3):
                yield f"{number}\n"
                await asyncio.sleep(0)

        return StreamingResponse(parts())

    @application.websocket("/socket")
    async def socket(websocket: fastapi.WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    return application


@pytest.mark.slow
@pytest.mark.parametrize("make", [fastapi_application, get_asgi_application], ids=["fastapi", "django"])
async def test_asgi_frameworks_answer(make: Any) -> None:
    async with on_our_server(make()) as address:
        await check_echo(address)
    async with on_our_server(server(Hello, Mounted(make(), "/inner"))) as address:
        await check_echo(address, "/inner")


@pytest.mark.slow
@pytest.mark.parametrize("make", [flask_application, get_wsgi_application], ids=["flask", "django"])
async def test_wsgi_frameworks_answer(make: Any) -> None:
    async with on_our_server(make(), interface="wsgi") as address:
        await check_echo(address)
    async with on_our_server(server(Hello, Mounted(make(), "/inner", interface="wsgi"))) as address:
        await check_echo(address, "/inner")


async def test_websocket_of_fastapi() -> None:
    async with (
        on_our_server(server(Mounted(fastapi_application(), "/inner"))) as address,
        websockets.connect(f"ws://{address}/inner/socket") as socket,
    ):
        await socket.send("hello")
        assert await socket.recv() == "hello"


async def test_services_and_broker_are_mounted_in_fastapi() -> None:
    async with Broker() as core:
        application = fastapi.FastAPI()
        application.mount("/realtime", broker.asgi(core))
        application.mount("/inner", server(Hello))
        async with (
            on_our_server(application) as address,
            httpx.AsyncClient(base_url=f"http://{address}") as client,
        ):
            assert (await client.get("/inner/hello")).text == "hello"
            await core.publish("news", {"number": 1})
            answer = await client.get("/realtime/t/news")
            assert answer.json()["messages"][0]["data"] == {"number": 1}
