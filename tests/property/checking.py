"""Holds what one subscriber saw against what was published: order, each once, loss told before."""

from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, TypeAlias

from extra.pubsub import Gap
from extra.topics import matches

__all__ = ["RESUMED", "Trace", "check_trace"]


class Mark(Enum):
    """What stands in a trace beside what was received."""

    RESUMED = "resumed"


RESUMED: Final = Mark.RESUMED
"""The subscriber came back with its cursor: what a gap told as missing may be had from the log after all."""

Trace: TypeAlias = Sequence[int | Gap | Mark]
"""Offsets of messages and gaps, as they were received."""


def check_trace(
    trace: Trace, topics: Mapping[int, str], filters: Sequence[str], *, start: int, gone: int = 0
) -> None:
    """Fail unless `trace` has every message above `start` that `filters` match, or tells of what it lacks.

    `topics` has the topic of each offset. What was `gone` when it all began, up to that offset, is no loss:
    nobody has promised it.
    """
    wanted = {
        offset
        for offset, topic in topics.items()
        if offset > start and any(matches(topic_filter, topic) for topic_filter in filters)
    }
    seen = [each for each in trace if isinstance(each, int)]
    assert seen == sorted(set(seen)), "in offset order, each once"
    assert set(seen) <= wanted, "nothing that was not asked for"
    absent = wanted.difference(seen)
    missing = deque(sorted(offset for offset in absent if offset > gone))
    told: list[Gap] = []
    for position, each in enumerate(trace):
        if isinstance(each, Gap):
            told.append(each)
            assert _names_a_loss(each, absent, trace[position:]), f"{each} ends with what was not missed"
        elif isinstance(each, int):
            while missing and missing[0] < each:
                untold = missing.popleft()
                assert _is_told(untold, told), (
                    f"offset {untold} was missed before {each}, and only {told} told"
                )
    untold_ones = [offset for offset in missing if not _is_told(offset, told)]
    assert not untold_ones, f"offsets {untold_ones} are missing, and only {told} tell"


def _is_told(offset: int, gaps: Sequence[Gap]) -> bool:
    return any(gap.after is not None and gap.after < offset <= gap.until for gap in gaps)


def _names_a_loss(gap: Gap, absent: set[int], following: Trace) -> bool:
    if gap.until in absent:
        return True
    return gap.until in following and RESUMED in following[: following.index(gap.until)]
