"""Our applications as ASGI 3 applications: under uvicorn, hypercorn and granian, or mounted in others.

    app = server(Rooms)                 # uvicorn rooms:app
    other_app.mount("/rooms", app)      # in Starlette or FastAPI

A host that runs the lifespan starts and stops the application with it. One that does not, as those do that
mount it, has it started by the first request; then it is stopped when the event loop ends.

Hosts wait on shutdown until the responses under way have ended, and a stream never does, so an application
ends its own: SIGINT and SIGTERM are noted on their way to the host (`extra.bridges.signals`).

A request takes no task but the host's, unless its handler suspends or its response goes on: then one looks
for the client's leaving, and reads the body as it is wanted.
"""

import asyncio
import logging
from asyncio import CancelledError, Event, Task, current_task
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, unquote

from extra.bridges.asgi_wires import ASGIStream, ASGIWebSocket, Receive, Scope, Send
from extra.bridges.signals import Watch
from extra.errors import LocalProtocolError
from extra.http import (
    Body,
    BodySource,
    BodyTruncated,
    ErrorResponse,
    Handler,
    Middleware,
    Request,
    Response,
    ResponseCut,
    Rest,
    StreamingResponse,
    WebSocketResponse,
    problem,
    problem_response,
    step,
)
from extra.protocols.http1 import response_head
from extra.pubsub import Broker
from extra.services import Service, ServiceLimits, Services

__all__ = ["ASGIApplication", "ASGIServices", "server"]

logger = logging.getLogger("extra.bridges")

BODY_HIGH_WATER_BYTES: Final = 65_536
ABNORMAL_CLOSURE: Final = 1006
GOING_AWAY: Final = 1001
PATH_SAFE: Final = "/!$&'()*+,;=:@-._~"
BODILESS: Final = (204, 304)


class ASGIApplication:
    """A handler of requests as an ASGI application, within `life`, which is entered before the first."""

    def __init__(
        self,
        handler: Handler,
        life: AbstractAsyncContextManager[object],
        *,
        error_response: ErrorResponse = problem_response,
        drain: Callable[[], None] | None = None,
    ) -> None:
        """Serve `handler`. `drain` is called, once, when the host begins to shut down."""
        self.handler = handler
        self.life = life
        self._error_response = error_response
        self._drain = drain
        self._watch = Watch(self.drain)
        self._draining = False
        self._streams: set[_Exchange] = set()  # responses that come in parts
        self._started = False
        self._keeper: Task[None] | None = None
        self._kept = Event()  # the keeper has started it, or has failed
        self._failure: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what the host asks for."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if not self._started:
            await self.start()
        if scope["type"] == "http":
            await _Exchange(self, scope, receive, send).run()
        elif scope["type"] == "websocket":
            await self._open_websocket(scope, receive, send)
        else:
            raise LocalProtocolError(f"unknown scope {scope['type']!r}")

    async def start(self) -> None:
        """Start it for a host without a lifespan, in a task that ends with the event loop. Idempotent.

        The first request does so where nobody else has.
        """
        if self._started:
            return
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())
        await self._kept.wait()
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """End what goes on: the host shuts down. Idempotent."""
        if self._draining:
            return
        self._draining = True
        if self._drain is not None:
            self._drain()
        for exchange in list(self._streams):
            exchange.end()

    async def stop(self) -> None:
        """Stop what was started without a lifespan. Idempotent; the end of the event loop does the same."""
        if self._keeper is not None:
            self.drain()
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    def failure(self, error: Exception) -> Response:
        """Return the response to a bug that nobody has answered, which is logged."""
        logger.error("a handler has failed", exc_info=error)
        return self._error_response(error)

    # Life

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self.life:
                self._started = True
                with self._watch:
                    await send({"type": "lifespan.startup.complete"})
                    await receive()
                    self.drain()
        except Exception as error:
            phase = "shutdown" if self._started else "startup"
            logger.exception("the application has failed at %s", phase)
            await send({"type": f"lifespan.{phase}.failed", "message": f"{type(error).__name__}: {error}"})
            return
        await send({"type": "lifespan.shutdown.complete"})

    async def _keep(self) -> None:
        try:
            async with self.life:
                self._started = True
                self._kept.set()
                with self._watch:
                    await Event().wait()
        except Exception as error:
            logger.exception("the application has failed")
            self._failure = error
        finally:
            self._kept.set()

    # WebSockets

    async def _open_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        request = request_of({**scope, "method": "GET"}, b"")
        if not any(name == b"upgrade" for name, _ in request.headers):  # HTTP/2 has none
            request.headers.append((b"upgrade", b"websocket"))
        try:
            response = await self.handler(request)
        except Exception as error:  # noqa: BLE001  # it is logged there
            response = self.failure(error)
        if not isinstance(response, WebSocketResponse):
            await refuse_websocket(response, scope, send)
            return
        offered = scope.get("subprotocols") or ()
        subprotocol = next((each for each in offered if each in response.subprotocols), None)
        websocket = ASGIWebSocket(send, response.taker, subprotocol, response.frame_limit_bytes)
        try:
            headers = encoded(response.headers)
            await send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers})
        except BaseException:
            response.taker.closed(ABNORMAL_CLOSURE, "")
            raise
        await websocket.run(receive)


