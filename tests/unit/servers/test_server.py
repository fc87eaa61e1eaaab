"""The server on real sockets: where it listens, what its clients get, and that nothing is left behind."""

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect as connect_websocket

from extra.http import (
    Application,
    Handler,
    Request,
    Response,
    Router,
    Stream,
    StreamingResponse,
    StreamTaker,
    WebSocket,
    WebSocketResponse,
    WebSocketTaker,
)
from extra.servers import Address, Server, ServerLimits
from extra.servers import server as server_module
from extra.servers.context import Connection
from extra.servers.server import check_all
from tests.unit.servers.serving import hello, replies

Run = Callable[[Coroutine[object, object, None]], None]
T = TypeVar("T")

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
GET_LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Clock(StreamTaker):
    """Writes two lines."""

    def opened(self, stream: Stream) -> None:
        stream.write(b"tick\n")
        asyncio.get_running_loop().call_soon(stream.write, b"tock\n")
        asyncio.get_running_loop().call_soon(stream.close)

    def writable(self) -> None: ...
    def closed(self) -> None: ...


class Echo(WebSocketTaker):
    """Sends back what it receives."""

    def opened(self, socket: WebSocket) -> None:
        self.socket = socket

    def received_text(self, data: bytes) -> None:
        self.socket.send_text(data)

    def received_binary(self, data: bytes) -> None:
        self.socket.send_binary(data)

    def writable(self) -> None: ...
    def closed(self, code: int, reason: str) -> None: ...


async def echo(request: Request) -> Response:
    return Response(201, await request.body())


async def stream(request: Request) -> Response:
    return StreamingResponse(Clock(), content_type="text/plain")


async def websocket(request: Request) -> Response:
    return WebSocketResponse(Echo(), subprotocols=["v1"], deflate=True)


async def parts(request: Request) -> Response:
    async def give() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%05d" % number * 10_000

    return Response(200, give())


def routes() -> Handler:
    router = Router()
    router.add("GET", "/", hello)
    router.add("POST", "/echo", echo)
    router.add("GET", "/stream", stream)
    router.add("GET", "/ws", websocket)
    router.add("GET", "/parts", parts)
    return Application(router)


@asynccontextmanager
async def listening(
    application: Handler = hello, *, limits: ServerLimits | None = None
) -> AsyncIterator[tuple[Server, int]]:
    """Serve on a port of loopback. Afterwards there is no more task and no more socket than before."""
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    async with Server(application, limits=limits) as server:
        ((_, port),) = tcp_addresses(await server.listen("127.0.0.1", 0))
        yield server, port
    assert asyncio.all_tasks() == tasks
    await asyncio.sleep(0)
    assert open_sockets() == sockets


