"""Errors that a broker tells of, as the exceptions that it raised there."""

import json
from collections.abc import Mapping

from extra import errors
from extra.errors import BrokerClosed, ExtraError, NotDelivered, PreconditionFailed, RemoteProtocolError
from extra.pubsub import Scheduled, ScheduledPage

__all__ = ["error_from_answer", "error_from_code", "last_offset_of", "scheduled_page_of"]

_CLASSES = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ExtraError)
}


def error_from_code(
    code: str,
    message: str,
    offset: object = None,
    cursor: object = None,
    offsets: list[int] | None = None,
) -> ExtraError:
    """Return the error that has this stable code.

    `offset` and `cursor` are of a condition that did not hold, `offsets` of what a member does not hold.

    A code of a newer broker, or one that has no class here, gives an `ExtraError` whose message begins with
    it.
    """
    kind = _CLASSES.get(code)
    if kind is PreconditionFailed and isinstance(offset, int) and isinstance(cursor, str):
        return PreconditionFailed(message, offset, cursor)
    if kind is NotDelivered:
        return NotDelivered(message, offsets)
    return kind(message) if kind is not None else ExtraError(f"{code}: {message}")


def error_from_answer(status: int, content_type: str, body: bytes, url: str) -> ExtraError:
    """Return the error in an HTTP answer that is not what was asked for.

    One that is no problem document (RFC 9457) comes from a proxy, or from something that is no broker.
    """
    if content_type.partition(";")[0].strip().lower() == "application/problem+json":
        try:
            problem = json.loads(body)
        except ValueError:
            problem = None
        if isinstance(problem, dict) and isinstance(problem.get("code"), str):
            return error_from_code(
                problem["code"], str(problem.get("detail", "")), problem.get("offset"), problem.get("cursor")
            )
    if status in (502, 503, 504):
        return BrokerClosed(f"no broker behind {url}: status {status}")
    return RemoteProtocolError(f"{url} answers with status {status}, not as a broker does")


def last_offset_of(headers: Mapping[str, str]) -> int | None:
    """Return the offset of a topic's last message that an answer tells, None where it tells none."""
    tag = headers.get("etag", "").strip('"')
    return int(tag) if tag.isascii() and tag.isdigit() else None


def scheduled_page_of(body: bytes) -> ScheduledPage:
    """Return the page in the answer to `GET /scheduled`. Raises RemoteProtocolError when there is none."""
    try:
        page = json.loads(body)
        messages = [
            Scheduled(
                each["scheduled"], each["topic"], each["deliver_at"], each["payload_bytes"], each["retained"]
            )
            for each in page["scheduled"]
        ]
        return ScheduledPage(messages, page["after"])
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteProtocolError(f"not a page of what is scheduled: {error}") from None
