"""`websockets.broadcast` on uvloop: what an application writes with the websockets package alone.

python -m loadtest.servers.broadcast            prints the port that it listens on
"""

import sys
from contextlib import suppress

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

ENVELOPE = '{"op":"message","topic":"bench","offset":%d,"data":%s}'


class Room:
    """Everybody who listens."""

    def __init__(self) -> None:
        self.subscribers: set[ServerConnection] = set()
        self.offset = 0

    async def take(self, connection: ServerConnection) -> None:
        """Serve one connection: a publisher on `/publish`, else a subscriber."""
        assert connection.request is not None
        if connection.request.path == "/publish":
            with suppress(ConnectionClosed):
                async for payload in connection:
                    assert isinstance(payload, str)
                    self.offset += 1
                    broadcast(self.subscribers, ENVELOPE % (self.offset, payload))
        else:
            self.subscribers.add(connection)
            await connection.wait_closed()
            self.subscribers.discard(connection)


async def main() -> None:
    """Serve until killed."""
    room = Room()
    async with serve(room.take, "127.0.0.1", 0, compression=None, backlog=4096) as server:
        sys.stdout.write(f"{next(iter(server.sockets)).getsockname()[1]}\n")
        sys.stdout.flush()
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
