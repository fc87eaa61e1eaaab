"""What a group is like: how long a message may be worked on, how often it is tried, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import GroupConflict, InvalidCommand
from extra.topics import check_topic, matches

__all__ = ["ORDERS", "GroupOptions", "Terms", "check_delay", "settle_terms"]

ORDERS: Final = ("none", "topic", "key")
ACK_WAIT_S: Final = 30.0
ACK_WAIT_LEAST_S: Final = 0.05
ACK_WAIT_MOST_S: Final = 86_400.0
MAX_UNACKNOWLEDGED: Final = 100
MAX_UNACKNOWLEDGED_MOST: Final = 10_000
MAX_DELIVERIES_MOST: Final = 1_000
EXPIRES_LEAST_S: Final = 1.0
DELAY_MOST_S: Final = 86_400.0


@final
@mypyc_attr(native_class=True)
@dataclass
class GroupOptions:
    """What one member asks of a group; None is what it leaves to the group, or to the defaults.

    `ack_wait` is in seconds; `max_deliveries` goes with `dead_letters`, the topic of what was tried so often.
    `expires` is for how many seconds without members the broker keeps the group.
    """

    ack_wait: float | None = None
    max_unacknowledged: int | None = None
    max_deliveries: int | None = None
    dead_letters: str | None = None
    order: str | None = None
    expires: float | None = None


@final
@mypyc_attr(native_class=True)
@dataclass
class Terms:
    """What a group is like. `max_deliveries` 0 is any number, and then `dead_letters` is empty."""

    filters: list[str]
    ack_wait_s: float
    max_unacknowledged: int
    max_deliveries: int
    dead_letters: str
    order: str
    expires_s: float

    def filled(self, options: GroupOptions, expiry_s: float) -> GroupOptions:
        """Return options in which what is left out is as it was here, within what may be."""
        tried = options.max_deliveries is None and options.dead_letters is None and self.max_deliveries > 0
        return GroupOptions(
            ack_wait=self.ack_wait_s if options.ack_wait is None else options.ack_wait,
            max_unacknowledged=(
                self.max_unacknowledged if options.max_unacknowledged is None else options.max_unacknowledged
            ),
            max_deliveries=self.max_deliveries if tried else options.max_deliveries,
            dead_letters=self.dead_letters if tried else options.dead_letters,
            order=self.order if options.order is None else options.order,
            expires=min(self.expires_s, expiry_s) if options.expires is None else options.expires,
        )

    def check_same(self, name: str, filters: list[str], options: GroupOptions) -> None:
        """Raise GroupConflict when a member asks for something else than what there is."""
        asked: list[tuple[str, object, object]] = [
            ("ack_wait", options.ack_wait, self.ack_wait_s),
            ("max_unacknowledged", options.max_unacknowledged, self.max_unacknowledged),
            ("max_deliveries", options.max_deliveries, self.max_deliveries or None),
            ("dead_letters", options.dead_letters, self.dead_letters or None),
            ("order", options.order, self.order),
            ("expires", options.expires, self.expires_s),
        ]
        if set(filters) != set(self.filters):
            asked.insert(0, ("filter", ", ".join(filters)[:80], ", ".join(self.filters)[:80]))
        for option, wanted, there in asked:
            if wanted is not None and wanted != there:
                raise GroupConflict(
                    f"group {name[:80]!r} has members, for whom {option} is {_shown(there)}"
                    f" and not {_shown(wanted)}: leave it out, or ask for the same"
                )


def settle_terms(filters: list[str], options: GroupOptions, expiry_s: float) -> Terms:
    """Return what a group is like whose first member asks for this.

    Raises:
        InvalidCommand: an option is not one. InvalidTopic: nor is `dead_letters`.
    """
    ack_wait = _within("ack_wait", options.ack_wait, ACK_WAIT_S, ACK_WAIT_LEAST_S, ACK_WAIT_MOST_S)
    unacknowledged = _within(
        "max_unacknowledged", options.max_unacknowledged, MAX_UNACKNOWLEDGED, 1, MAX_UNACKNOWLEDGED_MOST
    )
    expires = _within("expires", options.expires, expiry_s, EXPIRES_LEAST_S, expiry_s)
    dead_letters = options.dead_letters or ""
    if (options.max_deliveries is None) != (options.dead_letters is None):
        raise InvalidCommand("max_deliveries and dead_letters: both, or neither")
    deliveries = 0.0
    if options.max_deliveries is not None:
        deliveries = _within("max_deliveries", options.max_deliveries, 0, 1, MAX_DELIVERIES_MOST)
        check_topic(dead_letters)
        reads_them = [each for each in filters if matches(each, dead_letters)]
        if dead_letters.startswith("$") or reads_them:
            raise InvalidCommand(
                f"dead_letters {dead_letters[:80]!r}: a topic that does not begin with '$',"
                " and that the group itself does not read"
            )
    order = options.order or "none"
    if order not in ORDERS:
        raise InvalidCommand(f"order {order[:80]!r}: one of {', '.join(ORDERS)}")
    return Terms(filters, ack_wait, int(unacknowledged), int(deliveries), dead_letters, order, expires)


def check_delay(delay_s: float) -> None:
    """Raise InvalidCommand unless a message may be given back for so long: up to a day."""
    if not 0 <= delay_s <= DELAY_MOST_S:
        raise InvalidCommand(f"delay {delay_s:g}: a number of seconds from 0 to {DELAY_MOST_S:g}")


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _within(option: str, value: float | None, default: float, low: float, high: float) -> float:
    if value is None:
        return default
    if not low <= value <= high:
        raise InvalidCommand(f"{option} {value:g}: from {low:g} to {high:g}")
    return value
