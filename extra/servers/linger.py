"""The end of a connection whose peer may still be sending."""

from math import inf
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.servers.context import ServerContext
from extra.servers.flow import Flow

__all__ = ["LingeringConnection"]

LINGER_LIMIT_BYTES: Final = 16 * 1024 * 1024


@final
@mypyc_attr(native_class=True)
class LingeringConnection(Flow):
    """Takes a transport over when all is written: ends our side, and waits for the peer to end its own.

    Closing while the peer sends would make its kernel drop what it has not read yet (RFC 9112 9.6), an
    error that says why, or a close frame. So what comes is read and dropped, for a while and up to a bound.
    """

    __slots__ = ("_deadline", "_dropped_bytes", "_timeout_s")

    def __init__(self, context: ServerContext, timeout_s: float) -> None:
        super().__init__(context)
        self._timeout_s = timeout_s
        self._deadline = inf
        self._dropped_bytes = 0

    def begin(self) -> None:
        """End our side."""
        self._deadline = self._context.clock() + self._timeout_s
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._context.counters.bytes_received += len(data)
        self._dropped_bytes += len(data)
        if self._dropped_bytes > LINGER_LIMIT_BYTES:
            self.abort()

    def check(self, now: float) -> None:
        super().check(now)
        if now < self._deadline:
            return
        if self.write_buffer_size():
            self._deadline = now + self._timeout_s  # the last is still on its way
        else:
            self.abort()

    def retire(self) -> None:
        """Nothing: this ends by itself."""
