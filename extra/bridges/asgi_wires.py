"""Streams and WebSockets whose connection is the host's: what takers write to, over ASGI.

Takers write without waiting; here it is collected, and a coroutine sends it on as the host takes it. What has
been collected and not been sent counts as unsent: past `HIGH_WATER_BYTES` the wire is not `writable`.
"""

import asyncio
import logging
from asyncio import Event
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from extra.http import Stream, StreamTaker, WebSocket, WebSocketTaker, Wire
from extra.protocols.websocket import BINARY, TEXT, server_frame

__all__ = ["ASGIStream", "ASGIWebSocket", "Message", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

logger = logging.getLogger("extra.bridges")

HIGH_WATER_BYTES: Final = 65_536
CLOSE_TIMEOUT_S: Final = 5.0
"""How long the host may take for what is left when a wire has been closed from this side."""

ABNORMAL_CLOSURE: Final = 1006
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011


class _Wire(Wire):
    """What both have in common: a buffer, and the coroutine that empties it."""

    def __init__(self, send: Send) -> None:
        self.writable = True
        self._send = send
        self._buffer = bytearray()
        self._something = Event()  # to be done by `run`
        self._reading = Event()
        self._reading.set()
        self._aborted = False

    def write(self, data: bytes) -> None:
        self._buffer += data
        self._something.set()
        if len(self._buffer) > HIGH_WATER_BYTES:
            self.writable = False

    def write_buffer_size(self) -> int:
        return len(self._buffer)

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def abort(self) -> None:
        self._aborted = True
        self._buffer.clear()
        self._something.set()


class ASGIStream(_Wire, Stream):
    """The body of a response to a request of the host's."""

    def __init__(self, send: Send, taker: StreamTaker) -> None:
        super().__init__(send)
        self._taker = taker
        self._closed = False

    def close(self) -> None:
        self._closed = True
        self._something.set()

    async def run(self) -> None:
        """Send what the taker writes, until it closes. Cancelled when the client has gone."""
        try:
            self._taker.opened(self)
            while not self._closed and not self._aborted:
                await self._something.wait()
                self._something.clear()
                await self._flush()
            if not self._aborted:
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._flush()
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            pass  # the client does not take it: the host ends the connection
        except Exception:
            logger.exception("the taker of a stream has failed")
        finally:
            self._buffer.clear()
            self._taker.closed()

    async def _flush(self) -> None:
        while self._buffer:
            data, self._buffer = bytes(self._buffer), bytearray()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        if not self.writable:
            self.writable = True
            self._taker.writable()


class ASGIWebSocket(_Wire, WebSocket):
    """An open WebSocket of the host's. What takers write are frames: they are taken apart for the host."""

    deflate = False  # compressing is up to the host

    def __init__(
        self, send: Send, taker: WebSocketTaker, subprotocol: str | None, frame_limit_bytes: int
    ) -> None:
        super().__init__(send)
        self.subprotocol = subprotocol
        self._taker = taker
        self._limit_bytes = frame_limit_bytes
        self._closing: tuple[int, str] | None = None  # by this side
        self._over = False  # and the taker knows

    def send_text(self, data: bytes) -> None:
        self.write(server_frame(TEXT, data))

    def send_binary(self, data: bytes) -> None:
        self.write(server_frame(BINARY, data))

    def ping(self, payload: bytes = b"") -> None:
        """Nothing: the host pings."""

    def write(self, data: bytes) -> None:
        if not self._over:
            super().write(data)

    def abort(self) -> None:
        super().abort()
        self._leave(ABNORMAL_CLOSURE, "")

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self._closing is None and not self._over:
            self._closing = (code, reason)
            self._something.set()
            self._leave(code, reason)

    async def run(self, receive: Receive) -> None:
        """Carry messages both ways until either side closes."""
        receiving = asyncio.create_task(self._receive(receive))
        try:
            self._call(lambda: self._taker.opened(self))
            while not self._over:
                await self._something.wait()
                self._something.clear()
                await self._flush()
            if self._closing is not None and not self._aborted:
                code, reason = self._closing
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._flush()
                    await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            pass  # the client does not take it: the host ends the connection
        finally:
            receiving.cancel()
            await asyncio.wait([receiving])
            self._leave(ABNORMAL_CLOSURE, "")

    async def _receive(self, receive: Receive) -> None:
        while not self._over:
            await self._reading.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self._leave(message.get("code") or ABNORMAL_CLOSURE, message.get("reason") or "")
                self._something.set()
                return
            text, data = message.get("text"), message.get("bytes")
            if text is not None:
                self._take(text.encode(), is_text=True)
            elif data is not None:
                self._take(data, is_text=False)

    def _take(self, data: bytes, *, is_text: bool) -> None:
        if len(data) > self._limit_bytes:
            self.close(TOO_BIG, "message too big")
        elif is_text:
            self._call(lambda: self._taker.received_text(data))
        else:
            self._call(lambda: self._taker.received_binary(data))

    async def _flush(self) -> None:
        while self._buffer:
            data, self._buffer = bytes(self._buffer), bytearray()
            for opcode, payload in _frames(data):
                if opcode == TEXT:
                    await self._send({"type": "websocket.send", "text": payload.decode()})
                elif opcode == BINARY:
                    await self._send({"type": "websocket.send", "bytes": payload})
        if not self.writable:
            self.writable = True
            if not self._over:
                self._call(self._taker.writable)

    def _call(self, function: Callable[[], None]) -> None:
        """Call the taker, and close if that fails."""
        if self._over:
            return
        try:
            function()
        except Exception:
            logger.exception("the taker of a WebSocket has failed")
            self.close(INTERNAL_ERROR, "internal error")

    def _leave(self, code: int, reason: str) -> None:
        """Be over, and tell the taker."""
        if not self._over:
            self._over = True
            self._taker.closed(code, reason)


def _frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return opcode and payload of each frame: whole ones, not masked, as `server_frame` makes them."""
    found = []
    start = 0
    while start < len(data):
        size = data[start + 1]
        body = start + 2
        if size > 125:
            body += 2 if size == 126 else 8
            size = int.from_bytes(data[start + 2 : body], "big")
        found.append((data[start] & 0x0F, data[body : body + size]))
        start = body + size
    return found
