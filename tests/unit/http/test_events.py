"""Server-sent events from an iterable."""

from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from extra.errors import LocalProtocolError
from extra.http import Request, ServerSentEvent


async def test_items_are_events_or_their_data() -> None:
    async def source() -> AsyncIterator[object]:
        yield "two\nlines"
        yield {"n": 1}
        yield b"bytes"
        yield ServerSentEvent("x", id="7", event="named", retry_ms=10)
        yield ServerSentEvent(id="8")

    response = Request("GET", b"/").sse(source())
    assert response.content_type == "text/event-stream"
    assert response.header("cache-control") == "no-store"
    assert not isinstance(response.body, bytes)
    assert b"".join([part async for part in response.body]) == (
        b":\n\n"
        b"data: two\ndata: lines\n\n"
        b'data: {"n":1}\n\n'
        b"data: bytes\n\n"
        b"retry: 10\nevent: named\nid: 7\ndata: x\n\n"
        b"id: 8\n\n"
    )


async def test_source_is_closed_with_the_response() -> None:
    seen: list[str] = []

    async def source() -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            seen.append("closed")

    body = Request("GET", b"/").sse(source()).body
    assert isinstance(body, AsyncGenerator)
    assert await anext(body) == b":\n\n"
    assert await anext(body) == b"data: a\n\n"
    await body.aclose()
    assert seen == ["closed"]


async def test_events_cannot_be_forged_by_a_name() -> None:
    async def source() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent("x", event="a\ndata: forged")

    body = Request("GET", b"/").sse(source()).body
    assert isinstance(body, AsyncGenerator)
    await anext(body)
    with pytest.raises(LocalProtocolError):
        await anext(body)
