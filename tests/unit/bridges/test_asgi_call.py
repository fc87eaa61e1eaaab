"""Calling ASGI applications for a host that is none of ASGI."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extra import server
from extra.bridges.asgi_call import ASGICall, http_scope
from tests.unit.bridges.material import Kit, parts_of


async def test_response_comes_part_by_part() -> None:
    app = server(Kit())
    async with ASGICall(app, http_scope("GET", "/stream"), parts_of()) as call:
        status, _ = await call.head()
        assert status == 200
        assert b"".join([part async for part in call.parts()]) == b"0\n1\n2\n"
    await app.stop()


async def test_body_is_taken_as_it_is_wanted() -> None:
    app = server(Kit())
    scope = http_scope("POST", "/echo", headers=[(b"Transfer-Encoding", b"chunked")])
    async with ASGICall(app, scope, parts_of(b"a", b"b")) as call:
        assert (await call.head())[0] == 201
        assert [part async for part in call.parts()] == [b"ab"]
    await app.stop()


async def test_leaving_ends_the_call() -> None:
    kit = Kit()
    app = server(kit)
    before = asyncio.all_tasks()
    async with ASGICall(app, http_scope("GET", "/endless"), parts_of()) as call:
        await call.head()
        assert await anext(call.parts()) == b"tick\n"
    assert kit.events == ["start", "closed"]
    await app.stop()
    assert asyncio.all_tasks() == before


async def test_one_that_goes_on_is_cancelled() -> None:
    seen: list[str] = []

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    async with ASGICall(stubborn, http_scope("GET", "/"), parts_of(), leave_timeout_s=0):
        await asyncio.sleep(0)
    assert seen == ["cancelled"]


async def test_failures_are_told(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    async def odd(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.body"})

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    for application in (fail, odd):
        async with ASGICall(application, http_scope("GET", "/"), parts_of()) as call:
            assert await call.head() == (500, [])
    async with ASGICall(half, http_scope("GET", "/"), parts_of()) as call:
        assert await call.head() == (200, [])
        with pytest.raises(ConnectionAbortedError):
            await anext(call.parts())
    assert "has failed" in caplog.text


async def test_body_that_breaks_off_is_a_disconnection() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise ConnectionAbortedError

    received: list[str] = []

    async def listen(scope: Any, receive: Any, send: Any) -> None:
        received.extend([(await receive())["type"] for _ in range(3)])

    async with ASGICall(listen, http_scope("GET", "/"), broken()) as call:
        await call.head()
    assert received == ["http.request", "http.disconnect", "http.disconnect"]
