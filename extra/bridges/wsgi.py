"""WSGI, both ways, with a2wsgi: applications of others on our server, and services behind WSGI.

    app = wsgi(server(Rooms))       # what a WSGI server, such as gunicorn or wsgiref, runs

WSGI knows neither WebSockets nor clients that leave: services behind it answer HTTP, and what goes on
occupies a thread of the host's for as long as it does.
"""

import asyncio
import atexit
from collections.abc import Callable, Iterable
from threading import Lock, Thread
from typing import Any, Final, cast

from a2wsgi import ASGIMiddleware, WSGIMiddleware

from extra.bridges.asgi import ASGIApplication
from extra.bridges.asgi_call import ASGI
from extra.bridges.asgi_host import ASGIHost
from extra.bridges.messaging import MessagingApplication, asgi_of_messaging, messaging_of_asgi

__all__ = ["WSGIApplication", "WSGIHost", "messaging_of_wsgi", "wsgi", "wsgi_of_messaging"]

WORKERS: Final = 32
"""Threads that a WSGI application has, each for one request."""

STOP_TIMEOUT_S: Final = 30.0


class WSGIHost(ASGIHost):
    """One WSGI application, in threads."""

    def __init__(self, application: Callable[..., object], *, workers: int = WORKERS) -> None:
        hosted = WSGIMiddleware(cast("Any", application), workers=workers)  # whatever it calls its types
        super().__init__(cast("Any", hosted), lifespan="off")  # likewise


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
        """Answer a request, in the host's thread."""
        with self._lock:
            inner = self._inner or self._start()
        return inner(environ, start_response)

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
        hosted = ASGIMiddleware(
            cast("Any", self._application), loop=self._loop
        )  # whatever it calls its types
        self._inner = cast("Callable[..., Iterable[bytes]]", hosted)  # likewise
        atexit.register(self.close)
        return self._inner


def wsgi(application: ASGIApplication) -> WSGIApplication:
    """Return an application of ours as a WSGI application."""
    return WSGIApplication(application)


def wsgi_of_messaging(application: MessagingApplication) -> WSGIApplication:
    """Return an application of messages (`extra.bridges.messaging`) as a WSGI application."""
    return WSGIApplication(asgi_of_messaging(application))


def messaging_of_wsgi(application: Callable[..., object], *, workers: int = WORKERS) -> MessagingApplication:
    """Return a WSGI application as one of messages. It runs in threads."""
    hosted = WSGIMiddleware(cast("Any", application), workers=workers)  # whatever it calls its types
    return messaging_of_asgi(cast("Any", hosted))  # likewise