class ASGIServices(ASGIApplication):
    """Services as an ASGI application: what `server` makes."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.handle, services, drain=services.drain)
        self.services = services


def server(
    *services: Service | type[Service],
    broker: Broker | None = None,
    middleware: Sequence[Middleware] = (),
    error_response: ErrorResponse | None = None,
    limits: ServiceLimits | None = None,
    debug: bool = False,
) -> ASGIServices:
    """Return services as one ASGI application; see `Services` for the arguments."""
    return ASGIServices(
        Services(
            *services,
            broker=broker,
            middleware=middleware,
            error_response=error_response,
            limits=limits,
            debug=debug,
        )
    )


class _Exchange(BodySource):
    """One request of the host's, and its response."""

    def __init__(self, application: ASGIApplication, scope: Scope, receive: Receive, send: Send) -> None:
        self._application = application
        self._receive = receive
        self._send = send
        self._body: Body | None = None
        self._wanted = Event()  # more of the body
        self._receiver: Task[None] | None = None
        self._task: Task[Any] | None = None
        self._gone = False  # the client
        self._ending = False  # the host wants the response to end
        body: Body | bytes = b""
        if has_body(scope):
            body = self._body = Body(self, length=length_of(scope))
        self._request = request_of(scope, body)

    async def run(self) -> None:
        """Answer."""
        try:
            begun = step(self._answer())
            if isinstance(begun, Rest):
                self._task = current_task()
                self._start_receiving()
                await begun
        except CancelledError:
            if not self._gone:
                raise
            if self._task is not None:
                self._task.uncancel()
        finally:
            if self._receiver is not None:
                self._receiver.cancel()
                await asyncio.wait([self._receiver])

    def body_wanted(self) -> None:
        self._wanted.set()
        self._start_receiving()

    def end(self) -> None:
        """End a response that comes in parts, in order: the client sees that it has ended."""
        self._ending = True
        if self._task is not None:
            self._task.cancel()

    # Receiving

    def _start_receiving(self) -> None:
        if self._receiver is None:
            self._receiver = asyncio.create_task(self._receive_all())

    async def _receive_all(self) -> None:
        """Feed the body, as it is wanted, and cancel the handler when the client has gone."""
        body = self._body
        while True:
            if body is not None and not body.ended and body.buffered_bytes >= BODY_HIGH_WATER_BYTES:
                self._wanted.clear()
                await self._wanted.wait()
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
                return
            if body is not None and not body.ended:
                if message.get("body"):
                    body.feed(message["body"])
                if not message.get("more_body", False):
                    body.end()

    def _leave(self) -> None:
        self._gone = True
        if self._body is not None and not self._body.ended:
            self._body.fail(BodyTruncated("connection ended before the body"))
        if self._task is not None:
            self._task.cancel()

    # Answering

    async def _answer(self) -> None:
        application = self._application
        request = self._request
        try:
            response = await application.handler(request)
            headers = head_of(response)
        except Exception as error:  # noqa: BLE001  # it is logged there
            response = application.failure(error)
            headers = head_of(response)
        body = response.body
        if isinstance(response, StreamingResponse):
            await self._stream(response, headers)
            return
        if isinstance(response, WebSocketResponse):
            response.taker.closed(ABNORMAL_CLOSURE, "")
            response = problem(426, "bad_request", "no WebSocket here", headers=[("Upgrade", "websocket")])
            headers, body = head_of(response), response.body
        if isinstance(body, bytes):
            if response.status not in BODILESS:
                headers.append((b"content-length", b"%d" % len(body)))
            await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
            if request.method == "HEAD" or response.status in BODILESS:
                body = b""
            await self._send({"type": "http.response.body", "body": body})
            return
        if response.length is not None:
            headers.append((b"content-length", b"%d" % response.length))
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        if request.method != "HEAD":
            try:
                await self._send_parts(body)
            except ResponseCut as error:
                logger.warning("%s %s: cut: %s", request.method, request.raw_path, error)
                return  # without an end, which tells the host to end the connection
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_parts(self, parts: AsyncIterable[bytes]) -> None:
        application = self._application
        application._streams.add(self)
        self._task = self._task or current_task()
        self._start_receiving()
        try:
            if not application._draining:
                async for part in parts:
                    if part:
                        await self._send({"type": "http.response.body", "body": part, "more_body": True})
        except CancelledError:
            if not self._ending or self._gone:
                raise
            assert self._task is not None
            self._task.uncancel()
        finally:
            application._streams.discard(self)
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()

    async def _stream(self, response: StreamingResponse, headers: list[tuple[bytes, bytes]]) -> None:
        taker = response.taker
        try:
            await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        except BaseException:
            taker.closed()
            raise
        if self._request.method == "HEAD" or self._gone:
            taker.closed()
            await self._send({"type": "http.response.body", "body": b""})
            return
        self._task = self._task or current_task()
        self._start_receiving()
        await ASGIStream(self._send, taker).run()


