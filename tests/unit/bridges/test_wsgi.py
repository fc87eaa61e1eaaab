"""WSGI, both ways, under the validator of the standard library."""

import asyncio
import io
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from extra import Service, on, server
from extra.bridges.wsgi import WSGIApplication, WSGIHost, wsgi
from extra.http import Request, Response
from tests.unit.bridges.material import Kit


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    text = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ['QUERY_STRING']} ".encode()
    start_response("201 Created", [("Content-Type", "text/plain"), ("X-Y", "z")])
    return [text, body]


async def test_wsgi_application_answers_on_our_server() -> None:
    async with WSGIHost(validator(application)) as host:
        headers = [(b"content-length", b"3"), (b"host", b"x")]
        response = await host.handle(Request("POST", b"/a%20b?c=d", headers, body=b"abc"))
        assert response.status == 201
        assert ("x-y", "z") in [(name.lower(), value) for name, value in response.headers]
        assert not isinstance(response.body, bytes)
        assert b"".join([part async for part in response.body]) == b"POST /a b c=d abc"


async def test_client_that_leaves_frees_the_thread() -> None:
    closed: list[str] = []

    def endless(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            while environ["PATH_INFO"] == "/endless":
                yield b"x"
        finally:
            closed.append(environ["PATH_INFO"])

    async with WSGIHost(endless, workers=1) as host:
        for _ in range(2):
            response = await host.handle(Request("GET", b"/endless", []))
            assert isinstance(response.body, AsyncGenerator)
            assert await anext(response.body) == b"x"
            await response.body.aclose()
        async with asyncio.timeout(5):
            assert (await host.handle(Request("GET", b"/", []))).status == 200
    assert closed == ["/endless", "/endless", "/"]


async def test_part_that_is_no_bytes_is_an_error_and_frees_the_thread() -> None:
    def wrong(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[object]:
        start_response("200 OK", [])
        return ["text"] * 100

    async with WSGIHost(wrong, workers=1) as host, asyncio.timeout(5):
        for _ in range(2):
            assert (await host.handle(Request("GET", b"/", []))).status == 500


def environ_of(method: str, path: str, body: bytes = b"") -> dict[str, Any]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update(
        {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": "text/plain",
            "QUERY_STRING": "",
            "SCRIPT_NAME": "",
            "wsgi.input": io.BytesIO(body),
        }
    )
    return environ


seen: list[str] = []


class Greeter(Service):
    async def start(self) -> None:
        seen.append("start")

    async def stop(self) -> None:
        seen.append("stop")

    @on(POST="/greet/{name}")
    async def greet(self, request: Request, name: str) -> str:
        return f"hello {name}, {await request.text()}"


@pytest.mark.slow
def test_services_answer_behind_wsgi() -> None:
    environ = environ_of("POST", "/greet/ann", b"ok")
    started: list[Any] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[..., None]:
        started.append((status, headers))
        return lambda data: None

    hosted = wsgi(server(Greeter))
    body = validator(hosted)(environ, start_response)
    try:
        assert b"".join(body) == b"hello ann, ok"
    finally:
        body.close()  # type: ignore[attr-defined]  # the validator wants it closed
    assert started[0][0].startswith("200")
    hosted.close()
    hosted.close()
    assert seen == ["start", "stop"]


class Elsewhere(Service):
    @on(GET="/elsewhere")
    async def point(self, request: Request) -> Response:
        return request.redirect("/")

    @on(GET="/client")
    async def client(self, request: Request) -> str:
        return request.client

    @on(GET="/fails")
    async def fail(self) -> AsyncIterator[str]:
        yield "a"
        raise ZeroDivisionError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "answer"),
    [
        ("GET", "/hello/a b", b"", 200, b'{"name":"a b","x":"","root_path":"","cookie":""}'),
        ("POST", "/echo", b"x" * 100_000, 201, b"x" * 100_000),
        ("POST", "/unread", b"x" * 100_000, 200, b"unread"),
        ("GET", "/stream", b"", 200, b"0\n1\n2\n"),
        ("HEAD", "/stream", b"", 200, b""),
        ("GET", "/empty", b"", 204, b""),
        ("GET", "/fail", b"", 500, None),
        ("GET", "/nowhere", b"", 404, None),
        ("GET", "/socket", b"", 426, None),
        ("GET", "/elsewhere", b"", 302, b""),
    ],
)
def test_every_answer_is_valid(
    method: str, path: str, body: bytes, status: int, answer: bytes | None
) -> None:
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[..., None]:
        started.append((status, headers))
        return lambda data: None

    environ = environ_of(method, path, body)
    if not body:
        del environ["CONTENT_TYPE"]
    hosted = wsgi(server(Kit(), Elsewhere))
    parts = validator(hosted)(environ, start_response)
    try:
        whole = b"".join(parts)
    finally:
        parts.close()  # type: ignore[attr-defined]  # the validator wants it closed
        hosted.close()
    assert int(started[0][0].partition(" ")[0]) == status
    assert b"secret" not in whole
    assert answer is None or whole == answer


def answer_of(hosted: WSGIApplication, environ: dict[str, Any]) -> tuple[str, bytes]:
    started: list[str] = []
    whole = b"".join(hosted(environ, lambda status, headers, exc_info=None: started.append(status)))
    return started[0], whole


@pytest.mark.slow
def test_fields_of_one_hop_stay_out_of_it_and_a_type_is_always_there() -> None:
    fields: list[tuple[str, str]] = []
    hosted = wsgi(server(Kit()))
    list(hosted(environ_of("GET", "/socket"), lambda status, headers, exc_info=None: fields.extend(headers)))
    hosted.close()
    assert "upgrade" not in [name.lower() for name, _ in fields]


@pytest.mark.slow
def test_client_is_known_without_a_port() -> None:
    hosted = wsgi(server(Elsewhere))
    assert answer_of(hosted, environ_of("GET", "/client") | {"REMOTE_ADDR": "192.0.2.1"}) == (
        "200 OK",
        b"192.0.2.1:0",
    )
    hosted.close()


@pytest.mark.slow
def test_response_that_is_not_taken_to_its_end_is_closed() -> None:
    kit = Kit()
    hosted = wsgi(server(kit))
    parts = hosted(environ_of("GET", "/endless"), lambda status, headers, exc_info=None: None)
    assert next(iter(parts))
    parts.close()  # type: ignore[attr-defined]  # what hosts do when the client has gone
    deadline = time.monotonic() + 5
    while "closed" not in kit.events and time.monotonic() < deadline:
        time.sleep(0.01)
    hosted.close()
    assert kit.events == ["start", "closed", "stop"]


@pytest.mark.slow
def test_body_that_ends_too_early_is_not_waited_for() -> None:
    hosted = wsgi(server(Kit()))
    try:
        status, _ = answer_of(hosted, environ_of("POST", "/echo", b"abc") | {"CONTENT_LENGTH": "10"})
        assert status == "500 Internal Server Error"  # which nobody gets: the client has gone
    except ConnectionResetError:
        pass  # it is too late for that, as the case may be
    hosted.close()


@pytest.mark.slow
def test_response_that_fails_on_the_way_does_not_end_as_if_it_were_whole() -> None:
    hosted = wsgi(server(Elsewhere))
    with pytest.raises(ZeroDivisionError):
        answer_of(hosted, environ_of("GET", "/fails"))
    hosted.close()
