"""A connection whose response goes on until somebody ends it."""

import logging
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.http import StreamTaker
from extra.servers.context import ServerContext
from extra.servers.flow import Flow

__all__ = ["StreamConnection"]

logger: Final = logging.getLogger("extra.servers")

IGNORED_LIMIT_BYTES: Final = 65_536


@final
@mypyc_attr(native_class=True)
class StreamConnection(Flow):
    """A `Stream`: takes over from an `HTTPConnection` that has sent the head, and belongs to a taker.

    What the peer sends is dropped, and too much of it ends the connection. So does the peer's end of
    sending: an EventSource never half-closes, and waiting for a write to fail would keep those that have
    gone away.
    """

    __slots__ = ("_ignored_bytes", "_taker")

    def __init__(self, context: ServerContext, taker: StreamTaker) -> None:
        super().__init__(context)
        self._taker = taker
        self._ignored_bytes = 0

    def begin(self) -> None:
        """Open the taker."""
        self._context.counters.streams_now += 1
        try:
            self._taker.opened(self)
        except Exception:
            logger.exception("the taker of a stream has failed")
            self._fail()

    def data_received(self, data: bytes) -> None:
        self._context.counters.bytes_received += len(data)
        self._ignored_bytes += len(data)
        if self._ignored_bytes > IGNORED_LIMIT_BYTES:
            self._context.counters.protocol_errors += 1
            self.abort()

    def eof_received(self) -> bool | None:
        self.abort()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._context.counters.streams_now -= 1
        self._taker.closed()

    def resumed(self) -> None:
        try:
            self._taker.writable()
        except Exception:
            logger.exception("the taker of a stream has failed")
            self._fail()

    def close(self) -> None:
        self._transport.close()

    def retire(self) -> None:
        """Nothing: whoever writes the stream says goodbye first."""

    def _fail(self) -> None:
        """End: the taker has raised an exception."""
        self._context.counters.handler_failures += 1
        self.abort()
