"""Errors that only HTTP knows, and how an error becomes a response.

An error with a `status` of its own, such as those of this module and of the codecs, says with it what to
answer; those of the rest of the tree are looked up in `STATUSES` by their `code`.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final, TypeAlias
from urllib.parse import quote

from extra.errors import ExtraError, LimitExceeded, RemoteProtocolError
from extra.http.response import Headers, Response, problem
from extra.payloads import JSONValue

__all__ = [
    "STATUSES",
    "BadRequest",
    "BodyTooLarge",
    "BodyTruncated",
    "Conflict",
    "ErrorResponse",
    "Found",
    "Gone",
    "HTTPError",
    "MethodNotAllowed",
    "MovedPermanently",
    "NotFound",
    "PermanentRedirect",
    "Redirect",
    "RequestTimeout",
    "ResponseCut",
    "SeeOther",
    "ServerOverloaded",
    "ServiceUnavailable",
    "TemporaryRedirect",
    "TooManyRequests",
    "UnsupportedMediaType",
    "escape_location",
    "problem_response",
    "status_of",
]

STATUSES: Final[Mapping[str, int]] = {
    "invalid_topic": 400,
    "invalid_filter": 400,
    "invalid_cursor": 400,
    "invalid_payload": 400,
    "invalid_command": 400,
    "not_subscribed": 409,
    "bad_request": 400,
    "invalid_arguments": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "auth_error": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "unrecoverable_position": 410,
    "precondition_failed": 412,
    "topic_closed": 409,
    "group_conflict": 409,
    "session_taken_over": 409,
    "not_delivered": 409,
    "redirect": 302,
    "conflict": 409,
    "gone": 410,
    "limit_exceeded": 413,
    "unsupported": 415,
    "range_not_satisfiable": 416,
    "upgrade_required": 426,
    "too_many_requests": 429,
    "unavailable": 503,
    "timed_out": 503,
    "nobody_serves": 503,
    "request_failed": 502,
    "remote_protocol_error": 400,
    "local_protocol_error": 500,
    "engine_error": 500,
    "engine_unavailable": 503,
    "broker_closed": 503,
    "channel_closed": 503,
    "internal": 500,
}
"""The HTTP status of each code. An error that knows its own `status` (a codec's 414, 431, 505) keeps it."""


class HTTPError(ExtraError):
    """An error that is a response: raised by a handler, it is what the client gets, as a problem document.

    Subclasses have their `status` and `code`. `headers` go into the response, `members` into the document.
    """

    status: ClassVar[int] = 500
    usual_message: ClassVar[str] = "internal error"

    def __init__(self, message: str = "", *, headers: Headers = (), **members: JSONValue) -> None:
        super().__init__(message or self.usual_message)
        self.response_headers = headers
        self.members = members


class BadRequest(HTTPError):
    """The request is not what the handler can do something with."""

    code = "bad_request"
    status = 400
    usual_message = "bad request"


class NotFound(HTTPError):
    """There is no resource at this path."""

    code = "not_found"
    status = 404
    usual_message = "no such resource"


class MethodNotAllowed(HTTPError):
    """The resource does not know this method."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, message: str, allow: str) -> None:
        """Carry `allow` into the header field of that name: methods separated by commas."""
        super().__init__(message, headers=(("Allow", allow),))


class Conflict(HTTPError):
    """The resource is in a state that the request does not go with."""

    code = "conflict"
    status = 409
    usual_message = "conflict with the state of the resource"


class Gone(HTTPError):
    """There was a resource at this path, and it will not come back."""

    code = "gone"
    status = 410
    usual_message = "the resource is gone"


class UnsupportedMediaType(HTTPError):
    """The body is of a type, or in an encoding, that is not taken here."""

    code = "unsupported"
    status = 415
    usual_message = "unsupported media type"


class TooManyRequests(HTTPError):
    """The client asks too often."""

    code = "too_many_requests"
    status = 429
    temporary = True
    usual_message = "too many requests"


class ServiceUnavailable(HTTPError):
    """It cannot be done just now."""

    code = "unavailable"
    status = 503
    temporary = True
    usual_message = "service unavailable"


class ResponseCut(ServiceUnavailable):
    """The body of a response cannot be sent to its end, for a reason that is no bug of the handler.

    Where the response has begun, the connection is ended, so that the client knows; the log has a line of it.
    """

    usual_message = "the response has been cut"


class Redirect(HTTPError):
    """What is asked for is at `location`, which may be relative. What cannot stand in a URL is escaped."""

    code = "redirect"
    status = 302
    usual_message = "see another resource"

    def __init__(self, location: str, *, headers: Headers = ()) -> None:
        super().__init__(headers=(("Location", escape_location(location)), *headers))


class MovedPermanently(Redirect):
    """301: from now on; a browser asks with GET there, whatever it asked with here."""

    status = 301


class Found(Redirect):
    """302: this time; a browser asks with GET there."""

    status = 302


class SeeOther(Redirect):
    """303: done, and the outcome is to be seen there, with GET."""

    status = 303


class TemporaryRedirect(Redirect):
    """307: this time, with the same method and body."""

    status = 307


class PermanentRedirect(Redirect):
    """308: from now on, with the same method and body."""

    status = 308


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
    """There are as many connections, or requests under way, as a limit allows."""

    status = 503
    temporary = True
    connection_survives = False

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.response_headers = (("Retry-After", str(retry_after_s)),)


ErrorResponse: TypeAlias = Callable[[Exception], Response]
"""Makes the response to an exception of any class, bugs included."""


def escape_location(location: str) -> str:
    """Return a URL as `Location` has it: what cannot stand in one is escaped, line breaks included."""
    return quote(location, safe=":/?#[]@!$&'()*+,;=%~-._")


def status_of(error: ExtraError) -> int:
    """Return the status to answer an error with: its own, or that of its code."""
    return int(getattr(error, "status", STATUSES.get(error.code, 500)))


def problem_response(error: Exception) -> Response:
    """Return a problem document for `error`; for a redirect, a response without a body.

    What the client may know of an exception that is not ours is that there was one.
    """
    if not isinstance(error, ExtraError):
        return problem(500, ExtraError.code, "internal error")
    headers = getattr(error, "response_headers", ()) or ((("Retry-After", "1"),) if error.temporary else ())
    if isinstance(error, Redirect):
        return Response(error.status, headers=headers)
    members = error.members if isinstance(error, HTTPError) else {}
    return problem(status_of(error), error.code, str(error), headers=headers, **members)
