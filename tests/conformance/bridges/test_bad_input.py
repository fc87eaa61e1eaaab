"""Services under hostile clients and hostile methods, on our server: the right status, and nothing left."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from extra import Request, Response, Service, Services, on
from extra.http import Compression, FormLimits, Middleware
from extra.http.sessions import Sessions, session_of
from extra.servers import Server, ServerLimits
from extra.services import Files, ServiceLimits
from tests.fakes.asgi import until


class Weak(Service):
    """Fails in every way that a method can."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @on(GET="/raise")
    async def fail(self) -> None:
        raise ZeroDivisionError("secret")

    @on(GET="/hang", timeout_s=0.001)
    async def hang(self) -> None:
        await asyncio.Event().wait()

    @on(GET="/type")
    async def wrong_type(self) -> object:
        return object()

    @on(POST="/body", timeout_s=0.02)
    async def body(self, request: Request) -> int:
        return len(await request.body())

    @on(GET="/wait")
    async def wait(self) -> None:
        self.events.append("waiting")
        try:
            await asyncio.Event().wait()
        finally:
            self.events.append("cancelled")

    @on(GET="/stream")
    async def stream(self) -> AsyncIterator[bytes]:
        self.events.append("streaming")
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            self.events.append("closed")

    @on(GET="/broken-stream")
    async def broken_stream(self) -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    @on(GET="/header")
    async def header(self, request: Request, value: str) -> Response:
        return request.respond(b"x", headers=[("X-Value", value)])

    @on(GET="/cookie")
    async def cookie(self, request: Request, value: str) -> Response:
        return request.respond(b"x").set_cookie("a", value)

    @on(GET="/go")
    async def go(self, request: Request, to: str) -> Response:
        return request.redirect(to)

    @on(GET="/cookies")
    async def cookies(self, request: Request) -> int:
        return len(request.cookies)

    @on(GET="/session")
    async def session(self, request: Request) -> dict[str, object]:
        return dict(session_of(request))

    @on(POST="/save")
    async def save(self, request: Request) -> list[str]:
        return [upload.safe_name for _, upload in (await request.form()).files]

    @on(POST="/form")
    async def form(self, request: Request) -> int:
        form = await request.form(FormLimits(file_limit_bytes=1000, memory_limit_bytes=10))
        return sum(upload.size for _, upload in form.files)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@asynccontextmanager
async def serving(
    *services: Service, limits: ServerLimits | None = None, middleware: Sequence[Middleware] = ()
) -> AsyncIterator[str]:
    """Serve them on our server. At the end no task and no descriptor may be left."""
    tasks, descriptors = asyncio.all_tasks(), open_descriptors()
    async with (
        Services(*services, limits=ServiceLimits(stop_timeout_s=5), middleware=middleware) as application,
        Server(application.handle, limits=limits) as server,
    ):
        [address] = await server.listen()
        yield f"127.0.0.1:{address[1]}"
    await until(lambda: asyncio.all_tasks() == tasks)
    assert open_descriptors() == descriptors


