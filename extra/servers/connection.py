"""One HTTP/1.1 connection: requests in, answers out, in their order.

    state      what it waits for                 and what ends the waiting
    IDLE       the first byte of a request       data; idle_timeout_s: closed
    HEAD       the rest of a head                its end; head_timeout_s: 408
    DRAINING   a body that nobody has read       its end; body_timeout_s: OVER
    HANDLING   the handler, the response's end   that; body_timeout_s: the body fails, as the handler sees
    OVER       nothing: the transport is closing, or belongs to a stream, a WebSocket, a `LingeringConnection`

A request goes to its handler when its head is there, with as much of its body as has arrived. The handler
runs at once, mostly to its end: then the answer is written in the turn of the event loop in which the
request arrived, and no task is made (`call_eagerly`). While one is suspended, further requests wait where
they were received; once they are `RECEIVED_HIGH_WATER_BYTES`, nothing more is read, and the peer's going
away is not noticed until the answer. Of requests that are there together `pipeline_limit` are answered in
one turn, fewer when they take long.

A peer that ends its side ends a suspended handler: it is cancelled, since whoever leaves a long-poll looks
like this. One that has only half-closed does get the answers that need no waiting, and what comes of a cut
body.
"""

import asyncio
from asyncio import CancelledError, Task
from collections.abc import AsyncIterable, Awaitable, Iterable
from math import inf
from time import perf_counter
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import ExtraError, LocalProtocolError
from extra.http import (
    AtOnce,
    Body,
    BodyTruncated,
    Headers,
    Request,
    RequestTimeout,
    Response,
    ServerOverloaded,
    StreamingResponse,
    WebSocketResponse,
)
from extra.protocols.handshake import HandshakeRefused, accept_websocket
from extra.protocols.http1 import (
    CONTINUE,
    LAST_CHUNK,
    BodyPart,
    HTTP1Parser,
    MalformedRequest,
    RequestEnd,
    RequestHead,
    response_head,
)
from extra.protocols.websocket import WebSocketCodec
from extra.servers.context import ServerContext
from extra.servers.eager import call_eagerly, run_in_place
from extra.servers.flow import Flow
from extra.servers.linger import LingeringConnection
from extra.servers.parts import send_parts
from extra.servers.stream import StreamConnection
from extra.servers.websocket import WebSocketConnection

__all__ = ["HTTPConnection"]

RECEIVED_HIGH_WATER_BYTES: Final = 65_536
"""What is kept of a body, or of requests behind the one at work, before the peer has to wait."""

SLICE_S: Final = 0.005
"""After so long, pipelined requests of a connection let others have their turn."""

DRAIN_LIMIT_BYTES: Final = 65_536
"""What is read of a body that nobody wants, so that its connection can go on."""

LINGER_TIMEOUT_S: Final = 5.0

BODY_RATE_BYTES_PER_S: Final = 16_384
"""Bytes of a body that give it a second more, up to body_timeout_s from when they arrive."""

SEPARATE_BYTES: Final = 16_384
"""A body that is larger is not copied behind its head."""

BODILESS: Final = (204, 304)
"""Statuses of responses that have no body, nor a field that says how long it is (RFC 9110 8.6)."""

UPGRADE_REQUIRED: Final = 426

LEAST_STATUS: Final = 200
"""Below, a status is interim: the peer goes on waiting for the response (RFC 9110 15.2)."""

ABNORMAL_CLOSURE: Final = 1006

CHUNKED: Final = "Transfer-Encoding: chunked\r\n"

REFUSING_LIMIT: Final = 1000
"""Connections beyond the limit that are told so at one time; the others are just closed."""

RETRY_AFTER_S: Final = 5

IDLE: Final = 0
HEAD: Final = 1
DRAINING: Final = 2
HANDLING: Final = 3
OVER: Final = 4


