"""One HTTP request to a broker from async code: over a connection of its own, which a cancellation closes.

Alternatives that lost: a thread with the blocking caller cannot be cancelled, and holds up the end of the
event loop until its answer comes; over the WebSocket there is no reading of pages.
"""

import asyncio
import ssl
from collections.abc import Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from extra.client.address import Address
from extra.client.caller import ANSWER_LIMIT_BYTES, Answer
from extra.errors import BrokerClosed, LimitExceeded, RemoteProtocolError

__all__ = ["exchange"]

READ_BYTES = 256 * 1024


async def exchange(
    address: Address,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    timeout_s: float,
    ssl_context: ssl.SSLContext | None = None,
    limit_bytes: int = ANSWER_LIMIT_BYTES,
) -> Answer:
    """Send one request and return its answer, whatever its status. A `body` is JSON.

    `timeout_s` bounds the connecting and then each wait for the network. `headers` have been checked to be
    such as HTTP can carry. Cancel-safe: the connection is cut then, and nothing is left behind.

    Raises:
        BrokerClosed: nobody answers there.
        TimeoutError: nothing came within `timeout_s`.
        RemoteProtocolError: the answer breaks HTTP.
        LimitExceeded: the answer is over `limit_bytes`.
    """
    fields = {"Host": address.authority, **headers, "Connection": "close"}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    request = _encode(method, target, fields) + body
    loop = asyncio.get_running_loop()
    response = _Response()
    received = 0
    try:
        async with asyncio.timeout(timeout_s) as patience:
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=(ssl_context or True) if address.secure else None
            )
            try:
                writer.write(request)
                while not response.is_complete:
                    patience.reschedule(loop.time() + timeout_s)
                    data = await reader.read(READ_BYTES)
                    received += len(data)
                    if received > limit_bytes:
                        raise LimitExceeded(f"the answer from {address.url} is over {limit_bytes} bytes")
                    response.receive_data(data)
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise TimeoutError(f"no answer from {address.url} within {timeout_s} s") from error
    except OSError as error:
        raise BrokerClosed(f"no broker at {address.url}: {error}") from error
    except HttpParserError as error:
        raise RemoteProtocolError(f"{address.url} does not answer in HTTP/1.1: {error}") from error
    return Answer(response.status, response.headers, b"".join(response.body), address.url)


def _encode(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode("latin-1")


class _Response:
    """Collects an answer: what httptools parses goes into the attributes. Header names are in lower case."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []
        self.is_complete = False
        self._ends_with_connection = False
        self._parser = HttpResponseParser(self)

    def receive_data(self, data: bytes) -> None:
        """Take what came from the network; nothing means that the connection is over.

        Raises:
            HttpParserError: it is no answer in HTTP/1.1, or ends in its middle.
            ConnectionResetError: the connection is over before the answer began.
        """
        if data:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade:
                raise HttpParserError("it changes to a protocol that nobody asked for") from None
        elif self._ends_with_connection:
            self.is_complete = True
        elif self.status:
            raise HttpParserError("the connection was closed within the answer")
        else:
            raise ConnectionResetError("the connection was closed without an answer")

    def on_message_begin(self) -> None:
        self.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        framing = {"content-length", "transfer-encoding"}
        self._ends_with_connection = self.status >= 200 and framing.isdisjoint(self.headers)  # RFC 9112 6.3

    def on_body(self, data: bytes) -> None:
        self.body.append(data)

    def on_message_complete(self) -> None:
        self.is_complete = self.status >= 200  # RFC 9110 15.2: an interim answer precedes the real one
