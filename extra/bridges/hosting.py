"""Our server on sockets that others have made: listening ones, servers of asyncio, single connections.

async with hosting(server(Rooms)) as host:
    await host.listen(listening_socket)                                     # or
    listener = await loop.create_server(host.protocol, "127.0.0.1", 0)      # or
    await host.serve_connection(connected_socket)

serve_connection(server(Rooms))         # behind inetd: one connection, which is standard input
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, cast

from extra.bridges.asgi import ASGIApplication
from extra.servers import Address, Server, ServerLimits
from extra.servers.connection import HTTPConnection

__all__ = ["Hosting", "hosting", "serve_connection"]

DRAIN_TIMEOUT_S: Final = 10.0


class Hosting:
    """A server that has been started, and takes connections as they are given to it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def listen(self, sock: socket.socket) -> Address:
        """Accept connections from a socket that is bound, which becomes ours, and return where it is."""
        [address] = await self._server.listen(sock=sock)
        return address

    def protocol(self) -> asyncio.BaseProtocol:
        """Return what serves one connection: a factory for `loop.create_server` and its kin."""
        return cast(
            "asyncio.BaseProtocol", HTTPConnection(self._server.context)
        )  # compiled ones have one base

    async def serve_connection(self, sock: socket.socket) -> None:
        """Serve one connection until it ends. The socket belongs to the server."""
        sock.setblocking(False)
        context = self._server.context
        connection = HTTPConnection(context)
        made = cast("asyncio.BaseProtocol", connection)  # compiled classes have one base
        await context.loop.connect_accepted_socket(lambda: made, sock)
        while connection in context.connections:
            context.changed.clear()
            await context.changed.wait()


@asynccontextmanager
async def hosting(
    application: ASGIApplication,
    *,
    limits: ServerLimits | None = None,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
) -> AsyncIterator[Hosting]:
    """Start an application, and a server for it that has no sockets yet.

    At the end streams are ended, and requests under way have `drain_timeout_s` to finish. A server of asyncio
    that has been made with `protocol` is closed by who made it.
    """
    async with application.life, Server(application.handler, limits=limits) as server:
        yield Hosting(server)
        server.stop_accepting()
        application.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_timeout_s):
                await server.drained()


def serve_connection(application: ASGIApplication, descriptor: int = 0) -> None:
    """Serve one connection until it ends, and the process with it: how inetd starts programs.

    `descriptor` is of a socket that is connected; it stays open. Not within an event loop.
    """

    async def serve() -> None:
        async with hosting(application) as host:
            await host.serve_connection(socket.socket(fileno=os.dup(descriptor)))

    asyncio.run(serve())
