"""Publishing on a condition: that a topic's last message is still the one that the publisher knows.

The last message of a topic is the newest that was published there, whether the log still has it or not: that
it was evicted or has expired changes nothing. A topic of which the log knows nothing has none, and offset 0
stands for that.
"""

from typing import Final

from extra.errors import PreconditionFailed
from extra.pubsub.position import format_cursor

__all__ = ["IF_LAST_MOST", "precondition_failed"]

IF_LAST_MOST: Final = 2**63 - 1


def precondition_failed(topic: str, if_last: int, last: int, epoch: str) -> PreconditionFailed:
    """Return the error that says which message is the last one instead."""
    wanted = f"the message at offset {if_last}" if if_last else "none"
    found = f"the one at offset {last}" if last else "none"
    return PreconditionFailed(
        f"the last message of topic {topic[:80]!r} was to be {wanted}, and is {found}",
        last,
        format_cursor(epoch, last),
    )
