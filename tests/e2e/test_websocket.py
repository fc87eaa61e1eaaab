"""Every command and push of docs/protocol.md with the websockets client, in JSON and in msgpack."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import aiohttp
import msgpack
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from extra.payloads import JSONValue
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon

pytestmark = pytest.mark.e2e

WAIT_S = 10.0
Fields = dict[str, Any]  # Any: what JSON held


class Session:
    """One connection, its welcome taken."""

    def __init__(self, socket: ClientConnection, is_msgpack: bool) -> None:
        self.socket = socket
        self.is_msgpack = is_msgpack
        self.welcome: Fields = {}

    async def send(self, *commands: Any) -> None:  # Any: also what is no command
        frame = commands[0] if len(commands) == 1 else list(commands)
        await self.socket.send(msgpack.packb(frame) if self.is_msgpack else json.dumps(frame))

    async def next(self) -> Fields:
        async with asyncio.timeout(WAIT_S):
            frame = await self.socket.recv()
        assert isinstance(frame, bytes) is self.is_msgpack
        fields: Fields = msgpack.unpackb(frame) if isinstance(frame, bytes) else json.loads(frame)
        return fields

    async def ask(self, **command: JSONValue) -> Fields:
        await self.send(command)
        return await self.next()

    async def closed(self) -> tuple[int, str]:
        """Return the code and the reason of the broker's close frame; nothing may come before it."""
        with pytest.raises(ConnectionClosed) as end:
            await self.next()
        assert end.value.rcvd is not None
        return end.value.rcvd.code, end.value.rcvd.reason


class Open(Protocol):
    def __call__(self, target: str = "/ws") -> AbstractAsyncContextManager[Session]: ...


@asynccontextmanager
async def session(url: str, target: str = "/ws", subprotocol: str | None = None) -> AsyncIterator[Session]:
    address = f"ws{url.removeprefix('http')}{target}"
    offered = [Subprotocol(subprotocol)] if subprotocol is not None else None
    async with connect(address, subprotocols=offered, compression=None, proxy=None) as socket:
        assert socket.subprotocol == subprotocol
        opened = Session(socket, subprotocol == "extra.v1.msgpack")
        opened.welcome = await opened.next()
        assert opened.welcome["op"] == "welcome"
        yield opened


@pytest.fixture(params=[None, "extra.v1.json", "extra.v1.msgpack"], ids=["plain", "json", "msgpack"])
def open_session(daemon: Daemon, request: pytest.FixtureRequest) -> Open:
    """Opens sessions, in each subprotocol in turn."""

    def open_one(target: str = "/ws") -> AbstractAsyncContextManager[Session]:
        return session(daemon.url, target, request.param)

    return open_one


async def test_welcome(open_session: Open) -> None:
    async with open_session() as one:
        assert set(one.welcome) == {"op", "session", "epoch", "cursor", "version"}
        assert one.welcome["cursor"].startswith(f"{one.welcome['epoch']}-")


async def test_subscribe_and_publish(open_session: Open, topic: str) -> None:
    async with open_session() as one:
        subscribed = await one.ask(op="subscribe", id="s", filter=f"{topic}/+")
        assert subscribed == {
            "op": "subscribed",
            "id": "s",
            "cursor": one.welcome["cursor"],
            "replayed": 0,
            "complete": True,
        }
        await one.send({"op": "publish", "id": 7, "topic": f"{topic}/a", "data": {"n": [1, None]}})
        message, published = await one.next(), await one.next()
        assert message == {
            "op": "message",
            "topic": f"{topic}/a",
            "offset": published["offset"],
            "data": {"n": [1, None]},
        }
        assert published == {
            "op": "published",
            "id": 7,
            "topic": f"{topic}/a",
            "offset": message["offset"],
            "cursor": f"{one.welcome['epoch']}-{message['offset']}",
            "subscribers": 1,
        }


async def test_publish_with_every_field(open_session: Open, topic: str) -> None:
    async with open_session() as one:
        await one.ask(op="subscribe", filter=topic)
        command = {
            "op": "publish",
            "topic": topic,
            "data_base64": "/w==",
            "retain": True,
            "ttl": 60,
            "key": "k",
            "content_type": "image/png",
            "headers": {"x": "y"},
        }
        await one.send(command, {**command, "id": 1})
        message = await one.next()
        assert message.pop("expires_at") > 0
        assert message.pop("offset") > 0
        payload = {"data": b"\xff"} if one.is_msgpack else {"data_base64": "/w=="}
        assert message == payload | {
            "op": "message",
            "topic": topic,
            "content_type": "image/png",
            "headers": {"x": "y"},
            "retained": True,
        }
        assert (await one.next())["op"] == "published"


