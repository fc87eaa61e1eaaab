"""The routes: which request goes where, behind the guard."""

import json
from collections.abc import AsyncIterator

import pytest

from broker.endpoints.application import build_application
from extra.http import Handler, NotFound, Request, Response, StreamingResponse, WebSocketResponse
from extra.servers import Counters
from tests.unit.broker.endpoints.driving import body_of, headers_of, running_hub


@pytest.fixture
async def application() -> AsyncIterator[Handler]:
    async with running_hub() as hub:
        yield build_application(hub, Counters())


async def ask(
    application: Handler, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Response:
    fields = {"host": "localhost"} | (headers or {})
    encoded = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    response = await application(Request(method, target.encode(), encoded, body=body))
    if isinstance(response, StreamingResponse):
        response.taker.closed()
    if isinstance(response, WebSocketResponse):
        response.taker.closed(1006, "")
    return response


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/t/a/b", 201),
        ("PUT", "/t/a/b", 201),
        ("DELETE", "/t/a/b", 204),
        ("GET", "/t/a/b", 200),
        ("HEAD", "/t/a/b", 200),
        ("GET", "/t/**", 200),
        ("GET", "/poll?topic=a", 200),
        ("HEAD", "/poll?topic=a", 200),
        ("HEAD", "/sse?topic=a", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/", 200),
        ("GET", "/console/console.js", 200),
        ("GET", "/nothing", 404),
        ("GET", "/t", 404),
        ("GET", "/console/none", 404),
        ("GET", "/console/a/b", 404),
        ("GET", "/publish", 405),
        ("PATCH", "/t/a", 405),
        ("POST", "/ws", 405),
        ("DELETE", "/", 405),
        ("OPTIONS", "/t/a", 204),
        ("GET", "/poll", 400),
        ("GET", "/t/%FF", 400),
        ("GET", "/t/%", 400),
        ("GET", "/t/", 400),
    ],
)
async def test_every_request_has_its_status(
    application: Handler, method: str, target: str, status: int
) -> None:
    response = await ask(application, method, target, body=b"x" if method in ("POST", "PUT") else b"")
    assert response.status == status
    if status >= 400:
        assert response.content_type == "application/problem+json"


async def test_a_batch_has_its_route(application: Handler) -> None:
    response = await ask(application, "POST", "/publish", body=json.dumps([]).encode())
    assert (response.status, response.body) == (201, b"[]")


@pytest.mark.parametrize("path", ["/t/a", "/sse?topic=a"])
async def test_a_stream_is_what_asks_for_one(application: Handler, path: str) -> None:
    response = await ask(application, "GET", path, {"Accept": "text/event-stream"})
    assert isinstance(response, StreamingResponse)


@pytest.mark.parametrize("path", ["/t/a", "/ws"])
async def test_a_websocket_is_what_asks_for_one(application: Handler, path: str) -> None:
    response = await ask(application, "GET", path, {"Upgrade": "WebSocket", "Accept": "text/event-stream"})
    assert isinstance(response, WebSocketResponse)


async def test_a_wrong_method_is_told_which_are_right(application: Handler) -> None:
    """RFC 9110 15.5.6."""
    response = await ask(application, "PATCH", "/t/a")
    assert headers_of(response)["allow"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"


async def test_the_guard_stands_before_every_route(application: Handler) -> None:
    for target in ("/", "/t/a", "/metrics", "/nothing"):
        assert (await ask(application, "GET", target, {"Host": "evil.example.org"})).status == 403
    response = await ask(application, "POST", "/t/a", {"Origin": "http://evil.example.org"}, b"x")
    assert response.status == 403


async def test_what_is_at_no_route_goes_to_others() -> None:
    async def other(request: Request) -> Response:
        if request.path == "/missing":
            raise NotFound
        return Response(404 if request.path == "/" and request.query_value("no") else 200, b"other")

    async def raising(request: Request) -> Response:
        raise NotFound

    async with running_hub() as hub:
        application = build_application(hub, Counters(), other)
        for method, target in (("GET", "/elsewhere/x"), ("PATCH", "/x"), ("OPTIONS", "/x"), ("GET", "/")):
            assert (await ask(application, method, target)).body == b"other"
        assert (await ask(application, "GET", "/missing")).status == 404
        assert (await ask(application, "GET", "/x", {"host": "evil.example"})).status == 403
        assert (await ask(application, "GET", "/healthz")).body != b"other"
        assert b"<html" in body_of(await ask(application, "GET", "/?no=1"))
        application = build_application(hub, Counters(), raising)
        assert b"<html" in body_of(await ask(application, "GET", "/"))
