"""Ends of streams: a topic whose last message says that it is the last.

Such a topic is closed: nothing more is published there, unless a message says that it opens it anew. The
mark is part of the message, so that whoever reads the log comes upon the end where it is. A topic stays
closed as long as the log knows it, whether it still has the last message or not; after a restart of a broker
with a store, as long as that message was kept.
"""

from typing import final

from mypy_extensions import mypyc_attr

from extra.errors import TopicClosed
from extra.pubsub.position import format_cursor

__all__ = ["End", "topic_closed"]


@final
@mypyc_attr(native_class=True)
class End:
    """Where a topic ended: at `offset`. `is_kept` says whether the log still has that message."""

    __slots__ = ("cursor", "is_kept", "offset", "topic")

    def __init__(self, topic: str, epoch: str, offset: int, is_kept: bool) -> None:
        self.topic = topic
        self.offset = offset
        self.cursor = format_cursor(epoch, offset)
        self.is_kept = is_kept


def topic_closed(topic: str) -> TopicClosed:
    """Return the error that says that a topic takes no more messages."""
    return TopicClosed(f"topic {topic[:80]!r} has ended: a message with close false opens it anew")
