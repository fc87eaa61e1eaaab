"""WebSocket sessions: every command and its answer, order, flow control and the end."""

import asyncio
import json
from random import Random
from typing import Any

import msgpack
import pytest

from broker.endpoints.hub import Hub
from broker.endpoints.sessions import WebSocketFeed, WebSockets
from broker.settings import Settings, WebSocketSettings
from extra.errors import EngineUnavailable, ExtraError, InvalidCommand, InvalidCursor, InvalidFilter
from extra.http import WebSocketResponse
from extra.payloads import JSONValue
from extra.pubsub import Broker, BrokerLimits, MemoryEngine, Message
from tests.fakes.engine import SlowEngine
from tests.fakes.wire import FakeWebSocket
from tests.unit.broker.endpoints.driving import Fields, frames, make_request, pushes, running_hub

MSGPACK = "extra.v1.msgpack"


class Client:
    """The peer of one session."""

    def __init__(self, hub: Hub, feed: WebSocketFeed, is_msgpack: bool, deflate: bool) -> None:
        self.hub = hub
        self.feed = feed
        self.socket = FakeWebSocket(deflate=deflate)
        self.is_msgpack = is_msgpack
        feed.opened(self.socket)

    def send(self, *commands: Any) -> None:  # Any: also what is no command
        """Send a frame: one command, or an array of several."""
        frame = commands[0] if len(commands) == 1 else list(commands)
        if self.is_msgpack:
            self.feed.received_binary(msgpack.packb(frame))
        else:
            self.feed.received_text(json.dumps(frame).encode())

    async def pushes(self) -> list[Fields]:
        """Return what the next turns of the loop bring."""
        for _ in range(20):
            await asyncio.sleep(0)
        return pushes(self.socket.take())

    async def ask(self, **command: JSONValue) -> Fields:
        """Send a command and return its answer: the only push."""
        self.send(command)
        [answer] = await self.pushes()
        return answer


async def connect(hub: Hub, target: str = "/ws", subprotocol: str | None = None) -> Client:
    """Return a session that has had its welcome, and `subscribed` when the path names a filter."""
    client = await handshake(hub, target, subprotocol)
    welcome, *_ = await client.pushes()
    assert welcome["op"] == "welcome"
    return client


async def handshake(
    hub: Hub, target: str = "/ws", subprotocol: str | None = None, *, deflate: bool = False
) -> Client:
    headers = {"Upgrade": "websocket"}
    if subprotocol is not None:
        headers["Sec-WebSocket-Protocol"] = subprotocol
    response = await WebSockets(hub).open(make_request("GET", target, headers))
    assert isinstance(response, WebSocketResponse)
    assert isinstance(response.taker, WebSocketFeed)
    return Client(hub, response.taker, response.subprotocols == [MSGPACK], deflate)


# The handshake


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        (None, []),
        ("extra.v1.json", ["extra.v1.json"]),
        ("extra.v1.msgpack", ["extra.v1.msgpack"]),
        ("mqtt, extra.v1.msgpack, extra.v1.json", ["extra.v1.msgpack"]),
        ("mqtt", []),
    ],
)
async def test_the_client_chooses_the_subprotocol(offered: str | None, agreed: list[str]) -> None:
    settings = Settings(websocket=WebSocketSettings(frame_limit_bytes=1000, deflate=True))
    async with running_hub(settings) as hub:
        headers = {"Sec-WebSocket-Protocol": offered} if offered is not None else {}
        response = await WebSockets(hub).open(make_request("GET", "/ws", headers))
        assert isinstance(response, WebSocketResponse)
        assert response.subprotocols == agreed
        assert (response.frame_limit_bytes, response.deflate) == (1000, True)
        response.taker.closed(1006, "")
        assert not hub.broker.sessions


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/t/a%23", InvalidFilter),
        ("/t/a?since=x", InvalidCursor),
        ("/t/a?overflow=block", InvalidCommand),
        ("/t/a?retained=x", InvalidCommand),
        ("/ws?overflow=block", InvalidCommand),
    ],
)
async def test_what_is_wrong_with_the_request_opens_nothing(target: str, error: type[ExtraError]) -> None:
    async with running_hub() as hub:
        with pytest.raises(error):
            await WebSockets(hub).open(make_request("GET", target))
        assert not hub.broker.sessions


