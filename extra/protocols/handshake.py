"""The opening handshake of a WebSocket connection (RFC 6455 4.2), seen from the server.

The headers are read by the package websockets. The HTTP layer has checked `Host`, and `Origin` is for the
endpoint.
"""

from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import (
    build_extension,
    parse_connection,
    parse_extension,
    parse_subprotocol,
    parse_upgrade,
)
from websockets.utils import accept_key

from extra.errors import RemoteProtocolError
from extra.protocols.websocket import DEFLATE_WINDOW_BITS

__all__ = ["Accepted", "HandshakeRefused", "accept_websocket"]

Headers = Sequence[tuple[bytes, bytes]]

_VERSION: Final = "13"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a handshake. `subprotocol` is None when none that is spoken here was asked for."""

    headers: list[tuple[bytes, bytes]]
    subprotocol: str | None
    deflate: bool
    status: int = 101


class HandshakeRefused(RemoteProtocolError):
    """A request that does not open a WebSocket. Answer it with `status` and, besides others, `headers`."""

    def __init__(self, message: str, status: int, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


def accept_websocket(
    request_headers: Headers,
    method: str,
    http_version: str,
    *,
    subprotocols: Sequence[str],
    deflate: bool = False,
) -> Accepted:
    """Return the answer that opens the connection, or raise what to answer instead.

    The subprotocol is the first of the client's that is among `subprotocols`. Deflate, where allowed, is
    agreed upon without context takeover in either direction, and only with a client that takes our window.

    Raises:
        HandshakeRefused: 405 for a method other than GET, 426 for a request that is no upgrade to WebSocket
        or for
            another version of it, 400 for whatever else breaks section 4.2.1.
    """
    if method != "GET":
        raise HandshakeRefused(f"WebSocket handshake with method {method[:20]!r}", 405, [(b"Allow", b"GET")])
    if http_version != "1.1":
        raise HandshakeRefused(f"WebSocket handshake in HTTP/{http_version}, not 1.1", 400)
    options = _parsed(request_headers, b"connection", parse_connection)
    upgrades = _parsed(request_headers, b"upgrade", parse_upgrade)
    if "upgrade" not in map(str.lower, options) or "websocket" not in map(str.lower, upgrades):
        to_websocket = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
        raise HandshakeRefused("not a request to upgrade to WebSocket", 426, to_websocket)
    version = _single(request_headers, b"sec-websocket-version")
    if version != _VERSION:  # RFC 6455 4.4
        supported = [(b"Sec-WebSocket-Version", _VERSION.encode())]
        raise HandshakeRefused(f"WebSocket version {version[:20]!r}, not {_VERSION}", 426, supported)
    key = _single(request_headers, b"sec-websocket-key")
    if not _is_key(key):
        raise HandshakeRefused("sec-websocket-key is not 16 bytes in base64", 400)

    headers = [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", accept_key(key).encode()),
    ]
    offers = _parsed(request_headers, b"sec-websocket-protocol", parse_subprotocol)
    subprotocol = next((offer for offer in offers if offer in subprotocols), None)
    if subprotocol is not None:
        headers.append((b"Sec-WebSocket-Protocol", subprotocol.encode()))
    extension = _agree_upon_deflate(request_headers) if deflate else None
    if extension is not None:
        headers.append((b"Sec-WebSocket-Extensions", extension.encode()))
    return Accepted(headers, subprotocol, deflate=extension is not None)


def _agree_upon_deflate(request_headers: Headers) -> str | None:
    """Return the answer to the first offer of deflate that suits (RFC 7692 5.1), None if there is none."""
    factory = ServerPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        server_max_window_bits=DEFLATE_WINDOW_BITS,
    )
    for name, parameters in _parsed(request_headers, b"sec-websocket-extensions", parse_extension):
        if name == factory.name:
            try:
                answer, extension = factory.process_request_params(parameters, [])
            except NegotiationError:
                continue
            if extension.local_max_window_bits == DEFLATE_WINDOW_BITS:
                return build_extension([(name, answer)])
    return None


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _single(headers: Headers, name: bytes) -> str:
    values = _values(headers, name)
    if len(values) != 1:
        what = "is missing" if not values else "is given more than once"
        raise HandshakeRefused(f"{name.decode()} {what}", 400)
    return values[0]


def _parsed(headers: Headers, name: bytes, parse: Callable[[str], Iterable[_T]]) -> list[_T]:
    try:
        return [item for value in _values(headers, name) for item in parse(value)]
    except InvalidHeader:
        raise HandshakeRefused(f"{name.decode()} cannot be parsed", 400) from None


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == 16
    except ValueError:
        return False
