"""Requests over HTTP in async code: what comes back, what goes wrong, and that nothing is left behind."""

import asyncio
import socket
import threading

import pytest

from extra.client.address import Address
from extra.client.caller import Answer as Got
from extra.client.exchange import exchange
from extra.errors import BrokerClosed, InvalidCursor, LimitExceeded, RemoteProtocolError
from tests.fakes.http_broker import Answer, HTTPBroker, problem


async def ask(url: str, *, timeout_s: float = 5.0, limit_bytes: int = 1000, **headers: str) -> Got:
    address = Address.parse(url)
    return await exchange(address, "GET", "/poll?a=1", headers, timeout_s=timeout_s, limit_bytes=limit_bytes)


async def test_a_request_goes_out_and_its_answer_comes_back() -> None:
    with HTTPBroker(Answer(200, b"yes", {"Extra-Cursor": "e1-7"})) as broker:
        answer = await ask(broker.url, Authorization="Bearer x")
    assert (answer.status, answer.body, answer.headers["extra-cursor"]) == (200, b"yes", "e1-7")
    (request,) = broker.requests
    assert (request.method, request.target) == ("GET", "/poll?a=1")
    assert request.headers == {
        "host": broker.url.removeprefix("http://"),
        "authorization": "Bearer x",
        "connection": "close",
    }


async def test_a_body_goes_out_as_json() -> None:
    with HTTPBroker(Answer(200, b"yes")) as broker:
        address = Address.parse(broker.url)
        await exchange(address, "POST", "/x", {}, b'{"a":1}', timeout_s=5)
    (request,) = broker.requests
    assert (request.method, request.body) == ("POST", b'{"a":1}')
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == "7"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nye\r\n1\r\ns\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nyes",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes",
    ],
    ids=["chunked", "until the end of the connection", "after an interim answer"],
)
async def test_the_body_ends_where_http_says(raw: bytes) -> None:
    """RFC 9112 6.3, RFC 9110 15.2."""
    with HTTPBroker(Answer(raw=raw, hangs_up=True)) as broker:
        answer = await ask(broker.url)
    assert (answer.status, answer.body) == (200, b"yes")
    assert "link" not in answer.headers


async def test_an_answer_without_a_body_is_complete_at_its_head() -> None:
    """RFC 9112 6.3: 204 has no body. The connection stays open here."""
    with HTTPBroker(Answer(raw=b"HTTP/1.1 204 No Content\r\n\r\n")) as broker:
        assert (await ask(broker.url)).status == 204


async def test_nobody_there_is_told_with_the_url() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BrokerClosed, match=rf"no broker at http://127\.0\.0\.1:{port}/x: "):
        await ask(f"http://127.0.0.1:{port}/x")


async def test_a_connection_that_ends_without_an_answer_is_a_broker_that_is_gone() -> None:
    with (
        HTTPBroker(Answer(raw=b"", hangs_up=True)) as broker,
        pytest.raises(BrokerClosed, match="without an answer"),
    ):
        await ask(broker.url)


async def test_silence_ends_with_a_timeout() -> None:
    with HTTPBroker() as broker, pytest.raises(TimeoutError, match=r"no answer from \S+ within 0.01 s"):
        await ask(broker.url, timeout_s=0.01)


async def test_https_begins_with_a_handshake() -> None:
    """RFC 8446 5.1: a record that begins with 22."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(TimeoutError, match=url):
            await ask(url, timeout_s=0.01)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1) == b"\x16"


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-hello\r\n",
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nye\r\n",
    ],
)
async def test_what_is_not_http_or_cut_short_is_a_protocol_error(raw: bytes) -> None:
    with (
        HTTPBroker(Answer(raw=raw, hangs_up=True)) as broker,
        pytest.raises(RemoteProtocolError, match=r"does not answer in HTTP/1\.1"),
    ):
        await ask(broker.url)


async def test_an_answer_beyond_all_bounds_is_refused() -> None:
    with (
        HTTPBroker(Answer(200, b"x" * 1000)) as broker,
        pytest.raises(LimitExceeded, match="is over 1000 bytes"),
    ):
        await ask(broker.url)


async def test_an_answer_can_stand_for_an_error() -> None:
    with HTTPBroker(problem(400, "invalid_cursor", "not a cursor")) as broker:
        error = (await ask(broker.url)).error()
    assert isinstance(error, InvalidCursor)


async def test_cancelled_while_nothing_comes_it_cuts_the_connection_and_leaves_no_thread() -> None:
    has_come, is_over = asyncio.Event(), asyncio.Event()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        has_come.set()
        assert await reader.read() == b""
        is_over.set()
        writer.close()

    threads = threading.active_count()
    async with await asyncio.start_server(stay_silent, "127.0.0.1", 0) as server, asyncio.timeout(5):
        host, port = server.sockets[0].getsockname()
        asking = asyncio.create_task(ask(f"http://{host}:{port}"))
        await has_come.wait()
        asking.cancel()
        await is_over.wait()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert threading.active_count() == threads
