"""Where a broker is: one URL, and what is made of it for HTTP and for WebSocket."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from extra.errors import InvalidCommand
from extra.topics import check_topic

__all__ = ["Address"]

_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's host and port, and the path before its own paths: `/realtime` if a proxy serves it there."""

    secure: bool
    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read `http://`, `https://`, `ws://` or `wss://`, a host, and optionally a port and a path.

        Raises:
            ValueError: it is something else. User and password do not belong here, but into a header.
        """
        parts = urlsplit(url)
        secure = _SECURE.get(parts.scheme)
        if secure is None or not parts.hostname:
            raise ValueError(f"url {url!r} is not http(s):// or ws(s):// and a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url holds a user or password: pass an Authorization header instead")
        if parts.query or parts.fragment:
            raise ValueError(f"url {url!r} has a query or fragment")
        port = parts.port if parts.port is not None else (443 if secure else 80)
        return cls(secure, parts.hostname, port, parts.path.rstrip("/"))

    @property
    def url(self) -> str:
        """The address as an HTTP URL, without a slash at the end."""
        return f"http{'s' if self.secure else ''}://{self.authority}{self.prefix}"

    @property
    def websocket_url(self) -> str:
        """The URL of WebSocket sessions."""
        return f"ws{'s' if self.secure else ''}://{self.authority}{self.prefix}/ws"

    @property
    def authority(self) -> str:
        """The host as it goes into a URL and `Host`, with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def topic_target(self, topic: str, query: Sequence[tuple[str, str]] = ()) -> str:
        """Return the path of a topic, and a query, as they go into an HTTP request line.

        Raises:
            InvalidTopic: nothing can be published to `topic`.
        """
        check_topic(topic)
        return self.target(f"/t/{quote(topic)}", query)

    def target(self, path: str, query: Sequence[tuple[str, str]]) -> str:
        """Return a path of the broker, and a query, as they go into an HTTP request line.

        Raises:
            InvalidCommand: a lone surrogate cannot be written there.
        """
        try:
            encoded = urlencode(query, quote_via=quote)
        except UnicodeEncodeError as error:
            raise InvalidCommand(f"parameter cannot be written as UTF-8: {error.reason}") from None
        return f"{self.prefix}{path}?{encoded}" if encoded else f"{self.prefix}{path}"
