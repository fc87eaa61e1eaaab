"""What is said of gaps: in words, and to a subscriber that iterates, in this process or at a distance."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import final

from mypy_extensions import mypyc_attr

from extra.errors import UnrecoverablePosition
from extra.pubsub.message import Gap

__all__ = ["GapTeller", "describe_gap"]


def describe_gap(gap: Gap) -> str:
    """Say in words what is missing, and why."""
    where = f" of {gap.filter}" if gap.filter is not None else ""
    if gap.reason == "overflow":
        return f"{gap.dropped} messages{where} were dropped: this reader does not keep up (overflow)"
    if gap.after is None:
        return f"messages{where} may be missing: the broker's log has begun anew ({gap.reason})"
    return f"messages{where} after offset {gap.after} and up to {gap.until} are missing ({gap.reason})"


@final
@mypyc_attr(native_class=True)
class GapTeller:
    """Tells one subscriber of its gaps: by `on_gap`, or else by raising.

    Who chose to lose messages ("drop-oldest", "latest") is not told by raising; one line goes to `logger`.
    """

    def __init__(
        self,
        filters: list[str],
        overflow: str | None,
        on_gap: Callable[[Gap], None] | None,
        logger: logging.Logger,
    ) -> None:
        self.filters = filters
        self.overflow = overflow
        self.on_gap = on_gap
        self.logger = logger
        self.has_warned = False

    def tell(self, gap: Gap) -> None:
        """Tell of a gap.

        Raises:
            UnrecoverablePosition: there is no `on_gap`, and the loss was not chosen.
        """
        if self.on_gap is not None:
            self.on_gap(gap)
        elif gap.reason != "overflow":
            raise UnrecoverablePosition(
                f"{describe_gap(gap)}; a subscription with on_gap is told so and goes on", gap
            )
        elif not self.has_warned:
            self.has_warned = True
            self.logger.warning(
                "a subscriber to %s does not keep up: messages are dropped (overflow %s)",
                ", ".join(self.filters),
                "by its policy" if self.overflow is None else repr(self.overflow),
            )
