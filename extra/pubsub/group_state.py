"""What is kept of a group beside the log, and comes back after a restart."""

import json
from typing import final

from mypy_extensions import mypyc_attr

from extra.pubsub.group_options import Terms

__all__ = ["GroupState", "decode_state"]


@final
@mypyc_attr(native_class=True)
class GroupState:
    """Where a group stands in one life of the log, and what it is like.

    `tries` has of messages that are not settled how often they were delivered, and before when they are not
    to be again, in Unix seconds, by offset. `seen_at` is when it last had members, 0.0 while it has some.
    """

    __slots__ = ("epoch", "known", "offset", "seen_at", "settled", "terms", "tries")

    def __init__(
        self,
        epoch: str,
        offset: int,
        known: int,
        settled: set[int],
        tries: dict[int, tuple[int, float]],
        seen_at: float,
        terms: Terms,
    ) -> None:
        self.epoch = epoch
        self.offset = offset
        self.known = known
        self.settled = settled
        self.tries = tries
        self.seen_at = seen_at
        self.terms = terms

    def encode(self) -> bytes:
        """Return it as JSON."""
        terms = self.terms
        kept = {
            "epoch": self.epoch,
            "offset": self.offset,
            "known": self.known,
            "settled": sorted(self.settled),
            "tries": [[offset, tried, after] for offset, (tried, after) in self.tries.items()],
            "seen": self.seen_at,
            "filters": terms.filters,
            "ack_wait": terms.ack_wait_s,
            "max_unacknowledged": terms.max_unacknowledged,
            "max_deliveries": terms.max_deliveries,
            "dead_letters": terms.dead_letters,
            "order": terms.order,
            "expires": terms.expires_s,
        }
        return json.dumps(kept, separators=(",", ":")).encode()


def decode_state(value: bytes) -> GroupState:
    """Return what `encode` has made bytes of. Raises ValueError, TypeError or KeyError if it is not that."""
    kept: dict[str, object] = json.loads(value)
    filters, settled, tries = kept["filters"], kept["settled"], kept["tries"]
    if not isinstance(filters, list) or not isinstance(settled, list) or not isinstance(tries, list):
        raise TypeError("filters, settled and tries are lists")
    terms = Terms(
        [str(each) for each in filters],
        _number(kept["ack_wait"]),
        _whole(kept["max_unacknowledged"]),
        _whole(kept["max_deliveries"]),
        str(kept["dead_letters"]),
        str(kept["order"]),
        _number(kept["expires"]),
    )
    return GroupState(
        str(kept["epoch"]),
        _whole(kept["offset"]),
        _whole(kept["known"]),
        {_whole(each) for each in settled},
        {_whole(each[0]): (_whole(each[1]), _number(each[2])) for each in tries},
        _number(kept["seen"]),
        terms,
    )


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("not a whole number")
    return value


def _number(value: object) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError("not a number")
    return float(value)
