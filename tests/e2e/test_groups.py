"""Groups on every face of a real broker, with clients that nobody here wrote."""

import asyncio
import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgpack
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

import extra
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.test_ends import pushes
from tests.e2e.test_named import publish, socket_to
from tests.e2e.test_streams import blocks

pytestmark = pytest.mark.e2e

LONG = 100
"""More than a topic keeps by default would be lost, as it should be."""


async def told(http: httpx.AsyncClient, group: str) -> dict[str, Any]:
    answer = await http.get(f"/groups/{group}")
    assert answer.status_code == 200, answer.text
    fields: dict[str, Any] = answer.json()
    return fields


async def with_members(http: httpx.AsyncClient, group: str, count: int) -> None:
    """Wait until the group is there, and has so many members."""
    async with asyncio.timeout(10):
        while True:
            answer = await http.get(f"/groups/{group}")
            if answer.status_code == 200 and len(answer.json()["members"]) == count:
                return


class Desk:
    """Where workers on all faces write down what they have done."""

    def __init__(self, daemon: Daemon, group: str, topic: str) -> None:
        self.daemon = daemon
        self.group = group
        self.topic = topic
        self.done: Counter[int] = Counter()
        self.by: Counter[str] = Counter()

    def note(self, face: str, number: int) -> None:
        self.done[number] += 1
        self.by[face] += 1

    async def socket(self) -> None:
        async with socket_to(self.daemon) as socket:
            await pushes(socket, "welcome")
            subscribe = {"op": "subscribe", "filter": self.topic, "group": self.group}
            await socket.send(json.dumps(subscribe))
            await pushes(socket, "subscribed")
            while True:
                [message] = await pushes(socket, "message")
                self.note("websocket", message["data"])
                await asyncio.sleep(0.002)
                await socket.send(json.dumps({"op": "ack", "group": self.group, "offset": message["offset"]}))

    async def packed(self) -> None:
        url = self.daemon.url.replace("http", "ws") + f"/t/{self.topic}?group={self.group}"
        async with connect(url, subprotocols=[Subprotocol("extra.v1.msgpack")]) as socket:
            async for frame in socket:
                assert isinstance(frame, bytes)
                push = msgpack.unpackb(frame)
                if push["op"] == "message":
                    self.note("msgpack", push["data"])
                    await asyncio.sleep(0.002)
                    ack = {"op": "ack", "group": self.group, "offsets": [push["offset"]]}
                    await socket.send(msgpack.packb(ack))

    async def stream(self) -> None:
        headers = {"Accept": "text/event-stream"}
        async with httpx.AsyncClient(base_url=self.daemon.url, timeout=20) as http:
            target = f"/t/{self.topic}?group={self.group}"
            async with http.stream("GET", target, headers=headers) as response:
                member = ""
                async for block in blocks(response.aiter_lines()):
                    if block.get("event") == "joined":
                        member = json.loads(block["data"])["member"]
                    elif "data" in block:
                        message = json.loads(block["data"])
                        self.note("sse", message["data"])
                        body = {"member": member, "offset": message["offset"]}
                        answer = await http.post(f"/groups/{self.group}/ack", json=body)
                        assert answer.status_code == 200, answer.text

    async def poll(self) -> None:
        async with httpx.AsyncClient(base_url=self.daemon.url, timeout=20) as http:
            while True:
                answer = await http.get(f"/t/{self.topic}?group={self.group}&member=p&wait=20&limit=3")
                for message in answer.json()["messages"] if answer.status_code == 200 else []:
                    self.note("poll", message["data"])
                    body = {"member": "p", "offset": message["offset"]}
                    assert (await http.post(f"/groups/{self.group}/ack", json=body)).status_code == 200


async def test_workers_on_every_face_share_the_work(daemon: Daemon, topic: str) -> None:
    group = topic.replace("/", "-")
    desk = Desk(daemon, group, topic)
    async with httpx.AsyncClient(base_url=daemon.url, timeout=20) as http, asyncio.TaskGroup() as tasks:
        faces = (desk.socket, desk.packed, desk.stream, desk.poll)
        workers = [tasks.create_task(face()) for face in faces]
        await with_members(http, group, 4)
        last = await publish(http, topic, *range(LONG))
        async with asyncio.timeout(20):
            while (await told(http, group))["offset"] < last:
                continue
        for worker in workers:
            worker.cancel()
    assert sorted(desk.done.elements()) == list(range(LONG)), "each once"
    assert set(desk.by) == {"websocket", "msgpack", "sse", "poll"}