@final
@mypyc_attr(native_class=True)
class HTTPConnection(Flow):
    """The protocol of one accepted connection, until a stream or a WebSocket takes it over."""

    __slots__ = (
        "_advancing",
        "_answered",
        "_body",
        "_client",
        "_continued",
        "_deadline",
        "_eof",
        "_head",
        "_parser",
        "_scheduled",
        "_shedding",
        "_started",
        "_state",
        "_task",
    )

    def __init__(self, context: ServerContext) -> None:
        super().__init__(context)
        limits = context.limits
        self._parser = HTTP1Parser(
            head_limit_bytes=limits.head_limit_bytes,
            headers_limit=limits.headers_limit,
            head_limit_name=limits.named("head_limit_bytes"),
            headers_limit_name=limits.named("headers_limit"),
        )
        self._state = IDLE
        self._deadline = inf
        self._client = ""
        self._eof = False  # the peer has ended its side
        self._advancing = False  # `_advance` is at work
        self._scheduled = False  # it will be in the next turn
        self._shedding = False  # requests behind the one at work have been dropped
        # The request at work.
        self._head: RequestHead | None = None
        self._body: Body | None = None  # None also when it has none
        self._task: Task[None] | None = None  # None also while the handler has not suspended
        self._continued = False  # the peer was told to go on with the body
        self._answered = False  # the answer has begun
        self._started = 0.0

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        context = self._context
        context.counters.accepted += 1
        context.counters.http_connections_now += 1
        self._client = format_address(transport.get_extra_info("peername"))
        self._deadline = context.clock() + context.limits.head_timeout_s
        excess = len(context.connections) - context.limits.connections_limit
        if excess > 0:
            context.counters.refused += 1
            name = context.limits.named("connections_limit")
            if excess > REFUSING_LIMIT:
                context.counters.limits_met[name] += 1
                self.abort()
            else:
                message = f"more connections than {name}={context.limits.connections_limit}"
                self._refuse(ServerOverloaded(message, RETRY_AFTER_S))

    def data_received(self, data: bytes) -> None:
        self._context.counters.bytes_received += len(data)
        self._parser.receive_data(data)
        if self._state == HANDLING:
            self._feed_body()
            self._regulate()
        elif not self._scheduled:
            self._advance()

    def eof_received(self) -> bool | None:
        """Note that the peer has ended its side, and say whether there is still something to answer."""
        self._eof = True
        if self._state != HANDLING:
            return self._scheduled or not self.writable  # there are answers due
        if self._body is not None and self._body.awaited:
            self._fail_body(BodyTruncated("connection ended before the body"))
            return True
        if self._task is not None:
            self._task.cancel()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._fail_body(BodyTruncated("connection ended before the body"))
        self._leave()
        if self._task is not None:
            self._task.cancel()

    def resumed(self) -> None:
        if self._state <= DRAINING and not self._advancing and not self._scheduled:
            self._advance()

    # The server calls these.

    def check(self, now: float) -> None:
        super().check(now)
        if now < self._deadline:
            return
        self._deadline = inf
        limits = self._context.limits
        timeouts = self._context.counters.timeouts
        if self._state == IDLE:
            timeouts[limits.named("idle_timeout_s" if self._answered else "head_timeout_s")] += 1
            self._transport.close()
        elif self._state == HEAD:
            timeouts[limits.named("head_timeout_s")] += 1
            limit = f"{limits.named('head_timeout_s')}={limits.head_timeout_s:g}"
            self._refuse(RequestTimeout(f"head not received within {limit}"))
        elif self._state == HANDLING:
            if self._body is not None and self._reading:
                timeouts[limits.named("body_timeout_s")] += 1
                limit = f"{limits.named('body_timeout_s')}={limits.body_timeout_s:g}"
                self._fail_body(RequestTimeout(f"body not received within {limit}"))
        elif self._state == DRAINING:
            timeouts[limits.named("body_timeout_s")] += 1
            self._linger()

    def retire(self) -> None:
        """End now if idle; else after the answer to the request that has begun, which says so."""
        if self._state == IDLE:
            self._transport.close()

    # The body calls this.

    def body_wanted(self) -> None:
        """Let the peer send: the handler waits for it."""
        head = self._head
        if head is not None and head.expect_continue and not self._continued and not self._answered:
            self._continued = True
            self._deadline = self._context.clock() + self._context.limits.body_timeout_s
            self.write(CONTINUE)
        self._regulate()

    # Receiving.

    def _advance(self) -> None:
        """Take up what has been received, until something has to be waited for."""
        self._scheduled = False
        self._advancing = True
        requests_left = self._context.limits.pipeline_limit
        began = 0.0
        try:
            while self._state <= DRAINING and self.writable:
                if not requests_left or (began and perf_counter() - began > SLICE_S):
                    if not requests_left:
                        context = self._context
                        context.counters.limits_met[context.limits.named("pipeline_limit")] += 1
                    self._advance_later()
                    break
                event = self._parser.next_event()
                if event is None:
                    self._starve()
                    if self._reading and not self._parser.in_message and not self._kept_bytes:
                        return
                    break
                if isinstance(event, RequestHead):
                    requests_left -= 1
                    if not began and self._parser.has_more:
                        began = perf_counter()
                    self._begin(event)
                elif isinstance(event, RequestEnd):
                    self._await_request()  # a body has been drained
        except MalformedRequest as error:
            self._context.counters.protocol_errors += 1
            self._refuse(error)
        finally:
            self._advancing = False
        self._regulate()

    def _advance_later(self) -> None:
        """Go on in another turn: others come first, and what the last request left in the context is gone."""
        self._scheduled = True
        self._context.loop.call_soon(self._advance, context=self._context.background)

    def _starve(self) -> None:
        """Wait for data, if there is more to come."""
        if self._eof:
            self._transport.close()
        elif self._state == IDLE and self._parser.in_message:
            self._state = HEAD
            self._deadline = self._context.clock() + self._context.limits.head_timeout_s

    def _begin(self, head: RequestHead) -> None:
        """Hand a request to its handler."""
        context = self._context
        self._state = HANDLING
        self._deadline = inf
        self._head = head
        self._answered = False
        if context.access_log is not None:
            self._started = context.stopwatch()
        body: Body | bytes = b""
        if head.has_body:
            limit = context.limits.body_limit_bytes
            body = self._body = Body(self, length=head.content_length, limit_bytes=limit)
            self._continued = False
            if not head.expect_continue:
                self._deadline = context.clock() + context.limits.body_timeout_s
            self._feed_body()
        request = Request(head.method, head.target, head.headers, head.http_version, self._client, body)
        if context.at_once is not None and self._answer_at_once(request, context.at_once):
            return
        try:
            self._task = call_eagerly(self._attend, request, context.loop)
        except CancelledError:
            self.abort()
        except Exception as error:  # noqa: BLE001  # it is logged
            self._break_off(request, error)

    def _feed_body(self) -> None:
        """Give the body what has been received of it."""
        body = self._body
        limit = self._context.limits.body_timeout_s
        try:
            while body is not None and not body.ended and (event := self._parser.next_event()) is not None:
                if isinstance(event, BodyPart):
                    body.feed(event.data)
                    earned = self._deadline + len(event.data) / BODY_RATE_BYTES_PER_S
                    self._deadline = min(earned, self._context.clock() + limit)
                else:
                    body.end()
                    self._deadline = inf
        except MalformedRequest as error:
            self._context.counters.protocol_errors += 1
            self._fail_body(error)

    def _fail_body(self, error: ExtraError) -> None:
        """Tell the handler that the rest of the body will not come, and look at nothing that does."""
        if self._body is not None and not self._body.ended:
            self._body.fail(error)
        self._deadline = inf
        self._parser.close()

    def _regulate(self) -> None:
        """Read, unless enough lies here already."""
        if self._state == OVER:
            return
        body = self._body
        kept = self._parser.held_bytes
        if body is not None:
            kept += body.held_bytes
        if not self._keep(kept):
            self._shed()
            return
        enough = self._parser.unparsed_bytes >= RECEIVED_HIGH_WATER_BYTES or (
            body is not None and body.buffered_bytes >= RECEIVED_HIGH_WATER_BYTES
        )
        if enough:
            self.pause_reading()
        elif not self._reading and not self._eof:
            if body is not None and not body.ended:  # the peer was made to wait, and is not to blame
                self._deadline = self._context.clock() + self._context.limits.body_timeout_s
            self.resume_reading()

    def _shed(self) -> None:
        """Refuse what is coming in: more is kept for all connections than receive_limit_bytes allow."""
        limits = self._context.limits
        name = limits.named("receive_limit_bytes")
        message = (
            f"unfinished requests of all connections are larger than {name}={limits.receive_limit_bytes}"
        )
        error = ServerOverloaded(message, RETRY_AFTER_S)
        if self._state == DRAINING:  # it has its answer
            self._context.counters.limits_met[name] += 1
            self._linger()
        elif self._state != HANDLING:
            self._refuse(error)
        elif self._body is not None and not self._body.ended:
            self._fail_body(error)
        else:  # requests behind the one at work: RFC 9112 9.3.2 has the peer send them again elsewhere
            self._context.counters.limits_met[name] += 1
            self._shedding = True
            self._parser.close()
            self._keep(0 if self._body is None else self._body.held_bytes)

    # Answering.

    def _answer_at_once(self, request: Request, at_once: AtOnce) -> bool:
        """Have `request` answered without a coroutine, if its handler needs none."""
        try:
            response = at_once(request)
            if response is None:
                return False
            rest = self._answer(request, response)
        except Exception as error:
            if self._answered:
                raise
            rest = self._answer(request, self._failure(request, error))
        assert rest is None, "what is answered at once has bytes for a body"
        return True

    def _attend(self, request: Request) -> Task[None] | None:
        """Have `request` answered, as far as that needs no waiting; return the task that does the rest."""
        context = self._context
        answer: Response | Awaitable[Response]
        try:
            answer = context.begin(request)
            rest = self._answer(request, answer) if isinstance(answer, Response) else None
        except Exception as error:
            if self._answered:
                raise
            answer = self._failure(request, error)
            rest = self._answer(request, answer)
        if rest is None and isinstance(answer, Response):
            return None
        return run_in_place(self._serve(request, answer, rest), context.tasks, context.loop)

    async def _serve(
        self, request: Request, answer: Response | Awaitable[Response], rest: Awaitable[None] | None
    ) -> None:
        """Wait for `answer`, and send it, or only the `rest` of one that is there.

        Cancelled when the peer is gone; being cancelled otherwise aborts it.
        """
        try:
            if not isinstance(answer, Response):
                try:
                    rest = self._answer(request, await answer)
                except Exception as error:
                    if self._answered:
                        raise
                    rest = self._answer(request, self._failure(request, error))
            if rest is not None:
                await rest
        except Exception as error:  # noqa: BLE001  # it is logged
            self._break_off(request, error)
        except BaseException:
            if not self._transport.is_closing():
                self.abort()
            raise

    def _break_off(self, request: Request, error: Exception) -> None:
        """End the connection in the middle of a response, as there is nothing else left to tell the peer."""
        self._context.log_failure(error, request)
        if not self._transport.is_closing():
            self.abort()

    def _failure(self, request: Request, error: Exception) -> Response:
        """Return the response to what a handler has raised."""
        response = self._context.failure(error, request)
        if isinstance(error, HandshakeRefused):
            response.headers = [*response.headers, *decoded(error.headers)]
        return response

    def _answer(self, request: Request, response: Response) -> Awaitable[None] | None:
        """Send what can be sent at once, which mostly is all; return what sends the rest.

        Raises:
            ExtraError: there is something else to be answered, if `_answered` is not set yet.
        """
        if response.status < LEAST_STATUS and not isinstance(response, WebSocketResponse):
            raise LocalProtocolError(f"status {response.status}, which ends no request")
        if type(response) is not Response:  # one look instead of two, nearly always
            if isinstance(response, StreamingResponse):
                self._open_stream(request, response)
                return None
            if isinstance(response, WebSocketResponse):
                self._open_websocket(request, response)
                return None
        body = response.body
        bodiless = response.status in BODILESS
        head_only = bodiless or request.method == "HEAD"
        keep_alive = self._may_go_on()
        if isinstance(body, bytes):
            size = len(body)
            is_usual = not (response.headers or bodiless or response.status == UPGRADE_REQUIRED)
            if is_usual and keep_alive and request.http_version == "1.1":
                head = self._context.usual_head(response.status, response.content_type, size)
            else:
                framing = "" if bodiless else f"Content-Length: {size}\r\n"
                head = self._make_head(response, framing, keep_alive)
            self._answered = True
            if head_only:
                size = 0
                self.write(head)
            elif size < SEPARATE_BYTES:
                self.write(head + body)
            else:
                self.write(head)
                self.write(body)
            self._finish(request, response.status, size, keep_alive)
            return None
        length = response.length
        chunked = length is None and request.http_version == "1.1"
        if length is None:
            keep_alive = keep_alive and chunked  # else the end of the connection is what ends the body
        framing = CHUNKED if chunked else f"Content-Length: {length}\r\n" if length is not None else ""
        self.write(self._make_head(response, "" if bodiless else framing, keep_alive))
        self._answered = True
        if head_only:
            self._finish(request, response.status, 0, keep_alive)
            return None
        return self._send_parts(request, response.status, body, length, chunked, keep_alive)

    async def _send_parts(
        self,
        request: Request,
        status: int,
        parts: AsyncIterable[bytes],
        length: int | None,
        chunked: bool,
        keep_alive: bool,
    ) -> None:
        """Send `parts` as fast as the peer takes them. Raises LocalProtocolError if they are not `length`."""
        written = self._written
        try:
            size = await send_parts(self, parts, length, chunked)
            if length is not None and size != length:
                raise LocalProtocolError(f"body of {length} bytes that is not as long")
        except BaseException:
            self._count(request, status, self._written - written)  # as far as it came
            raise
        if chunked:
            self.write(LAST_CHUNK)
        self._finish(request, status, size, keep_alive)

    def _open_stream(self, request: Request, response: StreamingResponse) -> None:
        """Send the head, and give the connection to the taker."""
        taker = response.taker
        try:
            head = self._make_head(response, "", False)
        except LocalProtocolError:
            taker.closed()
            raise
        self.write(head)
        self._answered = True
        if request.method == "HEAD" or not self._peer_is_there():
            taker.closed()
            self._finish(request, response.status, 0, False)
            return
        self._count(request, response.status, 0)
        self._leave()
        self._hand_over(StreamConnection(self._context, taker))

    def _open_websocket(self, request: Request, response: WebSocketResponse) -> None:
        """Check the handshake, answer it, and give the connection to the taker.

        Raises:
            ExtraError: it is none, or a header field of ours cannot be sent; the taker knows that it is
            closed.
        """
        taker = response.taker
        head = self._head
        try:
            if head is None or not self._peer_is_there():
                raise BodyTruncated("connection ended before the handshake")
            if head.has_body:
                raise MalformedRequest("body in a WebSocket handshake")
            accepted = accept_websocket(
                head.headers,
                head.method,
                head.http_version,
                subprotocols=response.subprotocols,
                deflate=response.deflate,
            )
            fields = [*decoded(accepted.headers), *response.headers]
            answer = response_head(accepted.status, fields, self._context.common_lines)
        except ExtraError:
            taker.closed(ABNORMAL_CLOSURE, "")
            raise
        self.write(answer)
        self._answered = True
        self._count(request, accepted.status, 0)
        codec = WebSocketCodec(
            frame_limit_bytes=self._context.limits.frame_limit_bytes or response.frame_limit_bytes,
            deflate=accepted.deflate,
            frame_limit_name=self._context.limits.named("frame_limit_bytes"),
        )
        codec.receive_data(self._parser.take_rest())
        self._leave()
        self._hand_over(WebSocketConnection(self._context, codec, taker, accepted.subprotocol))

    def _make_head(self, response: Response, framing: str, keep_alive: bool) -> bytes:
        """Return the head of `response`. `framing` is the line that says where its body ends, or empty.

        Raises:
            LocalProtocolError: a header field is not one that can be sent.
        """
        if response.status == UPGRADE_REQUIRED and response.header("connection") is None:
            framing += "Connection: upgrade\r\n"  # RFC 9110 7.8: the field Upgrade is for this connection
        if not keep_alive:
            framing += "Connection: close\r\n"
        elif self._head is not None and self._head.http_version == "1.0":
            framing += "Connection: keep-alive\r\n"
        headers = response.headers
        if response.content_type is not None:
            headers = (("Content-Type", response.content_type), *headers)
        return response_head(response.status, headers, framing + self._context.common_lines)

    def _may_go_on(self) -> bool:
        """Say whether another request may follow on this connection."""
        head = self._head
        if head is None or not head.keep_alive or self._shedding or self._context.draining:
            return False
        body = self._body
        if body is None or body.ended:
            return True
        if body.failed or body.length is None or (head.expect_continue and not self._continued):
            return False  # the rest will not come, may have no end, or may not come
        return body.length - body.received_bytes <= DRAIN_LIMIT_BYTES

    def _count(self, request: Request, status: int, size: int) -> None:
        context = self._context
        context.counters.requests[request.method, status] += 1
        if context.access_log is not None:
            context.access_log(request, status, size, context.stopwatch() - self._started)

    def _finish(self, request: Request, status: int, size: int, keep_alive: bool) -> None:
        """The answer is complete: go on with the next request, or end."""
        self._count(request, status, size)
        body = self._body
        self._head = self._body = self._task = None
        if self._state == OVER:
            return
        if body is None or body.ended:
            if keep_alive:
                self._await_request()
            else:
                self._end()
        else:
            body.fail(LocalProtocolError("the request has been answered"))
            if keep_alive:
                self._state = DRAINING
                self._deadline = self._context.clock() + self._context.limits.body_timeout_s
            else:
                self._linger()
        if not self._advancing:
            self._advance_later()

    def _await_request(self) -> None:
        self._state = IDLE
        self._deadline = self._context.clock() + self._context.limits.idle_timeout_s

    def _refuse(self, error: ExtraError) -> None:
        """Answer to what is not a request, or not wanted, and end."""
        response = self._context.error_response(error)
        body = response.body if isinstance(response.body, bytes) else b""
        self.write(self._make_head(response, f"Content-Length: {len(body)}\r\n", False) + body)
        self._context.counters.requests["", response.status] += 1
        self._linger()

    def _end(self) -> None:
        """End the connection when everything is sent: the peer has nothing more to say."""
        self._leave()
        self._transport.close()

    def _linger(self) -> None:
        """End our side when everything is sent, and let the peer, which may be sending, end its own."""
        if self._eof:
            self._end()
            return
        self._leave()
        self._hand_over(LingeringConnection(self._context, LINGER_TIMEOUT_S))

    def _peer_is_there(self) -> bool:
        return self._state != OVER and not self._eof

    def _leave(self) -> None:
        """Be no connection for HTTP any more."""
        if self._state != OVER:
            self._state = OVER
            self._context.counters.http_connections_now -= 1
            self._fail_body(LocalProtocolError("the request has been answered"))
            self._keep(0)


def decoded(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return header fields as text."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


def format_address(address: object) -> str:
    """Return the address of a peer as text, with its port; empty for what has none, such as a Unix socket."""
    match address:
        case (str(host), int(port), *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return ""
