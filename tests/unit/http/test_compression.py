"""Compressing on the fly, read by other implementations than those that wrote."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from typing import Any

import brotli
import pytest
import zstandard

from extra.http import Compression, Parts, Request, Response, Stream, StreamingResponse, StreamTaker
from extra.services import Service, Services, on
from extra.testing import TestClient

TEXT = b"a line of text\n" * 500


def unpacked(encoding: str, data: bytes) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(data)
    if encoding == "br":
        return bytes(brotli.decompress(data))
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


async def ask(
    response: Response, encodings: str | None = "gzip", method: str = "GET", **options: Any
) -> Response:
    async def answer(request: Request) -> Response:
        return response

    fields = [] if encodings is None else [(b"accept-encoding", encodings.encode())]
    return await Compression(**options)(Request(method, b"/", fields), answer)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip"])
@pytest.mark.parametrize("size", [1, 100], ids=["at once", "in a thread"])
async def test_bodies_are_compressed(encoding: str, size: int) -> None:
    response = await ask(Response(200, TEXT * size, content_type="text/plain"), encoding)
    assert response.header("content-encoding") == encoding
    assert response.header("vary") == "Accept-Encoding"
    assert isinstance(response.body, bytes)
    assert len(response.body) < len(TEXT * size) / 10
    assert unpacked(encoding, response.body) == TEXT * size


@pytest.mark.parametrize(
    ("response", "vary"),
    [
        (Response(200, TEXT[:1000], content_type="text/plain"), False),
        (Response(200, TEXT, content_type="image/png"), False),
        (Response(200, TEXT), False),
        (Response(200, TEXT, content_type="text/plain", headers=[("Content-Encoding", "br")]), False),
        (Response(200, TEXT, content_type="text/css", headers=[("Cache-Control", "no-transform")]), False),
        (Response(206, TEXT, content_type="text/plain"), False),
        (Response(204, TEXT, content_type="text/plain"), False),
    ],
)
async def test_what_does_not_get_smaller_stays_as_it_is(response: Response, vary: bool) -> None:
    body = response.body
    assert (await ask(response)).body == body
    assert (response.header("vary") is not None) is vary


@pytest.mark.parametrize("encodings", [None, "identity", "gzip;q=0", "x"])
async def test_client_that_takes_none_gets_none(encodings: str | None) -> None:
    response = await ask(Response(200, TEXT, content_type="text/plain"), encodings)
    assert (response.body, response.header("vary")) == (TEXT, "Accept-Encoding")


async def test_head_and_other_streams_are_left_alone() -> None:
    class Taker(StreamTaker):
        def opened(self, stream: Stream) -> None: ...
        def writable(self) -> None: ...
        def closed(self) -> None: ...

    streaming = StreamingResponse(Taker(), content_type="text/event-stream")
    assert (await ask(streaming)).header("content-encoding") is None
    head = await ask(Response(200, TEXT, content_type="text/plain"), method="HEAD")
    assert head.body == TEXT


async def test_ranges_and_tags_are_of_the_same_content_not_the_same_bytes() -> None:
    headers = [("ETag", '"1"'), ("Accept-Ranges", "bytes")]
    response = await ask(Response(200, TEXT, content_type="text/css", headers=headers))
    assert (response.header("etag"), response.header("accept-ranges")) == ('W/"1"', None)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip"])
async def test_parts_are_not_held_back(encoding: str) -> None:
    waiting = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield b"first"
        await waiting.wait()
        yield b"second"

    response = await ask(Response(200, Parts(source()), content_type="text/plain"), encoding)
    body = response.body
    assert isinstance(body, Parts)
    readers: dict[str, Any] = {
        "gzip": lambda: zlib.decompressobj(31).decompress,
        "br": lambda: brotli.Decompressor().process,
        "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
    }
    read = readers[encoding]()
    assert read(await anext(body)) == b"first"
    waiting.set()
    assert b"".join([read(part) async for part in body]) == b"second"


class Endless(Service):
    def __init__(self) -> None:
        self.events: list[str] = []

    @on(GET="/endless")
    async def endless(self) -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            self.events.append("closed")


async def test_stream_that_is_ended_is_whole() -> None:
    service = Endless()
    services = Services(service, middleware=[Compression(encodings=["gzip"])])
    headers = {"accept-encoding": "gzip"}
    async with TestClient(services) as client, client.stream("GET", "/endless", headers=headers) as answer:
        parts = answer.parts()
        whole = await anext(parts)
        waiting = asyncio.ensure_future(anext(parts))
        await asyncio.sleep(0)
        services.drain()
        whole += await waiting
        assert gzip.decompress(whole + b"".join([part async for part in parts])) == b"first"
    assert service.events == ["closed"]


async def test_client_that_leaves_closes_the_source() -> None:
    service = Endless()
    async with TestClient(Services(service, middleware=[Compression()])) as client:
        async with client.stream("GET", "/endless", headers={"accept-encoding": "gzip"}) as answer:
            parts = answer.parts()
            await anext(parts)
            await parts.aclose()
        assert service.events == ["closed"]


def test_unknown_encodings_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown encoding 'x'"):
        Compression(encodings=["x"])
