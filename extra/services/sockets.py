"""WebSockets as methods hold them: `@on(WEBSOCKET="/echo")`.

    @on(WEBSOCKET="/echo")
    async def echo(self, socket: Socket) -> None:
        async for message in socket:
            await socket.send(message)

The method runs in a task of its own from when the WebSocket is open. When it returns, the WebSocket is
closed; when the client leaves first, receiving and sending end, and a method that goes on nevertheless is
given `leave_timeout_s` before it is cancelled.
"""

import inspect
import logging
from asyncio import CancelledError, Event, Task, get_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self

import msgspec

from extra.errors import ChannelClosed, ExtraError, InvalidPayload, LocalProtocolError
from extra.http import (
    HTTPError,
    Pattern,
    Request,
    Response,
    WebSocket,
    WebSocketResponse,
    WebSocketTaker,
)
from extra.services.arguments import Signature
from extra.services.declarations import Declarations, Declared
from extra.services.endpoint import bound_step
from extra.services.limits import AnswerLimit, ServiceLimits, within

__all__ = ["Socket", "SocketEndpoint", "asks_for_websocket"]

logger = logging.getLogger("extra.services")

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
POLICY: Final = 1008
INTERNAL_ERROR: Final = 1011

REASON_LIMIT_BYTES: Final = 120
"""What fits into a close frame (RFC 6455 5.5)."""


class UpgradeRequired(HTTPError):
    """What is here speaks another protocol."""

    code = "upgrade_required"
    status = 426


