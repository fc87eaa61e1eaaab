"""One table from the stable error codes to what each protocol says."""

from collections.abc import Mapping
from typing import Final

from extra.errors import ExtraError
from extra.http import Response, problem

__all__ = ["CLOSE_CODES", "STATUSES", "NotAcceptable", "NotSubscribed", "Unsupported", "error_response"]

STATUSES: Final[Mapping[str, int]] = {
    "invalid_topic": 400,
    "invalid_filter": 400,
    "invalid_cursor": 400,
    "invalid_payload": 400,
    "invalid_command": 400,
    "not_subscribed": 409,
    "unauthenticated": 401,
    "forbidden": 403,
    "auth_error": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "unrecoverable_position": 410,
    "limit_exceeded": 413,
    "unsupported": 415,
    "remote_protocol_error": 400,
    "local_protocol_error": 500,
    "engine_error": 500,
    "engine_unavailable": 503,
    "broker_closed": 503,
    "channel_closed": 503,
    "internal": 500,
}
"""The HTTP status of each code. An error that knows its own `status` (a codec's 414, 431, 505) keeps it."""

CLOSE_CODES: Final[Mapping[str, int]] = {
    "shutdown": 1001,
    "remote_protocol_error": 1002,
    "unsupported_frame": 1003,
    "internal": 1011,
    "slow": 4290,
    "request_timeout": 4408,
}
"""The WebSocket close code of each reason for which the broker ends a connection."""


class Unsupported(ExtraError):
    """An encoding, a content type or an option that is not spoken here."""

    code = "unsupported"


class NotAcceptable(ExtraError):
    """The client accepts no representation that there is (RFC 9110 15.5.7)."""

    code = "unsupported"
    status = 406


class NotSubscribed(ExtraError):
    """`unsubscribe` from a filter that the session is not subscribed to."""

    code = "not_subscribed"


def error_response(error: Exception) -> Response:
    """Return an error as a problem document (RFC 9457); nothing of one that is no `ExtraError`."""
    if not isinstance(error, ExtraError):
        return problem(500, ExtraError.code, "internal error, see the broker's log")
    status = getattr(error, "status", STATUSES.get(error.code, 500))
    headers = getattr(error, "response_headers", (("Retry-After", "1"),) if error.temporary else ())
    return problem(status, error.code, str(error), headers=headers)