async def test_the_welcome_comes_first() -> None:
    async with running_hub() as hub:
        await hub.broker.publish("a", 1)
        client = await handshake(hub)
        [welcome] = await client.pushes()
        assert welcome.pop("version")
        assert welcome.pop("session") == f"{hub.broker.run_id}-s1"
        assert welcome == {"op": "welcome", "epoch": "e1", "cursor": "e1-1"}


async def test_ids_of_one_run_are_not_given_in_the_next() -> None:
    async with Broker() as first, Broker() as second:
        assert first.member_id(None) != second.member_id(None)


async def test_a_filter_in_the_path_is_subscribed_from_the_start() -> None:
    async with running_hub() as hub:
        await hub.broker.publish("a/b", 1)
        client = await handshake(hub, "/t/a/*?since=start")
        welcome, message, subscribed = await client.pushes()
        assert welcome["op"] == "welcome"
        assert message == {"op": "message", "topic": "a/b", "offset": 1, "data": 1}
        assert subscribed == {"op": "subscribed", "cursor": "e1-1", "replayed": 1, "complete": True}
        assert (await client.ask(op="ping", id=1))["op"] == "pong"


async def test_a_session_in_msgpack_speaks_it_both_ways() -> None:
    async with running_hub() as hub:
        client = await connect(hub, subprotocol=MSGPACK)
        client.send({"op": "subscribe", "id": 1, "filter": "a"})
        assert (await client.pushes())[0]["op"] == "subscribed"
        client.send({"op": "publish", "topic": "a", "data": b"\xff"})
        for _ in range(5):
            await asyncio.sleep(0)
        [(opcode, payload)] = frames(client.socket.take())
        assert opcode == 2
        assert msgpack.unpackb(payload) == {"op": "message", "topic": "a", "offset": 1, "data": b"\xff"}


@pytest.mark.parametrize("subprotocol", [None, MSGPACK])
async def test_the_wrong_kind_of_frame_closes_it(subprotocol: str | None) -> None:
    """RFC 6455 7.4.1: 1003."""
    async with running_hub() as hub:
        client = await connect(hub, subprotocol=subprotocol)
        if subprotocol is None:
            client.feed.received_binary(b"\xc0")
        else:
            client.feed.received_text(b"{}")
        assert client.socket.close_code == 1003
        client.feed.closed(1003, "")
        client.feed.received_binary(b"\xc0")


@pytest.mark.parametrize("subprotocol", [None, MSGPACK])
async def test_messages_are_compressed_where_that_is_agreed_upon(subprotocol: str | None) -> None:
    async with running_hub() as hub:
        client = await handshake(hub, "/t/a", subprotocol, deflate=True)
        await client.pushes()
        await hub.broker.publish("a", "x" * 1000)
        for _ in range(5):
            await asyncio.sleep(0)
        data = client.socket.take()
        assert data[0] & 0x40
        assert len(data) < 200


# Commands

UNSUBSCRIBED: Fields = {"op": "unsubscribed", "id": 1}


async def test_ping_is_answered_with_its_id() -> None:
    async with running_hub() as hub:
        client = await connect(hub)
        assert await client.ask(op="ping", id="x") == {"op": "pong", "id": "x"}
        assert await client.ask(op="ping", id=7) == {"op": "pong", "id": 7}
        assert await client.ask(op="ping") == {"op": "pong"}


async def test_publish_is_answered_when_it_has_an_id() -> None:
    async with running_hub() as hub:
        client = await connect(hub)
        client.send({"op": "publish", "topic": "a", "data": 1})
        assert await client.pushes() == []
        assert await client.ask(op="publish", id=1, topic="a", data=2) == {
            "op": "published",
            "id": 1,
            "topic": "a",
            "offset": 2,
            "cursor": "e1-2",
            "subscribers": 0,
        }


async def test_publish_takes_every_field() -> None:
    async with running_hub() as hub:
        client = await connect(hub)
        command: Fields = {
            "op": "publish",
            "id": 1,
            "topic": "a",
            "data_base64": "/w==",
            "retain": True,
            "ttl": 60,
            "key": "k",
            "content_type": "image/png",
            "headers": {"x": "y"},
        }
        assert await client.ask(**command) == await client.ask(**command)
        [message] = (await hub.broker.history("a")).messages
        assert (message.payload, message.kind, message.content_type) == (b"\xff", "binary", "image/png")
        assert (message.retained, message.headers) == (True, {"x": "y"})
        assert message.expires_at == hub.broker.clock.time() + 60


