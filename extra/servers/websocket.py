"""One WebSocket, after its handshake.

An idle WebSocket is one `WebSocketConnection`, its codec, its transport, and what its taker keeps. It is
over, and its taker told so, as soon as a close frame has been sent, whoever began: from then on what the
taker writes leads nowhere. What is left to do others do: a `ClosingWebSocket` waits for the peer's close
frame if that is still to come, and a `LingeringConnection` for the peer to end its side.

A peer that has been silent for ping_interval_s is pinged; one that then stays silent for ping_timeout_s is
closed with 4408. Anything that it sends is a sign of life.

Reading stops while the taker wants it to, and while the peer does not take what is written: one that pings,
or asks for answers, without ever reading would fill the memory with them. Its signs of life cannot be read
then: it is pinged without being held to an answer, as what is written to a peer that has gone comes back, and
write_timeout_s is what finds out whether it takes anything. Reading goes on when what has been received
before has been handed over: a taker that often wants a pause would else have more and more waiting.

What has been received is handed over in turns of the event loop, so much in each, and nothing more is read
before all of it has been: frames that inflate to a thousand times what they are would else hold up everybody
(120 of them, of 2 KB each, for 0.9 to 3 s).

A message that has begun has body_timeout_s to arrive, as the body of a request has; then the connection is
closed with 4408. One that would make what all connections keep more than receive_limit_bytes is closed with
1013.
"""

import logging
from math import inf
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.http import WebSocketTaker
from extra.protocols.websocket import (
    BINARY,
    TEXT,
    TOO_BIG,
    BytesReceived,
    CloseReceived,
    TextReceived,
    WebSocketCodec,
    server_frame,
)
from extra.servers.context import ServerContext
from extra.servers.flow import Flow
from extra.servers.linger import LingeringConnection

__all__ = ["ClosingWebSocket", "WebSocketConnection"]

logger: Final = logging.getLogger("extra.servers")

ABNORMAL_CLOSURE: Final = 1006
INTERNAL_ERROR: Final = 1011
TRY_AGAIN_LATER: Final = 1013
TIMEOUT: Final = 4408

MESSAGE_RATE_BYTES_PER_S: Final = 16_384
"""Bytes of a message that give it a second more, up to body_timeout_s from when they arrive."""


FRAMES_PER_TURN: Final = 1000
BYTES_PER_TURN: Final = 256 * 1024
"""So many messages, and inflated bytes of them, are handed over before others get their turn."""


