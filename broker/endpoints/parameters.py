"""What a request asks for: filters, `since`, limits, formats.

Bad ones get an error that names the parameter.
"""

import re
from math import nan
from typing import Final

import msgspec

from extra.errors import InvalidCommand, InvalidFilter
from extra.http import Request
from extra.pubsub import Clock, GroupOptions, Since, parse_since
from extra.pubsub.conditions import IF_LAST_MOST
from extra.pubsub.schedule import DELIVER_AT_MOST
from extra.topics import filter_from_url

__all__ = [
    "NOT_WITH_GROUP",
    "deliver_at_of",
    "filters_of",
    "flag_of",
    "group_of",
    "if_last_of",
    "number_of",
    "overflow_of",
    "presence_of",
    "session_of",
    "since_of",
    "topic_of",
    "whole_of",
]

EXPIRES_MOST_S: Final = 1e9
NOT_WITH_GROUP: Final = ("session", "ack", "presence", "retained", "overflow", "replay")
"""What others can ask for, and the members of a group cannot."""
NUMBER: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
ENTITY_TAG: Final = re.compile(r"(\"?)([0-9]{1,19})\1", re.ASCII)
DELIVER_AFTER_MOST_S: Final = 1e9
FLAGS: Final = {"1": True, "true": True, "0": False, "false": False}


def topic_of(request: Request) -> str:
    """Return the topic of the path, not checked: what would be a wildcard there is one here, and refused."""
    return _filter_of(request.params["topic"])


def filters_of(request: Request) -> list[str]:
    """Return the topic filters: of the path, or of the `topic` parameters."""
    texts = [request.params["topic"]] if "topic" in request.params else request.query_values("topic")
    if not texts:
        raise InvalidCommand("parameter 'topic' is missing: give a topic filter, or several")
    return list(dict.fromkeys([_filter_of(text) for text in texts]))


def _filter_of(text: str) -> str:
    """Return the topic filter that a URL stands for, not checked.

    Raises:
        InvalidFilter: `**` is not its last level. As a topic's own level it could be read, and not be meant.
    """
    if "*" in text and "**" in text.split("/")[:-1]:
        raise InvalidFilter(
            f"topic filter {text[:80]!r} has '**' before the last level: it has to be the last"
        )
    return filter_from_url(text)


def since_of(request: Request, default: str) -> Since:
    """Return where to start.

    `Last-Event-ID` wins: an EventSource that reconnects repeats its first `since`.
    """
    return parse_since(request.header("last-event-id") or request.query_value("since") or default)


def presence_of(request: Request) -> tuple[object, str | None]:
    """Return what a subscriber shows where it is present, None when it is not, and as which member.

    Raises InvalidCommand when that is no JSON.
    """
    text = request.query_value("presence")
    if text is None:
        return None, request.query_value("member")
    try:
        shown: object = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        raise InvalidCommand(f"parameter 'presence' is {text[:40]!r}: JSON, such as true") from None
    return shown if shown is not None else True, request.query_value("member")


def session_of(request: Request) -> tuple[str | None, bool | None, float | None]:
    """Return the named session that a reader claims, whether it acknowledges, and how long it is kept."""
    name = request.query_value("session")
    ack = flag_of(request, "ack")
    expires = number_of("parameter 'expires'", request.query_value("expires"), 1, EXPIRES_MOST_S)
    if name is None and (ack is not None or expires is not None):
        raise InvalidCommand("parameters 'ack' and 'expires': only with 'session'")
    return name, ack, expires


