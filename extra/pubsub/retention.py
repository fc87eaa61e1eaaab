"""How much the log keeps of each topic, by topic filter: the longest match wins."""

from dataclasses import dataclass
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.topics import check_filter, matches

__all__ = ["DEFAULT_POLICY", "Policy", "PolicyTable"]


@final
@mypyc_attr(native_class=True)
@dataclass
class Policy:
    """What one topic keeps: at most so many messages, for so many seconds, of so many bytes.

    `messages` 0 keeps nothing: subscribers that are there get the message, nobody can resume over it.
    """

    messages: int = 100
    age_s: float = 600.0
    topic_limit_bytes: int = 16 * 1024 * 1024


DEFAULT_POLICY: Final = Policy()


@final
@mypyc_attr(native_class=True)
class PolicyTable:
    """Policies by filter. "Longest" counts levels first, then the levels that are spelt out.

    Cost of a look-up: one match per entry. It is made once for each topic that the log comes to know.
    """

    __slots__ = ("default", "entries")

    def __init__(self, default: Policy, entries: list[tuple[str, Policy]] | None = None) -> None:
        """Raise InvalidFilter when an entry's filter is none."""
        self.default = default
        self.entries: list[tuple[str, Policy]] = []
        ranked: list[tuple[int, int, str, Policy]] = []
        for topic_filter, policy in entries or []:
            check_filter(topic_filter)
            levels = topic_filter.split("/")
            wildcards = levels.count("+") + levels.count("#")
            ranked.append((-len(levels), wildcards, topic_filter, policy))
        ranked.sort(key=_rank)
        for _, _, topic_filter, policy in ranked:
            self.entries.append((topic_filter, policy))

    def policy(self, topic: str) -> Policy:
        """Return the policy of a topic."""
        for topic_filter, policy in self.entries:
            if matches(topic_filter, topic):
                return policy
        return self.default


def _rank(entry: tuple[int, int, str, Policy]) -> tuple[int, int]:
    return entry[0], entry[1]
