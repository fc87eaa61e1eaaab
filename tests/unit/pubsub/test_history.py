"""Reading pages of what a broker has, also while something is published."""

import asyncio

import pytest

from extra.errors import InvalidCommand, InvalidCursor, InvalidFilter, LimitExceeded
from extra.pubsub import Policy, parse_since
from tests.unit.pubsub.house import SIZE, House, offsets
from tests.unit.pubsub.material import a_message, settle


async def test_history_is_read_in_pages(house: House) -> None:
    await house.publish(*"abaaba")
    page = await house.broker.history("a", limit=2)
    assert (offsets(page), page.complete, page.more) == ([1, 3], True, True)
    page = await house.broker.history("a", since=page.cursor, limit=2)
    assert (offsets(page), page.complete, page.more) == ([4, 6], True, False)
    assert page.cursor == "e1-6"
    page = await house.broker.history("a", since=page.cursor, limit=2)
    assert (offsets(page), page.complete, page.more, page.cursor) == ([], True, False, "e1-6")


@pytest.mark.parametrize(
    ("since", "expected"), [("start", [1, 3, 4]), ("now", []), ("last:2", [3, 4]), ("e1-1", [3, 4])]
)
async def test_history_begins_where_since_says(house: House, since: str, expected: list[int]) -> None:
    """docs/protocol.md, cursors."""
    await house.publish("a", "b", "a", "a")
    page = await house.broker.history("a", since=since)
    assert (offsets(page), page.cursor, page.complete) == (expected, "e1-4", True)


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_has_room_for_one_message_at_least(house: House, limit: int) -> None:
    with pytest.raises(InvalidCommand, match="limit"):
        await house.broker.history("a", limit=limit)


async def test_a_page_ends_at_so_many_bytes_as_well(house: House) -> None:
    await house.publish(*"aaaa")
    page = await house.broker.read(["a"], parse_since("start"), 100, limit_bytes=2 * SIZE)
    assert (offsets(page), page.more, page.cursor) == ([1, 2], True, "e1-2")
    page = await house.broker.read(["a"], parse_since("start"), 100, limit_bytes=1)
    assert (offsets(page), page.more) == ([1], True)


async def test_retained_messages_come_first_and_once(house: House) -> None:
    await house.publish("a", "b", "a")
    await house.broker.publish("b", 1, retain=True)
    await house.publish("a")
    page = await house.broker.history("#", retained=True, limit=2)
    assert (offsets(page), page.more) == ([4, 1, 2], True)
    page = await house.broker.history("#", since=page.cursor, limit=100)
    assert offsets(page) == [3, 4, 5]
    assert offsets(await house.broker.history("#", retained=True)) == [4, 1, 2, 3, 5]
    assert offsets(await house.broker.history("#", since="now")) == [4]
    assert offsets(await house.broker.history("#", since="now", retained=False)) == []


async def test_a_page_after_a_retained_message_goes_on_behind_it(house: House) -> None:
    await house.publish("a")
    await house.publish("b", retain=True)
    await house.publish("a")
    page = await house.broker.history("#", retained=True, limit=1)
    assert (offsets(page), page.cursor) == ([2, 1], "e1-2")
    assert await house.history("#", since=page.cursor) == [3]


async def test_what_is_published_while_a_page_is_read_comes_with_the_next(house: House) -> None:
    await house.publish("a")
    house.engine.shut("retained")
    reading = asyncio.ensure_future(house.broker.history("#", since="now"))
    await settle()
    await house.publish("b", retain=True)
    house.engine.open("retained")
    page = await reading
    assert (offsets(page), page.cursor) == ([], "e1-1")
    assert await house.history("#", since=page.cursor) == [2]


async def test_a_page_that_misses_something_says_so_and_how_to_go_on() -> None:
    """docs/protocol.md, loss: `resume` gives all that is left, and the same loss is not told twice."""
    async with House(Policy(messages=2)) as house:
        await house.publish("b", *"aaaa")
        page = await house.broker.history("a", since="e1-1")
        assert (offsets(page), page.complete, page.lost_until) == ([4, 5], False, 3)
        assert page.resume == "e1-1-3"
        page = await house.broker.history("a", since=page.resume)
        assert (offsets(page), page.complete, page.resume, page.lost_until) == ([4, 5], True, "", 3)
        await house.publish("a")
        page = await house.broker.history("a", since="e1-1-3")
        assert (offsets(page), page.complete, page.resume) == ([5, 6], False, "e1-1-4")