@final
@mypyc_attr(native_class=True)
class WebSocketConnection(Flow):
    """A `WebSocket`: takes the transport over from an `HTTPConnection` that has accepted the handshake."""

    __slots__ = (
        "_codec",
        "_deadline",
        "_heard",
        "_held",
        "_message_deadline",
        "_over",
        "_pinged",
        "_resting",
        "_taker",
        "deflate",
        "subprotocol",
    )

    def __init__(
        self,
        context: ServerContext,
        codec: WebSocketCodec,
        taker: WebSocketTaker,
        subprotocol: str | None,
    ) -> None:
        super().__init__(context)
        self._codec = codec
        self._taker = taker
        self.subprotocol = subprotocol
        self.deflate = codec.deflate
        self._over = False
        self._deadline = inf
        self._message_deadline = inf  # of the message that is arriving
        self._heard = False  # something came from the peer since `check` last asked
        self._pinged = False  # and it has been asked for that
        self._held = False  # the taker wants nothing to be read
        self._resting = False  # others have their turn, then it goes on

    def begin(self) -> None:
        """Open the taker, and take up what the codec has received behind the handshake."""
        context = self._context
        context.counters.websockets_now += 1
        self._deadline = context.clock() + (context.limits.ping_interval_s or inf)
        try:
            self._taker.opened(self)
        except Exception:
            logger.exception("the taker of a WebSocket has failed")
            self._fail()
        self._take()
        self._take_stock()

    # The transport calls these.

    def data_received(self, data: bytes) -> None:
        self._context.counters.bytes_received += len(data)
        self._heard = True
        self._codec.receive_data(data)
        self._take()
        self._take_stock()

    def eof_received(self) -> bool | None:
        self.abort()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._leave(ABNORMAL_CLOSURE, "")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._regulate()

    def resumed(self) -> None:
        try:
            self._taker.writable()
        except Exception:
            logger.exception("the taker of a WebSocket has failed")
            self._fail()
        self._go_on()

    # The taker calls these.

    def pause_reading(self) -> None:
        self._held = True
        self._regulate()

    def resume_reading(self) -> None:
        if self._held:
            self._held = False
            self._context.loop.call_soon(self._go_on)

    def send_text(self, data: bytes) -> None:
        self.write(server_frame(TEXT, data))

    def send_binary(self, data: bytes) -> None:
        self.write(server_frame(BINARY, data))

    def ping(self, payload: bytes = b"") -> None:
        if not self._over:
            self._codec.send_ping(payload)
            self._flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        if not self._over:
            self._codec.send_close(code, reason)
            self._flush()
            self._hand_over(ClosingWebSocket(self._context, self._codec))
            self._leave(code, reason)

    # The server calls these.

    def check(self, now: float) -> None:
        super().check(now)
        limits = self._context.limits
        if now >= self._message_deadline and self._reading:
            name = limits.named("body_timeout_s")
            self._context.counters.timeouts[name] += 1
            self._abandon(TIMEOUT, f"message not received within {name}={limits.body_timeout_s:g}")
            return
        if now < self._deadline:
            return
        if not self._reading:
            self._deadline = now + limits.ping_interval_s
            self._pinged = self._heard = False
            if self.writable:
                self.ping()
        elif self._heard:
            after_ping = limits.ping_timeout_s if self._pinged else 0.0
            self._deadline = now + max(limits.ping_interval_s - after_ping, 0.0)
            self._pinged = False
            self._heard = False
        elif self._pinged:
            self._context.counters.timeouts[limits.named("ping_timeout_s")] += 1
            self.close(TIMEOUT, "no answer to pings")
        else:
            self._pinged = True
            self._deadline = now + limits.ping_timeout_s
            self.ping()

    def retire(self) -> None:
        """Nothing: whoever speaks on it says goodbye first."""

    # The rest is private.

    def _take(self) -> None:
        """Hand over what has been received, while the taker wants it. End if the peer has, or must."""
        codec = self._codec
        taker = self._taker
        frames_left = FRAMES_PER_TURN
        bytes_left = BYTES_PER_TURN
        farewell: CloseReceived | None = None
        try:
            while (
                not self._held
                and not self._resting
                and self.writable
                and not self._over
                and (event := codec.next_event()) is not None
            ):
                if isinstance(event, TextReceived):
                    self._message_deadline = inf
                    bytes_left -= len(event.data)
                    taker.received_text(event.data)
                elif isinstance(event, BytesReceived):
                    self._message_deadline = inf
                    bytes_left -= len(event.data)
                    taker.received_binary(event.data)
                elif isinstance(event, CloseReceived):
                    farewell = event
                frames_left -= 1
                if (frames_left <= 0 or bytes_left <= 0) and codec.held_bytes:
                    self._resting = True
                    self._context.loop.call_soon(self._rested)
        except Exception:
            logger.exception("the taker of a WebSocket has failed")
            self._fail()
        if self._over:
            return
        self._flush()
        if codec.closed:
            if farewell is None:
                self._context.counters.protocol_errors += 1
            if codec.close_code == TOO_BIG and farewell is None:
                self._context.counters.limits_met[self._context.limits.named("frame_limit_bytes")] += 1
            self._hand_over(LingeringConnection(self._context, self._context.limits.close_timeout_s))
            self._leave(codec.close_code or ABNORMAL_CLOSURE, codec.close_reason)
        elif self._resting:
            self._regulate()

    def _rested(self) -> None:
        self._resting = False
        self._go_on()

    def _take_stock(self) -> None:
        """See to what the codec keeps of what has come."""
        if self._over:
            return
        codec = self._codec
        size = codec.held_bytes
        arrived = max(size - self._kept_bytes, 0)
        if not self._keep(size):
            name = self._context.limits.named("receive_limit_bytes")
            self._context.counters.limits_met[name] += 1
            self._abandon(TRY_AGAIN_LATER, f"unfinished messages of all connections exceed {name}")
        elif codec.in_message:
            earned = self._message_deadline + arrived / MESSAGE_RATE_BYTES_PER_S
            self._message_deadline = min(earned, self._context.clock() + self._context.limits.body_timeout_s)
        else:
            self._message_deadline = inf

    def _abandon(self, code: int, reason: str) -> None:
        """Close, and look at nothing that comes from here on."""
        if not self._over:
            self._codec.fail(code, reason)
            self._flush()
            self._hand_over(LingeringConnection(self._context, self._context.limits.close_timeout_s))
            self._leave(code, reason)

    def _fail(self) -> None:
        """Close: the taker has raised an exception."""
        self._context.counters.handler_failures += 1
        self.close(INTERNAL_ERROR, "internal error")

    def _flush(self) -> None:
        data = self._codec.data_to_send()
        if data:
            self.write(data)

    def _go_on(self) -> None:
        """Hand over what waits in the codec, and read again unless somebody has enough."""
        self._take()
        self._take_stock()
        self._regulate()

    def _regulate(self) -> None:
        """Read, unless the taker or the peer has enough, or there is enough to hand over."""
        if self.writable and not self._held and not self._resting:
            if not self._reading and self._message_deadline != inf:  # the peer was made to wait
                self._message_deadline = self._context.clock() + self._context.limits.body_timeout_s
            super().resume_reading()
        else:
            super().pause_reading()

    def _leave(self, code: int, reason: str) -> None:
        """Be no connection any more, and tell the taker."""
        if not self._over:
            self._over = True
            self._deadline = inf
            self._context.counters.websockets_now -= 1
            self._taker.closed(code, reason)


