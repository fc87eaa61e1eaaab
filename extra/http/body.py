"""The body of a request on its way from the connection to the handler.

The connection feeds it as bytes arrive, and stops to read while too much lies here; the handler takes it in
parts or whole. When the handler has to wait, the source is told so, which is what lets a client that expects
`100 Continue` send at all.
"""

import asyncio
from abc import abstractmethod
from collections import deque
from typing import Final, Protocol, final

from mypy_extensions import mypyc_attr

from extra.errors import ExtraError, LocalProtocolError
from extra.http.errors import BodyTooLarge

__all__ = ["Body", "BodySource"]

LOOSE_PARTS: Final = 64
SMALL_PART_BYTES: Final = 4096
"""Behind so many parts, further ones are put together up to this size."""


@mypyc_attr(native_class=False)  # who implements it may be interpreted
class BodySource(Protocol):
    """Where a body comes from."""

    __slots__ = ()

    @abstractmethod
    def body_wanted(self) -> None:
        """The handler waits for more, and nothing lies ready."""


@final
@mypyc_attr(native_class=True)
class Body:
    """One body: fed by the connection (`feed`, `end`, `fail`), taken by the handler (`read`, `read_all`).

    One task at a time may take.
    """

    __slots__ = (
        "_error",
        "_limit_bytes",
        "_parts",
        "_source",
        "_waiter",
        "buffered_bytes",
        "ended",
        "held_bytes",
        "length",
        "received_bytes",
    )

    def __init__(
        self, source: BodySource, *, length: int | None = None, limit_bytes: int = 8 * 1024 * 1024
    ) -> None:
        """Expect `length` bytes, None if that is not known; `limit_bytes` is the usual one of `read_all`."""
        self._source: BodySource | None = source
        self._limit_bytes = limit_bytes
        self._parts: deque[bytes] = deque()
        self._error: ExtraError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.length = length
        self.received_bytes = 0
        self.buffered_bytes = 0  # received, and not taken yet
        self.held_bytes = 0  # received, and not given away in parts: also what `read_all` puts together
        self.ended = False  # all of it has been received

    @property
    def failed(self) -> bool:
        """Whether the rest will not come."""
        return self._error is not None

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for more."""
        return self._waiter is not None

    def feed(self, part: bytes) -> None:
        """Append `part`; many small ones are put together: an object each costs more than it holds."""
        parts = self._parts
        if len(parts) >= LOOSE_PARTS and len(parts[-1]) + len(part) <= SMALL_PART_BYTES:
            parts[-1] += part
        else:
            parts.append(part)
        self.received_bytes += len(part)
        self.buffered_bytes += len(part)
        self.held_bytes += len(part)
        self._wake()

    def end(self) -> None:
        """Say that there is no more."""
        self.ended = True
        self._source = None
        self._wake()

    def fail(self, error: ExtraError) -> None:
        """Say that the rest will not come. What has been fed can still be taken, then `error` is raised.

        The first failure counts.
        """
        self._error = self._error or error
        self._source = None
        self._wake()

    async def read(self) -> bytes:
        """Return what has come, waiting for it if need be; empty at the end. Cancel-safe.

        Raises:
            RemoteProtocolError, RequestTimeout: the body did not arrive whole.
            LocalProtocolError: another task waits already, or the request has been answered.
        """
        while not self._parts:
            if self.ended:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait()
        part = self._parts.popleft()
        self.buffered_bytes -= len(part)
        self.held_bytes -= len(part)
        return part

    async def read_all(self, limit_bytes: int | None = None, limit_name: str = "body_limit_bytes") -> bytes:
        """Return all that has not been taken yet, at most `limit_bytes`; None is the limit of the server.

        Raises:
            BodyTooLarge: it is larger, and `limit_name` is what the message calls the limit. If that is known
                before the body is sent, the client is not asked to send it.
            RemoteProtocolError, RequestTimeout: the body did not arrive whole.
        """
        limit = self._limit_bytes if limit_bytes is None else limit_bytes
        if (self.length or 0) > limit:
            raise BodyTooLarge(limit, limit_name)
        whole = bytearray()
        while part := await self.read():
            whole += part
            self.held_bytes += len(part)
            if len(whole) > limit:
                raise BodyTooLarge(limit, limit_name)
        return bytes(whole)

    def take_all(self, limit_bytes: int | None = None, limit_name: str = "body_limit_bytes") -> bytes:
        """Do what `read_all` does for a body that has `ended`: without a coroutine, as most have by then.

        Raises:
            BodyTooLarge: as `read_all` does.
        """
        assert self.ended
        limit = self._limit_bytes if limit_bytes is None else limit_bytes
        if self.received_bytes > limit:
            raise BodyTooLarge(limit, limit_name)
        whole = self._parts.popleft() if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self.buffered_bytes = 0
        return whole

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise LocalProtocolError("two tasks take one body")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            if self._source is not None:
                self._source.body_wanted()
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
