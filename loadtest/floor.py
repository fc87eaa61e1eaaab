"""The floor: what fanning out costs when there is no broker.

A bare uvloop protocol with a WebSocket handshake.

Every data frame that a client sends is made one unmasked frame, appended to a list per connection, and
written once per turn of the event loop: the shape of the real thing without topics, log, limits, policies or
bookkeeping.

    python -m loadtest.floor            prints the port that it listens on
"""

import asyncio
import base64
import hashlib
import re
import sys
from typing import cast

import uvloop
from websockets.speedups import apply_mask

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ENVELOPE = b'{"op":"message","topic":"bench","offset":%d,"data":%b}'


class Floor:
    """The connections, and the list of those to be written to in this turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.subscribers: set[Connection] = set()
        self.dirty: list[Connection] = []
        self.offset = 0

    def publish(self, payload: bytes) -> None:
        """Frame once, append to everybody."""
        self.offset += 1
        frame = frame_of(ENVELOPE % (self.offset, payload))
        if not self.dirty:
            self.loop.call_soon(self.flush)
        dirty = self.dirty
        for subscriber in self.subscribers:
            if not subscriber.frames:
                dirty.append(subscriber)
            subscriber.frames.append(frame)

    def flush(self) -> None:
        """Write each connection's frames at once."""
        dirty, self.dirty = self.dirty, []
        for subscriber in dirty:
            frames = subscriber.frames
            subscriber.transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
            frames.clear()


class Connection(asyncio.Protocol):
    """A client. One that connects to `/publish` publishes; the others subscribe."""

    transport: asyncio.Transport

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.frames: list[bytes] = []
        self.buffer = b""
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def connection_lost(self, exc: Exception | None) -> None:
        self.floor.subscribers.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_open:
            self.shake_hands()
            return
        while (found := unframe(self.buffer)) is not None:
            payload, used = found
            self.buffer = self.buffer[used:]
            self.floor.publish(payload)

    def shake_hands(self) -> None:
        head, end, self.buffer = self.buffer.partition(b"\r\n\r\n")
        if not end:
            self.buffer = head
            return
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.is_open = True
        if not head.startswith(b"GET /publish"):
            self.floor.subscribers.add(self)


def frame_of(payload: bytes) -> bytes:
    """Return an unmasked text frame of less than 64 KiB."""
    if len(payload) < 126:
        return bytes((0x81, len(payload))) + payload
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload


def unframe(data: bytes) -> tuple[bytes, int] | None:
    """Return the payload of a masked frame and its whole length, None when it is not complete."""
    if len(data) < 2:
        return None
    length, start = data[1] & 0x7F, 2
    if length == 126:
        length, start = int.from_bytes(data[2:4], "big"), 4
    end = start + 4 + length
    if len(data) < end:
        return None
    return apply_mask(data[start + 4 : end], data[start : start + 4]), end


async def main() -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    floor = Floor(loop)
    server = await loop.create_server(lambda: Connection(floor), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
