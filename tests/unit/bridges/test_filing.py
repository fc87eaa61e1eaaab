"""Requests from a file, and responses to another."""

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import pytest

from extra import server
from extra.bridges import serve_file
from tests.unit.bridges.material import Kit

HOST = b"Host: localhost\r\n"


async def answers_to(requests: bytes) -> tuple[int, bytes]:
    app = server(Kit())
    responses = io.BytesIO()
    count = await serve_file(app, io.BytesIO(requests), responses)
    await app.stop()
    return count, responses.getvalue()


async def test_requests_are_answered_in_order() -> None:
    count, answers = await answers_to(
        b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
        b"POST /unread HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n"
        b"HEAD /stream HTTP/1.1\r\n" + HOST + b"\r\n"
        b"GET /empty HTTP/1.1\r\n" + HOST + b"\r\n"
    )
    assert count == 5
    assert answers.count(b"HTTP/1.1 2") == 5
    assert b"\r\n\r\nabcHTTP/1.1 200" in answers
    assert b"\r\n\r\nunreadHTTP/1.1 200" in answers
    assert b"\r\n\r\n2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\nHTTP/1.1 200" in answers
    assert answers.endswith(b"HTTP/1.1 204 No Content\r\n\r\n")


async def test_the_last_is_what_says_so_or_is_none() -> None:
    get = b"GET /empty HTTP/1.1\r\n" + HOST
    assert await answers_to(get + b"Connection: close\r\n\r\n" + get + b"\r\n") == (
        1,
        b"HTTP/1.1 204 No Content\r\n\r\n",
    )
    count, answers = await answers_to(get + b"\r\nrubbish\r\n\r\n" + get + b"\r\n")
    assert count == 1
    assert b"HTTP/1.1 501 Not Implemented\r\n" in answers
    assert await answers_to(b"") == (0, b"")


async def test_response_without_an_end_of_its_own_is_the_last() -> None:
    get = b"GET /stream HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n"
    count, answers = await answers_to(get * 2)
    assert (count, answers.endswith(b"\r\n\r\n0\n1\n2\n")) == (1, True)


async def test_pipe_is_answered_before_it_ends() -> None:
    asked, asking = os.pipe()
    told, telling = os.pipe()
    app = server(Kit())
    with (
        os.fdopen(asked, "rb") as requests,
        os.fdopen(telling, "wb", buffering=0) as responses,
        os.fdopen(told, "rb") as answers,
    ):
        serving = asyncio.create_task(serve_file(app, requests, responses))
        for _ in range(2):
            os.write(asking, b"GET /empty HTTP/1.1\r\n" + HOST + b"\r\n")
            assert await asyncio.to_thread(answers.readline) == b"HTTP/1.1 204 No Content\r\n"
            assert await asyncio.to_thread(answers.readline) == b"\r\n"
        os.close(asking)
        assert await serving == 2
    await app.stop()


async def test_body_that_is_cut_off_ends_it() -> None:
    count, answers = await answers_to(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nabc")
    assert count == 1
    assert answers.startswith(b"HTTP/1.1 500 ")


async def test_response_that_breaks_off_is_the_last(caplog: pytest.LogCaptureFixture) -> None:
    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    responses = io.BytesIO()
    requests = io.BytesIO((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 2)
    assert await serve_file(half, requests, responses) == 1
    assert responses.getvalue().count(b"HTTP/1.1") == 1


async def test_files_may_be_pipes(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as requests, (tmp_path / "out").open("wb") as responses:
        os.write(writing, b"GET /hello/ann HTTP/1.1\r\n" + HOST + b"\r\n")
        os.close(writing)
        app = server(Kit())
        assert await serve_file(app, requests, responses) == 1
        await app.stop()
    assert b'"name":"ann"' in (tmp_path / "out").read_bytes()