async def test_a_worker_that_hangs_loses_its_work_to_another(daemon: Daemon, topic: str) -> None:
    group = topic.replace("/", "-")
    async with httpx.AsyncClient(base_url=daemon.url, timeout=20) as http, socket_to(daemon) as hanging:
        await pushes(hanging, "welcome")
        subscribe = {"op": "subscribe", "filter": topic, "group": group, "ack_wait": 0.3}
        await hanging.send(json.dumps(subscribe))
        await pushes(hanging, "subscribed")
        await publish(http, topic, 1)
        [message] = await pushes(hanging, "message")
        page = (await http.get(f"/t/{topic}?group={group}&member=m&wait=10")).json()
        [again] = page["messages"]
        assert (again["data"], again["deliveries"]) == (1, 2)
        await hanging.send(json.dumps({"op": "ack", "id": 1, "group": group, "offset": message["offset"]}))
        [error] = await pushes(hanging, "error")
        assert (error["code"], error["offsets"]) == ("not_delivered", [message["offset"]])


async def test_what_nobody_can_do_is_a_dead_letter(daemon: Daemon, topic: str) -> None:
    group = topic.replace("/", "-")
    async with httpx.AsyncClient(base_url=daemon.url, timeout=20) as http:
        target = f"/t/{topic}?group={group}&member=m&max_deliveries=2&dead_letters={topic}-dead"
        assert (await http.get(target)).status_code == 200
        answer = await http.post(f"/t/{topic}", content="hopeless", headers={"Extra-Header-X": "y"})
        offset = answer.json()["offset"]
        for tried in (1, 2):
            [message] = (await http.get(target + "&wait=5")).json()["messages"]
            assert message["deliveries"] == tried
            back = await http.post(f"/groups/{group}/nack", json={"member": "m", "offset": offset})
            assert back.status_code == 200
        page = (await http.get(f"/t/{topic}-dead?wait=10")).json()
        [letter] = page["messages"]
        assert letter["data"] == "hopeless"
        assert letter["headers"] == {
            "x": "y",
            "extra-group": group,
            "extra-topic": topic,
            "extra-offset": str(offset),
            "extra-deliveries": "2",
        }
        assert (await told(http, group))["dead_letters_total"] == 1