class Socket:
    """One open WebSocket. One task at a time may receive, and any may send."""

    def __init__(self, request: Request, waiting_limit: int) -> None:
        self.request = request
        self.close_code = 0
        """The code of the close frame, from whichever side; 0 while it is open, 1006 when it was lost."""
        self._waiting_limit = waiting_limit
        self._received: deque[str | bytes] = deque()
        self._some = Event()
        self._writable = Event()
        self._writable.set()
        self._wire: WebSocket | None = None

    @property
    def subprotocol(self) -> str | None:
        """What the handshake has settled on, of what was declared."""
        return self._wire.subprotocol if self._wire is not None else None

    @property
    def is_closed(self) -> bool:
        """Whether it is over."""
        return self.close_code != 0

    async def receive(self) -> str | bytes:
        """Return the next message: text as `str`, binary as `bytes`. Cancel-safe.

        Raises:
            ChannelClosed: it is over, and all that came has been returned.
        """
        while not self._received:
            if self.is_closed:
                raise ChannelClosed(f"the WebSocket is closed ({self.close_code})")
            self._some.clear()
            await self._some.wait()
        message = self._received.popleft()
        if self._wire is not None and len(self._received) < self._waiting_limit:
            self._wire.resume_reading()
        return message

    async def receive_json(self, kind: Any = Any) -> Any:
        """Return the next message, decoded from JSON and checked to be a `kind`, any type msgspec knows.

        Raises:
            ChannelClosed: as `receive`. InvalidPayload: it is something else.
        """
        try:
            return msgspec.json.decode(await self.receive(), type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidPayload(f"message is not what it has to be: {error}") from None

    async def send(self, message: object) -> None:
        """Send a message: text and bytes as they are, anything else as JSON text.

        Waits while the client does not take what was sent before.

        Raises:
            ChannelClosed: it is over.
            TypeError: it cannot be written as JSON.
        """
        await self._writable.wait()
        wire = self._wire
        if wire is None:
            raise ChannelClosed(f"the WebSocket is closed ({self.close_code})")
        if isinstance(message, bytes):
            wire.send_binary(message)
        else:
            wire.send_text(message.encode() if isinstance(message, str) else msgspec.json.encode(message))
        if not wire.writable:
            self._writable.clear()

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close it, after what has been sent. Idempotent."""
        if self._wire is not None:
            self._wire.close(code, reason.encode()[:REASON_LIMIT_BYTES].decode(errors="ignore"))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        try:
            return await self.receive()
        except ChannelClosed:
            raise StopAsyncIteration from None


class SocketEndpoint:
    """One method of a service, for the WebSockets of one pattern. `name` is how the log calls it."""

    def __init__(
        self,
        method: Callable[..., object],
        declared: Declared,
        declarations: Declarations,
        pattern: Pattern,
        *,
        service: object,
        limits: ServiceLimits,
        surrounded: bool,
        spawn: Callable[[Coroutine[Any, Any, None]], Task[None]],
        failure: Callable[[Exception, Request, str], Response],
    ) -> None:
        """Read the signature of `method`, a coroutine function bound to `service`.

        `spawn` makes tasks; `surrounded` and `failure` are as for `Endpoint`.

        Raises TypeError as `Signature` does, and when it is none.
        """
        self.name = f"WEBSOCKET {pattern.text} ({method.__qualname__})"
        if not inspect.iscoroutinefunction(method):
            raise TypeError("a method that holds a WebSocket has to be async")
        self.open: set[_Holder] = set()
        self._method = method
        self._signature = Signature(method, {"request": Request, "socket": Socket}, pattern.kinds, others=str)
        self._before = [bound_step(step, service) for step in declarations.before]
        self.leave_timeout_s = limits.leave_timeout_s
        self._limits = limits
        self._timeout_s = limits.timeout_s if declared.timeout_s is None else declared.timeout_s
        self._is_surrounded = surrounded
        self._subprotocols = declared.subprotocols
        self._spawn = spawn
        self._failure = failure

    async def __call__(self, request: Request) -> Response:
        """Consent to a WebSocket, unless a step before refuses. Raises what that, or an argument, raises."""
        try:
            if self._is_surrounded:
                limit = AnswerLimit.of(request, self._timeout_s)
                refusal = await limit.inside(self._timeout_s, self._refuse(request))
            else:
                refusal = await within(self._timeout_s, self._refuse(request))
        except Exception as error:
            if isinstance(error, ExtraError) and not isinstance(error, LocalProtocolError):
                raise
            logger.exception("%s has failed before the handshake", self.name)
            return self._failure(error, request, self.name)
        if refusal is not None:
            return refusal
        arguments = self._signature.arguments_of(request)
        socket = Socket(request, self._limits.socket_waiting_limit)
        for name, usual in self._signature.given.items():
            if usual == "socket":
                arguments[name] = socket
        holder = _Holder(self, socket, arguments)
        return WebSocketResponse(
            holder, subprotocols=self._subprotocols, frame_limit_bytes=self._limits.frame_limit_bytes
        )

    async def refuse(self, request: Request) -> Response:
        """Answer whoever asks without an upgrade, where nothing else is."""
        raise UpgradeRequired("this is a WebSocket", headers=[("Upgrade", "websocket")])

    async def _refuse(self, request: Request) -> Response | None:
        for step in self._before:
            value = step(request)
            if inspect.isawaitable(value):
                value = await value
            if value is not None:
                return value if isinstance(value, Response) else request.respond(value)
        return None

    def drain(self) -> None:
        """Close every WebSocket: the host shuts down."""
        for holder in list(self.open):
            holder.socket.close(GOING_AWAY, "the server ends")

    def run(self, holder: "_Holder") -> Task[None]:
        """Call the method in a task."""
        return self._spawn(self._run(holder))

    async def _run(self, holder: "_Holder") -> None:
        socket = holder.socket
        code, reason = NORMAL, ""
        try:
            await self._method(**holder.arguments)
        except CancelledError:
            code, reason = GOING_AWAY, "the server ends"
            logger.info("%s: cancelled: the client has gone, or the server ends", self.name)
            raise
        except Exception as error:
            if isinstance(error, ChannelClosed) and socket.is_closed:
                pass  # the client has gone
            elif isinstance(error, ExtraError):
                code, reason = POLICY, str(error)
            else:
                code, reason = INTERNAL_ERROR, "internal error"
                logger.exception("%s has failed", self.name)
        finally:
            holder.task = None
            socket.close(code, reason)


class _Holder(WebSocketTaker):
    """Between a connection and the method: one of a WebSocket."""

    def __init__(self, endpoint: SocketEndpoint, socket: Socket, arguments: dict[str, Any]) -> None:
        self.endpoint = endpoint
        self.socket = socket
        self.arguments = arguments
        self.task: Task[None] | None = None

    def opened(self, socket: WebSocket) -> None:
        self.socket._wire = socket
        self.endpoint.open.add(self)
        self.task = self.endpoint.run(self)

    def received_text(self, data: bytes) -> None:
        self._take(data.decode())

    def received_binary(self, data: bytes) -> None:
        self._take(data)

    def writable(self) -> None:
        self.socket._writable.set()

    def closed(self, code: int, reason: str) -> None:
        socket = self.socket
        socket._wire = None
        socket.close_code = code
        socket._some.set()
        socket._writable.set()
        self.endpoint.open.discard(self)
        if self.task is not None:
            get_running_loop().call_later(self.endpoint.leave_timeout_s, self._give_up, self.task)

    def _give_up(self, task: Task[None]) -> None:
        """Cancel a method that goes on although the client has gone."""
        task.cancel()

    def _take(self, message: str | bytes) -> None:
        socket = self.socket
        socket._received.append(message)
        socket._some.set()
        if socket._wire is not None and len(socket._received) >= socket._waiting_limit:
            socket._wire.pause_reading()


def asks_for_websocket(request: Request) -> bool:
    """Say whether a request wants to become a WebSocket; whether it may, the handshake says."""
    return (request.header("upgrade") or "").lower() == "websocket"
