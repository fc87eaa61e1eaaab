"""Flow control between a transport and what reads and writes it, the same for connections of every kind.

Writing: the transport says when more lies unsent than `write_high_water_bytes`, and when it has caught up.
Between the two `writable` is False: takers keep what they have to themselves, coroutines wait in `drain`,
and no further request of the connection is begun. Reading: a connection that has enough to do stops the
transport, and the kernel's buffers, in the end the peer, hold the rest.

A peer that takes nothing for `write_timeout_s`, while something lies there for it, is aborted. What it has
taken is what was written less what lies unsent. What all connections have received and still keep is bounded
by `receive_limit_bytes`: each says how much that is whenever it has changed, and whoever adds to it when it
is too much ends. Counting costs a write 30 ns; looking at the size of the
buffer alone, once a second, cannot tell a peer that is stuck from one that takes as much as it is given.
"""

import asyncio
from asyncio import Future, Transport
from typing import Final, cast

from mypy_extensions import mypyc_attr

from extra.servers.context import Connection, ServerContext

__all__ = ["Flow"]


@mypyc_attr(native_class=True)
class Flow(Connection):
    """One transport under a connection: the protocol of it, in asyncio's sense, and a `Wire`.

    Subclasses receive, and say what `begin` and `resumed` do.
    """

    __slots__ = (
        "_context",
        "_drained",
        "_kept_bytes",
        "_reading",
        "_sent",
        "_stall_deadline",
        "_transport",
        "_unsent_bytes",
        "_written",
        "writable",
    )

    def __init__(self, context: ServerContext) -> None:
        # What each write touches comes first: a cache line.
        self._transport: Transport = GONE
        self._written = 0  # bytes given to the transport
        self.writable = True
        # The rest.
        self._context = context
        self._reading = True
        self._kept_bytes = 0  # received and not got rid of, as far as `_keep` has been told
        self._unsent_bytes = 0  # as `check` last saw them
        self._sent = 0  # bytes that it had got rid of when `check` last looked
        self._stall_deadline = 0.0
        self._drained: Future[None] | None = None

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(Transport, transport)  # what a server of streams gives its protocols
        stream.set_write_buffer_limits(high=self._context.limits.write_high_water_bytes)
        self._attach(stream, writable=True)

    def data_received(self, data: bytes) -> None:
        """Take what the peer has sent."""

    def eof_received(self) -> bool | None:
        """Take note that the peer sends no more. The transport closes itself unless this returns True."""
        return None

    def pause_writing(self) -> None:
        self.writable = False
        context = self._context
        context.counters.limits_met[context.limits.named("write_high_water_bytes")] += 1

    def resume_writing(self) -> None:
        self.writable = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self.resumed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the transport. What is written from here on leads nowhere."""
        self._context.counters.bytes_sent += self._written - self._sent
        self._context.counters.unsent_bytes_now -= self._unsent_bytes
        self._unsent_bytes = 0
        self._keep(0)
        self._context.connections.discard(self)
        self._context.changed.set()
        self._transport = GONE
        self.writable = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # Takers and responses call these.

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    def write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()

    async def drain(self) -> None:
        """Wait until the transport has caught up, or is gone. For one task at a time; cancel-safe."""
        while not self.writable:
            self._drained = self._context.loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None

    # Subclasses and the server call these.

    def begin(self) -> None:
        """Start, now that the transport has been taken over from another connection."""

    def resumed(self) -> None:
        """Do what had to wait for the transport to catch up."""

    def check(self, now: float) -> None:
        size = self._transport.get_write_buffer_size()
        sent = self._written - size
        if size != self._unsent_bytes:
            self._context.counters.unsent_bytes_now += size - self._unsent_bytes
            self._unsent_bytes = size
        if size == 0 or sent != self._sent:
            self._context.counters.bytes_sent += sent - self._sent
            self._sent = sent
            self._stall_deadline = now + self._context.limits.write_timeout_s
        elif now >= self._stall_deadline:
            self._context.counters.timeouts[self._context.limits.named("write_timeout_s")] += 1
            self.abort()

    def _keep(self, size: int) -> bool:
        """Take note that `size` received bytes are kept here. False: that is more, and too much."""
        more = size - self._kept_bytes
        if more == 0:
            return True
        self._kept_bytes = size
        context = self._context
        context.counters.buffered_bytes_now += more
        return more < 0 or context.counters.buffered_bytes_now <= context.limits.receive_limit_bytes

    def _attach(self, transport: Transport, *, writable: bool) -> None:
        """Take `transport`, which is `writable` or not just now."""
        self._transport = transport
        self.writable = writable
        self._stall_deadline = self._context.clock() + self._context.limits.write_timeout_s
        self._context.connections.add(self)

    def _hand_over(self, successor: "Flow") -> None:
        """Give the transport to `successor`, which receives from now on. What we write leads nowhere."""
        transport = self._transport
        writable = self.writable
        Flow.resume_reading(self)
        Flow.connection_lost(self, None)
        transport.set_protocol(cast(asyncio.BaseProtocol, successor))  # compiled classes have one base
        successor._attach(transport, writable=writable)
        successor.begin()


class GoneTransport(Transport):
    """Where the transport of a connection has been: takes everything, and does nothing."""

    __slots__ = ()

    def is_closing(self) -> bool:
        return True

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


GONE: Final = GoneTransport()
