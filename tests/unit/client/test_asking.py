"""What a client asks in a request of its own, of a broker that answers as the test says."""

from collections.abc import Callable

import pytest

from extra.client import Client
from extra.errors import (
    InvalidCursor,
    RemoteProtocolError,
)
from tests.fakes.websocket_broker import WebSocketBroker

pytestmark = pytest.mark.usefixtures("leaves_no_task")

NDJSON = "application/x-ndjson"


async def test_history_is_read(broker: WebSocketBroker, make: Callable[..., Client]) -> None:
    """docs/protocol.md, "Read and long-poll"."""
    lines = (
        b'{"op":"message","topic":"a","offset":3,"data":{"n":1}}\n'
        b'{"op":"message","topic":"b","offset":5,"data":"x"}\n'
    )
    head = {"Content-Type": NDJSON, "Extra-Cursor": "e1-5", "Extra-Complete": "true", "Extra-More": "true"}
    broker.answers.append((200, head, lines))
    async with make(headers={"Authorization": "Bearer x"}) as client:
        page = await client.history("a/+", "b", since="last:9", limit=2, retained=False)
    assert [(message.cursor, message.data) for message in page.messages] == [
        ("e1-3", {"n": 1}),
        ("e1-5", "x"),
    ]
    assert (page.cursor, page.complete, page.more) == ("e1-5", True, True)
    (request,) = broker.requests
    assert request.target == "/poll?topic=a%2F%2B&topic=b&limit=2&retained=0&since=last%3A9"
    assert (request.headers["Accept"], request.headers["Authorization"]) == (NDJSON, "Bearer x")


async def test_history_that_is_partly_gone_gives_what_is_left(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    """docs/protocol.md, "Loss": 410, with where to go on."""
    broker.answers.append((410, {"Extra-Cursor": "e1-3-8"}, b""))
    broker.answers.append((200, {"Content-Type": NDJSON, "Extra-Cursor": "e1-9", "Extra-More": "false"}, b""))
    async with make() as client:
        page = await client.history("a", since="e1-3")
    assert (page.messages, page.cursor, page.complete, page.more) == ([], "e1-9", False, False)
    assert (page.resume, page.lost_until) == ("e1-3-8", 8)
    since = [request.target.partition("since=")[2] for request in broker.requests]
    assert since == ["e1-3", "e1-3-8"]


async def test_history_whose_start_is_gone_is_not_complete(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    broker.answers.append(
        (200, {"Extra-Cursor": "e1-9", "Extra-Complete": "false", "Extra-More": "false"}, b"")
    )
    async with make() as client:
        page = await client.history("a")
    assert (page.complete, page.resume) == (False, "")


async def test_history_raises_what_the_broker_answered(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    problem = b'{"status":400,"code":"invalid_cursor","detail":"ahead of the log"}'
    broker.answers.append((400, {"Content-Type": "application/problem+json"}, problem))
    broker.answers.extend([(410, {}, b"")] * 4)
    async with make() as client:
        with pytest.raises(InvalidCursor, match="ahead of the log"):
            await client.history("a", since="e1-99")
        with pytest.raises(RemoteProtocolError, match="status 410"):
            await client.history("a", since="e1-3")
    assert not broker.answers


async def test_a_retained_message_is_cleared(broker: WebSocketBroker, make: Callable[..., Client]) -> None:
    broker.answers.extend([(204, {}, b""), (404, {}, b"")])
    async with make() as client:
        await client.clear("a/b")
        with pytest.raises(RemoteProtocolError):
            await client.clear("a/b")
    assert (broker.requests[0].method, broker.requests[0].target) == ("DELETE", "/t/a/b")
