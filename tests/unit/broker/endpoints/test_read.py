"""Reads and long-polls: what is answered, in which form, and when."""

import asyncio
import json
from collections.abc import AsyncIterator

import msgpack
import pytest

from broker.endpoints.hub import Hub
from broker.endpoints.read import Bell, Reader
from broker.endpoints.reasons import NotAcceptable
from broker.settings import PollSettings, Settings
from extra.errors import InvalidCommand, InvalidCursor, InvalidFilter, SessionTakenOver
from extra.http import Response
from extra.payloads import JSONValue
from tests.fakes.clock import FakeClock
from tests.unit.broker.endpoints.driving import (
    body_of,
    fields_of,
    headers_of,
    make_request,
    running_hub,
)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with running_hub() as hub:
        yield hub


async def publish(hub: Hub, count: int, topic: str = "a") -> None:
    for number in range(count):
        await hub.broker.publish(topic, number)


async def read(hub: Hub, target: str, headers: dict[str, str] | None = None, method: str = "GET") -> Response:
    return await Reader(hub).read(make_request(method, target, headers))


async def waiting(hub: Hub, target: str, headers: dict[str, str] | None = None) -> asyncio.Task[Response]:
    """Return a long-poll that waits."""
    task = asyncio.create_task(read(hub, target, headers))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


def clock_of(hub: Hub) -> FakeClock:
    clock = hub.broker.clock
    assert isinstance(clock, FakeClock)
    return clock


def offsets(response: Response) -> list[JSONValue]:
    messages = fields_of(response)["messages"]
    assert isinstance(messages, list)
    return [message["offset"] for message in messages if isinstance(message, dict)]


async def test_a_page_has_what_there_is(hub: Hub) -> None:
    await publish(hub, 2)
    response = await read(hub, "/t/a")
    assert response.status == 200
    assert response.content_type == "application/json"
    assert fields_of(response) == {
        "cursor": "e1-2",
        "complete": True,
        "more": False,
        "messages": [
            {"op": "message", "topic": "a", "offset": 1, "data": 0},
            {"op": "message", "topic": "a", "offset": 2, "data": 1},
        ],
    }
    assert headers_of(response) == {
        "cache-control": "no-store",
        "vary": "Accept",
        "extra-cursor": "e1-2",
        "etag": '"2"',
    }


async def test_the_last_offset_of_one_topic_is_told_and_that_of_a_filter_is_not(hub: Hub) -> None:
    assert headers_of(await read(hub, "/t/a"))["etag"] == '"0"'
    await publish(hub, 3)
    assert headers_of(await read(hub, "/t/a?limit=1"))["etag"] == '"3"'
    assert headers_of(await read(hub, "/t/a?since=now&wait=0"))["etag"] == '"3"'
    for target in ("/t/*", "/poll?topic=a&topic=b"):
        assert "etag" not in headers_of(await read(hub, target))


async def test_several_filters_make_one_page(hub: Hub) -> None:
    await publish(hub, 1, "a")
    await publish(hub, 1, "b")
    await publish(hub, 1, "c")
    assert offsets(await read(hub, "/poll?topic=c&topic=a&topic=a")) == [1, 3]


async def test_a_page_is_as_long_as_its_limit(hub: Hub) -> None:
    await publish(hub, 3)
    response = await read(hub, "/t/a?limit=2")
    assert offsets(response) == [1, 2]
    assert fields_of(response)["more"] is True
    rest = await read(hub, f"/t/a?limit=2&since={fields_of(response)['cursor']}")
    assert offsets(rest) == [3]
    assert fields_of(rest)["more"] is False


async def test_a_page_has_1000_messages_unless_it_is_asked_for_others() -> None:
    async with running_hub(keep=2000) as hub:
        await publish(hub, 1001)
        response = await read(hub, "/t/a")
        assert len(offsets(response)) == 1000
        assert fields_of(response)["more"] is True


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=10001", "limit=x", "wait=61", "wait=-1", "wait=nan", "retained=2"],
)
async def test_bad_parameters_are_refused_by_name(hub: Hub, query: str) -> None:
    with pytest.raises(InvalidCommand, match=f"parameter '{query.partition('=')[0]}'"):
        await read(hub, f"/t/a?{query}")


