"""HTTP requests to a broker, over a connection that is kept: blocking, one at a time, in plain Python."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

from extra.client.address import Address
from extra.client.problems import error_from_answer
from extra.errors import BrokerClosed, ExtraError, LimitExceeded, RemoteProtocolError

__all__ = ["Answer", "Caller"]

ANSWER_LIMIT_BYTES = 256 * 1024 * 1024
"""The largest body that is taken: a page of 10,000 messages is usually a thousandth of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a broker answered. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str

    def error(self) -> ExtraError:
        """Return this answer as the error that it stands for."""
        return error_from_answer(self.status, self.headers.get("content-type", ""), self.body, self.url)


class Caller:
    """One kept connection to a broker. For one thread at a time.

    `timeout_s` bounds the connecting and then each wait for the network, not the whole call. `headers` go
    with every request. `ssl_context` is for https; None verifies the certificate as the system does.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._headers = dict(headers or {})
        if address.secure:
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                address.host, address.port, timeout=timeout_s, context=ssl_context
            )
        else:
            self._connection = http.client.HTTPConnection(address.host, address.port, timeout=timeout_s)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The next call opens it again."""
        self._connection.close()

    def call(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send one request and return the answer, whatever its status.

        A kept connection that the broker has closed meanwhile is noticed only now: then the request is sent
        once more, over a new one. It has to be one that may arrive twice.

        Raises:
            BrokerClosed: nobody answers there.
            TimeoutError: nothing came within `timeout_s` (of this call, or of the caller).
            RemoteProtocolError: the answer breaks HTTP.
            LimitExceeded: the answer is too large.
        """
        timeout_s = timeout_s if timeout_s is not None else self._timeout_s
        was_kept = self._set_timeout(timeout_s)
        try:
            try:
                return self._exchange(method, target, body, headers)
            except ConnectionError:
                self._connection.close()
                if not was_kept:
                    raise
                return self._exchange(method, target, body, headers)
        except BaseException as error:
            self._connection.close()  # an answer that is half read cannot be told from the next one
            if isinstance(error, TimeoutError):
                raise TimeoutError(f"no answer from {self._address.url} within {timeout_s} s") from error
            if isinstance(error, OSError):
                raise BrokerClosed(f"no broker at {self._address.url}: {error}") from error
            if isinstance(error, http.client.HTTPException):
                raise RemoteProtocolError(
                    f"{self._address.url} does not answer in HTTP/1.1: {error!r}"
                ) from error
            raise

    def _set_timeout(self, timeout_s: float) -> bool:
        """Set how long to wait; return whether a connection is open."""
        self._connection.timeout = timeout_s
        if self._connection.sock is None:
            return False
        self._connection.sock.settimeout(timeout_s)
        return True

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> Answer:
        self._connection.request(method, target, body, {**self._headers, **(headers or {})})
        with self._connection.getresponse() as response:
            payload = response.read(ANSWER_LIMIT_BYTES + 1)
            if len(payload) > ANSWER_LIMIT_BYTES:
                raise LimitExceeded(f"the answer from {self._address.url} is over {ANSWER_LIMIT_BYTES} bytes")
            if response.length:  # reading up to a limit does not tell of a body that was cut short
                raise http.client.IncompleteRead(payload, response.length)
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, payload, self._address.url)
