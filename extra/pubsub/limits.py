"""What one broker bears, and whether topics, payloads and filters are within that."""

from dataclasses import dataclass
from typing import final

from mypy_extensions import mypyc_attr

from extra.errors import InvalidCommand, InvalidTopic, LimitExceeded
from extra.topics import check_filter, check_topic

__all__ = ["BrokerLimits"]


@final
@mypyc_attr(native_class=True)
@dataclass
class BrokerLimits:
    """What one broker bears. The names are those of the settings in section `broker`."""

    max_payload_bytes: int = 1024 * 1024
    max_topic_bytes: int = 65_535
    max_topic_levels: int = 128
    outbox_limit_bytes: int = 1024 * 1024
    subscriptions_limit: int = 1000
    subscriptions_limit_bytes: int = 256 * 1024
    match_cache_topics: int = 4096
    idempotency_limit_keys: int = 100_000
    idempotency_window_s: float = 120.0
    scheduled_limit_messages: int = 10_000
    scheduled_limit_bytes: int = 16 * 1024 * 1024
    presence_limit_members: int = 100_000
    presence_told_members: int = 1_000
    presence_data_limit_bytes: int = 1024
    presence_grace_s: float = 10.0
    named_sessions_limit: int = 10_000
    session_expiry_s: float = 7 * 86_400.0
    groups_limit: int = 1_000
    group_members_limit: int = 1_000
    group_window_limit_messages: int = 10_000
    group_window_limit_bytes: int = 16 * 1024 * 1024
    group_expiry_s: float = 7 * 86_400.0

    def check_topic(self, topic: str) -> None:
        """Raise InvalidTopic unless it is a topic, and one that is not the broker's own."""
        check_topic(topic, max_bytes=self.max_topic_bytes, max_levels=self.max_topic_levels)
        if topic.startswith("$"):
            raise InvalidTopic(f"topic {topic[:80]!r}: topics that start with '$' are the broker's own")

    def check_payload(self, payload: bytes) -> None:
        """Raise LimitExceeded when a payload is too large."""
        size = len(payload)
        if size > self.max_payload_bytes:
            raise LimitExceeded(
                f"a payload of {size} bytes is more than {self.max_payload_bytes} (broker.max_payload_bytes)"
            )

    def check_filters(self, filters: list[str]) -> None:
        """Raise an error unless these are topic filters that one command may name.

        Raises:
            InvalidFilter, InvalidCommand (none), LimitExceeded (too many).
        """
        if not filters:
            raise InvalidCommand("at least one topic filter is needed")
        self._check_count(len(filters))
        for topic_filter in filters:
            check_filter(topic_filter, max_bytes=self.max_topic_bytes, max_levels=self.max_topic_levels)

    def check_room(self, filters: set[str]) -> None:
        """Raise LimitExceeded when these are more than one session, or group, may subscribe to."""
        self._check_count(len(filters))
        size = sum([len(topic_filter) for topic_filter in filters])
        if size > self.subscriptions_limit_bytes:
            raise LimitExceeded(
                f"topic filters of {size} bytes are more than {self.subscriptions_limit_bytes}"
                " (broker.subscriptions_limit_bytes)"
            )

    def _check_count(self, count: int) -> None:
        if count > self.subscriptions_limit:
            raise LimitExceeded(
                f"{count} topic filters are more than {self.subscriptions_limit} (broker.subscriptions_limit)"
            )