def open_sockets() -> set[str]:
    """Return the sockets of this process. Other files are opened by the event loops at their leisure."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing itself
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {link for link in found if link.startswith("socket:")}


def tcp_addresses(addresses: list[Address]) -> list[tuple[str, int]]:
    return [address for address in addresses if isinstance(address, tuple)]


async def ask(port: int, data: bytes, host: str = "127.0.0.1") -> bytes:
    """Send `data`, and return what comes until the server ends the connection."""
    reader, writer = await asyncio.open_connection(host, port)
    return await talk(reader, writer, data)


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


# Addresses.


def test_port_zero_picks_one_and_tells(run: Run) -> None:
    async def main() -> None:
        async with listening() as (_, port):
            assert port != 0
            assert (await ask(port, GET_LAST)).endswith(b"hello")

    run(main())


def test_listens_on_ipv6_and_on_several_sockets_at_once(run: Run) -> None:
    async def main() -> None:
        async with Server(hello) as server:
            ((host, port),) = tcp_addresses(await server.listen("::1", 0))
            ((_, other),) = tcp_addresses(await server.listen("127.0.0.1", 0))
            assert host == "::1"
            assert (await ask(port, GET_LAST, "::1")).endswith(b"hello")
            assert (await ask(other, GET_LAST)).endswith(b"hello")

    run(main())


def test_unix_socket_on_which_somebody_listens_is_not_taken(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "extra.sock")

    async def main() -> None:
        async with Server(hello) as first, Server(hello) as second:
            await first.listen(uds=path)
            with pytest.raises(OSError, match=r"[Aa]ddress already in use") as caught:
                await second.listen(uds=path)
            assert caught.value.errno == errno.EADDRINUSE
            answer = await talk(*await asyncio.open_unix_connection(path), GET_LAST)
            assert answer.endswith(b"hello")

    run(main())


def test_unix_socket_that_nobody_listens_on_is_replaced(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "extra.sock")
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(path)

    async def main() -> None:
        async with Server(hello) as server:
            await server.listen(uds=path)
            assert (await talk(*await asyncio.open_unix_connection(path), GET_LAST)).endswith(b"hello")

    run(main())


def test_unix_socket_of_another_server_is_left_there(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "extra.sock"

    async def main() -> None:
        async with Server(hello) as first, Server(hello) as second:
            await first.listen(uds=str(path))
            path.unlink()
            await second.listen(uds=str(path))
            first.stop_accepting()
            answer = await talk(*await asyncio.open_unix_connection(str(path)), GET_LAST)
            assert answer.endswith(b"hello")

    run(main())


def test_listens_on_a_unix_socket_and_removes_it(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "extra.sock")

    async def tell_client(request: Request) -> Response:
        return Response(200, f"client {request.client!r}".encode())

    async def main() -> None:
        async with Server(tell_client) as server:
            assert await server.listen(uds=path) == [path]
            answer = await talk(*await asyncio.open_unix_connection(path), GET_LAST)
            assert answer.endswith(b"client ''")

    run(main())
    assert not Path(path).exists()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_listens_on_a_socket_that_it_is_given(run: Run, family: int, tmp_path: Path) -> None:
    async def main() -> None:
        sock = socket.socket(family)
        sock.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "given.sock"))
        async with Server(hello) as server:
            (address,) = await server.listen(sock=sock)
            if isinstance(address, tuple):
                assert (await ask(address[1], GET_LAST)).endswith(b"hello")
            else:
                assert (await talk(*await asyncio.open_unix_connection(address), GET_LAST)).endswith(b"hello")

    run(main())


def test_port_can_be_had_again_at_once(run: Run) -> None:
    """SO_REUSEADDR: connections of the last process linger in the kernel."""

    async def main() -> None:
        async with listening() as (_, port):
            await ask(port, GET_LAST)
        async with Server(hello) as server:
            assert await server.listen("127.0.0.1", port) == [("127.0.0.1", port)]

    run(main())


def test_address_that_is_taken_is_an_error(run: Run) -> None:
    async def main() -> None:
        async with listening() as (server, port):
            with pytest.raises(OSError, match="in use"):
                await server.listen("127.0.0.1", port)

    run(main())


async def test_server_has_to_be_entered() -> None:
    with pytest.raises(RuntimeError, match="has not been entered"):
        await Server(hello).listen("127.0.0.1", 0)


# Clients that we have not written.


def test_requests_of_httpx(run: Run) -> None:
    async def main() -> None:
        async with (
            listening(routes()) as (server, port),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
        ):
            assert (await client.get("/")).text == "hello"
            assert (await client.head("/")).headers["content-length"] == "5"
            assert (await client.post("/echo", content=b"x" * 300_000)).content == b"x" * 300_000

            async def chunks() -> AsyncIterator[bytes]:
                for _ in range(10):
                    yield b"y" * 10_000

            assert (await client.post("/echo", content=chunks())).content == b"y" * 100_000
            assert len((await client.get("/parts")).content) == 5_000_000
            assert (await client.get("/stream")).text == "tick\ntock\n"
            assert (await client.get("/nowhere")).json()["code"] == "not_found"
            assert (await client.put("/")).headers["allow"] == "GET, HEAD, OPTIONS"
            assert (await client.options("/")).status_code == 204
            assert server.counters.accepted == 2  # the stream has ended the first one

    run(main())


def test_websockets_of_websockets(run: Run) -> None:
    async def main() -> None:
        async with listening(routes()) as (server, port):
            uri = f"ws://127.0.0.1:{port}/ws"
            subprotocol = websockets.Subprotocol("v1")
            async with connect_websocket(uri, subprotocols=[subprotocol], proxy=None) as client:
                assert client.subprotocol == "v1"
                for message in ("text", b"bytes", "é" * 100_000, ""):
                    await client.send(message)
                    assert await client.recv() == message
                await client.send(["frag", "ment", "ed"])
                assert await client.recv() == "fragmented"
                await (await client.ping())
                assert server.counters.websockets_now == 1
            assert (client.close_code, server.counters.websockets_now) == (1000, 0)

    run(main())


def test_frame_that_is_too_large_is_closed_with_1009(run: Run) -> None:
    async def main() -> None:
        async with listening(routes()) as (_, port):
            uri = f"ws://127.0.0.1:{port}/ws"
            client = await connect_websocket(uri, compression=None, proxy=None)
            with suppress(websockets.ConnectionClosed):
                await client.send("x" * 10_000_000)
            await client.wait_closed()
            assert client.close_code == 1009

    run(main())


# The ends of connections.


@pytest.mark.slow
def test_refusal_reaches_a_client_that_is_still_sending(run: Run) -> None:
    """RFC 9112 9.6: without lingering the kernel would reset the connection, and the 413 with it."""

    async def main() -> None:
        limits = ServerLimits(body_limit_bytes=1000)
        async with listening(echo, limits=limits) as (_, port):
            for _ in range(5):
                body = b"x" * 4_000_000
                answer = await ask(
                    port, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                (reply,) = replies(answer)
                assert (reply.status, reply.fields["connection"]) == (413, "close")

    run(main())


def test_long_poll_is_cancelled_when_its_client_leaves(run: Run) -> None:
    async def main() -> None:
        entered, cancelled = asyncio.Event(), asyncio.Event()

        async def poll(request: Request) -> Response:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            raise AssertionError

        async with listening(poll) as (server, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET)
            await entered.wait()
            writer.close()
            async with asyncio.timeout(5):
                await cancelled.wait()
                await server.drained()

    run(main())


def test_stopping_lets_requests_end_and_takes_no_more(run: Run) -> None:
    async def main() -> None:
        entered, go = asyncio.Event(), asyncio.Event()

        async def slow(request: Request) -> Response:
            if request.path == "/slow":
                entered.set()
                await go.wait()
            return Response(200, request.path.encode())

        async with listening(slow) as (server, port):
            idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
            idle_writer.write(GET)
            await idle_reader.readuntil(b"\r\n\r\n/")
            busy = asyncio.create_task(ask(port, GET.replace(b"/ ", b"/slow ")))
            await entered.wait()
            server.stop_accepting()
            assert await idle_reader.read() == b""
            idle_writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            drained = asyncio.create_task(server.drained())
            await asyncio.sleep(0)
            assert not drained.done()
            go.set()
            (reply,) = replies(await busy)
            assert (reply.body, reply.fields["connection"]) == (b"/slow", "close")
            async with asyncio.timeout(5):
                await drained

    run(main())


def test_leaving_ends_what_is_left(run: Run) -> None:
    async def main() -> None:
        sockets, entered, cancelled = open_sockets(), asyncio.Semaphore(0), []

        async def hang(request: Request) -> Response:
            entered.release()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(request.path)
            raise AssertionError

        async with Server(hang) as server:
            ((_, port),) = tcp_addresses(await server.listen("127.0.0.1", 0))
            clients = [asyncio.create_task(ask(port, GET)) for _ in range(3)]
            for _ in clients:
                await entered.acquire()
        assert cancelled == ["/"] * 3
        assert await asyncio.gather(*clients) == [b""] * 3
        await asyncio.sleep(0)
        assert open_sockets() == sockets

    run(main())


def test_exception_leaves_nothing_behind(run: Run) -> None:
    async def main() -> None:
        tasks = asyncio.all_tasks()

        async def fail() -> None:
            async with Server(hello) as server:
                await server.listen("127.0.0.1", 0)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert asyncio.all_tasks() == tasks

    run(main())


# Deadlines.


def test_deadlines_are_looked_at(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SWEEP_INTERVAL_S", 0.001)

    async def main() -> None:
        async with listening(limits=ServerLimits(head_timeout_s=0.01)) as (server, port):
            (reply,) = replies(await ask(port, GET[:10]))
            assert reply.status == 408
            assert sum(server.counters.timeouts.values()) == 1

    run(main())


class Failing(Connection):
    """Fails at its deadlines."""

    def __init__(self) -> None:
        self.aborted = False

    def check(self, now: float) -> None:
        raise ZeroDivisionError

    def retire(self) -> None: ...

    def abort(self) -> None:
        self.aborted = True


class Checked(Failing):
    """Notes when it was looked at."""

    def check(self, now: float) -> None:
        self.checked = now


def test_connection_that_fails_at_its_deadlines_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    failing, checked = Failing(), Checked()
    check_all([failing, checked], 5.0)
    assert (failing.aborted, checked.aborted, checked.checked) == (True, False, 5.0)
    assert len(caplog.records) == 1


# Many at once.


def test_one_client_that_does_not_read_holds_up_no_other(run: Run) -> None:
    async def large(request: Request) -> Response:
        return Response(200, b"x" * 8_000_000)

    async def main() -> None:
        async with listening(large) as (server, port):
            _, stuck = await asyncio.open_connection("127.0.0.1", port, limit=1)
            stuck.write(GET * 100)
            others = await asyncio.gather(*(ask(port, GET_LAST) for _ in range(4)))
            assert [len(replies(other)[0].body) for other in others] == [8_000_000] * 4
            assert server.counters.requests["GET", 200] < 10
            stuck.transport.abort()
            async with asyncio.timeout(5):
                await server.drained()

    run(main())


def test_many_connections_leave_nothing_behind(run: Run) -> None:
    async def main() -> None:
        async with listening(routes()) as (server, port):
            await asyncio.gather(
                *(
                    ask(port, data)
                    for data in (GET_LAST, GET[:10] + b"\0", GET.replace(b"/ ", b"/stream ")) * 30
                )
            )
            async with asyncio.timeout(5):
                await server.drained()
            counters = server.counters
            assert counters.accepted == 90
            assert (counters.http_connections_now, counters.streams_now, counters.websockets_now) == (0, 0, 0)
            assert counters.requests == {("GET", 200): 60, ("", 400): 30}

    run(main())