async def refuse_websocket(response: Response, scope: Scope, send: Send) -> None:
    """Answer a handshake with a response, where the host can do that, and else with 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": HTTPStatus(response.status).phrase})
        return
    body = response.body if isinstance(response.body, bytes) else b""
    headers = [*head_of(response), (b"content-length", b"%d" % len(body))]
    await send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})


def request_of(scope: Scope, body: Body | bytes) -> Request:
    """Return the request that a scope describes, below the path where the application is mounted."""
    path = path_of(scope)
    query = scope.get("query_string") or b""
    client = scope.get("client")
    address = ""
    if client:
        host, port = client[0], client[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    request = Request(
        scope["method"],
        path + b"?" + query if query else path,
        [(bytes(name).lower(), bytes(value)) for name, value in scope["headers"]],
        scope.get("http_version", "1.1"),
        address,
        body,
    )
    scheme = scope.get("scheme", "http")
    if scheme not in ("http", "ws"):
        request.scheme = "https"
    if scope.get("root_path"):
        request.root_path = scope["root_path"]
    return request


def path_of(scope: Scope) -> bytes:
    """Return the path as it was sent, if that is known, without where the application is mounted.

    Hosts differ in whether `path` begins with `root_path`, and frameworks that mount leave `raw_path` whole.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path") or ""
    raw: bytes | None = scope.get("raw_path")
    if raw is None or unquote(raw.partition(b"?")[0].decode("ascii", "replace")) != path:
        raw = quote(path, safe=PATH_SAFE).encode()
    else:
        raw = raw.partition(b"?")[0]
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        prefix = quote(root, safe=PATH_SAFE).encode()
        raw = (
            raw.removeprefix(prefix)
            if raw.startswith(prefix)
            else quote(path.removeprefix(root), safe=PATH_SAFE).encode()
        )
    return raw or b"/"


def has_body(scope: Scope) -> bool:
    if scope.get("http_version", "1.1").startswith(("2", "3")):
        return scope["method"] not in ("GET", "HEAD")
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def length_of(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def head_of(response: Response) -> list[tuple[bytes, bytes]]:
    """Return the header fields of a response, checked as they are for our own connections.

    Raises:
        LocalProtocolError: one cannot be sent, or there is no such status.
    """
    response_head(response.status, response.headers)
    headers = encoded(response.headers)
    if response.content_type is not None:
        headers.insert(0, (b"content-type", response.content_type.encode("latin-1")))
    return headers


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