async def ask(address: str, target: str, method: str = "GET", **options: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        return await client.request(method, target, **options)  # type: ignore[arg-type]  # passed on


@pytest.mark.parametrize(
    ("target", "status", "told"),
    [
        ("/raise", 500, "GET /raise (Weak.fail) has failed"),
        ("/hang", 503, "GET /hang (Weak.hang): no answer within timeout_s=0.001"),
        ("/type", 500, "GET /type (Weak.wrong_type) has returned object"),
        ("/header?value=a%0D%0ASet-Cookie:%20b", 500, "line break or NUL in a header field"),
        ("/cookie?value=a%3B%20Domain=evil", 500, "GET /cookie (Weak.cookie) has failed"),
    ],
)
async def test_method_that_fails_is_answered_and_logged(
    target: str, status: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(Weak()) as address:
        answer = await ask(address, target)
        assert answer.status_code == status
        assert "secret" not in answer.text
        assert "set-cookie" not in answer.headers
        assert (await ask(address, "/cookies")).json() == 0
    assert told in caplog.text


async def test_redirect_stays_one_field() -> None:
    async with serving(Weak()) as address:
        answer = await ask(address, "/go?to=/x%0D%0ASet-Cookie:%20a=b")
        assert answer.headers["location"] == "/x%0D%0ASet-Cookie:%20a=b"
        assert "set-cookie" not in answer.headers


async def test_body_that_never_comes_is_408(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Weak()) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()
    assert "POST /body (Weak.body): no answer within timeout_s=0.02" in caplog.text


async def test_clients_that_leave_midway_leave_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    service = Weak()
    async with serving(service) as address:
        host, _, port = address.partition(":")
        for target, begun, ended in (("/wait", "waiting", "cancelled"), ("/stream", "streaming", "closed")):
            for _ in range(5):
                service.events.clear()
                with socket.create_connection((host, int(port))) as client:
                    client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    await until(lambda begun=begun: begun in service.events)  # type: ignore[misc]  # bound
                await until(lambda ended=ended: ended in service.events)  # type: ignore[misc]  # bound
    assert caplog.text.count("GET /wait (Weak.wait): cancelled") == 5


async def test_stream_that_fails_is_broken_off() -> None:
    async with serving(Weak()) as address:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(address, "/broken-stream")


@pytest.mark.parametrize(
    ("part", "status"),
    [
        (b"x" * 1000, 200),
        (b"x" * 1001, 413),
        (b"x" * 5_000_000, 413),
    ],
)
async def test_oversized_parts_are_refused(part: bytes, status: int) -> None:
    async with serving(Weak()) as address:
        try:
            answer = await ask(address, "/form", "POST", files={"f": ("a", part)})
        except httpx.WriteError:  # it was refused before all of it was sent
            assert status == 413
        else:
            assert answer.status_code == status


async def test_cookies_that_are_none_are_left_out() -> None:
    async with serving(Weak()) as address:
        many = "; ".join(f"c{number}=1" for number in range(2000))
        assert (await ask(address, "/cookies", headers={"cookie": many})).json() == 300
        assert (await ask(address, "/cookies", headers={"cookie": "=;;;a b=c; ok=1; d"})).json() == 1


async def test_paths_do_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "public" / "big").write_bytes(b"x" * 3_000_000)
    async with serving(Files(tmp_path / "public")) as address:
        host, _, port = address.partition(":")
        for target in (
            "/static/../secret",
            "/static/%2e%2e/secret",
            "/static/..%2fsecret",
            "/static//../secret",
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
            writer.close()
            await writer.wait_closed()
        answer = await ask(address, "/static/big")
        assert (len(answer.content), answer.headers["content-length"]) == (3_000_000, "3000000")
        with socket.create_connection((host, int(port))) as client:  # who takes only some of it
            client.sendall(b"GET /static/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.to_thread(client.recv, 1000)


@pytest.mark.parametrize(
    "cookie",
    [
        "eyJ1c2VyIjoiYWRtaW4ifQ",
        "eyJ1c2VyIjoiYWRtaW4ifQ.aaaaaa.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ".eJyrVkosLcmIz8tPSVWyUjI0MlbSAQBBYwYD.aaaaaa.AAAA",
        "...",
        "x" * 20_000,
        "%00%0d%0aSet-Cookie:%20a=b",
    ],
)
async def test_session_that_is_not_ours_is_none(cookie: str) -> None:
    async with serving(Weak(), middleware=[Sessions("a secret of more than sixteen bytes")]) as address:
        answer = await ask(address, "/session", headers={"cookie": f"session={cookie}"})
        assert (answer.status_code, answer.json()) == (200, {})
        assert "set-cookie" not in answer.headers


async def test_clients_that_leave_a_compressed_stream_leave_nothing() -> None:
    service = Weak()
    async with serving(service, middleware=[Compression(types=["application/octet-stream"])]) as address:
        host, _, port = address.partition(":")
        request = b"GET /stream HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: br, gzip\r\n\r\n"
        for _ in range(5):
            service.events.clear()
            with socket.create_connection((host, int(port))) as client:
                client.sendall(request)
                await until(lambda: "streaming" in service.events)
            await until(lambda: "closed" in service.events)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "a\x00b", ".", "..", "", ".ssh", "a/b"]
)
async def test_names_of_uploads_lead_nowhere(name: str) -> None:
    async with serving(Weak()) as address:
        answer = await ask(address, "/save", "POST", files={"f": (name, b"x")})
        for safe in answer.json() if answer.status_code == 200 else []:
            assert safe not in (".", "..")
            assert not safe.startswith(".")
            assert set(safe).isdisjoint("/\\\x00")