async def test_a_start_that_is_gone_is_told_once_and_is_no_gap() -> None:
    async with House(Policy(messages=2)) as house:
        await house.publish("b", *"aaaa")
        page = await house.broker.history("#", limit=1)
        assert (offsets(page), page.complete, page.cursor, page.resume) == ([1], False, "e1-3", "")
        page = await house.broker.history("#", since=page.cursor)
        assert (offsets(page), page.complete) == ([4, 5], True)


async def test_what_is_lost_between_two_pages_is_told() -> None:
    async with House(Policy(messages=2)) as house:
        await house.publish("a", "b", "b")
        page = await house.broker.history("#", limit=1)
        assert offsets(page) == [1]
        await house.publish("b")
        page = await house.broker.history("#", since=page.cursor)
        assert (offsets(page), page.complete, page.lost_until) == ([3, 4], False, 2)


async def test_what_is_lost_between_two_pieces_of_a_page_is_told() -> None:
    async with House(Policy(messages=2)) as house:
        await house.publish("a", "b", "b")
        house.engine.shut("read")
        reading = asyncio.ensure_future(house.broker.history("#", since="e1-0"))
        await settle()
        await house.publish("b")
        house.engine.open("read")
        page = await reading
        assert (offsets(page), page.complete, page.lost_until) == ([1, 3], False, 2)


async def test_what_came_after_the_start_of_a_read_and_is_lost_is_told_by_the_next() -> None:
    async with House(Policy(messages=1)) as house:
        await house.publish("a")
        house.engine.shut("read")
        reading = asyncio.ensure_future(house.broker.history("#"))
        await settle()
        await house.publish("b", "b")
        house.engine.open("read")
        page = await reading
        assert (offsets(page), page.complete, page.cursor) == ([1], True, "e1-1")
        page = await house.broker.history("#", since=page.cursor)
        assert (offsets(page), page.complete, page.lost_until) == ([3], False, 2)


async def test_a_cursor_of_another_epoch_reads_the_new_log_from_its_start() -> None:
    """docs/protocol.md, loss: `epoch`."""
    async with House(Policy(messages=2), epoch="e2") as house:
        await house.publish("a")
        page = await house.broker.history("a", since="e1-700-900")
        assert (offsets(page), page.complete, page.lost_until) == ([1], False, 0)
        assert (page.cursor, page.resume) == ("e2-1", "e2-0")
        await house.publish("a", "a")
        page = await house.broker.history("a", since="e1-700")
        assert (offsets(page), page.complete, page.lost_until, page.resume) == ([2, 3], False, 1, "e2-0-1")


@pytest.mark.parametrize("cursor", ["e1-4", "e1-1-4", "e1-999999999"])
async def test_a_cursor_ahead_of_the_log_is_refused(house: House, cursor: str) -> None:
    """docs/protocol.md, errors: `invalid_cursor`."""
    await house.publish(*"aaa")
    with pytest.raises(InvalidCursor, match="is ahead of the log, which is at 3"):
        await house.broker.history("a", since=cursor)
    session, _ = house.open_session()
    with pytest.raises(InvalidCursor):
        await house.add(session, "a", since=cursor)


async def test_a_rare_topic_is_found_in_a_log_that_takes_many_reads() -> None:
    async with House(Policy(messages=1 << 30), entries=[("c/#", Policy(messages=0))]) as house:
        await house.publish("rare", *[f"c/{number}" for number in range(1100)])
        message = a_message("c/1")
        for _ in range(20):
            await house.engine.inner.append(a_message("much"))
        assert message.offset == 0
        page = await house.broker.history("c/#", "rare", since="start", limit=1)
        assert (offsets(page), page.more) == ([1], False)


@pytest.mark.parametrize(
    ("filters", "error"),
    [
        ((), InvalidCommand),
        (("a/#/b",), InvalidFilter),
        (("",), InvalidFilter),
        (("a",) * 1001, LimitExceeded),
    ],
)
async def test_filters_are_checked(house: House, filters: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        await house.broker.history(*filters)
    session, _ = house.open_session()
    with pytest.raises(error):
        await house.add(session, *filters)
    assert session.is_live()


async def test_too_many_retained_messages_for_a_page_are_refused(house: House) -> None:
    for topic in "abcde":
        await house.broker.publish(topic, b"x" * 1_000_000, retain=True)
    with pytest.raises(LimitExceeded, match="5 retained messages match"):
        await house.broker.read(["#"], parse_since("now"), 10)
    assert len((await house.broker.read(["a", "b"], parse_since("now"), 10)).messages) == 2
