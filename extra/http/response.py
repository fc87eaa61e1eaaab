"""What a handler answers with."""

from collections.abc import AsyncIterable, Sequence
from http import HTTPStatus
from typing import Self, TypeAlias, final

import msgspec
from mypy_extensions import mypyc_attr

from extra.http.cookies import SameSite, format_cookie
from extra.http.parts import BINARY, TEXT, Parts
from extra.http.stream import StreamTaker, WebSocketTaker
from extra.payloads import JSONValue

__all__ = [
    "Headers",
    "Response",
    "StreamingResponse",
    "WebSocketResponse",
    "encode_body",
    "json_response",
    "problem",
]

Headers: TypeAlias = Sequence[tuple[str, str]]
"""Names and values as sent. `Content-Length`, `Connection`, `Date` and `Server` are the connection's."""


@mypyc_attr(native_class=True, allow_interpreted_subclasses=True)
class Response:
    """A status, header fields and a body.

    The body is bytes, or comes in parts: then it is sent chunked, as fast as the client takes it, and
    closing early ends the iteration. `length` says how many bytes there will be in parts, if that is known:
    then they are sent as they are, and what is not as long is broken off. A handler makes a new response for
    each request; middleware may change it.
    """

    __slots__ = ("body", "content_type", "headers", "length", "status")

    def __init__(
        self,
        status: int = 200,
        body: bytes | AsyncIterable[bytes] = b"",
        *,
        content_type: str | None = None,
        headers: Headers = (),
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.length: int | None = None

    def header(self, name: str) -> str | None:
        """Return the first value of the header field `name`, None when it has not been set."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)

    def add_header(self, name: str, value: str) -> None:
        """Add a header field behind those that are there."""
        self.headers = [*self.headers, (name, value)]

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age_s: int | None = None,
        path: str = "/",
        domain: str = "",
        secure: bool = False,
        http_only: bool = True,
        same_site: SameSite = "lax",
    ) -> Self:
        """Set a cookie, and return this response. Raises ValueError as `format_cookie` does."""
        cookie = format_cookie(
            name,
            value,
            max_age_s=max_age_s,
            path=path,
            domain=domain,
            secure=secure,
            http_only=http_only,
            same_site=same_site,
        )
        self.add_header("Set-Cookie", cookie)
        return self

    def delete_cookie(self, name: str, *, path: str = "/", domain: str = "", secure: bool = False) -> Self:
        """Have the browser forget a cookie: name, path and domain have to be those it was set with."""
        return self.set_cookie(name, "", max_age_s=0, path=path, domain=domain, secure=secure)


@final
@mypyc_attr(native_class=True)
class StreamingResponse(Response):
    """A response whose body is written by `taker`, for as long as it likes.

    The end of the connection is the end of the body, without chunks, so that what is written can be the same
    bytes for everybody. See `extra.http.stream` for when the taker is called.
    """

    __slots__ = ("taker",)

    def __init__(
        self, taker: StreamTaker, status: int = 200, *, content_type: str | None = None, headers: Headers = ()
    ) -> None:
        super().__init__(status, content_type=content_type, headers=headers)
        self.taker = taker


@final
@mypyc_attr(native_class=True)
class WebSocketResponse(Response):
    """The consent to a WebSocket. The connection checks the handshake, and answers with an error otherwise.

    `subprotocols` are those spoken here, the best first; a client that asks for none of them gets none.
    `frame_limit_bytes` bounds a frame and a message, after inflating. `headers` go into the 101.
    """

    __slots__ = ("deflate", "frame_limit_bytes", "subprotocols", "taker")

    def __init__(
        self,
        taker: WebSocketTaker,
        *,
        subprotocols: Sequence[str] = (),
        frame_limit_bytes: int = 2 * 1024 * 1024,
        deflate: bool = False,
        headers: Headers = (),
    ) -> None:
        super().__init__(101, headers=headers)
        self.taker = taker
        self.subprotocols = subprotocols
        self.frame_limit_bytes = frame_limit_bytes
        self.deflate = deflate


def encode_body(body: object) -> tuple[bytes | AsyncIterable[bytes], str | None]:
    """Return what to send for `body`, and its usual content type, None while that is not known.

    Bytes and text stay what they are, an async iterable comes in parts (`Parts`), anything else is JSON.

    Raises:
        TypeError: it cannot be written as JSON.
    """
    if isinstance(body, str):
        return body.encode(), TEXT
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), BINARY
    if isinstance(body, Parts):
        return body, body.content_type
    if isinstance(body, AsyncIterable):
        return Parts(body), None
    return msgspec.json.encode(body), "application/json"


def json_response(value: JSONValue, status: int = 200, *, headers: Headers = ()) -> Response:
    """Return a response whose body is `value` as JSON."""
    return Response(status, msgspec.json.encode(value), content_type="application/json", headers=headers)


def problem(status: int, code: str, detail: str, *, headers: Headers = (), **members: JSONValue) -> Response:
    """Return a problem document (RFC 9457): `code` is stable and for programs, `detail` for people.

    `members` are further ones of the document.
    """
    document: dict[str, JSONValue] = {
        "type": f"urn:extra:error:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        **members,
    }
    return Response(
        status, msgspec.json.encode(document), content_type="application/problem+json", headers=headers
    )
