"""Driving services and brokers in a test, without sockets: requests go straight to the application.

    async with TestClient(Services(Rooms)) as client:
        answer = await client.post("/rooms/7/say", json={"text": "hello"})
        assert answer.status == 200

    async with TestClient(broker.asgi()) as client:         # every face of a broker
        async with client.events("/t/news") as events:
            await client.post("/t/news", json={"text": "hello"})
            assert (await events.receive()).data

Entering the client starts the application, and leaving it stops it, as a server would.
"""

from asyncio import Event, Task, create_task, wait
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Protocol, Self
from urllib.parse import quote, urlencode

import msgspec

from extra.errors import ChannelClosed, ExtraError
from extra.http import (
    Body,
    BodySource,
    Handler,
    Request,
    Response,
    Stream,
    StreamingResponse,
    WebSocket,
    WebSocketResponse,
    WebSocketTaker,
)
from extra.protocols.sse import Event as StreamEvent
from extra.protocols.sse import EventParser
from extra.protocols.websocket import BINARY, TEXT, server_frame
from extra.pubsub import Broker
from extra.services import Services

__all__ = ["Answer", "TestClient", "TestEvents", "TestSocket"]

HOST: Final = "localhost"
"""The `Host` of requests: one that a broker answers under with its usual settings."""

BODILESS: Final = (204, 304)


class Hosted(Protocol):
    """What `extra.server` and `broker.asgi` make: a handler, and what is entered around it."""

    handler: Handler
    life: AbstractAsyncContextManager[object]

    @property
    def drain(self) -> Callable[[], None]:
        """End what goes on: called before the application is left."""


