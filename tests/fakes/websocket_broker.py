"""A broker that does what a test tells it, and nothing else: docs/protocol.md over real loopback sockets.

It answers no command by itself. A test takes the connection that a client has made, takes its commands, and
pushes what it likes, in any order, or cuts it off. Requests over HTTP get the answers that were put ready for
them.
"""

import asyncio
import json
from collections import deque
from types import TracebackType

import msgpack
from aiohttp import WSMsgType, web

from extra.payloads import JSONValue

__all__ = ["Connection", "Request", "WebSocketBroker"]

WAIT_S = 5.0
"""So long a test waits for a client before it fails; no test gets there."""

Fields = dict[str, JSONValue]


class Request:
    """A request over HTTP that has come."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body


class Connection:
    """One WebSocket connection of a client. `path` and `headers` are those of its handshake."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.path = request.path
        self.headers = dict(request.headers)
        self.subprotocol = socket.ws_protocol
        self.closed = asyncio.Event()
        self.close_code: int | None = None
        self.frames = 0
        self._transport = request.transport
        self._socket = socket
        self._commands: asyncio.Queue[Fields] = asyncio.Queue()

    async def take(self) -> Fields:
        """Return the client's next command; those of one frame come one by one."""
        async with asyncio.timeout(WAIT_S):
            return await self._commands.get()

    async def take_subscribe(self) -> Fields:
        """Return the client's next `subscribe`, after its `ping` was answered."""
        ping = await self.take()
        assert ping["op"] == "ping", ping
        await self.push({"op": "pong", "id": ping["id"]})
        subscribe = await self.take()
        assert subscribe["op"] == "subscribe", subscribe
        return subscribe

    @property
    def has_commands(self) -> bool:
        """Whether the client has sent anything that was not taken."""
        return not self._commands.empty()

    async def push(self, *pushes: Fields) -> None:
        """Send pushes, a frame each."""
        for push in pushes:
            await self.send(push)

    async def send(self, frame: "JSONValue | bytes") -> None:
        """Send one frame: bytes as they are."""
        if self.subprotocol == "extra.v1.msgpack":
            await self._socket.send_bytes(frame if isinstance(frame, bytes) else msgpack.packb(frame))
        else:
            await self._socket.send_str(frame.decode() if isinstance(frame, bytes) else json.dumps(frame))

    async def message(self, topic: str, offset: int, data: JSONValue = None, **fields: JSONValue) -> None:
        """Push a message."""
        await self.push({"op": "message", "topic": topic, "offset": offset, "data": data, **fields})

    async def confirm(self, subscribe: Fields, cursor: str, *, complete: bool = True) -> None:
        """Answer a `subscribe`."""
        fields: Fields = {"id": subscribe["id"], "cursor": cursor, "replayed": 0, "complete": complete}
        await self.push({"op": "subscribed", **fields})

    async def receipt(self, publish: Fields, offset: int, *, epoch: str = "e1") -> None:
        """Answer a `publish`."""
        fields: Fields = {"topic": publish["topic"], "offset": offset, "cursor": f"{epoch}-{offset}"}
        await self.push({"op": "published", "id": publish["id"], "subscribers": 0, **fields})

    async def refuse(self, command: Fields, code: str, message: str, *, temporary: bool = False) -> None:
        """Answer a command with an error."""
        fields: Fields = {"code": code, "message": message, "temporary": temporary}
        await self.push({"op": "error", "id": command["id"], **fields})

    async def goodbye(self, reason: str, reconnect_after: float = 0.0) -> None:
        """Say goodbye, and close as a broker does."""
        await self.push(
            {"op": "goodbye", "cursor": "e1-0", "reconnect_after": reconnect_after, "reason": reason}
        )
        await self.close(4290 if reason == "slow" else 1001)

    async def close(self, code: int) -> None:
        """Close with the handshake."""
        await self._socket.close(code=code)

    def cut(self) -> None:
        """Cut the TCP connection."""
        assert self._transport is not None
        self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the client has closed the connection, or it was cut."""
        async with asyncio.timeout(WAIT_S):
            await self.closed.wait()

    async def serve(self) -> None:
        """Take in commands until the connection is over."""
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    frame = json.loads(message.data)
                elif message.type is WSMsgType.BINARY:
                    frame = msgpack.unpackb(message.data)
                else:
                    break
                self.frames += 1
                for command in frame if isinstance(frame, list) else [frame]:
                    self._commands.put_nowait(command)
        finally:
            self.close_code = self._socket.close_code
            self.closed.set()


class WebSocketBroker:
    """Listens on a port of its own while it is entered.

    `epoch` and `head` are what the next connection is welcomed with; without `welcomes` it is not. While
    `refusals` holds statuses, a handshake is refused with the next one. `answers` holds what requests over
    HTTP get, in order.
    """

    def __init__(self) -> None:
        self.url = ""
        self.epoch = "e1"
        self.head = 0
        self.welcomes = True
        self.speaks_msgpack = True
        self.refusals: deque[tuple[int, str]] = deque()
        self.answers: deque[tuple[int, dict[str, str], bytes]] = deque()
        self.requests: list[Request] = []
        self.handshakes = 0
        self._connections: asyncio.Queue[Connection] = asyncio.Queue()
        self.open: set[Connection] = set()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)

    async def __aenter__(self) -> "WebSocketBroker":
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self.open:
            connection.cut()
        await self._runner.cleanup()

    async def connection(self) -> Connection:
        """Return the next connection that a client has made, welcomed."""
        async with asyncio.timeout(WAIT_S):
            return await self._connections.get()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._serve(request)
        self.requests.append(
            Request(request.method, request.raw_path, dict(request.headers), await request.read())
        )
        status, headers, body = self.answers.popleft()
        return web.Response(status=status, headers=headers, body=body)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.handshakes += 1
        if self.refusals:
            status, code = self.refusals.popleft()
            if not code:
                return web.Response(status=status)
            problem = {"status": status, "code": code, "detail": "refused"}
            return web.json_response(problem, status=status, content_type="application/problem+json")
        spoken = ("extra.v1.json", "extra.v1.msgpack") if self.speaks_msgpack else ("extra.v1.json",)
        socket = web.WebSocketResponse(protocols=spoken, timeout=0.1, max_msg_size=0)
        await socket.prepare(request)
        connection = Connection(request, socket)
        self.open.add(connection)
        if self.welcomes:
            await connection.push(
                {
                    "op": "welcome",
                    "session": "s",
                    "epoch": self.epoch,
                    "cursor": f"{self.epoch}-{self.head}",
                    "version": "0",
                }
            )
        self._connections.put_nowait(connection)
        try:
            await connection.serve()
        finally:
            self.open.discard(connection)
        return socket
