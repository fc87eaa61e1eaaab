"""Shares of groups and named sessions, over real sockets, against a broker that does what the test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from extra.client import Client
from extra.client.named import SessionMessages
from extra.client.shares import Share
from extra.errors import (
    BrokerClosed,
    GroupConflict,
    InvalidCommand,
    NotDelivered,
    SessionTakenOver,
    UnrecoverablePosition,
)
from extra.payloads import JSONValue
from extra.pubsub import Gap
from tests.fakes.websocket_broker import Connection, WebSocketBroker
from tests.unit.client.conftest import Pauses

pytestmark = pytest.mark.usefixtures("leaves_no_task")

Make = Callable[..., Client]
Fields = dict[str, JSONValue]


@asynccontextmanager
async def entered(
    broker: WebSocketBroker,
    messages: Any,
) -> AsyncIterator[tuple[Connection, dict[str, Any]]]:
    """Enter a share or a session, and give its connection and the command that it began with."""
    entering = asyncio.ensure_future(messages.__aenter__())
    connection = await broker.connection()
    command = await connection.take()
    await connection.confirm(command, "e1-0")
    await entering
    try:
        yield connection, command
    finally:
        await messages.__aexit__(None, None, None)


async def again(broker: WebSocketBroker) -> tuple[Connection, dict[str, Any]]:
    """Return the next connection, which has joined."""
    connection = await broker.connection()
    command = await connection.take()
    await connection.confirm(command, "e1-0")
    return connection, command


async def acknowledged(connection: Connection) -> dict[str, Any]:
    """Take an acknowledgement, and answer it."""
    command = await connection.take()
    await connection.push({"op": "acknowledged", "id": command["id"], "cursor": "e1-0"})
    return command


async def test_a_share_asks_for_its_group_and_acknowledges(broker: WebSocketBroker, make: Make) -> None:
    async with make() as client:
        await broker.connection()
        share = client.group("g", "a", "b", since="start", ack_wait=5, order="topic", max_unacknowledged=3)
        assert isinstance(share, Share)
        async with entered(broker, share) as (connection, command):
            assert command == {
                "op": "subscribe",
                "id": "join",
                "filter": ["a", "b"],
                "since": "start",
                "group": "g",
                "ack_wait": 5.0,
                "max_unacknowledged": 3,
                "order": "topic",
            }
            await connection.message("a", 4, "x", group="g", deliveries=2)
            message = await anext(share)
            assert (message.data, message.offset, message.deliveries) == ("x", 4, 2)
            task = asyncio.ensure_future(share.ack(message))
            ack = await acknowledged(connection)
            assert (ack["op"], ack["group"], ack["offsets"]) == ("ack", "g", [4])
            await task
            task = asyncio.ensure_future(share.nack(message, delay=7))
            nack = await connection.take()
            assert (nack["op"], nack["offsets"], nack["delay"]) == ("nack", [4], 7.0)
            fields: Fields = {
                "code": "not_delivered",
                "message": "not here",
                "temporary": False,
                "offsets": [4],
            }
            await connection.push({"op": "error", "id": nack["id"], **fields})
            with pytest.raises(NotDelivered, match="not here") as caught:
                await task
            assert caught.value.offsets == [4]
            with pytest.raises(InvalidCommand, match="delay -1"):
                await share.nack(message, delay=-1)


async def test_what_is_refused_is_raised_on_entering(broker: WebSocketBroker, make: Make) -> None:
    async with make() as client:
        await broker.connection()
        entering = asyncio.ensure_future(client.group("g", "a").__aenter__())
        connection = await broker.connection()
        await connection.refuse(await connection.take(), "group_conflict", "other options")
        with pytest.raises(GroupConflict, match="other options"):
            await entering
        await connection.wait_closed()
        with pytest.raises(InvalidCommand):
            client.group("g")
        with pytest.raises(TypeError):
            client.group("g", "a", ack_wait="5")  # type: ignore[arg-type]
    with pytest.raises(BrokerClosed, match="not open"):
        await client.group("g", "a").__aenter__()


async def test_a_lost_share_joins_again_and_what_it_held_is_not_its_any_more(
    broker: WebSocketBroker,
    make: Make,
    pauses: Pauses,
) -> None:
    async with make() as client:
        await broker.connection()
        share = client.group("g", "a")
        async with entered(broker, share) as (first, command):
            await first.message("a", 1, "held", group="g", deliveries=1)
            await first.message("a", 2, "waiting", group="g", deliveries=1)
            held = await anext(share)
            acking = asyncio.ensure_future(share.ack(held))
            await first.take()
            pauses.go_on.clear()
            first.cut()
            with pytest.raises(NotDelivered, match="was lost"):
                await acking
            with pytest.raises(NotDelivered, match="was lost"):
                await share.ack(held)  # there is no connection just now
            pauses.go_on.set()
            second, repeated = await again(broker)
            assert repeated == command
            await second.message("a", 1, "held", group="g", deliveries=2)
            message = await anext(share)
            assert (message.data, message.deliveries) == ("held", 2)  # what was waiting is the broker's again


async def test_a_share_that_is_refused_on_coming_back_says_why(broker: WebSocketBroker, make: Make) -> None:
    async with make() as client:
        await broker.connection()
        share = client.group("g", "a")
        async with entered(broker, share) as (first, _):
            await first.goodbye("shutdown", 0.5)
            second = await broker.connection()
            await second.refuse(await second.take(), "engine_unavailable", "later", temporary=True)
            third = await broker.connection()
            await third.refuse(await third.take(), "group_conflict", "others are there")
            with pytest.raises(GroupConflict, match="others are there"):
                await anext(share)
            with pytest.raises(NotDelivered):
                await share._ask(lambda name: None)  # type: ignore[arg-type,return-value]


async def test_gaps_are_told_in_order(broker: WebSocketBroker, make: Make) -> None:
    gaps: list[Gap] = []
    async with make() as client:
        await broker.connection()
        for on_gap in (gaps.append, None):
            share = client.group("g", "a", on_gap=on_gap)
            async with entered(broker, share) as (connection, _):
                gap: Fields = {"op": "gap", "after": 1, "until": 3, "reason": "evicted", "group": "g"}
                await connection.push(gap)
                await connection.message("a", 4, "x", group="g", deliveries=1)
                if on_gap is None:
                    with pytest.raises(UnrecoverablePosition):
                        await anext(share)
                assert (await anext(share)).data == "x"
    assert [(gap.after, gap.until) for gap in gaps] == [(1, 3)]


async def test_leaving_the_client_ends_the_iteration(broker: WebSocketBroker, make: Make) -> None:
    client = make()
    await client.__aenter__()
    await broker.connection()
    share = client.group("g", "a")
    async with entered(broker, share) as (connection, _):
        taking = asyncio.ensure_future(anext(share, None))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another does already"):
            await anext(share)
        await client.__aexit__(None, None, None)
        assert await taking is None
        await connection.wait_closed()
    with pytest.raises(RuntimeError, match="entered once"):
        await share.__aenter__()
    with pytest.raises(RuntimeError, match="enter it first"):
        await anext(client.group("g", "a"))


# Named sessions


async def test_a_session_acknowledges_what_the_iteration_has_passed(
    broker: WebSocketBroker, make: Make
) -> None:
    async with make() as client:
        await broker.connection()
        messages = client.subscribe("a", session="s", since="start", expires=60)
        assert isinstance(messages, SessionMessages)
        async with entered(broker, messages) as (connection, command):
            assert command == {
                "op": "subscribe",
                "id": "join",
                "filter": ["a"],
                "since": "start",
                "session": "s",
                "ack": True,
                "expires": 60.0,
            }
            for offset in (1, 2):
                await connection.message("a", offset, offset)
            assert (await anext(messages)).data == 1
            assert not connection.has_commands
            assert (await anext(messages)).data == 2
            assert await connection.take() == {"op": "ack", "offset": 1}
            assert messages.cursor == "e1-2"
            with pytest.raises(InvalidCommand, match="only in a session with ack=True"):
                await messages.ack(2)
            connection.cut()
            second, _ = await again(broker)
            for offset in (2, 3):  # 2 was not acknowledged, and the iteration has had it
                await second.message("a", offset, offset)
            assert (await anext(messages)).data == 3
            assert (await second.take())["offset"] == 2
            leaving = asyncio.ensure_future(messages.__aexit__(None, None, None))
            assert (await acknowledged(second))["offset"] == 3
            await leaving


async def test_with_acknowledgement_it_is_the_consumer_that_says_so(
    broker: WebSocketBroker, make: Make
) -> None:
    async with make() as client:
        await broker.connection()
        messages = client.subscribe("a", session="s", ack=True)
        async with entered(broker, messages) as (connection, _):
            for offset in (1, 2):
                await connection.message("a", offset, offset)
            first, _ = await anext(messages), await anext(messages)
            assert not connection.has_commands
            acking = asyncio.ensure_future(messages.ack(first))
            assert (await acknowledged(connection))["offset"] == 1
            await acking
            acking = asyncio.ensure_future(messages.ack(9))
            await connection.refuse(await connection.take(), "invalid_command", "offset 9 was not delivered")
            with pytest.raises(InvalidCommand, match="offset 9"):
                await acking
            acking = asyncio.ensure_future(messages.ack(2))
            await connection.take()
            connection.cut()
            with pytest.raises(BrokerClosed, match="comes again"):
                await acking
            await again(broker)


async def test_a_session_that_another_has_claimed_does_not_come_back(
    broker: WebSocketBroker, make: Make
) -> None:
    async with make() as client:
        await broker.connection()
        messages = client.subscribe("a", session="s")
        async with entered(broker, messages) as (connection, _):
            await connection.message("a", 1, 1)
            assert (await anext(messages)).data == 1
            await connection.goodbye("session_taken_over")
            with pytest.raises(SessionTakenOver):
                await anext(messages)
            assert client.is_connected


async def test_entering_returns_with_the_first_message_of_a_long_replay(
    broker: WebSocketBroker, make: Make
) -> None:
    async with make(queue_limit_bytes=2000) as client:
        await broker.connection()
        messages = client.subscribe("a", session="s", since="start")
        entering = asyncio.ensure_future(messages.__aenter__())
        connection = await broker.connection()
        await connection.take()
        for offset in range(1, 200):
            await connection.message("a", offset, "x" * 100)
        await entering
        seen = [(await anext(messages)).offset for _ in range(199)]
        assert seen == list(range(1, 200))
        assert messages._waiting_bytes == 0
        connection.cut()
        await messages.__aexit__(ValueError, ValueError(), None)


async def test_it_ends_when_its_topics_have(broker: WebSocketBroker, make: Make) -> None:
    async with make() as client:
        await broker.connection()
        messages = client.subscribe("a", "b", session="s", ack=True)
        async with entered(broker, messages) as (connection, _):
            for topic, offset in (("a", 1), ("b", 2)):
                await connection.message(topic, offset, offset)
                await connection.push(
                    {"op": "end", "topic": topic, "offset": offset, "cursor": f"e1-{offset}"}
                )
            assert [message.data async for message in messages] == [1, 2]


async def test_acknowledging_belongs_to_sessions(broker: WebSocketBroker, make: Make) -> None:
    async with make() as client:
        await broker.connection()
        with pytest.raises(InvalidCommand, match="only with session"):
            client.subscribe("a", ack=True)  # type: ignore[call-overload]