class Answer:
    """What a client has got: the head, and the body once it has been read."""

    def __init__(self, response: Response, method: str = "GET") -> None:
        self.response = response
        self.status = response.status
        self.headers = list(response.headers)
        if response.content_type is not None:
            self.headers.insert(0, ("Content-Type", response.content_type))
        self.body = b""
        self._is_bodiless = method == "HEAD" or response.status in BODILESS
        self._stream: _MemoryStream | None = None

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body[:200]!r}>"

    def header(self, name: str) -> str | None:
        """Return the first value of a header field, None when it is not there."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body, decoded from JSON."""
        return msgspec.json.decode(self.body)

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Iterate over the body as it comes, for `TestClient.stream`."""
        body = self.response.body
        if self._is_bodiless:
            return  # as no server would send it
        if isinstance(self.response, StreamingResponse):
            stream = self._stream = _MemoryStream(self.response)
            async for part in stream.parts():
                yield part
        elif isinstance(body, bytes):
            if body:
                yield body
        else:
            async for part in body:
                yield part

    async def close(self) -> None:
        """Leave, as a client does that has had enough. Idempotent."""
        body = self.response.body
        if isinstance(self.response, StreamingResponse):
            (self._stream or _MemoryStream(self.response)).end()
        elif isinstance(body, AsyncGenerator):
            await body.aclose()


class TestClient:
    """A client of one application, in the process and the event loop of the test. Keeps cookies."""

    __test__ = False  # it is no test of pytest's

    def __init__(self, application: Services | Hosted) -> None:
        self.cookies: dict[str, str] = {}
        self._handler: Handler
        life: AbstractAsyncContextManager[object]
        if isinstance(application, Services):
            self._handler, life = application.handle, application
        else:
            self._handler, life = application.handler, application.life
        self._drain = application.drain
        self._life = life
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._life)
        self._stack.callback(self._drain)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, traceback)

    @property
    def services(self) -> Services:
        """The services inside. Raises LookupError when the application is made of something else."""
        if not isinstance(self._life, Services):
            raise LookupError("the application is not made of services")
        return self._life

    @property
    def broker(self) -> Broker:
        """The broker of the services. Raises LookupError when the application is made of something else."""
        return self.services.broker

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | str | AsyncIterable[bytes] = b"",
        json: object = msgspec.UNSET,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, and return its answer, read to the end."""
        async with self.stream(
            method, path, query=query, headers=headers, content=content, json=json, form=form
        ) as answer:
            answer.body = b"".join([part async for part in answer.parts()])
        return answer

    async def get(self, path: str, **options: Any) -> Answer:
        """Send a GET."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        """Send a POST."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Answer:
        """Send a PUT."""
        return await self.request("PUT", path, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        """Send a DELETE."""
        return await self.request("DELETE", path, **options)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | str | AsyncIterable[bytes] = b"",
        json: object = msgspec.UNSET,
        form: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Answer]:
        """Send a request, and give its answer as soon as it begins: its body comes from `Answer.parts`."""
        fields = {"host": HOST}
        if self.cookies:
            fields["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if json is not msgspec.UNSET:
            content = msgspec.json.encode(json)
            fields["content-type"] = "application/json"
        if form is not None:
            content = urlencode(form).encode()
            fields["content-type"] = "application/x-www-form-urlencoded"
        fields.update({name.lower(): value for name, value in (headers or {}).items()})
        feeder: _Feeder | None = None
        body: Body | bytes
        if isinstance(content, str):
            body = content.encode()
        elif isinstance(content, bytes):
            body = content
        else:
            feeder = _Feeder(content)
            body = feeder.body
        request = Request(
            method,
            _target_of(path, query),
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()],
            client="127.0.0.1:50000",
            body=body,
        )
        try:
            answer = Answer(await self._handler(request), method)
            self._keep_cookies(answer)
            try:
                yield answer
            finally:
                await answer.close()
        finally:
            if feeder is not None:
                await feeder.close()

    @asynccontextmanager
    async def events(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        last_event_id: str = "",
    ) -> AsyncIterator["TestEvents"]:
        """Open an event stream, and leave it at the end. `last_event_id` is where it goes on from.

        Raises:
            ConnectionRefusedError: the answer is another one; it is in `args`, as an `Answer`.
        """
        fields = {"accept": "text/event-stream", **(headers or {})}
        if last_event_id:
            fields["last-event-id"] = last_event_id
        async with self.stream("GET", path, query=query, headers=fields) as answer:
            if not (answer.header("content-type") or "").startswith("text/event-stream"):
                answer.body = b"".join([part async for part in answer.parts()])
                raise ConnectionRefusedError(answer)
            parts = answer.parts()
            try:
                yield TestEvents(parts)
            finally:
                await parts.aclose()

    @asynccontextmanager
    async def websocket(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
    ) -> AsyncIterator["TestSocket"]:
        """Open a WebSocket, and close it at the end.

        Raises:
            ConnectionRefusedError: the answer is another one; it is in `args`, as an `Answer`.
        """
        fields = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13"}
        if subprotocols:
            fields["sec-websocket-protocol"] = ", ".join(subprotocols)
        fields.update(headers or {})
        async with self.stream("GET", path, query=query, headers=fields) as answer:
            response = answer.response
            if not isinstance(response, WebSocketResponse):
                answer.body = b"".join([part async for part in answer.parts()])
                raise ConnectionRefusedError(answer)
            subprotocol = next((each for each in subprotocols if each in response.subprotocols), None)
            socket = TestSocket(response.taker, subprotocol)
            response.taker.opened(socket.wire)
            try:
                yield socket
            finally:
                await socket.close()

    def _keep_cookies(self, answer: Answer) -> None:
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                cookie, _, attributes = value.partition(";")
                key, _, text = cookie.partition("=")
                self.cookies[key] = text
                if "max-age=0" in attributes.lower().replace(" ", "").split(";"):
                    del self.cookies[key]


class TestEvents:
    """The client's side of an event stream, read as a browser does. `last_event_id` resumes it."""

    __test__ = False  # it is no test of pytest's

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self._parser = EventParser()

    @property
    def last_event_id(self) -> str:
        """The last `id` that came."""
        return self._parser.last_event_id

    async def receive(self) -> StreamEvent:
        """Return the next event. Raises ChannelClosed when the stream has ended."""
        while (event := self._parser.next_event()) is None:
            part = await anext(self._parts, None)
            if part is None:
                raise ChannelClosed("the event stream has ended")
            self._parser.receive_data(part)
        return event

    async def receive_json(self) -> Any:
        """Return the data of the next event, decoded from JSON."""
        return msgspec.json.decode((await self.receive()).data)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        try:
            return await self.receive()
        except ChannelClosed:
            raise StopAsyncIteration from None


