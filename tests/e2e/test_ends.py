"""Topics that come to an end, on every face of a real broker."""

import asyncio
import json
from typing import Any

import httpx
import msgpack
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.test_streams import blocks, stream

pytestmark = pytest.mark.e2e


async def pushes(socket: ClientConnection, *ops: str) -> list[dict[str, Any]]:
    """Read pushes with these ops, in this order, and no others."""
    found = []
    for op in ops:
        async with asyncio.timeout(10):
            push = json.loads(await socket.recv())
        assert push["op"] == op, push
        found.append(push)
    return found


async def test_a_websocket_is_told_of_the_end_behind_the_last_message(daemon: Daemon, topic: str) -> None:
    async with connect(daemon.url.replace("http", "ws") + "/ws") as socket:
        await pushes(socket, "welcome")
        await socket.send(json.dumps({"op": "subscribe", "id": 1, "filter": [topic, f"{topic}/+"]}))
        await pushes(socket, "subscribed")
        await socket.send(json.dumps({"op": "publish", "topic": topic, "data": 1}))
        await socket.send(json.dumps({"op": "close", "id": 2, "topic": topic, "data": 2}))
        _, last, end, published = await pushes(socket, "message", "message", "end", "published")
        assert (last["data"], end["topic"]) == (2, topic)
        assert (end["offset"], end["cursor"]) == (published["offset"], published["cursor"])
        await socket.send(json.dumps({"op": "publish", "id": 3, "topic": topic, "data": 3}))
        [error] = await pushes(socket, "error")
        assert (error["id"], error["code"], error["temporary"]) == (3, "topic_closed", False)
        await socket.send(json.dumps({"op": "close", "id": 4, "topic": f"{topic}/a"}))
        message, end, _ = await pushes(socket, "message", "end", "published")
        assert (message["data"], end["topic"]) == ("", f"{topic}/a")
        await socket.send(json.dumps({"op": "close", "topic": topic, "data": 1, "data_base64": "AA=="}))
        [error] = await pushes(socket, "error")
        assert error["code"] == "invalid_command"


@pytest.mark.parametrize(
    ("since", "ops"),
    [
        ("start", ["message", "message", "end", "subscribed"]),
        ("last:1", ["message", "end", "subscribed"]),
        ("now", ["subscribed", "end"]),
    ],
)
async def test_who_comes_late_is_told_once(daemon: Daemon, topic: str, since: str, ops: list[str]) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        for body in ("1", "2"):
            headers = {"Extra-Close": "true"} if body == "2" else {}
            assert (await http.post(f"/t/{topic}", content=body, headers=headers)).status_code == 201
    async with connect(daemon.url.replace("http", "ws") + "/ws") as socket:
        await pushes(socket, "welcome")
        await socket.send(json.dumps({"op": "subscribe", "id": 1, "filter": topic, "since": since}))
        await socket.send(json.dumps({"op": "ping", "id": 2}))
        await pushes(socket, *ops, "pong")


async def test_who_is_given_the_last_message_as_retained_is_told_once(daemon: Daemon, topic: str) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        answer = await http.put(f"/t/{topic}", content="1", headers={"Extra-Close": "true"})
        assert answer.status_code == 201
    async with connect(daemon.url.replace("http", "ws") + "/ws") as socket:
        await pushes(socket, "welcome")
        await socket.send(json.dumps({"op": "subscribe", "id": 1, "filter": topic}))
        await socket.send(json.dumps({"op": "ping", "id": 2}))
        await pushes(socket, "message", "end", "subscribed", "pong")


async def test_msgpack_says_the_same(daemon: Daemon, topic: str) -> None:
    url = daemon.url.replace("http", "ws") + "/ws"
    async with connect(url, subprotocols=["extra.v1.msgpack"]) as socket:  # type: ignore[list-item]  # a NewType
        await socket.recv()
        await socket.send(msgpack.packb({"op": "subscribe", "filter": topic}))
        await socket.recv()
        await socket.send(msgpack.packb({"op": "close", "topic": topic, "data": {"n": 1}}))
        message, end = [msgpack.unpackb(await socket.recv(decode=False)) for _ in range(2)]
        assert (message["data"], end["op"], end["offset"]) == ({"n": 1}, "end", message["offset"])


async def test_an_event_stream_ends_with_all_of_its_topics(daemon: Daemon, topic: str) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        async with stream(daemon.url, f"/sse?topic={topic}/a&topic={topic}/b") as events:
            await anext(events)
            for name in "ab":
                answer = await http.post(f"/t/{topic}/{name}?close=1", content=name)
                assert answer.status_code == 201
            found = [block async for block in events]
            assert [block.get("event") for block in found] == [None, "end", None, "end", None]
            assert json.loads(found[1]["data"])["topic"] == f"{topic}/a"
            assert found[-1] == {"retry": "60000"}
        last = found[3]["id"]
        headers = {"Accept": "text/event-stream"}
        headers["Last-Event-ID"] = last
        again = await http.get(f"/sse?topic={topic}/a&topic={topic}/b", headers=headers)
        assert (again.status_code, again.headers["Extra-Closed"]) == (204, "true"), (
            "an EventSource stops here"
        )
        async with stream(daemon.url, f"/t/{topic}/a") as events:
            assert [block.get("event") async for block in events] == [None, "end", None]
        async with stream(daemon.url, f"/t/{topic}/a?since={last}") as events:
            assert [block.get("event") async for block in events] == [None, "end", None]
        async with stream(daemon.url, f"/t/{topic}/a?since=start&format=raw") as events:
            found = [block async for block in events]
            assert [block.get("data") for block in found[1:2]] == ["a"]
            assert [block.get("event") for block in found] == [None, None, "end", None]


