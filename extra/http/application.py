"""Router, middleware and errors as one handler."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from extra.errors import ExtraError
from extra.http.errors import ErrorResponse, problem_response
from extra.http.request import Request
from extra.http.response import Response
from extra.http.router import Handler

__all__ = ["Application", "Middleware"]

Middleware: TypeAlias = Callable[[Request, Handler], Awaitable[Response]]
"""Answers a request, usually with what the handler that it is given answers."""


class Application:
    """What a server serves: a handler, the middleware around it, and responses to the errors that they raise.

    The first of `middleware` is the outermost. An error becomes a response where it is raised, so that the
    middleware around can add to it as to any other. An exception that is no ExtraError is a bug, and goes
    through to the server, which logs it.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        middleware: Sequence[Middleware] = (),
        error_response: ErrorResponse = problem_response,
    ) -> None:
        self._handler = guard(handler, error_response)
        for layer in reversed(middleware):
            self._handler = guard(bind(layer, self._handler), error_response)

    def __call__(self, request: Request) -> Awaitable[Response]:
        """Answer `request`."""
        return self._handler(request)


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