async def test_it_outlives_the_broker_with_a_store(start: Start, tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    daemon = start("--store", store)
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        target = "/t/a?group=g&member=m&limit=2&max_deliveries=9&dead_letters=d&order=topic"
        await http.get(target)
        await publish(http, "a", 1, 2, 3)
        [message] = (await http.get(target)).json()["messages"]  # in order: one at a time
        assert (await http.post("/groups/g/ack", json={"member": "m", "offset": 1})).status_code == 200
        [message] = (await http.get(target)).json()["messages"]
        assert (message["data"], message["deliveries"]) == (2, 1)
    daemon.stop()
    daemon = start("--store", store)
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        fields = await told(http, "g")
        assert (fields["offset"], fields["order"], fields["max_deliveries"]) == (1, "topic", 9)
        page = (await http.get("/t/a?group=g&member=n")).json()
        assert [(each["data"], each["deliveries"]) for each in page["messages"]] == [(2, 2)]
        metrics = (await http.get("/metrics")).text
        assert "extra_groups 1\n" in metrics
        assert "extra_group_redeliveries_total 1\n" in metrics


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        ("GET", "/groups/none", b"", 404, "not_found"),
        ("DELETE", "/groups/none", b"", 404, "not_found"),
        ("POST", "/groups/none/ack", b'{"member":"m","offset":1}', 404, "not_found"),
        ("PUT", "/groups/none", b"", 405, "method_not_allowed"),
        ("GET", "/t/a?group=a%2Fb", b"", 400, "invalid_command"),
        ("GET", "/t/a?group=", b"", 400, "invalid_command"),
        ("GET", "/t/a?group=g&session=s", b"", 400, "invalid_command"),
        ("GET", "/t/a?group=g&since=tomorrow", b"", 400, "invalid_cursor"),
        ("GET", "/t/a?group=g&order=random", b"", 400, "invalid_command"),
        ("GET", "/t/a?group=g&dead_letters=d", b"", 400, "invalid_command"),
        ("GET", "/t/a?group=g&dead_letters=a&max_deliveries=1", b"", 400, "invalid_command"),
        ("GET", "/t/a?group=g&dead_letters=b/%2B&max_deliveries=1", b"", 400, "invalid_topic"),
        ("GET", "/t/a?group=g&expires=100000000", b"", 400, "invalid_command"),
    ],
)
async def test_bad_input_has_its_answer(
    daemon: Daemon, method: str, target: str, body: bytes, status: int, code: str
) -> None:
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        answer = await http.request(method, target, content=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_clients_share_work_although_the_broker_is_killed(start: Start, tmp_path: Path) -> None:
    store = str(tmp_path / "store.db")
    done: Counter[object] = Counter()

    async def work(client: extra.Client, count: int) -> None:
        """Work until so many are done, by whomever."""
        async with client.group("g", "jobs/#", since="start") as jobs:
            while len(done) < count:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        job = await anext(jobs)
                        await jobs.ack(job)
                        done[job.data] += 1

    killed = Daemon("--store", store)
    try:
        async with extra.Client(killed.url) as client, asyncio.timeout(20):
            for number in range(60):
                await client.publish("jobs/x", number)
            await asyncio.gather(*[work(client, 20) for _ in range(3)])
    finally:
        killed.kill()
    daemon = start("--store", store)
    async with extra.Client(daemon.url) as client, asyncio.timeout(20):
        await asyncio.gather(*[work(client, 60) for _ in range(3)])
    assert set(done) == set(range(60))


async def test_a_client_comes_back_to_its_session_after_it_died(daemon: Daemon, topic: str) -> None:
    name = topic.replace("/", "-")
    async with extra.Client(daemon.url) as client:
        async with client.subscribe(topic, session=name) as messages:
            for number in range(5):
                await client.publish(topic, number)
            seen = [(await anext(messages)).data for _ in range(3)]
        assert seen == [0, 1, 2]
        try:
            async with client.subscribe(topic, session=name) as messages:
                assert (await anext(messages)).data == 3
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        async with client.subscribe(topic, session=name, ack=True) as messages:
            assert (await anext(messages)).data == 3, "it was being worked on"
            message = await anext(messages)
            await messages.ack(message)
        async with httpx.AsyncClient(base_url=daemon.url) as http:
            told = (await http.get(f"/sessions/{name}")).json()
        assert told["offset"] == message.offset
        newer = client.subscribe(topic, session=name)
        async with client.subscribe(topic, session=name) as older, newer:
            with pytest.raises(extra.SessionTakenOver):
                await anext(older)


BIG = "x" * 100_000


async def test_more_than_a_client_buffers_is_acknowledged_one_by_one(start: Start) -> None:
    """While a replay runs, and while more waits than is taken."""
    daemon = start()
    async with extra.Client(daemon.url) as client, asyncio.timeout(30):
        for _ in range(40):
            await client.publish("big", BIG)
        async with client.group("g", "big", since="start") as jobs:
            for _ in range(40):
                await jobs.ack(await anext(jobs))
        async with client.subscribe("big", session="s", ack=True, since="start") as messages:
            for _ in range(20):
                message = await anext(messages)
                await messages.ack(message)
        async with client.subscribe("big", session="s", ack=True) as messages:
            assert (await anext(messages)).offset == message.offset + 1
        async with client.subscribe("big", session="t", since="start") as passing:
            for _ in range(20):
                message = await anext(passing)
        async with client.subscribe("big", session="t") as passing:
            assert (await anext(passing)).offset == message.offset + 1
    async with httpx.AsyncClient(base_url=daemon.url) as http:
        assert (await told(http, "g"))["offset"] == 40


async def test_who_leaves_at_once_is_no_member_any_more(daemon: Daemon, topic: str) -> None:
    group = topic.replace("/", "-")
    async with httpx.AsyncClient(base_url=daemon.url) as http, extra.Client(daemon.url) as client:
        async with client.group(group, topic):
            pass
        await with_members(http, group, 0)


async def test_retained_messages_that_come_first_hide_nothing_from_a_session(
    daemon: Daemon, topic: str
) -> None:
    async with extra.Client(daemon.url) as client, asyncio.timeout(10):
        for name in ("a", "b", "c"):
            await client.publish(f"{topic}/{name}", name, retain=name == "b")
        name = topic.replace("/", "-")
        session = client.subscribe(f"{topic}/+", session=name, since="start", retained=True)
        async with session as messages:
            assert [(await anext(messages)).data for _ in range(3)] == ["b", "a", "c"]