async def test_publish_on_a_condition_is_answered_with_what_is_there() -> None:
    async with running_hub() as hub:
        client = await connect(hub)
        first = await client.ask(op="publish", id=1, topic="a", data=1, if_last=0)
        assert (first["op"], first["offset"]) == ("published", 1)
        refused = await client.ask(op="publish", id=2, topic="a", data=2, if_last=0)
        assert refused | {"message": ""} == {
            "op": "error",
            "id": 2,
            "code": "precondition_failed",
            "message": "",
            "temporary": False,
            "offset": 1,
            "cursor": "e1-1",
        }
        wrong = await client.ask(op="publish", id=3, topic="a", data=2, if_last=-1)
        assert (wrong["code"], "if_last" in str(wrong["message"])) == ("invalid_command", True)
        assert (await client.ask(op="publish", id=4, topic="a", data=2, if_last=1))["offset"] == 2


async def test_publish_for_later_is_answered_with_its_id() -> None:
    async with running_hub() as hub:
        client = await connect(hub)
        at = hub.broker.clock.time() + 5
        answer = await client.ask(op="publish", id=1, topic="a", data=1, deliver_at=at)
        assert (answer["op"], answer["id"], answer["topic"]) == ("scheduled", 1, "a")
        assert answer["deliver_at"] == at
        [waiting] = (await hub.broker.scheduled()).messages
        assert waiting.id == answer["scheduled"]
        wrong = await client.ask(op="publish", id=3, topic="a", data=2, deliver_at=-1)
        assert (wrong["code"], "deliver_at" in str(wrong["message"])) == ("invalid_command", True)


async def test_subscribe_replays_and_then_goes_live() -> None:
    async with running_hub() as hub:
        for number in range(3):
            await hub.broker.publish("a", number)
        client = await connect(hub)
        client.send({"op": "subscribe", "id": 1, "filter": ["a", "b"], "since": "e1-1"})
        *messages, subscribed = await client.pushes()
        assert [message["offset"] for message in messages] == [2, 3]
        assert subscribed == {
            "op": "subscribed",
            "id": 1,
            "cursor": "e1-3",
            "replayed": 2,
            "complete": True,
        }
        await hub.broker.publish("b", 4)
        assert [message["offset"] for message in await client.pushes()] == [4]


async def test_subscribe_starts_now_with_what_is_retained() -> None:
    async with running_hub() as hub:
        await hub.broker.publish("a", 1)
        await hub.broker.publish("a", 2, retain=True)
        client = await connect(hub)
        client.send({"op": "subscribe", "filter": "a"})
        message, subscribed = await client.pushes()
        assert (message["offset"], message["retained"], subscribed["replayed"]) == (2, True, 1)
        client.send({"op": "subscribe", "filter": "#", "retained": False})
        [subscribed] = await client.pushes()
        assert subscribed == {"op": "subscribed", "cursor": "e1-2", "replayed": 0, "complete": True}


async def test_what_was_brought_already_is_replayed_only_when_asked_for() -> None:
    async with running_hub() as hub:
        await hub.broker.publish("a", 1)
        client = await connect(hub)
        client.send({"op": "subscribe", "filter": "a", "since": "start"})
        assert len(await client.pushes()) == 2
        client.send({"op": "subscribe", "filter": "#", "since": "start"})
        assert len(await client.pushes()) == 1
        client.send({"op": "subscribe", "filter": "#", "since": "start", "replay": "all"})
        assert len(await client.pushes()) == 2
        await hub.broker.publish("a", 2)
        assert len(await client.pushes()) == 1


async def test_what_is_gone_is_told_before_what_is_left() -> None:
    async with running_hub(keep=1) as hub:
        for number in range(3):
            await hub.broker.publish("a", number)
        client = await connect(hub)
        client.send({"op": "subscribe", "id": 1, "filter": "a", "since": "e1-0"})
        gap, message, subscribed = await client.pushes()
        assert gap == {"op": "gap", "filter": "a", "after": 0, "until": 2, "reason": "evicted"}
        assert message["offset"] == 3
        assert subscribed["complete"] is False


