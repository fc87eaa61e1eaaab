"""Where a reading begins, of who stands at offset 4 of a log that has been delivered up to 5."""

import pytest

from extra.errors import InvalidCursor
from extra.pubsub import Broker, MemoryEngine, parse_since
from extra.pubsub.beginning import FROM_NOW, FROM_START, check_reached, find_beginning


async def begin(since: str) -> tuple[int, int, bool]:
    engine = MemoryEngine(epoch="e1")
    async with Broker(engine) as broker:
        for topic in "abaab":
            await broker.publish(topic, 1)
        found = await find_beginning(engine, ["a"], parse_since(since), 4, 5)
        return found.after, found.known, found.is_same_epoch


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("now", (4, FROM_NOW, True)),
        ("start", (0, FROM_START, True)),
        ("last:1", (3, FROM_NOW, True)),
        ("last:2", (2, FROM_NOW, True)),
        ("e1-2", (2, 0, True)),
        ("e1-2-3", (2, 3, True)),
        ("e1-5", (5, 0, True)),
        ("e0-9", (0, 0, False)),
    ],
)
async def test_a_reading_begins_where_since_says(since: str, expected: tuple[int, int, bool]) -> None:
    assert await begin(since) == expected


@pytest.mark.parametrize("cursor", ["e1-6", "e1-5-6"])
async def test_a_cursor_ahead_of_the_log_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor, match="is ahead of the log, which is at 5"):
        await begin(cursor)


def test_only_a_cursor_of_this_life_can_be_ahead() -> None:
    for since in ("now", "start", "last:9", "e0-9", "e1-5"):
        check_reached(MemoryEngine(epoch="e1"), parse_since(since), 5)
