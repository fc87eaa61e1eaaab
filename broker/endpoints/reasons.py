"""What each protocol says to the stable error codes. The table for HTTP is that of `extra.http`."""

import re
from collections.abc import Mapping
from typing import Final

from broker.settings import SETTINGS
from extra.errors import ExtraError, LimitExceeded, NotDelivered, PreconditionFailed
from extra.http import STATUSES, Response, problem

__all__ = [
    "CLOSE_CODES",
    "STATUSES",
    "NotAcceptable",
    "NotSubscribed",
    "Unsupported",
    "error_response",
    "limit_in",
]

CLOSE_CODES: Final[Mapping[str, int]] = {
    "shutdown": 1001,
    "remote_protocol_error": 1002,
    "unsupported_frame": 1003,
    "internal": 1011,
    "slow": 4290,
    "session_taken_over": 4409,
    "request_timeout": 4408,
}
"""The WebSocket close code of each reason for which the broker ends a connection."""


KEYS: Final = frozenset(["policies.max_payload_bytes", *[setting.key for setting in SETTINGS]])
DOTTED: Final = re.compile(r"[a-z]+\.[a-z_]+")


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
    message = str(error)
    if isinstance(error, PreconditionFailed):
        headers = (("ETag", f'"{error.offset}"'), ("Extra-Cursor", error.cursor))
        return problem(status, error.code, message, headers=headers, offset=error.offset, cursor=error.cursor)
    if isinstance(error, NotDelivered):
        return problem(status, error.code, message, headers=headers, offsets=[*error.offsets])
    if error.code == LimitExceeded.code and (limit := limit_in(message)):
        return problem(status, error.code, message, headers=headers, limit=limit)
    return problem(status, error.code, message, headers=headers)


def limit_in(message: str) -> str:
    """Return the setting that a message names, the last one: what a client has sent stands before it.

    Empty when it names none.
    """
    return next((name for name in reversed(DOTTED.findall(message)) if name in KEYS), "")
