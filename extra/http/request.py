"""A request as a handler sees it, and the shortest ways to answer it."""

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, final, overload
from urllib.parse import unquote_to_bytes

import msgspec
from mypy_extensions import mypyc_attr

from extra.errors import InvalidPayload, LocalProtocolError
from extra.http.body import Body
from extra.http.cookies import parse_cookies
from extra.http.errors import BodyTooLarge, UnsupportedMediaType, escape_location
from extra.http.forms import Form, FormLimits, read_form
from extra.http.response import Headers, Response, encode_body, problem
from extra.payloads import JSONValue
from extra.protocols.http1 import MalformedRequest

__all__ = ["Request", "decode_percent"]

BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
CHARSET: Final = re.compile(r";\s*charset=\"?([A-Za-z0-9._-]{1,40})", re.IGNORECASE)


@final
@mypyc_attr(native_class=True)
class Request:
    """One request: its head at once, its body when asked for.

    Nothing is decoded before it is asked for. Where decoding fails, MalformedRequest or another error is
    raised that is answered with 400.
    """

    __slots__ = (
        "_body",
        "_fields",
        "_more",
        "_query",
        "_raw_query",
        "_taken",
        "client",
        "headers",
        "http_version",
        "method",
        "params",
        "raw_path",
        "target",
        "values",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: list[tuple[bytes, bytes]] | None = None,
        http_version: str = "1.1",
        client: str = "",
        body: Body | bytes = b"",
    ) -> None:
        """Make a request from its head.

        `target` is as in the request line, of ASCII; `headers` have names in lower case. `client` is the
        address of the peer, with its port, and empty for a Unix socket. `body` may be there already.
        """
        self.method = method
        self.target = target
        self.headers = headers if headers is not None else []
        self.http_version = http_version
        self.client = client
        self.params: dict[str, str] = {}  # what the route has found in the path
        self.values: Mapping[str, object] = self.params  # the same, converted to what the pattern says
        path = target.decode("ascii")
        self._raw_query = ""
        if "?" in path:
            path, _, self._raw_query = path.partition("?")
        if not path.startswith("/") and "://" in path:  # RFC 9112 3.2.2: the absolute form
            path = "/" + path.partition("://")[2].partition("/")[2]
        self.raw_path: str = path  # still percent-encoded; "*" for OPTIONS of the server as a whole
        self._query: list[tuple[str, str]] | None = None
        self._fields: dict[str, bytes] | None = None
        self._body = body
        self._taken = False
        self._more: _More | None = None

    # The head

    @property
    def path(self) -> str:
        """The path, decoded. `%2F` and `/` cannot be told apart here: routes look at `raw_path`."""
        return decode_percent(self.raw_path)

    @property
    def host(self) -> str:
        """The host that is asked, with its port if given: what the target names, or else `Host`."""
        if not self.target.startswith(b"/") and b"://" in self.target:
            target = self.target.decode("ascii")
            return re.split("[/?]", target.partition("://")[2], maxsplit=1)[0]
        return self.header("host") or ""

    @property
    def query(self) -> list[tuple[str, str]]:
        """The parameters in their order, decoded; a `+` is a `+`. Without `=` the value is empty."""
        if self._query is None:
            self._query = []
            for field in self._raw_query.split("&"):
                if field:
                    name, _, value = field.partition("=")
                    self._query.append((decode_percent(name), decode_percent(value)))
        return self._query

    def query_value(self, name: str) -> str | None:
        """Return the first value of the parameter `name`, None when it is not given."""
        if self._raw_query:
            for key, value in self.query:
                if key == name:
                    return value
        return None

    def query_values(self, name: str) -> list[str]:
        """Return every value of the parameter `name`."""
        return [value for key, value in self.query if key == name]

    def header(self, name: str) -> str | None:
        """Return the value of the header field `name`, None when it is not given.

        Several fields of one name are one list of values, separated by commas (RFC 9110 5.3).
        """
        fields = self._fields
        if fields is None:
            fields = self._fields = _index(self.headers)
        value = fields.get(name.lower())
        return None if value is None else value.decode("latin-1")

    @property
    def media_type(self) -> str:
        """What the body is said to be, in lower case and without parameters; empty when nothing is said."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name. What is no cookie is left out."""
        more = self._have_more()
        if more.cookies is None:
            field = b"; ".join([value for key, value in self.headers if key == b"cookie"])
            more.cookies = parse_cookies(field.decode("latin-1"))
        return more.cookies

    @property
    def state(self) -> dict[str, object]:
        """What middleware has to say to handlers."""
        return self._have_more().state

    @property
    def scheme(self) -> str:
        """`http` or `https`, as far as the server knows."""
        return self._more.scheme if self._more is not None else "http"

    @scheme.setter
    def scheme(self, scheme: str) -> None:
        self._have_more().scheme = scheme

    @property
    def root_path(self) -> str:
        """The path below which the application is mounted in another one, without a slash at its end."""
        return self._more.root_path if self._more is not None else ""

    @root_path.setter
    def root_path(self, path: str) -> None:
        self._have_more().root_path = path

    # The body

    async def body(self, limit_bytes: int | None = None, limit_name: str = "body_limit_bytes") -> bytes:
        """Return the whole body, empty when there is none. Asking again returns it again.

        Raises:
            BodyTooLarge: it has more than `limit_bytes`, which is the server's limit unless given, together
                with the name that the message gives it.
            RemoteProtocolError, RequestTimeout: the body did not arrive whole.
        """
        body = self._body
        if isinstance(body, Body) and not body.ended:
            self._take()
            self._body = await body.read_all(limit_bytes, limit_name)
            return self._body
        return self.arrived_body(limit_bytes, limit_name)

    def arrived_body(self, limit_bytes: int | None = None, limit_name: str = "body_limit_bytes") -> bytes:
        """Return what `body` does, without waiting: for a body that has arrived. Raises as `body` does."""
        body = self._body
        if isinstance(body, Body):
            self._take()
            self._body = body.take_all(limit_bytes, limit_name)
            return self._body
        if limit_bytes is not None and len(body) > limit_bytes:
            raise BodyTooLarge(limit_bytes, limit_name)
        return body

    def stream(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives, in parts of any size. Once only, and without a limit.

        Raises, when the iteration begins or goes on:
            RemoteProtocolError, RequestTimeout: the body did not arrive whole.
        """
        return _BodyParts(self)

    @property
    def body_arrived(self) -> bool:
        """Whether all of the body has been received, or there is none."""
        return not isinstance(self._body, Body) or self._body.ended

    async def text(self) -> str:
        """Return the body as text, of UTF-8 unless `Content-Type` says otherwise.

        Raises:
            InvalidPayload: it is none. UnsupportedMediaType: the charset is unknown. And as `body` does.
        """
        charset = CHARSET.search(self.header("content-type") or "")
        name = charset[1] if charset is not None else "utf-8"
        body = await self.body()
        try:
            return body.decode(name)
        except UnicodeDecodeError:
            raise InvalidPayload(f"body is not {name}") from None
        except LookupError:
            raise UnsupportedMediaType(f"unknown charset {name!r}") from None

    @overload
    def json(self) -> Coroutine[Any, Any, Any]: ...
    @overload
    def json(self, value: object, status: int = 200, *, headers: Headers = ()) -> Response: ...
    def json(
        self, value: object = msgspec.UNSET, status: int = 200, *, headers: Headers = ()
    ) -> Coroutine[Any, Any, Any] | Response:
        """Without a value: return the body, decoded (await it). With one: answer with it, as JSON.

        Raises:
            InvalidPayload: the body is no JSON; and as `body` does.
            TypeError: the value cannot be written as JSON.
        """
        if value is msgspec.UNSET:
            return self._read_json()
        return Response(status, msgspec.json.encode(value), content_type="application/json", headers=headers)

    async def form(self, limits: FormLimits | None = None) -> Form:
        """Return the fields and files of a form, urlencoded or multipart. Asking again returns it again.

        Large files are on disk meanwhile; they are gone after the response.

        Raises:
            UnsupportedMediaType: the body is no form. BadRequest: it is a broken one.
            LimitExceeded: something in it is more than `limits` allow.
        """
        more = self._have_more()
        if more.form is None:
            more.form = await read_form(
                self.header("content-type") or "", self.stream(), limits or FormLimits()
            )
        return more.form

    # Answering

    def respond(
        self,
        body: object = b"",
        content_type: str | bytes | None = None,
        status: int = 200,
        headers: Headers = (),
    ) -> Response:
        """Answer: bytes and text as they are, an async iterable of them in parts, anything else as JSON.

        Raises:
            TypeError: the body cannot be written as JSON.
        """
        if isinstance(content_type, bytes):
            content_type = content_type.decode("latin-1")
        if type(body) is bytes:  # most of all: text that was encoded once
            return Response(status, body, content_type=content_type, headers=headers)
        content, usual_type = encode_body(body)
        return Response(status, content, content_type=content_type or usual_type, headers=headers)

    def html(self, text: str, status: int = 200, *, headers: Headers = ()) -> Response:
        """Answer with a page."""
        return Response(status, text.encode(), content_type="text/html; charset=utf-8", headers=headers)

    async def file(
        self,
        path: str | Path,
        *,
        content_type: str | None = None,
        download_name: str | None = None,
        cache_control: str | None = None,
        compressed: bool = False,
    ) -> Response:
        """Answer with a file: its ranges, and whether the client has it already, are looked after.

        See `extra.http.file_response`. The path is taken as it is: check what comes from a client. For
        whole folders there is `extra.services.Files`.

        Raises:
            NotFound: there is no such file.
        """
        from extra.http.files import file_response  # which needs this module

        return await file_response(
            self,
            path,
            content_type=content_type,
            download_name=download_name,
            cache_control=cache_control,
            compressed=compressed,
        )

    def sse(self, source: AsyncIterable[object]) -> Response:
        """Answer with server-sent events: `ServerSentEvent`s, or the data of some. The head goes at once."""
        from extra.http.events import event_response  # which most never need

        return event_response(source)

    def redirect(self, location: str, status: int = 302, *, headers: Headers = ()) -> Response:
        """Answer with another place: 302 or 303 to look there, 307 to ask there, 301 and 308 for good.

        What cannot stand in a URL is escaped.
        """
        return Response(status, headers=(("Location", escape_location(location)), *headers))

    def fail(self, status: int = 400, message: str = "", *, headers: Headers = ()) -> Response:
        """Answer with a problem document (RFC 9457)."""
        phrase = HTTPStatus(status).phrase
        code = re.sub(r"[^a-z]+", "_", phrase.lower())
        return problem(status, code, message or phrase.lower(), headers=headers)

    def after(self, call: Callable[..., object], *arguments: object) -> None:
        """Call `call` when the response has been sent, or could not be: a plain function in a thread.

        Calls are made in their order. One that raises is logged, and keeps no other from being made.
        """
        self._have_more().afterwards.append((call, arguments))

    @property
    def unfinished(self) -> bool:
        """Whether there is something to be done for it after the response."""
        more = self._more
        return more is not None and (more.form is not None or bool(more.afterwards))

    def finish(self) -> Sequence[tuple[Callable[..., object], tuple[object, ...]]]:
        """Let go of the files that a form has brought, and return the calls that `after` has been asked for.

        Whoever serves the request makes them, once.
        """
        more = self._more
        if more is None:
            return ()
        if more.form is not None:
            more.form.close()
        calls, more.afterwards = more.afterwards, []
        return calls

    async def _read_json(self) -> JSONValue:
        body = await self.body()
        try:
            value: JSONValue = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidPayload(f"body is not JSON: {error}") from None
        return value

    def _have_more(self) -> "_More":
        if self._more is None:
            self._more = _More()
        return self._more

    def _take(self) -> None:
        if self._taken:
            raise LocalProtocolError("the body has been taken")
        self._taken = True


def _index(headers: list[tuple[bytes, bytes]]) -> dict[str, bytes]:
    """Return header fields by name; several of one name as one list of values."""
    fields: dict[str, bytes] = {}
    for raw_name, value in headers:
        name = raw_name.decode("latin-1")
        first = fields.get(name)
        fields[name] = value if first is None else first + b", " + value
    return fields


class _BodyParts:
    """The iteration over a body, of an async generator's kind: those are not compiled."""

    __slots__ = ("_begun", "_request")

    def __init__(self, request: Request) -> None:
        self._request = request
        self._begun = False

    def __aiter__(self) -> "_BodyParts":
        return self

    async def __anext__(self) -> bytes:
        body = self._request._body
        part = b""
        if not self._begun:
            self._request._take()
            self._begun = True
            part = body if isinstance(body, bytes) else b""
        if isinstance(body, Body):
            part = await body.read()
        if not part:
            raise StopAsyncIteration
        return part


class _More:
    """What only some requests have."""

    __slots__ = ("afterwards", "cookies", "form", "root_path", "scheme", "state")

    def __init__(self) -> None:
        self.cookies: dict[str, str] | None = None
        self.state: dict[str, object] = {}
        self.scheme = "http"
        self.root_path = ""
        self.form: Form | None = None
        self.afterwards: list[tuple[Callable[..., object], tuple[object, ...]]] = []


def decode_percent(text: str) -> str:
    """Return `text` with its percent escapes decoded to UTF-8. A `+` stays a `+`.

    Raises:
        MalformedRequest: an escape without two hexadecimal digits, or octets that are not UTF-8.
    """
    if "%" not in text:
        return text
    if BAD_ESCAPE.search(text) is not None:
        raise MalformedRequest("malformed percent escape in the target")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("percent escapes in the target that are not UTF-8") from None