async def test_unsubscribe_ends_it() -> None:
    async with running_hub() as hub:
        client = await connect(hub, "/t/a")
        await client.pushes()
        client.send({"op": "subscribe", "filter": ["a", "b", "c"]})
        await client.pushes()
        assert await client.ask(op="unsubscribe", id=1, filter=["a", "b", "a"]) == UNSUBSCRIBED
        for topic in ("a", "b", "c"):
            await hub.broker.publish(topic, 1)
        assert [message["topic"] for message in await client.pushes()] == ["c"]


async def test_unsubscribe_from_what_there_is_not_is_an_error_and_changes_nothing() -> None:
    async with running_hub() as hub:
        client = await connect(hub)
        await client.ask(op="subscribe", filter="a")
        error = await client.ask(op="unsubscribe", id=1, filter=["a", "b"])
        assert (error["op"], error["id"], error["code"]) == ("error", 1, "not_subscribed")
        assert "'b'" in str(error["message"])
        await hub.broker.publish("a", 1)
        assert len(await client.pushes()) == 1


async def test_ack_is_answered_when_it_has_an_id() -> None:
    async with running_hub() as hub:
        for number in range(3):
            await hub.broker.publish("a", number)
        client = await connect(hub)
        client.send({"op": "ack", "offset": 1})
        assert await client.pushes() == []
        answer = await client.ask(op="ack", id=1, offset=2)
        assert answer == {"op": "acknowledged", "id": 1, "cursor": "e1-2"}
        answer = await client.ask(op="ack", id=2, offset=1)
        assert answer["cursor"] == "e1-2"
        error = await client.ask(op="ack", id=3, offset=4)
        assert (error["code"], error["id"]) == ("invalid_command", 3)


BAD_COMMANDS: dict[str, tuple[Any, str, Any]] = {
    "an unknown op": ({"op": "subscrib", "id": 1}, "invalid_command", 1),
    "no op": ({"id": 1}, "invalid_command", 1),
    "no object": (7, "invalid_command", None),
    "a missing field": ({"op": "subscribe", "id": 1}, "invalid_command", 1),
    "a field of the wrong type": ({"op": "publish", "id": 1, "topic": 2, "data": 3}, "invalid_command", 1),
    "a long id": ({"op": "ping", "id": "x" * 65}, "invalid_command", None),
    "a bad filter": ({"op": "subscribe", "id": 1, "filter": "a/#/b"}, "invalid_filter", 1),
    "no filters": ({"op": "subscribe", "id": 1, "filter": []}, "invalid_command", 1),
    "a bad cursor": ({"op": "subscribe", "id": 1, "filter": "a", "since": "x"}, "invalid_cursor", 1),
    "a cursor ahead": ({"op": "subscribe", "id": 1, "filter": "a", "since": "e1-9"}, "invalid_cursor", 1),
    "an unknown policy": (
        {"op": "subscribe", "id": 1, "filter": "a", "overflow": "block"},
        "invalid_command",
        1,
    ),
    "a wildcard": ({"op": "publish", "id": 1, "topic": "a/#", "data": 1}, "invalid_topic", 1),
    "a topic of the broker": ({"op": "publish", "id": 1, "topic": "$x", "data": 1}, "invalid_topic", 1),
    "a payload of another type": (
        {"op": "publish", "id": 1, "topic": "a", "data": 1, "content_type": "text/plain"},
        "invalid_payload",
        1,
    ),
    "a payload too large": (
        {"op": "publish", "id": 1, "topic": "a", "data": "x" * 5000},
        "limit_exceeded",
        1,
    ),
    "too many filters": (
        {"op": "subscribe", "id": 1, "filter": [f"a/{n}" for n in range(20)]},
        "limit_exceeded",
        1,
    ),
    "a time to live of 0": (
        {"op": "publish", "id": 1, "topic": "a", "data": 1, "ttl": 0},
        "invalid_command",
        1,
    ),
}