def group_of(request: Request, *others: str) -> tuple[str, GroupOptions]:
    """Return which group a reader is to be a member of, and what it asks of that.

    Raises InvalidCommand for a parameter that does not go with a group; `others` are some of this face.
    """
    for name in (*NOT_WITH_GROUP, *others):
        if request.query_value(name) is not None:
            raise InvalidCommand(f"parameter {name!r}: not together with 'group'")
    options = GroupOptions(
        ack_wait=number_of("parameter 'ack_wait'", request.query_value("ack_wait"), 0, EXPIRES_MOST_S),
        max_unacknowledged=whole_of(
            "parameter 'max_unacknowledged'", request.query_value("max_unacknowledged"), 1, EXPIRES_MOST_S
        ),
        max_deliveries=whole_of(
            "parameter 'max_deliveries'", request.query_value("max_deliveries"), 1, EXPIRES_MOST_S
        ),
        dead_letters=request.query_value("dead_letters"),
        order=request.query_value("order"),
        expires=number_of("parameter 'expires'", request.query_value("expires"), 1, EXPIRES_MOST_S),
    )
    return request.query_value("group") or "", options


def overflow_of(request: Request) -> str | None:
    """Return the name of the overflow policy; whether there is one of that name is for the broker to say.

    None when none is named: then the policy of the first filter says it.
    """
    return request.query_value("overflow") or None


def flag_of(request: Request, name: str) -> bool | None:
    """Return a yes or no, None when it is not given."""
    return flag_in(f"parameter {name!r}", request.query_value(name))


def flag_in(name: str, text: str | None) -> bool | None:
    """Return the yes or no that `text` is, None when it is not given."""
    if text is None:
        return None
    if text.lower() not in FLAGS:
        raise InvalidCommand(f"{name} is {text[:40]!r}: 1 or 0")
    return FLAGS[text.lower()]


def if_last_of(request: Request) -> int | None:
    """Return the offset that a topic's last message is to have, as a condition; None when there is none.

    `If-Match` has it, as an entity tag or bare (RFC 9110 13.1.1); `If-None-Match: *` is 0, as is that.
    """
    match, none_match = request.header("if-match"), request.header("if-none-match")
    if none_match is not None:
        if match is not None or none_match.strip() != "*":
            raise InvalidCommand(
                f"header 'If-None-Match' is {none_match[:40]!r}: * for a topic without messages,"
                " and no If-Match beside it"
            )
        return 0
    if match is None:
        return None
    found = ENTITY_TAG.fullmatch(match.strip())
    offset = int(found[2]) if found is not None else -1
    if not 0 <= offset <= IF_LAST_MOST:
        raise InvalidCommand(
            f"header 'If-Match' is {match[:40]!r}: the offset of the topic's last message, or 0 for none"
        )
    return offset


def deliver_at_of(request: Request, clock: Clock) -> float | None:
    """Return when a message is to be published, in Unix seconds; None when that is now.

    `Extra-Deliver-At` has it, or `Extra-Deliver-After` in seconds from now.
    """
    at, after = request.header("extra-deliver-at"), request.header("extra-deliver-after")
    if after is None:
        return number_of("header 'Extra-Deliver-At'", at, 0, DELIVER_AT_MOST)
    if at is not None:
        raise InvalidCommand("headers 'Extra-Deliver-At' and 'Extra-Deliver-After': one of them")
    seconds = number_of("header 'Extra-Deliver-After'", after, 0, DELIVER_AFTER_MOST_S)
    return None if seconds is None else clock.time() + seconds


def number_of(name: str, text: str | None, low: float, high: float) -> float | None:
    """Return a number from `low` to `high`, None when it is not given."""
    if text is None:
        return None
    number = float(text) if NUMBER.fullmatch(text) else nan
    if not low <= number <= high:
        raise InvalidCommand(f"{name} is {text[:40]!r}: a number from {low:g} to {high:g}")
    return number


def whole_of(name: str, text: str | None, low: int, high: float) -> int | None:
    """Return a whole number from `low` to `high`, None when it is not given."""
    number = number_of(name, text, low, high)
    if number is None:
        return None
    if number != int(number):
        raise InvalidCommand(f"{name} is {number:g}: a whole number from {low} to {high:g}")
    return int(number)