async def test_subscribe_replays_what_is_asked_for(open_session: Open, topic: str) -> None:
    async with open_session() as one:
        first = await one.ask(op="publish", id=1, topic=f"{topic}/a", data=1)
        second = await one.ask(op="publish", id=2, topic=f"{topic}/b", data=2)
        for since, count in (
            ("start", 2),
            ("now", 0),
            ("last:1", 1),
            (first["cursor"], 1),
            (second["cursor"], 0),
        ):
            async with open_session() as other:
                await other.send(
                    {"op": "subscribe", "id": 3, "filter": [f"{topic}/a", f"{topic}/b"], "since": since}
                )
                replayed = [await other.next() for _ in range(count)]
                assert [each["data"] for each in replayed] == [1, 2][2 - count :]
                subscribed = await other.next()
                assert (subscribed["op"], subscribed["replayed"]) == ("subscribed", count)


async def test_retained_messages_come_first(open_session: Open, topic: str) -> None:
    async with open_session() as one:
        await one.ask(op="publish", id=1, topic=topic, data=1, retain=True)
        await one.send({"op": "subscribe", "id": 2, "filter": topic})
        message, subscribed = await one.next(), await one.next()
        assert (message["data"], message["retained"], subscribed["replayed"]) == (1, True, 1)
        async with open_session() as other:
            assert (await other.ask(op="subscribe", filter=topic, retained=False))["replayed"] == 0


async def test_overlapping_filters_bring_a_message_once(open_session: Open, topic: str) -> None:
    async with open_session() as one:
        await one.ask(op="publish", id=1, topic=topic, data=1)
        await one.send({"op": "subscribe", "filter": [topic, f"{topic}/#"], "since": "start"})
        assert [(await one.next())["op"] for _ in range(2)] == ["message", "subscribed"]
        missing = await one.ask(op="subscribe", filter=f"{topic}/#", since="start")
        assert (missing["op"], missing["replayed"]) == ("subscribed", 0)
        await one.send({"op": "subscribe", "filter": f"{topic}/#", "since": "start", "replay": "all"})
        assert [(await one.next())["op"] for _ in range(2)] == ["message", "subscribed"]
        await one.send({"op": "publish", "topic": topic, "data": 2}, {"op": "ping"})
        assert [(await one.next())["op"] for _ in range(2)] == ["message", "pong"]


async def test_unsubscribe(open_session: Open, topic: str) -> None:
    async with open_session() as one:
        await one.ask(op="subscribe", filter=[f"{topic}/a", f"{topic}/b"])
        answer = await one.ask(op="unsubscribe", id=1, filter=f"{topic}/a")
        assert answer == {"op": "unsubscribed", "id": 1}
        await one.send(
            {"op": "publish", "topic": f"{topic}/a", "data": 1},
            {"op": "publish", "topic": f"{topic}/b", "data": 2},
        )
        assert (await one.next())["data"] == 2
        error = await one.ask(op="unsubscribe", id=2, filter=f"{topic}/a")
        assert (error["op"], error["id"], error["code"]) == ("error", 2, "not_subscribed")


async def test_ack(open_session: Open, topic: str) -> None:
    async with open_session() as one:
        published = await one.ask(op="publish", id=1, topic=topic, data=1)
        answer = await one.ask(op="ack", id=2, offset=published["offset"])
        assert answer == {"op": "acknowledged", "id": 2, "cursor": published["cursor"]}
        error = await one.ask(op="ack", id=3, offset=10**9)
        assert (error["code"], error["temporary"]) == ("invalid_command", False)


async def test_ping(open_session: Open) -> None:
    async with open_session() as one:
        assert await one.ask(op="ping", id=-5) == {"op": "pong", "id": -5}
        assert await one.ask(op="ping", unknown=[1]) == {"op": "pong"}
        await asyncio.wait_for(await one.socket.ping(), WAIT_S)


async def test_a_topic_opens_a_session_that_is_subscribed(open_session: Open, topic: str) -> None:
    async with open_session(f"/t/{topic}/**") as one:
        subscribed = await one.next()
        assert (subscribed["op"], subscribed["complete"]) == ("subscribed", True)
        assert "id" not in subscribed
        await one.send({"op": "publish", "topic": f"{topic}/a/b", "data": 1})
        first = await one.next()
        assert first["data"] == 1
        cursor = f"{one.welcome['epoch']}-{first['offset'] - 1}"
    async with open_session(f"/t/{topic}/a/*?since={cursor}&overflow=latest") as one:
        assert (await one.next())["offset"] == first["offset"]
        assert (await one.next())["replayed"] == 1
        await one.ask(op="subscribe", filter=f"{topic}/b")
        await one.send({"op": "publish", "topic": f"{topic}/b", "data": 2})
        assert (await one.next())["data"] == 2


