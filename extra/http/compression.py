"""Compressing responses on the fly: brotli, zstd or gzip, as the client takes them.

    app = server(Rooms, middleware=[Compression()])

gzip is always there; `extra-broker[compression]` brings the others. A body that comes in parts stays one that
does: each part is compressed, flushed and sent when it is there. What goes on for ever by other means, as
WebSockets and the streams of the broker do, is left alone.

A page that shows a secret beside what somebody else has sent should not be compressed: from its size the
secret can be guessed (the attack called BREACH). Leave the middleware away from such services.
"""

import asyncio
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from importlib.util import find_spec
from typing import Any, Final, Protocol, TypeAlias

from extra.http.encodings import encodings_taken
from extra.http.parts import Parts
from extra.http.request import Request
from extra.http.response import Response, StreamingResponse, WebSocketResponse
from extra.http.router import Handler

__all__ = ["Compression"]

MINIMUM_BYTES: Final = 1024
"""Below, a response fits into a packet or two as it is."""

AT_ONCE_BYTES: Final = 128 * 1024
"""Larger bodies are compressed in a thread: this much takes the event loop a millisecond or two."""

TYPES: Final = (
    "text/",
    "application/json",
    "application/problem+json",
    "application/x-ndjson",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "application/manifest+json",
    "image/svg+xml",
)
"""What gets smaller; pictures, films and archives are compressed already."""

UNTOUCHED: Final = (204, 206, 304)
"""Statuses whose body is none, or a range of what has another encoding."""


class Encoder(Protocol):
    """One stream of compressed bytes."""

    def part(self, data: bytes) -> bytes:
        """Return all that there is for what was given so far."""

    def end(self) -> bytes:
        """Return the rest."""


Make: TypeAlias = Callable[[], Encoder]


class Compression:
    """A middleware that compresses what gets smaller by it, for clients that take that."""

    def __init__(
        self,
        *,
        minimum_bytes: int = MINIMUM_BYTES,
        types: Sequence[str] = TYPES,
        encodings: Sequence[str] | None = None,
    ) -> None:
        """Compress bodies of `minimum_bytes` and more, whose type begins with one of `types`.

        `encodings` are those to use, the best first, of `br`, `zstd` and `gzip`; None is all that are there.

        Raises:
            ValueError: an encoding is not known.
            ModuleNotFoundError: it is not installed.
        """
        names = list(encodings) if encodings is not None else [each for each in ENCODERS if _is_there(each)]
        for name in names:
            if name not in ENCODERS:
                raise ValueError(f"unknown encoding {name!r}: there are {', '.join(ENCODERS)}")
            ENCODERS[name]()
        self._names = names
        self._minimum_bytes = minimum_bytes
        self._types = tuple(types)

    async def __call__(self, request: Request, following: Handler) -> Response:
        """Let `following` answer, and compress that."""
        response = await following(request)
        if not self._gets_smaller(response):
            return response
        if "accept-encoding" not in (response.header("vary") or "").lower():
            response.add_header("Vary", "Accept-Encoding")
        taken = encodings_taken(request.header("accept-encoding"), self._names)
        if not taken or request.method == "HEAD":
            return response
        encoder = ENCODERS[taken[0]]()
        if not isinstance(response.body, bytes):
            response.body = _CompressedParts(response.body, encoder)
        elif len(response.body) > AT_ONCE_BYTES:
            response.body = await asyncio.to_thread(_whole, response.body, encoder)
        else:
            response.body = _whole(response.body, encoder)
        response.length = None
        response.headers = [
            *[_weakened(name, value) for name, value in response.headers if name.lower() != "accept-ranges"],
            ("Content-Encoding", taken[0]),
        ]
        return response

    def _gets_smaller(self, response: Response) -> bool:
        if isinstance(response, StreamingResponse | WebSocketResponse) or response.status in UNTOUCHED:
            return False
        if "no-transform" in (response.header("cache-control") or "").lower():  # RFC 9111 5.2.2.6
            return False
        size = len(response.body) if isinstance(response.body, bytes) else response.length
        if size is not None and size < self._minimum_bytes:
            return False
        content_type = response.content_type or response.header("content-type") or ""
        return content_type.lower().startswith(self._types) and response.header("content-encoding") is None


class _CompressedParts(Parts):
    """Parts of another body, each compressed when it comes. Ending it ends the other, so that it is whole."""

    __slots__ = ("_inner",)

    def __init__(self, inner: AsyncIterable[bytes], encoder: Encoder) -> None:
        super().__init__(_compressed(inner, encoder))
        self._inner = inner

    def end(self) -> None:
        if isinstance(self._inner, Parts):
            self._inner.end()
        else:
            super().end()


async def _compressed(parts: AsyncIterable[bytes], encoder: Encoder) -> AsyncIterator[bytes]:
    try:
        async for part in parts:
            if part:
                yield encoder.part(part)
        yield encoder.end()
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()


def _whole(body: bytes, encoder: Encoder) -> bytes:
    return encoder.part(body) + encoder.end()


def _weakened(name: str, value: str) -> tuple[str, str]:
    """Return a header field of an encoded body: its ETag is of the same content, not the same bytes."""
    if name.lower() == "etag" and not value.startswith("W/"):
        return name, f"W/{value}"
    return name, value


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def part(self, data: bytes) -> bytes:
        return self._inner.compress(data) + self._inner.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._inner.flush()


class _Brotli:
    def __init__(self) -> None:
        import brotli  # an optional dependency

        self._inner: Any = brotli.Compressor(quality=4)

    def part(self, data: bytes) -> bytes:
        return bytes(self._inner.process(data) + self._inner.flush())

    def end(self) -> bytes:
        return bytes(self._inner.finish())


class _Zstd:
    def __init__(self) -> None:
        import zstandard  # an optional dependency

        self._inner: Any = zstandard.ZstdCompressor(level=3).compressobj()
        self._flush: int = zstandard.COMPRESSOBJ_FLUSH_BLOCK

    def part(self, data: bytes) -> bytes:
        return bytes(self._inner.compress(data) + self._inner.flush(self._flush))

    def end(self) -> bytes:
        return bytes(self._inner.flush())


ENCODERS: Final[dict[str, Make]] = {"br": _Brotli, "zstd": _Zstd, "gzip": _Gzip}
MODULES: Final = {"br": "brotli", "zstd": "zstandard"}


def _is_there(encoding: str) -> bool:
    return encoding not in MODULES or find_spec(MODULES[encoding]) is not None
