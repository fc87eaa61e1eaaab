"""ASGI applications of others on our server: Starlette, FastAPI, Django and the like.

    async with ASGIHost(application) as host:       # runs its lifespan
        response = await host.handle(request)

Each request is a call of the application, in a task of its own, as it may go on after its response: that is
how background tasks of Starlette run. When the client leaves, the application is told so (`http.disconnect`,
and an OSError from `send`), and not cancelled, as under other servers: it may be in the middle of something.
What still runs when the host is left is given `stop_timeout_s`, and cancelled then.
"""

import asyncio
import logging
import sys
from asyncio import Event, Future, TaskGroup, get_running_loop
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Sequence,
)
from functools import lru_cache
from types import CoroutineType, TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, cast

from mypy_extensions import mypyc_attr

from extra.bridges.asgi_wires import Message, Receive, Scope, Send
from extra.errors import ExtraError
from extra.http import (
    ErrorResponse,
    Headers,
    Request,
    Response,
    Rest,
    WebSocket,
    WebSocketResponse,
    WebSocketTaker,
    decode_percent,
    problem_response,
    step,
)

__all__ = ["ASGIHost", "Lifespan", "Spawn"]

logger = logging.getLogger("extra.bridges")

Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Fields: TypeAlias = Sequence[tuple[bytes, bytes]]

Lifespan: TypeAlias = Literal["auto", "on", "off"]

Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None], TaskGroup], object]
"""Runs a coroutine at once until it suspends, and the rest in a task of a group."""

VERSIONS: Final = {"version": "3.0", "spec_version": "2.5"}
NO_LIMIT: Final = 1 << 62
RECEIVED_HIGH_WATER: Final = 32
"""Messages of a WebSocket that wait for the application before the peer has to."""

