"""Applications on real sockets, in the event loop of the test: on our server, and under uvicorn."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from extra.commands.loading import host
from extra.servers import Server, run_eagerly

__all__ = ["on_our_server", "under_uvicorn"]


@asynccontextmanager
async def on_our_server(application: object, **options: Any) -> AsyncIterator[str]:
    """Serve an application of any interface on our server, and give its address."""
    loaded = host(application, spawn=run_eagerly, **options)
    async with loaded.life, Server(loaded.handler) as server:
        [address] = await server.listen()
        yield f"127.0.0.1:{address[1]}"
        server.stop_accepting()
        loaded.drain()


@asynccontextmanager
async def under_uvicorn(application: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI application with uvicorn, and give its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(application, log_level="warning", ws="websockets-sansio", **options)
        server = Quiet(config)
        task = asyncio.create_task(server.serve([listening]))
        await server.ready.wait()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


class Quiet(uvicorn.Server):
    """Tells when it listens, which the original can only be asked for again and again."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
