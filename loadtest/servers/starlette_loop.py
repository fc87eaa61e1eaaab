"""A loop over WebSockets in Starlette on uvicorn: what an application writes without a broker.

    python -m loadtest.servers.starlette_loop            prints the port that it listens on

It needs the environment of the load: see the Makefile.
"""

import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

ENVELOPE = '{"op":"message","topic":"bench","offset":%d,"data":%s}'


class Room:
    """Everybody who listens."""

    def __init__(self) -> None:
        self.subscribers: set[WebSocket] = set()
        self.offset = 0

    async def publish(self, connection: WebSocket) -> None:
        """Send what a publisher says to everybody, one after the other."""
        await connection.accept()
        async for payload in connection.iter_text():
            self.offset += 1
            text = ENVELOPE % (self.offset, payload)
            for subscriber in list(self.subscribers):
                await subscriber.send_text(text)

    async def subscribe(self, connection: WebSocket) -> None:
        """Keep a subscriber until it leaves."""
        await connection.accept()
        self.subscribers.add(connection)
        async for _ in connection.iter_text():
            pass
        self.subscribers.discard(connection)


def main() -> None:
    """Serve until killed."""
    room = Room()
    application = Starlette(
        routes=[WebSocketRoute("/publish", room.publish), WebSocketRoute("/", room.subscribe)]
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_level="error",
        lifespan="off",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
