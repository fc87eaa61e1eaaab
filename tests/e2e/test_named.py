"""Named sessions on every face of a real broker."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.test_ends import pushes
from tests.e2e.test_streams import blocks

pytestmark = pytest.mark.e2e


def socket_to(daemon: Daemon) -> connect:
    return connect(daemon.url.replace("http", "ws") + "/ws")


async def subscribe(socket: ClientConnection, topic: str, **fields: object) -> None:
    await pushes(socket, "welcome")
    await socket.send(json.dumps({"op": "subscribe", "id": 1, "filter": topic, **fields}))


async def publish(http: httpx.AsyncClient, topic: str, *numbers: int) -> int:
    """Publish, and return the last offset."""
    offset = 0
    for number in numbers:
        offset = (await http.post(f"/t/{topic}", content=str(number))).json()["offset"]
    return offset


async def position(http: httpx.AsyncClient, name: str) -> dict[str, Any]:
    answer = await http.get(f"/sessions/{name}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def events(http: httpx.AsyncClient, target: str, count: int, **headers: str) -> list[int]:
    """Read so many messages of an event stream, and leave it."""
    found: list[int] = []
    async with http.stream("GET", target, headers={"Accept": "text/event-stream", **headers}) as response:
        assert response.status_code == 200
        async for block in blocks(response.aiter_lines()):
            if "data" in block and "event" not in block:
                found.append(json.loads(block["data"])["data"])
            if len(found) == count:
                break
    return found


async def released(http: httpx.AsyncClient, name: str) -> dict[str, Any]:
    """Wait until the broker knows that the holder has gone."""
    async with asyncio.timeout(10):
        while (told := await position(http, name))["connected"]:
            continue
    return told


async def test_it_goes_on_from_face_to_face(daemon: Daemon, topic: str) -> None:
    name = topic.replace("/", "-")
    async with httpx.AsyncClient(base_url=daemon.url, timeout=20) as http:
        async with socket_to(daemon) as socket:
            await subscribe(socket, topic, session=name)
            await pushes(socket, "subscribed")
            await publish(http, topic, 1)
            [message] = await pushes(socket, "message")
            assert message["data"] == 1
        await released(http, name)
        await publish(http, topic, 2, 3)
        assert await events(http, f"/t/{topic}?session={name}", 2) == [2, 3]
        await released(http, name)
        last = await publish(http, topic, 4)
        page = (await http.get(f"/t/{topic}?session={name}&wait=5")).json()
        assert [each["data"] for each in page["messages"]] == [4]
        assert (await http.get(f"/t/{topic}?session={name}")).json()["messages"] == []
        told = await position(http, name)
        assert told["offset"] >= last
        assert (told["connected"], told["ack"], told["expires"]) == (False, False, 604_800)


async def test_a_poll_that_does_not_come_back_has_acknowledged_nothing(daemon: Daemon, topic: str) -> None:
    name = topic.replace("/", "-")
    async with httpx.AsyncClient(base_url=daemon.url, timeout=20) as http:
        await publish(http, topic, 1, 2, 3)
        for ack, expected in (("1", [1, 2]), ("1", [1, 2])):
            page = (await http.get(f"/t/{topic}?session={name}&ack={ack}&limit=2")).json()
            assert [each["data"] for each in page["messages"]] == expected
        offset = page["messages"][0]["offset"]
        answer = await http.post(f"/sessions/{name}/ack", json={"offset": offset})
        assert (answer.status_code, answer.json()["offset"]) == (200, offset)
        page = (await http.get(f"/t/{topic}?session={name}&limit=2")).json()
        assert [each["data"] for each in page["messages"]] == [2, 3]
        earlier = await http.post(f"/sessions/{name}/ack", json={"offset": offset - 1})
        assert (earlier.status_code, earlier.json()["offset"]) == (200, offset), "it never goes back"


async def test_with_acknowledgement_only_that_moves_it(daemon: Daemon, topic: str) -> None:
    name = topic.replace("/", "-")
    async with httpx.AsyncClient(base_url=daemon.url, timeout=20) as http:
        async with socket_to(daemon) as socket:
            await subscribe(socket, topic, session=name, ack=True)
            await pushes(socket, "subscribed")
            await publish(http, topic, 1, 2, 3)
            first, *_ = await pushes(socket, "message", "message", "message")
            await socket.send(json.dumps({"op": "ack", "id": 2, "offset": first["offset"]}))
            [acknowledged] = await pushes(socket, "acknowledged")
            assert acknowledged["cursor"].endswith(f"-{first['offset']}")
            await socket.send(json.dumps({"op": "ack", "id": 3, "offset": first["offset"] + 1000}))
            [error] = await pushes(socket, "error")
            assert error["code"] == "invalid_command"
        await released(http, name)
        # What an EventSource says it has had counts for nothing here.
        found = await events(
            http, f"/t/{topic}?session={name}", 2, **{"Last-Event-ID": acknowledged["cursor"]}
        )
        assert found == [2, 3]
        told = await released(http, name)
        assert told["offset"] == first["offset"]
        ahead = await http.post(f"/sessions/{name}/ack", json={"offset": first["offset"] + 1000})
        assert (ahead.status_code, ahead.json()["code"]) == (400, "invalid_command")


async def test_the_newer_connection_has_it_and_the_older_is_told(daemon: Daemon, topic: str) -> None:
    name = topic.replace("/", "-")
    async with httpx.AsyncClient(base_url=daemon.url, timeout=20) as http, socket_to(daemon) as older:
        await subscribe(older, topic, session=name)
        await pushes(older, "subscribed")
        async with socket_to(daemon) as newer:
            await subscribe(newer, topic, session=name)
            await pushes(newer, "subscribed")
            [goodbye] = await pushes(older, "goodbye")
            assert goodbye["reason"] == "session_taken_over"
            with pytest.raises(ConnectionClosed) as caught:
                await older.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 4409
            await publish(http, topic, 1)
            await pushes(newer, "message")
            async with http.stream(
                "GET", f"/t/{topic}?session={name}", headers={"Accept": "text/event-stream"}
            ) as response:
                reading = blocks(response.aiter_lines())
                await anext(reading)
                [goodbye] = await pushes(newer, "goodbye")
                await http.get(f"/t/{topic}?session={name}")
                assert [block.get("event") async for block in reading][-1] == "goodbye"


async def test_it_outlives_the_broker_with_a_store(start: Start, tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    daemon = start("--store", store)
    async with httpx.AsyncClient(base_url=daemon.url) as http, socket_to(daemon) as socket:
        await subscribe(socket, "a", session="s", ack=True, expires=60)
        await pushes(socket, "subscribed")
        await publish(http, "a", 1, 2)
        first, _ = await pushes(socket, "message", "message")
        await socket.send(json.dumps({"op": "ack", "id": 2, "offset": first["offset"]}))
        await pushes(socket, "acknowledged")
    daemon.stop()
    daemon = start("--store", store)
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        told = await position(http, "s")
        assert (told["offset"], told["lag"], told["ack"], told["expires"]) == (1, 1, True, 60)
        async with socket_to(daemon) as socket:
            await subscribe(socket, "a", session="s")
            message, _ = await pushes(socket, "message", "subscribed")
            assert message["data"] == 2


async def test_what_was_given_before_a_restart_can_be_acknowledged_after_it(
    start: Start, tmp_path: Path
) -> None:
    store = str(tmp_path / "store.db")
    daemon = start("--store", store)
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        last = await publish(http, "a", 1, 2)
        assert len((await http.get("/t/a?session=s&ack=1")).json()["messages"]) == 2
    daemon.stop()
    daemon = start("--store", store)
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        answer = await http.post("/sessions/s/ack", json={"offset": last})
        assert (answer.status_code, answer.json()["lag"]) == (200, 0)
        ahead = await http.post("/sessions/s/ack", json={"offset": await publish(http, "a", 3)})
        assert (ahead.status_code, ahead.json()["code"]) == (400, "invalid_command")


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/sessions/none", b"", 404),
        ("DELETE", "/sessions/none", b"", 404),
        ("POST", "/sessions/none/ack", b'{"offset":1}', 404),
        ("GET", "/t/a?session=a%2Fb", b"", 400),
        ("GET", "/t/a?session=", b"", 400),
        ("GET", "/t/a?ack=1", b"", 400),
        ("GET", "/t/a?expires=5", b"", 400),
        ("GET", "/t/a?session=s&expires=1e9", b"", 400),
        ("GET", "/t/a?session=s&expires=100000000", b"", 400),
        ("GET", "/t/a?session=s&ack=maybe", b"", 400),
    ],
)
async def test_bad_input_has_its_answer(
    daemon: Daemon, method: str, target: str, body: bytes, status: int
) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        answer = await http.request(method, target, content=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_sessions_are_listed_and_let_go_of(daemon: Daemon, topic: str) -> None:
    name = topic.replace("/", "-")
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        await http.get(f"/t/{topic}?session={name}")
        listed = (await http.get("/sessions")).json()["sessions"]
        assert name in [each["session"] for each in listed]
        for body in (b"{}", b"x", b'{"offset":"1"}', b'{"offset":-1}'):
            assert (await http.post(f"/sessions/{name}/ack", content=body)).status_code == 400
        assert (await http.delete(f"/sessions/{name}")).status_code == 204
        assert (await http.get(f"/sessions/{name}")).status_code == 404
        async with socket_to(daemon) as socket:
            await subscribe(socket, topic, ack=True)
            [error] = await pushes(socket, "error")
            assert error["code"] == "invalid_command"
            await socket.send(json.dumps({"op": "subscribe", "filter": topic, "session": name}))
            await pushes(socket, "subscribed")
            await socket.send(json.dumps({"op": "subscribe", "filter": topic, "session": "other"}))
            [error] = await pushes(socket, "error")
            assert "can have one" in error["message"]


@pytest.mark.parametrize(
    "fields",
    [{"filter": "a#"}, {"filter": []}, {"filter": "a", "overflow": "x"}, {"filter": "#", "presence": True}],
)
async def test_what_is_refused_claims_nothing(daemon: Daemon, topic: str, fields: dict[str, object]) -> None:
    name = topic.replace("/", "-")
    event_stream = {"Accept": "text/event-stream"}
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        for headers in (event_stream, {}):
            target = f"/t/{topic}?session={name}"
            assert (await http.get(f"{target}&since=0-x", headers=headers)).status_code == 400
            epoch = (await http.get(f"/t/{topic}")).headers["Extra-Cursor"].partition("-")[0]
            assert (await http.get(f"{target}&since={epoch}-999999999", headers=headers)).status_code == 400
            assert (await http.get(f"/sessions/{name}")).status_code == 404
        async with socket_to(daemon) as holder, socket_to(daemon) as other:
            await subscribe(holder, topic, session=name)
            await pushes(holder, "subscribed")
            await pushes(other, "welcome")
            await other.send(json.dumps({"op": "subscribe", "id": 1, "session": name, **fields}))
            await pushes(other, "error")
            for headers in (event_stream, {}):
                refused = await http.get(f"/t/a%23?session={name}", headers=headers)
                assert refused.status_code == 400
            await publish(http, topic, 1)
            assert [each["data"] for each in await pushes(holder, "message")] == [1]
