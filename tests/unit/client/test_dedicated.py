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
    RemoteProtocolError,
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
        share = client.group(
            "g", "a", "b", since="start", member="m", ack_wait=5, order="topic", max_unacknowledged=3
        )
        assert isinstance(share, Share)
        async with entered(broker, share) as (connection, command):
            assert command == {
                "op": "subscribe",
                "id": "join",
                "filter": ["a", "b"],
                "since": "start",
                "member": "m",
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
            with pytest.raises(BrokerClosed):
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


async def test_a_consumer_that_acknowledges_is_answered_although_much_waits(
    broker: WebSocketBroker, make: Make
) -> None:
    """The answer comes behind messages, which nobody takes meanwhile."""
    async with make(queue_limit_bytes=500) as client:
        await broker.connection()
        share = client.group("g", "a")
        async with entered(broker, share) as (connection, _), asyncio.timeout(5):
            for offset in range(1, 11):
                await connection.message("a", offset, "x" * 400, group="g", deliveries=1)
            for offset in range(1, 11):
                acking = asyncio.ensure_future(share.ack(await anext(share)))
                assert (await acknowledged(connection))["offsets"] == [offset]
                await acking


async def test_what_is_left_at_once_leaves_no_connection(broker: WebSocketBroker, make: Make) -> None:
    async def come_and_go(messages: Any) -> None:
        async with messages:
            pass

    async with make() as client:
        await broker.connection()
        for messages in (client.group("g", "a"), client.subscribe("a", session="s")):
            coming = asyncio.ensure_future(come_and_go(messages))
            connection, _ = await again(broker)
            await coming
            await connection.wait_closed()


async def test_a_client_that_is_left_meanwhile_leaves_no_connection(
    broker: WebSocketBroker, make: Make
) -> None:
    client = make()
    async with client:
        await broker.connection()
        entering = asyncio.ensure_future(client.group("g", "a").__aenter__())
        connection = await broker.connection()
        command = await connection.take()
    await connection.confirm(command, "e1-0")
    with pytest.raises(BrokerClosed, match="not open"):
        await entering
    await connection.wait_closed()


async def test_what_was_held_in_another_life_of_the_log_is_not_acknowledged(
    broker: WebSocketBroker, make: Make
) -> None:
    """Its offset is another message's by now."""
    async with make() as client:
        await broker.connection()
        share = client.group("g", "a")
        async with entered(broker, share) as (first, _):
            await first.message("a", 1, "old", group="g", deliveries=1)
            old = await anext(share)
            broker.epoch = "e2"
            first.cut()
            second, _ = await again(broker)
            await second.message("a", 1, "new", group="g", deliveries=1)
            new = await anext(share)
            acking = asyncio.ensure_future(share.ack(old, new))
            assert (await acknowledged(second))["offsets"] == [1]
            with pytest.raises(NotDelivered) as caught:
                await acking
            assert caught.value.offsets == [1]
            await share.ack()  # nothing
            assert not second.has_commands


@pytest.mark.parametrize("is_told_again", [True, False])
async def test_a_gap_is_told_once_although_the_connection_is_lost(
    broker: WebSocketBroker, make: Make, is_told_again: bool
) -> None:
    gaps: list[Gap] = []
    async with make() as client:
        await broker.connection()
        share = client.group("g", "a", on_gap=gaps.append)
        async with entered(broker, share) as (first, _):
            gap: Fields = {"op": "gap", "after": 1, "until": 3, "reason": "evicted", "group": "g"}
            await first.push(gap)
            first.cut()
            second, _ = await again(broker)
            if is_told_again:
                await second.push(gap)
            await second.message("a", 4, "x", group="g", deliveries=1)
            assert (await anext(share)).data == "x"
    assert [(gap.after, gap.until) for gap in gaps] == [(1, 3)]


async def test_the_back_off_begins_anew_when_a_connection_has_lasted(
    broker: WebSocketBroker, make: Make, pauses: Pauses
) -> None:
    now = 0.0
    async with make(clock=lambda: now) as client:
        await broker.connection()
        share = client.group("g", "a")
        async with entered(broker, share) as (connection, _):
            for _ in range(3):
                connection.cut()
                connection, _ = await again(broker)
            await connection.message("a", 1, "x", group="g", deliveries=1)
            await anext(share)
            now = 11.0
            connection.cut()
            connection, _ = await again(broker)
    assert pauses.delays == [0.2, 0.4, 0.8, 0.2]


async def test_a_refusal_of_whoever_stands_in_between_is_no_refusal_of_the_group(
    broker: WebSocketBroker, make: Make
) -> None:
    """A proxy whose broker is away answers what it likes."""
    async with make() as client:
        await broker.connection()
        share = client.group("g", "a")
        async with entered(broker, share) as (first, _):
            broker.refusals.append((404, ""))
            first.cut()
            second, _ = await again(broker)
            await second.send(b"no push")
            third, _ = await again(broker)
            await third.message("a", 1, "x", group="g", deliveries=1)
            assert (await anext(share)).data == "x"


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


async def test_a_goodbye_that_comes_with_the_answer_is_heard(broker: WebSocketBroker, make: Make) -> None:
    """Else the session would be claimed back from whoever has claimed it."""
    for has_goodbye in (True, False):
        async with make() as client:
            await broker.connection()
            messages = client.subscribe("a", session="s")
            async with entered(broker, messages) as (first, _):
                first.cut()
                second = await broker.connection()
                await second.take()
                if has_goodbye:
                    await second.goodbye("session_taken_over")
                await second.close(4409)
                with pytest.raises(SessionTakenOver):
                    await anext(messages)


async def test_being_closed_as_taken_over_is_as_good_as_a_goodbye(
    broker: WebSocketBroker, make: Make
) -> None:
    async with make() as client:
        await broker.connection()
        messages = client.subscribe("a", session="s")
        async with entered(broker, messages) as (connection, _):
            await connection.close(4409)
            with pytest.raises(SessionTakenOver):
                await anext(messages)


async def test_while_a_replay_runs_it_acknowledges_over_http(broker: WebSocketBroker, make: Make) -> None:
    """The broker reads no commands of the connection meanwhile, which is read no further than is taken."""
    broker.answers.extend([(200, {}, b"{}"), (404, {}, b"")])
    async with make(queue_limit_bytes=500) as client:
        await broker.connection()
        messages = client.subscribe("a", session="s é", ack=True, since="start")
        entering = asyncio.ensure_future(messages.__aenter__())
        connection = await broker.connection()
        command = await connection.take()
        for offset in range(1, 11):
            await connection.message("a", offset, "x" * 400)
        await entering
        await messages.ack(await anext(messages))
        with pytest.raises(RemoteProtocolError, match="404"):
            await messages.ack(await anext(messages))
        assert [(each.method, each.target, each.body) for each in broker.requests] == [
            ("POST", "/sessions/s%20%C3%A9/ack", b'{"offset":1}'),
            ("POST", "/sessions/s%20%C3%A9/ack", b'{"offset":2}'),
        ]
        assert not connection.has_commands
        await connection.confirm(command, "e1-10")
        rest = [await anext(messages) for _ in range(8)]
        acking = asyncio.ensure_future(messages.ack(rest[-1]))
        assert (await acknowledged(connection))["offset"] == 10
        await acking
        await messages.__aexit__(None, None, None)


async def test_an_iteration_that_goes_on_says_so_while_a_replay_runs(
    broker: WebSocketBroker, make: Make
) -> None:
    broker.answers.extend([(503, {}, b""), (200, {}, b"{}"), (200, {}, b"{}")])
    async with make() as client:
        await broker.connection()
        messages = client.subscribe("a", session="s", since="start")
        entering = asyncio.ensure_future(messages.__aenter__())
        connection = await broker.connection()
        await connection.take()
        for offset in (1, 2, 3):
            await connection.message("a", offset, offset)
        await entering
        for asked in (0, 1, 2):
            await anext(messages)
            async with asyncio.timeout(5):
                while len(broker.requests) < asked:  # noqa: ASYNC110 - the fake has nothing to wait for
                    await asyncio.sleep(0)
        await messages.__aexit__(None, None, None)
        assert [each.body for each in broker.requests] == [b'{"offset":1}', b'{"offset":2}', b'{"offset":3}']


async def test_retained_messages_that_come_first_hide_nothing(broker: WebSocketBroker, make: Make) -> None:
    """They are newer than what the replay has still to bring."""
    async with make() as client:
        await broker.connection()
        messages = client.subscribe("a", session="s", ack=True, since="start", retained=True)
        entering = asyncio.ensure_future(messages.__aenter__())
        connection = await broker.connection()
        command = await connection.take()
        assert command["retained"] is True
        await connection.message("a", 7, "first", retained=True)
        await entering
        first = await anext(messages)
        await messages.ack(first)
        assert not broker.requests
        connection.cut()
        connection = await broker.connection()
        command = await connection.take()
        assert command["retained"] is True
        await connection.message("a", 7, "first", retained=True)  # it has been given
        await connection.message("a", 1, "old")
        await connection.confirm(command, "e1-8")
        assert (await anext(messages)).data == "old"
        connection.cut()
        connection, command = await again(broker)
        assert (command["retained"], command["since"]) == (False, "e1-1")
        await connection.message("a", 7, "itself", retained=True)
        message = await anext(messages)
        assert message.data == "itself"
        acking = asyncio.ensure_future(messages.ack(message))
        assert (await acknowledged(connection))["offset"] == 7
        await acking
        await messages.__aexit__(None, None, None)


async def test_a_session_that_the_broker_has_not_kept_goes_on_from_where_it_was(
    broker: WebSocketBroker, make: Make
) -> None:
    """So that a broker that was started anew tells of the loss."""
    gaps: list[Gap] = []
    async with make() as client:
        await broker.connection()
        messages = client.subscribe("a", session="s", on_gap=gaps.append)
        async with entered(broker, messages) as (first, command):
            assert command["since"] == "now"
            await first.message("a", 5, "x")
            old = await anext(messages)
            assert messages.complete
            broker.epoch = "e2"
            first.cut()
            second = await broker.connection()
            command = await second.take()
            assert command["since"] == "e1-5"
            await second.push({"op": "gap", "after": None, "until": 0, "reason": "epoch"})
            await second.message("a", 1, "y")
            await second.confirm(command, "e2-1", complete=False)
            assert (await anext(messages)).data == "y"
            assert [gap.reason for gap in gaps] == ["epoch"]
            assert not messages.complete
            await second.push({"op": "gap", "after": 1, "until": 3, "reason": "overflow", "dropped": 2})
            await second.message("a", 4, "z")
            assert (await anext(messages)).data == "z"
            assert await second.take() == {"op": "ack", "offset": 1}
            assert messages.dropped == 2
            assert old.epoch != "e2"
            leaving = asyncio.ensure_future(messages.__aexit__(None, None, None))
            assert (await acknowledged(second))["offset"] == 4
            await leaving


async def test_a_message_of_another_life_of_the_log_is_not_acknowledged(
    broker: WebSocketBroker, make: Make
) -> None:
    async with make() as client:
        await broker.connection()
        messages = client.subscribe("a", session="s", ack=True)
        async with entered(broker, messages) as (first, _):
            await first.message("a", 5, "x")
            old = await anext(messages)
            broker.epoch = "e2"
            first.cut()
            await again(broker)
            with pytest.raises(InvalidCommand, match="begun anew"):
                await messages.ack(old)