@final
@mypyc_attr(native_class=True)
class ClosingWebSocket(Flow):
    """Waits for the close frame of a peer that has been sent one: close_timeout_s, then it is aborted."""

    __slots__ = ("_codec", "_deadline")

    def __init__(self, context: ServerContext, codec: WebSocketCodec) -> None:
        super().__init__(context)
        self._codec = codec
        self._deadline = inf

    def begin(self) -> None:
        """Wait. The close frame may be among what the codec has received."""
        self._deadline = self._context.clock() + self._context.limits.close_timeout_s
        self._take()
        self._take_stock()

    def data_received(self, data: bytes) -> None:
        self._context.counters.bytes_received += len(data)
        self._codec.receive_data(data)
        self._take()
        self._take_stock()

    def check(self, now: float) -> None:
        super().check(now)
        if now < self._deadline:
            return
        if self.write_buffer_size():
            self._deadline = now + self._context.limits.close_timeout_s  # the last is still on its way
        else:
            self._deadline = inf
            self._context.counters.timeouts[self._context.limits.named("close_timeout_s")] += 1
            self.abort()

    def retire(self) -> None:
        """Nothing: this ends by itself."""

    def _go_on(self) -> None:
        self.resume_reading()
        self._take()
        self._take_stock()

    def _take_stock(self) -> None:
        if not self._keep(self._codec.held_bytes):
            self._context.counters.limits_met[self._context.limits.named("receive_limit_bytes")] += 1
            self.abort()

    def _take(self) -> None:
        """Drop what the peer sent before it knew, so much in each turn, and see whether it knows."""
        bytes_left = BYTES_PER_TURN
        while (event := self._codec.next_event()) is not None:
            if isinstance(event, TextReceived | BytesReceived):
                bytes_left -= len(event.data)
            if bytes_left <= 0:
                self.pause_reading()
                self._context.loop.call_soon(self._go_on)
                break
        self._codec.data_to_send()  # pongs would come after the last frame
        if self._codec.closed:
            self._hand_over(LingeringConnection(self._context, self._context.limits.close_timeout_s))
