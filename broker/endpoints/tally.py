"""What was refused, counted: errors by face and code, and limits by the settings that say them."""

from collections import Counter
from typing import Final

from broker.endpoints.reasons import error_response, limit_in
from extra.errors import ExtraError, InvalidFilter, InvalidTopic, LimitExceeded
from extra.http import Response

__all__ = ["Tally"]

LIMITING: Final = frozenset((LimitExceeded.code, InvalidTopic.code, InvalidFilter.code))
"""The codes of errors that may be for a limit; deadlines the server counts itself."""


class Tally:
    """Counts the errors that one broker answers with. Messages name the setting of a limit that was met."""

    def __init__(self) -> None:
        self.errors: Counter[tuple[str, str]] = Counter()  # by face and code
        self.limits_met: Counter[str] = Counter()  # by setting

    def count(self, face: str, code: str, message: str) -> None:
        """Count an error that is answered on `face`: `http` or `websocket`."""
        self.errors[face, code] += 1
        if code in LIMITING and (limit := limit_in(message)):
            self.limits_met[limit] += 1

    def answer(self, error: Exception) -> Response:
        """Return the response to an error, as `error_response` does, and count it."""
        if isinstance(error, ExtraError):
            self.count("http", error.code, str(error))
        else:
            self.count("http", ExtraError.code, "")
        return error_response(error)