@pytest.mark.parametrize("subprotocol", [None, MSGPACK], ids=["json", "msgpack"])
@pytest.mark.parametrize(("command", "code", "identifier"), BAD_COMMANDS.values(), ids=BAD_COMMANDS)
async def test_a_bad_command_is_answered_with_an_error_and_the_session_lives(
    command: Any, code: str, identifier: Any, subprotocol: str | None
) -> None:
    limits = BrokerLimits(max_payload_bytes=4000, subscriptions_limit=10)
    async with running_hub(limits=limits) as hub:
        client = await connect(hub, subprotocol=subprotocol)
        client.send(command)
        [error] = await client.pushes()
        assert (error["op"], error["code"], error.get("id")) == ("error", code, identifier)
        assert error["temporary"] is False
        assert hub.tally.errors == {("websocket", code): 1}
        assert await client.ask(op="ping", id=2) == {"op": "pong", "id": 2}
        assert hub.broker.figures()["subscriptions"] == 0
        assert hub.broker.figures()["published"] == 0


@pytest.mark.parametrize("frame", [b"", b"{", b"\xff", b'{"op":"ping"}}', b"[" * 10_000])
async def test_what_cannot_be_parsed_is_answered_with_an_error(frame: bytes) -> None:
    async with running_hub() as hub:
        client = await connect(hub)
        client.feed.received_text(frame)
        [error] = await client.pushes()
        assert (error["op"], error["code"]) == ("error", "invalid_command")


async def test_an_array_is_run_in_order_and_a_bad_one_harms_no_other() -> None:
    async with running_hub() as hub:
        client = await connect(hub)
        client.send(
            {"op": "subscribe", "id": 1, "filter": "a"},
            {"op": "publish", "topic": "a", "data": 1},
            {"op": "nonsense", "id": 2},
            {"op": "unsubscribe", "id": 3, "filter": "a"},
            {"op": "publish", "id": 4, "topic": "a", "data": 2},
        )
        found = [(push["op"], push.get("id")) for push in await client.pushes()]
        assert found == [
            ("subscribed", 1),
            ("message", None),
            ("error", 2),
            ("unsubscribed", 3),
            ("published", 4),
        ]


async def test_an_array_of_too_many_is_refused_as_a_whole() -> None:
    async with running_hub(Settings(websocket=WebSocketSettings(commands_limit=2))) as hub:
        client = await connect(hub)
        client.send({"op": "ping"}, {"op": "ping"}, {"op": "ping"})
        [error] = await client.pushes()
        assert error["code"] == "limit_exceeded"
        assert "websocket.commands_limit" in str(error["message"])


async def test_a_subscription_that_fails_takes_nothing_with_it() -> None:
    """What was held back for the filters that there were follows."""
    async with running_hub(wrap=lambda engine: SlowEngine(engine, Random(3))) as hub:
        client = await connect(hub)
        client.send({"op": "subscribe", "id": 1, "filter": "a"})
        while not any(push["op"] == "subscribed" for push in await client.pushes()):
            pass
        client.send({"op": "subscribe", "id": 2, "filter": ["a", "b"], "since": "e1-99"})
        await hub.broker.publish("a", 1)
        await hub.broker.publish("b", 1)
        found: list[tuple[JSONValue, JSONValue]] = []
        while len(found) < 2:
            found += [(push["op"], push.get("topic")) for push in await client.pushes()]
        assert sorted(found, key=str) == [("error", None), ("message", "a")]


async def test_who_cannot_be_present_keeps_what_it_had_and_is_given_nothing_more() -> None:
    async with running_hub(limits=BrokerLimits(presence_limit_members=1)) as hub:
        client = await connect(hub)
        await hub.broker.publish("b", 1)
        await client.ask(op="subscribe", id=1, filter="here", presence=True)
        await client.ask(op="subscribe", id=2, filter="a")
        for topic in ("a", "b"):
            refused = await client.ask(op="subscribe", id=3, filter=topic, since="start", presence=True)
            assert (refused["op"], refused["code"]) == ("error", "limit_exceeded")
        for topic in ("a", "b"):
            await hub.broker.publish(topic, 2)
        assert [push["topic"] for push in await client.pushes()] == ["a"]
        assert hub.broker.presence.count == 1


class AwayEngine(SlowEngine):
    """An engine that cannot be reached."""

    def __init__(self, inner: MemoryEngine) -> None:
        super().__init__(inner, Random(0), 0)

    async def append(self, message: Message) -> int:
        raise EngineUnavailable("away")