class TestSocket:
    """The client's side of a WebSocket."""

    __test__ = False  # it is no test of pytest's

    def __init__(self, taker: WebSocketTaker, subprotocol: str | None) -> None:
        self.subprotocol = subprotocol
        self.close_code = 0
        """The code of the first close frame, from whichever side; 0 while it is open."""
        self.close_reason = ""
        self.wire = _MemorySocket(self)
        self._taker = taker
        self._received: deque[str | bytes] = deque()
        self._some = Event()

    async def send(self, message: str | bytes) -> None:
        """Send a message. Waits while the other side wants none. Raises ChannelClosed when it is over."""
        await self.wire.wanted.wait()
        if self.close_code:
            raise ChannelClosed(f"the WebSocket is closed ({self.close_code})")
        if isinstance(message, str):
            self._taker.received_text(message.encode())
        else:
            self._taker.received_binary(message)

    async def send_json(self, value: object) -> None:
        """Send a value as JSON text."""
        await self.send(msgspec.json.encode(value).decode())

    async def receive(self) -> str | bytes:
        """Return the next message. Raises ChannelClosed when it is over, and all has been returned."""
        while not self._received:
            if self.close_code:
                raise ChannelClosed(f"the WebSocket is closed ({self.close_code}): {self.close_reason}")
            self._some.clear()
            await self._some.wait()
        return self._received.popleft()

    async def receive_json(self) -> Any:
        """Return the next message, decoded from JSON."""
        return msgspec.json.decode(await self.receive())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Leave. Idempotent."""
        self.end(code, reason)

    def take(self, message: str | bytes) -> None:
        """Note a message of the other side."""
        if not self.close_code:
            self._received.append(message)
            self._some.set()

    def end(self, code: int, reason: str) -> None:
        """Be over, and tell the other side."""
        if not self.close_code:
            self.close_code = code
            self.close_reason = reason
            self._some.set()
            self.wire.wanted.set()
            self._taker.closed(code, reason)


class _MemorySocket(WebSocket):
    """What the application writes to, with a `TestSocket` at the other end."""

    def __init__(self, peer: TestSocket) -> None:
        self.writable = True
        self.deflate = False
        self.subprotocol = peer.subprotocol
        self.wanted = Event()
        self.wanted.set()
        self._peer = peer

    def write(self, data: bytes) -> None:
        start = 0
        while start < len(data):  # frames, as `server_frame` makes them
            size = data[start + 1]
            body = start + 2
            if size > 125:
                body += 2 if size == 126 else 8
                size = int.from_bytes(data[start + 2 : body], "big")
            payload = data[body : body + size]
            self._peer.take(payload.decode() if data[start] & 0x0F == TEXT else payload)
            start = body + size

    def send_text(self, data: bytes) -> None:
        self.write(server_frame(TEXT, data))

    def send_binary(self, data: bytes) -> None:
        self.write(server_frame(BINARY, data))

    def ping(self, payload: bytes = b"") -> None: ...

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._peer.end(code, reason)

    def write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.wanted.clear()

    def resume_reading(self) -> None:
        self.wanted.set()

    def abort(self) -> None:
        self._peer.end(1006, "")


class _MemoryStream(Stream):
    """What the application writes a stream to, with the test at the other end."""

    def __init__(self, response: StreamingResponse) -> None:
        self.writable = True
        self._taker = response.taker
        self._parts: deque[bytes] = deque()
        self._some = Event()
        self._opened = False
        self._ended = False

    async def parts(self) -> AsyncIterator[bytes]:
        """Open it, and iterate over what is written."""
        if not self._opened:
            self._opened = True
            self._taker.opened(self)
        while self._parts or not self._ended:
            if self._parts:
                yield self._parts.popleft()
            else:
                self._some.clear()
                await self._some.wait()

    def end(self) -> None:
        """Be over, and tell the application."""
        if not self._ended:
            self._ended = True
            self._some.set()
            self._taker.closed()

    def write(self, data: bytes) -> None:
        if not self._ended:
            self._parts.append(data)
            self._some.set()

    def write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.end()

    def abort(self) -> None:
        self.end()


class _Feeder(BodySource):
    """Feeds a body from an iterable, a part at a time, when the handler wants it."""

    def __init__(self, parts: AsyncIterable[bytes]) -> None:
        self._parts = aiter(parts)
        self._task: Task[None] | None = None
        self.body = Body(self)

    def body_wanted(self) -> None:
        if self._task is None or self._task.done():
            self._task = create_task(self._feed())

    async def close(self) -> None:
        """Let go of the iterable, and of what waits for it."""
        if self._task is not None:
            self._task.cancel()
            await wait([self._task])
        if isinstance(self._parts, AsyncGenerator):
            await self._parts.aclose()

    async def _feed(self) -> None:
        try:
            self.body.feed(await anext(self._parts))
        except StopAsyncIteration:
            self.body.end()
        except ExtraError as error:
            self.body.fail(error)


def _target_of(path: str, query: Mapping[str, str] | None) -> bytes:
    """Return the target of a request, as it is sent: `path` may have escapes and a query already."""
    target = quote(path, safe="/?#[]@!$&'()*+,;=:%-._~")
    if query:
        target += ("&" if "?" in target else "?") + urlencode(query, quote_via=quote)
    return target.encode("ascii")
