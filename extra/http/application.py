"""Router, middleware and errors as one handler."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from extra.errors import ExtraError
from extra.http.errors import ErrorResponse, problem_response
from extra.http.request import Request
from extra.http.response import Response
from extra.http.router import AtOnce, Begin, Handler, begin_of

__all__ = ["Application", "Middleware"]

Middleware: TypeAlias = Callable[[Request, Handler], Awaitable[Response]]
"""Answers a request, usually with what the handler that it is given answers."""


class Application:
    """What a server serves: a handler, the middleware around it, and responses to the errors that they raise.

    The first of `middleware` is the outermost. An error becomes a response where it is raised, so that the
    middleware around can add to it as to any other. An exception that is no ExtraError is a bug, and goes
    through to the server, which logs it. A server may ask for what needs no waiting first (`AtOnce`).
    """

    def __init__(
        self,
        handler: Handler,
        *,
        middleware: Sequence[Middleware] = (),
        error_response: ErrorResponse = problem_response,
        at_once: AtOnce | None = None,
    ) -> None:
        self._at_once = at_once
        self._error_response = error_response
        self._handler = guard(handler, error_response)
        self._begin: Begin = begin_of(handler)
        for layer in reversed(middleware):
            self._handler = guard(bind(layer, self._handler), error_response)
            self._begin = begin_of(self._handler)

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Answer `request`."""
        return self._handler(request)

    def begin(self, request: Request) -> Response | Awaitable[Response]:
        """Do what calling it does. A `Begin`."""
        try:
            answer = self._begin(request)
        except ExtraError as error:
            return self._error_response(error)
        return answer if isinstance(answer, Response) else guarded(answer, self._error_response)

    def at_once(self, request: Request) -> Response | None:
        """Answer `request`, if that needs no waiting; None when it does, and nothing has been done.

        That is for the `at_once` given to say, which has to do what the middleware would.
        """
        if self._at_once is None:
            return None
        try:
            return self._at_once(request)
        except ExtraError as error:
            return self._error_response(error)


def bind(layer: Middleware, handler: Handler) -> Handler:
    """Return a handler that is `layer` around `handler`."""

    def handle(request: Request) -> Awaitable[Response]:
        return layer(request, handler)

    return handle


def guard(handler: Handler, error_response: ErrorResponse) -> Handler:
    """Return a handler that answers the errors of `handler`."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except ExtraError as error:
            return error_response(error)

    return handle


async def guarded(answer: Awaitable[Response], error_response: ErrorResponse) -> Response:
    """Return what `answer` does, or the response to its error."""
    try:
        return await answer
    except ExtraError as error:
        return error_response(error)
