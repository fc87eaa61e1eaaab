"""Sockets, and the life of the connections that come from them.

    async with Server(application) as server:
        addresses = await server.listen("127.0.0.1", 8080)
        ...
        server.stop_accepting()             # whoever streams says goodbye to its subscribers
        async with asyncio.timeout(5):
            await server.drained()

Leaving the block aborts what is left. The tasks: one of each handler that has suspended, and one that looks
at all connections once a second for deadlines that have passed, so that no connection needs a timer. All
are in a group that is the server's.
"""

import asyncio
import errno
import logging
import os
import socket
import ssl
from asyncio import TaskGroup
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias, cast

from extra.http import Begin, ErrorResponse, Headers, problem_response
from extra.servers.connection import HTTPConnection
from extra.servers.context import AccessLog, Connection, ServerContext
from extra.servers.counters import Counters
from extra.servers.limits import ServerLimits

__all__ = ["Address", "Server"]

logger = logging.getLogger("extra.servers")

SWEEP_INTERVAL_S: Final = 1.0
SWEEP_BATCH: Final = 1000
"""Connections that are looked at before others get their turn; a look costs less than a microsecond."""

Address: TypeAlias = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


class Server:
    """Serves an application on any number of sockets. For one event loop, uvloop's by preference."""

    def __init__(
        self,
        application: Begin,
        *,
        error_response: ErrorResponse = problem_response,
        limits: ServerLimits | None = None,
        counters: Counters | None = None,
        server_name: str = "extra",
        access_log: AccessLog | None = None,
        headers: Headers = (),
        dated: bool = True,
    ) -> None:
        """Prepare to serve `application`.

        `error_response` answers what is no request, and what the application lets through. `server_name` is
        the `Server` of responses, empty for none, and `headers` are in all of them; so is `Date` if `dated`.
        """
        self.counters = counters if counters is not None else Counters()
        self._application = application
        self._error_response = error_response
        self._limits = limits if limits is not None else ServerLimits()
        self._server_name = server_name
        self._access_log = access_log
        self._headers = headers
        self._dated = dated
        self._tasks = TaskGroup()
        self._listeners: list[asyncio.Server] = []
        self._paths: list[
            tuple[Path, tuple[int, int] | None]
        ] = []  # of Unix sockets, and what was made there
        self._context: ServerContext | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._context = ServerContext(
            self._application,
            error_response=self._error_response,
            limits=self._limits,
            counters=self.counters,
            tasks=self._tasks,
            loop=asyncio.get_running_loop(),
            server_name=self._server_name,
            access_log=self._access_log,
            headers=self._headers,
            dated=self._dated,
        )
        self._sweeper = self._tasks.create_task(self._sweep(self._context))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.close()
        finally:
            self._sweeper.cancel()
            await self._tasks.__aexit__(None, None, None)  # an error of the block goes on as it is

    @property
    def context(self) -> ServerContext:
        """What the connections have in common.

        Raises:
            RuntimeError: the server has not been entered.
        """
        if self._context is None:
            raise RuntimeError("server has not been entered")
        return self._context

    async def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        uds: str | None = None,
        sock: socket.socket | None = None,
        backlog: int = 4096,
        tls: ssl.SSLContext | None = None,
    ) -> list[Address]:
        """Accept connections from now on, and return where: on `host` and `port`, a Unix socket, or a socket.

        A `host` may have several addresses, of IPv4 and IPv6; port 0 picks one for each. `uds` is the path
        of a Unix socket to make: one that is there already is replaced, unless somebody listens there. `sock`
        is bound, and belongs to the server from here on. With `tls`, connections begin with a handshake,
        which has head_timeout_s. May be called again for more.

        Raises:
            OSError: the address cannot be had.
        """
        context = self.context
        loop = context.loop
        handshake_s = self._limits.head_timeout_s if tls is not None else None

        def make_connection() -> asyncio.BaseProtocol:
            return cast(asyncio.BaseProtocol, HTTPConnection(context))  # compiled classes have one base

        if uds is not None:
            if is_answered(uds):
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            listener = await loop.create_unix_server(
                make_connection, uds, backlog=backlog, ssl=tls, ssl_handshake_timeout=handshake_s
            )
            self._paths.append((Path(uds), identity(uds)))
        elif sock is not None and sock.family == socket.AF_UNIX:
            listener = await loop.create_unix_server(
                make_connection, sock=sock, backlog=backlog, ssl=tls, ssl_handshake_timeout=handshake_s
            )
        elif sock is not None:
            listener = await loop.create_server(
                make_connection, sock=sock, backlog=backlog, ssl=tls, ssl_handshake_timeout=handshake_s
            )
        else:
            listener = await loop.create_server(
                make_connection,
                host,
                port,
                backlog=backlog,
                reuse_address=True,
                ssl=tls,
                ssl_handshake_timeout=handshake_s,
            )
        self._listeners.append(listener)
        return [bound_address(bound) for bound in listener.sockets]

    def stop_accepting(self) -> None:
        """Listen no more, close the connections that are idle, and let the others end with their request.

        Streams and WebSockets are left to those who write them.
        """
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for path, made in self._paths:
            if identity(path) == made:  # otherwise somebody else has taken the path over
                path.unlink(missing_ok=True)
        self._paths.clear()
        self.context.draining = True
        for connection in list(self.context.connections):
            connection.retire()

    async def drained(self) -> None:
        """Wait until there is no connection. Cancel-safe."""
        context = self.context
        while context.connections:
            context.changed.clear()
            await context.changed.wait()

    async def close(self) -> None:
        """Stop accepting, end every connection now, and cancel their handlers."""
        self.stop_accepting()
        for connection in list(self.context.connections):
            connection.abort()
        await self.drained()

    async def _sweep(self, context: ServerContext) -> None:
        """Look at every connection, about once a second."""
        due = context.clock()
        while True:
            due += SWEEP_INTERVAL_S
            await asyncio.sleep(SWEEP_INTERVAL_S)
            context.renew_date()
            late_s = context.clock() - due
            due += late_s
            if late_s > SWEEP_INTERVAL_S:
                continue  # nobody was heard meanwhile: let what has arrived be read first
            connections = list(context.connections)
            for start in range(0, len(connections), SWEEP_BATCH):
                check_all(connections[start : start + SWEEP_BATCH], context.clock())
                await asyncio.sleep(0)


def check_all(connections: Iterable[Connection], now: float) -> None:
    """Let each connection look at its deadlines. One that fails at it harms no other."""
    for connection in connections:
        try:
            connection.check(now)
        except Exception:
            logger.exception("a connection has failed to keep its deadlines")
            connection.abort()


def is_answered(path: str) -> bool:
    """Return whether somebody listens on the Unix socket at `path`. Does not wait for an answer."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # so many wait there that it is full
        except OSError:
            return False
    return True


def identity(path: str | Path) -> tuple[int, int] | None:
    """Return what tells the file at `path` from another one in its place, None when there is none."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def bound_address(bound: socket.socket) -> Address:
    """Return where a socket listens."""
    address = bound.getsockname()
    return address if isinstance(address, str) else (address[0], address[1])