async def test_what_is_temporary_says_so() -> None:
    async with running_hub(wrap=AwayEngine) as hub:
        client = await connect(hub)
        error = await client.ask(op="publish", id=1, topic="a", data=1)
        assert (error["code"], error["temporary"]) == ("engine_unavailable", True)


class CountingEngine(SlowEngine):
    """Notes how many messages came at once."""

    def __init__(self, inner: MemoryEngine) -> None:
        super().__init__(inner, Random(0), 0)
        self.runs: list[int] = []

    async def append_many(self, messages: list[Message], keys: list[bytes]) -> list[int | ExtraError]:
        self.runs.append(len(messages))
        return await super().append_many(messages, keys)


async def test_commands_to_publish_that_follow_each_other_are_published_as_one() -> None:
    """An engine with a disk is paid per wait, not per message."""
    async with running_hub(wrap=CountingEngine) as hub:
        client = await connect(hub)
        publish = {"op": "publish", "topic": "a", "data": 1}
        client.send(
            {**publish, "id": 1},
            publish,
            {**publish, "id": 3, "topic": "a/+"},
            {**publish, "id": 5, "key": "k"},
            {**publish, "id": 6, "key": "k"},
            {"op": "ping", "id": 7},
            {**publish, "id": 8},
        )
        found = [(push["op"], push.get("id"), push.get("offset")) for push in await client.pushes()]
        assert found == [
            ("published", 1, 1),
            ("error", 3, None),
            ("published", 5, 3),
            ("published", 6, 3),
            ("pong", 7, None),
            ("published", 8, 4),
        ]
        engine = hub.broker.engine
        assert isinstance(engine, CountingEngine)
        assert engine.runs == [3, 1]
        client.send(*[publish] * 300)
        await client.pushes()
        many = engine.runs[2:]
        assert (sum(many), max(many) > 50, len(many) < 6) == (300, True, True)
        client.send(*[{**publish, "data": "x" * 60_000}] * 3)
        await client.pushes()
        assert engine.runs[2 + len(many) :] == [2, 1]


class BrokenEngine(SlowEngine):
    """An engine with a bug."""

    def __init__(self, inner: MemoryEngine) -> None:
        super().__init__(inner, Random(0), 0)

    async def append(self, message: Message) -> int:
        raise RuntimeError("a bug")


