"""The client over real sockets, against a broker that does what the test says."""

import asyncio
import logging
from collections.abc import Callable
from itertools import count
from typing import Any, cast

import pytest

from extra.client import Client
from extra.client.client import STABLE_S
from extra.errors import (
    BrokerClosed,
    Forbidden,
    InvalidCommand,
    InvalidCursor,
    InvalidFilter,
    InvalidPayload,
    InvalidTopic,
    LimitExceeded,
    UnrecoverablePosition,
)
from extra.payloads import JSONValue
from extra.pubsub import Gap, Receipt
from tests.fakes.websocket_broker import Connection, WebSocketBroker
from tests.unit.client.conftest import Pauses

pytestmark = pytest.mark.usefixtures("leaves_no_task")

NDJSON = "application/x-ndjson"


async def subscribe_live(connection: Connection, offset: int = 0) -> None:
    """Let the subscription that is being made be live, with nothing replayed."""
    await connection.confirm(await connection.take_subscribe(), f"e1-{offset}")


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until something is so."""
    async with asyncio.timeout(5):
        for _ in count():
            if condition():
                return
            await asyncio.sleep(0)


# Entering and leaving


async def test_entering_connects_and_leaving_closes(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client:
        connection = await broker.connection()
        assert client.is_connected
    await connection.wait_closed()
    assert connection.close_code == 1000
    assert not client.is_connected


async def test_entering_raises_when_there_is_no_broker(
    make: Callable[..., Client], broker: WebSocketBroker
) -> None:
    broker.refusals.append((503, "broker_closed"))
    with pytest.raises(BrokerClosed, match="refused"):
        async with make():
            pass


async def test_a_client_is_entered_once(broker: WebSocketBroker, make: Callable[..., Client]) -> None:
    async with make() as client:
        await broker.connection()
        with pytest.raises(RuntimeError, match="entered once"):
            await client.__aenter__()
    with pytest.raises(RuntimeError, match="entered once"):
        await client.__aenter__()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("codec", "xml"),
        ("queue_limit_bytes", 0),
        ("inflight_limit", 0),
        ("backoff_initial_s", 0.0),
        ("header", {"a": "b\r\nc: d"}),
        ("header", {"a b": "c"}),
        ("header", {"a": "€"}),
    ],
)
def test_options_that_make_no_sense_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=option):
        Client("http://host", **{"headers" if option == "header" else option: value})  # type: ignore[arg-type]  # that is the point


async def test_an_error_of_the_body_comes_out_as_it_is(make: Callable[..., Client]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with make():
            raise ZeroDivisionError


async def test_cancelling_the_body_closes_the_connection(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async def run() -> None:
        async with make():
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    connection = await broker.connection()
    task.cancel()
    await connection.wait_closed()
    await asyncio.wait([task])
    assert task.cancelled()


@pytest.mark.parametrize("turns", range(0, 60, 2))
async def test_cancelled_at_any_moment_it_leaves_nothing_behind(
    turns: int, broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async def run() -> None:
        async with make() as client, client.subscribe("a", since="start") as messages:
            await client.publish("a", 1)
            await anext(messages)

    task = asyncio.create_task(run())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    await until(lambda: not broker.open)


async def test_a_bug_in_the_background_ends_the_body_and_comes_out(
    broker: WebSocketBroker, make: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make()
    monkeypatch.setattr(client, "_receive", lambda push: 1 / 0)

    async def run() -> None:
        async with client, asyncio.timeout(5):
            await (await broker.connection()).message("a", 1)
            await asyncio.Event().wait()

    with pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert caught.group_contains(ZeroDivisionError)


async def test_outside_of_its_context_nothing_can_be_done(make: Callable[..., Client]) -> None:
    client = make()
    for _ in range(2):
        with pytest.raises(BrokerClosed, match="not open"):
            await client.publish("a", 1)
        with pytest.raises(BrokerClosed, match="not open"):
            await client.history("a")
        with pytest.raises(BrokerClosed, match="not open"):
            await client.clear("a")
        with pytest.raises(BrokerClosed, match="not open"):
            async with client.subscribe("a"):
                pass
        if client._runner is None:
            async with client:
                pass


# Publishing


async def test_publishing_returns_the_receipt(broker: WebSocketBroker, make: Callable[..., Client]) -> None:
    async with make() as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()
        publishing = tasks.create_task(client.publish("a/b", {"celsius": 21}))
        command = await connection.take()
        assert (command["op"], command["topic"], command["data"]) == ("publish", "a/b", {"celsius": 21})
        await connection.receipt(command, 17)
    assert publishing.result() == Receipt("a/b", 17, "e1-17", 0)


async def test_options_and_kinds_go_with_the_command(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    """docs/protocol.md, "Commands"."""
    async with make() as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()
        tasks.create_task(client.publish("a", "hi", retain=True, ttl=60, key="k", headers={"trace": "1"}))
        text = await connection.take()
        tasks.create_task(client.publish("a", b"\x00"))
        binary = await connection.take()
        tasks.create_task(client.publish("a", b"<p>", content_type="text/html"))
        html = await connection.take()
        for command in (text, binary, html):
            await connection.receipt(command, 1)
    assert (text["data"], text["content_type"], text["retain"], text["ttl"]) == ("hi", "text/plain", True, 60)
    assert (text["key"], text["headers"]) == ("k", {"trace": "1"})
    assert (binary["data_base64"], "content_type" in binary) == ("AA==", False)
    assert (html["data"], html["content_type"]) == ("<p>", "text/html")


async def test_what_is_published_in_one_turn_goes_out_in_one_frame(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()
        for number in range(20):
            tasks.create_task(client.publish("a", number))
        commands = [await connection.take() for _ in range(20)]
        assert [command["data"] for command in commands] == list(range(20))
        assert connection.frames == 1
        for command in commands:
            await connection.receipt(command, 1)


async def test_what_was_not_answered_is_sent_again_with_the_same_key(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    """docs/protocol.md, "Publish": the same key within two minutes publishes nothing again."""
    async with make() as client, asyncio.TaskGroup() as tasks:
        first = await broker.connection()
        for number in range(3):
            tasks.create_task(client.publish("a", number))
        sent = [await first.take() for _ in range(3)]
        await first.receipt(sent[1], 2)
        first.cut()
        second = await broker.connection()
        again = [await second.take() for _ in range(2)]
        assert again == [sent[0], sent[2]]
        assert len({str(command["key"]) for command in sent}) == 3
        for command in again:
            await second.receipt(command, 5)


async def test_publishing_while_there_is_no_connection_waits_for_the_next(
    broker: WebSocketBroker, make: Callable[..., Client], pauses: Pauses
) -> None:
    async with make() as client, asyncio.TaskGroup() as tasks:
        pauses.go_on.clear()
        first = await broker.connection()
        first.cut()
        await until(lambda: not client.is_connected)
        publishing = tasks.create_task(client.publish("a", 1))
        pauses.go_on.set()
        second = await broker.connection()
        await second.receipt(await second.take(), 3)
    assert publishing.result().offset == 3


async def test_a_caller_gives_up_with_a_timeout_of_its_own(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client:
        connection = await broker.connection()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.publish("a", 1)
        await connection.receipt(await connection.take(), 1)  # which nobody waits for any more
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.publish("a", 2))
            await connection.receipt(await connection.take(), 2)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("invalid_topic", InvalidTopic), ("limit_exceeded", LimitExceeded), ("forbidden", Forbidden)],
)
async def test_an_error_of_the_broker_is_raised_as_such(
    code: str, kind: type[Exception], broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    """docs/protocol.md, "Errors"."""
    async with make() as client:
        connection = await broker.connection()
        publishing = asyncio.ensure_future(client.publish("a", 1))
        await connection.refuse(await connection.take(), code, "the reason")
        with pytest.raises(kind, match="the reason"):
            await publishing


async def test_a_broker_that_is_closing_is_tried_again(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client, asyncio.TaskGroup() as tasks:
        first = await broker.connection()
        publishing = tasks.create_task(client.publish("a", 1))
        await first.refuse(await first.take(), "broker_closed", "shutting down", temporary=True)
        second = await broker.connection()
        await second.receipt(await second.take(), 9)
    assert publishing.result().offset == 9


async def test_what_is_too_large_for_the_broker_is_not_sent_for_ever(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    """RFC 6455 7.4.1: 1009."""
    async with make() as client, asyncio.TaskGroup() as tasks:
        first = await broker.connection()
        tasks.create_task(client.publish("a", 1))
        large = asyncio.ensure_future(client.publish("a", "x" * 10_000))
        for _ in range(2):
            await first.take()
        await first.close(1009)
        with pytest.raises(LimitExceeded, match=r"websocket\.frame_limit_bytes"):
            await large
        second = await broker.connection()
        again = await second.take()
        assert again["data"] == 1
        await second.receipt(again, 1)


async def test_bad_input_is_refused_before_anything_is_sent(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client:
        connection = await broker.connection()
        with pytest.raises(InvalidTopic):
            await client.publish("a/+", 1)
        with pytest.raises(InvalidPayload):
            await client.publish("a", {1, 2})
        for ttl in (0, -1, float("nan"), float("inf")):
            with pytest.raises(InvalidCommand, match="ttl"):
                await client.publish("a", 1, ttl=ttl)
        with pytest.raises(InvalidCommand, match="UTF-8"):
            await client.publish("a", 1, headers={"a": "\ud800"})
        with pytest.raises(InvalidFilter):
            await client.history("a/#/b")
        with pytest.raises(InvalidCursor):
            await client.history("a", since="yesterday")
        with pytest.raises(InvalidCommand):
            await client.history()
        with pytest.raises(InvalidTopic):
            await client.clear("a/#")
        with pytest.raises(InvalidFilter):
            async with client.subscribe("a/#/b"):
                pass
        assert not connection.has_commands


async def test_leaving_tells_those_who_wait_for_a_receipt(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make(inflight_limit=1) as client:
        await broker.connection()
        waiting = [asyncio.ensure_future(client.publish("a", number)) for number in range(2)]
        entering = asyncio.ensure_future(client.subscribe("a").__aenter__())
        await asyncio.sleep(0)
    for outcome in await asyncio.gather(*waiting, entering, return_exceptions=True):
        assert isinstance(outcome, BrokerClosed)


# Subscribing


async def test_messages_come_in(broker: WebSocketBroker, make: Callable[..., Client]) -> None:
    async with make() as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()
        tasks.create_task(subscribe_live(connection, 16))
        async with client.subscribe("site/+/temp") as messages:
            await connection.message("site/a/temp", 17, {"celsius": 21})
            message = await anext(messages)
            assert (message.topic, message.data, message.cursor) == ("site/a/temp", {"celsius": 21}, "e1-17")
            assert messages.cursor == "e1-17"
        unsubscribe = await connection.take()
        assert (unsubscribe["op"], unsubscribe["filter"]) == ("unsubscribe", ["site/+/temp"])


async def test_leaving_the_client_ends_iterations_after_what_they_have(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client:
        connection = await broker.connection()
        entering = asyncio.ensure_future(client.subscribe("a", since="start").__aenter__())
        subscribe = await connection.take_subscribe()
        await connection.message("a", 1)
        await connection.confirm(subscribe, "e1-1")
        messages = await entering
    assert [message.offset async for message in messages] == [1]


async def test_entering_raises_what_the_broker_answered(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client:
        connection = await broker.connection()
        entering = asyncio.ensure_future(client.subscribe("a").__aenter__())
        await connection.refuse(await connection.take_subscribe(), "forbidden", "not you")
        with pytest.raises(Forbidden, match="not you"):
            await entering


async def test_a_replay_that_is_cut_off_goes_on_where_it_was(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client, asyncio.TaskGroup() as tasks:
        first = await broker.connection()

        async def begin() -> None:
            assert (await first.take_subscribe())["since"] == "start"
            for offset in (1, 2, 3):
                await first.message("a", offset)

        tasks.create_task(begin())
        async with client.subscribe("a", since="start") as messages:
            assert [(await anext(messages)).offset for _ in range(3)] == [1, 2, 3]
            first.cut()
            second = await broker.connection()
            subscribe = await second.take_subscribe()
            assert subscribe["since"] == "e1-3"
            for offset in (3, 4):  # one twice, as it may be after another client's replay
                await second.message("a", offset)
            await second.confirm(subscribe, "e1-4")
            await second.message("a", 5)
            assert [(await anext(messages)).offset for _ in range(2)] == [4, 5]
    assert client.reconnections == 1


async def test_a_subscription_that_was_not_confirmed_is_asked_for_as_it_was(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client:
        entering = asyncio.ensure_future(client.subscribe("a").__aenter__())
        first = await broker.connection()
        await first.take_subscribe()
        first.cut()
        second = await broker.connection()
        subscribe = await second.take_subscribe()
        assert (subscribe["since"], subscribe["retained"]) == ("now", True)
        await second.confirm(subscribe, "e1-0")
        await entering


async def test_what_was_lost_meanwhile_is_told(broker: WebSocketBroker, make: Callable[..., Client]) -> None:
    """docs/protocol.md, "Loss"."""
    async with make() as client, asyncio.TaskGroup() as tasks:
        first = await broker.connection()
        tasks.create_task(subscribe_live(first, 3))
        async with client.subscribe("a") as messages:
            first.cut()
            second = await broker.connection()
            subscribe = await second.take_subscribe()
            await second.push({"op": "gap", "filter": "a", "after": 3, "until": 8, "reason": "evicted"})
            await second.message("a", 9)
            await second.confirm(subscribe, "e1-9", complete=False)
            with pytest.raises(UnrecoverablePosition) as caught:
                await anext(messages)
            assert caught.value.gap == Gap(3, 8, "evicted", 0, "a")
            assert (await anext(messages)).offset == 9
            assert not messages.complete


async def test_another_epoch_is_told_and_gone_on_with(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    gaps: list[Gap] = []
    async with make() as client, asyncio.TaskGroup() as tasks:
        first = await broker.connection()
        tasks.create_task(subscribe_live(first, 30))
        async with client.subscribe("a", on_gap=gaps.append) as messages:
            broker.epoch = "e2"
            first.cut()
            second = await broker.connection()
            subscribe = await second.take_subscribe()
            assert subscribe["since"] == "e1-30"
            await second.push({"op": "gap", "after": None, "until": 0, "reason": "epoch"})
            await second.message("a", 1)
            await second.confirm(subscribe, "e2-1", complete=False)
            assert (await anext(messages)).cursor == "e2-1"
    assert gaps == [Gap(None, 0, "epoch")]


async def test_several_subscriptions_share_the_connection(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make() as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()
        tasks.create_task(subscribe_live(connection))
        async with client.subscribe("a/#") as wide:
            tasks.create_task(subscribe_live(connection))
            async with client.subscribe("a/b") as narrow:
                await connection.message("a/b", 1)
                await connection.message("a/c", 2)
                await connection.message("a/b", 3)
                assert [(await anext(wide)).offset for _ in range(3)] == [1, 2, 3]
                assert [(await anext(narrow)).offset for _ in range(2)] == [1, 3]
    assert broker.handshakes == 1


async def test_it_speaks_msgpack_as_well(broker: WebSocketBroker, make: Callable[..., Client]) -> None:
    async with make(codec="msgpack") as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()
        assert connection.subprotocol == "extra.v1.msgpack"
        tasks.create_task(subscribe_live(connection))
        async with client.subscribe("a") as messages:
            publishing = tasks.create_task(client.publish("a", b"\x00"))
            command = await connection.take()
            assert command["data"] == cast("JSONValue", b"\x00")  # msgpack has bytes, besides
            await connection.receipt(command, 1)
            await connection.message("a", 1, "text")
            assert (await anext(messages)).data == "text"
            assert (await publishing).offset == 1


# Losing the connection


async def test_attempts_back_off_and_the_outage_is_logged_once(
    broker: WebSocketBroker, make: Callable[..., Client], pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "extra.client"):
        async with make(backoff_initial_s=0.2, backoff_limit_s=1.0):
            broker.refusals.extend([(503, ""), (403, "forbidden"), (503, ""), (404, "")])
            (await broker.connection()).cut()
            await broker.connection()
            await until(lambda: len(caplog.records) == 2)
    assert pauses.delays == [0.2, 0.4, 0.8, 1.0, 1.0]
    lost, back = caplog.records
    assert (lost.levelname, back.levelname) == ("WARNING", "INFO")
    assert lost.getMessage().startswith(f"lost the connection to {broker.url}: ")
    assert back.getMessage() == f"connected to {broker.url} again"


async def test_delays_are_drawn_at_random(
    broker: WebSocketBroker, make: Callable[..., Client], pauses: Pauses
) -> None:
    drawn = iter([0.5, 0.25])
    async with make(random=lambda: next(drawn)):
        broker.refusals.append((503, ""))
        (await broker.connection()).cut()
        await broker.connection()
    assert pauses.delays == [0.1, 0.1]


async def test_only_a_connection_that_lasts_resets_the_back_off(
    broker: WebSocketBroker, make: Callable[..., Client], pauses: Pauses
) -> None:
    now = 0.0
    async with make(clock=lambda: now) as client:
        for lasts in (0.0, STABLE_S - 1, STABLE_S, 0.0):
            connection = await broker.connection()
            await until(lambda: client.is_connected)
            now += lasts
            connection.cut()
        await broker.connection()
    assert pauses.delays == [0.2, 0.4, 0.2, 0.4]


async def test_a_broker_that_shuts_down_says_when_to_come_back(
    broker: WebSocketBroker, make: Callable[..., Client], pauses: Pauses
) -> None:
    """docs/protocol.md, "Shutdown"."""
    async with make():
        broker.refusals.append((503, ""))
        await (await broker.connection()).goodbye("shutdown", 1.7)
        await broker.connection()
    assert pauses.delays == [1.7, 0.2]


async def test_one_who_was_too_slow_after_a_long_time_comes_back_at_once_again(
    broker: WebSocketBroker, make: Callable[..., Client], pauses: Pauses
) -> None:
    now = 0.0
    async with make(clock=lambda: now) as client:
        for _ in range(2):
            connection = await broker.connection()
            await until(lambda: client.is_connected)
            await asyncio.sleep(0)  # the first one begins to be served
            now += STABLE_S
            await connection.goodbye("slow")
        await broker.connection()
    assert pauses.delays == [0.0, 0.0]


async def test_one_who_was_too_slow_comes_back_at_once_but_not_for_ever(
    broker: WebSocketBroker, make: Callable[..., Client], pauses: Pauses
) -> None:
    """docs/protocol.md, "Loss": it is told so and resumes."""
    async with make() as client, asyncio.TaskGroup() as tasks:
        first = await broker.connection()
        tasks.create_task(subscribe_live(first, 4))
        async with client.subscribe("a"):
            await first.goodbye("slow")
            second = await broker.connection()
            assert (await second.take_subscribe())["since"] == "e1-4"
            await second.goodbye("slow")
            await broker.connection()
        assert client.slow_goodbyes == 2
    assert pauses.delays == [0.0, 0.4]


@pytest.mark.parametrize(
    "frame",
    [
        b"{",
        b"[7]",
        {"op": "message", "topic": "a"},
        {"op": "message", "topic": "a/+", "offset": 1, "data": 1},
        {"op": "subscribed", "id": "s1", "cursor": "?", "replayed": 0, "complete": True},
    ],
)
async def test_a_broker_that_breaks_the_rules_is_left_and_tried_again(
    frame: Any, broker: WebSocketBroker, make: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    async with make() as client:
        entering = asyncio.ensure_future(client.subscribe("a").__aenter__())
        first = await broker.connection()
        await first.take_subscribe()
        await first.send(frame)
        second = await broker.connection()
        await subscribe_live(second)
        await entering
    assert "lost the connection" in caplog.text


async def test_what_the_broker_reports_of_a_frame_is_logged(
    broker: WebSocketBroker, make: Callable[..., Client], caplog: pytest.LogCaptureFixture
) -> None:
    async with make():
        connection = await broker.connection()
        await connection.push(
            {"op": "error", "code": "invalid_command", "message": "bad", "temporary": False}
        )
        await until(lambda: bool(caplog.records))
    assert f"the broker at {broker.url} reports invalid_command: bad" in caplog.text


async def test_leaving_does_not_wait_for_the_next_attempt(
    broker: WebSocketBroker, make: Callable[..., Client], pauses: Pauses
) -> None:
    async with make() as client:
        pauses.go_on.clear()
        (await broker.connection()).cut()
        await until(lambda: not client.is_connected)
    assert broker.handshakes == 1


# Slow consumers


async def test_a_slow_consumer_holds_up_no_other_and_loses_nothing(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make(queue_limit_bytes=1000) as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()
        tasks.create_task(subscribe_live(connection))
        async with client.subscribe("a") as slow:
            tasks.create_task(subscribe_live(connection))
            async with client.subscribe("#") as quick:
                for offset in range(1, 6):
                    await connection.message("a", offset)
                    assert (await anext(quick)).offset == offset
                assert (await connection.take())["op"] == "unsubscribe"
                assert [(await anext(slow)).offset for _ in range(2)] == [1, 2]
                again = await connection.take_subscribe()
                assert again["since"] == "e1-2"
                for offset in (3, 4, 5):
                    await connection.message("a", offset)
                    assert (await anext(slow)).offset == offset


async def test_a_replay_is_read_at_the_pace_of_its_consumer(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make(queue_limit_bytes=1000) as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()

        async def replay() -> None:
            subscribe = await connection.take_subscribe()
            for offset in range(1, 101):
                await connection.message("a", offset)
            await connection.confirm(subscribe, "e1-100")

        tasks.create_task(replay())
        async with client.subscribe("a", since="start") as messages:
            for offset in range(1, 101):
                for _ in range(20):  # slow: the reader could have come much further
                    await asyncio.sleep(0)
                assert (await anext(messages)).offset == offset
    assert connection.frames == 2  # the subscription, and leaving it: it was never set aside


async def test_a_consumer_that_stands_still_is_set_aside_when_patience_is_over(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    async with make(queue_limit_bytes=1000, patience_s=0.01) as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()

        async def replay() -> None:
            await connection.take_subscribe()
            for offset in (1, 2, 3):
                await connection.message("a", offset)

        tasks.create_task(replay())
        async with client.subscribe("a", since="start") as messages:
            assert (await connection.take())["op"] == "unsubscribe"
            assert client.set_aside == 1
            assert (await anext(messages)).offset == 1


async def test_a_consumer_that_publishes_does_not_wait_for_itself(
    broker: WebSocketBroker, make: Callable[..., Client]
) -> None:
    """The receipt comes behind the rest of the replay, for which there is no room until it has come."""
    async with make(queue_limit_bytes=1000, patience_s=3600) as client, asyncio.TaskGroup() as tasks:
        connection = await broker.connection()

        async def replay() -> None:
            subscribe = await connection.take_subscribe()
            for offset in range(1, 11):
                await connection.message("a", offset)
            publish = await connection.take()
            while publish["op"] != "publish":
                publish = await connection.take()
            await connection.confirm(subscribe, "e1-10")
            await connection.receipt(publish, 11)

        tasks.create_task(replay())
        async with asyncio.timeout(5), client.subscribe("a", since="start") as messages:
            assert (await anext(messages)).offset == 1
            assert (await client.publish("b", 1)).offset == 11
