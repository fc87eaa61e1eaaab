"""A transport without a socket: the test is its peer.

It keeps to what `tests/unit/servers/test_transport.py` holds the transports of asyncio and uvloop to as well.
"""

import asyncio
from collections.abc import Callable
from typing import cast

__all__ = ["FakeTransport"]


class FakeTransport(asyncio.Transport):
    """One end of a connection. `send`, `send_eof`, `reset`, `stall` and `take` are the peer's, at the other.

    What is sent arrives at once, or when the protocol reads again. What is written is taken at once, unless
    the peer stalls. That the connection is lost the protocol hears in a later turn of the event loop.
    """

    def __init__(self, protocol: asyncio.Protocol, *, peername: object = ("192.0.2.1", 4000)) -> None:
        super().__init__({"peername": peername})
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._high = 64 * 1024
        self._low = 16 * 1024
        self._unsent = bytearray()
        self._arriving: list[Callable[[asyncio.Protocol], None]] = []
        self._reading = True
        self._writing = True  # as far as the protocol has been told
        self._stalled = False
        self._eof_written = False
        self._closing = False
        self._ending = False
        self.received = b""
        self.received_eof = False
        self.lost = False  # the protocol has heard of it
        protocol.connection_made(self)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)  # of streams, as the first was

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._loop.call_soon(self._arrive)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 64 * 1024 if high is None else high
        self._low = self._high // 4 if low is None else low
        self._regulate()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not self._ending:
            self._unsent += data
            self._move()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._eof_written = True
        self._move()

    def close(self) -> None:
        self._closing = True
        self._move()

    def abort(self) -> None:
        self._closing = True
        self._unsent.clear()
        self._end(None)

    # The peer.

    def send(self, data: bytes) -> None:
        self._arriving.append(lambda protocol: protocol.data_received(data))
        self._arrive()

    def send_eof(self) -> None:
        def arrive(protocol: asyncio.Protocol) -> None:
            if not protocol.eof_received():
                self.close()

        self._arriving.append(arrive)
        self._arrive()

    def reset(self) -> None:
        """Go away without a word."""
        self._closing = True
        self._unsent.clear()
        self._end(ConnectionResetError("reset by the peer"))

    def stall(self) -> None:
        """Take nothing more."""
        self._stalled = True

    def take(self, size: int | None = None) -> None:
        """Take `size` bytes of what lies unsent; None is all of it, and all that comes."""
        if size is None:
            self._stalled = False
        else:
            self._receive(size)
        self._move()

    # The rest is private.

    def _arrive(self) -> None:
        while self._arriving and self.is_reading():
            self._arriving.pop(0)(self._protocol)

    def _receive(self, size: int) -> None:
        self.received += self._unsent[:size]
        del self._unsent[:size]

    def _move(self) -> None:
        """Let the peer have what it takes, and see what follows from that."""
        if not self._stalled:
            self._receive(len(self._unsent))
        self._regulate()
        if not self._unsent:
            self.received_eof = self.received_eof or self._eof_written or self._closing
            if self._closing:
                self._end(None)

    def _regulate(self) -> None:
        if self._writing and len(self._unsent) > self._high:
            self._writing = False
            self._protocol.pause_writing()
        elif not self._writing and len(self._unsent) <= self._low:
            self._writing = True
            self._protocol.resume_writing()

    def _end(self, error: Exception | None) -> None:
        if not self._ending:
            self._ending = True
            self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        self.lost = True
        self._protocol.connection_lost(error)
