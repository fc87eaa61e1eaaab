"""What the tests of connections share: a server's context without sockets, and replies taken apart."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from extra.http import Application, Handler, Request, Response, problem_response
from extra.servers.connection import HTTPConnection
from extra.servers.context import AccessLog, ServerContext
from extra.servers.counters import Counters
from extra.servers.limits import ServerLimits
from tests.fakes.transport import FakeTransport

__all__ = ["Reply", "Serving", "hello", "replies", "serving", "turns"]


async def hello(request: Request) -> Response:
    return Response(200, b"hello", content_type="text/plain")


async def turns(count: int = 5) -> None:
    """Let the event loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


class Serving:
    """Connections to one application, and a clock that stands until it is moved."""

    def __init__(self, context: ServerContext) -> None:
        self.now = 1000.0
        self.context = context
        self.counters = context.counters
        self.peers: list[FakeTransport] = []
        context.clock = context.stopwatch = lambda: self.now

    def connect(self, data: bytes = b"", *, peername: object = ("192.0.2.1", 4000)) -> FakeTransport:
        """Return the peer of a new connection, which has sent `data`."""
        peer = FakeTransport(cast(asyncio.Protocol, HTTPConnection(self.context)), peername=peername)
        self.peers.append(peer)
        if data:
            peer.send(data)
        return peer

    def wait(self, seconds: float) -> None:
        """Let time pass, in steps of a second, after each of which the deadlines are looked at."""
        for _ in range(round(seconds)):
            self.now += 1
            for connection in list(self.context.connections):
                connection.check(self.now)


@asynccontextmanager
async def serving(
    handler: Handler = hello,
    *,
    limits: ServerLimits | None = None,
    access_log: AccessLog | None = None,
    application: Callable[[Handler], Handler] = Application,
) -> AsyncIterator[Serving]:
    """Serve `handler`. At the end all connections are aborted, and none of their tasks may be left."""
    before = asyncio.all_tasks()
    async with asyncio.TaskGroup() as tasks:
        run = Serving(
            ServerContext(
                application(handler),
                error_response=problem_response,
                limits=limits or ServerLimits(),
                counters=Counters(),
                tasks=tasks,
                loop=asyncio.get_running_loop(),
                server_name="extra",
                access_log=access_log,
            )
        )
        run.context.renew_date(0.0)
        yield run
        for connection in list(run.context.connections):
            connection.abort()
        await turns(10)
        assert asyncio.all_tasks() == before
    assert run.context.connections == set()
    counters = run.counters
    assert (counters.http_connections_now, counters.streams_now, counters.websockets_now) == (0, 0, 0)


@dataclass
class Reply:
    """One response. `fields` are by their names in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


def replies(received: bytes, *, head: bool = False) -> list[Reply]:
    """Take apart what a peer has received: whole responses, without bodies if it asked with HEAD."""
    found = []
    while received:
        lines, _, received = received.partition(b"\r\n\r\n")
        status_line, *field_lines = lines.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in field_lines)}
        assert len(fields) == len(field_lines)
        version, status, _ = status_line.split(" ", 2)
        assert version == "HTTP/1.1"
        body = b""
        if head or status in ("100", "101", "204", "304"):
            pass
        elif "content-length" in fields:
            length = int(fields["content-length"])
            assert len(received) >= length
            body, received = received[:length], received[length:]
        elif fields.get("transfer-encoding") == "chunked":
            while True:
                size, _, received = received.partition(b"\r\n")
                part, received = received[: int(size, 16)], received[int(size, 16) + 2 :]
                body += part
                if not part:
                    break
        else:
            assert fields["connection"] == "close"
            body, received = received, b""
        found.append(Reply(int(status), fields, body))
    return found