async def test_an_event_stream_with_wildcards_goes_on(daemon: Daemon, topic: str) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http, stream(daemon.url, f"/t/{topic}/*") as events:
        await anext(events)
        await http.post(f"/t/{topic}/a?close=1", content="1")
        await http.post(f"/t/{topic}/b", content="2")
        assert [(await anext(events)).get("event") for _ in range(3)] == [None, "end", None]


async def test_a_long_poll_says_that_nothing_is_to_come(daemon: Daemon, topic: str) -> None:
    async with httpx.AsyncClient(base_url=daemon.url, timeout=20) as http:
        polling = asyncio.create_task(http.get(f"/t/{topic}?since=now&wait=15"))
        while "\nextra_polls 1\n" not in (await http.get("/metrics")).text:
            continue
        await http.post(f"/t/{topic}?close=true", content="1")
        answer = await polling
        page = answer.json()
        assert (page["closed"], page["more"], len(page["messages"])) == (True, False, 1)
        assert answer.headers["Extra-Closed"] == "true"
        late = await http.get(f"/t/{topic}?since=now&wait=15&retained=0")
        assert (late.status_code, late.headers["Extra-Closed"]) == (204, "true"), "at once"
        told = asyncio.create_task(http.get(f"/t/{topic}?since={page['cursor']}&wait=15"))
        while "\nextra_polls 1\n" not in (await http.get("/metrics")).text:
            continue
        await http.post(f"/t/{topic}?close=0", content="2")
        assert [each["data"] for each in (await told).json()["messages"]] == [2]
        await http.post(f"/t/{topic}?close=1", content="3")
        page = (await http.get(f"/t/{topic}?since={page['cursor']}")).json()
        nothing = await http.get(f"/t/{topic}?since={page['cursor']}&wait=0.1")
        assert (nothing.status_code, nothing.headers["Extra-Closed"]) == (204, "true")
        plain = (await http.get(f"/t/{topic}?since={page['cursor']}")).json()
        assert (plain["closed"], plain["messages"]) == (True, [])
        assert "closed" not in (await http.get(f"/t/{topic}/%2B")).json()


async def test_publishing_is_refused_until_the_topic_is_opened_anew(daemon: Daemon, topic: str) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        path = f"/t/{topic}"
        assert (
            await http.post(path, headers={"Extra-Close": "true", "Idempotency-Key": "k"})
        ).status_code == 201
        again = await http.post(path, headers={"Extra-Close": "true", "Idempotency-Key": "k"})
        assert again.status_code == 201, "it is the same message"
        for method, target in (("POST", path), ("PUT", path), ("POST", f"{path}?close=1")):
            refused = await http.request(method, target, content="2")
            assert (refused.status_code, refused.json()["code"]) == (409, "topic_closed")
        later = {"Extra-Deliver-After": "3600"}
        refused = await http.post(path, content="2", headers=later)
        assert (refused.status_code, refused.json()["code"]) == (409, "topic_closed")
        reopening = await http.post(path, content="2", headers={**later, "Extra-Close": "false"})
        assert reopening.status_code == 202
        await http.delete(reopening.headers["Location"])
        batch = [{"topic": topic, "data": 1}, {"topic": f"{topic}/x", "data": 1}]
        answers = (await http.post("/publish", json=batch)).json()
        assert answers[0]["error"]["code"] == "topic_closed"
        assert answers[1]["offset"] > 0
        assert (await http.post(path, content="3", headers={"Extra-Close": "maybe"})).status_code == 400
        assert (await http.post(path, content="3", headers={"Extra-Close": "false"})).status_code == 201
        assert (await http.post(path, content="4")).status_code == 201


async def test_an_end_outlives_the_broker_with_a_store(start: Start, tmp_path: Any) -> None:
    store = str(tmp_path / "store.db")
    daemon = start("--store", store)
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        assert (await http.post("/t/a?close=1", content="1")).status_code == 201
    daemon.stop()
    daemon = start("--store", store)
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        assert (await http.post("/t/a", content="2")).status_code == 409
        assert (await http.get("/t/a")).json()["closed"]


async def test_a_cut_stream_resumes_to_its_end(daemon: Daemon, topic: str) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        first = (await http.post(f"/t/{topic}", content="1")).json()["cursor"]
        await http.post(f"/t/{topic}?close=1", content="2")
        async with http.stream(
            "GET", f"/t/{topic}", headers={"Accept": "text/event-stream", "Last-Event-ID": first}
        ) as response:
            found = [block async for block in blocks(response.aiter_lines())]
        assert [block.get("event") for block in found] == [None, None, "end", None]
