"""What topics keep and may carry, by topic filter: the longest filter that matches a topic counts.

**Longest** means: most levels that are spelt out, `+` and `#` being none. Of two with as many, the one that
is narrower at the first level where they differ: a name is narrower than `+`, `+` than `#`, and that a filter
has ended than `#`. Two different filters that match the same topic are never equal by that, so that the order
in which policies stand does not matter.
"""

from dataclasses import dataclass
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand, LimitExceeded
from extra.pubsub.message import Message
from extra.topics import check_filter, covers, matches

__all__ = ["DEFAULT_POLICY", "Policy", "PolicyTable", "check_policy"]

ANY_SIZE: Final = 1 << 62


@final
@mypyc_attr(native_class=True)
@dataclass
class Policy:
    """What one topic keeps: at most so many messages, for so many seconds, of so many bytes.

    `messages` 0 keeps nothing: subscribers that are there get the message, nobody can resume over it.

    A payload has at most `max_payload_bytes`, within what the broker takes at all. Where `retained` is false,
    nothing can be retained. What is not `durable` is in memory alone, and gone with the process, whatever the
    engine. `overflow` is for subscribers that name none.
    """

    messages: int = 100
    age_s: float = 600.0
    topic_limit_bytes: int = 16 * 1024 * 1024
    max_payload_bytes: int = ANY_SIZE
    retained: bool = True
    durable: bool = True
    overflow: str = "disconnect"


DEFAULT_POLICY: Final = Policy()


@final
@mypyc_attr(native_class=True)
class PolicyTable:
    """Policies by filter, the longest first.

    Cost of a look-up: one match per entry. The log makes it once for each topic that it comes to know.
    """

    __slots__ = ("default", "entries")

    def __init__(self, default: Policy, entries: list[tuple[str, Policy]] | None = None) -> None:
        """Raise InvalidFilter when an entry's filter is none."""
        self.default = default
        self.entries: list[tuple[str, Policy]] = []
        ranked: list[tuple[int, str, int]] = []
        given = entries or []
        for number, (topic_filter, _) in enumerate(given):
            check_filter(topic_filter)
            ranked.append((*_rank(topic_filter), number))
        ranked.sort()
        for _, _, number in ranked:
            self.entries.append(given[number])

    def policy(self, topic: str) -> Policy:
        """Return the policy of a topic."""
        for topic_filter, policy in self.entries:
            if matches(topic_filter, topic):
                return policy
        return self.default

    def winner(self, topic: str) -> str:
        """Return the filter of the policy of a topic; empty when that is the default."""
        for topic_filter, _ in self.entries:
            if matches(topic_filter, topic):
                return topic_filter
        return ""

    def overflow(self, topic_filter: str) -> str:
        """Return what happens to a subscriber of a filter that names no overflow and does not keep up.

        It is what the longest policy says whose filter covers all that this one matches.
        """
        for wide, policy in self.entries:
            if covers(wide, topic_filter):
                return policy.overflow
        return self.default.overflow


def check_policy(policy: Policy, message: Message) -> None:
    """Raise what keeps a message from being published on a topic with this policy, if anything does.

    Raises:
        LimitExceeded: its payload is too large.
        InvalidCommand: it is to be retained, and nothing is there.
    """
    size = len(message.payload)
    if size > policy.max_payload_bytes:
        raise LimitExceeded(
            f"a payload of {size} bytes is more than the {policy.max_payload_bytes} of topic"
            f" {message.topic[:80]!r} (policies.max_payload_bytes)"
        )
    if message.retained and not policy.retained:
        raise InvalidCommand(f"topic {message.topic[:80]!r} retains nothing (policies.retained)")


def _rank(topic_filter: str) -> tuple[int, str]:
    """Return what sorts the longest filter first: the levels spelt out, and then how narrow each level is."""
    spelt = 0
    widths = ""
    for level in topic_filter.split("/"):
        if level == "#":
            widths += "2"
        elif level == "+":
            widths += "1"
        else:
            widths += "0"
            spelt += 1
    return -spelt, widths