async def test_a_frame_holds_an_array_of_commands(open_session: Open, topic: str) -> None:
    async with open_session() as one:
        await one.send(
            *({"op": "publish", "id": number, "topic": topic, "data": number} for number in range(50))
        )
        published = [await one.next() for _ in range(50)]
        assert [each["id"] for each in published] == list(range(50))
        offsets = [each["offset"] for each in published]
        assert offsets == sorted(offsets)


@pytest.mark.slow
async def test_a_gap_tells_of_what_is_gone(start: Start) -> None:
    own = start("--retention-messages", "2")
    for subprotocol in ("extra.v1.json", "extra.v1.msgpack"):
        async with session(own.url, "/ws", subprotocol) as one:
            for number in range(4):
                last = await one.ask(op="publish", id=number, topic="a", data=number)
            after = last["offset"] - 4
            cursor = f"{one.welcome['epoch']}-{after}"
            await one.send({"op": "subscribe", "id": 1, "filter": "a", "since": cursor})
            assert await one.next() == {
                "op": "gap",
                "filter": "a",
                "after": after,
                "until": after + 2,
                "reason": "evicted",
            }
            assert [(await one.next())["data"] for _ in range(2)] == [2, 3]
            assert (await one.next())["complete"] is False
        async with session(own.url, "/ws", subprotocol) as one:
            await one.send({"op": "subscribe", "filter": "a", "since": "gone-7"})
            gap = await one.next()
            assert (gap["after"], gap["until"], gap["reason"]) == (None, 0, "epoch")


async def test_errors_leave_the_session_as_it_was(open_session: Open, topic: str) -> None:
    async with open_session() as one:
        await one.ask(op="subscribe", filter=topic)
        for command, code in (
            ({"op": "subscribe", "id": 1, "filter": "a/#/b"}, "invalid_filter"),
            ({"op": "subscribe", "id": 1, "filter": "a", "since": "soon"}, "invalid_cursor"),
            ({"op": "publish", "id": 1, "topic": "a/+", "data": 1}, "invalid_topic"),
            ({"op": "publish", "id": 1, "topic": "a", "data_base64": "!"}, "invalid_payload"),
            ({"op": "nonsense", "id": 1}, "invalid_command"),
            ({"op": "ack", "id": 1}, "invalid_command"),
        ):
            await one.send(command)
            error = await one.next()
            assert (error["op"], error["id"], error["code"]) == ("error", 1, code)
            assert error["message"]
        await one.send({"op": "publish", "topic": topic, "data": "still here"})
        assert (await one.next())["data"] == "still here"


@pytest.mark.parametrize(
    ("subprotocol", "frame"), [("extra.v1.json", b"\x80"), ("extra.v1.msgpack", '{"op":"ping"}')]
)
async def test_the_wrong_kind_of_frame_closes(daemon: Daemon, subprotocol: str, frame: str | bytes) -> None:
    async with session(daemon.url, "/ws", subprotocol) as one:
        await one.socket.send(frame)
        assert (await one.closed())[0] == 1003


async def test_fragments_are_put_together(daemon: Daemon) -> None:
    """RFC 6455 5.4."""
    async with session(daemon.url) as one:
        await one.socket.send(iter(['{"op":', '"ping",', '"id":1}']))
        assert await one.next() == {"op": "pong", "id": 1}


async def test_closing_is_answered(daemon: Daemon) -> None:
    async with session(daemon.url) as one:
        await one.socket.close(1000, "done")
        assert one.socket.close_code == 1000


async def test_aiohttp_is_a_client_too(daemon: Daemon, topic: str) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{daemon.url}/t/{topic}", protocols=["extra.v1.json"]) as socket,
    ):
        assert [(await socket.receive_json())["op"] for _ in range(2)] == ["welcome", "subscribed"]
        await socket.send_json({"op": "publish", "topic": topic, "data": 1})
        assert (await socket.receive_json())["data"] == 1


async def test_deflate_is_off_unless_asked_for(daemon: Daemon) -> None:
    async with connect(f"ws{daemon.url.removeprefix('http')}/ws", proxy=None) as socket:
        assert socket.protocol.extensions == []


async def test_deflate_is_agreed_upon_when_asked_for(start: Start, topic: str) -> None:
    own = start("--websocket-deflate")
    async with connect(f"ws{own.url.removeprefix('http')}/t/{topic}", proxy=None) as socket:
        assert len(socket.protocol.extensions) == 1
        one = Session(socket, False)
        assert [(await one.next())["op"] for _ in range(2)] == ["welcome", "subscribed"]
        for data in ("x" * 10_000, "short", list(range(3000))):
            await one.send({"op": "publish", "topic": topic, "data": data})
            assert (await one.next())["data"] == data


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/t/a%23", 400),
        ("/t/a?since=x", 400),
        ("/t/a?overflow=block", 400),
        ("/nothing", 404),
        ("/poll", 400),
    ],
)
async def test_what_cannot_be_opened_has_its_status(daemon: Daemon, target: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with session(daemon.url, target):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"{}")["code"]
