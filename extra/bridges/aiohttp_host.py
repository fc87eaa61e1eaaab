"""Our applications in aiohttp: as a handler of a route, or as a sub-application.

    application.router.add_route("*", "/rooms/{tail:.*}", aiohttp_handler(server(Rooms), prefix="/rooms"))
    application.add_subapp("/rooms", aiohttp_application(server(Rooms)))

WebSockets and streams go through. A stream is ended when aiohttp shuts down, and a client that has left is
noticed when something is written to it: aiohttp does not tell before.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

from aiohttp import WSMsgType, web

from extra.bridges.asgi import ASGIApplication
from extra.bridges.asgi_call import ASGI, ASGICall, http_scope
from extra.bridges.asgi_wires import Message, Scope

__all__ = ["aiohttp_application", "aiohttp_handler"]

AIOHTTPHandler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

FRAME_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""What aiohttp takes of a WebSocket at a time; the application's own limit is usually smaller."""

PING_INTERVAL_S: Final = 20.0
"""How long a WebSocket may be silent before the peer is asked; no answer in half of it, and it has gone."""

ABNORMAL_CLOSURE: Final = 1006
FRAMING: Final = ("content-length", "transfer-encoding", "connection")


def aiohttp_handler(application: ASGI, *, prefix: str = "") -> AIOHTTPHandler:
    """Return `application` as a handler. Below `prefix` it sees paths without it."""
    root_path = prefix.rstrip("/")

    async def handle(request: web.Request) -> web.StreamResponse:
        scope = _scope_of(request, root_path)
        if web.WebSocketResponse().can_prepare(request).ok:
            return await _Socket(request, scope).run(application)
        return await _answer(application, request, scope)

    return handle


def aiohttp_application(application: ASGIApplication) -> web.Application:
    """Return `application` as one of aiohttp, which starts and stops it: for `add_subapp`, or by itself."""
    hosted = web.Application()

    async def handle(request: web.Request) -> web.StreamResponse:
        tail = "/" + request.match_info["tail"]
        return await aiohttp_handler(application, prefix=request.path.removesuffix(tail))(request)

    async def start(_: web.Application) -> None:
        await application.start()

    async def drain(_: web.Application) -> None:
        application.drain()

    async def stop(_: web.Application) -> None:
        await application.stop()

    hosted.router.add_route("*", "/{tail:.*}", handle)
    hosted.on_startup.append(start)
    hosted.on_shutdown.append(drain)
    hosted.on_cleanup.append(stop)
    return hosted


async def _answer(application: ASGI, request: web.Request, scope: Scope) -> web.StreamResponse:
    async with ASGICall(application, scope, _body_of(request)) as call:
        status, headers = await call.head()
        response = web.StreamResponse(status=status)
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if name not in FRAMING:
                response.headers.add(name, value)
            elif name == "content-length":
                response.content_length = int(value)
        try:
            await response.prepare(request)
            async for part in call.parts():
                await response.write(part)
            await response.write_eof()
        except ConnectionResetError:
            pass  # the client has gone, which is no error of anybody's
        except ConnectionAbortedError:  # of which the log has been told
            if request.transport is not None:
                request.transport.abort()
        return response


async def _body_of(request: web.Request) -> AsyncIterator[bytes]:
    if request.can_read_body:
        async for part in request.content.iter_any():
            yield part


class _Socket:
    """One WebSocket, or its refusal."""

    def __init__(self, request: web.Request, scope: dict[str, Any]) -> None:
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        self._request = request
        self._scope: Scope = {
            **scope,
            "type": "websocket",
            "scheme": "wss" if request.scheme == "https" else "ws",
            "subprotocols": [each.strip() for each in offered.split(",") if each.strip()],
            "extensions": {"websocket.http.response": {}},
        }
        self._socket: web.WebSocketResponse | None = None
        self._accepted = asyncio.Event()
        self._connected = False  # the application knows
        self._refusal = web.Response(status=403)
        self._refusal_body = bytearray()

    async def run(self, application: ASGI) -> web.StreamResponse:
        """Call the application, and return what aiohttp answers."""
        await application(self._scope, self._receive, self._send)
        if self._socket is None:
            return self._refusal
        await self._socket.close()
        return self._socket

    async def _receive(self) -> Message:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        await self._accepted.wait()
        assert self._socket is not None
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            return {"type": "websocket.receive", "text": message.data}
        if message.type is WSMsgType.BINARY:
            return {"type": "websocket.receive", "bytes": message.data}
        code = self._socket.close_code or ABNORMAL_CLOSURE
        return {"type": "websocket.disconnect", "code": code, "reason": message.extra or ""}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            await self._accept(message)
        elif kind == "websocket.http.response.start":
            self._refusal = web.Response(status=message["status"], headers=_fields_of(message))
        elif kind == "websocket.http.response.body":
            self._refusal_body += message.get("body", b"")
            self._refusal.body = bytes(self._refusal_body)
        elif self._socket is None:
            return  # closed without having been accepted
        elif kind == "websocket.close":
            await self._socket.close(
                code=message.get("code", 1000), message=(message.get("reason") or "").encode()
            )
        elif message.get("text") is not None:
            await self._socket.send_str(message["text"])
        else:
            await self._socket.send_bytes(message["bytes"])

    async def _accept(self, message: Message) -> None:
        subprotocol = message.get("subprotocol")
        socket = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [],
            max_msg_size=FRAME_LIMIT_BYTES,
            heartbeat=PING_INTERVAL_S,
        )
        socket.headers.extend(_fields_of(message))
        await socket.prepare(self._request)
        self._socket = socket
        self._accepted.set()


def _fields_of(message: Message) -> list[tuple[str, str]]:
    """Return the header fields of a message, without those that aiohttp writes itself."""
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
    return [(name, value) for name, value in fields if name.lower() not in FRAMING]


def _scope_of(request: web.Request, root_path: str) -> dict[str, Any]:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    raw_path, _, query = request.raw_path.partition("?")
    return http_scope(
        request.method,
        request.path,
        query=query.encode("ascii", "replace"),
        headers=request.raw_headers,
        raw_path=raw_path.encode("ascii", "replace"),
        root_path=root_path,
        scheme=request.scheme,
        client=(peer[0], peer[1]) if isinstance(peer, tuple) else None,
        http_version=f"{request.version.major}.{request.version.minor}",
    )
