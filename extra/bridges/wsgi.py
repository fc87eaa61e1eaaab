"""WSGI, both ways, with a2wsgi: applications of others on our server, and services behind WSGI.

    app = wsgi(server(Rooms))       # what a WSGI server, such as gunicorn or wsgiref, runs

WSGI knows neither WebSockets nor clients that leave: services behind it answer HTTP, and what goes on
occupies a thread of the host's for as long as it does.
"""

import asyncio
import atexit
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Lock, Thread
from typing import Any, Final, cast
from wsgiref.util import is_hop_by_hop

from a2wsgi import ASGIMiddleware, WSGIMiddleware

from extra.bridges.asgi import ASGIApplication
from extra.bridges.asgi_call import ASGI
from extra.bridges.asgi_host import ASGIHost
from extra.bridges.asgi_wires import Message, Receive, Scope, Send
from extra.bridges.messaging import MessagingApplication, asgi_of_messaging, messaging_of_asgi

__all__ = ["WSGIApplication", "WSGIHost", "asgi_of_wsgi", "messaging_of_wsgi", "wsgi", "wsgi_of_messaging"]

WORKERS: Final = 32
"""Threads that a WSGI application has, each for one request."""

STOP_TIMEOUT_S: Final = 30.0

TAKER: Final = "extra.taker"
"""In the scope of a request to a WSGI application: its `_Taker`."""

CALL: Final = "extra.call"
"""In the environment of a request: its `_Call`."""

BODILESS: Final = ("204", "304")


class WSGIHost(ASGIHost):
    """One WSGI application, in threads."""

    def __init__(
        self, application: Callable[..., object], *, workers: int = WORKERS, root_path: str = ""
    ) -> None:
        super().__init__(asgi_of_wsgi(application, workers=workers), lifespan="off", root_path=root_path)


def asgi_of_wsgi(application: Callable[..., object], *, workers: int = WORKERS) -> ASGI:
    """Return a WSGI application as one of ASGI 3, for HTTP alone. It runs in threads, one for a request."""
    lasting = partial(taken_from, application)
    inner: Any = WSGIMiddleware(cast("Any", lasting), workers=workers)  # whatever it calls its types

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        taker = _Taker(send)
        await inner({**scope, TAKER: taker}, receive, taker.send)
        if taker.error is not None and not isinstance(taker.error, OSError):
            raise taker.error

    return call


class _Taker:
    """Takes a response, or what is left of it, to its end.

    What it raised would end a2wsgi's sender, and leave its thread waiting for ever to hand over more.
    """

    __slots__ = ("_send", "error")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.error: Exception | None = None  # why it takes no more; OSError when the client has gone

    async def send(self, message: Message) -> None:
        if self.error is None:
            try:
                await self._send(message)
            except Exception as error:  # noqa: BLE001  # raised when the thread has ended
                self.error = error


def taken_from(
    application: Callable[..., Any], environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterator[bytes]:
    """Iterate over a response, in its thread, for as long as it is taken."""
    taker: _Taker = environ["asgi.scope"][TAKER]
    parts = application(environ, start_response)
    try:
        for part in parts:
            yield part
            if taker.error is not None:
                return
    finally:
        getattr(parts, "close", lambda: None)()


class WSGIApplication:
    """An application of ours as a WSGI application: it runs in an event loop in a thread of its own.

    The first request starts both, so that a host may fork before; the end of the process stops them.
    """

    def __init__(self, application: ASGIApplication | ASGI) -> None:
        self._application = application
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._inner: Callable[..., Iterable[bytes]] | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request, in the host's thread, which closes what is returned if the client has gone."""
        with self._lock:
            inner = self._inner or self._start()
        return self._answer(inner, environ, start_response)

    def close(self) -> None:
        """Stop the application. Idempotent; no request may be under way."""
        atexit.unregister(self.close)
        loop, thread, self._inner = self._loop, self._thread, None
        self._loop = self._thread = None
        if loop is None or thread is None:
            return
        if isinstance(self._application, ASGIApplication):
            asyncio.run_coroutine_threadsafe(self._application.stop(), loop).result(STOP_TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _start(self) -> Callable[..., Iterable[bytes]]:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="extra-wsgi", daemon=True)
        self._thread.start()
        hosted = ASGIMiddleware(cast("Any", self._serve), loop=self._loop)  # whatever it calls its types
        self._inner = cast("Callable[..., Iterable[bytes]]", hosted)  # likewise
        atexit.register(self.close)
        return self._inner

    def _answer(
        self,
        inner: Callable[..., Iterable[bytes]],
        environ: dict[str, Any],
        start_response: Callable[..., Any],
    ) -> Iterator[bytes]:
        call = _Call()
        # a2wsgi knows the client only by both, and a port is nothing that hosts have to tell
        environ = {"REMOTE_PORT": "0", **environ, CALL: call}
        loop = self._loop
        assert loop is not None
        try:
            yield from inner(environ, partial(call.begin, start_response))
            if call.error is not None and not call.is_told:  # a2wsgi may have been too late for it
                raise call.error
        finally:
            if call.task is not None:  # a2wsgi leaves it waiting when the response is not taken to its end
                loop.call_soon_threadsafe(call.task.cancel)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, in the event loop."""
        call: _Call = scope["wsgi_environ"][CALL]
        call.task = asyncio.current_task()
        is_whole = False

        async def receive_or_leave() -> Message:
            message = await receive()
            if message["type"] == "http.request" and message["more_body"] and not message["body"]:
                return {"type": "http.disconnect"}  # the host's input has ended before it should
            return message

        async def send_on(message: Message) -> None:
            nonlocal is_whole
            if message["type"] == "http.response.body":
                is_whole = not message.get("more_body", False)
            await send(message)

        try:
            await self._application(scope, receive_or_leave, send_on)
            if not is_whole:
                raise ConnectionResetError("the client has gone")
        except Exception as error:
            call.error = error
            raise


class _Call:
    """One request, as both threads know it."""

    __slots__ = ("error", "is_told", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.error: Exception | None = None
        self.is_told = False  # the client, that there was an error

    def begin(
        self,
        start_response: Callable[..., Any],
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,
    ) -> Any:
        """Begin a response as WSGI has it: without fields of one hop (PEP 3333), and with a type."""
        fields = [(name, value) for name, value in headers if not is_hop_by_hop(name)]
        if not status.startswith(BODILESS) and all(name.lower() != "content-type" for name, _ in fields):
            fields.append(("content-type", "application/octet-stream"))
        self.is_told = exc_info is not None
        return start_response(status, fields, exc_info)


def wsgi(application: ASGIApplication) -> WSGIApplication:
    """Return an application of ours as a WSGI application."""
    return WSGIApplication(application)


def wsgi_of_messaging(application: MessagingApplication) -> WSGIApplication:
    """Return an application of messages (`extra.bridges.messaging`) as a WSGI application."""
    return WSGIApplication(asgi_of_messaging(application))


def messaging_of_wsgi(application: Callable[..., object], *, workers: int = WORKERS) -> MessagingApplication:
    """Return a WSGI application as one of messages. It runs in threads."""
    return messaging_of_asgi(asgi_of_wsgi(application, workers=workers))
