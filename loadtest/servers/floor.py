"""The floor: what fanning out costs when there is no broker.

A bare uvloop protocol with a WebSocket handshake. Every data frame that a client sends is made one unmasked
frame, appended to a list per connection, and written once per turn of the event loop: the shape of the real
thing without topics, log, limits, policies or bookkeeping.

    python -m loadtest.servers.floor            prints the port that it listens on

A client that asks for `/` gets everything, one that asks for `/to/NAME` what is meant for NAME. A client that
asks for `/publish` publishes to everybody; a data frame on `/publish/to` starts with a name and a blank.
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
ENVELOPE = b'{"op":"message","topic":"%b","offset":%d,"data":%b}'
PING = 0x89


class Floor:
    """The connections, and the list of those to be written to in this turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.subscribers: dict[Connection, None] = {}
        self.named: dict[bytes, list[Connection]] = {}
        self.dirty: list[Connection] = []
        self.offset = 0

    def publish(self, name: bytes, payload: bytes) -> None:
        """Frame once, append to everybody whom it is for."""
        self.offset += 1
        frame = frame_of(ENVELOPE % (name, self.offset, payload))
        if not self.dirty:
            self.loop.call_soon(self.flush)
        dirty = self.dirty
        for subscriber in self.subscribers:
            if not subscriber.frames:
                dirty.append(subscriber)
            subscriber.frames.append(frame)
        for subscriber in self.named.get(name, ()):
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
    """A client: see the head of the module for what its path asks for."""

    __slots__ = ("buffer", "floor", "frames", "is_addressed", "is_open", "transport")

    transport: asyncio.Transport

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.frames: list[bytes] = []
        self.buffer = b""
        self.is_open = False
        self.is_addressed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def connection_lost(self, exc: Exception | None) -> None:
        self.floor.subscribers.pop(self, None)
        self.frames = []

    def data_received(self, data: bytes) -> None:
        self.buffer = buffer = self.buffer + data if self.buffer else data
        if not self.is_open:
            self.shake_hands()
            return
        start = 0
        while (end := frame_end(buffer, start)) <= len(buffer):
            self.take(buffer, start, end)
            start = end
        self.buffer = buffer[start:]

    def take(self, buffer: bytes, start: int, end: int) -> None:
        """Publish a data frame, answer a ping."""
        mask = start + (2 if buffer[start + 1] & 0x7F < 126 else 4)
        payload = apply_mask(buffer[mask + 4 : end], buffer[mask : mask + 4])
        if buffer[start] == PING:
            self.transport.write(bytes((0x8A, len(payload))) + payload)
        elif self.is_addressed:
            name, _, payload = payload.partition(b" ")
            self.floor.publish(name, payload)
        else:
            self.floor.publish(b"bench", payload)

    def shake_hands(self) -> None:
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        self.buffer = rest
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.is_open = True
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/to/"):
            self.floor.named.setdefault(path.removeprefix(b"/to/"), []).append(self)
        elif path == b"/":
            self.floor.subscribers[self] = None
        self.is_addressed = path == b"/publish/to"


def frame_of(payload: bytes) -> bytes:
    """Return an unmasked text frame of less than 64 KiB."""
    if len(payload) < 126:
        return bytes((0x81, len(payload))) + payload
    return b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload


def frame_end(data: bytes, start: int) -> int:
    """Return where the masked frame at `start` ends; beyond the data while that is not known yet."""
    if len(data) - start < 4:
        return len(data) + 1
    length = data[start + 1] & 0x7F
    if length == 126:
        return start + 8 + int.from_bytes(data[start + 2 : start + 4], "big")
    return start + 6 + length


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
