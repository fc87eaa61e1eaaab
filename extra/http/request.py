"""A request as a handler sees it."""

import re
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import unquote_to_bytes

from extra.errors import LocalProtocolError
from extra.http.body import Body
from extra.http.errors import BodyTooLarge
from extra.protocols.http1 import MalformedRequest

__all__ = ["Request", "decode_percent"]

BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Request:
    """One request: its head at once, its body when asked for.

    Nothing is decoded before it is asked for. Where decoding fails, MalformedRequest is raised, which is
    answered with 400.
    """

    __slots__ = (
        "_body",
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
        path, _, self._raw_query = target.decode("ascii").partition("?")
        if not path.startswith("/") and "://" in path:  # RFC 9112 3.2.2: the absolute form
            path = "/" + path.partition("://")[2].partition("/")[2]
        self.raw_path: str = path  # still percent-encoded; "*" for OPTIONS of the server as a whole
        self._query: list[tuple[str, str]] | None = None
        self._body = body
        self._taken = False

    @property
    def path(self) -> str:
        """The path, decoded. `%2F` and `/` cannot be told apart here: routes look at `raw_path`."""
        return decode_percent(self.raw_path)

    @property
    def host(self) -> str:
        """The host that is asked, with its port if given: what the target names, or else `Host`."""
        target = self.target.decode("ascii")
        if not target.startswith("/") and "://" in target:
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
        wanted = name.lower().encode("ascii")
        values = [value for key, value in self.headers if key == wanted]
        if not values:
            return None
        return b", ".join(values).decode("latin-1")

    async def body(self, limit_bytes: int | None = None, limit_name: str = "body_limit_bytes") -> bytes:
        """Return the whole body, empty when there is none. Asking again returns it again.

        Raises:
            BodyTooLarge: it has more than `limit_bytes`, which is the server's limit unless given, together
                with the name that the message gives it.
            RemoteProtocolError, RequestTimeout: the body did not arrive whole.
        """
        if isinstance(self._body, Body):
            self._take()
            self._body = await self._body.read_all(limit_bytes, limit_name)
        elif limit_bytes is not None and len(self._body) > limit_bytes:
            raise BodyTooLarge(limit_bytes, limit_name)
        return self._body

    async def stream(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it arrives, in parts of any size. Once only, and without a limit.

        Raises:
            RemoteProtocolError, RequestTimeout: the body did not arrive whole.
        """
        self._take()
        if isinstance(self._body, Body):
            while part := await self._body.read():
                yield part
        elif self._body:
            yield self._body

    def _take(self) -> None:
        if self._taken:
            raise LocalProtocolError("the body has been taken")
        self._taken = True


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
