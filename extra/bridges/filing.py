"""Requests read from a file or pipe, and responses written to another.

    await serve_file(application, sys.stdin.buffer, sys.stdout.buffer)
    await application.stop()

Requests are those of HTTP/1.1 as they come over a connection, one behind another, and are answered in
order. Files are read and written in threads, a piece at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, Final
from urllib.parse import unquote

from extra.bridges.asgi_call import ASGI, ASGICall, Field, http_scope
from extra.protocols.http1 import (
    BodyPart,
    HTTP1Parser,
    MalformedRequest,
    RequestEnd,
    RequestEvent,
    RequestHead,
    chunk,
    response_head,
)

__all__ = ["serve_file"]

PIECE_BYTES: Final = 65_536
LAST_CHUNK: Final = b"0\r\n\r\n"
BODILESS: Final = (204, 304)


async def serve_file(application: ASGI, requests: BinaryIO, responses: BinaryIO) -> int:
    """Answer all requests that `requests` holds, and return how many there were.

    What is no request is answered with its error, and is the last, as is one whose response breaks off. One
    that is not whole is answered as far as the application does without the rest. The files stay open.

    Raises:
        LocalProtocolError: the application has answered with a head that cannot be written.
    """
    reading = _Requests(requests)
    count = 0
    while True:
        try:
            head = await reading.next_head()
        except MalformedRequest as error:
            await _write(
                responses, response_head(error.status, [("Content-Length", "0"), ("Connection", "close")])
            )
            return count
        if head is None:
            return count
        count += 1
        try:
            goes_on = await _answer(application, head, reading, responses)
        except ConnectionAbortedError:
            return count
        if not (goes_on and head.keep_alive):
            return count


async def _answer(application: ASGI, head: RequestHead, reading: "_Requests", responses: BinaryIO) -> bool:
    """Answer one request, and return whether there is telling where the response ends."""
    target, _, query = head.target.partition(b"?")
    scope = http_scope(
        head.method,
        unquote(target.decode("latin-1")),
        query=query,
        headers=head.headers,
        raw_path=target,
        http_version=head.http_version,
    )
    body = reading.body() if head.has_body else _nothing()
    async with ASGICall(application, scope, body) as call:
        status, headers = await call.head()
        framed = status in BODILESS or _has_length(headers)
        chunked = not framed and head.http_version == "1.1"
        if chunked:
            headers = [*headers, (b"transfer-encoding", b"chunked")]
        lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        await _write(responses, response_head(status, lines))
        async for part in call.parts():
            if head.method != "HEAD":
                await _write(responses, chunk(part) if chunked else part)
        if chunked and head.method != "HEAD":
            await _write(responses, LAST_CHUNK)
    await reading.skip_body()
    return framed or chunked


class _Requests:
    """What a file holds, parsed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        # What is there, of a pipe: `read` of a file with a buffer waits until all that was asked for is.
        self._read: Callable[[int], bytes | None] = getattr(file, "read1", file.read)
        self._parser = HTTP1Parser()
        self._in_body = False

    async def next_head(self) -> RequestHead | None:
        """Return the next request, None at the end of the file. Raises MalformedRequest."""
        event = await self._next()
        while event is not None and not isinstance(event, RequestHead):
            event = await self._next()
        if event is not None:
            self._in_body = event.has_body
        return event

    async def body(self) -> AsyncIterator[bytes]:
        """Iterate over the body of the request. Raises ConnectionAbortedError when it is not whole."""
        while self._in_body:
            try:
                event = await self._next()
            except MalformedRequest as error:
                self._in_body = False
                raise ConnectionAbortedError("the body is malformed") from error
            if isinstance(event, BodyPart):
                yield event.data
            else:
                self._in_body = False
                if not isinstance(event, RequestEnd):
                    raise ConnectionAbortedError("the file has ended before the body")

    async def skip_body(self) -> None:
        """Leave what the application has not read."""
        try:
            async for _ in self.body():
                pass
        except ConnectionAbortedError:
            self._parser.close()

    async def _next(self) -> RequestEvent | None:
        while (event := self._parser.next_event()) is None:
            data = await asyncio.to_thread(self._read, PIECE_BYTES)
            if not data:
                return None
            self._parser.receive_data(data)
        return event


def _has_length(headers: list[Field]) -> bool:
    return any(name.lower() == b"content-length" for name, _ in headers)


async def _nothing() -> AsyncIterator[bytes]:
    """Give no body."""
    return
    yield b""


async def _write(file: BinaryIO, data: bytes) -> None:
    await asyncio.to_thread(_write_now, file, data)


def _write_now(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a file without a buffer may take less than all
        rest = rest[file.write(rest) :]
    file.flush()