async def test_bad_filters_and_cursors_are_refused(hub: Hub) -> None:
    with pytest.raises(InvalidFilter):
        await read(hub, "/poll?topic=a&topic=a%23")
    with pytest.raises(InvalidCursor, match="is ahead of the log"):
        await read(hub, "/t/a?since=e1-1")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/*;q=0.1", "application/json"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("application/jsonl", "application/x-ndjson"),
        ("APPLICATION/MSGPACK", "application/msgpack"),
        ("application/json;q=0.5, application/vnd.msgpack", "application/msgpack"),
        ("application/msgpack; q=0, application/json", "application/json"),
    ],
)
async def test_the_client_chooses_the_form(hub: Hub, accept: str | None, content_type: str) -> None:
    """RFC 9110 12.5.1."""
    response = await read(hub, "/t/a", {"Accept": accept} if accept is not None else {})
    assert response.content_type == content_type


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", ""])
async def test_what_nobody_speaks_is_not_acceptable(hub: Hub, accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/event-stream"):
        await read(hub, "/t/a", {"Accept": accept or ","})


async def test_a_quality_that_is_no_number_is_refused(hub: Hub) -> None:
    with pytest.raises(InvalidCommand, match="quality"):
        await read(hub, "/t/a", {"Accept": "application/json;q=1.2.3"})


async def test_lines_have_the_rest_in_header_fields(hub: Hub) -> None:
    await publish(hub, 3)
    response = await read(hub, "/t/a?limit=2", {"Accept": "application/x-ndjson"})
    lines = body_of(response).split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line)["offset"] for line in lines] == [1, 2]
    headers = headers_of(response)
    assert (headers["extra-cursor"], headers["extra-complete"], headers["extra-more"]) == (
        "e1-2",
        "true",
        "true",
    )


async def test_msgpack_has_the_same_object(hub: Hub) -> None:
    await publish(hub, 2)
    response = await read(hub, "/t/a", {"Accept": "application/msgpack"})
    assert msgpack.unpackb(body_of(response)) == fields_of(await read(hub, "/t/a"))


async def test_retained_messages_come_first_when_asked_for(hub: Hub) -> None:
    await hub.broker.publish("a/x", 1, retain=True)
    await hub.broker.publish("a/y", 2)
    assert offsets(await read(hub, "/t/a/*?since=now")) == [1]
    assert offsets(await read(hub, "/t/a/*?since=e1-1&retained=1")) == [1, 2]
    assert offsets(await read(hub, "/t/a/*?since=now&retained=0")) == []


# What is gone


async def test_what_is_gone_is_told_with_where_to_go_on() -> None:
    async with running_hub(keep=2) as hub:
        await publish(hub, 5)
        response = await read(hub, "/t/a?since=e1-1")
        assert response.status == 410
        assert hub.broker.figures()["gaps"] == 1
        problem = fields_of(response)
        assert problem["code"] == "unrecoverable_position"
        assert problem["cursor"] == headers_of(response)["extra-cursor"]
        assert (problem["after"], problem["until"], problem["reason"]) == (1, 3, "evicted")
        assert offsets(await read(hub, f"/t/a?since={problem['cursor']}")) == [4, 5]


async def test_a_log_that_has_begun_anew_is_told(hub: Hub) -> None:
    await publish(hub, 2)
    response = await read(hub, "/t/a?since=old-9")
    assert response.status == 410
    assert hub.broker.figures()["gaps"] == 1
    problem = fields_of(response)
    assert (problem["after"], problem["until"], problem["reason"]) == (None, 0, "epoch")
    assert offsets(await read(hub, f"/t/a?since={problem['cursor']}")) == [1, 2]


# Long-polls


async def test_what_is_there_is_answered_at_once(hub: Hub) -> None:
    await publish(hub, 2)
    assert offsets(await read(hub, "/t/a?wait=60")) == [1, 2]


async def test_a_poll_waits_for_the_first_message(hub: Hub) -> None:
    poll = await waiting(hub, "/t/a?wait=60")
    assert hub.polls == 1
    await publish(hub, 1, "b")
    await publish(hub, 2, "a")
    response = await poll
    assert hub.polls == 0
    assert offsets(response) == [2, 3]
    assert not hub.broker.sessions
    assert not hub.open


async def test_a_poll_that_ends_with_nothing_has_the_cursor(hub: Hub) -> None:
    await publish(hub, 3, "b")
    response = await read(hub, "/t/a?wait=0.01")
    assert (response.status, response.body) == (204, b"")
    assert headers_of(response)["extra-cursor"] == "e1-3"
    assert not hub.open


async def test_a_poll_from_now_does_not_see_what_was_there(hub: Hub) -> None:
    await publish(hub, 3)
    poll = await waiting(hub, "/t/a?wait=60&since=now")
    await publish(hub, 1)
    assert offsets(await poll) == [4]


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=25", "wait=25"),
        ('respond-async, wait="25"', "wait=25"),
        ("wait = 25; foo", "wait=25"),
        ("wait=100000", "wait=60"),
    ],
)
async def test_a_preference_waits_as_well_and_is_confirmed(hub: Hub, prefer: str, applied: str) -> None:
    """RFC 7240 3 and 4.3."""
    poll = await waiting(hub, "/t/a", {"Prefer": prefer})
    await publish(hub, 1)
    assert headers_of(await poll)["preference-applied"] == applied


@pytest.mark.parametrize("prefer", ["respond-async", "await=25", "wait=soon", ""])
async def test_other_preferences_are_not_followed(hub: Hub, prefer: str) -> None:
    response = await read(hub, "/t/a", {"Prefer": prefer})
    assert response.status == 200
    assert "preference-applied" not in headers_of(response)


async def test_the_parameter_counts_before_the_preference(hub: Hub) -> None:
    response = await read(hub, "/t/a?wait=0", {"Prefer": "wait=25"})
    assert (response.status, offsets(response)) == (200, [])


async def test_how_long_a_poll_may_wait_is_a_setting() -> None:
    async with running_hub(Settings(poll=PollSettings(wait_limit_s=2.0))) as hub:
        with pytest.raises(InvalidCommand, match="a number from 0 to 2"):
            await read(hub, "/t/a?wait=3")


async def test_head_does_not_wait(hub: Hub) -> None:
    response = await read(hub, "/t/a?wait=60", method="HEAD")
    assert response.status == 204
    assert headers_of(response)["extra-cursor"] == "e1-0"


async def test_a_poll_that_is_cancelled_leaves_nothing_behind(hub: Hub) -> None:
    poll = await waiting(hub, "/t/a?wait=60")
    poll.cancel()
    await asyncio.wait([poll])
    assert not hub.broker.sessions
    assert not hub.open


async def test_polls_are_answered_when_the_broker_stops(hub: Hub) -> None:
    poll = await waiting(hub, "/t/a?wait=60")
    hub.tick()
    hub.drain()
    response = await poll
    assert response.status == 204
    headers = headers_of(response)
    assert headers["extra-cursor"] == "e1-0"
    assert 1 <= int(headers["retry-after"]) <= 6
    assert "connection" not in headers, "that is the connection's own"


async def test_a_broker_that_stops_lets_nobody_wait(hub: Hub) -> None:
    hub.drain()
    assert (await read(hub, "/t/a?wait=60")).status == 204


async def test_a_message_that_came_in_between_rings_at_once(hub: Hub) -> None:
    await publish(hub, 1)
    await Bell(hub).wait(["a"], "e1-0", 60)
    assert not hub.broker.sessions


async def test_a_bell_rings_when_the_broker_is_closed(hub: Hub) -> None:
    bell = Bell(hub)
    task = asyncio.create_task(bell.wait(["a"], "e1-0", 60))
    await asyncio.sleep(0)
    await hub.broker.close()
    await task
    bell.overflowed()
    bell.wake()


async def test_who_waits_is_present_until_the_grace_time_after_it(hub: Hub) -> None:
    clock, presence = clock_of(hub), hub.broker.presence
    poll = await waiting(hub, "/t/a?wait=60&presence=true&member=m")
    clock.advance(30)
    hub.tick()
    assert presence.count == 1
    await publish(hub, 1)
    await poll
    clock.advance(presence.grace_s - 1)
    hub.tick()
    assert presence.count == 1
    clock.advance(1)
    hub.tick()
    assert presence.count == 0


async def test_a_named_session_is_kept_while_somebody_waits(hub: Hub) -> None:
    clock = clock_of(hub)
    target = "/t/a?session=s&expires=5&since=now&wait=60"
    poll = await waiting(hub, target)
    clock.advance(30)
    hub.tick()
    await publish(hub, 1)
    assert offsets(await poll) == [1]
    await publish(hub, 1)
    assert offsets(await read(hub, target)) == [2], "it goes on where it stood"
    clock.advance(5)
    hub.tick()
    assert not hub.broker.named.sessions


async def test_who_waits_is_told_that_the_session_has_been_claimed(hub: Hub) -> None:
    target = "/t/a?session=s&wait=60"
    older = await waiting(hub, target)
    newer = await waiting(hub, target)
    response = await older
    assert (response.status, fields_of(response)["code"]) == (409, "session_taken_over")
    await publish(hub, 1)
    assert offsets(await newer) == [1]
    again = await waiting(hub, target)
    async with hub.broker.subscribe("a", session="s", ack=True) as messages:
        assert (await again).status == 409
        await publish(hub, 1)
        assert (await anext(messages)).offset == 2
        with pytest.raises(SessionTakenOver, match="claimed session 's'"):
            await Bell(hub).wait(["a"], "e1-2", 60, None, hub.broker.named.find("s"))
    assert not hub.broker.sessions


async def test_who_waits_reads_on_when_the_session_is_let_go_of(hub: Hub) -> None:
    poll = await waiting(hub, "/t/a?session=s&wait=60")
    hub.broker.named.remove("s")
    await publish(hub, 1)
    assert offsets(await poll) == [1]
    assert not hub.broker.named.held


async def test_who_asks_for_a_head_alone_has_been_given_nothing(hub: Hub) -> None:
    await publish(hub, 3)
    assert (await read(hub, "/t/a?session=t", method="HEAD")).status == 200
    assert not hub.broker.named.sessions
    target = "/t/a?session=s&limit=1&presence=true&member=m"
    for expected in (1, 2):
        head = headers_of(await read(hub, target, method="HEAD"))
        assert head["extra-cursor"] == f"e1-{expected}"
        assert hub.broker.presence.count == expected - 1, "nor is it present by that"
        assert offsets(await read(hub, target)) == [expected]
