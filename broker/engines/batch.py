"""What is written to a store in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from extra.pubsub import Message
from extra.pubsub.journal import Journal

__all__ = ["Batch", "Placed", "runs_of"]


class Placed:
    """A message with the place that it is to have: at `offset`, from `now` and `time` on.

    `key` is the digest of its idempotency key, or empty. Of a message that is not kept or not durable is
    written only that its topic has lost it; one that is not durable is not retained, either.
    """

    __slots__ = ("is_durable", "is_kept", "key", "message", "now", "offset", "time")

    def __init__(
        self,
        message: Message,
        offset: int,
        now: float,
        time: float,
        key: bytes = b"",
        is_kept: bool = True,
        is_durable: bool = True,
    ) -> None:
        self.message = message
        self.offset = offset
        self.now = now
        self.time = time
        self.key = key
        self.is_kept = is_kept
        self.is_durable = is_durable


@dataclass
class Batch:
    """What is written in one transaction: messages by rising offset, and what has gone meanwhile."""

    head: int
    placed: Sequence[Placed] = field(default_factory=list)
    gone: Journal = field(default_factory=Journal)
    cleared: list[tuple[str, int]] = field(default_factory=list)
    """Topics that are to retain nothing up to an offset, which may be in this batch."""
    forgotten_until: int = 0
    keys_until: int = 0
    """Keys up to this offset no longer count."""
    retained: Sequence[Placed] | None = None
    """What is to be retained; by default the messages that say so themselves."""
    states: Mapping[tuple[str, str], bytes] = field(default_factory=dict)
    """Values by kind and name; an empty one goes."""


def runs_of(offsets: list[int]) -> list[tuple[int, int]]:
    """Return the first and last of each run of consecutive offsets."""
    runs: list[tuple[int, int]] = []
    first = last = -1
    for offset in sorted(offsets):
        if offset != last + 1 or first < 0:
            if first >= 0:
                runs.append((first, last))
            first = offset
        last = offset
    if first >= 0:
        runs.append((first, last))
    return runs
