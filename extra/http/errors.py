"""Errors that only HTTP knows, and how an error becomes a response.

An error with a `status` of its own, such as those of this module and of the codecs, says with it what to
answer. Errors of the rest of the tree have none: whoever builds an application knows a status for each
`code`, and passes a function that looks it up.
"""

from collections.abc import Callable
from typing import TypeAlias

from extra.errors import ExtraError, LimitExceeded, RemoteProtocolError
from extra.http.response import Response, problem

__all__ = [
    "BodyTooLarge",
    "BodyTruncated",
    "ErrorResponse",
    "MethodNotAllowed",
    "NotFound",
    "RequestTimeout",
    "ServerOverloaded",
    "problem_response",
]


class NotFound(ExtraError):
    """There is no resource at this path."""

    code = "not_found"
    status = 404


class MethodNotAllowed(ExtraError):
    """The resource does not know this method."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, message: str, allow: str) -> None:
        """Carry `allow` into the header field of that name: methods separated by commas."""
        super().__init__(message)
        self.response_headers = (("Allow", allow),)


class RequestTimeout(ExtraError):
    """The request did not arrive in time."""

    code = "request_timeout"
    status = 408
    temporary = True
    connection_survives = False


class BodyTooLarge(LimitExceeded):
    """The body is larger than a limit, which the message calls by its name."""

    status = 413

    def __init__(self, limit_bytes: int, limit_name: str) -> None:
        super().__init__(f"body larger than {limit_name}={limit_bytes}")


class BodyTruncated(RemoteProtocolError):
    """The connection ended before the body did."""

    status = 400


class ServerOverloaded(LimitExceeded):
    """There are as many connections as a limit allows."""

    status = 503
    temporary = True
    connection_survives = False

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.response_headers = (("Retry-After", str(retry_after_s)),)


ErrorResponse: TypeAlias = Callable[[Exception], Response]
"""Makes the response to an exception of any class, bugs included."""


def problem_response(error: Exception) -> Response:
    """Return a problem document for `error`, with its own status if it has one, else 500.

    What the client may know of an exception that is not ours is that there was one.
    """
    if not isinstance(error, ExtraError):
        return problem(500, ExtraError.code, "internal error")
    status = getattr(error, "status", 500)
    return problem(status, error.code, str(error), headers=getattr(error, "response_headers", ()))
