"""Whether what is given to publish, subscribe and read is of the types and sizes that it has to be.

For `Broker` and `Client` alike, which people call by hand: what is wrong is told with the argument's name.
Where this is compiled, a wrong type is refused by the call itself: with TypeError as well.
"""

from __future__ import annotations

from typing import Final

from extra.errors import InvalidCommand
from extra.pubsub.conditions import IF_LAST_MOST
from extra.pubsub.schedule import check_deliver_at

__all__ = [
    "HISTORY_LIMIT",
    "KEY_LIMIT_BYTES",
    "TTL_LEAST_S",
    "TTL_MOST_S",
    "check_group",
    "check_history",
    "check_publication",
    "check_scheduled",
    "check_subscription",
    "check_ttl",
]

TTL_LEAST_S: Final = 0.001
TTL_MOST_S: Final = 1e9
KEY_LIMIT_BYTES: Final = 255
HISTORY_LIMIT: Final = 10_000
"""So many messages fit into one page of history."""


def check_ttl(ttl: float) -> None:
    """Raise InvalidCommand unless `ttl` is from 0.001 to 1e9 seconds."""
    if not TTL_LEAST_S <= ttl <= TTL_MOST_S:
        raise InvalidCommand(f"ttl {ttl!r}: a number of seconds from {TTL_LEAST_S:g} to {TTL_MOST_S:g}")


def check_publication(
    topic: object,
    retain: object,
    ttl: object,
    key: object,
    content_type: object,
    headers: object,
    if_last: object = None,
    close: object = None,
    deliver_at: object = None,
) -> None:
    """Check what is given to `publish`, except the value and whether the topic is one.

    Raises:
        TypeError: an argument is not of its type.
        InvalidCommand: a `ttl`, `key`, `if_last` or `deliver_at` is not one.
    """
    if not isinstance(topic, str):
        raise _wrong("topic", "a string", topic)
    if not isinstance(retain, bool):
        raise _wrong("retain", "a bool", retain)
    if ttl is not None:
        if not isinstance(ttl, (int, float)):
            raise _wrong("ttl", "a number of seconds or None", ttl)
        check_ttl(ttl)
    if key is not None:
        if not isinstance(key, str):
            raise _wrong("key", "a string or None", key)
        size = len(key.encode(errors="surrogatepass"))
        if not 0 < size <= KEY_LIMIT_BYTES:
            raise InvalidCommand(f"key of {size} bytes: it has 1 to {KEY_LIMIT_BYTES}")
    if if_last is not None:
        if not isinstance(if_last, int) or isinstance(if_last, bool):
            raise _wrong("if_last", "an offset or None", if_last)
        if not 0 <= if_last <= IF_LAST_MOST:
            raise InvalidCommand(f"if_last {if_last}: the offset of a message, or 0 for none")
    if close is not None and not isinstance(close, bool):
        raise _wrong("close", "a bool or None", close)
    if deliver_at is not None:
        if not isinstance(deliver_at, (int, float)):
            raise _wrong("deliver_at", "Unix seconds or None", deliver_at)
        check_deliver_at(deliver_at)
        if if_last is not None:
            raise InvalidCommand("if_last is for what is published now: not with deliver_at")
    if content_type is not None and not isinstance(content_type, str):
        raise _wrong("content_type", "a string or None", content_type)
    if headers is not None:
        if not isinstance(headers, dict):
            raise _wrong("headers", "a dict of strings or None", headers)
        for name, value in headers.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise _wrong("headers", "a dict of strings", value if isinstance(name, str) else name)


def check_subscription(
    filters: tuple[object, ...], since: object, overflow: object, retained: object
) -> None:
    """Check the types of what is given to `subscribe`.

    Raises:
        TypeError: an argument is not of its type.
        InvalidCommand: there is no filter.
    """
    _check_reading(filters, since, retained)
    if overflow is not None and not isinstance(overflow, str):
        raise _wrong("overflow", "a string or None", overflow)


def check_group(
    name: object,
    member: object,
    ack_wait: object,
    max_unacknowledged: object,
    max_deliveries: object,
    dead_letters: object,
    order: object,
    expires: object,
) -> None:
    """Check the types of what is given to `group`. Raises TypeError."""
    if not isinstance(name, str):
        raise _wrong("name", "a string", name)
    texts = {"member": member, "dead_letters": dead_letters, "order": order}
    for argument, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise _wrong(argument, "a string or None", value)
    for argument, value in {"ack_wait": ack_wait, "expires": expires}.items():
        if value is not None and not isinstance(value, (int, float)):
            raise _wrong(argument, "a number of seconds or None", value)
    for argument, value in {
        "max_unacknowledged": max_unacknowledged,
        "max_deliveries": max_deliveries,
    }.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise _wrong(argument, "a whole number or None", value)


def check_history(filters: tuple[object, ...], since: object, limit: object, retained: object) -> None:
    """Check the types of what is given to `history`, and its `limit`.

    Raises:
        TypeError: an argument is not of its type.
        InvalidCommand: there is no filter, or `limit` is not from 1 to 10,000.
    """
    _check_reading(filters, since, retained)
    if not isinstance(limit, int):
        raise _wrong("limit", "a whole number", limit)
    if not 1 <= limit <= HISTORY_LIMIT:
        raise InvalidCommand(f"limit {limit}: a whole number from 1 to {HISTORY_LIMIT}")


def check_scheduled(after: object, limit: object) -> None:
    """Check what is given to `scheduled`.

    Raises:
        TypeError: an argument is not of its type.
        InvalidCommand: `limit` is not from 1 to 10,000.
    """
    if not isinstance(after, str):
        raise _wrong("after", "a string", after)
    if not isinstance(limit, int):
        raise _wrong("limit", "a whole number", limit)
    if not 1 <= limit <= HISTORY_LIMIT:
        raise InvalidCommand(f"limit {limit}: a whole number from 1 to {HISTORY_LIMIT}")


def _check_reading(filters: tuple[object, ...], since: object, retained: object) -> None:
    if not filters:
        raise InvalidCommand("at least one topic filter is needed")
    for each in filters:
        if not isinstance(each, str):
            hint = ": pass several one by one" if isinstance(each, (list, tuple, set)) else ""
            raise _wrong("filter", f"a string{hint}", each)
    if not isinstance(since, str):
        raise _wrong("since", "a cursor, 'start', 'now' or 'last:N'", since)
    if retained is not None and not isinstance(retained, bool):
        raise _wrong("retained", "a bool or None", retained)


def _wrong(name: str, wanted: str, value: object) -> TypeError:
    return TypeError(f"{name} has to be {wanted}, not {type(value).__name__}")
