"""Reading a page of what the log has, and where topics have ended."""

import asyncio
from dataclasses import dataclass
from typing import Final, final

from mypy_extensions import mypyc_attr

from extra.errors import LimitExceeded
from extra.pubsub.beginning import FROM_START, find_beginning
from extra.pubsub.ends import End
from extra.pubsub.engine import Engine
from extra.pubsub.message import Message
from extra.pubsub.position import Since, format_cursor
from extra.topics import has_wildcard

__all__ = ["HISTORY_LIMIT_BYTES", "NO_LIMIT", "RETAINED_LIMIT", "Page", "ends_of", "read_page"]

RETAINED_LIMIT: Final = 10_000
"""So many retained messages fit into one page of history."""
RETAINED_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""And so many bytes of them."""
HISTORY_LIMIT_BYTES: Final = 1024 * 1024
"""A page of history ends here as well, in process as over HTTP."""
NO_LIMIT: Final = 1 << 62


@final
@mypyc_attr(native_class=True)
@dataclass
class Page:
    """A piece of history.

    `cursor` is where to go on; `complete` says that nothing is missing; `more`, that there is more.

    When it is not complete, messages up to `lost_until` are missing and `resume` is where to read all that is
    left; an epoch that is gone has `lost_until` 0. A page from the start is not complete, either, when the
    start is gone; then it has what is left, and `resume` is empty.

    `last_offset` is that of the topic's last message, where one topic was read, and None for filters. As
    `if_last` it lets something be published only while nothing has been that this page does not know of.
    `closed` says that nothing more will come: all that was read are topics that have ended, up to their ends.
    """

    messages: list[Message]
    cursor: str
    complete: bool
    more: bool
    resume: str = ""
    lost_until: int = 0
    last_offset: int | None = None
    closed: bool = False


async def read_page(
    engine: Engine,
    filters: list[str],
    since: Since,
    until: int,
    limit: int,
    retained: bool | None = None,
    limit_bytes: int = NO_LIMIT,
) -> Page:
    """Read a page of what has been delivered, which is up to `until`: at most `limit` (1 or more) messages.

    A page ends at `limit_bytes` as well, by the messages' `size`; one message is always given. Retained
    messages, if asked for (None: with "now"), come first and are not counted.

    Raises:
        InvalidCursor, LimitExceeded, EngineUnavailable.
    """
    epoch = engine.epoch()
    is_one = len(filters) == 1 and not has_wildcard(filters[0])
    last_offset = engine.last_offset(filters[0]) if is_one else None
    messages: list[Message] = []
    if retained if retained is not None else since.kind == "now":
        messages = [message for message in await engine.retained(filters) if message.offset <= until]
        if len(messages) > RETAINED_LIMIT or sum([each.size for each in messages]) > RETAINED_LIMIT_BYTES:
            raise LimitExceeded(
                f"{len(messages)} retained messages match, more than fit into one page: "
                "a narrower filter has fewer, a stream takes any number"
            )
    given = {message.offset for message in messages}
    beginning = await find_beginning(engine, filters, since, until, until)
    position = after = beginning.after
    known = beginning.known
    lost_until = 0
    begins_late = False
    found = 0
    more = False
    while position < until:
        piece = await engine.read(filters, position, until, limit + 1 - found, limit_bytes)
        if known < 0:
            was_from_start = known == FROM_START
            known = min(piece.evicted_until, until)
            if was_from_start and piece.evicted_until <= until:
                begins_late = piece.evicted_until > 0
        else:
            lost_until = max(lost_until, piece.evicted_until)
        for message in piece.messages:
            if message.offset not in given:
                messages.append(message)
                found += 1
        position = piece.position
        if found > limit:
            position = messages.pop().offset - 1
            more = True
            break
        if limit_bytes < NO_LIMIT and piece.messages and position < until:
            more = True
            break
        if position < until:
            await asyncio.sleep(0)  # one read is bounded work; many in a row are not
    known = max(known, after)
    complete = beginning.is_same_epoch and lost_until <= known
    resume = "" if complete else format_cursor(epoch, after, max(lost_until, known))
    ends = ends_of(engine, filters)
    closed = len(ends) == len(filters) and not more and max([end.offset for end in ends]) <= until
    return Page(
        messages,
        format_cursor(epoch, position, max(lost_until, known)),
        complete and not begins_late,
        more,
        resume,
        lost_until,
        last_offset,
        closed,
    )


def ends_of(engine: Engine, filters: list[str]) -> list[End]:
    """Return where topics have ended, of those among `filters` that are topics. Cost: a step each."""
    ends: list[End] = []
    for topic_filter in filters:
        if not has_wildcard(topic_filter):
            end = engine.end(topic_filter)
            if end is not None:
                ends.append(end)
    return ends