async def test_a_bug_closes_the_connection_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An answer that never comes would be worse."""
    async with running_hub(wrap=BrokenEngine) as hub:
        client = await connect(hub)
        client.send({"op": "publish", "id": 1, "topic": "a", "data": 1})
        await client.pushes()
        assert client.socket.close_code == 1011
        assert [record.levelname for record in caplog.records] == ["ERROR"]


# Flow control


async def test_commands_wait_while_one_is_at_work_and_nothing_is_read() -> None:
    async with running_hub(wrap=lambda engine: SlowEngine(engine, Random(1), 8)) as hub:
        client = await connect(hub)
        client.send({"op": "publish", "id": 1, "topic": "a", "data": 1})
        client.send({"op": "ping", "id": 2})
        await asyncio.sleep(0)
        assert not client.socket.is_reading
        found: list[JSONValue] = []
        while len(found) < 2:
            found += [push["id"] for push in await client.pushes()]
        assert found == [1, 2]
        assert client.socket.is_reading


async def test_what_the_frames_of_one_turn_publish_is_one_run() -> None:
    """An engine that writes takes it as one transaction."""
    async with running_hub(wrap=CountingEngine) as hub:
        client = await connect(hub)
        for _ in range(2):
            for number in range(5):
                client.send({"op": "publish", "id": number, "topic": "a", "data": number})
            assert [push["id"] for push in await client.pushes()] == [0, 1, 2, 3, 4]
        engine = hub.broker.engine
        assert isinstance(engine, CountingEngine)
        assert engine.runs == [5, 5]


async def test_a_session_that_ends_before_its_turn_publishes_nothing() -> None:
    async with running_hub(wrap=CountingEngine) as hub:
        client = await connect(hub)
        client.send({"op": "publish", "topic": "a", "data": 1})
        client.feed.closed(1006, "")
        await client.pushes()
        assert hub.broker.engine.head() == 0


async def test_who_does_not_take_its_answers_is_not_read() -> None:
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=1000)) as hub:
        client = await connect(hub)
        client.socket.writable = False
        for number in range(100):
            client.send({"op": "ping", "id": number})
        assert not client.socket.is_reading
        assert client.feed.session.outbox.control_size <= 1000
        client.socket.writable = True
        client.feed.writable()
        found: list[JSONValue] = []
        while len(found) < 100:
            found += [push["id"] for push in await client.pushes()]
        assert found == list(range(100))
        assert client.socket.is_reading


async def test_one_that_goes_while_a_command_runs_leaves_nothing_behind() -> None:
    async with running_hub(wrap=lambda engine: SlowEngine(engine, Random(1), 8)) as hub:
        client = await connect(hub)
        client.send(
            {"op": "subscribe", "filter": "a", "since": "start"},
            {"op": "publish", "topic": "a", "data": 1},
        )
        client.feed.closed(1006, "")
        await client.pushes()
        assert not hub.broker.sessions
        assert not hub.open


async def test_one_that_goes_while_its_answers_wait_leaves_nothing_behind() -> None:
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=100)) as hub:
        client = await connect(hub)
        client.socket.writable = False
        for number in range(10):
            client.send({"op": "ping", "id": number})
        client.feed.closed(1006, "")
        await asyncio.sleep(0)
        assert not hub.broker.sessions


# The end


async def test_a_broker_that_stops_says_goodbye_and_closes() -> None:
    async with running_hub(draw=0.34) as hub:
        client = await connect(hub)
        client.send({"op": "subscribe", "filter": "a"})
        await client.pushes()
        await hub.broker.publish("a", 1)
        hub.tick()
        hub.drain()
        message, goodbye = pushes(client.socket.take())
        assert message["op"] == "message"
        assert goodbye == {
            "op": "goodbye",
            "cursor": "e1-1",
            "reconnect_after": 1.7,
            "reason": "shutdown",
        }
        assert client.socket.close_code == 1001
        client.send({"op": "ping"})
        assert await client.pushes() == []
        client.feed.closed(1001, "")
        client.feed.end("shutdown", 0.0)
        assert hub.goodbyes_total == {"slow": 0, "shutdown": 1}
        assert not hub.open


async def test_who_comes_while_it_stops_is_told_at_once() -> None:
    async with running_hub() as hub:
        hub.drain()
        client = await handshake(hub, "/t/a")
        welcome, goodbye = await client.pushes()
        assert (welcome["op"], goodbye["op"]) == ("welcome", "goodbye")
        assert client.socket.close_code == 1001


async def test_the_goodbye_of_who_acknowledges_names_what_it_has_acknowledged() -> None:
    async with running_hub() as hub:
        client = await connect(hub, "/t/a")
        for number in range(3):
            await hub.broker.publish("a", number)
        client.send({"op": "ack", "offset": 2})
        await client.pushes()
        hub.drain()
        assert pushes(client.socket.take())[-1]["cursor"] == "e1-2"


async def test_a_slow_one_is_told_where_to_resume() -> None:
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=300)) as hub:
        client = await connect(hub, "/t/a?retained=0")
        await client.pushes()
        await hub.broker.publish("a", 1)
        await client.pushes()
        client.socket.writable = False
        for number in range(10):
            await hub.broker.publish("a", number)
        [goodbye] = await client.pushes()
        assert (goodbye["op"], goodbye["reason"], goodbye["cursor"]) == ("goodbye", "slow", "e1-1")
        assert client.socket.close_code == 4290
        assert not hub.broker.sessions
        assert hub.goodbyes_total["slow"] == 1


async def test_overflow_belongs_to_the_connection_and_the_last_one_counts() -> None:
    async with running_hub(limits=BrokerLimits(outbox_limit_bytes=300)) as hub:
        client = await connect(hub, "/t/a?overflow=disconnect&retained=0")
        client.send({"op": "subscribe", "filter": "b", "overflow": "drop-oldest"})
        await client.pushes()
        client.socket.writable = False
        for number in range(20):
            await hub.broker.publish("a", number)
        await client.pushes()
        assert client.socket.close_code is None
        client.socket.writable = True
        client.feed.writable()
        gap, *messages = await client.pushes()
        assert (gap["op"], gap["reason"]) == ("gap", "overflow")
        assert gap["dropped"] == 20 - len(messages)
        assert gap["until"] == 20 - len(messages)