CONNECTION_FIELDS: Final = frozenset(
    (b"content-length", b"transfer-encoding", b"connection", b"date", b"server")
)
"""What the connection says itself."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ASGIHost:
    """One ASGI 3 application, and the calls of it that are under way."""

    def __init__(
        self,
        application: Application,
        *,
        lifespan: Lifespan = "auto",
        root_path: str = "",
        address: tuple[str, int | None] | None = None,
        error_response: ErrorResponse = problem_response,
        spawn: Spawn | None = None,
        stop_timeout_s: float = 10.0,
    ) -> None:
        """Host `application`.

        With `lifespan` "auto", one that fails at it at once is taken not to know it. `root_path` is where it
        is mounted, as far as it knows, and `address` is the server's. With `spawn`, calls are run at once
        by whoever asks, and what is left of one that suspends by that: unless anyio is loaded, whose
        cancel scopes go by the identity of the task.
        """
        self._application = application
        self._lifespan: Lifespan = lifespan
        self._root_path = root_path
        self._address = address
        self._error_response = error_response
        self._spawn = spawn
        self._stop_timeout_s = stop_timeout_s
        self._tasks = TaskGroup()
        self._state: dict[str, Any] = {}
        self._stopping = Event()
        self.calls: set[_Call | _Socket] = set()  # under way

    async def __aenter__(self) -> Self:
        """Start the application. Raises RuntimeError when it refuses to."""
        await self._tasks.__aenter__()
        if self._lifespan != "off":
            started: Future[str | None] = get_running_loop().create_future()
            self._tasks.create_task(self._live(started))
            failure = await started
            if failure is not None:
                await self._leave()
                raise RuntimeError(f"the application has failed to start: {failure}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave()

    def drain(self) -> None:
        """Tell the application that its clients leave: what goes on has no other end."""
        for call in list(self.calls):
            call.end()

    async def handle(self, request: Request) -> Response:
        """Answer `request` with what the application sends."""
        answer = self.begin(request)
        return answer if isinstance(answer, Response) else await answer

    def begin(self, request: Request) -> Response | Awaitable[Response]:
        """Do what `handle` does, as far as the application need not wait. A `Begin`."""
        if asks_for_websocket(request):
            socket = _Socket(self, request)
            self._run(socket.run(self._application))
            return socket.accepted
        call = _Call(self, request)
        if self._spawn_now() is not None:
            rest = call.begin(self._application)
            if rest is not None:
                self._run(call.go_on(rest))
        else:
            self._run(call.run(self._application))
        if not call.is_over:
            self.calls.add(call)
        return call.answer if call.answer is not None else call.wait()

    def scope(self, kind: str, request: Request) -> Scope:
        """Return what every scope says of a request."""
        path = request.raw_path
        raw_path, _, query = request.target.partition(b"?")
        if len(raw_path) != len(path):  # a target in absolute form
            raw_path = path.encode("ascii")
        scope: Scope = {
            "type": kind,
            "asgi": VERSIONS,
            "http_version": request.http_version,
            "scheme": request.scheme,
            "path": self._root_path + (decode_percent(path) if "%" in path else path),
            "raw_path": self._root_path.encode() + raw_path if self._root_path else raw_path,
            "query_string": query,
            "root_path": self._root_path,
            "headers": request.headers,
            "client": address_of(request.client),
            "server": self._address,
            "state": self._state.copy(),
        }
        if kind == "http":
            scope["method"] = request.method
        return scope

    def failure(self, error: Exception) -> Response:
        """Return the response to what the application has raised, which is logged."""
        if not isinstance(error, ExtraError):
            logger.error("the application has failed", exc_info=error)
        return self._error_response(error)

    def _spawn_now(self) -> Spawn | None:
        """Return what runs calls at once, None while that is not to be done."""
        return self._spawn if "anyio" not in sys.modules else None

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        spawn = self._spawn_now()
        if spawn is not None:
            spawn(coroutine, self._tasks)
        else:
            self._tasks.create_task(coroutine)

    async def _live(self, started: "Future[str | None]") -> None:
        """Run the lifespan of the application."""
        scope: Scope = {"type": "lifespan", "asgi": VERSIONS, "state": self._state}
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "lifespan.startup"}
            await self._stopping.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                _settle(started, None)
            elif message["type"] == "lifespan.startup.failed":
                _settle(started, str(message.get("message", "")) or "it does not say why")
            elif message["type"] == "lifespan.shutdown.failed":
                logger.error("the application has failed to stop: %s", message.get("message", ""))

        try:
            await self._application(scope, receive, send)
        except Exception as error:
            if started.done():
                logger.exception("the lifespan of the application has failed")
            elif self._lifespan == "on":
                logger.exception("the application has failed to start")
                _settle(started, f"{type(error).__name__}: {error}")
            else:
                logger.debug("the application does not know the lifespan", exc_info=True)
        finally:
            _settle(started, None)

    async def _leave(self) -> None:
        self.drain()
        self._stopping.set()
        try:
            async with asyncio.timeout(self._stop_timeout_s):
                await self._tasks.__aexit__(None, None, None)
        except TimeoutError:
            logger.warning("calls of the application have been cancelled after %g s", self._stop_timeout_s)


class _Done:
    """A coroutine that has been done already, for whoever awaits it, again and again.

    It is one by what it can do: compiled, a base that is not would make it slow.
    """

    def send(self, value: None) -> None:
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> None:
        raise kind

    def close(self) -> None: ...

    def __await__(self) -> Generator[Any, Any, None]:
        return NOTHING


NOTHING: Final = cast("Generator[Any, Any, None]", iter(()))
DONE: Final = _Done()


class _Call:
    """One HTTP request to the application."""

    def __init__(self, host: ASGIHost, request: Request) -> None:
        self._host = host
        self._request = request
        self._stream: AsyncIterator[bytes] | None = None  # the body, while it arrives
        self._body_taken = False
        self._start: Response | None = None
        self._fields: Fields = ()  # of that
        self._parts: _Parts | None = None
        self._complete = False  # the response, as far as the application is concerned
        self._ended = False  # it is, or the client has gone
        self._end: Event | None = None  # whoever waits for that
        self.is_over = False  # the call
        self.answer: Response | None = None
        self.waiter: Future[Response] | None = None  # for that

    async def run(self, application: Application) -> None:
        """Call the application."""
        rest = self.begin(application)
        if rest is not None:
            await self.go_on(rest)

    def begin(self, application: Application) -> Awaitable[None] | None:
        """Call the application, as far as it need not wait; return the rest, to be awaited at once."""
        try:
            work = application(self._host.scope("http", self._request), self.receive, self.send)
            if type(work) is not CoroutineType:
                return work
            begun = step(work)
            if isinstance(begun, Rest):
                return begun
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # it is logged, or answered
            self._end_call(error)
        else:
            self._end_call(None)
        return None

    async def go_on(self, rest: Awaitable[None]) -> None:
        """Await what is left of the call."""
        try:
            await rest
        except asyncio.CancelledError as error:
            self._end_call(error)
            raise
        except Exception as error:  # noqa: BLE001  # it is logged, or answered
            self._end_call(error)
        else:
            self._end_call(None)

    def _end_call(self, error: Exception | asyncio.CancelledError | None) -> None:
        """The call has come to its end: see to what it leaves undone."""
        if error is None and not self._complete and not self._ended:
            error = RuntimeError("the application has returned without a whole response")
        if isinstance(error, asyncio.CancelledError):
            self._fail(ConnectionAbortedError("the server ends"))
        elif error is not None:
            if self._complete:
                logger.error("the application has failed after its response", exc_info=error)
            elif not self._ended:
                self._fail(error)
            elif not isinstance(error, OSError):
                logger.error("the application has failed after the client had gone", exc_info=error)
        self.is_over = True
        self._host.calls.discard(self)
        self._note_end()

    async def wait(self) -> Response:
        """Return the response, when it has begun."""
        if self.answer is None:
            self.waiter = get_running_loop().create_future()
            try:
                return await self.waiter
            except asyncio.CancelledError:
                self.end()
                raise
        return self.answer

    async def receive(self) -> Message:
        """Return the next part of the body, or wait for the end."""
        request = self._request
        if self._body_taken:
            if not self._ended:
                self._end = self._end or Event()
                await self._end.wait()
            return {"type": "http.disconnect"}
        if self._stream is None:
            if request.body_arrived:
                self._body_taken = True
                return {"type": "http.request", "body": await request.body(NO_LIMIT), "more_body": False}
            self._stream = request.stream()
        try:
            part = await anext(self._stream)
        except StopAsyncIteration:
            self._body_taken = True
            return {"type": "http.request", "body": b"", "more_body": False}
        except ExtraError:  # the rest does not come, or not in time
            self._body_taken = True
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": True}

    def send(self, message: Message) -> Awaitable[None]:
        """Take a part of the response. Raises OSError when the client has gone."""
        kind = message["type"]
        if self._complete:
            raise RuntimeError(f"{kind!r} after the response")
        if self._ended:
            raise OSError("the client has gone")
        if kind == "http.response.start" and self._start is None:
            self._fields = fields_of(message)
            self._start = response_of(message["status"], self._fields)
            return DONE
        if kind == "http.response.body" and self._start is not None:
            more = message.get("more_body", False)
            data = bytes(message.get("body", b""))
            self._complete = not more
            if more or self._parts is not None or self._request.method == "HEAD":
                return self._send_body(self._start, data, more)
            self._start.body = data
            self._give(self._start)
            self._note_end()
            return DONE
        raise RuntimeError(f"{kind!r} is not what can be sent now")

    def end(self) -> None:
        """Tell the application that the client has gone."""
        self._note_end()
        if self._parts is not None:
            self._parts.finish()

    async def _send_body(self, response: Response, data: bytes, more: bool) -> None:
        response.length = length_of(self._fields)
        if self._parts is not None:
            await self._parts.put(data)
        elif self._request.method == "HEAD":  # how long the body would be, only the application knows
            if self.answer is None:
                response.body = _Parts(lambda: None)
                self._give(response)
        else:
            response.body = self._parts = _Parts(self.end)
            self._give(response)
            await self._parts.put(data)
        if not more:
            if self._parts is not None:
                self._parts.finish()
            self._note_end()

    def _fail(self, error: Exception) -> None:
        if self._parts is not None:
            self._parts.finish(error)
        elif self.answer is None:
            self._give(self._host.failure(error))

    def _give(self, response: Response) -> None:
        """Hand over the response."""
        self.answer = response
        if self.waiter is not None:
            _settle(self.waiter, response)

    def _note_end(self) -> None:
        self._ended = True
        if self._end is not None:
            self._end.set()


class _Parts(AsyncGenerator[bytes, None]):
    """The body of a response, handed over part by part: the application waits until one has been taken."""

    def __init__(self, closed: Callable[[], None]) -> None:
        self._on_close = closed
        self._waiting = b""
        self._some = Event()
        self._room = Event()
        self._finished = False
        self._error: Exception | None = None

    async def put(self, data: bytes) -> None:
        """Hand over `data`. Raises OSError when nobody takes any more."""
        while self._waiting and not self._finished:
            self._room.clear()
            await self._room.wait()
        if self._finished:
            raise OSError("the client has gone")
        self._waiting = data
        self._some.set()

    def finish(self, error: Exception | None = None) -> None:
        """Say that there is no more, or why."""
        self._finished = True
        self._error = error
        self._some.set()
        self._room.set()

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self._error is not None:
                raise self._error
            if self._finished:
                raise StopAsyncIteration
            self._some.clear()
            await self._some.wait()
        data, self._waiting = self._waiting, b""
        self._room.set()
        return data

    async def asend(self, value: None) -> bytes:
        return await self.__anext__()

    async def athrow(self, kind: Any, value: Any = None, traceback: Any = None) -> bytes:
        await self.aclose()
        raise kind

    async def aclose(self) -> None:
        """Take no more. Idempotent."""
        self.finish()
        self._waiting = b""
        self._on_close()


class _Socket(WebSocketTaker):
    """One WebSocket of the application."""

    def __init__(self, host: ASGIHost, request: Request) -> None:
        self._host = host
        self._request = request
        self._received: deque[Message] = deque([{"type": "websocket.connect"}])
        self._some = Event()
        self._some.set()
        self._opened = Event()
        self._writable = Event()
        self._writable.set()
        self._socket: WebSocket | None = None
        self._over = False
        self._refusal: Response | None = None
        self.accepted: Future[Response] = get_running_loop().create_future()

    async def run(self, application: Application) -> None:
        """Call the application."""
        host = self._host
        host.calls.add(self)
        scope = host.scope("websocket", self._request)
        offered = self._request.header("sec-websocket-protocol") or ""
        scope["subprotocols"] = [each.strip() for each in offered.split(",") if each.strip()]
        scope["extensions"] = {"websocket.http.response": {}}
        scope["scheme"] = "wss" if self._request.scheme == "https" else "ws"
        code, reason = 1000, ""
        try:
            await application(scope, self.receive, self.send)
        except asyncio.CancelledError:
            code, reason = 1001, "the server ends"
            raise
        except Exception as error:
            code, reason = 1011, "internal error"
            if not (self._over and isinstance(error, OSError)):
                logger.exception("the application has failed")
        finally:
            host.calls.discard(self)
            _settle(self.accepted, Response(403 if code == 1000 else 500))
            if self._socket is not None:
                self._socket.close(code, reason)

    def end(self) -> None:
        """Close it: the server ends."""
        if self._socket is not None:
            self._socket.close(1001, "the server ends")

    # The application calls these.

    async def receive(self) -> Message:
        """Return the next message, waiting for it."""
        while not self._received:
            self._some.clear()
            await self._some.wait()
        message = self._received[0]
        if message["type"] != "websocket.disconnect":  # which is told again and again
            self._received.popleft()
        if self._socket is not None and len(self._received) < RECEIVED_HIGH_WATER:
            self._socket.resume_reading()
        return message

    async def send(self, message: Message) -> None:
        """Take what the application says. Raises OSError when the client has gone."""
        kind = message["type"]
        if not self.accepted.done():
            self._answer(kind, message)
            if kind == "websocket.accept":
                await self._opened.wait()
            return
        socket = self._socket
        if self._over or socket is None:
            if kind == "websocket.http.response.body" and self._refusal is not None:
                return
            raise OSError("the WebSocket is closed")
        if kind == "websocket.send":
            text = message.get("text")
            if text is not None:
                socket.send_text(text.encode())
            else:
                socket.send_binary(bytes(message["bytes"]))
            if not socket.writable:
                self._writable.clear()
                await self._writable.wait()
        elif kind == "websocket.close":
            socket.close(message.get("code", 1000), message.get("reason") or "")
        else:
            raise RuntimeError(f"{kind!r} is not what can be sent now")

    def _answer(self, kind: str, message: Message) -> None:
        """Take what the application says to the handshake."""
        if kind == "websocket.accept":
            subprotocol = message.get("subprotocol")
            response = WebSocketResponse(
                self,
                subprotocols=[subprotocol] if subprotocol else [],
                headers=decoded(message.get("headers", ())),
            )
            self.accepted.set_result(response)
        elif kind == "websocket.close":
            self.accepted.set_result(Response(403))
        elif kind == "websocket.http.response.start":
            fields = fields_of(message)
            self._refusal = response_of(message["status"], fields)
            self._refusal.length = length_of(fields)
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            body = self._refusal.body
            self._refusal.body = (body if isinstance(body, bytes) else b"") + bytes(message.get("body", b""))
            if not message.get("more_body", False):
                self.accepted.set_result(self._refusal)
        else:
            raise RuntimeError(f"{kind!r} is not what can be sent now")

    # The connection calls these.

    def opened(self, socket: WebSocket) -> None:
        self._socket = socket
        self._opened.set()

    def received_text(self, data: bytes) -> None:
        self._take({"type": "websocket.receive", "text": data.decode()})

    def received_binary(self, data: bytes) -> None:
        self._take({"type": "websocket.receive", "bytes": data})

    def writable(self) -> None:
        self._writable.set()

    def closed(self, code: int, reason: str) -> None:
        self._over = True
        self._socket = None
        self._opened.set()
        self._writable.set()
        self._take({"type": "websocket.disconnect", "code": code, "reason": reason})

    def _take(self, message: Message) -> None:
        self._received.append(message)
        self._some.set()
        if self._socket is not None and len(self._received) >= RECEIVED_HIGH_WATER:
            self._socket.pause_reading()


@lru_cache(maxsize=1024)
def address_of(client: str) -> tuple[str, int] | None:
    """Return the address of a client as a scope has it; None for one of a Unix socket."""
    host, _, port = client.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else None


def asks_for_websocket(request: Request) -> bool:
    """Return whether it is a handshake (RFC 6455 4.1)."""
    for name, value in request.headers:  # noqa: SIM110  # a generator costs more than all of it
        if name == b"upgrade" and value.lower() == b"websocket":
            return True
    return False


def fields_of(message: Message) -> Fields:
    """Return the header fields of a start, to be looked at more than once."""
    fields = message.get("headers", ())
    return fields if isinstance(fields, list | tuple) else list(fields)


def response_of(status: int, fields: Fields) -> Response:
    """Return the response that a start describes, without a body."""
    headers: list[tuple[str, str]] = []
    content_type: str | None = None
    for name, value in fields:
        lower = name.lower()
        if lower == b"content-type" and content_type is None:
            content_type = value.decode("latin-1")
        elif lower not in CONNECTION_FIELDS:
            headers.append((name.decode("latin-1"), value.decode("latin-1")))
    return Response(status, content_type=content_type, headers=headers)


def length_of(fields: Fields) -> int | None:
    """Return how long a body is said to be, None when nothing is said. Needed for those in parts alone."""
    lengths = [value for name, value in fields if name.lower() == b"content-length" and value.isdigit()]
    return int(lengths[-1]) if lengths else None


def decoded(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _settle(future: "Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)
